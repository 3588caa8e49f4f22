//! The two sinks that throw everything away: the floor under any recorder. Each runs in this program, started once more.
//!
//! - naive: epoll over all sockets, and `recvmmsg` on each as soon as it has something;
//! - same way: what the box's media thread asks of the kernel, and nothing else: every 500 ms one `recvmmsg` of up to 32
//!   messages per stream, half of the streams 250 ms after the others, with time stamps and drop counters; RTCP once a second.

use std::io::{BufRead, BufReader, IoSliceMut, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use nearend::clock::Now;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use super::Result;
use super::contestant::{ADDRESS, Counted, FIRST_PORT, Running};
use super::front::{Front, Ports, description};
use super::plan::Arguments;
use super::process::{self, Core, Guarded};

/// As in the box.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
const SWEEPS_PER_READ: u32 = 2;
const READS_PER_RTCP: u32 = 2;
const SWEEP_MESSAGES: usize = 32;
const MAX_DATAGRAM: usize = 2_048;

/// A socket that is read at once has rarely more than one packet waiting.
const EAGER_MESSAGES: usize = 16;

/// How a sink reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Sink {
    /// Epoll, at once.
    Naive,
    /// As the box does.
    SameWay,
}

/// A sink's process with its SIP.
pub(crate) struct RunningSink {
    child: Guarded,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    front: Front,
}

impl RunningSink {
    pub(crate) fn start(sink: Sink, streams: u32) -> Result<RunningSink> {
        let own = std::env::current_exe()?;
        let name = if sink == Sink::Naive { "naive" } else { "same-way" };
        let mut child = process::command(&own.to_string_lossy(), Core::Contestant)
            .args(["--sink", name, "--address", &ADDRESS.to_string(), "--streams", &streams.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (commands, answers) = (child.stdin.take(), child.stdout.take().ok_or("no standard output")?);
        let mut sink = RunningSink {
            child: Guarded(child),
            commands,
            answers: BufReader::new(answers),
            front: Front::start(Box::new(NextPort(FIRST_PORT)))?,
        };
        match sink.line()?.as_str() {
            "ready" => Ok(sink),
            other => Err(format!("the sink says {other:?}").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Running for RunningSink {
    fn pid(&self) -> Pid {
        self.child.pid()
    }

    fn sip(&self) -> SocketAddr {
        self.front.address()
    }

    fn settle(&mut self, _calls: u64) -> Result<Counted> {
        if let Some(mut commands) = self.commands.take() {
            writeln!(commands, "count")?;
            self.commands = Some(commands);
        }
        Ok(Counted { packets: self.line()?.parse()?, ..Counted::default() })
    }
}

/// Hands out one port pair after the other.
struct NextPort(u16);

impl Ports for NextPort {
    fn open(&mut self, _call_id: &str, _offer: &str) -> Result<String> {
        let port = self.0;
        self.0 += 2;
        Ok(description(ADDRESS, port))
    }

    fn close(&mut self, _call_id: &str) -> Result<()> {
        Ok(())
    }
}

/// Is a sink: says `ready`, answers each line from its standard input with the number of packets, and ends with it.
pub(crate) fn run(sink: Sink, arguments: &Arguments) -> Result<()> {
    let streams = arguments.plan.streams.first().copied().unwrap_or_default();
    let sockets: Vec<Pair> = (0..streams).map(|n| Pair::bind(arguments.address, n, sink)).collect::<Result<_>>()?;
    println!("ready");
    match sink {
        Sink::Naive => read_at_once(&sockets),
        Sink::SameWay => read_in_sweeps(&sockets),
    }
}

/// The sockets of a stream.
struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Pair {
    fn bind(address: Ipv4Addr, n: u32, sink: Sink) -> Result<Pair> {
        let port = FIRST_PORT + 2 * u16::try_from(n)?;
        let pair = Pair { rtp: UdpSocket::bind((address, port))?, rtcp: UdpSocket::bind((address, port + 1))? };
        if sink == Sink::SameWay {
            for socket in [&pair.rtp, &pair.rtcp] {
                setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
                setsockopt(socket, sockopt::RxqOvfl, &1)?;
            }
        }
        Ok(pair)
    }
}

fn read_at_once(sockets: &[Pair]) -> Result<()> {
    const STDIN: u64 = u64::MAX;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(stdin().as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STDIN))?;
    let by_number: Vec<&UdpSocket> = sockets.iter().flat_map(|pair| [&pair.rtp, &pair.rtcp]).collect();
    for (n, socket) in (0..).zip(&by_number) {
        epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, n))?;
    }
    let mut reader = Reader::<EAGER_MESSAGES>::new(None);
    let mut events = [EpollEvent::empty(); 256];
    let mut packets = 0;
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for n in events.iter().take(ready).map(EpollEvent::data) {
            match usize::try_from(n).ok().and_then(|n| by_number.get(n)) {
                Some(socket) if n % 2 == 0 => packets += reader.read(socket)?,
                Some(socket) => drop(reader.read(socket)?),
                None if !answer(packets)? => return Ok(()),
                None => {}
            }
        }
    }
}

fn read_in_sweeps(sockets: &[Pair]) -> Result<()> {
    let mut reader = Reader::<SWEEP_MESSAGES>::new(Some(nix::cmsg_space!(TimeSpec, u32)));
    let mut packets = 0;
    let mut next = Now::read().mono.after(SWEEP_EVERY);
    for sweep in 0_u32.. {
        let is_asked = wait(next.since(Now::read().mono))?;
        for (n, pair) in (0..).zip(sockets) {
            if is_asked || (sweep + n).is_multiple_of(SWEEPS_PER_READ) {
                packets += reader.read(&pair.rtp)?;
                if (sweep / SWEEPS_PER_READ).is_multiple_of(READS_PER_RTCP) {
                    reader.read(&pair.rtcp)?;
                }
            }
        }
        if is_asked && !answer(packets)? {
            break;
        }
        next = next.after(SWEEP_EVERY);
    }
    Ok(())
}

/// Waits for a line on standard input; gives whether there is one.
fn wait(time: Duration) -> Result<bool> {
    let stdin = stdin();
    let timeout = PollTimeout::try_from(time.as_micros().div_ceil(1_000))?;
    Ok(poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], timeout)? > 0)
}

