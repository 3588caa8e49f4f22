//! Station `update`: a new system for the slot that does not run: fetched over a bad link, installed by RAUC, started when nobody calls. A
//! command of its own; the daemon knows nothing of it.
//!
//! In: where the bundle is, what is on the disk of it, whether audio comes in. Out: what to ask the server for, when to start anew.
//!
//! | file | responsible for |
//! |---|---|
//! | here | what is asked for to go on with a download (RFC 9110 §14); when the box may start anew |
//! | [`driver`] | HTTP, files, RAUC, the kernel's list of sockets |
//!
//! What becomes of a new system that does not work is decided by boot loader and `board/rootfs/usr/lib/nearend/health`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{MonoTime, WallTime};

pub mod driver;

/// So long no call must be up.
const QUIET_FOR: Duration = Duration::from_secs(10);

/// What the server said of the file when its first byte came, and how much is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// Bytes on the disk.
    pub have: u64,
    /// The ETag of the file that they are of; without one nothing is resumed.
    pub etag: Option<String>,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its body goes behind what is here.
    Append,
    /// Its body is the file from its beginning.
    FromStart,
    /// All of it was here already.
    Complete,
    /// Another time perhaps.
    TryAgain,
    /// It will not get better.
    GiveUp,
}

impl Partial {
    /// `Range` and `If-Range` of the request, when something can be gone on with.
    pub fn range(&self) -> Option<(String, &str)> {
        let etag = self.etag.as_deref().filter(|_| self.have > 0)?;
        Some((format!("bytes={}-", self.have), etag))
    }

    /// `first` is where the body begins according to `Content-Range`, `length` how long the whole file is.
    pub fn judge(&self, status: u16, content_range: Option<&str>) -> Answer {
        match status {
            200 => Answer::FromStart,
            206 if content_range.and_then(first_of).is_some_and(|first| first == self.have) => Answer::Append,
            // Not what was asked for: from the beginning, next time.
            206 => Answer::TryAgain,
            // "bytes */LENGTH": there is nothing behind what is here.
            416 if content_range.and_then(|range| range.strip_prefix("bytes */")?.parse().ok()) == Some(self.have) => {
                Answer::Complete
            }
            408 | 425 | 429 | 500..=599 => Answer::TryAgain,
            416 => Answer::TryAgain,
            _ => Answer::GiveUp,
        }
    }
}

/// `bytes FIRST-LAST/LENGTH`.
fn first_of(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// How long to wait before the next try.
pub fn back_off(failures: u32) -> Duration {
    Duration::from_secs(5 << failures.min(6))
}

/// When the box may start anew.
#[derive(Debug)]
pub struct Waiting {
    /// Not before this moment.
    at: Option<WallTime>,
    /// Since when no call is up.
    quiet_since: Option<MonoTime>,
}

impl Waiting {
    /// Begins to wait; with `at`, until then at least.
    pub fn new(at: Option<WallTime>) -> Waiting {
        Waiting { at, quiet_since: None }
    }

    /// So many sockets are open for audio. Tells whether it may be now.
    pub fn look(&mut self, now: MonoTime, wall: WallTime, sockets: usize) -> bool {
        self.quiet_since = if sockets == 0 { self.quiet_since.or(Some(now)) } else { None };
        let is_quiet = self.quiet_since.is_some_and(|since| now.since(since) >= QUIET_FOR);
        is_quiet && self.at.is_none_or(|at| wall >= at)
    }
}

/// UDP sockets at ports of this range, in what `/proc/net/udp` and `udp6` say: each stream of a call has some, and only then.
pub fn sockets(proc_net_udp: &str, ports: RangeInclusive<u16>) -> usize {
    let port = |line: &str| u16::from_str_radix(line.split_whitespace().nth(1)?.rsplit(':').next()?, 16).ok();
    proc_net_udp.lines().skip(1).filter_map(port).filter(|port| ports.contains(port)).count()
}

/// The next moment at which a clock of UTC shows this time of day, `"03:30"`.
///
/// # Errors
/// It is no time of day.
pub fn next(wall: WallTime, time_of_day: &str) -> Result<WallTime, String> {
    const DAY_US: i64 = 86_400_000_000;
    let wrong = || format!("{time_of_day:?} is no time of day; expected HH:MM, UTC");
    let (hours, minutes) = time_of_day.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (i64, i64) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) {
        return Err(wrong());
    }
    let today = wall.0 - wall.0.rem_euclid(DAY_US) + (hours * 60 + minutes) * 60_000_000;
    Ok(WallTime(if today > wall.0 { today } else { today + DAY_US }))
}

