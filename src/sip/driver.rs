//! The edge of the station: sockets, connections and the clock around an [`Endpoint`] (RFC 3261 §18).
//!
//! Everything runs on the caller's tokio runtime. Small tasks read; what they read comes through one bounded queue to
//! [`SipDriver::next`], which alone touches the endpoint and never waits for a peer: a datagram that the kernel does not take at
//! once is lost (its sender repeats it), a connection whose queue is full is closed.

#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use super::endpoint::{self, Endpoint, Event};
use super::flow::{ConnectionId, Flow, Listener, Transmit, Transport};
use super::framing::{Frame, PONG, StreamFramer};
use crate::clock::Now;

/// Messages read and not yet handled; beyond that the readers wait and the kernel's buffers fill.
const INPUT_QUEUE: usize = 1_024;
/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1_024;
/// Messages that wait to be written on a connection; a peer that lets more pile up is not reading.
const CONNECTION_QUEUE: usize = 64;
const READ_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Within which a peer and the box must have agreed on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the driver is told once.
pub struct Config {
    /// Where to listen; port 0 lets the system choose one. IPv6 sockets do not take IPv4 along.
    pub listen: Vec<Listener>,
    /// Whose messages are read; what others send is dropped unread.
    pub trusts: Box<dyn Fn(IpAddr) -> bool + Send>,
    /// What accepts TLS; none: nothing listens for it.
    pub tls: Option<TlsAcceptor>,
    /// Connections at a time; more are closed at once.
    pub max_connections: usize,
    /// A connection on which nothing arrives for so long is closed.
    pub idle_timeout: Duration,
    /// For the endpoint; the driver fills in its listeners.
    pub endpoint: endpoint::Config,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: Vec::new(),
            trusts: Box::new(|_| true),
            tls: None,
            max_connections: 1_000,
            idle_timeout: Duration::from_secs(3_600),
            endpoint: endpoint::Config::default(),
        }
    }
}

/// A socket could not be had.
#[derive(Debug, Error)]
#[error("cannot listen for SIP on {listener}: {source}; check [sip] listen, and that no other SIP server runs on this machine")]
pub struct BindError {
    listener: Listener,
    source: io::Error,
}

/// What the reading tasks report.
enum Input {
    Datagram { local: SocketAddr, remote: SocketAddr, bytes: Vec<u8> },
    Accepted { stream: TcpStream, remote: SocketAddr, transport: Transport },
    Frame { connection: ConnectionId, frame: Frame },
    Closed { connection: ConnectionId },
}

/// The driver's hold on a connection. When it is dropped, what is queued is still written, then the connection closes.
struct Connection {
    transport: Transport,
    remote: SocketAddr,
    local: SocketAddr,
    queue: mpsc::Sender<Vec<u8>>,
    task: AbortHandle,
}

impl Connection {
    fn flow(&self, id: ConnectionId) -> Flow {
        Flow { transport: self.transport, local: self.local, remote: self.remote, connection: Some(id) }
    }
}

/// The SIP server on its sockets.
pub struct SipDriver {
    endpoint: Endpoint,
    listeners: Vec<Listener>,
    trusts: Box<dyn Fn(IpAddr) -> bool + Send>,
    tls: Option<TlsAcceptor>,
    max_connections: usize,
    idle_timeout: Duration,
    udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    connections: HashMap<ConnectionId, Connection>,
    last_connection: u64,
    inputs: mpsc::Receiver<Input>,
    to_inputs: mpsc::Sender<Input>,
    tasks: JoinSet<()>,
    untrusted: u64,
}

