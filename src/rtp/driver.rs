//! The `media` thread and its sockets: one UDP socket per stream and one for its RTCP, read in sweeps with `recvmmsg`. Waking
//! up and calling the kernel, not receiving, is what costs; the sockets' buffers hold some seconds.
//!
//! The block grid of every recording lies on the monotonic quarter-second. A sweep runs 100 ms after each: it reads the streams
//! one of whose blocks has ended, so each twice a second, seals those blocks and gives all of them to the spool in one message. What
//! the spool does not take waits in the pool, and only when the pool is empty audio is lost, and counted.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc as tokio_mpsc;

use crate::clock::Now;
use crate::model::{Block, MonoTime, Samples, StreamKey, StreamReport};

use super::blocks::Pool;
use super::ports::Ports;
use super::stream::{BLOCK, Manner, Stream, StreamChange, StreamSpec};

const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// How long after the end of a block it is sealed.
const GRACE: Duration = Duration::from_millis(100);

const RTCP_SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Reports to the main thread and, on the average, to the peer (RFC 3550 §6.2).
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The first report comes early: with it the ledger learns where the stream's clock stands, should the box be killed.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// Sweeps whose reports may wait for the main thread. When so many do, a running total is left out (the next one holds it, too),
/// and the last report of a stream waits.
const REPORTS_WAITING: usize = 8;

/// Messages of one `recvmmsg`: a stream with packets of 20 ms has 25 waiting.
const MESSAGES: usize = 32;

/// Reads of one socket in one sweep, so that a flood on one does not starve the others.
const READS_PER_SWEEP: usize = 16;

/// An Ethernet frame holds less; what is longer is cut and counted as malformed.
const MAX_DATAGRAM: usize = 1_600;

/// How long the thread waits at its end for the spool to take the last blocks.
const LAST_BLOCKS_WAIT: Duration = Duration::from_secs(2);

/// What the station must know of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen unless a stream says otherwise.
    pub address: IpAddr,
    /// Ports for RTP and RTCP.
    pub ports: RangeInclusive<u16>,
    /// How they are received.
    pub manner: Manner,
    /// Blocks (4 kB) that may be in memory: open, or on their way to the disk. Two per stream and second of delay.
    pub pool_blocks: usize,
}

/// Takes sealed blocks to the spool without blocking; gives them back when it cannot.
pub type BlockSink = Box<dyn FnMut(Vec<Block>) -> Result<(), Vec<Block>> + Send>;

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The range is used up.
    #[error("all {pairs} port pairs of [rtp] ports are in use; widen the range")]
    NoPort {
        /// How many there are.
        pairs: usize,
    },
    /// The stream must have this port, which is not free.
    #[error(
        "cannot listen at {address} again, where the call from before the restart sends: that port or the one above it is in use by another stream or program (`ss -ulpn` names it); keep other programs out of [rtp] ports"
    )]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("cannot listen at {address}: {source} (is [rtp] address one of this box, is LimitNOFILE high enough?)")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The stream is there already.
    #[error("leg {} of recording {} has a stream already", .0.leg, .0.recording)]
    Exists(StreamKey),
    /// The thread has died.
    #[error("the media thread no longer runs; restart the daemon")]
    Stopped,
}

/// The main thread's handle of the media thread.
#[derive(Debug)]
pub struct Media {
    config: Config,
    ports: Ports,
    /// The port of each open stream.
    open: BTreeMap<StreamKey, u16>,
    /// Unbounded, because the main thread must not wait: a few commands per SIP transaction, taken up at once.
    commands: mpsc::Sender<Command>,
    sweeps: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

enum Command {
    Open(Box<OpenStream>),
    Change(StreamKey, MonoTime, Box<StreamChange>),
    Close(StreamKey),
}

impl Media {
    /// Starts the thread. `spool` takes the sealed blocks; the memory of those it has written comes back through `recycled`.
    ///
    /// # Errors
    /// The thread could not be started, or no socket be made.
    pub fn start(
        config: Config,
        spool: BlockSink,
        recycled: mpsc::Receiver<Samples>,
    ) -> io::Result<(Media, tokio_mpsc::Receiver<Vec<StreamReport>>)> {
        raise_file_limit();
        let (commands, command_queue) = mpsc::channel();
        let (reports, report_queue) = tokio_mpsc::channel(REPORTS_WAITING);
        let sweeper = Sweeper::new(&config, spool, recycled, reports)?;
        let sweeps = Arc::clone(&sweeper.sweeps);
        let thread = thread::Builder::new().name("media".into()).spawn(move || sweeper.run(&command_queue))?;
        let ports = Ports::new(&config.ports);
        Ok((Media { config, ports, open: BTreeMap::new(), commands, sweeps, thread }, report_queue))
    }

