//! Connections: how many there may be, how slowly they may speak, and how large what they say may be (RFC 9112, RFC 8446). What keeps the page
//! busy costs the page, never a recording.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::access::Access;

/// Connections at a time; others wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 320;

/// From the first byte of a request, or from the end of the one before, to the end of its head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const MOST_HEAD_BYTES: usize = 16 << 10;

/// Without descriptors or memory nothing comes of trying at once.
const AFTER_AN_ERROR: Duration = Duration::from_millis(500);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, app: Router, access: Access) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await.ok(); // nobody closes it
        match listener.accept().await {
            Ok((stream, peer)) => {
                let guest = Guest { peer: Peer(peer), access: access.clone(), _place: place };
                tokio::spawn(guest.welcome(stream, tls.clone(), app.clone()));
            }
            Err(error) => {
                tracing::warn!("no connection can be taken: {error}");
                tokio::time::sleep(AFTER_AN_ERROR).await;
            }
        }
    }
}

struct Guest {
    peer: Peer,
    access: Access,
    _place: Option<OwnedSemaphorePermit>,
}

impl Guest {
    async fn welcome(self, stream: TcpStream, tls: Option<TlsAcceptor>, app: Router) {
        let _ = stream.set_nodelay(true); // only slower without
        match tls {
            None => self.converse(stream, app).await,
            Some(tls) => match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(stream, app).await,
                Ok(Err(_)) => self.access.count("no-tls"),
                Err(_) => self.access.count("slow"),
            },
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, app: Router) {
        let service = TowerToHyperService::new(app.layer(Extension(self.peer)));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(MOST_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
        match served {
            Err(error) if error.is_timeout() => self.access.count("slow"),
            Err(error) if error.is_parse_too_large() => self.access.count("oversized"),
            _ => {} // done, or gone
        }
    }
}
