//! TLS to a backend: which authorities are trusted, and the handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why no connection can be made secure.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read as PEM.
    #[error("cannot read the authorities in {}: {source}", path.display())]
    Authorities {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is no certificate in it.
    #[error("there is no certificate in {}", path.display())]
    NoAuthority {
        /// Which file.
        path: PathBuf,
    },
    /// One of them is no certificate.
    #[error("a certificate in {} cannot be used: {source}", path.display())]
    BadAuthority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// A host that no certificate can be for.
    #[error("no certificate can be for the host `{host}`: {source}")]
    Host {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
}

/// Makes connections to one host secure.
pub(super) struct Tls {
    host: ServerName<'static>,
    /// A file of authorities is read anew for each connection, for it may have
    /// been rotated; connections are few.
    authorities: Authorities,
}

enum Authorities {
    System(Arc<ClientConfig>),
    File(PathBuf),
}

impl Tls {
    /// For this host; `ca` is a PEM file of the only authorities to trust,
    /// otherwise the system's are, or Mozilla's where the system has none.
    pub(super) fn new(host: &str, ca: Option<&Path>) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|source| TlsError::Host {
            host: host.to_owned(),
            source,
        })?;
        let authorities = match ca {
            Some(path) => {
                check_authorities(path)?;
                Authorities::File(path.to_owned())
            }
            None => Authorities::System(config(system_authorities())?),
        };
        Ok(Self {
            host: name,
            authorities,
        })
    }

    /// Shakes hands over this connection. The error says why not.
    pub(super) async fn secure<S>(&self, stream: S) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match &self.authorities {
            Authorities::System(config) => Arc::clone(config),
            Authorities::File(path) => read_authorities(path)
                .and_then(config)
                .map_err(|error| error.to_string())?,
        };
        TlsConnector::from(config)
            .connect(self.host.clone(), stream)
            .await
            .map_err(|error| format!("TLS: {error}"))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Whether the file has authorities that can be used.
///
/// # Errors
///
/// It cannot be read, or has none, or one that is malformed.
pub fn check_authorities(path: &Path) -> Result<(), TlsError> {
    read_authorities(path).map(drop)
}

fn read_authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let failed = |source| TlsError::Authorities {
        path: path.to_owned(),
        source,
    };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        let added = store.add(certificate.map_err(failed)?);
        added.map_err(|source| TlsError::BadAuthority {
            path: path.to_owned(),
            source,
        })?;
    }
    if store.is_empty() {
        return Err(TlsError::NoAuthority {
            path: path.to_owned(),
        });
    }
    Ok(store)
}

fn system_authorities() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = store.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::debug!("the system's authorities: {error}");
    }
    if added == 0 {
        // A container image without any: those of the build.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    tracing::debug!(added, ignored, "authorities of the system");
    store
}

fn config(authorities: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_without_authorities_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = |text: &str| {
            fs::write(&path, text).unwrap();
            check_authorities(&path).unwrap_err().to_string()
        };
        assert!(error("").contains("no certificate"));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("cannot be used"));
        let cut = error("-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(cut.contains("ca.pem"), "{cut}");
        let gone = check_authorities(&folder.path().join("gone")).unwrap_err();
        assert!(gone.to_string().contains("gone"));
        let host = Tls::new("a b", None).unwrap_err().to_string();
        assert!(host.contains("a b"));
    }

    #[test]
    fn there_are_always_authorities() {
        assert!(!system_authorities().is_empty());
    }
}
