//! Audio files as samples: WAV (RIFF, "Multimedia Programming Interface 1.0") of 8 to 32 bits, float, µ-law and A-law, MP3 (ISO
//! 11172-3, 13818-3), and a 16-bit WAV as bytes. Pure: bytes in, samples out. Samples are `f32` at the scale of 16 bits.

use thiserror::Error;

use super::resample::Resampler;
use crate::model::g711::{alaw_to_linear, ulaw_to_linear};

/// The rate of everything in this station.
pub const RATE_HZ: u32 = 8_000;

/// Rates that a file may have.
const RATES_HZ: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// Why a file is no audio that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AudioError {
    /// Neither begins like a WAV nor holds frames like an MP3.
    #[error("neither a WAV nor an MP3 file{0}")]
    NotAudio(&'static str),
    /// The `fmt ` or `data` chunk is missing or cut short.
    #[error("the WAV file has no complete `{0}` chunk")]
    Missing(&'static str),
    /// A coding that cannot be read.
    #[error(
        "the WAV file has format tag {tag}, {channels} channel(s), {rate_hz} Hz, {bits} bits; expected PCM, float, A-law or µ-law with \
         one or two channels, from 4000 to 384000 Hz"
    )]
    Format {
        /// Format tag.
        tag: u16,
        /// Number of channels.
        channels: u16,
        /// Samples per second.
        rate_hz: u32,
        /// Bits per sample.
        bits: u16,
    },
    /// Nothing in it.
    #[error("it has no samples")]
    Empty,
    /// Longer than allowed.
    #[error("it lasts longer than {0} s, which is no tone")]
    TooLong(u32),
}

/// How a sample of a WAV file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, little-endian, of so many bytes (2 to 4).
    Int(usize),
    /// IEEE 754, 32 bits.
    Float,
    /// ITU-T G.711 µ-law.
    ULaw,
    /// ITU-T G.711 A-law.
    ALaw,
}

/// The head of a WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavHead {
    /// One or two.
    pub channels: usize,
    /// Samples per second of one channel.
    pub rate_hz: u32,
    /// How they are written.
    pub coding: Coding,
    /// Where the first sample stands in the file.
    pub data_start: usize,
    /// How many bytes of samples there are, as the head says.
    pub data_bytes: u32,
}

impl WavHead {
    /// Reads the head from the first bytes of a file; a few kilobytes are enough.
    ///
    /// # Errors
    /// If it is no WAV file, or one that cannot be read.
    pub fn read(file: &[u8]) -> Result<WavHead, AudioError> {
        if !is_wav(file) {
            return Err(AudioError::NotAudio(""));
        }
        let format = chunk(file, b"fmt ").filter(|(at, _)| file.len() >= at + 16).ok_or(AudioError::Missing("fmt "))?.0;
        let (data_start, data_bytes) = chunk(file, b"data").ok_or(AudioError::Missing("data"))?;
        let word = |at: usize| u16::from_le_bytes([file[format + at], file[format + at + 1]]);
        let (mut tag, channels, bits) = (word(0), word(2), word(14));
        let rate_hz = u32::from(word(4)) | u32::from(word(6)) << 16;
        if tag == 0xFFFE && file.len() >= format + 26 {
            tag = word(24); // WAVE_FORMAT_EXTENSIBLE: the first bytes of its GUID are the old tag
        }
        let coding = match (tag, bits) {
            (1, 8) => Some(Coding::U8),
            (1, 16 | 24 | 32) => Some(Coding::Int(usize::from(bits / 8))),
            (3, 32) => Some(Coding::Float),
            (6, 8) => Some(Coding::ALaw),
            (7, 8) => Some(Coding::ULaw),
            _ => None,
        };
        let coding = coding.filter(|_| (1..=2).contains(&channels) && RATES_HZ.contains(&rate_hz));
        let coding = coding.ok_or(AudioError::Format { tag, channels, rate_hz, bits })?;
        Ok(WavHead { channels: usize::from(channels), rate_hz, coding, data_start, data_bytes })
    }

    /// Bytes of one sample of every channel.
    pub fn frame_bytes(&self) -> usize {
        self.channels * self.coding.bytes()
    }

    /// Appends whole frames to a list per channel.
    pub fn decode(&self, bytes: &[u8], channels: &mut [Vec<f32>]) {
        let width = self.coding.bytes();
        for frame in bytes.chunks_exact(self.frame_bytes()) {
            for (sample, channel) in frame.chunks_exact(width).zip(channels.iter_mut()) {
                channel.push(self.coding.sample(sample));
            }
        }
    }
}

