//! Where a Redis is and what it wants to be told: all that a connection needs to know.

use std::fmt;

use fred::types::config::{Config, Server, ServerConfig, TlsConfig};

use crate::tls::{BadTls, TlsFiles};

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// An address; brackets around an IPv6 address are taken off.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Address {
        Address { host: host.trim_start_matches('[').trim_end_matches(']').to_owned(), port }
    }

    /// As Redis writes it in a redirection: `host:port`. A server that does not know its own name leaves the host out:
    /// then it is the one that was asked.
    pub(super) fn redirected(text: &str, asked: &Address) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(Address::new(if host.is_empty() || host == "?" { &asked.host } else { host }, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A user and a password. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user; `None`: Redis's own `default`.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// One server and how to be let in.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) credentials: Credentials,
    pub(super) tls: Option<TlsFiles>,
    pub(super) database: u8,
}

impl Endpoint {
    /// The same at another address.
    pub(super) fn at(&self, address: Address) -> Endpoint {
        Endpoint { address, ..self.clone() }
    }

    /// What the client wants to know.
    pub(super) fn to_config(&self) -> Result<Config, BadTls> {
        let mut server = Server::new(self.address.host.clone(), self.address.port);
        let mut tls = None;
        if let Some(files) = &self.tls {
            server.tls_server_name = files.server_name.as_deref().map(Into::into);
            tls = Some(TlsConfig::from(files.load()?));
        }
        Ok(Config {
            username: self.credentials.user.clone(),
            password: self.credentials.password.clone(),
            server: ServerConfig::Centralized { server },
            database: Some(self.database).filter(|&database| database != 0),
            tls,
            ..Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_without_a_host_means_the_one_that_was_asked() {
        let asked = Address::new("10.0.0.1", 1);
        for (text, shown) in [
            ("10.0.0.2:7000", "10.0.0.2:7000"),
            (":7000", "10.0.0.1:7000"),
            ("?:7000", "10.0.0.1:7000"),
            ("fe80::1:7000", "[fe80::1]:7000"),
        ] {
            assert_eq!(Address::redirected(text, &asked).unwrap().to_string(), shown);
        }
        assert_eq!(Address::redirected("nonsense", &asked), None);
    }
}