/// The other slot of the one that the kernel's command line names.
pub fn other_slot(command_line: &str) -> Option<char> {
    match command_line.split_whitespace().find_map(|word| word.strip_prefix("rauc.slot="))? {
        "A" => Some('B'),
        "B" => Some('A'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonoTime {
        MonoTime(s * 1_000_000)
    }

    #[test]
    fn a_download_goes_on_where_it_was_cut_and_only_in_the_same_file() {
        let partial = Partial { have: 100, etag: Some("\"v1\"".into()) };
        assert_eq!(partial.range(), Some(("bytes=100-".into(), "\"v1\"")));
        assert_eq!(Partial { etag: None, ..partial.clone() }.range(), None, "it may be another file by now");
        assert_eq!(Partial { have: 0, ..partial.clone() }.range(), None);
        assert_eq!(partial.judge(206, Some("bytes 100-199/200")), Answer::Append);
        assert_eq!(partial.judge(206, Some("bytes 50-199/200")), Answer::TryAgain);
        assert_eq!(partial.judge(206, None), Answer::TryAgain);
        assert_eq!(partial.judge(200, None), Answer::FromStart, "the file has changed");
        assert_eq!(partial.judge(416, Some("bytes */100")), Answer::Complete);
        assert_eq!(partial.judge(416, Some("bytes */50")), Answer::TryAgain);
        assert_eq!([403, 404, 301].map(|status| partial.judge(status, None)), [Answer::GiveUp; 3]);
        assert_eq!([429, 500, 503].map(|status| partial.judge(status, None)), [Answer::TryAgain; 3]);
        assert_eq!((back_off(0), back_off(99)), (Duration::from_secs(5), Duration::from_secs(320)));
    }

    #[test]
    fn the_box_starts_anew_when_no_call_has_been_up_for_ten_seconds() {
        let mut waiting = Waiting::new(None);
        let mut look = |s, sockets| waiting.look(at(s), WallTime(0), sockets);
        assert!(!look(0, 4) && !look(5, 0) && !look(14, 0));
        assert!(!look(15, 2), "a call has come");
        assert!(!look(16, 0) && !look(25, 0));
        assert!(look(26, 0));
    }

    #[test]
    fn sockets_for_audio_are_told_by_the_kernels_list() {
        let list = "   sl  local_address rem_address   st tx_queue\n\
                     1: 1E0200C0:13C4 00000000:0000 07 00000000:00000000\n\
                     2: 1E0200C0:4E20 00000000:0000 07 00000000:00000000\n\
                     3: 00000000000000000000000000000000:752F 00000000000000000000000000000000:0000 07\n\
                     4: nonsense\n";
        assert_eq!(sockets(list, 20_000..=29_999), 2);
        assert_eq!(sockets("", 0..=u16::MAX), 0);
    }

    #[test]
    fn a_set_time_is_waited_for() {
        let midnight = WallTime(20_000 * 86_400_000_000);
        let noon = WallTime(midnight.0 + 43_200_000_000);
        assert_eq!(next(midnight, "12:00"), Ok(noon));
        assert_eq!(next(noon, "12:00"), Ok(WallTime(noon.0 + 86_400_000_000)), "tomorrow");
        assert_eq!(next(noon, "00:00"), Ok(WallTime(midnight.0 + 86_400_000_000)));
        assert!(["24:00", "1", "aa:bb", "12:60", "-1:00"].iter().all(|text| next(noon, text).is_err()));
        let mut waiting = Waiting::new(Some(noon));
        assert!(!waiting.look(at(0), midnight, 0) && !waiting.look(at(20), midnight, 0));
        assert!(waiting.look(at(21), noon, 0));
    }

    #[test]
    fn the_other_slot_is_told_by_the_kernels_command_line() {
        assert_eq!(other_slot("console=ttyAMA0 rauc.slot=A quiet\n"), Some('B'));
        assert_eq!(other_slot("rauc.slot=B"), Some('A'));
        assert_eq!((other_slot("rauc.slot=C"), other_slot("quiet")), (None, None));
    }
}
