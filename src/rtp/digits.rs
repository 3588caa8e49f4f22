//! Telephone events of a leg (RFC 4733): each key becomes one digit, however many packets said so.

use crate::model::recording::Digit;
use crate::model::{MediaTime, RtpTime};

use super::packet::TelephoneEvent;

/// Digits kept per leg.
const MAX_DIGITS: usize = 256;

/// Ticks per millisecond of the event clock.
const TICKS_PER_MS: u32 = 8;

/// What stands for a digit that is not to be known.
pub const HIDDEN: char = 'x';

/// The digits of a leg.
#[derive(Debug, Default)]
pub struct Digits {
    /// Which keys they are is not kept.
    are_hidden: bool,
    /// In the order of their first packet. Grows with digits, not with packets, up to [`MAX_DIGITS`].
    digits: Vec<Digit>,
    /// Those whose packets may still come.
    recent: heapless::Deque<Recent, 4>,
    /// Keys that began, also those that were too many to be kept.
    begun: u64,
}

/// An event is known by its timestamp, which is that of its beginning in all its packets.
#[derive(Clone, Copy, Debug)]
struct Recent {
    ssrc: u32,
    began: RtpTime,
    /// Where it stands in `digits`; none once there were too many.
    index: Option<usize>,
    digit: char,
    /// Duration of all segments before the one that runs.
    earlier_ticks: u32,
    ticks: u16,
    ended: bool,
}

impl Digits {
    /// None yet. Hidden ones are counted and placed, and nobody knows which keys they were.
    pub fn new(are_hidden: bool) -> Digits {
        Digits { are_hidden, ..Digits::default() }
    }

    /// Takes a packet whose timestamp `began` lies at `at`; tells whether a key began with it. Tones that are no key are ignored.
    pub fn event(&mut self, ssrc: u32, began: RtpTime, event: TelephoneEvent, at: MediaTime) -> bool {
        let Some(digit) = event.digit else { return false };
        let known = self.begun;
        let mut of_source = self.recent.iter_mut().rev().filter(|recent| recent.ssrc == ssrc);
        if let Some(recent) = of_source.find(|recent| recent.began == began) {
            recent.ticks = recent.ticks.max(event.duration_ticks);
            recent.ended |= event.end;
        } else if let Some(last) = self.recent.back_mut().filter(|last| last.is_continued_by(ssrc, began, digit)) {
            last.earlier_ticks += u32::from(u16::MAX);
            last.began = began;
            last.ticks = event.duration_ticks;
            last.ended = event.end;
        } else {
            self.begin(
                Recent { ssrc, began, index: None, digit, earlier_ticks: 0, ticks: event.duration_ticks, ended: event.end },
                at,
            );
        }
        self.update(ssrc, began);
        self.begun != known
    }

    /// All digits so far.
    pub fn all(&self) -> &[Digit] {
        &self.digits
    }

    fn begin(&mut self, mut event: Recent, at: MediaTime) {
        self.begun += 1;
        if self.digits.len() < MAX_DIGITS {
            event.index = Some(self.digits.len());
            let digit = if self.are_hidden { HIDDEN } else { event.digit };
            self.digits.push(Digit { at, digit, duration_ms: 0 });
        }
        if self.recent.is_full() {
            self.recent.pop_front();
        }
        let _ = self.recent.push_back(event); // has room
    }

    fn update(&mut self, ssrc: u32, began: RtpTime) {
        let Some(recent) = self.recent.iter().rev().find(|recent| recent.ssrc == ssrc && recent.began == began) else { return };
        if let Some(digit) = recent.index.and_then(|index| self.digits.get_mut(index)) {
            digit.duration_ms = (recent.earlier_ticks + u32::from(recent.ticks)) / TICKS_PER_MS;
        }
    }
}

impl Recent {
    /// A key held for longer than a duration can say (8 s) goes on in a further segment, which begins where the
    /// last one stopped (RFC 4733 §2.5.1.3).
    fn is_continued_by(&self, ssrc: u32, began: RtpTime, digit: char) -> bool {
        !self.ended
            && self.ssrc == ssrc
            && self.digit == digit
            && self.earlier_ticks < u32::MAX / 2
            && began.ticks_since(self.began) == i64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(digit: char, end: bool, duration_ticks: u16) -> TelephoneEvent {
        TelephoneEvent { digit: Some(digit), end, duration_ticks }
    }

    #[test]
    fn many_packets_are_one_digit() {
        let mut digits = Digits::default();
        for ticks in (160..=800).step_by(160) {
            digits.event(1, RtpTime(1_000), event('5', false, ticks), MediaTime(40));
        }
        for _ in 0..3 {
            digits.event(1, RtpTime(1_000), event('5', true, 960), MediaTime(40));
        }
        digits.event(1, RtpTime(5_000), event('5', false, 160), MediaTime(4_040));
        digits.event(1, RtpTime(1_000), event('5', true, 960), MediaTime(40));
        assert_eq!(
            digits.all(),
            [
                Digit { at: MediaTime(40), digit: '5', duration_ms: 120 },
                Digit { at: MediaTime(4_040), digit: '5', duration_ms: 20 }
            ]
        );
    }

    #[test]
    fn a_key_held_for_long_is_one_digit() {
        let mut digits = Digits::default();
        digits.event(1, RtpTime(u32::MAX), event('#', false, u16::MAX), MediaTime(0));
        digits.event(1, RtpTime(u32::from(u16::MAX) - 1), event('#', false, 800), MediaTime(65_535));
        digits.event(1, RtpTime(u32::from(u16::MAX) - 1), event('#', true, 8_001), MediaTime(65_535));
        assert_eq!(digits.all(), [Digit { at: MediaTime(0), digit: '#', duration_ms: (65_535 + 8_001) / 8 }]);
    }

    #[test]
    fn hidden_digits_are_counted_and_no_more() {
        let mut digits = Digits::new(true);
        let began = [(1_000, '4'), (1_000, '4'), (5_000, '1')]
            .map(|(time, key)| digits.event(1, RtpTime(time), event(key, true, 800), MediaTime(time.into())));
        assert_eq!(began, [true, false, true]);
        assert_eq!(digits.all().iter().map(|digit| digit.digit).collect::<String>(), "xx");
    }

    #[test]
    fn a_flood_of_digits_is_bounded() {
        let mut digits = Digits::default();
        for n in 0..1_000 {
            digits.event(1, RtpTime(n * 800), event('1', true, 400), MediaTime(0));
        }
        assert_eq!(digits.all().len(), MAX_DIGITS);
    }
}
