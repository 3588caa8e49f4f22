//! How fast the box may send: a token bucket whose rate follows the time of day, one budget for all targets. Pure.
//!
//! What is sent is asked for in small pieces ([`Pace::take`]), so that an upload of an hour flows as evenly as one of a second.
//! Marked recordings go first: while one is being sent, others wait. When the link or a server shows that it is too much
//! (stalls, 429, 503), the rate falls to half of what was flowing, and doubles every five seconds while there is no more of it.

use std::time::Duration;

use crate::clock::Now;
use crate::model::{MonoTime, WallTime};

/// Bytes per second.
pub type BytesPerSecond = u64;

/// What may flow, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Outside of all windows; none: as fast as it goes.
    pub rate: Option<BytesPerSecond>,
    /// The first one that holds is used.
    pub windows: Vec<Window>,
    /// The zone that windows are told in.
    pub zone: Option<jiff::tz::TimeZone>,
}

/// A time of the week with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Days on which it begins: bit 0 is Monday.
    pub days: u8,
    /// Minute of the day at which it begins.
    pub from_min: u16,
    /// Minute of the day at which it ends; at or before `from_min`: on the next day.
    pub to_min: u16,
    /// What may flow; zero: nothing but marked recordings.
    pub rate: BytesPerSecond,
}

impl Window {
    fn holds(&self, day: u8, minute: u16) -> bool {
        let begins = |day: u8| self.days >> day & 1 == 1;
        if self.from_min < self.to_min {
            return begins(day) && (self.from_min..self.to_min).contains(&minute);
        }
        begins(day) && minute >= self.from_min || begins((day + 6) % 7) && minute < self.to_min
    }
}

impl Schedule {
    /// What may flow at this time, marked recordings or others; none: as fast as it goes.
    pub fn rate(&self, wall: WallTime, lane: Lane) -> Option<BytesPerSecond> {
        let Some((day, minute)) = self.place(wall) else { return self.rate };
        match self.windows.iter().find(|window| window.holds(day, minute)) {
            Some(window) if window.rate == 0 && lane == Lane::Immediate => self.rate,
            Some(window) => Some(window.rate),
            None => self.rate,
        }
    }

    /// Day of the week and minute of the day; none without windows.
    fn place(&self, wall: WallTime) -> Option<(u8, u16)> {
        if self.windows.is_empty() {
            return None;
        }
        let utc = jiff::Timestamp::from_microsecond(wall.0).ok()?;
        let local = utc.to_zoned(self.zone.clone().unwrap_or(jiff::tz::TimeZone::UTC));
        let day = u8::try_from(local.weekday().to_monday_zero_offset()).ok()?;
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        Some((day, minute))
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Marked recordings.
    Immediate,
    /// All others.
    Normal,
}

/// The answer to a request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// So many bytes may go now; at least one.
    Now(usize),
    /// Ask again then.
    At(MonoTime),
}

/// The longest that one may be told to wait, so that a change of the clock or of the window is seen.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How much may have been saved up: little, or a minute that follows a pause would exceed its rate.
const BURST: Duration = Duration::from_millis(500);
/// The pieces in which is sent.
const PIECE: Duration = Duration::from_millis(100);
const LEAST_PIECE_BYTES: u64 = 512;
const MOST_PIECE_BYTES: u64 = 64 << 10;
/// For so long after a request of the immediate lane the other one waits.
const RESERVED: Duration = Duration::from_millis(250);
/// How often the rate is adapted.
const STEP: Duration = Duration::from_secs(5);
/// Less than this is never forced upon the box: 64 kbit/s.
const LEAST_CAP: f64 = 8_000.0;

/// The budget of the box.
#[derive(Clone, Debug)]
pub struct Pace {
    schedule: Schedule,
    /// Bytes saved up; below zero: owed.
    level: f64,
    filled: MonoTime,
    reserved_until: MonoTime,
    /// What the link seems to bear; none: nothing is known against the schedule.
    cap: Option<f64>,
    capped: MonoTime,
    stepped: MonoTime,
    /// Bytes since `stepped`, and the rate of the step before.
    sent: u64,
    measured: f64,
    /// All bytes ever granted or charged.
    total: u64,
}

impl Pace {
    /// Nothing saved up.
    pub fn new(schedule: Schedule, now: MonoTime) -> Pace {
        let idle = MonoTime::default();
        Pace {
            schedule,
            level: 0.0,
            filled: now,
            reserved_until: idle,
            cap: None,
            capped: idle,
            stepped: now,
            sent: 0,
            measured: 0.0,
            total: 0,
        }
    }

