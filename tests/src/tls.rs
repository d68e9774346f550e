use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{RedisServer, free_port};

/// An authority of a test's own, with certificates for a server at 127.0.0.1 and for a client. The files end with the
/// value.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

impl Authority {
    /// A new one, whom nobody trusts yet.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Authority {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write("ca.pem", authority.pem());
        for (who, usage) in
            [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "redis.test".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            write(&format!("{who}.pem"), params.signed_by(&key, &authority).unwrap().pem());
            write(&format!("{who}.key"), key.serialize_pem());
        }
        Authority { dir }
    }

    /// `ca.pem`, `server.pem`, `server.key`, `client.pem` or `client.key`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as it stands in a configuration or on a command line.
    ///
    /// # Panics
    /// Never: temporary folders have names that are text.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().to_owned()
    }

    /// A Redis that speaks TLS at the second value, to clients that this authority signed; and plainly to the test.
    pub async fn redis(&self) -> (RedisServer, u16) {
        let port = free_port();
        let options = self.options(port);
        (RedisServer::with(&options.iter().map(String::as_str).collect::<Vec<_>>()).await, port)
    }

    /// What has a Redis or a sentinel speak TLS at this port to clients that this authority signed, and to others of its
    /// kind.
    pub(crate) fn options(&self, port: u16) -> Vec<String> {
        let file = |name| self.path(name);
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", file("ca.pem")),
            ("--tls-cert-file", file("server.pem")),
            ("--tls-key-file", file("server.key")),
            ("--tls-client-cert-file", file("client.pem")),
            ("--tls-client-key-file", file("client.key")),
            ("--tls-auth-clients", "yes".to_owned()),
            ("--tls-replication", "yes".to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// `tls = { … }` of a source that trusts this authority and has a certificate of it.
    #[must_use]
    pub fn config(&self) -> String {
        let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| self.path(name));
        format!("tls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}\n")
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
