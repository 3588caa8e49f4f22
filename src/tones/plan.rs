//! When a recording tone sounds, who hears it, and what each recorded channel holds: the rules of Genesys media servers. Pure.
//!
//! ```text
//!              says                                       hears
//! recordDN ──────────► (+ tone if otherDN hears it) ──────────► otherDN      channel 1: recorddnsays | otherdnhears
//! recordDN ◄────────── (+ tone if recordDN hears it) ◄────────── otherDN     channel 2: otherdnsays  | recorddnhears
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::model::Channel;

/// The URI of the tone: an IVR profile's service parameter, or an extension of RequestPrivateService.
pub const AUDIOSRC: &str = "audiosrc";
/// Milliseconds between two tones, from the same places.
pub const TONESILENCEDURATION: &str = "tonesilenceduration";

/// A longer silence than a day is a mistake.
const MOST_SILENCE_MS: u32 = 86_400_000;

const SAMPLES_PER_MS: u64 = 8;

/// The two parameters as they came, not yet looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Where the tone is fetched from.
    pub audiosrc: Option<String>,
    /// Milliseconds between two tones.
    pub tonesilenceduration: Option<String>,
}

impl Parameters {
    /// What counts: each extension of the request goes over the same parameter of the IVR profile, also an empty one. Names
    /// are read without regard to case, as media servers do.
    pub fn effective(profile: &BTreeMap<String, String>, extensions: &BTreeMap<String, String>) -> Parameters {
        let find = |map: &BTreeMap<String, String>, name: &str| {
            map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        let over = |name| find(extensions, name).or_else(|| find(profile, name));
        Parameters { audiosrc: over(AUDIOSRC), tonesilenceduration: over(TONESILENCEDURATION) }
    }

    /// Whether there is to be a tone. `audio` tells the length of the tone behind a URI in samples, or why it cannot be had.
    ///
    /// # Errors
    /// The first reason for which there is none.
    pub fn rhythm(&self, audio: impl FnOnce(&str) -> Result<u64, String>) -> Result<Rhythm, NoTone> {
        let uri = self.audiosrc.as_deref().map(str::trim).ok_or(NoTone::NoAudiosrc)?;
        if uri.is_empty() {
            return Err(NoTone::EmptyAudiosrc);
        }
        let silence = self.tonesilenceduration.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let silence = silence.ok_or(NoTone::NoTonesilenceduration)?;
        let off_ms = silence.parse().ok().filter(|ms| (1..=MOST_SILENCE_MS).contains(ms));
        let off_ms: u32 = off_ms.ok_or_else(|| NoTone::BadTonesilenceduration(silence.to_owned()))?;
        match audio(uri) {
            Ok(0) => Err(NoTone::BadAudiosrc { uri: uri.to_owned(), reason: "it has no samples".into() }),
            Ok(on_samples) => Ok(Rhythm { on_samples, off_samples: u64::from(off_ms) * SAMPLES_PER_MS }),
            Err(reason) => Err(NoTone::BadAudiosrc { uri: uri.to_owned(), reason }),
        }
    }
}

/// A tone and the silence behind it, over and over; in samples of 8 kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rhythm {
    /// The tone.
    pub on_samples: u64,
    /// The silence between two of them.
    pub off_samples: u64,
}

impl Rhythm {
    /// From milliseconds.
    pub fn from_ms(on_ms: u32, off_ms: u32) -> Rhythm {
        Rhythm { on_samples: u64::from(on_ms) * SAMPLES_PER_MS, off_samples: u64::from(off_ms) * SAMPLES_PER_MS }
    }

    /// From the start of one tone to that of the next.
    pub fn period(self) -> u64 {
        self.on_samples.saturating_add(self.off_samples).max(1)
    }