    /// May `lane` send, out of `want` bytes?
    pub fn take(&mut self, now: Now, lane: Lane, want: usize) -> Grant {
        self.step(now.mono);
        if lane == Lane::Normal && now.mono < self.reserved_until {
            return Grant::At(self.reserved_until);
        }
        if lane == Lane::Immediate {
            self.reserved_until = now.mono.after(RESERVED);
        }
        let Some(rate) = self.rate(now.wall, lane) else {
            return Grant::Now(self.spend(want.min(MOST_PIECE_BYTES as usize)));
        };
        if rate <= 0.0 {
            self.filled = now.mono;
            return Grant::At(now.mono.after(LONGEST_WAIT));
        }
        self.fill(now.mono, rate);
        let piece = ((rate * PIECE.as_secs_f64()) as u64).clamp(LEAST_PIECE_BYTES, MOST_PIECE_BYTES).min(want as u64).max(1);
        if self.level >= piece as f64 {
            return Grant::Now(self.spend(piece as usize));
        }
        let wait = Duration::from_secs_f64(((piece as f64 - self.level) / rate).clamp(0.001, LONGEST_WAIT.as_secs_f64()));
        Grant::At(now.mono.after(wait))
    }

    /// Bytes that went without being asked for: the heads of requests.
    pub fn charge(&mut self, bytes: usize) {
        self.spend(bytes);
    }

    /// The link or a server shows that it is too much. What shows it within the same few seconds shows the same.
    pub fn congested(&mut self, now: Now) {
        if now.mono < self.capped.after(STEP) {
            return;
        }
        self.capped = now.mono;
        let flowing = self.measured.max(self.sent as f64 / now.mono.since(self.stepped).as_secs_f64().max(1.0));
        let known = self.rate(now.wall, Lane::Normal).filter(|rate| *rate > 0.0);
        let flowing = known.map_or(flowing, |rate| rate.min(flowing));
        self.cap = Some((flowing / 2.0).max(LEAST_CAP));
        self.stepped = now.mono;
        self.sent = 0;
    }

    /// What may flow now; none: as fast as it goes.
    pub fn current(&self, wall: WallTime) -> Option<BytesPerSecond> {
        self.rate(wall, Lane::Normal).map(|rate| rate as u64)
    }

