//! `[access]` and `[tls]`: who may come, and how.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderName;
use url::Url;

use super::error::{ConfigError, Given, Place};
use super::file::{Table, TlsTable};
use crate::access::{Limits, OidcSettings, Policy, ProxySettings, Secret, Settings};
use crate::http::oidc::CALLBACK;
use crate::tls::Identity;

const ACCESS_KEYS: &[&str] = &["users_file", "tokens_file", "url", "idle", "absolute", "proxy", "oidc"];
const PROXY_KEYS: &[&str] = &["header", "groups_header", "peers"];
const OIDC_KEYS: &[&str] = &["issuer", "client_id", "client_secret_file", "scopes", "name_claim", "groups_claim", "ca"];
const TLS_KEYS: &[&str] = &["cert", "key"];

/// The variable that holds our secret at the provider, where no file does.
const CLIENT_SECRET: &str = "LOCKKEEPER_OIDC_CLIENT_SECRET";

/// The longest secret that is read: providers make them of some dozen characters.
const MAX_SECRET_BYTES: u64 = 4_096;

/// `[access]`.
#[derive(Debug)]
pub(super) struct AccessTable {
    place: Place,
    pub(super) users_file: Option<Given<PathBuf>>,
    pub(super) tokens_file: Option<Given<PathBuf>>,
    url: Option<Url>,
    idle_ms: Option<i64>,
    absolute_ms: Option<i64>,
    proxy: Option<ProxySettings>,
    oidc: Option<OidcTable>,
}

/// `[access.oidc]`.
#[derive(Debug)]
struct OidcTable {
    place: Place,
    issuer: String,
    client_id: String,
    client_secret_file: Option<Given<PathBuf>>,
    scopes: Option<Vec<String>>,
    name_claim: Option<String>,
    groups_claim: Option<String>,
    ca: Option<Given<PathBuf>>,
}

pub(super) fn access(table: &mut Table<'_, '_>) -> Result<Option<AccessTable>, ConfigError> {
    let Some((place, value)) = table.take("access") else { return Ok(None) };
    let mut keys = table.nested(place.clone(), value, "a table begun by `[access]`")?;
    let mut proxy = None;
    if let Some((place, value)) = keys.take("proxy") {
        proxy = Some(self::proxy(keys.nested(place, value, "a table begun by `[access.proxy]`")?)?);
    }
    let mut oidc = None;
    if let Some((place, value)) = keys.take("oidc") {
        oidc = Some(self::oidc(keys.nested(place, value, "a table begun by `[access.oidc]`")?)?);
    }
    let access = AccessTable {
        place,
        users_file: keys.string("users_file")?.map(|file| file.map(PathBuf::from)),
        tokens_file: keys.string("tokens_file")?.map(|file| file.map(PathBuf::from)),
        url: keys.string("url")?.map(own_url).transpose()?,
        idle_ms: keys.duration_ms("idle")?.map(|given| given.value),
        absolute_ms: keys.duration_ms("absolute")?.map(|given| given.value),
        proxy,
        oidc,
    };
    keys.finish(ACCESS_KEYS)?;
    Ok(Some(access))
}

fn proxy(mut table: Table<'_, '_>) -> Result<ProxySettings, ConfigError> {
    let header = |given: Given<String>| {
        given.value.parse::<HeaderName>().map_err(|_| ConfigError::Value {
            place: given.place,
            value: given.value,
            expected: "the name of a header such as `X-Forwarded-User`".to_owned(),
        })
    };
    let name = table.required("header", "a name such as `X-Forwarded-User`")?;
    let mut peers = Vec::new();
    for (place, value) in table.list("peers", "a list of networks")? {
        let given = table.as_string(place, value)?;
        let one = given.value.parse().or_else(|_| given.value.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
        peers.push(one.map_err(|_| ConfigError::Value {
            place: given.place,
            value: given.value,
            expected: "an address or a network such as `10.0.0.0/8`".to_owned(),
        })?);
    }
    if peers.is_empty() {
        let expected = "the addresses that the header is believed from, such as `[\"10.0.0.0/8\"]`";
        return Err(table.missing("peers", expected));
    }
    let settings = ProxySettings {
        header: header(name)?,
        groups_header: table.string("groups_header")?.map(header).transpose()?,
        peers,
    };
    table.finish(PROXY_KEYS)?;
    Ok(settings)
}

fn oidc(mut table: Table<'_, '_>) -> Result<OidcTable, ConfigError> {
    let text = |given: Option<Given<String>>| given.map(|given| given.value);
    let path = |given: Option<Given<String>>| given.map(|given| given.map(PathBuf::from));
    let issuer = table.required("issuer", "what the provider calls itself, such as `https://login.example.org`")?;
    let is_usable = Url::parse(&issuer.value).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        // Only a provider that is being tried out is without TLS.
        "http" => is_loopback(&url),
        _ => false,
    });
    if !is_usable {
        return Err(ConfigError::Value {
            place: issuer.place,
            value: issuer.value,
            expected: "a URL with `https`, exactly as the provider calls itself".to_owned(),
        });
    }
    let table_of = OidcTable {
        place: table.place(),
        issuer: issuer.value,
        client_id: table.required("client_id", "our name at the provider")?.value,
        client_secret_file: path(table.string("client_secret_file")?),
        scopes: table.strings("scopes")?.map(|scopes| scopes.into_iter().map(|given| given.value).collect()),
        name_claim: text(table.string("name_claim")?),
        groups_claim: text(table.string("groups_claim")?),
        ca: path(table.string("ca")?),
    };
    table.finish(OIDC_KEYS)?;
    Ok(table_of)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl OidcTable {
    fn settings(self, own: Option<&Url>) -> Result<OidcSettings, ConfigError> {
        let Some(redirect) = own.and_then(|own| own.join(CALLBACK).ok()) else {
            let because =
                "the provider must know where to send people back to: set `url = \"https://…\"` under `[access]`";
            return Err(ConfigError::Unusable { place: self.place, because: because.to_owned() });
        };
        let client_secret = match &self.client_secret_file {
            Some(file) => Some(secret(file)?),
            None => std::env::var(CLIENT_SECRET).ok().filter(|secret| !secret.is_empty()).map(Secret::new),
        };
        let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
        Ok(OidcSettings {
            issuer: self.issuer,
            client_id: self.client_id,
            client_secret,
            redirect,
            scopes: self.scopes.unwrap_or_else(|| vec!["profile".to_owned()]),
            name_claim: or(self.name_claim, "preferred_username"),
            groups_claim: or(self.groups_claim, "groups"),
            ca: self.ca.map(|given| given.value),
        })
    }
}

