//! Four kinds of time that must never be mixed, each a type of its own.
//!
//! | type | counts | zero | may jump |
//! |---|---|---|---|
//! | [`RtpTime`] | ticks of a sender's RTP clock, 32 bits, wraps | random | yes, when the sender does |
//! | [`MediaTime`] | samples on the time line of one recording | the grid origin of the recording | no |
//! | [`MonoTime`] | microseconds of the box's monotonic clock | a year before boot | no |
//! | [`WallTime`] | microseconds of UTC | 1970 | yes, when NTP steps it |

use std::fmt;
use std::ops::Sub;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An RTP timestamp (RFC 3550 §5.1): 32 bits that wrap, so it has no order, only distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RtpTime(pub u32);

impl RtpTime {
    /// Signed distance `self - earlier` in ticks, right while the two are less than 2^31 ticks apart.
    pub fn ticks_since(self, earlier: RtpTime) -> i64 {
        i64::from(self.0.wrapping_sub(earlier.0).cast_signed())
    }
}

/// A place on the time line of a recording, in samples of 8 kHz since the grid origin of that recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaTime(pub i64);

impl MediaTime {
    /// Samples per second of every time line; G.711's own rate.
    pub const RATE: i64 = 8_000;

    /// The place that lies `us` microseconds after the origin, rounded down.
    pub fn from_micros(us: i64) -> MediaTime {
        // i128 because a hostile clock may be centuries away.
        let samples = i128::from(us) * i128::from(Self::RATE) / 1_000_000;
        MediaTime(i64::try_from(samples).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Milliseconds since the origin, rounded down.
    pub fn as_millis(self) -> i64 {
        self.0 / (Self::RATE / 1_000)
    }
}

/// A reading of the monotonic clock in microseconds; what deadlines and intervals are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(pub u64);

impl MonoTime {
    /// This time plus `by`, at the end of time when that overflows.
    #[must_use]
    pub fn after(self, by: Duration) -> MonoTime {
        MonoTime(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: MonoTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// A reading of the wall clock: microseconds of UTC since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub i64);

impl WallTime {
    /// This time plus `us` microseconds (negative: earlier).
    #[must_use]
    pub fn plus_micros(self, us: i64) -> WallTime {
        WallTime(self.0.saturating_add(us))
    }

    /// `2026-03-02`, the day in UTC, as it stands in the archive's path.
    pub fn date(self) -> String {
        self.timestamp().strftime("%Y-%m-%d").to_string()
    }

    /// As the calendar library counts.
    pub fn timestamp(self) -> jiff::Timestamp {
        // Out of jiff's years −9999…9999 only with a broken clock: shown as 1970, never a panic.
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl Sub for WallTime {
    type Output = i64;

    /// Microseconds from `earlier` to `self`.
    fn sub(self, earlier: WallTime) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// ISO 8601 in UTC with milliseconds: `2026-03-02T14:05:59.120Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_distance_wraps_both_ways() {
        assert_eq!(RtpTime(5).ticks_since(RtpTime(u32::MAX - 4)), 10);
        assert_eq!(RtpTime(u32::MAX - 4).ticks_since(RtpTime(5)), -10);
    }

    #[test]
    fn wall_time_reads_as_iso_8601() {
        let t = WallTime(1_772_460_359_120_000);
        assert_eq!(t.to_string(), "2026-03-02T14:05:59.120Z");
        assert_eq!(t.date(), "2026-03-02");
    }

    #[test]
    fn media_time_survives_absurd_clocks() {
        assert_eq!(MediaTime::from_micros(1_000_000), MediaTime(8_000));
        assert_eq!(MediaTime::from_micros(i64::MAX).0, i64::MAX / 125);
        assert_eq!(WallTime(i64::MAX).date(), "1970-01-01");
    }
}
