//! TLS for SIP (RFC 3261 §26, RFC 5922): our certificate, whom we believe, and both read again without a restart.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where certificates and keys are.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Our chain in PEM, our own certificate first; "" = no TLS listener can be opened.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// Whose certificates callers must show; `None` asks for none.
    pub client_roots: Option<PathBuf>,
    /// Whom we believe when we connect; `None` = the public authorities.
    pub roots: Option<PathBuf>,
}

/// What the listeners and the connector use at the moment.
pub(crate) struct Tls {
    config: TlsConfig,
    now: Mutex<Both>,
}

#[derive(Clone)]
struct Both {
    acceptor: Option<TlsAcceptor>,
    connector: TlsConnector,
}

/// Says which file an error belongs to.
fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("tls {}: {error}", path.display()))
}

fn chain(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| named(path, error))?;
    let chain: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| named(path, error))?;
    if chain.is_empty() { Err(named(path, "holds no certificate")) } else { Ok(chain) }
}

fn roots(path: &Path) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in chain(path)? {
        store.add(certificate).map_err(|error| named(path, error))?;
    }
    Ok(store)
}

fn read(config: &TlsConfig) -> io::Result<Both> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity = if config.certificate.as_os_str().is_empty() {
        None
    } else {
        let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| named(&config.key, error))?;
        Some((chain(&config.certificate)?, key))
    };
    let trusted = match &config.roots {
        Some(path) => roots(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(trusted);
    // The same certificate proves us to carriers that ask for one.
    let client = match &identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| named(&config.certificate, error))?,
        None => builder.with_no_client_auth(),
    };
    let connector = TlsConnector::from(Arc::new(client));
    let Some((chain, key)) = identity else { return Ok(Both { acceptor: None, connector }) };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match &config.client_roots {
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                .build()
                .map_err(|error| named(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let server = builder.with_single_cert(chain, key).map_err(|error| named(&config.certificate, error))?;
    Ok(Both { acceptor: Some(TlsAcceptor::from(Arc::new(server))), connector })
}

impl Tls {
    pub(crate) fn open(config: TlsConfig) -> io::Result<Self> {
        let now = Mutex::new(read(&config)?);
        Ok(Self { config, now })
    }

    /// Reads the files again; when they cannot be used, everything stays as it was. Connections at hand go on.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let both = read(&self.config)?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = both;
        Ok(())
    }

    fn both(&self) -> Both {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.both().acceptor
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        self.both().connector
    }
}

/// The name a peer's certificate must carry: that of the domain it was found by, or else its address (RFC 5922 §7.2).
pub(crate) fn expected(name: Option<&str>, remote: SocketAddr) -> ServerName<'static> {
    name.and_then(|name| ServerName::try_from(name.to_owned()).ok()).unwrap_or_else(|| remote.ip().into())
}
