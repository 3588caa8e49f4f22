//! The only reader of clocks. Everything else takes `now` as an argument.

use nix::time::{ClockId, clock_gettime};

use crate::model::{MonoTime, WallTime};

/// Zero of [`MonoTime`] lies a year before the boot, so that the beginning of a call can be expressed that was running when the
/// machine went down. A multiple of the block grid.
const BEFORE_BOOT_US: u64 = 365 * 86_400 * 1_000_000;

/// Both clocks read at (all but) the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and intervals.
    pub mono: MonoTime,
    /// For people and files.
    pub wall: WallTime,
}

impl Now {
    /// Reads the machine's clocks.
    pub fn read() -> Now {
        let mono = MonoTime(micros(ClockId::CLOCK_MONOTONIC).unsigned_abs() + BEFORE_BOOT_US);
        Now { mono, wall: WallTime(micros(ClockId::CLOCK_REALTIME)) }
    }
}

fn micros(clock: ClockId) -> i64 {
    match clock_gettime(clock) {
        Ok(t) => t.tv_sec().saturating_mul(1_000_000).saturating_add(t.tv_nsec() / 1_000),
        Err(_) => 0, // both clocks exist on every Linux (clock_gettime(2))
    }
}
