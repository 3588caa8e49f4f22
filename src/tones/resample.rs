//! From any rate to another, by a windowed sinc (Blackman) that lets pass what both rates can hold. Pure; samples come in
//! pieces of any length.

use std::f64::consts::PI;

/// Zero crossings of the sinc on either side.
const CROSSINGS: f64 = 16.0;

/// Turns samples of one rate into those of another.
#[derive(Clone, Debug)]
pub struct Resampler {
    from_hz: u32,
    to_hz: u32,
    /// Share of the input's band that passes.
    cutoff: f64,
    /// Input samples on either side that a sample of the output depends on.
    reach: usize,
    /// The input from `first` on, counted with `reach` zeros in front.
    input: Vec<f32>,
    first: u64,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// Rates must not be 0.
    pub fn new(from_hz: u32, to_hz: u32) -> Resampler {
        let cutoff = (f64::from(to_hz) / f64::from(from_hz)).min(1.0) * 0.94;
        let reach = if from_hz == to_hz { 0 } else { (CROSSINGS / cutoff).ceil() as usize };
        Resampler { from_hz, to_hz, cutoff, reach, input: vec![0.0; reach], first: 0, taken: 0, given: 0 }
    }

    /// Takes samples, appends those of the other rate that are complete.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.taken += samples.len() as u64;
        if self.reach == 0 {
            out.extend_from_slice(samples);
            return;
        }
        self.input.extend_from_slice(samples);
        self.give(out);
    }

    /// Appends the last samples, as if silence followed.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        if self.reach > 0 {
            self.input.extend(std::iter::repeat_n(0.0, self.reach + 1));
            self.give(out);
        }
    }

    fn give(&mut self, out: &mut Vec<f32>) {
        let total = (self.taken * u64::from(self.to_hz)).div_ceil(u64::from(self.from_hz));
        while self.given < total {
            let numerator = self.given * u64::from(self.from_hz);
            let whole = numerator / u64::from(self.to_hz);
            let fraction = (numerator % u64::from(self.to_hz)) as f64 / f64::from(self.to_hz);
            // With `reach` zeros in front, the window of input sample `whole` begins at index `whole`.
            let Ok(start) = usize::try_from(whole - self.first) else { return };
            let Some(window) = self.input.get(start..=start + 2 * self.reach) else { break };
            out.push(self.sample(window, fraction));
            self.given += 1;
        }
        let done = (self.given * u64::from(self.from_hz) / u64::from(self.to_hz)).saturating_sub(self.first);
        let done = usize::try_from(done).unwrap_or(usize::MAX).min(self.input.len());
        self.input.drain(..done);
        self.first += done as u64;
    }

    fn sample(&self, window: &[f32], fraction: f64) -> f32 {
        let half = self.reach as f64 + 1.0;
        let tap = |(n, sample): (usize, &f32)| {
            let x = n as f64 - self.reach as f64 - fraction;
            let blackman = 0.42 + 0.5 * (PI * x / half).cos() + 0.08 * (2.0 * PI * x / half).cos();
            let arc = PI * x * self.cutoff;
            let sinc = if arc.abs() < 1e-9 { 1.0 } else { arc.sin() / arc };
            f64::from(*sample) * sinc * blackman * self.cutoff
        };
        window.iter().enumerate().map(tap).sum::<f64>() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate_hz: u32, frequency_hz: f64, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (10_000.0 * (2.0 * PI * frequency_hz * n as f64 / f64::from(rate_hz)).sin()) as f32).collect()
    }

    fn resampled(from_hz: u32, to_hz: u32, input: &[f32], piece: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(from_hz, to_hz);
        let mut out = Vec::new();
        input.chunks(piece).for_each(|part| resampler.push(part, &mut out));
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_tone_keeps_its_place_and_level_at_every_rate() {
        for from_hz in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 6_000] {
            let out = resampled(from_hz, 8_000, &sine(from_hz, 1_400.0, from_hz as usize), 1_000);
            assert_eq!(out.len(), 8_000, "{from_hz} Hz");
            let expected = sine(8_000, 1_400.0, 8_000);
            let worst = (500..7_500).map(|n| (out[n] - expected[n]).abs()).fold(0.0, f32::max);
            assert!(worst < 20.0, "{from_hz} Hz: {worst}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let out = resampled(48_000, 8_000, &sine(48_000, 6_600.0, 48_000), 4_096);
        let loudest = out[500..7_500].iter().fold(0.0_f32, |most, s| most.max(s.abs()));
        assert!(loudest < 20.0, "6.6 kHz must not come back as 1.4 kHz: {loudest}");
    }

    #[test]
    fn pieces_of_any_length_give_the_same() {
        let input = sine(44_100, 700.0, 4_410);
        let whole = resampled(44_100, 8_000, &input, input.len());
        assert_eq!(resampled(44_100, 8_000, &input, 1), whole);
        assert_eq!(resampled(44_100, 8_000, &input, 37), whole);
        assert_eq!(resampled(44_100, 8_000, &[], 1), [0.0; 0]);
    }
}
