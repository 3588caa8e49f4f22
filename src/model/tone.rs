//! What was found of the recording tone in a finished recording, and the seam between the finisher, who has the audio, and
//! whoever listens for tones in it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Recording;
use super::block::Law;

/// Places of missing tones that are named; more are only counted.
pub const MOST_MISSING_NAMED: usize = 100;

/// Where a recording must hold the tone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToneDemand {
    /// Nowhere; what is found is written down.
    #[default]
    None,
    /// In a channel, no matter in which.
    Any,
    /// In channel 1, that of the recorded party.
    #[serde(rename = "channel-1")]
    Channel1,
    /// In channel 2, that of the other party.
    #[serde(rename = "channel-2")]
    Channel2,
    /// In both.
    Both,
}

impl ToneDemand {
    /// All that may be written.
    pub const ALL: [ToneDemand; 5] =
        [ToneDemand::None, ToneDemand::Any, ToneDemand::Channel1, ToneDemand::Channel2, ToneDemand::Both];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            ToneDemand::None => "none",
            ToneDemand::Any => "any",
            ToneDemand::Channel1 => "channel-1",
            ToneDemand::Channel2 => "channel-2",
            ToneDemand::Both => "both",
        }
    }
}

/// What is to be said of a channel, a file or a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToneVerdict {
    /// All tones are there, as they should be.
    Pass,
    /// Tones are missing, or not as they should be.
    Fail,
    /// There is no tone, and none was asked for, or the call was too short to hold one for sure.
    NoTone,
}

/// The findings of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToneFindings {
    /// The preset whose tone was looked for.
    pub preset: String,
    /// Where it had to be.
    pub demand: ToneDemand,
    /// The conclusion.
    pub verdict: ToneVerdict,
    /// Each channel.
    pub channels: Vec<ChannelTones>,
}

impl ToneFindings {
    /// What is wrong although the tone had to be there, in words; none: nothing.
    pub fn complaint(&self) -> Option<String> {
        if self.demand == ToneDemand::None || self.verdict != ToneVerdict::Fail {
            return None;
        }
        let said = |channel: &ChannelTones| format!("channel {}: {}", channel.channel, channel.faults.join(", "));
        let faults: Vec<String> = self.channels.iter().filter(|c| c.verdict == ToneVerdict::Fail).map(said).collect();
        Some(format!("tone {} demanded in {}; {}", self.preset, self.demand.name(), faults.join("; ")))
    }
}

/// The findings of a channel. Times are from the start of the file; frequency, length and level are those of most tones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelTones {
    /// From 1.
    pub channel: u8,
    /// Tones that should be there.
    pub expected: u64,
    /// Tones that are.
    pub found: u64,
    /// Tones that are not.
    pub missing: u64,
    /// Where the first of those should have begun.
    pub missing_at_ms: Vec<u64>,
    /// Where the first one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
    /// Where the last one begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<f64>,
    /// Their frequency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_hz: Option<f64>,
    /// Their length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_ms: Option<f64>,
    /// Their level; a sine of full scale is 0 dBFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_dbfs: Option<f64>,
    /// The same on the scale of telephony: a sine of full scale is +3.17 dBm0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level_dbm0: Option<f64>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
    /// The conclusion.
    pub verdict: ToneVerdict,
}

/// Who listens for tones while recordings are finished.
pub trait ToneProof: fmt::Debug + Send + Sync {
    /// Begins with a recording whose frames are of this law.
    fn listen(&self, recording: &Recording, law: Law) -> Box<dyn ToneListener>;
}

/// Listens to one recording.
pub trait ToneListener {
    /// Whether it holds as much as it should: then [`ToneListener::settle`] is due.
    fn is_full(&self) -> bool;

    /// Concludes what it can and lets go of it; `spans` say when each channel was recorded up to now.
    fn settle(&mut self, spans: [Vec<Range<u64>>; 2]);

    /// The next frames: a byte of channel 1, a byte of channel 2, and so on.
    fn frames(&mut self, frames: &[u8]);

    /// The recording is over. `spans` says for each channel, in samples from the start of the file, when it was recorded at all.
    fn finish(self: Box<Self>, spans: [Vec<Range<u64>>; 2]) -> ToneFindings;
}
