//! The only reader of clocks. Everything else takes `now` as an argument.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::{MonoTime, WallTime};

/// Both clocks read at (all but) the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and intervals.
    pub mono: MonoTime,
    /// For people and files.
    pub wall: WallTime,
}

/// Zero of [`MonoTime`] lies a leap year before the boot, so that a call that began before the last boot has its place, too.
const BEFORE_BOOT: Duration = Duration::from_hours(366 * 24);

impl Now {
    /// Reads the machine's clocks.
    pub fn read() -> Now {
        let since_boot = MonoTime(micros(ClockId::CLOCK_MONOTONIC).unsigned_abs());
        Now { mono: since_boot.after(BEFORE_BOOT), wall: WallTime(micros(ClockId::CLOCK_REALTIME)) }
    }
}

/// The wall clock went further than this beside the monotonic one: it was set. NTP slews by 0.5 ms per second at most.
const LEAST_JUMP_US: i64 = 1_000_000;

/// Notices when the wall clock is set.
#[derive(Clone, Copy, Debug)]
pub struct JumpWatch {
    last: Now,
}

impl JumpWatch {
    /// Watches from `now` on.
    pub fn new(now: Now) -> JumpWatch {
        JumpWatch { last: now }
    }

    /// By how many microseconds the wall clock was set since the last look; none: it just went on.
    pub fn jump_us(&mut self, now: Now) -> Option<i64> {
        let went_by = i64::try_from(now.mono.since(self.last.mono).as_micros()).unwrap_or(i64::MAX);
        let jump = (now.wall - self.last.wall).saturating_sub(went_by);
        self.last = now;
        (jump.saturating_abs() >= LEAST_JUMP_US).then_some(jump)
    }
}

fn micros(clock: ClockId) -> i64 {
    match clock_gettime(clock) {
        Ok(t) => t.tv_sec().saturating_mul(1_000_000).saturating_add(t.tv_nsec() / 1_000),
        Err(_) => 0, // both clocks exist on every Linux (clock_gettime(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    #[test]
    fn a_clock_that_is_set_is_noticed_once() {
        let at = |mono_us: u64, wall_us: i64| Now { mono: MonoTime(mono_us), wall: WallTime(wall_us) };
        let mut watch = JumpWatch::new(at(0, DAY_US));
        assert_eq!(watch.jump_us(at(1_000_000, DAY_US + 1_000_500)), None, "slewed");
        assert_eq!(watch.jump_us(at(2_000_000, 2_000_500)), Some(-DAY_US));
        assert_eq!(watch.jump_us(at(3_000_000, 3_000_500)), None);
        assert_eq!(watch.jump_us(at(4_000_000, 2 * DAY_US + 4_000_500)), Some(2 * DAY_US));
        assert_eq!(watch.jump_us(at(5_000_000, i64::MIN)), Some(i64::MIN), "a broken clock does no harm");
    }
}
