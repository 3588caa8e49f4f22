//! The simulator's edge: sockets, files, and the loop that runs [`Scenario`] and [`Sender`] on one thread.
//!
//! Every stream has a pair of ports of its own, as with a real media server, because recorders check where packets come from;
//! so there is one packet per socket and packet time, and nothing for sendmmsg to gather.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;

use crate::clock::Now;
use crate::sip::Host;

use self::link::SipLink;
use super::options::{Options, OptionsError, Target};
use super::rtcp::reported_lost;
use super::scenario::{Action, Progress, Scenario, SessionNo, Start};
use super::sender::{CallNo, Output, Sender, StreamNo};
use super::stream::{Counters, Stream};
use super::summary::{Packets, Rtcp, Summary};

/// How often the caller hears of the progress, and can stop the run.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Why a run could not be made, or not to its end.
#[derive(Debug, Error)]
pub enum Error {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The recorder's name leads nowhere.
    #[error("{to} has no address that can be reached from here: {source}")]
    Resolve {
        /// As given.
        to: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// No connection or socket for SIP.
    #[error("SIP to {to}: {source}; does the recorder listen there, and is --local an address of this machine?")]
    Sip {
        /// The recorder.
        to: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No port for RTP.
    #[error("no pair of UDP ports on {ip} for RTP: {source}")]
    Ports {
        /// Our address.
        ip: IpAddr,
        /// What the system says.
        source: io::Error,
    },
    /// More sockets than allowed.
    #[error("{needed} sockets are needed for so many calls at once, {allowed} are allowed: raise the limit (ulimit -n {needed})")]
    Limit {
        /// Four per two-party call.
        needed: u64,
        /// The hard limit of open files.
        allowed: u64,
    },
    /// A dump file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Dump {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Makes a run and returns when all its calls are over. `progress` is called several times a second; when it breaks, the calls are
/// hung up and the run ends early.
///
/// # Errors
/// If the options make no sense, or the system does not give what is needed. Refused calls are no error but in the summary.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Summary, Error> {
    options.check()?;
    allow_sockets(options)?;
    if let Some(dir) = &options.dump {
        fs::create_dir_all(dir).map_err(|source| Error::Dump { path: dir.clone(), source })?;
    }
    Driver::new(options)?.run(progress)
}

struct Driver {
    sip: SipLink,
    scenario: Scenario,
    sender: Sender,
    media: Media,
    /// Never sleeps.
    awake: bool,
}

impl Driver {
    fn new(options: &Options) -> Result<Driver, Error> {
        let remote = resolve(&options.to, options.local)?;
        let sip = SipLink::open(remote, options).map_err(|source| Error::Sip { to: remote, source })?;
        let now = Now::read();
        let ids = Rng::with_seed(RandomState::new().build_hasher().finish());
        let local = sip.local;
        Ok(Driver {
            sip,
            scenario: Scenario::new(now, options.clone(), local, ids),
            sender: Sender::new(now.mono, options.ptime_ms),
            media: Media::new(local.ip(), options),
            awake: options.awake,
        })
    }

    fn run(mut self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Summary, Error> {
        // Linux gathers the ends of sleeps over 50 µs: two packets and more. Without the right to be exact, packets are late by that.
        let _ = set_timerslack(1);
        let mut report_at = Now::read().mono;
        let mut stopped = false;
        while !self.scenario.is_finished() {
            let now = Now::read();
            for message in self.sip.receive() {
                self.scenario.handle_message(now, &message);
            }
            self.scenario.handle_timeout(now);
            self.carry_out(now)?;
            self.send_media(now)?;
            if report_at <= now.mono {
                report_at = now.mono.after(PROGRESS_EVERY);
                if progress(self.scenario.progress()).is_break() && !std::mem::replace(&mut stopped, true) {
                    self.scenario.stop(now);
                }
            }
            let due = [self.scenario.poll_timeout(), self.sender.next_due(), Some(report_at)];
            if !self.awake {
                self.sip.wait_until(due.into_iter().flatten().min());
            }
        }
        self.carry_out(Now::read())?;
        let late = self.sender.late();
        let mut summary = self.scenario.summary(Now::read());
        summary.packets = Packets { late, unsent: self.media.unsent, ..summary.packets };
        summary.rtcp = self.media.rtcp;
        let _ = progress(self.scenario.progress()); // there is nothing left to stop
        Ok(summary)
    }

    fn carry_out(&mut self, now: Now) -> Result<(), Error> {
        while let Some(action) = self.scenario.poll_action() {
            match action {
                Action::Send(message) => self.sip.send(message),
                Action::OpenPorts { session, streams } => self.open_ports(now, session, &streams)?,
                Action::Start(start) => self.start(now, *start)?,
                Action::Move(stream, remote) => self.media.direct(stream, remote),
                Action::Pause(stream) => self.sender.pause(stream, &mut |no, output| self.media.carry(no, output)),
                Action::Resume(stream) => self.sender.resume(stream),
                Action::Close(stream) => {
                    self.sender.stop(now, stream, &mut |no, output| self.media.carry(no, output));
                    self.settle(now)?;
                    self.media.close(stream);
                }
            }
        }
        Ok(())
    }

    fn open_ports(&mut self, now: Now, session: SessionNo, streams: &[StreamNo]) -> Result<(), Error> {
        let ip = self.media.ip;
        let ports: io::Result<Vec<u16>> = streams.iter().map(|stream| self.media.open(*stream)).collect();
        self.scenario.ports_open(now, session, ports.map_err(|source| Error::Ports { ip, source })?);
        Ok(())
    }

    fn start(&mut self, now: Now, start: Start) -> Result<(), Error> {
        let Start { stream, call, remote, setup, end, dump_name } = start;
        self.media.begin(stream, call, setup.ssrc, &dump_name)?;
        self.media.direct(stream, remote);
        self.sender.start(now.mono, call, stream, Stream::new(setup), end);
        Ok(())
    }

    fn send_media(&mut self, now: Now) -> Result<(), Error> {
        self.sender.run_due(now, &mut |no, output| self.media.carry(no, output));
        self.settle(now)?;
        self.carry_out(now)
    }

    /// Tells the scenario which streams have ended, and the caller what went wrong with a dump file.
    fn settle(&mut self, now: Now) -> Result<(), Error> {
        for (call, counters) in std::mem::take(&mut self.media.finished) {
            self.scenario.stream_finished(now, call, counters);
        }
        self.media.failure.take().map_or(Ok(()), Err)
    }
}

/// The ports of all streams, and what is noted of them.
struct Media {
    ip: IpAddr,
    dump_dir: Option<PathBuf>,
    /// What fills a gap in a dump.
    silence: u8,
    frame_bytes: u64,
    streams: BTreeMap<StreamNo, Ports>,
    finished: Vec<(CallNo, Counters)>,
    failure: Option<Error>,
    unsent: u64,
    rtcp: Rtcp,
}

/// A stream's sockets and what belongs to it.
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    call: CallNo,
    ssrc: u32,
    reported_lost: u32,
    dump: Option<Dump>,
}

/// A file that is being written.
struct Dump {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

impl Media {
    fn new(ip: IpAddr, options: &Options) -> Media {
        Media {
            ip,
            dump_dir: options.dump.clone(),
            silence: options.law.silence(),
            frame_bytes: u64::from(options.ptime_ms) * 8,
            streams: BTreeMap::new(),
            finished: Vec::new(),
            failure: None,
            unsent: 0,
            rtcp: Rtcp::default(),
        }
    }

    /// Opens a pair of ports and returns the even one, for RTP.
    fn open(&mut self, stream: StreamNo) -> io::Result<u16> {
        let (rtp, rtcp) = port_pair(self.ip)?;
        let port = rtp.local_addr()?.port();
        self.streams.insert(stream, Ports { rtp, rtcp, call: CallNo(0), ssrc: 0, reported_lost: 0, dump: None });
        Ok(port)
    }

    fn begin(&mut self, stream: StreamNo, call: CallNo, ssrc: u32, dump_name: &str) -> Result<(), Error> {
        let Some(ports) = self.streams.get_mut(&stream) else { return Ok(()) };
        (ports.call, ports.ssrc) = (call, ssrc);
        if let Some(dir) = &self.dump_dir {
            let path = dir.join(dump_name);
            let file = File::create(&path).map_err(|source| Error::Dump { path: path.clone(), source })?;
            ports.dump = Some(Dump { path, file: BufWriter::new(file), bytes: 0 });
        }
        Ok(())
    }

    /// Sends to `remote` from now on, RTCP to the port above it.
    fn direct(&mut self, stream: StreamNo, remote: SocketAddr) {
        let Some(ports) = self.streams.get(&stream) else { return };
        let rtcp = SocketAddr::new(remote.ip(), remote.port().saturating_add(1));
        for (socket, to) in [(&ports.rtp, remote), (&ports.rtcp, rtcp)] {
            if let Err(error) = socket.connect(to) {
                tracing::warn!(%to, %error, "no way to the recorder's port: its packets will not be sent");
            }
        }
    }

    /// Carries out what the sender wants.
    fn carry(&mut self, no: StreamNo, output: Output<'_>) {
        let Some(ports) = self.streams.get_mut(&no) else { return };
        match output {
            Output::Rtp(datagram) => self.unsent += u64::from(ports.rtp.send(datagram).is_err()),
            Output::Rtcp(datagram) => {
                // A report that is not sent is not missed: the next one says the same and more.
                let _ = ports.rtcp.send(datagram);
                ports.hear_reports(&mut self.rtcp);
            }
            Output::Heard { frame, codes } => {
                let written =
                    ports.dump.as_mut().map_or(Ok(()), |dump| dump.write(frame * self.frame_bytes, codes, self.silence));
                self.failure = self.failure.take().or(written.err());
            }
            Output::Finished(counters) => {
                self.finished.push((ports.call, counters));
                let flushed = ports.dump.take().map_or(Ok(()), Dump::finish);
                self.failure = self.failure.take().or(flushed.err());
            }
        }
    }

    fn close(&mut self, stream: StreamNo) {
        if let Some(mut ports) = self.streams.remove(&stream) {
            ports.hear_reports(&mut self.rtcp);
            self.rtcp.reported_lost += u64::from(ports.reported_lost);
        }
    }
}

impl Ports {
    /// Reads what RTCP has come.
    fn hear_reports(&mut self, rtcp: &mut Rtcp) {
        let mut datagram = [0; 1_500];
        while let Ok(length) = self.rtcp.recv(&mut datagram) {
            rtcp.received += 1;
            self.reported_lost = reported_lost(&datagram[..length], self.ssrc).unwrap_or(self.reported_lost);
        }
    }
}

impl Dump {
    /// Writes at `position`; what lies between is silence.
    fn write(&mut self, position: u64, codes: &[u8], silence: u8) -> Result<(), Error> {
        let gap = position.saturating_sub(self.bytes);
        let written = io::copy(&mut io::repeat(silence).take(gap), &mut self.file).and_then(|_| self.file.write_all(codes));
        self.bytes += gap + codes.len() as u64;
        written.map_err(|source| Error::Dump { path: self.path.clone(), source })
    }

    fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Dump { path: self.path, source })
    }
}

/// An even port and the odd one above it (RFC 3550 §11).
fn port_pair(ip: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let mut last_error = io::Error::from(ErrorKind::AddrInUse);
    for _attempt in 0..64 {
        let any = UdpSocket::bind((ip, 0))?;
        let port = any.local_addr()?.port();
        match UdpSocket::bind((ip, port ^ 1)) {
            Ok(other) => {
                any.set_nonblocking(true)?;
                other.set_nonblocking(true)?;
                return Ok(if port.is_multiple_of(2) { (any, other) } else { (other, any) });
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// The recorder's first address of the family of `local`, or of any.
fn resolve(to: &Target, local: Option<IpAddr>) -> Result<SocketAddr, Error> {
    let found = match to.host() {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, to.port())]),
        Host::Name(name) => (name.as_str(), to.port()).to_socket_addrs().map(Iterator::collect),
    };
    let fits = |addr: &SocketAddr| local.is_none_or(|local| local.is_ipv4() == addr.is_ipv4());
    let first = found.and_then(|addrs| addrs.into_iter().find(fits).ok_or_else(|| ErrorKind::AddrNotAvailable.into()));
    first.map_err(|source| Error::Resolve { to: to.to_string(), source })
}

/// Raises the limit of open files as far as it goes, and sees whether it is enough for all calls that may be up at once.
fn allow_sockets(options: &Options) -> Result<(), Error> {
    let at_once = (options.rate * (options.duration.as_secs_f64() + 2.0)).ceil().min(f64::from(options.calls)).max(1.0);
    let files_per_call = if options.dump.is_some() { 6 } else { 4 };
    let needed = at_once as u64 * files_per_call + 32; // at most u32::MAX calls
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((needed, needed));
    if soft < needed && setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard).is_err() || hard < needed {
        return Err(Error::Limit { needed, allowed: hard });
    }
    Ok(())
}

mod link;
#[cfg(test)]
mod tests;
