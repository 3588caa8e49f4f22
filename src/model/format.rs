//! How the audio of a finished recording is written.

use serde::{Deserialize, Serialize};

/// A format of audio files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioFormat {
    /// G.711 as it came, bit by bit.
    #[default]
    Wav,
    /// Ogg Opus, much smaller (docs/wan.md).
    Opus,
}

impl AudioFormat {
    /// All there are.
    pub const ALL: [AudioFormat; 2] = [AudioFormat::Wav, AudioFormat::Opus];

    /// As the configuration calls it.
    pub fn name(self) -> &'static str {
        match self {
            AudioFormat::Wav => "wav",
            AudioFormat::Opus => "opus",
        }
    }

    /// The file, before it is sealed.
    pub fn file_name(self) -> &'static str {
        match self {
            AudioFormat::Wav => "audio.wav",
            AudioFormat::Opus => "audio.opus",
        }
    }

    /// Its media type (RFC 7845 §9 for Opus).
    pub fn media_type(self) -> &'static str {
        match self {
            AudioFormat::Wav => "audio/wav",
            AudioFormat::Opus => "audio/ogg",
        }
    }
}
