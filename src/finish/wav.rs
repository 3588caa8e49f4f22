//! The head of a WAV file that holds G.711 as it is (Microsoft *Multimedia Data Standards Update*, 1994: WAVE_FORMAT_MULAW
//! and WAVE_FORMAT_ALAW need the extended `fmt ` and a `fact` chunk). Pure.
//!
//! ```text
//!  0  "RIFF"  u32 file length − 8   "WAVE"
//! 12  "fmt "  u32 18   tag 7|6   channels 2   8,000 Hz   16,000 bytes/s   align 2   8 bits   extension 0
//! 38  "fact"  u32 4    u32 samples per channel
//! 50  "data"  u32 bytes of audio
//! 58  channel 1, channel 2, channel 1 …
//! ```

use crate::model::MediaTime;
use crate::model::block::Law;

/// Length of [`header`].
pub const HEADER_BYTES: usize = 58;

/// Bytes of one frame: one sample of each of the two channels.
pub const FRAME_BYTES: u64 = 2;

const RATE: u32 = MediaTime::RATE as u32;

/// The head of a stereo file of `frames` samples per channel. The data that follows is always even, so no padding.
///
/// Sizes over 4 GiB (from 74 hours on) do not fit the fields and saturate there; players then read to the end of the file.
pub fn header(law: Law, frames: u64) -> [u8; HEADER_BYTES] {
    let data_bytes = frames.saturating_mul(FRAME_BYTES);
    let riff_bytes = data_bytes.saturating_add(HEADER_BYTES as u64 - 8);
    let tag: u16 = match law {
        Law::Pcmu => 7,
        Law::Pcma => 6,
    };
    let fields: [&[u8]; 16] = [
        b"RIFF",
        &saturated(riff_bytes),
        b"WAVEfmt ",
        &18u32.to_le_bytes(),
        &tag.to_le_bytes(),
        &2u16.to_le_bytes(),
        &RATE.to_le_bytes(),
        &(2 * RATE).to_le_bytes(),
        &2u16.to_le_bytes(),
        &8u16.to_le_bytes(),
        &0u16.to_le_bytes(),
        b"fact",
        &4u32.to_le_bytes(),
        &saturated(frames),
        b"data",
        &saturated(data_bytes),
    ];
    let mut out = [0; HEADER_BYTES];
    for (place, byte) in out.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    out
}

fn saturated(size: u64) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_header() {
        let expected = [
            b"RIFF".as_slice(),
            &[0x34, 0, 0, 0], // 58 + 2 − 8
            b"WAVEfmt ",
            &[18, 0, 0, 0, 7, 0, 2, 0, 0x40, 0x1F, 0, 0, 0x80, 0x3E, 0, 0, 2, 0, 8, 0, 0, 0],
            b"fact",
            &[4, 0, 0, 0, 1, 0, 0, 0],
            b"data",
            &[2, 0, 0, 0],
        ]
        .concat();
        assert_eq!(header(Law::Pcmu, 1).as_slice(), expected);
        assert_eq!(header(Law::Pcma, 1)[20], 6);
    }

    #[test]
    fn sizes_saturate_instead_of_wrapping() {
        let long = header(Law::Pcmu, u64::from(u32::MAX));
        assert_eq!(long[4..8], [0xFF; 4]);
        assert_eq!(long[54..58], [0xFF; 4]);
        assert_eq!(long[46..50], u32::MAX.to_le_bytes());
        assert_eq!(header(Law::Pcmu, u64::MAX)[46..50], [0xFF; 4]);
    }
}