    /// Opens a stream; gives the address at which it listens.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(&mut self, spec: &StreamSpec) -> Result<SocketAddr, OpenError> {
        if self.open.contains_key(&spec.key) {
            return Err(OpenError::Exists(spec.key));
        }
        let now = Now::read().mono;
        let ip = spec.local.unwrap_or(self.config.address);
        let (rtp, rtcp) = match spec.port {
            Some(port) => self.bind_at(ip, port, now)?,
            None => self.bind(ip, now)?,
        };
        let local =
            rtp.local_addr().map_err(|source| OpenError::Bind { address: SocketAddr::new(self.config.address, 0), source })?;
        self.open.insert(spec.key, local.port());
        let stream = OpenStream {
            stream: Stream::new(spec, self.config.manner),
            last_read: now,
            rtp,
            rtcp,
            ssrc: fastrand::u32(..),
            closing: false,
            next_report: now.after(FIRST_REPORT),
            next_rtcp: now.after(rtcp_interval()),
        };
        self.commands.send(Command::Open(Box::new(stream))).map_err(|_| OpenError::Stopped)?;
        Ok(local)
    }

    /// Changes a stream for all packets that arrive from `at` on.
    pub fn change(&self, key: StreamKey, at: MonoTime, change: StreamChange) {
        let _ = self.commands.send(Command::Change(key, at, Box::new(change))); // a dead thread is the watchdog's business
    }

    /// Closes a stream: what has arrived is still placed, its blocks go to the spool, then comes its last report.
    pub fn close(&mut self, key: StreamKey) {
        if let Some(port) = self.open.remove(&key) {
            self.ports.release(port, Now::read().mono);
            let _ = self.commands.send(Command::Close(key)); // as above
        }
    }

    /// Counts the sweeps; stands still only when the thread hangs.
    pub fn sweeps(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sweeps)
    }

    /// Closes all streams, hands all blocks to the spool and ends the thread. Gives false when the thread had died.
    pub fn stop(self) -> bool {
        drop(self.commands);
        self.thread.join().is_ok()
    }

    /// This even port for RTP and the odd one above it for RTCP.
    fn bind_at(&mut self, ip: IpAddr, port: u16, now: MonoTime) -> Result<(UdpSocket, UdpSocket), OpenError> {
        let address = SocketAddr::new(ip, port);
        if !self.ports.take_this(port) {
            return Err(OpenError::Taken { address });
        }
        bind_pair(ip, port).map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => {
                self.ports.busy(port, now);
                OpenError::Taken { address }
            }
            _ => {
                self.ports.release(port, now);
                OpenError::Bind { address, source }
            }
        })
    }

    /// An even port for RTP and the odd one above it for RTCP.
    fn bind(&mut self, ip: IpAddr, now: MonoTime) -> Result<(UdpSocket, UdpSocket), OpenError> {
        while let Some(port) = self.ports.take(now) {
            match bind_pair(ip, port) {
                Ok(pair) => return Ok(pair),
                Err(error) if error.kind() == ErrorKind::AddrInUse => self.ports.busy(port, now),
                Err(source) => {
                    self.ports.release(port, now);
                    return Err(OpenError::Bind { address: SocketAddr::new(ip, port), source });
                }
            }
        }
        Err(OpenError::NoPort { pairs: self.ports.pairs() })
    }
}

