//! The server of page and API, and who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use crate::access::Access;
use crate::config::{Config, PageTls, Secret};
use crate::web::Status;
use crate::web::driver::{Ask, Server, Tls, serve};

use super::{Error, host_name};

/// Accounts, audit log and certificate.
fn folder(config: &Config) -> PathBuf {
    config.site.data_dir.join("access")
}

pub(super) fn open_access(config: &Config) -> Result<Access, Error> {
    let dir = folder(config);
    Access::open(&dir).map_err(|source| Error::Access { dir, source })
}

pub(super) async fn start(
    config: &Config,
    status: watch::Receiver<Status>,
    asks: mpsc::Sender<Ask>,
    access: Access,
) -> Result<SocketAddr, Error> {
    let listen = config.web.listen;
    let server = Server { listen, tls: tls(config), status, asks, access };
    let (bound, work) = serve(server).await.map_err(|source| Error::Web { address: listen, source })?;
    tokio::spawn(work);
    Ok(bound)
}

fn tls(config: &Config) -> Tls {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let file = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.path(credentials.as_deref())).unwrap_or_default();
    match config.web.tls {
        PageTls::None => Tls::None,
        PageTls::Own => Tls::Own { cert: file(&config.web.cert_file), key: file(&config.web.key_file) },
        PageTls::Generated => {
            let mut names = vec![host_name(), "localhost".into()];
            if !config.web.listen.ip().is_unspecified() {
                names.push(config.web.listen.ip().to_string());
            }
            Tls::Generated { dir: folder(config), names }
        }
    }
}
