//! What all contestants have in common.

use std::net::{Ipv4Addr, SocketAddr};

use nix::unistd::Pid;

use super::Result;
use super::sinks::{RunningSink, Sink};
use super::{recorder, rtpengine};

/// Where contestants listen: a loopback address that nothing else uses.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 93, 17, 1);
/// Where the sender is.
pub(crate) const SENDER: Ipv4Addr = Ipv4Addr::new(127, 93, 17, 2);
/// The first RTP port of a contestant; every stream has the next even one, and the one above it for RTCP.
pub(crate) const FIRST_PORT: u16 = 20_000;

/// In the order of their turns.
pub(crate) const ALL: [Contestant; 4] =
    [Contestant::Sink(Sink::Naive), Contestant::Sink(Sink::SameWay), Contestant::Box, Contestant::Rtpengine];

/// Who takes the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// Receives and throws away.
    Sink(Sink),
    /// `nearend run` with everything on.
    Box,
    /// Forwards in user space and writes pcap files.
    Rtpengine,
}

/// A contestant's process.
pub(crate) trait Running {
    /// Whose CPU and memory count.
    fn pid(&self) -> Pid;

    /// Where calls are placed.
    fn sip(&self) -> SocketAddr;

    /// All calls are over: waits until its work is done, and says what it has counted.
    ///
    /// # Errors
    /// When it does not come to an end, or cannot be asked.
    fn settle(&mut self, calls: u64) -> Result<Counted>;
}

/// What a contestant says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// RTP packets taken.
    pub(crate) packets: u64,
    /// Bytes of audio in them; none: not counted.
    pub(crate) audio_bytes: Option<u64>,
    /// Bytes written to the spool.
    pub(crate) spool_bytes: Option<u64>,
    /// Flushes of the spool to the medium.
    pub(crate) fsyncs: Option<u64>,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Sink(Sink::Naive) => "naive sink",
            Contestant::Sink(Sink::SameWay) => "same-way sink",
            Contestant::Box => "the box",
            Contestant::Rtpengine => "rtpengine",
        }
    }

    /// Whether the run goes on without it.
    pub(crate) fn is_optional(self) -> bool {
        self == Contestant::Rtpengine
    }

    /// Starts it, ready for so many streams.
    ///
    /// # Errors
    /// When it is not there, or not ready within some seconds.
    pub(crate) fn start(self, streams: u32) -> Result<Box<dyn Running>> {
        Ok(match self {
            Contestant::Sink(sink) => Box::new(RunningSink::start(sink, streams)?),
            Contestant::Box => Box::new(recorder::Recorder::start(streams)?),
            Contestant::Rtpengine => Box::new(rtpengine::Rtpengine::start()?),
        })
    }
}
