//! URLs of stores. Nothing here ever repeats the part of a URL that may be a password.

use std::fmt;

use url::Url;

use super::error::{ConfigError, Given, Place};

const FORM: &str = "`redis://[[user]:password@]host[:port][/db]`";
const DEFAULT_PORT: u16 = 6379;

/// The URL of one Redis, checked. Its `Display` and `Debug` leave the credentials out.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Url);

impl StoreUrl {
    /// Checks a URL as it was given.
    ///
    /// # Errors
    /// Names the place, and what is wrong without repeating anything that may be a password.
    pub fn parse(given: &Given<String>) -> Result<StoreUrl, ConfigError> {
        let text = given.value.trim();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("redis") => {}
            Some("rediss") => return Err(not_yet(&given.place, "TLS (`rediss://`)")),
            Some("redis-cluster" | "rediss-cluster") => {
                return Err(not_yet(&given.place, "Redis Cluster (`redis-cluster://`)"));
            }
            Some("redis-sentinel" | "rediss-sentinel") => {
                return Err(not_yet(&given.place, "Redis Sentinel (`redis-sentinel://`)"));
            }
            _ => return Err(wrong(&given.place, "does not begin with `redis://`")),
        }
        // A password that was not percent-encoded ends the authority early at its `/`, `?` or `#`, so that its rest
        // would pass for a path: nothing of such a URL is repeated.
        let cut_short = |at: usize| text["redis://".len()..at].contains(['/', '?', '#']);
        if text.matches('@').count() > 1 || text.find('@').is_some_and(cut_short) {
            return Err(wrong(
                &given.place,
                "has a `/`, `?`, `#` or `@` in its user or password, where it must be percent-encoded",
            ));
        }
        let url = Url::parse(text).map_err(|error| wrong(&given.place, &format!("is not a URL ({error})")))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong(&given.place, "names no host"));
        }
        let url = StoreUrl(url);
        let path = url.0.path().trim_start_matches('/');
        if !path.is_empty() && path.parse::<u16>().is_err() {
            return Err(wrong(&given.place, &format!("(`{url}/…`) names a database that is not a number")));
        }
        if url.0.query().is_some() || url.0.fragment().is_some() {
            return Err(wrong(&given.place, &format!("(`{url}`) has a `?` or a `#`, which mean nothing here")));
        }
        Ok(url)
    }

    /// The source's name where none was given: the address, and the database unless it is the first.
    #[must_use]
    pub fn derived_name(&self) -> String {
        match self.database() {
            0 => self.address(),
            database => format!("{}/{database}", self.address()),
        }
    }

    /// With its credentials, for the connection and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }

    fn address(&self) -> String {
        format!("{}:{}", self.0.host_str().unwrap_or_default(), self.0.port().unwrap_or(DEFAULT_PORT))
    }

    fn database(&self) -> u16 {
        self.0.path().trim_start_matches('/').parse().unwrap_or(0)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}", self.address())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self}/{})", self.database())
    }
}

fn wrong(place: &Place, what: &str) -> ConfigError {
    ConfigError::Url { place: place.clone(), because: format!("{what}, expected {FORM}") }
}

fn not_yet(place: &Place, what: &'static str) -> ConfigError {
    ConfigError::NotYet { place: place.clone(), what }
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
        ] {
            assert_eq!(parse(url).unwrap().derived_name(), name);
        }
    }

    #[test]
    fn a_bad_url_is_explained_without_its_password() {
        for (url, message) in [
            ("", "`--redis` does not begin with `redis://`"),
            ("localhost:6379", "`--redis` does not begin with `redis://`"),
            ("s3cret", "`--redis` does not begin with `redis://`"),
            ("http://s3cret@h", "`--redis` does not begin with `redis://`"),
            ("redis://", "`--redis` names no host"),
            ("redis://:s3cret", "`--redis` is not a URL (empty host)"),
            ("redis://user:s3cret", "`--redis` is not a URL (invalid port number)"),
            ("redis://:s3cret@h:99999", "`--redis` is not a URL (invalid port number)"),
            (
                "redis://user:12/s3cret@h",
                "`--redis` has a `/`, `?`, `#` or `@` in its user or password, where it must be percent-encoded",
            ),
            (
                "redis://u:12#s3cret@h",
                "`--redis` has a `/`, `?`, `#` or `@` in its user or password, where it must be percent-encoded",
            ),
            (
                "redis://:s3@cret@h",
                "`--redis` has a `/`, `?`, `#` or `@` in its user or password, where it must be percent-encoded",
            ),
            ("redis://:s3cret@h:1/orders", "`--redis` (`redis://h:1/…`) names a database that is not a number"),
            ("redis://:s3cret@h:1/0?x=s3cret", "`--redis` (`redis://h:1`) has a `?` or a `#`, which mean nothing here"),
        ] {
            assert_eq!(parse(url).unwrap_err().to_string(), format!("{message}, expected {FORM}"), "{url}");
        }
    }

    #[test]
    fn stores_of_later_versions_are_refused_by_name() {
        for (url, what) in [
            ("rediss://h", "TLS (`rediss://`)"),
            ("redis-cluster://h", "Redis Cluster (`redis-cluster://`)"),
            ("redis-sentinel://h/main", "Redis Sentinel (`redis-sentinel://`)"),
        ] {
            assert_eq!(
                parse(url).unwrap_err().to_string(),
                format!("`--redis` asks for {what}, which is not supported yet by this version")
            );
        }
    }

    proptest! {
        #[test]
        fn no_password_is_ever_repeated(
            scheme in "(redis|rediss|http|redis-cluster|)(://|:|/)",
            before in "[a-z:/?#@]{0,4}",
            after in "[a-z0-9:/?#@\\[ %]{0,12}",
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