    /// The tones of a call of `length` samples with these pauses (ascending, apart from each other): the first one with the
    /// first sample, and anew with every resumption; a pause or the end cuts a tone short.
    pub fn tones(self, length: u64, pauses: &[Range<u64>]) -> Vec<Range<u64>> {
        let mut tones = Vec::new();
        for span in spans(length, pauses) {
            let starts = (span.start..span.end).step_by(usize::try_from(self.period()).unwrap_or(usize::MAX));
            tones.extend(starts.map(|start| start..start.saturating_add(self.on_samples).min(span.end)));
        }
        tones
    }
}

/// What is recorded of a call: all of it but its pauses.
pub fn spans(length: u64, pauses: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut spans = Vec::new();
    let mut start = 0;
    for pause in pauses {
        spans.push(start..pause.start.min(length));
        start = start.max(pause.end);
    }
    spans.push(start..length);
    spans.retain(|span| span.start < span.end);
    spans
}

/// Why there is no tone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoTone {
    /// `audiosrc` is not set anywhere.
    NoAudiosrc,
    /// `audiosrc` is set to nothing.
    EmptyAudiosrc,
    /// `audiosrc` leads to no tone.
    BadAudiosrc {
        /// The URI.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `tonesilenceduration` is not set anywhere, or set to nothing.
    NoTonesilenceduration,
    /// `tonesilenceduration` is no number of milliseconds.
    BadTonesilenceduration(String),
    /// The recording is paused.
    Paused,
    /// No party is to hear it.
    NobodyHears,
}

impl fmt::Display for NoTone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoTone::NoAudiosrc => f.write_str("audiosrc is not set; expected the URI of a tone"),
            NoTone::EmptyAudiosrc => f.write_str("audiosrc is empty; expected the URI of a tone"),
            NoTone::BadAudiosrc { uri, reason } => write!(f, "audiosrc {uri} gives no tone: {reason}"),
            NoTone::NoTonesilenceduration => {
                f.write_str("tonesilenceduration is not set; expected the milliseconds between two tones")
            }
            NoTone::BadTonesilenceduration(text) => {
                write!(f, "tonesilenceduration {text:?} is no duration; expected milliseconds, from 1 to {MOST_SILENCE_MS}")
            }
            NoTone::Paused => f.write_str("the recording is paused"),
            NoTone::NobodyHears => f.write_str("neither record_recorddnhearstone nor record_otherdnhearstone is true"),
        }
    }
}

/// Source of channel 1, `record_chan1source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chan1Source {
    /// What the recorded party says; never with the tone.
    #[default]
    RecordDnSays,
    /// What the other party hears: the same, with the tone if that party hears it.
    OtherDnHears,
}

/// Source of channel 2, `record_chan2source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chan2Source {
    /// What the other party says; never with the tone.
    #[default]
    OtherDnSays,
    /// What the recorded party hears: the same, with the tone if that party hears it.
    RecordDnHears,
}

/// The four options of the IVR profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// `record_recorddnhearstone`
    pub recorddn_hears: bool,
    /// `record_otherdnhearstone`
    pub otherdn_hears: bool,
    /// `record_chan1source`
    pub chan1: Chan1Source,
    /// `record_chan2source`
    pub chan2: Chan2Source,
}

impl Default for Options {
    fn default() -> Options {
        let (chan1, chan2) = Default::default();
        Options { recorddn_hears: true, otherdn_hears: true, chan1, chan2 }
    }
}

/// What the call is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Recorded; resumed after a pause is the same.
    Recording,
    /// Paused: nobody hears a tone.
    Paused,
    /// Recorded, and the other party is a conference. The recorded party's media server makes the tone; what the conference
    /// hears of it is what `record_otherdnhearstone` lets through.
    Conference,
}

/// Whose consent the law asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consent {
    /// Every party has to hear the tone.
    AllParty,
    /// One party that hears it is enough.
    OneParty,
}

/// What a recorded channel, or an ear, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whose speech.
    pub speaker: Party,
    /// With the tone over it.
    pub tone: bool,
}

/// The sides of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The recorded one.
    RecordDn,
    /// The other one, or the conference.
    OtherDn,
}