impl Coding {
    fn bytes(self) -> usize {
        match self {
            Coding::U8 | Coding::ULaw | Coding::ALaw => 1,
            Coding::Int(bytes) => bytes,
            Coding::Float => 4,
        }
    }

    /// One sample from exactly [`Coding::bytes`].
    fn sample(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Coding::U8, [b]) => (f32::from(*b) - 128.0) * 256.0,
            (Coding::ULaw, [b]) => f32::from(ulaw_to_linear(*b)),
            (Coding::ALaw, [b]) => f32::from(alaw_to_linear(*b)),
            (Coding::Float, [a, b, c, d]) => {
                let value = f32::from_le_bytes([*a, *b, *c, *d]);
                if value.is_finite() { value.clamp(-1.0, 1.0) * 32_767.0 } else { 0.0 }
            }
            (_, [.., low, high]) => f32::from(i16::from_le_bytes([*low, *high])), // the upper 16 bits
            _ => 0.0,
        }
    }
}

/// Whether it begins like one.
pub fn is_wav(file: &[u8]) -> bool {
    file.len() >= 12 && file.starts_with(b"RIFF") && &file[8..12] == b"WAVE"
}

/// A whole file as one channel of 8 kHz: two channels become their mean.
///
/// # Errors
/// If it is no such file, empty, or longer than `most_s`.
pub fn load(file: &[u8], most_s: u32) -> Result<Vec<f32>, AudioError> {
    let (rate_hz, mono) = if is_wav(file) { wav(file, most_s)? } else { mp3(file, most_s)? };
    if mono.is_empty() {
        return Err(AudioError::Empty);
    }
    let mut resampler = Resampler::new(rate_hz, RATE_HZ);
    let mut out = Vec::new();
    resampler.push(&mono, &mut out);
    resampler.finish(&mut out);
    Ok(out)
}

