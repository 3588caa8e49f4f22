//! One TCP connection: a task that reads frames and writes what is queued for it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

use super::Input;
use crate::sip::flow::{ConnectionId, Flow, Transport};
use crate::sip::framing::{Frame, StreamFramer};

/// Messages that wait to be written; a peer that lets more pile up is not reading.
pub(super) const QUEUE: usize = 64;
const READ_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The driver's hold on a connection. When it is dropped, what is queued is still written, then the connection closes.
pub(super) struct Connection {
    pub(super) remote: SocketAddr,
    local: SocketAddr,
    queue: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

impl Connection {
    pub(super) fn new(local: SocketAddr, remote: SocketAddr, queue: mpsc::Sender<Vec<u8>>, task: AbortHandle) -> Connection {
        Connection { remote, local, queue, task }
    }

    pub(super) fn flow(&self, id: ConnectionId) -> Flow {
        Flow { transport: Transport::Tcp, local: self.local, remote: self.remote, connection: Some(id) }
    }

    /// Queues a message; an error when the queue is full or the task is gone.
    pub(super) fn send(&self, bytes: Vec<u8>) -> Result<(), mpsc::error::TrySendError<Vec<u8>>> {
        self.queue.try_send(bytes)
    }

    /// Closes it without writing anything more.
    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

/// Opens a connection and serves it.
pub(super) async fn open(
    id: ConnectionId,
    remote: SocketAddr,
    queue: mpsc::Receiver<Vec<u8>>,
    inputs: mpsc::Sender<Input>,
    idle: Duration,
) {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(remote)).await {
        Ok(Ok(stream)) => serve(id, stream, queue, inputs, idle).await,
        Ok(Err(error)) => refused(id, remote, &error, &inputs).await,
        Err(_) => refused(id, remote, &io::ErrorKind::TimedOut.into(), &inputs).await,
    }
}

/// Reads and writes until either side ends.
pub(super) async fn serve(
    id: ConnectionId,
    stream: TcpStream,
    queue: mpsc::Receiver<Vec<u8>>,
    inputs: mpsc::Sender<Input>,
    idle: Duration,
) {
    // A message is written in one piece, so there is nothing to gain by waiting for more. Failing costs only speed.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let writing = write(writer, queue);
    tokio::pin!(writing);
    tokio::select! {
        () = read(id, reader, &inputs, idle) => {
            closed(id, &inputs).await;
            writing.await; // ends as soon as the driver has let go of the connection
        }
        () = &mut writing => closed(id, &inputs).await,
    }
}

/// Ends with the stream, at silence, and behind a frame that is broken.
async fn read(id: ConnectionId, mut reader: OwnedReadHalf, inputs: &mpsc::Sender<Input>, idle: Duration) {
    let mut framer = StreamFramer::default();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(Ok(length @ 1..)) = timeout(idle, reader.read(&mut buffer)).await {
        framer.push(&buffer[..length]);
        while let Some(frame) = framer.next_frame() {
            let is_last = matches!(frame, Frame::Broken { .. });
            if inputs.send(Input::Frame { connection: id, frame }).await.is_err() || is_last {
                return;
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        if !matches!(timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn refused(id: ConnectionId, remote: SocketAddr, error: &io::Error, inputs: &mpsc::Sender<Input>) {
    debug!(peer = %remote, %error, "SIP connection not opened");
    closed(id, inputs).await;
}

async fn closed(id: ConnectionId, inputs: &mpsc::Sender<Input>) {
    // The driver may be gone; then nobody needs to know.
    let _ = inputs.send(Input::Closed { connection: id }).await;
}
