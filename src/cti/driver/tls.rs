//! TLS towards a T-Server (RFC 8446, RFC 5246): whom the box trusts, which name the certificate must carry (RFC 9525), and what is
//! said when it does not.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cti::hub::Tls;

/// Speaks TLS over a connection to `host`. The file is read each time: certificates are replaced while the box runs.
pub(super) async fn connect(stream: TcpStream, tls: &Tls, host: &str) -> Result<TlsStream<TcpStream>, String> {
    let name = tls.name.as_deref().unwrap_or(host);
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} is no name that a certificate may carry; set tls_name"))?;
    let connector = TlsConnector::from(Arc::new(config(&tls.ca_file)?));
    connector.connect(server, stream).await.map_err(|error| told(&error, &tls.ca_file, name))
}

fn config(ca_file: &Path) -> Result<ClientConfig, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("ca_file {}: {what}; expected certificates in PEM", ca_file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Why there is no TLS, and what to do.
fn told(error: &io::Error, ca_file: &Path, name: &str) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                format!("TLS: its certificate is not signed by any in {}; put its issuer's there", ca_file.display())
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("TLS: its certificate is not for {name:?}; set tls_name to a name that it carries, or have it made anew")
            }
            other => format!("TLS: its certificate is not valid: {other}"),
        },
        Some(other) => format!("TLS: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "TLS: it closed the connection; does it speak TLS there?".into(),
        None => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests;
