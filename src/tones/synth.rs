//! Makes tones and the four signals of a call: what each party hears, what each channel holds. Pure.

use std::f64::consts::PI;
use std::ops::Range;

use super::plan::{Content, Party, Perspective, Plan, Situation};

/// Peak of a sine of 0 dBFS, in the sense of AES17.
pub const FULL_SCALE: f64 = 32_768.0;

/// What a full-scale sine is in dBm0 where the samples became µ-law (ITU-T G.711).
pub const DBM0_OF_FULL_SCALE: f64 = 3.17;

/// The level of a preset's tone unless another is asked for.
pub const USUAL_LEVEL_DBM0: f64 = -20.0;

/// Rise and fall of a tone, so that it does not click.
const RAMP_SAMPLES: usize = 8;

/// A sine of so many samples at 8 kHz.
pub fn tone(frequency_hz: f64, samples: usize, level_dbm0: f64) -> Vec<i16> {
    let peak = FULL_SCALE * 10_f64.powf((level_dbm0 - DBM0_OF_FULL_SCALE) / 20.0);
    let at = |n: usize| {
        let edge = n.min(samples - 1 - n);
        let ramp = if edge < RAMP_SAMPLES { 0.5 - 0.5 * (PI * (edge as f64 + 0.5) / RAMP_SAMPLES as f64).cos() } else { 1.0 };
        to_sample(peak * ramp * (2.0 * PI * frequency_hz * n as f64 / 8_000.0).sin())
    };
    (0..samples).map(at).collect()
}

/// To the nearest sample of 16 bits.
pub fn to_sample(value: f64) -> i16 {
    value.round().clamp(-32_768.0, 32_767.0) as i16
}

/// A call to render.
pub struct Call<'a> {
    /// When the tone sounds, and where.
    pub plan: &'a Plan,
    /// One tone, as it is played.
    pub tone: &'a [i16],
    /// What the recorded party and the other say, from the start; silence behind the end.
    pub speech: [&'a [i16]; 2],
    /// Length of the call in samples.
    pub length: usize,
    /// When the recording is paused: ascending, apart from each other.
    pub pauses: &'a [Range<u64>],
}

impl Call<'_> {
    /// Where tones sound, if any does.
    pub fn tones(&self) -> Vec<Range<u64>> {
        match self.plan.sounds(Situation::Recording) {
            Ok(rhythm) => rhythm.tones(self.length as u64, self.pauses),
            Err(_) => Vec::new(),
        }
    }

    /// What there is to listen to, from the start to the end of the call.
    pub fn render(&self, perspective: Perspective) -> Vec<i16> {
        let silence = || vec![0; self.length];
        let part = |situation| self.plan.content(perspective, situation).map_or_else(silence, |content| self.signal(content));
        let mut signal = part(Situation::Recording);
        let paused = if self.pauses.is_empty() { Vec::new() } else { part(Situation::Paused) };
        for pause in self.pauses {
            let pause = index(pause.start, self.length)..index(pause.end, self.length);
            signal[pause.clone()].copy_from_slice(&paused[pause]);
        }
        signal
    }

    /// Whether a perspective holds the tone while the recording is not paused.
    pub fn has_tone(&self, perspective: Perspective) -> bool {
        self.plan.content(perspective, Situation::Recording).is_some_and(|content| content.tone)
    }

    fn signal(&self, content: Content) -> Vec<i16> {
        let speech = self.speech[usize::from(content.speaker == Party::OtherDn)];
        let mut signal = speech[..speech.len().min(self.length)].to_vec();
        signal.resize(self.length, 0);
        for span in if content.tone { self.tones() } else { Vec::new() } {
            let window = &mut signal[index(span.start, self.length)..index(span.end, self.length)];
            window.iter_mut().zip(self.tone).for_each(|(sample, tone)| *sample = sample.saturating_add(*tone));
        }
        signal
    }
}

fn index(place: u64, length: usize) -> usize {
    usize::try_from(place).unwrap_or(length).min(length)
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Chan1Source, Chan2Source, NoTone, Options, Rhythm};
    use super::*;

    #[test]
    fn a_tone_has_the_level_it_says() {
        let samples = tone(1_000.0, 8_000, 3.17);
        assert!(samples.iter().any(|s| *s >= 32_700), "full scale");
        let square: f64 = tone(1_400.0, 8_000, -20.0).iter().map(|s| f64::from(*s).powi(2)).sum();
        let dbm0 = 10.0 * (2.0 * square / 8_000.0 / FULL_SCALE.powi(2)).log10() + DBM0_OF_FULL_SCALE;
        assert!((dbm0 + 20.0).abs() < 0.05, "{dbm0}");
        assert!(tone(1_400.0, 0, 0.0).is_empty());
    }

    fn plan(options: Options) -> Plan {
        Plan { rhythm: Ok(Rhythm { on_samples: 4, off_samples: 6 }), options }
    }

    fn render(plan: &Plan) -> [Vec<i16>; 4] {
        let pauses = std::slice::from_ref(&(12..17));
        let call = Call { plan, tone: &[1; 4], speech: [&[100; 25], &[1_000; 3]], length: 25, pauses };
        Perspective::ALL.map(|perspective| call.render(perspective))
    }

    #[test]
    fn the_tone_lies_over_the_far_partys_speech_and_pauses_are_silent_in_the_recording() {
        let options = Options { chan1: Chan1Source::OtherDnHears, chan2: Chan2Source::OtherDnSays, ..Options::default() };
        let [recorddn_hears, otherdn_hears, channel_1, channel_2] = render(&plan(options));
        let mut heard = vec![100; 25];
        for n in [0, 1, 2, 3, 10, 11, 17, 18, 19, 20] {
            heard[n] = 101;
        }
        assert_eq!(otherdn_hears, heard);
        heard[12..17].fill(0);
        assert_eq!(channel_1, heard);
        assert_eq!(recorddn_hears[..5], [1_001, 1_001, 1_001, 1, 0]);
        assert_eq!(channel_2[..5], [1_000, 1_000, 1_000, 0, 0]);
    }

    #[test]
    fn without_a_tone_both_hear_and_record_only_speech() {
        let mut silent = plan(Options { chan1: Chan1Source::OtherDnHears, ..Options::default() });
        silent.rhythm = Err(NoTone::NoAudiosrc);
        let [_, otherdn_hears, channel_1, _] = render(&silent);
        assert_eq!(otherdn_hears, [100; 25]);
        assert_eq!(channel_1[..12], [100; 12]);
    }
}
