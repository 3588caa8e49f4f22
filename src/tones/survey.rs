//! Finds out which tone a file holds when nobody says: every frequency from 300 to 3,400 Hz, short and long tones. Pure.

use std::ops::Range;

use super::chain::Found;
use super::detect::{Candidate, Detector};
use super::plan::Rhythm;
use super::presets::Preset;
use super::verdict::Target;

/// From one frequency to the next; each detector finds tones within ±45 Hz.
const STEP_HZ: u32 = 80;

/// Lengths that are looked for: those of half to double are found, too.
const LENGTHS_MS: [u32; 2] = [80, 400];

/// The distance between tones is taken to be at least this.
const LEAST_PERIOD: u64 = 16_000;

/// Tones that are beyond doubt: little else sounds.
const PURE: f32 = 0.7;

/// All detectors over one channel.
pub struct Survey(Vec<Detector>);

impl Default for Survey {
    fn default() -> Survey {
        let presets = Preset::all().map(|preset| preset.frequency_hz);
        let mut frequencies: Vec<u32> = presets.chain((340..3_400).step_by(STEP_HZ as usize)).collect();
        frequencies.sort_unstable();
        frequencies.dedup();
        let one = |hz: u32| LENGTHS_MS.map(|ms| Detector::new(f64::from(hz), u64::from(ms) * 8));
        Survey(frequencies.into_iter().flat_map(one).collect())
    }
}

impl Survey {
    /// Takes the next samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.0.iter_mut().for_each(|detector| detector.push(samples));
    }

    /// The tone of this channel and its places, if it has one.
    pub fn finish(self, spans: &[Range<u64>]) -> Option<(Target, Found)> {
        let judged = self.0.into_iter().filter_map(|detector| {
            let target = guess(&detector.clone().candidates())?;
            let found = detector.finish(target.rhythm, spans);
            let purity: f32 = found.tones.iter().map(|tone| tone.purity).sum();
            (!found.tones.is_empty()).then_some((purity, target, found))
        });
        judged.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, target, found)| (target, found))
    }
}

/// The preset whose tone this most nearly is, else the tone as it is.
fn guess(candidates: &[Candidate]) -> Option<Target> {
    let pure: Vec<&Candidate> = candidates.iter().filter(|c| c.purity > PURE && c.steadiness > 0.8).collect();
    let frequency_hz = median(pure.iter().map(|c| f64::from(c.frequency_hz)).collect())?;
    let on = median(pure.iter().map(|c| (c.end - c.start) as f64).collect())?;
    let distances: Vec<f64> = pure.windows(2).map(|pair| (pair[1].start - pair[0].start) as f64).collect();
    let period = median(distances.into_iter().filter(|d| *d > LEAST_PERIOD as f64).collect());
    let near = |value: f64, right: f64, tolerance: f64| (value / right - 1.0).abs() <= tolerance;
    let is_like = |preset: &Preset| {
        let Rhythm { on_samples, .. } = preset.rhythm();
        let in_time = period.is_none_or(|period| near(period, preset.rhythm().period() as f64, 0.03));
        near(frequency_hz, f64::from(preset.frequency_hz), 0.015) && near(on, on_samples as f64, 0.1) && in_time
    };
    let own = || {
        let on_samples = on as u64;
        let off_samples = period.map_or(LEAST_PERIOD * 8, |period| period as u64 - on_samples.min(period as u64));
        Target { frequency_hz, rhythm: Rhythm { on_samples, off_samples } }
    };
    Some(Preset::all().find(is_like).map_or_else(own, Target::from))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
