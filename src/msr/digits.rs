//! Dialled digits as telephone events (RFC 4733): which frame of a call carries which event packet.
//!
//! Each digit sounds for [`DIGIT_MS`]; its packets take the place of audio, share the timestamp of its first frame, and the last
//! is sent three times (§2.5.1.4). Then audio goes on for [`GAP_MS`].

/// When the first digit comes, from the start of the call.
pub const FIRST_MS: u64 = 2_000;
/// How long a digit sounds.
pub const DIGIT_MS: u64 = 100;
/// Audio between two digits.
pub const GAP_MS: u64 = 100;
/// How often the end of an event is repeated after its first end packet.
const REPEATS: u64 = 2;
/// −10 dBm0, a usual telephone's level (§2.3.3).
const VOLUME: u8 = 10;

/// Digits to be sent in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    codes: Vec<u8>,
}

/// An event packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPacket {
    /// The frame in which the event began: its timestamp.
    pub began: u64,
    /// The event's first packet, which carries the marker bit.
    pub first: bool,
    /// Event code, E bit, volume and duration (§2.3).
    pub payload: [u8; 4],
}

impl Digits {
    /// Digits `0`-`9`, `*`, `#`, `A`-`D`.
    ///
    /// # Errors
    /// The first character that is none of them.
    pub fn new(digits: &str) -> Result<Digits, char> {
        let code = |c: char| "0123456789*#ABCD".find(c.to_ascii_uppercase()).and_then(|at| u8::try_from(at).ok()).ok_or(c);
        Ok(Digits { codes: digits.chars().map(code).collect::<Result<_, _>>()? })
    }

    /// The event packet that takes the place of audio in `frame`, if one does.
    pub fn at(&self, frame: u64, ptime_ms: u8) -> Option<EventPacket> {
        let ptime_ms = u64::from(ptime_ms);
        let sounding = DIGIT_MS.div_ceil(ptime_ms);
        let cycle = sounding + REPEATS + GAP_MS.div_ceil(ptime_ms);
        let since_first = frame.checked_sub(FIRST_MS.div_ceil(ptime_ms))?;
        let code = *self.codes.get(usize::try_from(since_first / cycle).ok()?)?;
        let offset = since_first % cycle;
        if offset >= sounding + REPEATS {
            return None;
        }
        let [high, low] = u16::try_from((offset + 1).min(sounding) * ptime_ms * 8).ok()?.to_be_bytes();
        let end = if offset + 1 >= sounding { 0x80 } else { 0 };
        Some(EventPacket { began: frame - offset, first: offset == 0, payload: [code, end | VOLUME, high, low] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digit_grows_and_ends_three_times() {
        let digits = Digits::new("5#").unwrap();
        assert_eq!(digits.at(99, 20), None);
        let packets: Vec<_> = (100..107).map(|f| digits.at(f, 20).unwrap()).collect();
        assert!(packets.iter().all(|p| p.began == 100 && p.payload[0] == 5));
        let durations: Vec<_> = packets.iter().map(|p| u16::from_be_bytes([p.payload[2], p.payload[3]])).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800]);
        let ends: Vec<_> = packets.iter().map(|p| p.payload[1] & 0x80 != 0).collect();
        assert_eq!(ends, [false, false, false, false, true, true, true]);
        assert_eq!(packets.iter().filter(|p| p.first).count(), 1);
        assert!((107..112).all(|f| digits.at(f, 20).is_none()), "audio between two digits");
        assert_eq!(digits.at(112, 20).unwrap().payload[0], 11);
        assert!((119..10_000).all(|f| digits.at(f, 20).is_none()));
    }

    #[test]
    fn long_packets_end_three_times_too() {
        let digits = Digits::new("d").unwrap();
        let ends = (0..100).filter_map(|f| digits.at(f, 60)).filter(|p| p.payload[1] & 0x80 != 0).count();
        assert_eq!(ends, 3);
        assert_eq!(Digits::new("12x").unwrap_err(), 'x');
    }
}
