//! From one law to the other without a detour over linear samples: the conversions of ITU-T G.711 (11/88),
//! Table 3 (µ to A) and Table 4 (A to µ). Pure.
//!
//! The tables map decision values, counted from the quietest (0) to the loudest (127) of each sign. They rise so evenly
//! that each is written here as its few straight pieces.

use crate::model::block::Law;

/// `byte` of law `from` as a byte of law `to`; unchanged when they are the same.
pub fn transcode(byte: u8, from: Law, to: Law) -> u8 {
    match (from, to) {
        (Law::Pcmu, Law::Pcma) => MU_TO_A[usize::from(byte)],
        (Law::Pcma, Law::Pcmu) => A_TO_MU[usize::from(byte)],
        _ => byte,
    }
}

const SIGN: u8 = 0x80;
/// A-law goes over the wire with its even bits inverted.
const EVEN_BITS: u8 = 0x55;

const MU_TO_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mu = byte as u8;
        let value = 127 - (mu & !SIGN); // µ-law goes over the wire inverted
        table[byte] = ((mu & SIGN) | a_of_mu(value)) ^ EVEN_BITS;
        byte += 1;
    }
    table
};

const A_TO_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let a = byte as u8;
        let value = (a ^ EVEN_BITS) & !SIGN;
        table[byte] = (a & SIGN) | (127 - mu_of_a(value));
        byte += 1;
    }
    table
};

/// Table 3/G.711.
const fn a_of_mu(value: u8) -> u8 {
    match value {
        0..16 => value / 2,
        16..32 => value - 8,
        32..36 => 2 * value - 40,
        36..48 => value - 4,
        48..50 => 2 * value - 51,
        50..64 => value - 2,
        64..=80 => value - 1,
        _ => value,
    }
}

/// Table 4/G.711.
const fn mu_of_a(value: u8) -> u8 {
    match value {
        0..8 => 2 * value + 1,
        8..24 => value + 8,
        24..32 => value / 2 + 20,
        32..44 => value + 4,
        44..48 => value / 2 + 26,
        48..63 => value + 2,
        63..80 => value + 1,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_a(byte: u8) -> u8 {
        transcode(byte, Law::Pcmu, Law::Pcma)
    }

    fn to_mu(byte: u8) -> u8 {
        transcode(byte, Law::Pcma, Law::Pcmu)
    }

    #[test]
    fn silence_and_full_scale_keep_their_meaning() {
        assert_eq!(to_a(0xFF), 0xD5, "+0");
        assert_eq!(to_a(0x7F), 0x55, "-0");
        assert_eq!(to_a(0x80), 0xAA, "loudest positive");
        assert_eq!(to_a(0x00), 0x2A, "loudest negative");
        assert_eq!(to_mu(0xAA), 0x80);
        assert_eq!(to_mu(0x2A), 0x00);
        assert_eq!(to_mu(0xD5), 0xFE, "A-law has no zero: its quietest step is µ-law's first one");
    }

    /// Pairs read from the tables of the recommendation, where the two laws' segments meet.
    #[test]
    fn the_joints_of_the_tables() {
        for (mu, a) in [(15, 7), (16, 8), (31, 23), (32, 24), (35, 30), (36, 32), (47, 43), (48, 45), (49, 47), (50, 48)] {
            assert_eq!(a_of_mu(mu), a, "µ {mu}");
        }
        for (mu, a) in [(63, 61), (64, 63), (79, 78), (80, 79), (81, 81), (127, 127)] {
            assert_eq!(a_of_mu(mu), a, "µ {mu}");
        }
        for (a, mu) in [(0, 1), (7, 15), (8, 16), (23, 31), (24, 32), (25, 32), (31, 35), (32, 36), (43, 47), (44, 48), (47, 49)]
        {
            assert_eq!(mu_of_a(a), mu, "A {a}");
        }
        for (a, mu) in [(48, 50), (62, 64), (63, 64), (64, 65), (79, 80), (80, 80), (127, 127)] {
            assert_eq!(mu_of_a(a), mu, "A {a}");
        }
    }

    #[test]
    fn there_and_back_moves_at_most_one_step_and_never_changes_the_sign() {
        for byte in 0..=255 {
            let back = to_mu(to_a(byte));
            assert_eq!(back & 0x80, byte & 0x80);
            assert!(back.abs_diff(byte) <= 1, "{byte:#04x} came back as {back:#04x}");
            assert_eq!(transcode(byte, Law::Pcma, Law::Pcma), byte);
        }
    }
}