fn bind_pair(ip: IpAddr, port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    let rtp = UdpSocket::bind((ip, port))?;
    let rtcp = UdpSocket::bind((ip, port + 1))?; // port is even
    for socket in [&rtp, &rtcp] {
        socket.set_nonblocking(true)?;
        optional(setsockopt(socket, sockopt::ReceiveTimestampns, &true))?;
        optional(setsockopt(socket, sockopt::RxqOvfl, &1))?;
    }
    Ok((rtp, rtcp))
}

/// Keeps the kernel stamping packets while no stream is open: it begins some time after the first socket has asked for it,
/// and the first packets of a call would be stamped only when they are read.
fn stamping_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    if setsockopt(&socket, sockopt::ReceiveTimestampns, &true).is_err() {
        tracing::warn!("this kernel stamps no packets: the first of a stream may be placed up to {BLOCK:?} late");
    }
    Ok(socket)
}

/// What a kernel may lack (qemu's user emulation knows neither option): packets then count as arrived when they are read, and
/// drops in the kernel are only seen as loss.
fn optional(set: nix::Result<()>) -> nix::Result<()> {
    if set == Err(Errno::ENOPROTOOPT) { Ok(()) } else { set }
}

/// Two sockets per stream soon exceed the usual soft limit of 1,024 files.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised; each stream needs two");
    }
}

/// 5 s, varied by half to either side so that reports of many streams do not fall together (RFC 3550 §6.3.1).
fn rtcp_interval() -> Duration {
    REPORT_EVERY.mul_f64(0.5 + fastrand::f64())
}

/// The first instant after `now` that lies 100 ms after a quarter of a second.
fn next_sweep(now: MonoTime) -> MonoTime {
    last_grid(now, SWEEP_EVERY).after(SWEEP_EVERY).after(GRACE)
}

/// The end of the newest blocks that are to be sealed at `now`.
fn seal_boundary(now: MonoTime) -> MonoTime {
    last_grid(now, SWEEP_EVERY)
}

/// The last multiple of `step` that was at least [`GRACE`] ago.
fn last_grid(now: MonoTime, step: Duration) -> MonoTime {
    let (us, step_us) = (now.since(MonoTime(0)).saturating_sub(GRACE).as_micros() as u64, step.as_micros() as u64);
    MonoTime(us - us % step_us)
}

/// A stream with its sockets.
struct OpenStream {
    stream: Stream,
    /// When it was opened, until it is read for the first time.
    last_read: MonoTime,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The box's SSRC in its receiver reports.
    ssrc: u32,
    closing: bool,
    next_report: MonoTime,
    next_rtcp: MonoTime,
}

impl OpenStream {
    /// Reads what has arrived.
    fn receive(&mut self, reader: &mut Reader, now: Now, pool: &mut Pool) {
        let OpenStream { stream, last_read, rtp, rtcp, closing, .. } = self;
        let earliest = std::mem::replace(last_read, now.mono);
        let arrival = Arrival { now, earliest };
        reader.read(rtp, arrival, |message| {
            if let Some(drops) = message.drops {
                stream.kernel_drops(drops);
            }
            stream.rtp(message.arrived, message.from, message.bytes, pool);
        });
        let is_rtcp_due = last_grid(now.mono, RTCP_SWEEP_EVERY) > last_grid(earliest, RTCP_SWEEP_EVERY);
        if is_rtcp_due || *closing {
            reader.read(rtcp, arrival, |message| stream.rtcp(message.arrived, message.from, message.bytes));
        }
        stream.handle_timeout(now.mono, pool);
    }

    fn send_receiver_report(&mut self, now: MonoTime, cname: &str) {
        if self.next_rtcp > now {
            return;
        }
        self.next_rtcp = now.after(rtcp_interval());
        let mut out = [0; 512];
        let Some((remote, len)) = self.stream.receiver_report(now, self.ssrc, cname, &mut out) else { return };
        let socket = if remote.mux { &self.rtp } else { &self.rtcp };
        if let (Some(to), Some(report)) = (remote.rtcp, out.get(..len)) {
            let _ = socket.send_to(report, to); // the next one will do
        }
    }
}

