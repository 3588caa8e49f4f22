//! Reads the box's WAV files by the standard alone, with nothing of the code that wrote them.

use std::fs;
use std::path::Path;

pub(crate) struct Wav {
    pub(crate) format_tag: u16,
    pub(crate) channels: [Vec<u8>; 2],
}

impl Wav {
    pub(crate) fn open(path: &Path) -> Wav {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
        assert_eq!(u32_at(&bytes, 4) as usize, bytes.len() - 8, "RIFF size");
        let (mut at, mut format, mut data) = (12, None, None);
        while at + 8 <= bytes.len() {
            let (id, len) = (&bytes[at..at + 4], u32_at(&bytes, at + 4) as usize);
            let body = &bytes[at + 8..at + 8 + len];
            match id {
                b"fmt " => format = Some(body),
                b"data" => data = Some(body),
                _ => {}
            }
            at += 8 + len + len % 2;
        }
        let format = format.expect("a fmt chunk");
        assert_eq!(u16_at(format, 2), 2, "channels");
        assert_eq!(u32_at(format, 4), 8_000, "rate");
        assert_eq!(u16_at(format, 14), 8, "bits");
        let data = data.expect("a data chunk");
        let channel = |n: usize| data.iter().skip(n).step_by(2).copied().collect();
        Wav { format_tag: u16_at(format, 0), channels: [channel(0), channel(1)] }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.channels[0].len() as f64 / 8_000.0
    }

    /// Where `audio` stands, bit-exact, in a channel; everything before and behind must be silence.
    pub(crate) fn find(&self, channel: usize, audio: &[u8]) -> Option<usize> {
        let silence = if self.format_tag == 7 { 0xFF } else { 0xD5 };
        let have = &self.channels[channel];
        let lead = audio.iter().take_while(|b| **b == silence).count();
        let begin = have.iter().position(|b| *b != silence)?.checked_sub(lead)?;
        let end = begin + audio.len();
        (have.get(begin..end)? == audio && have[end..].iter().all(|b| *b == silence)).then_some(begin)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
