//! The page's certificate: one of the operator, or one that the box makes for its own names and addresses and renews at a start when it is
//! half-way through its time (RFC 5280, RFC 8446).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::clock::Now;
use crate::files;

/// Certificate and key that the box has made, and for which names.
const MADE: &str = "page.pem";

/// Some clients trust none that lasts longer.
const DAYS: i64 = 800;
const DAY_US: i64 = 86_400_000_000;

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Tls {
    /// There is none: nothing is encrypted.
    None,
    /// The box makes it, and keeps it in this folder.
    Generated {
        /// The folder.
        dir: PathBuf,
        /// Names and addresses of the box.
        names: Vec<String>,
    },
    /// Somebody has given one.
    Own {
        /// The chain, as PEM.
        cert: PathBuf,
        /// Its key, as PEM.
        key: PathBuf,
    },
}

impl Tls {
    /// What speaks TLS with it.
    pub(super) fn acceptor(&self) -> io::Result<Option<TlsAcceptor>> {
        let (cert, key) = match self {
            Tls::None => return Ok(None),
            Tls::Generated { dir, names } => {
                let made = made(dir, names)?;
                (made.clone(), made)
            }
            Tls::Own { cert, key } => (read(cert)?, read(key)?),
        };
        let wrong = |e: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("certificate and key: {e}; expected PEM"))
        };
        let chain: Vec<CertificateDer> =
            CertificateDer::pem_slice_iter(cert.as_bytes()).collect::<Result<_, _>>().map_err(|e| wrong(&e))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| wrong(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| wrong(&e))?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, key).map_err(|e| wrong(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

/// The first line says for what and from when it is; PEM readers pass over it.
fn made(dir: &Path, names: &[String]) -> io::Result<String> {
    let now = Now::read().wall;
    if let Ok(text) = fs::read_to_string(dir.join(MADE))
        && let Some((when, whose)) = text.lines().next().and_then(|line| line.strip_prefix("# ")?.split_once(' '))
        && let Ok(when) = when.parse::<jiff::Timestamp>()
        && whose == names.join(" ")
        && (0..DAYS / 2 * DAY_US).contains(&(now.timestamp().as_microsecond() - when.as_microsecond()))
    {
        return Ok(text);
    }
    let text = make(names, now.timestamp())?;
    files::replace(dir, MADE, text.as_bytes(), 0o600)?;
    tracing::info!("made a certificate for {}", names.join(", "));
    Ok(text)
}

fn make(names: &[String], now: jiff::Timestamp) -> io::Result<String> {
    let other = |e: rcgen::Error| io::Error::other(format!("no certificate can be made: {e}"));
    let key = rcgen::KeyPair::generate().map_err(other)?;
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(other)?;
    let name = names.first().map_or("nearend", String::as_str);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    // A day back, for clocks that are not yet set where it is looked at.
    params.not_before = date(now.as_microsecond() - DAY_US)?;
    params.not_after = date(now.as_microsecond() + DAYS * DAY_US)?;
    let certificate = params.self_signed(&key).map_err(other)?;
    Ok(format!("# {now} {}\n{}{}", names.join(" "), certificate.pem(), key.serialize_pem()))
}

fn date<T: From<std::time::SystemTime>>(us: i64) -> io::Result<T> {
    let since = std::time::Duration::from_micros(u64::try_from(us).map_err(io::Error::other)?);
    Ok(T::from(std::time::UNIX_EPOCH + since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_anew_for_other_names_or_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let names = |last: &str| vec!["branch-17".to_owned(), "localhost".into(), last.into()];
        let first = made(dir.path(), &names("127.0.0.1")).unwrap();
        assert_eq!(made(dir.path(), &names("127.0.0.1")).unwrap(), first);
        let second = made(dir.path(), &names("10.0.0.1")).unwrap();
        assert_ne!(second, first);
        let old = Now::read().wall.timestamp() - jiff::SignedDuration::from_hours(401 * 24);
        fs::write(dir.path().join(MADE), make(&names("10.0.0.1"), old).unwrap()).unwrap();
        let third = made(dir.path(), &names("10.0.0.1")).unwrap();
        assert!(third.lines().next() > second.lines().next(), "{third}");
        let tls = Tls::Generated { dir: dir.path().into(), names: names("10.0.0.1") };
        assert!(tls.acceptor().unwrap().is_some());
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let own = Tls::Own { cert: "/nothing/cert.pem".into(), key: "/nothing/key.pem".into() };
        assert!(own.acceptor().err().unwrap().to_string().starts_with("/nothing/cert.pem: "));
    }
}
