//! Which PostgreSQL, and how it is spoken to. Nothing here ever repeats the part of a URL that may be a password.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use ::postgres::config::{Host, SslMode};
use ::postgres::{Config, NoTls};
use percent_encoding::percent_decode_str;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Connection, DbError, Postgres};
use crate::tls::TlsFiles;

const FORM: &str = "`postgres://[user[:password]@]host[:port]/database[?sslmode=verify-full]`";

const DEFAULT_PORT: u16 = 5432;

/// A server that is there takes milliseconds. A release waits for no longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection whose other end is gone is noticed within some sixteen seconds, at both ends: the other servers wait for
/// the locks that it has.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A PostgreSQL database, checked. `Display` and `Debug` leave the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Without what is read here.
    url: String,
    tls: Option<TlsFiles>,
    shown: String,
}

/// Why a URL cannot be used: what is wrong, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}, expected {FORM}")]
pub struct BadTarget(String);

impl Target {
    /// Checks a URL as it was given. TLS with a certificate that is checked is the rule; plain connections are made to this
    /// machine, or where the URL says `sslmode=disable`.
    ///
    /// # Errors
    /// What is wrong, without repeating anything that may be a password.
    pub fn parse(url: &str) -> Result<Target, BadTarget> {
        let bad = |because: &str| BadTarget(because.to_owned());
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(bad("does not begin with `postgres://`"));
        }
        // A password that was not percent-encoded would end early, and its rest pass for something that may be shown.
        if rest.matches('@').count() > 1 || rest.find('@').is_some_and(|at| rest[..at].contains(['/', '?', '#'])) {
            return Err(bad("has a `/`, `?`, `#` or `@` in its user or password, where it must be percent-encoded"));
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut mode, mut ca, mut others) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value_of = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match key {
                "sslmode" => mode = Some(value_of()),
                "sslrootcert" => ca = Some(PathBuf::from(value_of())),
                "host" | "application_name" | "target_session_attrs" => others.push(pair),
                _ => {
                    return Err(bad(
                        "has a parameter other than `sslmode`, `sslrootcert`, `host`, `application_name` and \
                         `target_session_attrs`",
                    ));
                }
            }
        }
        let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        let url = format!("postgres://{before}{query}");
        let config = Config::from_str(&url).map_err(|_| bad("is not a URL of PostgreSQL"))?;
        if config.get_hosts().is_empty() {
            return Err(bad("names no host"));
        }
        if config.get_dbname().is_none() {
            return Err(bad("names no database"));
        }
        let is_here = config.get_hosts().iter().all(is_this_machine);
        let tls = match mode.as_deref() {
            Some("disable") => None,
            None if is_here && ca.is_none() => None,
            None | Some("require" | "verify-full") => Some(TlsFiles { ca, ..TlsFiles::default() }),
            Some(_) => {
                return Err(bad(
                    "has an `sslmode` that would do without checking the server's certificate, or without TLS, and not say \
                     so: give `verify-full`, or `disable`",
                ));
            }
        };
        Ok(Target { url, tls, shown: shown(&config) })
    }

    /// Whether what goes to another machine can be read on the way.
    #[must_use]
    pub fn is_plain_over_a_network(&self) -> bool {
        let hosts = Config::from_str(&self.url);
        self.tls.is_none() && hosts.is_ok_and(|config| !config.get_hosts().iter().all(is_this_machine))
    }

    /// A connection with these settings of the session on top, `SET …;` each. Not from within a runtime's task.
    pub(crate) fn connect(&self, settings: &str) -> Result<Connection, DbError> {
        let mut config = Config::from_str(&self.url)?;
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED);
        if config.get_application_name().is_none() {
            config.application_name("lockkeeper");
        }
        let client = match &self.tls {
            None => config.ssl_mode(SslMode::Disable).connect(NoTls)?,
            Some(files) => {
                let tls = files.load().map_err(|error| DbError::Refused(error.to_string()))?;
                config.ssl_mode(SslMode::Require).connect(MakeRustlsConnect::new(tls))?
            }
        };
        let connection = Postgres::new(client);
        connection.batch(&format!(
            "SET search_path TO lockkeeper; SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {};
             SET tcp_keepalives_count = {KEEPALIVE_RETRIES}; SET tcp_user_timeout = {}; {settings}",
            KEEPALIVE_IDLE.as_secs(),
            KEEPALIVE_INTERVAL.as_secs(),
            UNACKNOWLEDGED.as_millis(),
        ))?;
        if !connection.is_utf8()? {
            return Err(DbError::Refused("its encoding is not UTF8: make another database".to_owned()));
        }
        Ok(Connection::Postgres(Box::new(connection)))
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
    }
}

/// Hosts, ports and database.
fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let shown = format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default());
    lockkeeper_model::words::shown(&shown).to_string()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_shown_without_its_credentials() {
        for (url, wanted) in [
            ("postgres://keeper:secret@db.example.com/locks", "postgres://db.example.com:5432/locks"),
            ("postgresql://keeper:secret@127.0.0.1:6543/locks", "postgres://127.0.0.1:6543/locks"),
            ("postgres://k:secret@a,b:6000/l?target_session_attrs=read-write", "postgres://a:5432,b:6000/l"),
            ("postgres:///locks?host=/run/postgresql", "postgres:///run/postgresql/locks"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.to_string(), format!("{target:?}")), (wanted.to_owned(), format!("Target({wanted})")));
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_plain() {
        let tls = |url: &str| Target::parse(url).unwrap().tls.is_some();
        assert!(tls("postgres://db.example.com/locks"));
        assert!(tls("postgres://db.example.com/locks?sslmode=verify-full&sslrootcert=/etc/ca.pem"));
        assert!(tls("postgres://localhost/locks?sslmode=require"));
        assert!(!tls("postgres://localhost/locks"));
        assert!(!tls("postgres://db.example.com/locks?sslmode=disable"));
        assert!(Target::parse("postgres://db.example.com/locks?sslmode=disable").unwrap().is_plain_over_a_network());
        for mode in ["prefer", "allow", "verify-ca", "secret"] {
            let error = Target::parse(&format!("postgres://db.example.com/locks?sslmode={mode}")).unwrap_err();
            assert!(error.to_string().contains("give `verify-full`, or `disable`"), "{error}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_repeated() {
        for url in [
            "postgres://k:se?cret=1@db/locks",
            "postgres://k:se/cret@db/locks",
            "postgres://k:se@cret@db/locks",
            "postgres://k:cret@db:port/locks",
            "postgres://k:cret@/locks",
            "postgres://k:cret@db",
            "postgres://k:cret@db/locks?password=cret",
            "mysql://k:cret@db/locks",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(!error.contains("cret") && error.contains("postgres://["), "{error}");
        }
    }
}