/// A mono WAV file of 16 bits and 8 kHz.
pub fn wav_bytes(samples: &[i16]) -> Vec<u8> {
    let data_bytes = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(44 + samples.len() * 2);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&data_bytes.saturating_add(36).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend_from_slice(&RATE_HZ.to_le_bytes());
    file.extend_from_slice(&(2 * RATE_HZ).to_le_bytes());
    file.extend_from_slice(b"\x02\0\x10\0data");
    file.extend_from_slice(&data_bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn wav(file: &[u8], most_s: u32) -> Result<(u32, Vec<f32>), AudioError> {
    let head = WavHead::read(file)?;
    let data = &file[head.data_start..];
    let data = &data[..data.len().min(head.data_bytes as usize)];
    let frames = data.len() / head.frame_bytes();
    if frames as u64 > u64::from(most_s) * u64::from(head.rate_hz) {
        return Err(AudioError::TooLong(most_s));
    }
    let mut channels = vec![Vec::with_capacity(frames); head.channels];
    head.decode(data, &mut channels);
    Ok((head.rate_hz, mean(&channels)))
}

fn mp3(file: &[u8], most_s: u32) -> Result<(u32, Vec<f32>), AudioError> {
    if !nanomp3::detect(file) {
        return Err(AudioError::NotAudio(what_it_looks_like(file)));
    }
    let broken = |_| AudioError::NotAudio(": it begins like an MP3, but has no frames that can be decoded");
    let mut reader = nanomp3::SliceReader::<i16>::new(file);
    let (rate_hz, channels) = (reader.sample_rate(), reader.channels().map_or(0, |channels| usize::from(channels.num())));
    if !RATES_HZ.contains(&rate_hz) || !(1..=2).contains(&channels) {
        return Err(AudioError::NotAudio(": an MP3 without a usable rate"));
    }
    let most = most_s as usize * rate_hz as usize * channels;
    let mut pcm = Vec::new();
    let mut part = [0_i16; 4_096];
    while let read @ 1.. = reader.read(&mut part).map_err(broken)? {
        pcm.extend_from_slice(&part[..read.min(part.len())]);
        if pcm.len() > most {
            return Err(AudioError::TooLong(most_s));
        }
    }
    let lanes: Vec<Vec<f32>> =
        (0..channels).map(|lane| pcm.iter().skip(lane).step_by(channels).map(|s| f32::from(*s)).collect()).collect();
    Ok((rate_hz, mean(&lanes)))
}

/// A server's error page is the usual thing that is no audio.
fn what_it_looks_like(file: &[u8]) -> &'static str {
    let start = file.trim_ascii_start();
    if file.is_empty() {
        ": it is empty"
    } else if start.starts_with(b"<") {
        ": it looks like a web page"
    } else if start.starts_with(b"OggS") || start.starts_with(b"fLaC") {
        ": it is Ogg or FLAC"
    } else {
        ""
    }
}

fn mean(channels: &[Vec<f32>]) -> Vec<f32> {
    match channels {
        [left, right] => left.iter().zip(right).map(|(l, r)| (l + r) / 2.0).collect(),
        [mono, ..] => mono.clone(),
        [] => Vec::new(),
    }
}

/// Where the first chunk of that name has its content, and how long it says it is.
fn chunk(file: &[u8], name: &[u8; 4]) -> Option<(usize, u32)> {
    let mut at = 12_usize;
    loop {
        let head = file.get(at..at.checked_add(8)?)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if head[..4] == *name {
            return Some((at + 8, length));
        }
        at = at.checked_add(8)?.checked_add(length as usize)?.checked_add(length as usize & 1)?; // padded to even lengths
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(tag: u16, channels: u16, rate_hz: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&channels.to_le_bytes());
        file.extend_from_slice(&rate_hz.to_le_bytes());
        file.extend_from_slice(&[0; 6]);
        file.extend_from_slice(&bits.to_le_bytes());
        file.extend_from_slice(b"data");
        file.extend_from_slice(&(data.len() as u32).to_le_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn every_coding_is_read_at_the_scale_of_16_bits() {
        let half = |tag, bits, data: &[u8]| load(&file(tag, 1, 8_000, bits, data), 1).unwrap();
        assert_eq!(half(1, 8, &[0xC0]), [16_384.0]);
        assert_eq!(half(1, 16, &[0, 0x40]), [16_384.0]);
        assert_eq!(half(1, 24, &[9, 0, 0x40]), [16_384.0]);
        assert_eq!(half(1, 32, &[9, 9, 0, 0x40]), [16_384.0]);
        assert_eq!(half(3, 32, &0.5_f32.to_le_bytes()), [16_383.5]);
        assert_eq!(half(3, 32, &f32::NAN.to_le_bytes()), [0.0]);
        assert_eq!(half(7, 8, &[0x80]), [32_124.0]);
        assert_eq!(half(6, 8, &[0xAA]), [32_256.0]);
        assert_eq!(load(&file(1, 2, 8_000, 16, &[0, 0x40, 0, 0]), 1).unwrap(), [8_192.0], "two channels become their mean");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let samples: Vec<i16> = (0..100).map(|n| n * 300 - 15_000).collect();
        let file = wav_bytes(&samples);
        assert_eq!(file.len(), 244);
        assert_eq!(WavHead::read(&file).unwrap().data_start, 44);
        let again: Vec<i16> = load(&file, 1).unwrap().iter().map(|s| *s as i16).collect();
        assert_eq!(again, samples);
    }

    #[test]
    fn what_is_no_audio_says_so() {
        let fault = |bytes: &[u8]| load(bytes, 1).unwrap_err().to_string();
        assert!(fault(b"<html>404</html>").contains("web page"));
        assert!(fault(b"").contains("empty"));
        assert!(fault(&file(1, 1, 8_000, 16, &[])).contains("no samples"));
        assert!(fault(&file(1, 3, 8_000, 16, &[])).contains("3 channel(s)"));
        assert!(fault(&file(1, 1, 8_000, 16, &[0; 16_002])).contains("longer than 1 s"));
        assert!(fault(b"RIFF\0\0\0\0WAVE").contains("fmt"));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..2_000), tag in 0u16..8, cut in 0usize..80) {
            let whole = file(tag, 1, 8_000, 8, &body);
            let _ = load(&whole[..whole.len().saturating_sub(cut)], 1);
            let _ = load(&body, 1);
            let _ = load(&[b"RIFF\0\0\0\0WAVE".as_slice(), &body].concat(), 1);
            let _ = load(&[b"ID3".as_slice(), &body].concat(), 1);
            let _ = load(&[[0xFF, 0xFB, 0x90, 0x64].as_slice(), &body].concat(), 1);
        }
    }
}