impl SipDriver {
    /// Opens all sockets; to be called within a tokio runtime. `seed` see [`Endpoint::new`].
    pub fn bind(config: Config, seed: [u8; 32]) -> Result<SipDriver, BindError> {
        let (to_inputs, inputs) = mpsc::channel(INPUT_QUEUE);
        let mut driver = SipDriver {
            endpoint: Endpoint::new(endpoint::Config::default(), seed),
            listeners: Vec::new(),
            trusts: config.trusts,
            tls: config.tls,
            max_connections: config.max_connections,
            idle_timeout: config.idle_timeout,
            udp: Vec::new(),
            connections: HashMap::new(),
            last_connection: 0,
            inputs,
            to_inputs,
            tasks: JoinSet::new(),
            untrusted: 0,
        };
        for listener in config.listen {
            let address = driver.listen(listener).map_err(|source| BindError { listener, source })?;
            let listener = Listener { address, ..listener };
            info!(%listener, "listening for SIP");
            driver.listeners.push(listener);
        }
        let listeners = driver.listeners.clone();
        driver.endpoint = Endpoint::new(endpoint::Config { listeners, ..config.endpoint }, seed);
        Ok(driver)
    }

    /// The sockets, with the ports they really have.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Connections from now on are accepted with these certificates; those that are open stay.
    pub fn renew_tls(&mut self, tls: TlsAcceptor) {
        self.tls = Some(tls);
    }

    /// Connections at present.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// Datagrams and connections dropped because their sender is not trusted.
    pub fn untrusted_count(&self) -> u64 {
        self.untrusted
    }

