//! What every finished recording says of the recording tone: the detector on both channels, and whether what was found is what
//! was demanded. Pure.

use std::ops::Range;

use super::chain::Found;
use super::detect::Detector;
use super::presets::Preset;
use super::verdict::{self, Channel, Measured, Target, Verdict};
use crate::model::block::Law;
use crate::model::g711::{alaw_to_linear, ulaw_to_linear};
use crate::model::tone::{ChannelTones, MOST_MISSING_NAMED, ToneFindings, ToneListener, ToneProof};
use crate::model::{Recording, ToneDemand};

/// What is looked for in recordings that no rule wants anything else of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The tone.
    pub preset: Preset,
    /// Where it must be.
    pub demand: ToneDemand,
}

impl Policy {
    /// For one recording: a rule that names a tone demands that one, and somewhere at least.
    fn of(self, recording: &Recording) -> Policy {
        let by_rule = recording.ruling.as_ref().and_then(|ruling| Preset::of(ruling.tone.as_deref()?));
        let Some(preset) = by_rule else { return self };
        let demand = if self.demand == ToneDemand::None { ToneDemand::Any } else { self.demand };
        Policy { preset, demand }
    }
}

impl ToneProof for Policy {
    fn listen(&self, recording: &Recording, law: Law) -> Box<dyn ToneListener> {
        let policy = self.of(recording);
        let target = Target::from(policy.preset);
        let linear = match law {
            Law::Pcmu => ulaw_to_linear,
            Law::Pcma => alaw_to_linear,
        };
        let values = std::array::from_fn(|code| u8::try_from(code).map_or(0.0, |code| f32::from(linear(code))));
        Box::new(Listener { policy, target, values, detectors: [target.detector(), target.detector()], samples: Vec::new() })
    }
}

/// Both channels of a recording.
struct Listener {
    policy: Policy,
    target: Target,
    /// The sample behind each code.
    values: [f32; 256],
    detectors: [Detector; 2],
    samples: Vec<f32>,
}

impl ToneListener for Listener {
    fn frames(&mut self, frames: &[u8]) {
        for (channel, detector) in self.detectors.iter_mut().enumerate() {
            self.samples.clear();
            self.samples.extend(frames.iter().skip(channel).step_by(2).map(|code| self.values[usize::from(*code)]));
            detector.push(&self.samples);
        }
    }

    fn is_full(&self) -> bool {
        self.detectors.iter().any(Detector::is_full)
    }

    fn settle(&mut self, spans: [Vec<Range<u64>>; 2]) {
        for (detector, spans) in self.detectors.iter_mut().zip(&spans) {
            detector.settle(self.target.rhythm, spans);
        }
    }

    fn finish(self: Box<Self>, spans: [Vec<Range<u64>>; 2]) -> ToneFindings {
        let Listener { policy, target, detectors, .. } = *self;
        let [first, second] = detectors;
        let found = [first.finish(target.rhythm, &spans[0]), second.finish(target.rhythm, &spans[1])];
        let is_heard = found.iter().any(|found| !found.tones.is_empty());
        let judge = |n: usize| {
            let demanded = is_demanded(policy.demand, n + 1, is_heard) && found[n].expected() > 0;
            Channel::judge(n + 1, &found[n], &target, &spans[n], demanded)
        };
        let judged = [judge(0), judge(1)];
        ToneFindings {
            preset: policy.preset.country.to_owned(),
            demand: policy.demand,
            verdict: conclude(policy.demand, &judged),
            channels: judged.iter().zip(&found).map(|(channel, found)| findings(channel, found)).collect(),
        }
    }
}

/// Whether this channel has to hold a tone. Where any will do and one has it, nothing is asked of the other.
fn is_demanded(demand: ToneDemand, channel: usize, is_heard: bool) -> bool {
    match demand {
        ToneDemand::None => false,
        ToneDemand::Any => !is_heard,
        ToneDemand::Channel1 => channel == 1,
        ToneDemand::Channel2 => channel == 2,
        ToneDemand::Both => true,
    }
}

fn conclude(demand: ToneDemand, channels: &[Channel; 2]) -> Verdict {
    match demand {
        ToneDemand::Any if channels.iter().any(|channel| channel.verdict == Verdict::Pass) => Verdict::Pass,
        ToneDemand::Channel1 => channels[0].verdict,
        ToneDemand::Channel2 => channels[1].verdict,
        ToneDemand::Both if channels.iter().any(|channel| channel.verdict == Verdict::NoTone) => match verdict::overall(channels)
        {
            Verdict::Pass => Verdict::NoTone, // one side was too short to say
            other => other,
        },
        _ => verdict::overall(channels),
    }
}

fn findings(channel: &Channel, found: &Found) -> ChannelTones {
    let tones = &channel.tones;
    let usual = |value: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = tones.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    ChannelTones {
        channel: u8::try_from(channel.channel).unwrap_or(u8::MAX), // 1 or 2
        expected: channel.expected as u64,
        found: found.tones.len() as u64,
        missing: channel.missing as u64,
        missing_at_ms: channel.missing_at_ms.iter().take(MOST_MISSING_NAMED).copied().collect(),
        first_ms: tones.first().map(|tone| tone.start_ms),
        last_ms: tones.last().map(|tone| tone.start_ms),
        frequency_hz: usual(|tone| tone.frequency_hz),
        length_ms: usual(|tone| tone.length_ms),
        level_dbfs: usual(|tone| tone.level_dbfs),
        level_dbm0: usual(|tone| tone.level_dbm0),
        faults: channel.faults.clone(),
        verdict: channel.verdict,
    }
}

#[cfg(test)]
mod tests;
