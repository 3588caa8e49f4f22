//! G.711 companding, both laws, exactly as ITU-T G.711 tables 1a-2b: codes to 16-bit linear PCM and back.
//!
//! Linear values are left-justified in 16 bits (µ-law has 14 significant bits, A-law 13), full scale ±32124 and ±32256. A code
//! decodes to the middle of its interval, so decoding and encoding again gives the same code; the one exception is µ-law's
//! negative zero `0x7F`, which linear PCM cannot tell from `0xFF`.

/// Added to a 14-bit magnitude so that every µ-law segment starts at a power of two.
const ULAW_BIAS: u16 = 33;

/// Decodes one µ-law code.
pub const fn ulaw_to_linear(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 7;
    let step = (code & 0x0F) as i16;
    // The interval's middle with the bias still in it, in 14 bits: at most (2·15 + 33) << 7 = 8064.
    let biased = (2 * step + ULAW_BIAS as i16) << segment;
    let magnitude = (biased - ULAW_BIAS as i16) * 4;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Encodes one sample as µ-law; what is beyond full scale becomes full scale.
pub const fn linear_to_ulaw(sample: i16) -> u8 {
    let (sign, magnitude) = split(sample);
    let biased = (magnitude >> 2) + ULAW_BIAS;
    let biased = if biased > 0x1FFF { 0x1FFF } else { biased };
    // 33..=8191: the highest bit is 5..=12, one segment each.
    let segment = (biased.ilog2() - 5) as u8;
    let step = (biased >> (segment + 1)) as u8 & 0x0F;
    !(sign | (segment << 4) | step)
}

/// Decodes one A-law code.
pub const fn alaw_to_linear(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = (code & 0x0F) as i16;
    // The interval's middle in 16 bits; segments 0 and 1 share a step size.
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1), // at most 504 << 6 = 32256
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// Encodes one sample as A-law.
pub const fn linear_to_alaw(sample: i16) -> u8 {
    let (sign, magnitude) = split(sample);
    let magnitude = magnitude >> 4; // 0..=2047
    let segment = if magnitude < 32 { (magnitude >> 4) as u8 } else { (magnitude.ilog2() - 3) as u8 };
    let step = if segment == 0 { magnitude } else { magnitude >> (segment - 1) } as u8 & 0x0F;
    ((sign ^ 0x80) | (segment << 4) | step) ^ 0x55
}

/// Sign bit and magnitude in ones' complement: −1 is the mirror of 0, so that both halves have the same intervals.
const fn split(sample: i16) -> (u8, u16) {
    if sample < 0 { (0x80, !sample as u16) } else { (0, sample as u16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_points_of_the_recommendation() {
        // Code and value of G.711 tables 2a/2b (14 bits, here × 4) and 1a/1b (13 bits, here × 8).
        for (code, value) in [(0x80, 8031), (0x8F, 4191), (0xEF, 33), (0xFE, 2), (0xFF, 0), (0x7E, -2), (0x00, -8031)] {
            assert_eq!(ulaw_to_linear(code), value * 4, "µ-law {code:#04x}");
        }
        for (code, value) in [(0xAA, 4032), (0xA5, 2112), (0xD5, 1), (0xD4, 3), (0x55, -1), (0x2A, -4032)] {
            assert_eq!(alaw_to_linear(code), value * 8, "A-law {code:#04x}");
        }
    }

    #[test]
    fn every_code_survives_linear_pcm() {
        for code in 0..=u8::MAX {
            let again = linear_to_ulaw(ulaw_to_linear(code));
            assert_eq!(again, if code == 0x7F { 0xFF } else { code });
            assert_eq!(linear_to_alaw(alaw_to_linear(code)), code);
        }
    }

    #[test]
    fn decision_values_of_the_recommendation() {
        // First and last 16-bit sample of some intervals, positive and negative.
        let ulaw =
            [(0x80, 31_612, 32_767), (0xEF, 124, 139), (0xFE, 4, 11), (0xFF, 0, 3), (0x7F, -4, -1), (0x00, -32_768, -31_613)];
        for (code, first, last) in ulaw {
            assert_eq!(interval(code, linear_to_ulaw), (first, last), "µ-law {code:#04x}");
        }
        let alaw = [
            (0xAA, 31_744, 32_767),
            (0xA5, 16_384, 17_407),
            (0xD5, 0, 15),
            (0xD4, 16, 31),
            (0x55, -16, -1),
            (0x2A, -32_768, -31_745),
        ];
        for (code, first, last) in alaw {
            assert_eq!(interval(code, linear_to_alaw), (first, last), "A-law {code:#04x}");
        }
    }

    /// First and last sample that is encoded as `code`.
    fn interval(code: u8, encode: fn(i16) -> u8) -> (i16, i16) {
        let mut samples = (i16::MIN..=i16::MAX).filter(|x| encode(*x) == code);
        let first = samples.next().unwrap();
        (first, samples.next_back().unwrap_or(first))
    }

    #[test]
    fn encoding_is_monotonic_and_silence_is_silence() {
        for sample in i16::MIN..i16::MAX {
            assert!(ulaw_to_linear(linear_to_ulaw(sample)) <= ulaw_to_linear(linear_to_ulaw(sample + 1)));
            assert!(alaw_to_linear(linear_to_alaw(sample)) <= alaw_to_linear(linear_to_alaw(sample + 1)));
        }
        assert_eq!(linear_to_ulaw(0), 0xFF);
        assert_eq!(linear_to_alaw(0), 0xD5);
        assert_eq!(linear_to_ulaw(i16::MIN), 0x00);
        assert_eq!(linear_to_alaw(i16::MIN), 0x2A);
    }
}
