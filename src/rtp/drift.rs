//! How far a sender's clock has run away from the box's, and when its leg is set right again. Pure.
//!
//! All legs of a recording lie on one clock: the box's. A sender's own clock differs from it by some 10 to 100 millionths, 0.36 s
//! in an hour. How late packets are is measured against their places, by the packet with the least delay of every twenty seconds, which
//! no jitter moves. A clock that is off makes them later, or earlier, from window to window; a sender or a network that is
//! slower from some moment on does not, and is left alone. When that has gone on for three windows and come to a tolerance, silence is
//! inserted before a quiet packet, or the quiet beginning of one is left out. See docs/decisions/0035.

use crate::model::block::Law;

/// How long the least delay is looked for.
const WINDOW: i64 = ms(20_000);

/// A window with fewer packets goes on until it has so many.
const WINDOW_PACKETS: u32 = 50;

/// So far a leg may be from its place. Two legs of 6 ms each, and what they drift until they are set right, stay within 20 ms.
const TOLERANCE: i64 = ms(6);

/// No clock runs away faster than this in a window (375 ppm): what does is another way through the network.
const FASTEST: i64 = 60;

/// At most so many samples are inserted or left out at once: 10 ms, half a packet.
pub const LARGEST_STEP: usize = 80;

/// In so many windows it has to be due before any packet will do, though none was quiet (music, a fax, a tone).
const PATIENCE: u32 = 2;

/// Samples of the lowest segments of G.711 are quiet: 39 dB below full scale in µ-law, 36 in A-law.
const QUIET: u8 = 0x1F;

const fn ms(ms: i64) -> i64 {
    ms * crate::model::MediaTime::RATE / 1_000
}

/// The clock of one stream against the box's. Everything in samples.
#[derive(Debug, Default)]
pub struct Drift {
    /// The least lateness when the stream began: what its place is held to.
    reference: Option<i64>,
    window: Option<Window>,
    /// Lateness of the last window, and of the one before it, beyond the reference.
    last: i64,
    before: i64,
    /// What is to be inserted (positive) or left out (negative).
    due: i64,
    /// For how many windows it has been due.
    waited: u32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: i64,
    packets: u32,
    least: i64,
}

impl Drift {
    /// A packet arrived, and has its place.
    pub fn packet(&mut self, place: i64, arrival: i64) {
        let late = arrival - place;
        let window = self.window.get_or_insert(Window { began: arrival, packets: 0, least: late });
        window.packets += 1;
        window.least = window.least.min(late);
        if arrival - window.began >= WINDOW && window.packets >= WINDOW_PACKETS {
            let least = window.least;
            self.window = None;
            self.measured(least);
        }
    }

    /// By how much the packet that comes right behind the one before, with so many samples, is to be moved: later by what is
    /// inserted before it, earlier by what is left out of it.
    pub fn correction(&mut self, samples: i64, is_quiet: impl FnOnce() -> bool) -> i64 {
        if self.due == 0 || self.waited < PATIENCE && !is_quiet() {
            return 0;
        }
        let largest = (LARGEST_STEP as i64).min(samples);
        let step = self.due.clamp(-largest, largest);
        self.due -= step;
        self.last -= step;
        self.before -= step;
        self.window = None; // what it measured was before
        step
    }

    /// The stream lies elsewhere from here on: what was measured before says nothing. The reference stays.
    pub fn placed_anew(&mut self) {
        *self = Drift { reference: self.reference, ..Drift::default() };
    }

    fn measured(&mut self, least: i64) {
        let Some(reference) = self.reference else {
            self.reference = Some(least);
            return;
        };
        if (least - reference - self.last).abs() > FASTEST {
            self.reference = Some(least - self.last);
            return;
        }
        let drift = least - reference;
        let goes_on = (drift > self.last && self.last > self.before) || (drift < self.last && self.last < self.before);
        let is_due = goes_on && drift.abs() >= TOLERANCE && (drift > 0) == (drift > self.last);
        self.due = if is_due { drift } else { 0 };
        self.waited = if is_due { self.waited + 1 } else { 0 };
        (self.before, self.last) = (self.last, drift);
    }
}

