//! What the parties say: the bundled sample, or a WAV file (RIFF, "Multimedia Programming Interface 1.0"), as G.711 in a loop.

use std::sync::Arc;

use thiserror::Error;

use crate::model::block::Law;
use crate::model::g711::{alaw_to_linear, linear_to_alaw, linear_to_ulaw, ulaw_to_linear};
use crate::model::speech::{AGENT, CUSTOMER};

/// One party's speech: 8 kHz G.711, never empty, repeated for as long as the call lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    law: Law,
    codes: Arc<[u8]>,
}

/// Why a WAV file cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WavError {
    /// No RIFF/WAVE header.
    #[error("not a WAV file: it does not begin with RIFF….WAVE")]
    NotWav,
    /// The `fmt ` or `data` chunk is missing or cut short.
    #[error("the WAV file has no complete `{0}` chunk")]
    Missing(&'static str),
    /// Another coding than the three we can send.
    #[error(
        "the WAV file has format tag {tag}, {channels} channel(s), {rate_hz} Hz, {bits} bits: expected mono at 8000 Hz, as 16-bit \
         PCM, A-law or µ-law; convert it with `sox in.wav -r 8000 -c 1 -b 16 out.wav`"
    )]
    Format {
        /// Format tag: 1 PCM, 6 A-law, 7 µ-law.
        tag: u16,
        /// Number of channels.
        channels: u16,
        /// Samples per second.
        rate_hz: u32,
        /// Bits per sample.
        bits: u16,
    },
    /// Nothing to play.
    #[error("the WAV file has no samples")]
    Empty,
}

impl Audio {
    /// The agent's side of the bundled call.
    pub fn agent() -> Audio {
        Audio { law: Law::Pcmu, codes: AGENT.into() }
    }

    /// The customer's side of the bundled call; as long as the agent's.
    pub fn customer() -> Audio {
        Audio { law: Law::Pcmu, codes: CUSTOMER.into() }
    }

    /// Reads a WAV file: mono, 8 kHz, 16-bit PCM (becomes µ-law), A-law or µ-law.
    ///
    /// # Errors
    /// If it is no such file, or holds no sample.
    pub fn from_wav(file: &[u8]) -> Result<Audio, WavError> {
        let body = file.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..)).and_then(|rest| rest.strip_prefix(b"WAVE"));
        let body = body.ok_or(WavError::NotWav)?;
        let format = chunk(body, b"fmt ").filter(|f| f.len() >= 16).ok_or(WavError::Missing("fmt "))?;
        let data = chunk(body, b"data").ok_or(WavError::Missing("data"))?;
        let word = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
        let rate_hz = u32::from(word(4)) | u32::from(word(6)) << 16;
        let (law, codes): (Law, Arc<[u8]>) = match (word(0), word(2), rate_hz, word(14)) {
            (1, 1, 8_000, 16) => {
                (Law::Pcmu, data.chunks_exact(2).map(|s| linear_to_ulaw(i16::from_le_bytes([s[0], s[1]]))).collect())
            }
            (6, 1, 8_000, 8) => (Law::Pcma, data.into()),
            (7, 1, 8_000, 8) => (Law::Pcmu, data.into()),
            (tag, channels, rate_hz, bits) => return Err(WavError::Format { tag, channels, rate_hz, bits }),
        };
        if codes.is_empty() { Err(WavError::Empty) } else { Ok(Audio { law, codes }) }
    }

    /// The same speech in `law`; bit-exact when it already is.
    #[must_use]
    pub fn in_law(&self, law: Law) -> Audio {
        let codes = match (self.law, law) {
            (Law::Pcmu, Law::Pcma) => self.codes.iter().map(|c| linear_to_alaw(ulaw_to_linear(*c))).collect(),
            (Law::Pcma, Law::Pcmu) => self.codes.iter().map(|c| linear_to_ulaw(alaw_to_linear(*c))).collect(),
            _ => Arc::clone(&self.codes),
        };
        Audio { law, codes }
    }

    /// Its law.
    pub fn law(&self) -> Law {
        self.law
    }

    /// Fills `out` with the samples from `position` on, counted from the start of the call.
    pub fn copy_at(&self, position: u64, out: &mut [u8]) {
        let start = (position % self.codes.len() as u64) as usize; // below len(), which is a usize
        for (sample, code) in out.iter_mut().zip(self.codes.iter().cycle().skip(start)) {
            *sample = *code;
        }
    }
}

/// The first chunk of that name, cut at the file's end (recorders that were killed leave a length of 0 or too much).
fn chunk<'a>(mut body: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    while let Some((header, rest)) = body.split_first_chunk::<8>() {
        let [a, b, c, d, len @ ..] = *header;
        let len = u32::from_le_bytes(len) as usize;
        if [a, b, c, d] == *name {
            return Some(&rest[..len.min(rest.len())]);
        }
        body = rest.get(len.checked_add(len & 1)?..)?; // chunks are padded to even lengths
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wav(tag: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&1u16.to_le_bytes());
        file.extend_from_slice(&8_000u32.to_le_bytes());
        file.extend_from_slice(&[0; 6]);
        file.extend_from_slice(&bits.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&(data.len() as u32).to_le_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn both_sides_of_the_sample_are_equally_long_whole_frames() {
        assert_eq!(AGENT.len(), CUSTOMER.len());
        assert_eq!(AGENT.len() % 160, 0);
    }

    #[test]
    fn companded_files_are_played_bit_for_bit() {
        let codes = [1, 2, 3, 250];
        let audio = Audio::from_wav(&wav(7, 8, &codes)).unwrap();
        let mut heard = [0; 6];
        audio.in_law(Law::Pcmu).copy_at(3, &mut heard);
        assert_eq!(heard, [250, 1, 2, 3, 250, 1]);
        assert_eq!(Audio::from_wav(&wav(6, 8, &codes)).unwrap().law(), Law::Pcma);
    }

    #[test]
    fn pcm_is_companded() {
        let audio = Audio::from_wav(&wav(1, 16, &[0, 0, 0xFF, 0x7F])).unwrap();
        let mut heard = [0; 2];
        audio.copy_at(0, &mut heard);
        assert_eq!(heard, [linear_to_ulaw(0), linear_to_ulaw(32_767)]);
        audio.in_law(Law::Pcma).copy_at(0, &mut heard);
        assert_eq!(heard, [linear_to_alaw(0), linear_to_alaw(32_767)]);
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        assert_eq!(Audio::from_wav(b"ID3"), Err(WavError::NotWav));
        assert_eq!(Audio::from_wav(b"RIFF\0\0\0\0WAVE"), Err(WavError::Missing("fmt ")));
        assert_eq!(Audio::from_wav(&wav(7, 8, &[])), Err(WavError::Empty));
        let error = Audio::from_wav(&wav(3, 32, &[0; 8])).unwrap_err();
        assert!(error.to_string().contains("sox"), "{error}");
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..80) {
            let whole = wav(7, 8, &body);
            let _ = Audio::from_wav(&whole[..whole.len().saturating_sub(cut)]);
            let _ = Audio::from_wav(&[b"RIFF\0\0\0\0WAVE".as_slice(), &body].concat());
        }
    }
}
