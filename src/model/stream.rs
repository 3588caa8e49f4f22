//! A stream of the media thread as the others know it: its key and its reports.

use super::recording::{ClockPoint, Digit};
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
    /// When the last packet of its source arrived.
    pub last_packet: Option<MonoTime>,
    /// The stream is closed, and all its blocks have been handed to the spool.
    pub closed: bool,
}
