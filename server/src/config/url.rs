//! URLs of stores. Nothing here ever repeats the part of a URL that may be a password.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::{ConfigError, Given, Place};
use crate::source::redis::{Address, Credentials, Topology};

const STANDALONE: &str = "`redis://[[user]:password@]host[:port][/db]`";
const SENTINEL: &str = "`redis-sentinel://[[user]:password@]host[:port][,host[:port]…]/primary[/db]`";
const CLUSTER: &str = "`redis-cluster://[[user]:password@]host[:port][,host[:port]…]`";

/// The port of a Redis, and of a sentinel.
const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// Hosts in one URL. They only have to lead to the rest, which is asked for.
const MAX_HOSTS: usize = 32;

/// The URL of one Redis, checked. Its `Display` and `Debug` leave the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    topology: Topology,
    credentials: Credentials,
    tls: bool,
    database: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Standalone,
    Sentinel,
    Cluster,
}

impl Kind {
    fn form(self) -> &'static str {
        match self {
            Kind::Standalone => STANDALONE,
            Kind::Sentinel => SENTINEL,
            Kind::Cluster => CLUSTER,
        }
    }
}

impl StoreUrl {
    /// Whether both lead to the same store, as the same user or as another.
    pub(super) fn is_same_store(&self, other: &StoreUrl) -> bool {
        self.topology == other.topology && self.tls == other.tls && self.database == other.database
    }

    /// Checks a URL as it was given.
    ///
    /// # Errors
    /// Names the place, and what is wrong without repeating anything that may be a password.
    pub fn parse(given: &Given<String>) -> Result<StoreUrl, ConfigError> {
        let text = given.value.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let (kind, tls) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (Kind::Standalone, false),
            "rediss" => (Kind::Standalone, true),
            "redis-sentinel" => (Kind::Sentinel, false),
            "rediss-sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => {
                let what = "does not begin with `redis://`, `redis-sentinel://` or `redis-cluster://` (or, with TLS, \
                            `rediss…://`)";
                return Err(wrong(&given.place, what, Kind::Standalone));
            }
        };
        let wrong = |what: &str| wrong(&given.place, what, kind);
        // A password that was not percent-encoded ends the authority early at its `/`, `?` or `#`, so that its rest
        // would pass for a path: nothing of such a URL is repeated. One with a `,` would pass for a list of hosts.
        let cut_short = |at: usize| rest[..at].contains(['/', '?', '#', ',']);
        if rest.matches('@').count() > 1 || rest.find('@').is_some_and(cut_short) {
            return Err(wrong(
                "has a `/`, `?`, `#`, `,` or `@` in its user or password, where it must be percent-encoded",
            ));
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (format!("{user_info}@"), hosts),
            None => (String::new(), authority),
        };
        let mut credentials = Credentials::default();
        let mut addresses = Vec::new();
        for (i, host) in hosts.split(',').enumerate() {
            let url = Url::parse(&format!("redis://{}{host}", if i == 0 { user_info.as_str() } else { "" }))
                .map_err(|error| wrong(&format!("is not a URL ({error})")))?;
            let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| wrong("names no host"))?;
            if i == 0 {
                let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
                let user = Some(decoded(url.username())).filter(|user| !user.is_empty());
                credentials = Credentials { user, password: url.password().map(decoded) };
            }
            let default = if kind == Kind::Sentinel { DEFAULT_SENTINEL_PORT } else { DEFAULT_PORT };
            addresses.push(Address::new(name, url.port().unwrap_or(default)));
        }
        if addresses.len() > MAX_HOSTS {
            return Err(wrong(&format!("names more than {MAX_HOSTS} hosts")));
        }
        let shown = shown(scheme, &addresses);
        let path = tail.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
        let database = |path: &str| match path {
            "" => Ok(0),
            path => path.parse().map_err(|_| {
                wrong(&match path.parse::<u64>() {
                    Ok(_) => format!("(`{shown}/…`) names a database above {}", u8::MAX),
                    Err(_) => format!("(`{shown}/…`) names a database that is not a number"),
                })
            }),
        };
        let (topology, database) = match kind {
            Kind::Standalone => match <[Address; 1]>::try_from(addresses) {
                Ok([address]) => (Topology::Standalone(address), database(path)?),
                Err(_) => {
                    return Err(wrong(&format!(
                        "(`{shown}`) names several hosts, as only `redis-sentinel://` and `redis-cluster://` do"
                    )));
                }
            },
            Kind::Sentinel => {
                let (primary, path) = path.split_once('/').unwrap_or((path, ""));
                // What Sentinel itself allows in a name.
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if primary.is_empty() || !primary.chars().all(is_name) {
                    return Err(wrong(&format!(
                        "(`{shown}/…`) does not name the primary as the sentinels call it, in letters, digits, `.`, `-` \
                         and `_`"
                    )));
                }
                (Topology::Sentinel { sentinels: addresses, primary: primary.to_owned() }, database(path)?)
            }
            Kind::Cluster => {
                if database(path)? != 0 {
                    return Err(wrong(&format!("(`{shown}/…`) names a database, and a cluster has only one")));
                }
                (Topology::Cluster { seeds: addresses }, 0)
            }
        };
        if tail.contains(['?', '#']) {
            return Err(wrong(&format!("(`{shown}`) has a `?` or a `#`, which mean nothing here")));
        }
        Ok(StoreUrl { topology, credentials, tls, database })
    }

    /// The source's name where none was given: the first address, or the name of the primary where sentinels know its
    /// address; and the database unless it is the first.
    #[must_use]
    pub fn derived_name(&self) -> String {
        let name = match &self.topology {
            Topology::Standalone(address) => address.to_string(),
            Topology::Sentinel { primary, .. } => primary.clone(),
            Topology::Cluster { seeds } => seeds.first().map(ToString::to_string).unwrap_or_default(),
        };
        match self.database {
            0 => name,
            database => format!("{name}/{database}"),
        }
    }

    /// What is there, and where to ask.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// For the connection and for nothing else.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> u8 {
        self.database
    }

    fn scheme(&self) -> &'static str {
        match (&self.topology, self.tls) {
            (Topology::Standalone(_), false) => "redis",
            (Topology::Standalone(_), true) => "rediss",
            (Topology::Sentinel { .. }, false) => "redis-sentinel",
            (Topology::Sentinel { .. }, true) => "rediss-sentinel",
            (Topology::Cluster { .. }, false) => "redis-cluster",
            (Topology::Cluster { .. }, true) => "rediss-cluster",
        }
    }
}