    /// The endpoint, to accept and reject with. What it then wants sent goes out with [`Self::flush`] or [`Self::next`].
    pub fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Runs the server until there is something to tell. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            let now = Now::read().mono;
            self.endpoint.handle_timeout(now);
            self.flush();
            if let Some(event) = self.endpoint.poll_event() {
                return event;
            }
            let wait = self.endpoint.poll_timeout().map_or(Duration::MAX, |at| at.since(now));
            tokio::select! {
                Some(input) = self.inputs.recv() => self.take(input),
                Some(_) = self.tasks.join_next() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Sends all that the endpoint has to send.
    pub fn flush(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            match transmit.flow.transport {
                Transport::Udp => self.send_datagram(&transmit),
                Transport::Tcp | Transport::Tls => self.send_on_stream(transmit),
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Datagram { remote, .. } | Input::Accepted { remote, .. } if !(self.trusts)(remote.ip()) => {
                self.untrusted += 1;
                debug!(peer = %remote, "not trusted, dropped");
            }
            Input::Datagram { local, remote, bytes } => {
                let flow = Flow { transport: Transport::Udp, local: reached_at(local, remote), remote, connection: None };
                self.endpoint.handle_message(Now::read().mono, flow, &bytes);
            }
            Input::Accepted { stream, remote, transport } => self.adopt(stream, remote, transport),
            Input::Frame { connection, frame } => self.take_frame(connection, frame),
            Input::Closed { connection } => self.close(connection),
        }
    }

    fn take_frame(&mut self, id: ConnectionId, frame: Frame) {
        let Some(connection) = self.connections.get(&id) else { return };
        let flow = connection.flow(id);
        match frame {
            Frame::Message(bytes) => self.endpoint.handle_message(Now::read().mono, flow, &bytes),
            Frame::Ping => self.send_on_stream(Transmit { flow, bytes: PONG.to_vec() }),
            Frame::Broken { head, status, reason } => {
                self.endpoint.handle_broken(flow, &head, status, reason);
                self.flush(); // the connection closes next, what is queued on it still goes out
            }
        }
    }

    fn send_datagram(&mut self, transmit: &Transmit) {
        let Transmit { flow, bytes } = transmit;
        let is_ours = |bound: &SocketAddr| {
            *bound == flow.local
                || bound.ip().is_unspecified() && bound.port() == flow.local.port() && bound.is_ipv4() == flow.local.is_ipv4()
        };
        let Some((_, socket)) = self.udp.iter().find(|(bound, _)| is_ours(bound)) else {
            return debug!(local = %flow.local, "no UDP socket there, not sent");
        };
        if let Err(error) = socket.try_send_to(bytes, flow.remote) {
            debug!(peer = %flow.remote, %error, "datagram not sent");
        }
    }

    fn send_on_stream(&mut self, transmit: Transmit) {
        let Transmit { flow, bytes } = transmit;
        let Some(id) = flow.connection.or_else(|| self.open_to(flow)).or_else(|| self.connect(flow)) else { return };
        let Some(connection) = self.connections.get(&id) else {
            return debug!(peer = %flow.remote, "connection closed meanwhile, not sent");
        };
        if connection.queue.try_send(bytes).is_err() {
            warn!(peer = %flow.remote, "the peer does not read, connection closed");
            connection.task.abort();
            self.close(id);
        }
    }

    /// A connection that is open to where a message is to go: over TLS any of the peer's, and the newest.
    fn open_to(&self, flow: Flow) -> Option<ConnectionId> {
        let is_fit = |connection: &Connection| match flow.transport {
            Transport::Tls => connection.remote.ip() == flow.remote.ip(),
            _ => connection.remote == flow.remote,
        };
        let open = self.connections.iter().filter(|(_, open)| open.transport == flow.transport && is_fit(open));
        open.map(|(id, _)| *id).max()
    }

    fn adopt(&mut self, stream: TcpStream, remote: SocketAddr, transport: Transport) {
        if self.connections.len() >= self.max_connections {
            return warn!(peer = %remote, "too many SIP connections, closed");
        }
        let Ok(local) = stream.local_addr() else { return };
        // A message is written in one piece, so there is nothing to gain by waiting for more. Failing costs only speed.
        let _ = stream.set_nodelay(true);
        let flow = Flow { transport, local, remote, connection: None };
        match self.tls.clone().filter(|_| transport == Transport::Tls) {
            Some(tls) => {
                self.start_connection(flow, |id, queue, inputs, idle| agree(id, tls, stream, remote, queue, inputs, idle))
            }
            None => self.start_connection(flow, |id, queue, inputs, idle| serve(id, stream, queue, inputs, idle)),
        };
    }

    fn connect(&mut self, flow: Flow) -> Option<ConnectionId> {
        if flow.transport == Transport::Tls {
            debug!(peer = %flow.remote, "the peer has no TLS connection open, not sent");
            return None;
        }
        if self.connections.len() >= self.max_connections {
            warn!(peer = %flow.remote, "too many SIP connections, none opened");
            return None;
        }
        let remote = flow.remote;
        Some(self.start_connection(flow, |id, queue, inputs, idle| open(id, remote, queue, inputs, idle)))
    }

    fn start_connection<F>(
        &mut self,
        flow: Flow,
        task: impl FnOnce(ConnectionId, mpsc::Receiver<Vec<u8>>, mpsc::Sender<Input>, Duration) -> F,
    ) -> ConnectionId
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        let (to_queue, queue) = mpsc::channel(CONNECTION_QUEUE);
        let task = self.tasks.spawn(task(id, queue, self.to_inputs.clone(), self.idle_timeout));
        let Flow { transport, local, remote, .. } = flow;
        self.connections.insert(id, Connection { transport, remote, local, queue: to_queue, task });
        id
    }

    fn close(&mut self, id: ConnectionId) {
        if self.connections.remove(&id).is_some() {
            self.endpoint.handle_flow_closed(id);
        }
    }