/// All that the thread has.
struct Sweeper {
    streams: BTreeMap<StreamKey, Box<OpenStream>>,
    pool: Pool,
    recycled: mpsc::Receiver<Samples>,
    spool: BlockSink,
    /// All of a sweep in one: each message wakes the main thread, which is dearer than what is in it.
    reports: tokio_mpsc::Sender<Vec<StreamReport>>,
    /// Running totals of this sweep.
    totals: Vec<StreamReport>,
    /// Last reports of closed streams, until the spool has their blocks and the main thread takes them.
    last_reports: Vec<StreamReport>,
    cname: String,
    sweeps: Arc<AtomicU64>,
    /// See [`stamping_socket`].
    _stamping: Socket,
}

impl Sweeper {
    fn new(
        config: &Config,
        spool: BlockSink,
        recycled: mpsc::Receiver<Samples>,
        reports: tokio_mpsc::Sender<Vec<StreamReport>>,
    ) -> io::Result<Sweeper> {
        Ok(Sweeper {
            streams: BTreeMap::new(),
            pool: Pool::new(config.pool_blocks),
            recycled,
            spool,
            reports,
            totals: Vec::new(),
            last_reports: Vec::new(),
            cname: format!("nearend@{}", config.address),
            sweeps: Arc::new(AtomicU64::new(0)),
            _stamping: stamping_socket()?,
        })
    }

    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        let mut reader = Reader::new();
        let mut next = next_sweep(Now::read().mono);
        loop {
            match commands.recv_timeout(next.since(Now::read().mono)) {
                Ok(command) => self.command(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(&mut reader),
            }
            let now = Now::read();
            if now.mono >= next {
                self.sweep(&mut reader, now);
                next = next_sweep(now.mono);
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(stream) => {
                self.streams.insert(stream.stream.key(), stream);
            }
            Command::Change(key, at, change) => {
                if let Some(open) = self.streams.get_mut(&key) {
                    open.stream.change(at, *change);
                }
            }
            Command::Close(key) => {
                if let Some(open) = self.streams.get_mut(&key) {
                    open.closing = true;
                }
            }
        }
    }

    fn sweep(&mut self, reader: &mut Reader, now: Now) {
        for samples in self.recycled.try_iter() {
            self.pool.give(samples);
        }
        self.serve(reader, now);
        self.close_streams();
        self.hand_over();
        self.sweeps.fetch_add(1, Ordering::Relaxed);
    }

    /// All that is to be done for the streams one of whose blocks is over, each in one go: what is not touched again costs no
    /// cache misses.
    fn serve(&mut self, reader: &mut Reader, now: Now) {
        let boundary = seal_boundary(now.mono);
        let due = |open: &&mut Box<OpenStream>| open.closing || open.stream.is_due(boundary);
        for open in self.streams.values_mut().filter(due) {
            open.receive(reader, now, &mut self.pool);
            open.stream.seal_until(boundary, &mut self.pool);
            open.send_receiver_report(now.mono, &self.cname);
            if open.next_report <= now.mono {
                open.next_report = now.mono.after(REPORT_EVERY);
                self.totals.push(open.stream.report(false));
            }
        }
    }

    fn close_streams(&mut self) {
        for (_, mut open) in self.streams.extract_if(.., |_, open| open.closing) {
            open.stream.seal_all(&mut self.pool);
            self.last_reports.push(open.stream.report(true));
        }
    }

    /// Hands the sealed blocks to the spool, and only then says which streams are closed.
    fn hand_over(&mut self) {
        let refused = if self.pool.has_sealed() { (self.spool)(self.pool.take_sealed()).err() } else { None };
        let mut reports = std::mem::take(&mut self.totals);
        match refused {
            Some(blocks) => self.pool.put_back(blocks),
            None => reports.append(&mut self.last_reports),
        }
        if !reports.is_empty()
            && let Err(full) = self.reports.try_send(reports)
        {
            self.last_reports.extend(full.into_inner().into_iter().filter(|report| report.closed));
        }
    }

    /// The handle is gone: closes all streams and waits a little for the spool.
    fn end(mut self, reader: &mut Reader) {
        for open in self.streams.values_mut() {
            open.closing = true;
        }
        self.sweep(reader, Now::read());
        let give_up = Now::read().mono.after(LAST_BLOCKS_WAIT);
        while self.pool.has_sealed() && Now::read().mono < give_up {
            thread::sleep(SWEEP_EVERY / 10);
            self.hand_over();
        }
        let lost = self.pool.take_sealed().len();
        if lost > 0 {
            tracing::warn!(blocks = lost, "the spool did not take the last blocks; up to half a second of audio each is lost");
        }
    }
}

/// What turns the kernel's time of arrival into ours.
#[derive(Clone, Copy)]
struct Arrival {
    now: Now,
    earliest: MonoTime,
}

impl Arrival {
    /// The kernel stamps packets with the wall clock, which may have been set since: so never outside of the time since the
    /// stream was last read.
    fn of(self, stamp: Option<TimeSpec>) -> MonoTime {
        let Some(stamp) = stamp else { return self.now.mono };
        let wall_us = stamp.tv_sec().saturating_mul(1_000_000).saturating_add(stamp.tv_nsec() / 1_000);
        let mono = self.now.mono.0.saturating_add_signed(wall_us.saturating_sub(self.now.wall.0));
        MonoTime(mono.min(self.now.mono.0).max(self.earliest.0))
    }
}

/// A datagram as received.
struct Message<'a> {
    arrived: MonoTime,
    from: SocketAddr,
    /// Empty when it did not fit.
    bytes: &'a [u8],
    /// Datagrams that the kernel had to drop so far.
    drops: Option<u32>,
}

