//! A channel as lines: each 64 samples of 8 kHz (8 ms) as their correlation with one frequency, and their energy. Pure.

use std::f32::consts::TAU;
use std::ops::Range;

use wide::f32x4;

/// Samples of a line.
pub(super) const LINE: usize = 64;

/// Lines weaker than this in the band have no phase: −60 dBm0.
pub(super) const FAINTEST: f32 = 25.0 * (LINE / 2) as f32;

/// One line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub(super) re: f32,
    pub(super) im: f32,
    pub(super) energy: f32,
}

impl Line {
    /// With a length of 1; nothing when it is too faint.
    pub(super) fn unit(self) -> Line {
        let square = self.re * self.re + self.im * self.im;
        let scale = if square > FAINTEST * FAINTEST { square.sqrt().recip() } else { 0.0 };
        Line { re: self.re * scale, im: self.im * scale, energy: 0.0 }
    }
}

/// The lines of one channel, as far as they are kept.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) frequency_hz: f64,
    cosine: [f32x4; LINE / 4],
    sine: [f32x4; LINE / 4],
    part: Vec<f32>,
    lines: Vec<Line>,
    /// Number of the first line that is kept.
    first: usize,
}

impl Lines {
    pub(super) fn new(frequency_hz: f64) -> Lines {
        let wave = |n: usize| std::f64::consts::TAU * frequency_hz * n as f64 / 8_000.0;
        let four = |n: usize, value: fn(f64) -> f64| f32x4::new(std::array::from_fn(|lane| value(wave(4 * n + lane)) as f32));
        Lines {
            frequency_hz,
            cosine: std::array::from_fn(|n| four(n, f64::cos)),
            sine: std::array::from_fn(|n| four(n, |wave| -wave.sin())),
            part: Vec::with_capacity(LINE),
            lines: Vec::new(),
            first: 0,
        }
    }

    /// Takes the next samples, at the scale of 16 bits.
    pub(super) fn push(&mut self, mut samples: &[f32]) {
        if !self.part.is_empty() {
            let (head, rest) = samples.split_at(samples.len().min(LINE - self.part.len()));
            self.part.extend_from_slice(head);
            samples = rest;
            if let Ok(line) = <&[f32; LINE]>::try_from(self.part.as_slice()) {
                let line = self.line(line);
                self.lines.push(line);
                self.part.clear();
            }
        }
        let (lines, rest) = samples.as_chunks::<LINE>();
        for line in lines {
            self.lines.push(self.line(line));
        }
        self.part.extend_from_slice(rest);
    }

    /// Lets go of all lines before this one.
    pub(super) fn forget(&mut self, before: usize) {
        let gone = before.saturating_sub(self.first).min(self.lines.len());
        self.lines.drain(..gone);
        self.first += gone;
    }

    /// The channel has ended: what is left becomes a line with silence behind it.
    pub(super) fn finish(&mut self) {
        if !self.part.is_empty() {
            let mut last = [0.0; LINE];
            last[..self.part.len()].copy_from_slice(&self.part);
            self.lines.push(self.line(&last));
            self.part.clear();
        }
    }

    fn line(&self, samples: &[f32; LINE]) -> Line {
        let (mut re, mut im, mut energy) = (f32x4::ZERO, f32x4::ZERO, f32x4::ZERO);
        let (parts, _) = samples.as_chunks::<4>();
        for (samples, (cosine, sine)) in parts.iter().zip(self.cosine.iter().zip(&self.sine)) {
            let samples = f32x4::new(*samples);
            re += samples * *cosine;
            im += samples * *sine;
            energy += samples * samples;
        }
        Line { re: re.reduce_add(), im: im.reduce_add(), energy: energy.reduce_add() }
    }

    /// Which lines are there.
    pub(super) fn kept(&self) -> Range<usize> {
        self.first..self.first + self.lines.len()
    }

    /// The line with this number; an empty one where none is kept.
    pub(super) fn at(&self, number: usize) -> Line {
        number.checked_sub(self.first).and_then(|at| self.lines.get(at)).copied().unwrap_or_default()
    }

    /// By how much the phase of a tone of exactly the frequency turns from line to line.
    pub(super) fn turn_per_line(&self) -> f32 {
        let cycles = self.frequency_hz * LINE as f64 / 8_000.0;
        (cycles.fract() * std::f64::consts::TAU) as f32
    }

    /// The phase of a tone at a line, counted from line `origin`. `turn` is by how much more than that it turns.
    fn turned(&self, at: usize, turn: f32, origin: usize) -> f32 {
        (at as f32 - origin as f32) * (self.turn_per_line() + turn) % TAU
    }

    /// The lines turned back by a tone and added up.
    pub(super) fn sum(&self, lines: &Range<usize>, turn: f32, origin: usize, line: impl Fn(Line) -> Line) -> Line {
        let add = |mut sum: Line, at: usize| {
            let (sin, cos) = self.turned(at, turn, origin).sin_cos();
            let line = line(self.at(at));
            sum.re += line.re * cos + line.im * sin;
            sum.im += line.im * cos - line.re * sin;
            sum
        };
        lines.clone().fold(Line::default(), add)
    }

    /// How much of a tone is in a line.
    pub(super) fn in_phase(&self, at: usize, tone: &Tone) -> f32 {
        let (sin, cos) = (self.turned(at, tone.turn, tone.origin) + tone.phase).sin_cos();
        self.at(at).re * cos + self.at(at).im * sin
    }

    /// The frequency of a tone of this turn.
    pub(super) fn frequency_of(&self, turn: f32) -> f32 {
        (self.frequency_hz + f64::from(turn) * 8_000.0 / LINE as f64 / std::f64::consts::TAU) as f32
    }

    /// The turn of a tone of this frequency.
    pub(super) fn turn_of(&self, frequency_hz: f32) -> f32 {
        ((f64::from(frequency_hz) - self.frequency_hz) * LINE as f64 / 8_000.0 * std::f64::consts::TAU) as f32
    }
}

/// A tone over some lines.
pub(super) struct Tone {
    /// Radians per line, beyond the frequency looked for.
    pub(super) turn: f32,
    /// At line `origin`.
    pub(super) phase: f32,
    pub(super) origin: usize,
    /// Of the correlation: peak × half a line.
    pub(super) amplitude: f32,
    pub(super) steadiness: f32,
}