/// Whether nobody would miss some milliseconds of this.
pub fn is_quiet(law: Law, samples: &[u8]) -> bool {
    let magnitude = |byte: u8| match law {
        Law::Pcmu => !byte & 0x7F,
        Law::Pcma => (byte ^ 0x55) & 0x7F,
    };
    samples.iter().all(|byte| magnitude(*byte) <= QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms for `seconds`, of a clock that is off by `ppm`; all of them quiet, or none. Gives the corrections with
    /// their second, and how far the leg was from its place at worst.
    fn run(seconds: i64, ppm: i64, quiet: impl Fn(i64) -> bool, jitter: impl Fn(i64) -> i64) -> (Vec<(i64, i64)>, i64) {
        let (mut drift, mut moved, mut steps, mut worst) = (Drift::default(), 0, Vec::new(), 0);
        for n in 0..seconds * 50 {
            let sent = n * 160 + n * 160 * ppm / 1_000_000;
            let step = drift.correction(160, || quiet(n));
            if step != 0 {
                steps.push((n / 50, step));
            }
            moved += step;
            worst = worst.max((n * 160 + moved - sent).abs());
            drift.packet(n * 160 + moved, sent + jitter(n));
        }
        (steps, worst)
    }

    fn noisy(n: i64) -> i64 {
        (n * 7_919 % 97) * 4 // up to 48 ms, often next to nothing
    }

    #[test]
    fn a_slow_clock_gets_silence_and_a_fast_one_loses_some() {
        for ppm in [100, -100, 50, -50, 300] {
            let (steps, worst) = run(3_600, ppm, |_| true, noisy);
            let total: i64 = steps.iter().map(|(_, step)| step).sum();
            let at_most = if ppm == 300 { ms(25) } else { ms(10) };
            assert!((total - 28_800 * ppm / 1_000).abs() <= at_most, "{ppm} ppm: {total} samples in all");
            assert!(worst <= at_most, "{ppm} ppm: {worst} samples off");
            assert!(steps.iter().all(|(_, step)| step.signum() == ppm.signum()));
        }
    }

    #[test]
    fn what_stays_within_the_tolerance_is_left_alone() {
        let (steps, worst) = run(3_600, 0, |_| true, noisy);
        assert_eq!((steps, worst), (Vec::new(), 0));
        assert_eq!(run(180, 30, |_| true, noisy).0, [], "a call of three minutes with an ordinary crystal");
        assert_eq!(run(60, 300, |_| true, noisy).0, [], "a minute is too short to know");
    }

    #[test]
    fn a_quiet_packet_is_waited_for_but_not_for_ever() {
        let (steps, worst) = run(600, 100, |n| n % 500 == 499, noisy);
        assert!(!steps.is_empty() && worst <= ms(10), "every ten seconds there is one: {worst}");
        let (steps, worst) = run(600, 100, |_| false, noisy);
        assert!(!steps.is_empty() && worst <= ms(12), "music: {worst}");
    }

    #[test]
    fn what_is_late_for_other_reasons_moves_nothing() {
        let stall = |n: i64| if (1_000..1_400).contains(&n) { 8_000 - (n - 1_000) * 20 } else { 0 };
        assert_eq!(run(300, 0, |_| true, stall).0, [], "a stall of the network");
        let clock_set = |n: i64| if n == 3_000 { -2_000 } else { 0 };
        assert_eq!(run(300, 0, |_| true, clock_set).0, [], "the clock that stamps arrivals is set");
        for late in [56, 400, -56, -400] {
            let other_way = |n: i64| if n > 3_000 { late } else { 0 };
            assert_eq!(run(600, 0, |_| true, other_way).0, [], "another way through the network, or a sender under load: {late}");
        }
    }

    #[test]
    fn quiet_is_what_the_lowest_segments_hold() {
        assert!(is_quiet(Law::Pcmu, &[0xFF, 0x7F, 0xE0, 0x60]) && is_quiet(Law::Pcma, &[0xD5, 0x55, 0xD5 ^ 0x1F]));
        assert!(!is_quiet(Law::Pcmu, &[0xFF, 0xDF]) && !is_quiet(Law::Pcma, &[0xD5, 0xD5 ^ 0x20]));
    }
}