/// Reads sockets with `recvmmsg`.
struct Reader {
    buffers: Box<[[u8; MAX_DATAGRAM]; MESSAGES]>,
    /// Headers that have received nothing yet. Those that have are not used again: the kernel leaves the length of its own
    /// control data in them, so the next one would be cut (nix does not reset it).
    fresh: Option<MultiHeaders<SockaddrStorage>>,
}

impl Reader {
    fn new() -> Reader {
        Reader { buffers: Box::new([[0; MAX_DATAGRAM]; MESSAGES]), fresh: None }
    }

    fn read(&mut self, socket: &UdpSocket, arrival: Arrival, mut each: impl FnMut(Message<'_>)) {
        for _ in 0..READS_PER_SWEEP {
            match self.read_some(socket, arrival, &mut each) {
                Ok(MESSAGES) => {}
                // An ICMP error to one of our reports: the peer takes none. What has arrived is read all the same.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EINTR) => {}
                Ok(_) | Err(_) => return, // all read
            }
        }
    }

    fn read_some(&mut self, socket: &UdpSocket, arrival: Arrival, each: &mut impl FnMut(Message<'_>)) -> Result<usize, Errno> {
        let mut headers =
            self.fresh.take().unwrap_or_else(|| MultiHeaders::preallocate(MESSAGES, Some(nix::cmsg_space!(TimeSpec, u32))));
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let received = match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => received,
            Err(error) => {
                self.fresh = Some(headers);
                return Err(error);
            }
        };
        let mut count = 0;
        for message in received {
            count += 1;
            if let Some(message) = read_message(&message, arrival) {
                each(message);
            }
        }
        Ok(count)
    }
}

fn read_message<'a>(message: &RecvMsg<'_, 'a, SockaddrStorage>, arrival: Arrival) -> Option<Message<'a>> {
    let from = message.address.as_ref().and_then(socket_address)?;
    let (mut stamp, mut drops) = (None, None);
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(time) => stamp = Some(time),
            ControlMessageOwned::RxqOvfl(count) => drops = Some(count),
            _ => {}
        }
    }
    let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let bytes = message.iovs().next().filter(|_| is_whole).unwrap_or_default();
    Some(Message { arrived: arrival.of(stamp), from, bytes, drops })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| SocketAddrV6::from(*a).into()))
}

#[cfg(test)]
mod tests;
