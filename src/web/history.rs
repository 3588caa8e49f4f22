//! The last day in steps of five minutes, for the plots and for how long the disk lasts. Pure; 17 kB.

use serde::Serialize;

use super::Status;
use crate::model::MonoTime;

const STEP_S: u64 = 300;
const MOST: usize = 288;

/// A shorter time says nothing about the rate at which the disk fills.
const LEAST_S: u64 = 600;

/// Each row is one moment, oldest first; the columns are of equal length.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Seconds since 1970.
    pub time: Vec<i64>,
    /// Recordings with a session.
    pub running: Vec<u64>,
    /// RTP packets that never came, within the step.
    pub lost: Vec<u64>,
    /// Recordings not confirmed by every target.
    pub waiting: Vec<u64>,
    /// Bytes that targets have not confirmed.
    pub waiting_bytes: Vec<u64>,
    /// Bytes that may still be written.
    pub free_bytes: Vec<u64>,
    #[serde(skip)]
    written: Vec<u64>,
    #[serde(skip)]
    last: Option<(MonoTime, u64)>,
}

impl History {
    /// Whether a step is over. The first moment is one at which the box knows its disk.
    pub fn is_due(&self, now: MonoTime, status: &Status) -> bool {
        self.last.map_or(status.disk.free_bytes > 0, |(at, _)| now.since(at).as_secs() >= STEP_S)
    }

    /// Takes down a moment.
    pub fn add(&mut self, now: MonoTime, status: &Status) {
        let lost = status.totals.media.lost;
        self.lost.push(self.last.map_or(0, |(_, before)| lost.saturating_sub(before)));
        self.last = Some((now, lost));
        self.time.push(status.time.0 / 1_000_000);
        self.running.push(status.running as u64);
        self.waiting.push(status.waiting as u64);
        self.waiting_bytes.push(status.targets.values().map(|target| target.waiting_bytes).max().unwrap_or(0));
        self.free_bytes.push(status.disk.free_bytes);
        self.written.push(status.totals.spool_bytes);
        if self.time.len() > MOST {
            self.time.remove(0);
            for column in [
                &mut self.running,
                &mut self.lost,
                &mut self.waiting,
                &mut self.waiting_bytes,
                &mut self.free_bytes,
                &mut self.written,
            ] {
                column.remove(0);
            }
        }
    }

    /// Hours until no call is taken any more if nothing is delivered and calls go on as in the last day; none: not known, or longer than
    /// anybody plans.
    pub fn disk_lasts_hours(&self, free_bytes: u64, floor_bytes: u64) -> Option<u64> {
        let known_s = u64::try_from(self.time.last()? - self.time.first()?).ok().filter(|known| *known >= LEAST_S)?;
        let written = self.written.last()?.checked_sub(*self.written.first()?).filter(|written| *written > 0)?;
        let hours = u128::from(free_bytes.saturating_sub(floor_bytes)) * u128::from(known_s) / u128::from(written) / 3_600;
        u64::try_from(hours).ok().filter(|hours| *hours < 24 * 3_650)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WallTime;

    fn status(step: u64) -> Status {
        let mut status = Status { time: WallTime(step as i64 * 300_000_000), running: 3, ..Status::default() };
        status.totals.media.lost = step * 2;
        status.totals.spool_bytes = step * 1_000_000;
        status.disk.free_bytes = 1_000_000_000;
        status
    }

    #[test]
    fn a_day_is_kept_in_steps() {
        let mut history = History::default();
        for second in 0..90_000_u64 {
            let now = MonoTime(second * 1_000_000);
            let status = status(second / 300);
            assert_eq!(history.is_due(now, &status), second % 300 == 0, "{second}");
            if history.is_due(now, &status) {
                history.add(now, &status);
            }
        }
        assert_eq!((history.time.len(), history.running.len(), history.written.len()), (MOST, MOST, MOST));
        assert_eq!((history.time[0], history.time[MOST - 1]), (12 * 300, 299 * 300), "the oldest are gone");
        assert!(history.lost.iter().all(|lost| *lost == 2), "lost within each step");
    }

    #[test]
    fn how_long_the_disk_lasts_is_said_once_there_is_something_to_go_by() {
        let mut history = History::default();
        assert_eq!(history.disk_lasts_hours(1 << 40, 0), None);
        for step in 0..13 {
            history.add(MonoTime(step * 300_000_000), &status(step));
        }
        // 12 MB an hour.
        assert_eq!(history.disk_lasts_hours(1_300_000_000, 100_000_000), Some(100));
        assert_eq!(history.disk_lasts_hours(5, 100), Some(0));
        assert_eq!(history.disk_lasts_hours(u64::MAX, 0), None, "longer than anybody plans");
    }
}