/// The first line of a file.
fn secret(file: &Given<PathBuf>) -> Result<Secret, ConfigError> {
    let unusable = |because: String| ConfigError::Unusable { place: file.place.clone(), because };
    let mut text = String::new();
    std::fs::File::open(&file.value)
        .and_then(|opened| opened.take(MAX_SECRET_BYTES).read_to_string(&mut text))
        .map_err(|error| unusable(format!("`{}` cannot be read: {error}", file.value.display())))?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(unusable(format!("`{}` is empty", file.value.display()))),
    }
}

/// A scheme, a host and perhaps a port: a path would mean that the app lives below it, which it does not.
fn own_url(given: Given<String>) -> Result<Url, ConfigError> {
    let url = Url::parse(&given.value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    url.ok_or_else(|| ConfigError::Unusable {
        place: given.place,
        because: "expected the address that browsers come to, such as `https://locks.example.org`".to_owned(),
    })
}

pub(super) fn tls(table: &mut Table<'_, '_>) -> Result<Option<TlsTable>, ConfigError> {
    let Some((place, value)) = table.take("tls") else { return Ok(None) };
    let mut keys = table.nested(place.clone(), value, "a table begun by `[tls]`")?;
    let path = |given: Option<Given<String>>| given.map(|given| given.map(PathBuf::from));
    let (cert, key) = (path(keys.string("cert")?), path(keys.string("key")?));
    keys.finish(TLS_KEYS)?;
    Ok(Some(TlsTable { place, ca: None, cert, key, server_name: None }))
}

/// What the file says about access, checked as far as it can be without starting.
pub(super) fn settings(table: Option<AccessTable>, policy: &Policy, has_tls: bool) -> Result<Settings, ConfigError> {
    let Some(access) = table else { return Ok(Settings::default()) };
    if let Some(given) = access.users_file.as_ref().filter(|given| !given.value.is_file()) {
        return Err(ConfigError::Unusable {
            place: given.place.clone(),
            because: format!("there is no file `{}`; `lockkeeper user add NAME` makes it", given.value.display()),
        });
    }
    let default = Limits::default();
    let or = |ms: Option<i64>, default| ms.and_then(|ms| u64::try_from(ms).ok()).map_or(default, Duration::from_millis);
    let secure = has_tls || access.url.as_ref().is_some_and(|url| url.scheme() == "https");
    let oidc = access.oidc.map(|oidc| oidc.settings(access.url.as_ref())).transpose()?;
    let settings = Settings {
        users_file: access.users_file.map(|given| given.value),
        tokens_file: access.tokens_file.map(|given| given.value),
        proxy: access.proxy,
        oidc,
        limits: Limits { idle: or(access.idle_ms, default.idle), absolute: or(access.absolute_ms, default.absolute) },
        url: access.url,
        secure,
    };
    if !settings.is_configured() {
        let because = "it names no way to show who one is, expected one of users_file, tokens_file, proxy, oidc";
        return Err(ConfigError::Unusable { place: access.place, because: because.to_owned() });
    }
    if policy.is_empty() {
        return Err(ConfigError::Unusable {
            place: access.place,
            because: "without a `[[role]]` nobody who signs in may do anything, expected for example \
                      `role = [{ name = \"oncall\", groups = [\"oncall\"], rights = [\"view\", \"release\"] }]`"
                .to_owned(),
        });
    }
    Ok(settings)
}

/// The certificate to serve with, if there is one.
pub(super) fn identity(table: Option<TlsTable>) -> Result<Option<Identity>, ConfigError> {
    let Some(table) = table else { return Ok(None) };
    let (Some(cert), Some(key)) = (table.cert, table.key) else {
        let because = "it needs both `cert` and `key`, files in PEM form".to_owned();
        return Err(ConfigError::Unusable { place: table.place, because });
    };
    let identity = Identity { cert: cert.value, key: key.value };
    match identity.load() {
        Ok(_) => Ok(Some(identity)),
        Err(error) => Err(ConfigError::Unusable { place: table.place, because: error.to_string() }),
    }
}
