//! TLS of the peers' connections (RFC 3261 §26.2.1; RFC 5246, RFC 8446): the box's certificate, and whose the peers must be. The box
//! opens no TLS connection itself: what it has to ask within a dialog goes over one that the peer has opened (RFC 5923), so that
//! it needs no name to know the peer by.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The box's certificate, and those between it and its issuer.
    pub cert_file: PathBuf,
    /// The key to it.
    pub key_file: PathBuf,
    /// A peer must show a certificate of one of these issuers; none: it need not show any.
    pub client_ca_file: Option<PathBuf>,
}

/// A file cannot be used.
#[derive(Debug, Error)]
#[error("[sip] {key} {path}: {why}", path = .path.display())]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    why: String,
}

/// What accepts connections with these certificates.
///
/// # Errors
/// When a file cannot be read, holds nothing of the kind, or key and certificate do not fit.
pub fn acceptor(files: &Files) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates("cert_file", &files.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|why| wrong("key_file", &files.key_file, &format_args!("{why}; expected a private key in PEM")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| wrong("cert_file", &files.cert_file, &why))?;
    let config = match &files.client_ca_file {
        Some(path) => config.with_client_cert_verifier(verifier(path)?),
        None => config.with_no_client_auth(),
    };
    let config = config.with_single_cert(chain, key).map_err(|why| {
        wrong("key_file", &files.key_file, &format_args!("{why}; expected the key to {}", files.cert_file.display()))
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("client_ca_file", path)? {
        roots.add(certificate).map_err(|why| wrong("client_ca_file", path, &why))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|why| wrong("client_ca_file", path, &why))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(key, path, &"no certificate in it; expected some in PEM")),
        read => read.map_err(|why| wrong(key, path, &format_args!("{why}; expected certificates in PEM"))),
    }
}

fn wrong(key: &'static str, path: &Path, why: &dyn Display) -> TlsError {
    TlsError { key, path: path.into(), why: why.to_string() }
}
