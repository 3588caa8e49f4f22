//! A stream of the media thread as the others know it: what is negotiated for it, its key, its reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::block::Law;
use super::recording::{ClockPoint, Digit, RtpAnchor};
use super::{LegCounters, LegNo, MonoTime, RecordingNo};

/// Which stream: the leg of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Whose.
    pub recording: RecordingNo,
    /// Which leg.
    pub leg: LegNo,
}

/// What is known of a stream; all but `closed` are running totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Which stream.
    pub key: StreamKey,
    /// Counts so far.
    pub counters: LegCounters,
    /// SSRCs heard, in order, the first 16.
    pub ssrcs: Vec<u32>,
    /// Digits heard.
    pub digits: Vec<Digit>,
    /// Sender reports, the first and the latest.
    pub clock: Vec<ClockPoint>,
    /// Where its source's RTP clock stands on the time line.
    pub anchor: Option<RtpAnchor>,
    /// When the last packet of its source arrived.
    pub last_packet: Option<MonoTime>,
    /// The stream is closed, and all its blocks have been handed to the spool.
    pub closed: bool,
}

/// What a payload type carries.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Audio of this law.
    Audio(Law),
    /// RFC 3389: the sender is silent from here on.
    ComfortNoise,
    /// RFC 4733 at 8 kHz.
    TelephoneEvent,
}

/// An audio line that the box takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its law: the first one offered.
    pub law: Law,
    /// Where its packets come from; unspecified until a delayed offer is answered.
    pub remote: SocketAddr,
    /// Where its RTCP comes from and goes to.
    pub remote_rtcp: Option<SocketAddr>,
    /// RTCP shares the port of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// False while paused or held.
    pub active: bool,
    /// RFC 4574 label.
    pub label: Option<String>,
    /// What each payload type is.
    pub payloads: Vec<(u8, Payload)>,
}

impl Line {
    /// Whether it is the box's own offer, to which no answer has come yet.
    pub fn is_offer(&self) -> bool {
        self.remote.ip().is_unspecified() && self.remote.port() == 0
    }

    /// A line that the box offers itself: nobody is known at its other end.
    pub fn offered() -> Line {
        Line {
            law: Law::Pcmu,
            remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            remote_rtcp: None,
            rtcp_mux: false,
            active: true,
            label: None,
            payloads: Vec::new(),
        }
    }
}