/// Where somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Perspective {
    /// What the recorded party hears.
    #[serde(rename = "recorddn-hears")]
    RecordDnHears,
    /// What the other party hears.
    #[serde(rename = "otherdn-hears")]
    OtherDnHears,
    /// What channel 1 of the recording holds.
    #[serde(rename = "channel-1")]
    Channel1,
    /// What channel 2 of the recording holds.
    #[serde(rename = "channel-2")]
    Channel2,
}

impl Perspective {
    /// All there are.
    pub const ALL: [Perspective; 4] =
        [Perspective::RecordDnHears, Perspective::OtherDnHears, Perspective::Channel1, Perspective::Channel2];

    /// The one of this name.
    pub fn of(name: &str) -> Option<Perspective> {
        Perspective::ALL.into_iter().find(|perspective| perspective.name() == name)
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Perspective::RecordDnHears => "recorddn-hears",
            Perspective::OtherDnHears => "otherdn-hears",
            Perspective::Channel1 => "channel-1",
            Perspective::Channel2 => "channel-2",
        }
    }
}

/// The tone of a call: its rhythm, or why there is none, and the four options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tone and silence.
    pub rhythm: Result<Rhythm, NoTone>,
    /// Who hears it and what is recorded.
    pub options: Options,
}

impl Plan {
    /// Whether a tone may sound, or the first reason why not.
    ///
    /// # Errors
    /// That reason.
    pub fn sounds(&self, situation: Situation) -> Result<Rhythm, NoTone> {
        let rhythm = self.rhythm.clone()?;
        if !self.options.recorddn_hears && !self.options.otherdn_hears {
            return Err(NoTone::NobodyHears);
        }
        if situation == Situation::Paused { Err(NoTone::Paused) } else { Ok(rhythm) }
    }

    /// What a party hears: the far party, and the tone if it is for this party.
    pub fn hears(&self, party: Party, situation: Situation) -> Content {
        let (speaker, flag) = match party {
            Party::RecordDn => (Party::OtherDn, self.options.recorddn_hears),
            Party::OtherDn => (Party::RecordDn, self.options.otherdn_hears),
        };
        Content { speaker, tone: flag && self.sounds(situation).is_ok() }
    }

    /// What a recorded channel holds; nothing, and so silence, while paused.
    pub fn channel(&self, channel: Channel, situation: Situation) -> Option<Content> {
        if situation == Situation::Paused {
            return None;
        }
        let says = |speaker| Content { speaker, tone: false };
        Some(match (channel, self.options.chan1, self.options.chan2) {
            (Channel::Recorded, Chan1Source::RecordDnSays, _) => says(Party::RecordDn),
            (Channel::Recorded, Chan1Source::OtherDnHears, _) => self.hears(Party::OtherDn, situation),
            (Channel::Other, _, Chan2Source::OtherDnSays) => says(Party::OtherDn),
            (Channel::Other, _, Chan2Source::RecordDnHears) => self.hears(Party::RecordDn, situation),
        })
    }

    /// What there is to listen to; nothing, and so silence, in a channel while paused.
    pub fn content(&self, perspective: Perspective, situation: Situation) -> Option<Content> {
        match perspective {
            Perspective::RecordDnHears => Some(self.hears(Party::RecordDn, situation)),
            Perspective::OtherDnHears => Some(self.hears(Party::OtherDn, situation)),
            Perspective::Channel1 => self.channel(Channel::Recorded, situation),
            Perspective::Channel2 => self.channel(Channel::Other, situation),
        }
    }

    /// Whether those hear the tone whom the law asks for. In a conference all parties hear it only if both sides do.
    pub fn satisfies(&self, consent: Consent, situation: Situation) -> bool {
        let heard = [Party::RecordDn, Party::OtherDn].map(|party| self.hears(party, situation).tone);
        match consent {
            Consent::AllParty => heard == [true, true],
            Consent::OneParty => heard.contains(&true),
        }
    }
}

#[cfg(test)]
mod tests;
