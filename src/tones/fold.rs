//! Looks for a faint tone by its rhythm alone: a stretch that holds it in every period, and is silent there before and behind. Pure.
//!
//! A tone that speech or music covers gives no sure candidate anywhere, but at the same place of each period the same amount of it
//! remains, in phase over its whole length. Music has such notes, but not every 15.5 s and not to half a hertz.

use std::ops::Range;

use super::chain::{self, Found};
use super::detect::Candidate;
use super::lines::{LINE, Lines};
use super::plan::Rhythm;

/// Fewer periods than this prove nothing.
const LEAST_PERIODS: usize = 3;

/// More are not needed to find the place.
const MOST_PERIODS: usize = 12;

/// The loudest of all periods has less than this much more of it than the faintest.
const MOST_UNEVEN: f32 = 1.8;

/// In half of the periods there is less than this share of it before and behind.
const AROUND: f32 = 0.5;

/// How well both halves of a tone agree in phase, from -1 to 1, on the average of all periods.
const LEAST_AGREEMENT: f32 = 0.85;

/// Fainter than this in the band (the peak of −38 dBm0) may be a remainder of speech, …
const FAINTEST: f32 = 290.0 * (LINE / 2) as f32;

/// … and this (−34 dBm0) for a tone of less than a quarter of a second.
const FAINTEST_SHORT: f32 = 455.0 * (LINE / 2) as f32;
const SHORT_LINES: usize = 31;

/// Lines turned back by a tone of exactly the frequency, summed up to each.
struct Sums<'l> {
    lines: &'l Lines,
    first: usize,
    sums: Vec<(f64, f64)>,
}

impl Sums<'_> {
    fn new(lines: &Lines, range: Range<usize>) -> Sums<'_> {
        let (step_im, step_re) = f64::from(lines.turn_per_line()).sin_cos();
        let (mut re, mut im) = (1.0_f64, 0.0_f64);
        let mut sum = (0.0, 0.0);
        let mut sums = Vec::with_capacity(range.len() + 1);
        sums.push(sum);
        for at in range.clone() {
            let line = lines.at(at);
            let (line_re, line_im) = (f64::from(line.re), f64::from(line.im));
            sum = (sum.0 + line_re * re + line_im * im, sum.1 + line_im * re - line_re * im);
            sums.push(sum);
            (re, im) = (re * step_re - im * step_im, re * step_im + im * step_re);
        }
        Sums { lines, first: range.start, sums }
    }

    /// The tone in these lines: its share of a full one, as a vector.
    fn tone(&self, lines: Range<usize>) -> (f32, f32) {
        let at = |line: usize| self.sums[line.clamp(self.first, self.first + self.sums.len() - 1) - self.first];
        let (start, end) = (at(lines.start), at(lines.end));
        let count = lines.len().max(1) as f64;
        (((end.0 - start.0) / count) as f32, ((end.1 - start.1) / count) as f32)
    }

    fn amount(&self, lines: Range<usize>) -> f32 {
        let (re, im) = self.tone(lines);
        (re * re + im * im).sqrt()
    }
}

/// The tones of a channel in which no chain of candidates was found; none where there are none.
pub(super) fn find(lines: &Lines, rhythm: Rhythm, spans: &[Range<u64>]) -> Option<Found> {
    let kept = lines.kept();
    let in_lines = |span: &Range<u64>| {
        let line = |sample: u64| usize::try_from(sample / LINE as u64).unwrap_or(usize::MAX);
        line(span.start).max(kept.start)..line(span.end).min(kept.end)
    };
    let span = spans.iter().map(in_lines).max_by_key(Range::len)?;
    let length = usize::try_from(rhythm.on_samples / LINE as u64).ok().filter(|lines| *lines >= 6)? - 1;
    let period = rhythm.period() as f64 / LINE as f64;
    let many = (span.len().checked_sub(length)? as f64 / period).floor() as usize;
    if many < LEAST_PERIODS {
        return None;
    }
    let sums = Sums::new(lines, span.clone());
    let fold = Fold { sums, span, length, period, many: many.min(MOST_PERIODS) };
    let start = fold.best()?;
    let starts = (0..).map(|n| (start as f64 + f64::from(n) * period) as usize).take_while(|at| at + length <= fold.span.end);
    let tones = starts.map(|at| fold.measure(at)).collect();
    Some(chain::whole(tones, rhythm, spans))
}

struct Fold<'l> {
    sums: Sums<'l>,
    span: Range<usize>,
    length: usize,
    period: f64,
    many: usize,
}

impl Fold<'_> {
    fn windows(&self, start: usize) -> impl Iterator<Item = Range<usize>> {
        let (period, length) = (self.period, self.length);
        (0..self.many).map(move |n| (start as f64 + n as f64 * period) as usize).map(move |at| at..at + length)
    }

    /// The line with which the first tone begins.
    fn best(&self) -> Option<usize> {
        let starts = self.span.start..self.span.start + self.period as usize;
        let amount = |start: usize| {
            let (mut least, mut most) = (f32::MAX, 0.0_f32);
            for window in self.windows(start) {
                let amount = self.sums.amount(window);
                (least, most) = (least.min(amount), most.max(amount));
            }
            (start, if most < MOST_UNEVEN * least { least } else { 0.0 })
        };
        let (start, least) = starts.map(amount).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let faintest = if self.length < SHORT_LINES { FAINTEST_SHORT } else { FAINTEST };
        (least > faintest && self.is_alone(start, least) && self.agreement(start) > LEAST_AGREEMENT).then_some(start)
    }

    /// Whether there is little of it before and behind.
    fn is_alone(&self, start: usize, least: f32) -> bool {
        let beside = self.length + 3;
        let around = |window: Range<usize>| {
            let before = window
                .start
                .checked_sub(beside)
                .filter(|at| *at >= self.span.start)
                .map_or(0.0, |at| self.sums.amount(at..at + self.length));
            before.max(self.sums.amount(window.start + beside..window.end + beside))
        };
        let mut around: Vec<f32> = self.windows(start).map(around).collect();
        around.sort_by(f32::total_cmp);
        around[around.len() / 2] < AROUND * least
    }

    fn agreement(&self, start: usize) -> f32 {
        let agree = |window: Range<usize>| {
            let middle = window.start + window.len() / 2;
            let (a, b) = (self.sums.tone(window.start..middle), self.sums.tone(middle..window.end));
            (a.0 * b.0 + a.1 * b.1) / (a.0.hypot(a.1) * b.0.hypot(b.1)).max(f32::MIN_POSITIVE)
        };
        self.windows(start).map(agree).sum::<f32>() / self.many as f32
    }

    fn measure(&self, start: usize) -> Candidate {
        let window = start..start + self.length;
        let peak = self.sums.amount(window.clone()) / (LINE / 2) as f32;
        let energy: f32 = window.clone().map(|at| self.sums.lines.at(at).energy).sum();
        Candidate {
            start: (start * LINE) as u64,
            end: ((start + self.length + 1) * LINE) as u64,
            frequency_hz: self.sums.lines.frequency_hz as f32,
            peak,
            steadiness: self.agreement(start).clamp(0.0, 1.0),
            purity: (peak * peak / 2.0 * (window.len() * LINE) as f32 / energy.max(1.0)).min(1.0),
        }
    }
}
