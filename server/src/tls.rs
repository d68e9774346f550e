//! What TLS needs: whom to trust, and who we are, as a client of a store and as a server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The largest file that is read: a bundle of every public authority is a quarter of this.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Files for TLS. They are read anew for each session, so that a renewed certificate is taken without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust, as PEM; `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate (with those that lead to the authority) and its private key, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must bear; `None`: the host of the URL.
    pub server_name: Option<String>,
}

/// Why files cannot be used for TLS. Nothing of what is in them is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTls(String);

impl fmt::Display for BadTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTls {}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(&self) -> Result<ClientConfig, BadTls> {
        if let Some(name) = &self.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            return Err(BadTls(format!(
                "`server_name` is `{}`, expected a host name",
                lockkeeper_model::words::shown(name)
            )));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadTls(error.to_string()))?
            .with_root_certificates(self.roots()?);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((cert, key)) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|error| mismatch(cert, key, &error)),
        }
    }

    fn roots(&self) -> Result<RootCertStore, BadTls> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(|error| {
                        BadTls(format!("`{}` holds a certificate that cannot be used: {error}", ca.display()))
                    })?;
                }
            }
            None => {
                // Systems carry certificates that no library understands; the others are as good.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(BadTls(
                        "this system has no certificates of authorities; name a file with `tls = { ca = \"…\" }`"
                            .to_owned(),
                    ));
                }
            }
        }
        Ok(roots)
    }
}

/// Files that show who a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate, with those that lead to the authority, as PEM.
    pub cert: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(&self) -> Result<Arc<ServerConfig>, BadTls> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadTls(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(certificates(&self.cert)?, private_key(&self.key)?)
            .map_err(|error| mismatch(&self.cert, &self.key, &error))?;
        // Not HTTP/2: a browser would open the WebSocket in it by a method that answers to no handler here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadTls> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| BadTls(format!("`{}` holds no private key in PEM form", path.display())))
}

fn mismatch(cert: &Path, key: &Path, error: &rustls::Error) -> BadTls {
    BadTls(format!("`{}` and `{}` do not go together: {error}", cert.display(), key.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| BadTls(format!("`{}` is not in PEM form", path.display())))?;
    if certificates.is_empty() {
        return Err(BadTls(format!("`{}` holds no certificate in PEM form", path.display())));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, BadTls> {
    let unreadable = |error: std::io::Error| BadTls(format!("`{}` cannot be read: {error}", path.display()));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        let most = lockkeeper_model::words::bytes(MAX_FILE_BYTES);
        return Err(BadTls(format!("`{}` is not a file of at most {most}", path.display())));
    }
    std::fs::read(path).map_err(unreadable)
}
