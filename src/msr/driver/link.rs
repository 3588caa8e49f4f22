//! The way to the recorder for SIP: datagrams, or a stream that never blocks, in the clear or over TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PROGRESS_EVERY;
use crate::clock::Now;
use crate::model::MonoTime;
use crate::model::dialog::Transport;
use crate::msr::options::{Options, Tls};
use crate::sip::framing::{Frame, PONG, StreamFramer};
use crate::sip::{Host, Message};

/// How long a connection may take, and agreeing on TLS again.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More SIP than this waiting for a peer that does not read is thrown away with its connection.
const MAX_UNSENT_BYTES: usize = 4 << 20;

/// The way to the recorder for SIP.
pub(super) struct SipLink {
    pub(super) local: SocketAddr,
    remote: SocketAddr,
    carrier: Carrier,
}

enum Carrier {
    Udp(UdpSocket),
    Stream(Connection),
}

/// A stream that never blocks; none after it broke, until there is something to send.
struct Connection {
    wire: Option<Wire>,
    dressing: Dressing,
    framer: StreamFramer,
    unsent: Vec<u8>,
}

impl SipLink {
    pub(super) fn open(remote: SocketAddr, options: &Options) -> io::Result<SipLink> {
        let any = if remote.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        // Connecting a datagram socket sends nothing, but tells which of our addresses the recorder would see.
        let probe = UdpSocket::bind((options.local.unwrap_or(any), 0))?;
        probe.connect(remote)?;
        let ip = probe.local_addr()?.ip();
        let (carrier, local) = match options.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind((ip, 0))?;
                socket.set_nonblocking(true)?;
                let local = socket.local_addr()?;
                (Carrier::Udp(socket), local)
            }
            Transport::Tcp | Transport::Tls => {
                let connection = Connection::open(ip, remote, Dressing::of(options)?)?;
                let local = connection.wire.as_ref().map_or(Ok((ip, 0).into()), |wire| wire.socket().local_addr())?;
                (Carrier::Stream(connection), local)
            }
        };
        Ok(SipLink { local, remote, carrier })
    }

    pub(super) fn send(&mut self, message: Vec<u8>) {
        let sent = match &mut self.carrier {
            Carrier::Udp(socket) => socket.send_to(&message, self.remote).map(drop),
            Carrier::Stream(connection) => connection.send(self.local.ip(), self.remote, &message),
        };
        if let Err(error) = sent {
            tracing::warn!(to = %self.remote, %error, "a SIP message was not sent");
        }
    }

    /// Everything that has arrived and can be read.
    pub(super) fn receive(&mut self) -> Vec<Message> {
        let arrived = match &mut self.carrier {
            Carrier::Udp(socket) => datagrams(socket),
            Carrier::Stream(connection) => connection.receive(),
        };
        let read = |bytes: Vec<u8>| match Message::parse(&bytes) {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(from = %self.remote, %error, "the recorder sent something that cannot be read");
                None
            }
        };
        arrived.into_iter().filter_map(read).collect()
    }

    /// Sleeps until something arrives or `due` has come.
    pub(super) fn wait_until(&self, due: Option<MonoTime>) {
        let left = due.map_or(PROGRESS_EVERY, |due| due.since(Now::read().mono));
        let wanted = |unsent: bool| if unsent { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let fd = match &self.carrier {
            Carrier::Udp(socket) => Some(PollFd::new(socket.as_fd(), wanted(false))),
            Carrier::Stream(connection) => {
                connection.wire.as_ref().map(|wire| PollFd::new(wire.socket().as_fd(), wanted(!connection.unsent.is_empty())))
            }
        };
        let mut fds: Vec<_> = fd.into_iter().collect();
        // Interrupted or refused, the loop looks again at all there is: nothing is lost but a moment.
        let _ = ppoll(&mut fds, Some(TimeSpec::from(left)), None);
    }
}

impl Connection {
    fn open(ip: IpAddr, remote: SocketAddr, dressing: Dressing) -> io::Result<Connection> {
        let domain = socket2::Domain::for_address(remote);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.bind(&SocketAddr::new(ip, 0).into())?;
        socket.connect_timeout(&remote.into(), CONNECT_WITHIN)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let wire = Wire::new(stream, &dressing)?;
        wire.socket().set_nonblocking(true)?;
        Ok(Connection { wire: Some(wire), dressing, framer: StreamFramer::default(), unsent: Vec::new() })
    }

    fn send(&mut self, ip: IpAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        if self.wire.is_none() {
            *self = Connection::open(ip, remote, self.dressing.clone())?;
        }
        self.unsent.extend_from_slice(message);
        self.flush();
        Ok(())
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        self.flush();
        let mut messages = Vec::new();
        let mut chunk = [0; 16_384];
        while let Some(wire) = &mut self.wire {
            match wire.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.give_up("the recorder closed the connection"),
                Ok(length) => {
                    self.framer.push(&chunk[..length]);
                    while let Some(frame) = self.framer.next_frame() {
                        match frame {
                            Frame::Message(message) => messages.push(message),
                            Frame::Ping => self.unsent.extend_from_slice(PONG),
                            Frame::Broken { .. } => self.give_up("the recorder sends what is no SIP"),
                        }
                    }
                }
            }
        }
        messages
    }

    fn flush(&mut self) {
        while let Some(wire) = self.wire.as_mut().filter(|_| !self.unsent.is_empty()) {
            match wire.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.unsent.len() < MAX_UNSENT_BYTES => break,
                Err(_) => self.give_up("the recorder does not read what it is sent"),
            }
        }
    }

    /// What was under way is lost; the next message opens a new connection.
    fn give_up(&mut self, why: &str) {
        tracing::warn!(why, "SIP connection lost");
        self.wire = None;
        self.framer = StreamFramer::default();
        self.unsent = Vec::new();
    }
}

fn datagrams(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut datagram = vec![0; 65_536];
    let mut arrived = Vec::new();
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((length, _)) => arrived.push(datagram[..length].to_vec()),
            // Reported late from an earlier send: the transaction's timers see to it.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
            Err(_) => return arrived,
        }
    }
}

/// What is put around a stream.
#[derive(Clone)]
enum Dressing {
    Nothing,
    /// TLS, with a recorder whose certificate carries this name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

impl Dressing {
    fn of(options: &Options) -> io::Result<Dressing> {
        if options.transport != Transport::Tls {
            return Ok(Dressing::Nothing);
        }
        let name = match options.to.host() {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        };
        Ok(Dressing::Tls(Arc::new(client(&options.tls).map_err(io::Error::other)?), name))
    }
}

fn client(tls: &Tls) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &tls.ca_file {
        certificates(file)?.into_iter().try_for_each(|certificate| roots.add(certificate))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    Ok(match &tls.identity {
        Some((cert_file, key_file)) => {
            config.with_client_auth_cert(certificates(cert_file)?, PrivateKeyDer::from_pem_file(key_file)?)?
        }
        None => config.with_no_client_auth(),
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|why| format!("{}: {why}; expected certificates in PEM", file.display()))
}

/// A connected stream.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    /// Agrees on TLS if there is to be any; until then it blocks.
    fn new(stream: TcpStream, dressing: &Dressing) -> io::Result<Wire> {
        let Dressing::Tls(config, name) = dressing else { return Ok(Wire::Plain(stream)) };
        stream.set_read_timeout(Some(CONNECT_WITHIN))?;
        let connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
        let mut tls = Box::new(StreamOwned::new(connection, stream));
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Wire::Tls(tls))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(tls) => &tls.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }
}
