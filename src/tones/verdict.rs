//! What was found in a file or recording, against what should be there: frequency ±1.5 %, length ±10 %, spacing ±10 %. Pure.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::chain::Found;
use super::detect::{Candidate, Detector};
use super::plan::Rhythm;
use super::presets::Preset;
use super::synth::{DBM0_OF_FULL_SCALE, FULL_SCALE};
pub use crate::model::ToneVerdict as Verdict;

const FREQUENCY_TOLERANCE: f64 = 0.015;
const LENGTH_TOLERANCE: f64 = 0.10;
const SPACING_TOLERANCE: f64 = 0.10;

/// Places of missing tones that are named; more are only counted.
const MOST_NAMED: usize = 1_000;

/// The tone that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Its frequency.
    pub frequency_hz: f64,
    /// Tone and silence.
    pub rhythm: Rhythm,
}

impl From<Preset> for Target {
    fn from(preset: Preset) -> Target {
        Target { frequency_hz: f64::from(preset.frequency_hz), rhythm: preset.rhythm() }
    }
}

impl Target {
    /// A detector for it, at the start of a channel.
    pub fn detector(&self) -> Detector {
        Detector::new(self.frequency_hz, self.rhythm.on_samples)
    }
}

/// One tone, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// From the start of the file.
    pub start_ms: f64,
    /// Its length.
    pub length_ms: f64,
    /// Its frequency.
    pub frequency_hz: f64,
    /// Its level; a sine of full scale is 0 dBFS (AES17).
    pub level_dbfs: f64,
    /// The same on the scale of telephony: a sine of full scale is +3.17 dBm0 (ITU-T G.711).
    pub level_dbm0: f64,
}

impl From<&Candidate> for Measured {
    fn from(tone: &Candidate) -> Measured {
        let level_dbfs = 20.0 * (f64::from(tone.peak) / FULL_SCALE).log10();
        Measured {
            start_ms: tone.start as f64 / 8.0,
            length_ms: (tone.end - tone.start) as f64 / 8.0,
            frequency_hz: rounded(f64::from(tone.frequency_hz)),
            level_dbfs: rounded(level_dbfs),
            level_dbm0: rounded(level_dbfs + DBM0_OF_FULL_SCALE),
        }
    }
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Channel {
    /// From 1.
    pub channel: usize,
    /// Every tone that was found.
    pub tones: Vec<Measured>,
    /// How many there should be.
    pub expected: usize,
    /// How many of those are missing.
    pub missing: usize,
    /// Where they should have begun.
    pub missing_at_ms: Vec<u64>,
    /// Shortest and longest silence between two tones in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing_ms: Option<(f64, f64)>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
    /// The conclusion.
    pub verdict: Verdict,
}

impl Channel {
    /// Judges what was found. `demanded`: there has to be a tone in this channel.
    pub fn judge(channel: usize, found: &Found, target: &Target, spans: &[Range<u64>], demanded: bool) -> Channel {
        let spacings = spacings(&found.tones, target.rhythm, spans);
        let extent = |values: &[f64]| {
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            (!values.is_empty()).then_some((rounded(least), rounded(most)))
        };
        let has_tone = !found.tones.is_empty();
        let asked = demanded || has_tone;
        let misses: &[u64] = if asked { &found.misses } else { &[] };
        let mut faults = Vec::new();
        if demanded && !has_tone {
            faults.push("no tone was found".to_owned());
        } else if !misses.is_empty() {
            faults.push(format!("{} of {} tones are missing", misses.len(), found.expected()));
        }
        check_tones(&found.tones, target, spans, &mut faults);
        check_spacing(&spacings, target.rhythm, &mut faults);
        let verdict = match (asked, faults.is_empty()) {
            (false, _) => Verdict::NoTone,
            (true, true) => Verdict::Pass,
            (true, false) => Verdict::Fail,
        };
        Channel {
            channel,
            tones: found.tones.iter().map(Measured::from).collect(),
            expected: found.tones.len() + misses.len(),
            missing: misses.len(),
            missing_at_ms: misses.iter().take(MOST_NAMED).map(|place| place / 8).collect(),
            spacing_ms: extent(&spacings),
            faults,
            verdict,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}: {} of {} tones", self.channel, self.tones.len(), self.expected)?;
        if let Some(tone) = self.tones.first() {
            write!(
                f,
                ", {:.1} Hz, {:.0} ms, {:.1} dBFS = {:.1} dBm0, the first at {:.2} s",
                tone.frequency_hz,
                tone.length_ms,
                tone.level_dbfs,
                tone.level_dbm0,
                tone.start_ms / 1_000.0
            )?;
        }
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// What the channels come to: one that fails is enough; otherwise one with a tone is.
pub fn overall(channels: &[Channel]) -> Verdict {
    let has = |verdict| channels.iter().any(|channel| channel.verdict == verdict);
    if has(Verdict::Fail) {
        Verdict::Fail
    } else if has(Verdict::Pass) {
        Verdict::Pass
    } else {
        Verdict::NoTone
    }
}

/// Silences between tones that follow each other, in milliseconds. Over a pause or a missing tone there is none.
fn spacings(tones: &[Candidate], rhythm: Rhythm, spans: &[Range<u64>]) -> Vec<f64> {
    let together = |a: &Candidate, b: &Candidate| spans.iter().any(|span| span.contains(&a.start) && span.contains(&b.start));
    let silence = |pair: &[Candidate]| pair[1].start.saturating_sub(pair[0].end);
    let next = |pair: &&[Candidate]| together(&pair[0], &pair[1]) && silence(pair) < rhythm.off_samples * 3 / 2;
    tones.windows(2).filter(next).map(|pair| silence(pair) as f64 / 8.0).collect()
}

fn check_tones(tones: &[Candidate], target: &Target, spans: &[Range<u64>], faults: &mut Vec<String>) {
    let frequency = |tone: &Candidate| f64::from(tone.frequency_hz);
    let off = |value: f64, right: f64, tolerance: f64| (value / right - 1.0).abs() > tolerance;
    if let Some(tone) = tones.iter().find(|tone| off(frequency(tone), target.frequency_hz, FREQUENCY_TOLERANCE)) {
        faults.push(format!("{:.1} Hz; expected {} Hz ±1.5 %", frequency(tone), target.frequency_hz));
    }
    let right = target.rhythm.on_samples as f64;
    let cut = |tone: &Candidate| spans.iter().any(|span| span.end.abs_diff(tone.end) < 400);
    let length = |tone: &Candidate| (tone.end - tone.start) as f64;
    let wrong: Vec<&Candidate> = tones.iter().filter(|t| off(length(t), right, LENGTH_TOLERANCE) && !cut(t)).collect();
    if let Some(tone) = wrong.first() {
        let many = wrong.len();
        faults.push(format!(
            "{many} tones have a wrong length, the first {:.0} ms; expected {:.0} ms ±10 %",
            length(tone) / 8.0,
            right / 8.0
        ));
    }
}

fn check_spacing(spacings: &[f64], rhythm: Rhythm, faults: &mut Vec<String>) {
    let right = rhythm.off_samples as f64 / 8.0;
    let wrong = |spacing: &&f64| (**spacing / right - 1.0).abs() > SPACING_TOLERANCE;
    if let Some(spacing) = spacings.iter().find(wrong) {
        faults.push(format!("{spacing:.0} ms between two tones; expected {right:.0} ms ±10 %"));
    }
}

/// To a hundredth.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