/// Without credentials and path.
fn shown(scheme: &str, addresses: &[Address]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("{}://{}", scheme.to_ascii_lowercase(), addresses.join(","))
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = match &self.topology {
            Topology::Standalone(address) => std::slice::from_ref(address),
            Topology::Sentinel { sentinels, .. } => sentinels,
            Topology::Cluster { seeds } => seeds,
        };
        write!(f, "{}", shown(self.scheme(), addresses))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self}/{})", self.database)
    }
}

fn wrong(place: &Place, what: &str, kind: Kind) -> ConfigError {
    ConfigError::Url { place: place.clone(), because: format!("{what}, expected {}", kind.form()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<StoreUrl, ConfigError> {
        StoreUrl::parse(&Given::new(text.to_owned(), Place::Flag("--redis")))
    }

    #[test]
    fn names_are_derived_from_address_and_database_and_never_from_credentials() {
        for (url, name) in [
            ("redis://localhost", "localhost:6379"),
            ("redis://localhost/", "localhost:6379"),
            ("redis://127.0.0.1:6380/0", "127.0.0.1:6380"),
            ("redis://:s3cret@cache.internal:6380/3", "cache.internal:6380/3"),
            ("redis://user:s3cret@[::1]:7000", "[::1]:7000"),
            ("rediss://user:s3cret@h", "h:6379"),
            ("redis-sentinel://user:s3cret@a:1,b,[::1]:2/orders.main", "orders.main"),
            ("rediss-sentinel://a/orders/7", "orders/7"),
            ("redis-cluster://:s3cret@a:7000,b:7001", "a:7000"),
            ("REDISS-CLUSTER://a/0", "a:6379"),
        ] {
            assert_eq!(parse(url).unwrap().derived_name(), name);
        }
    }

    #[test]
    fn a_bad_url_is_explained_without_its_password() {
        const SCHEMES: &str = "`--redis` does not begin with `redis://`, `redis-sentinel://` or `redis-cluster://` (or, \
                               with TLS, `rediss…://`)";
        for (url, message) in [
            ("", SCHEMES),
            ("localhost:6379", SCHEMES),
            ("s3cret", SCHEMES),
            ("http://s3cret@h", SCHEMES),
            ("redis://", "`--redis` names no host"),
            ("redis://:s3cret", "`--redis` is not a URL (empty host)"),
            ("redis://user:s3cret", "`--redis` is not a URL (invalid port number)"),
            ("redis://:s3cret@h:99999", "`--redis` is not a URL (invalid port number)"),
            (
                "redis://user:12/s3cret@h",
                "`--redis` has a `/`, `?`, `#`, `,` or `@` in its user or password, where it must be percent-encoded",
            ),
            (
                "redis://u:12#s3cret@h",
                "`--redis` has a `/`, `?`, `#`, `,` or `@` in its user or password, where it must be percent-encoded",
            ),
            (
                "redis://:s3@cret@h",
                "`--redis` has a `/`, `?`, `#`, `,` or `@` in its user or password, where it must be percent-encoded",
            ),
            ("redis://:s3cret@h:1/orders", "`--redis` (`redis://h:1/…`) names a database that is not a number"),
            ("redis://:s3cret@h:1/0?x=s3cret", "`--redis` (`redis://h:1`) has a `?` or a `#`, which mean nothing here"),
        ] {
            assert_eq!(parse(url).unwrap_err().to_string(), format!("{message}, expected {STANDALONE}"), "{url}");
        }
    }

    #[test]
    fn several_hosts_a_primary_and_tls_are_understood() {
        let url = parse("rediss-sentinel://app:p%2Cw@a:1,b/orders/7").unwrap();
        let sentinels = vec![Address::new("a", 1), Address::new("b", 26379)];
        assert_eq!(*url.topology(), Topology::Sentinel { sentinels, primary: "orders".to_owned() });
        assert_eq!(url.credentials().password.as_deref(), Some("p,w"));
        assert_eq!((url.is_tls(), url.database()), (true, 7));
        assert_eq!(url.to_string(), "rediss-sentinel://a:1,b:26379");
        let url = parse("redis-cluster://[::1]:7000,b").unwrap();
        let seeds = vec![Address::new("::1", 7000), Address::new("b", 6379)];
        assert_eq!(*url.topology(), Topology::Cluster { seeds });
    }

    #[test]
    fn what_a_topology_lacks_or_has_too_much_is_named() {
        for (url, message) in [
            (
                "redis://a,b",
                "(`redis://a:6379,b:6379`) names several hosts, as only `redis-sentinel://` and `redis-cluster://` do",
            ),
            ("redis://a/256", "(`redis://a:6379/…`) names a database above 255"),
            (
                "redis-sentinel://u:s3cret@a/",
                "(`redis-sentinel://a:26379/…`) does not name the primary as the sentinels call it, in letters, digits, `.`, `-` and `_`",
            ),
            ("redis-sentinel://u:s3cret@a/x/y", "(`redis-sentinel://a:26379/…`) names a database that is not a number"),
            ("redis-cluster://a/1", "(`redis-cluster://a:6379/…`) names a database, and a cluster has only one"),
            ("redis-cluster://a,,b", "names no host"),
            ("redis-cluster://a,b:s3cret", "is not a URL (invalid port number)"),
        ] {
            let said = parse(url).unwrap_err().to_string();
            assert!(said.starts_with(&format!("`--redis` {message}, expected ")), "{url}: {said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_repeated(
            scheme in "(redis|rediss|http|redis-cluster|rediss-sentinel|)(://|:|/)",
            before in "[a-z:/?#@,]{0,4}",
            after in "[a-z0-9:/?#@,\\[ %]{0,12}",
        ) {
            // Upper case, so that no part of it can come from a message.
            let given = format!("{scheme}{before}:QZQZQZ@{after}");
            let said = match parse(&given) {
                Ok(url) => format!("{} {:?} {}", url, url, url.derived_name()),
                Err(error) => format!("{} {:?}", error, error),
            };
            prop_assert!(!said.contains("QZQZ"), "{}", said);
        }
    }
}