    fn listen(&mut self, listener: Listener) -> io::Result<SocketAddr> {
        let inputs = self.to_inputs.clone();
        match listener.transport {
            Transport::Udp => {
                let socket = Arc::new(UdpSocket::from_std(bind(listener.address, Type::DGRAM, Protocol::UDP)?.into())?);
                let bound = socket.local_addr()?;
                self.udp.push((bound, Arc::clone(&socket)));
                self.tasks.spawn(read_datagrams(socket, bound, inputs));
                Ok(bound)
            }
            Transport::Tcp | Transport::Tls => {
                let socket = bind(listener.address, Type::STREAM, Protocol::TCP)?;
                socket.listen(BACKLOG)?;
                let socket = TcpListener::from_std(socket.into())?;
                let bound = socket.local_addr()?;
                self.tasks.spawn(accept(socket, listener.transport, inputs));
                Ok(bound)
            }
        }
    }
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?; // connections of the process before us may linger
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The address of ours that `remote` is spoken to from. A socket bound to all addresses does not know; the route does.
fn reached_at(bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let routed = std::net::UdpSocket::bind((any, 0)).and_then(|probe| {
        probe.connect(remote)?; // sends nothing
        probe.local_addr()
    });
    routed.map_or(bound, |local| SocketAddr::new(local.ip(), bound.port()))
}

async fn read_datagrams(socket: Arc<UdpSocket>, local: SocketAddr, inputs: mpsc::Sender<Input>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, remote) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                warn!(%local, %error, "reading SIP datagrams");
                sleep(Duration::from_millis(100)).await; // lest a lasting error keeps the processor busy
                continue;
            }
        };
        let bytes = &buffer[..length];
        let is_keep_alive = bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if !is_keep_alive && inputs.send(Input::Datagram { local, remote, bytes: bytes.to_vec() }).await.is_err() {
            return;
        }
    }
}

async fn accept(listener: TcpListener, transport: Transport, inputs: mpsc::Sender<Input>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if inputs.send(Input::Accepted { stream, remote, transport }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "accepting a SIP connection");
                sleep(Duration::from_millis(100)).await; // out of file descriptors, most likely
            }
        }
    }
}

/// Opens a connection and serves it.
async fn open(id: ConnectionId, remote: SocketAddr, queue: mpsc::Receiver<Vec<u8>>, inputs: mpsc::Sender<Input>, idle: Duration) {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(remote)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true); // as of those that are accepted
            serve(id, stream, queue, inputs, idle).await;
        }
        Ok(Err(error)) => refused(id, remote, &error, &inputs).await,
        Err(_) => refused(id, remote, &io::ErrorKind::TimedOut.into(), &inputs).await,
    }
}

/// Agrees on TLS with the peer and serves it.
async fn agree(
    id: ConnectionId,
    tls: TlsAcceptor,
    stream: TcpStream,
    remote: SocketAddr,
    queue: mpsc::Receiver<Vec<u8>>,
    inputs: mpsc::Sender<Input>,
    idle: Duration,
) {
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(id, stream, queue, inputs, idle).await,
        Ok(Err(error)) => {
            warn!(peer = %remote, "no TLS with this peer: {error}; look at its trust in [sip] cert_file, and at client_ca_file");
            closed(id, &inputs).await;
        }
        Err(_) => {
            warn!(peer = %remote, "no TLS with this peer within {HANDSHAKE_TIMEOUT:?}; does it speak TLS at this port?");
            closed(id, &inputs).await;
        }
    }
}

/// Reads and writes until either side ends.
async fn serve(
    id: ConnectionId,
    stream: impl AsyncRead + AsyncWrite,
    queue: mpsc::Receiver<Vec<u8>>,
    inputs: mpsc::Sender<Input>,
    idle: Duration,
) {
    let (reader, writer) = tokio::io::split(stream);
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
async fn read(id: ConnectionId, reader: impl AsyncRead, inputs: &mpsc::Sender<Input>, idle: Duration) {
    let mut reader = std::pin::pin!(reader);
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

async fn write(writer: impl AsyncWrite, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut writer = std::pin::pin!(writer);
    while let Some(bytes) = queue.recv().await {
        if !matches!(timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(WRITE_TIMEOUT, writer.shutdown()).await; // it ends in any case
}

async fn refused(id: ConnectionId, remote: SocketAddr, error: &io::Error, inputs: &mpsc::Sender<Input>) {
    debug!(peer = %remote, %error, "SIP connection not opened");
    closed(id, inputs).await;
}

async fn closed(id: ConnectionId, inputs: &mpsc::Sender<Input>) {
    // The driver may be gone; then nobody needs to know.
    let _ = inputs.send(Input::Closed { connection: id }).await;
}