/// Answers a line; false when there are no more.
fn answer(packets: u64) -> Result<bool> {
    let asked = stdin().lock().read_line(&mut String::new())? > 0;
    if asked {
        println!("{packets}");
        stdout().flush()?;
    }
    Ok(asked)
}

/// Reads sockets until they are empty.
struct Reader<const MESSAGES: usize> {
    buffers: Box<[[u8; MAX_DATAGRAM]; MESSAGES]>,
    control: Option<Vec<u8>>,
    /// Headers without control data are used again and again. Those with must be fresh: the kernel leaves the length of what
    /// it wrote in them, and the next one would be cut.
    headers: Option<MultiHeaders<SockaddrIn>>,
}

impl<const MESSAGES: usize> Reader<MESSAGES> {
    fn new(control: Option<Vec<u8>>) -> Self {
        Reader { buffers: Box::new([[0; MAX_DATAGRAM]; MESSAGES]), control, headers: None }
    }

    fn read(&mut self, socket: &UdpSocket) -> Result<u64> {
        let mut total = 0;
        loop {
            let mut headers = self.headers.take().unwrap_or_else(|| MultiHeaders::preallocate(MESSAGES, self.control.clone()));
            let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
            let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
            let received = match received {
                Ok(messages) => messages.count(),
                Err(Errno::EAGAIN) => 0,
                Err(error) => return Err(error.into()),
            };
            if self.control.is_none() || received == 0 {
                self.headers = Some(headers);
            }
            total += received as u64;
            if received < MESSAGES {
                return Ok(total);
            }
        }
    }
}