    /// All bytes that were sent.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn rate(&self, wall: WallTime, lane: Lane) -> Option<f64> {
        let planned = self.schedule.rate(wall, lane).map(|rate| rate as f64);
        match (planned, self.cap) {
            (Some(planned), Some(cap)) => Some(planned.min(cap)),
            (planned, cap) => planned.or(cap),
        }
    }

    fn fill(&mut self, now: MonoTime, rate: f64) {
        let most = (rate * BURST.as_secs_f64()).max(LEAST_PIECE_BYTES as f64);
        self.level = (self.level + rate * now.since(self.filled).as_secs_f64()).min(most);
        self.filled = now;
    }

    fn spend(&mut self, bytes: usize) -> usize {
        self.level -= bytes as f64;
        self.sent += bytes as u64;
        self.total += bytes as u64;
        if self.schedule.rate.is_none() && self.schedule.windows.is_empty() && self.cap.is_none() {
            self.level = 0.0; // nothing is counted while nothing is limited
        }
        bytes
    }

    /// Measures, and lets a cap grow until it no longer binds.
    fn step(&mut self, now: MonoTime) {
        let elapsed = now.since(self.stepped);
        if elapsed < STEP {
            return;
        }
        self.measured = self.sent as f64 / elapsed.as_secs_f64();
        (self.sent, self.stepped) = (0, now);
        if let Some(cap) = self.cap {
            let grown = cap * 2.0;
            // Well below its cap the box is not held back by it any more.
            let binds = self.measured * 4.0 >= grown || grown < LEAST_CAP * 16.0;
            self.cap = binds.then_some(grown).filter(|grown| self.schedule.rate.is_none_or(|rate| *grown < rate as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-02, a Monday, 00:00 UTC.
    const MONDAY: i64 = 1_772_409_600_000_000;

    fn at(us: u64) -> Now {
        Now { mono: MonoTime(1_000_000_000 + us), wall: WallTime(MONDAY + us as i64) }
    }

    /// Sends for so long as fast as it may; gives (time in µs, bytes).
    fn run(pace: &mut Pace, lane: Lane, from_us: u64, to_us: u64) -> Vec<(u64, usize)> {
        let (mut t, mut sent) = (from_us, Vec::new());
        while t < to_us {
            match pace.take(at(t), lane, 1 << 20) {
                Grant::Now(bytes) => sent.push((t, bytes)),
                Grant::At(later) => t = later.0 - 1_000_000_000,
            }
        }
        sent
    }

    fn most_in_any_minute(sent: &[(u64, usize)]) -> usize {
        let minute = |begin: u64| sent.iter().filter(|(t, _)| (begin..begin + 60_000_000).contains(t)).map(|(_, n)| n).sum();
        sent.iter().map(|(t, _)| minute(*t)).max().unwrap()
    }

    fn limited(rate: BytesPerSecond) -> Pace {
        Pace::new(Schedule { rate: Some(rate), ..Schedule::default() }, at(0).mono)
    }

    #[test]
    fn any_minute_keeps_within_five_percent_of_its_rate() {
        for rate in [2_000, 8_000, 125_000, 12_500_000] {
            let sent = run(&mut limited(rate), Lane::Normal, 60_000_000, 240_000_000);
            let most = most_in_any_minute(&sent) as f64 / (60.0 * rate as f64);
            let all = sent.iter().map(|(_, n)| n).sum::<usize>() as f64 / (180.0 * rate as f64);
            assert!(most <= 1.05 && all >= 0.95, "{rate} B/s: a minute had {most}, all had {all}");
        }
    }

    #[test]
    fn heads_of_requests_are_counted() {
        let mut pace = limited(8_000);
        pace.charge(16_000);
        let sent: usize = run(&mut pace, Lane::Normal, 0, 10_000_000).iter().map(|(_, n)| n).sum();
        assert!((62_000..=64_500).contains(&sent), "{sent}");
    }

    #[test]
    fn windows_by_day_and_hour_also_over_midnight() {
        let night = Window { days: 0b0001_1111, from_min: 22 * 60, to_min: 6 * 60, rate: 1_000_000 };
        let office = Window { days: 0b0001_1111, from_min: 8 * 60, to_min: 18 * 60, rate: 0 };
        let schedule = Schedule { rate: Some(8_000), windows: vec![night, office], zone: None };
        let hour = |h: i64| WallTime(MONDAY + h * 3_600_000_000);
        let rate = |h| schedule.rate(hour(h), Lane::Normal);
        assert_eq!(rate(3), Some(8_000), "the night of Sunday is none of the window");
        assert_eq!((rate(7), rate(12), rate(19), rate(23)), (Some(8_000), Some(0), Some(8_000), Some(1_000_000)));
        assert_eq!(rate(24 + 3), Some(1_000_000));
        assert_eq!(rate(5 * 24 + 3), Some(1_000_000), "Saturday morning belongs to Friday night");
        assert_eq!(rate(5 * 24 + 12), Some(8_000));
        assert_eq!(schedule.rate(hour(12), Lane::Immediate), Some(8_000), "marked ones go in a closed window, too");
        let east = Schedule { zone: Some(jiff::tz::Offset::constant(6).to_time_zone()), ..schedule };
        assert_eq!(east.rate(hour(3), Lane::Normal), Some(0), "09:00 there");
    }

    #[test]
    fn a_closed_window_lets_nothing_but_marked_recordings_pass() {
        let closed = Window { days: 0x7F, from_min: 0, to_min: 60, rate: 0 };
        let schedule = Schedule { rate: Some(8_000), windows: vec![closed], zone: None };
        let mut pace = Pace::new(schedule, at(0).mono);
        assert!(run(&mut pace, Lane::Normal, 0, 3_000_000_000).is_empty());
        assert!(!run(&mut pace, Lane::Immediate, 3_000_000_000, 3_010_000_000).is_empty());
        let after = run(&mut pace, Lane::Normal, 3_590_000_000, 3_660_000_000);
        assert!(after[0].0 >= 3_600_000_000, "it opens on the hour: {}", after[0].0);
        assert!(most_in_any_minute(&after) <= 8_000 * 63, "what did not go in the window is not made up for");
    }

    #[test]
    fn marked_recordings_go_first() {
        let mut pace = limited(10_000);
        let (mut normal, mut marked, mut t) = (0, 0, 1_000_000);
        while t < 11_000_000 {
            if let Grant::Now(n) = pace.take(at(t), Lane::Normal, 4_000) {
                normal += n;
            }
            if t >= 6_000_000
                && let Grant::Now(n) = pace.take(at(t), Lane::Immediate, 4_000)
            {
                marked += n;
            }
            t += 20_000;
        }
        assert!((45_000..=56_000).contains(&normal), "{normal}");
        assert!((45_000..=56_000).contains(&marked), "{marked}");
    }

    #[test]
    fn trouble_halves_the_rate_and_quiet_brings_it_back() {
        let mut pace = limited(100_000);
        let sum = |sent: Vec<(u64, usize)>| sent.iter().map(|(_, n)| n).sum::<usize>();
        run(&mut pace, Lane::Normal, 0, 30_000_000);
        pace.congested(at(30_000_000));
        assert!((45_000..=55_000).contains(&pace.current(at(0).wall).unwrap()), "{:?}", pace.current(at(0).wall));
        pace.congested(at(30_000_001));
        assert!((240_000..=260_000).contains(&sum(run(&mut pace, Lane::Normal, 30_000_000, 35_000_000))));
        run(&mut pace, Lane::Normal, 35_000_000, 60_000_000);
        assert_eq!(pace.current(at(0).wall), Some(100_000));
        (0..20).for_each(|n| pace.congested(at(60_000_000 + n * 6_000_000)));
        assert_eq!(pace.current(at(0).wall), Some(LEAST_CAP as u64));
    }

    #[test]
    fn an_unlimited_box_learns_what_a_bad_link_bears() {
        let mut pace = Pace::new(Schedule::default(), at(0).mono);
        assert_eq!(pace.take(at(0), Lane::Normal, 1 << 20), Grant::Now(64 << 10));
        for ms in 0..20_000_u64 {
            if ms % 100 == 0 {
                assert_eq!(pace.take(at(ms * 1_000), Lane::Normal, 2_000), Grant::Now(2_000));
            }
        }
        pace.congested(at(20_000_000));
        let rate = pace.current(at(0).wall).unwrap();
        assert!((9_000..=14_000).contains(&rate), "half of 20 kB/s and of the first piece: {rate}");
    }
}
