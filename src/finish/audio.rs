//! Frames of two channels -> an audio file of the wanted format. Pure.

use std::io::{self, Write};

use super::ogg_opus::Opus;
use super::wav;
use crate::model::AudioFormat;
use crate::model::block::Law;

/// Takes frames and writes the file. It is whole only after [`AudioFile::finish`].
pub enum AudioFile<W: Write> {
    /// As they are, behind a head.
    Wav(W),
    /// Encoded.
    Opus(Box<Opus<W>>),
}

impl<W: Write> AudioFile<W> {
    /// Writes the head of a file that will have `frames` samples per channel. `serial` tells Ogg streams apart.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(format: AudioFormat, law: Law, frames: u64, serial: u32, mut out: W) -> io::Result<AudioFile<W>> {
        match format {
            AudioFormat::Wav => {
                out.write_all(&wav::header(law, frames))?;
                Ok(AudioFile::Wav(out))
            }
            AudioFormat::Opus => Ok(AudioFile::Opus(Box::new(Opus::new(out, serial, law)?))),
        }
    }

    /// Writes the end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(self) -> io::Result<W> {
        match self {
            AudioFile::Wav(out) => Ok(out),
            AudioFile::Opus(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for AudioFile<W> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        match self {
            AudioFile::Wav(out) => out.write(frames),
            AudioFile::Opus(encoder) => encoder.write(frames),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            AudioFile::Wav(out) => out.flush(),
            AudioFile::Opus(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(format: AudioFormat) -> Vec<u8> {
        let mut file = AudioFile::begin(format, Law::Pcma, 2, 1, Vec::new()).unwrap();
        file.write_all(&[0xD5, 0xD5, 0x11, 0x22]).unwrap();
        file.finish().unwrap()
    }

    #[test]
    fn each_format_begins_and_ends_as_it_must() {
        let wav = file(AudioFormat::Wav);
        assert_eq!(wav[..wav::HEADER_BYTES], wav::header(Law::Pcma, 2));
        assert_eq!(wav[wav::HEADER_BYTES..], [0xD5, 0xD5, 0x11, 0x22]);
        assert!(file(AudioFormat::Opus).starts_with(b"OggS\0\x02"));
    }
}
