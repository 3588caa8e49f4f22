//! A real S3 server in the tests' own process: the crate s3s-fs, which keeps objects as files, with signatures checked.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub(crate) const ACCESS_KEY: &str = "AKIABRANCH17";
pub(crate) const SECRET_KEY: &str = "a secret that only the tests know";

pub(crate) struct S3Server {
    pub(crate) address: SocketAddr,
    root: PathBuf,
    /// Ends the server when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl S3Server {
    /// Buckets are folders below `root`, which must exist.
    pub(crate) fn start(root: &Path, ip: Ipv4Addr) -> S3Server {
        S3Server::start_tls(root, ip, None)
    }

    /// The same behind TLS.
    pub(crate) fn start_tls(root: &Path, ip: Ipv4Addr, tls: Option<Arc<rustls::ServerConfig>>) -> S3Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((ip, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let tls = tls.map(TlsAcceptor::from);
        let (stop, stopped) = oneshot::channel::<()>();
        let accept = async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, tls) = (service.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, service).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, service).await;
                            }
                        }
                    }
                });
            }
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { () = accept => {}, _ = stopped => {} }
            })
        });
        S3Server { address, root: root.to_path_buf(), _stop: stop }
    }

    /// Every object of a bucket: its key and content.
    pub(crate) fn objects(&self, bucket: &str) -> Vec<(String, Vec<u8>)> {
        let bucket = self.root.join(bucket);
        let mut found = Vec::new();
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                // What begins with a dot is the server's own (metadata, parts of uploads).
                if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&bucket).unwrap().to_string_lossy().into_owned();
                    found.push((key, std::fs::read(&path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: s3s::service::S3Service) {
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await; // peers break off
}
