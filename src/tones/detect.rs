//! Finds steady tones near one frequency in samples of 8 kHz, also under speech and with packets lost. Pure.
//!
//! ```text
//! 64 samples (8 ms) ──► Line: correlation with cosine and sine, energy
//! a window of lines ──► do their phases go on evenly? speech and noise do not, a tone does, however faint
//! where they do     ──► Candidate: start, end, frequency, level, how sure
//! ```
//!
//! Candidates are many and some are wrong; [`chain`] picks those that come in the rhythm of a recording tone, `refine` looks again
//! where one is missing.
//!
//! Of a long channel not more than `MOST_LINES` are kept: what lies far enough back is settled and let go of.

use std::f32::consts::TAU;
use std::ops::Range;

use super::chain::{self, Found};
use super::fold;
use super::lines::{LINE, Line, Lines, Tone};
use super::plan::Rhythm;
use super::refine;

/// Lines looked at together.
const BATCH_LINES: usize = 15_000;

/// A tone is looked at from this long before to this long behind the window in which it was seen: 10 s.
const REACH_LINES: usize = 1_250;

/// A channel this long (24 min, 2 MB) is settled up to …
const MOST_LINES: usize = 180_000;

/// … so much before its end (4 min), and …
const OPEN_LINES: usize = 30_000;

/// … so much before that is kept, for a tone is known by its neighbours (the longest rhythm in the table is of 60.5 s).
const LAP_LINES: usize = 30_000;

/// Lines between which a tone goes on although they do not have it: a lost packet, a burst of speech.
const BRIDGE_LINES: usize = 5;

/// ±45 Hz.
const LARGEST_TURN: f32 = TAU * 45.0 * LINE as f32 / 8_000.0;

/// What goes on less evenly is no tone.
const LEAST_STEADINESS: f32 = 0.4;

/// Tones of which as many are missing must be so pure on the average.
const LEAST_PURITY: f32 = 0.8;

/// Tones that are less of what sounds must go on more evenly than this, on the average.
const FAINT_PURITY: f32 = 0.1;
const FAINT_STEADINESS: f32 = 0.5;

/// More candidates are not kept: ten a second for as long as lines are.
const MOST_CANDIDATES: usize = MOST_LINES / 12;

/// A tone that may be one of the recording tones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// First sample.
    pub start: u64,
    /// The sample behind the last one.
    pub end: u64,
    /// Its frequency.
    pub frequency_hz: f32,
    /// Its peak, at the scale of 16 bits.
    pub peak: f32,
    /// How evenly its phase goes on, from 0 to 1.
    pub steadiness: f32,
    /// Its share of all the energy there, from 0 to 1.
    pub purity: f32,
}

/// Reads one channel and collects candidates.
#[derive(Clone, Debug)]
pub struct Detector {
    lines: Lines,
    /// Lines of a window.
    window: usize,
    /// Lines before this one have been looked at.
    seen: usize,
    candidates: Vec<Candidate>,
    /// Tones whose lines are gone.
    settled: Vec<Candidate>,
    /// All tones that begin before this sample are among them.
    settled_to: u64,
}

impl Detector {
    /// At the start of a channel: looks for tones within ±45 Hz of a frequency, of this length or from half of it on.
    pub fn new(frequency_hz: f64, on_samples: u64) -> Detector {
        let lines = usize::try_from(on_samples / LINE as u64).unwrap_or(usize::MAX);
        let window = (lines.min(100) * 6 / 10).clamp(7, 32);
        let lines = Lines::new(frequency_hz);
        Detector { lines, window, seen: 0, candidates: Vec::new(), settled: Vec::new(), settled_to: 0 }
    }

    /// Takes the next samples, at the scale of 16 bits.
    pub fn push(&mut self, samples: &[f32]) {
        self.lines.push(samples);
        let end = self.lines.kept().end;
        if end >= self.seen + BATCH_LINES + REACH_LINES {
            self.look(end - REACH_LINES);
        }
    }

    /// Whether it holds as much as it should: then [`Detector::settle`] is due.
    pub fn is_full(&self) -> bool {
        self.lines.kept().len() >= MOST_LINES
    }

    /// Finds the tones of this rhythm in all but the last minutes, and lets go of what it knows them by. `spans`: while it was
    /// recorded up to now.
    pub fn settle(&mut self, rhythm: Rhythm, spans: &[Range<u64>]) {
        let kept = self.lines.kept();
        self.look(kept.end.saturating_sub(REACH_LINES));
        self.in_order();
        let up_to = kept.end.saturating_sub(OPEN_LINES).max(kept.start);
        let found = self.find(rhythm, spans);
        self.settle_those(found.tones, rhythm, (up_to * LINE) as u64);
        let from = up_to.saturating_sub(LAP_LINES);
        self.lines.forget(from);
        self.candidates.retain(|tone| tone.start >= (from * LINE) as u64);
    }

    /// The channel has ended: the tones of this rhythm, while it was recorded.
    pub fn finish(mut self, rhythm: Rhythm, spans: &[Range<u64>]) -> Found {
        self.end();
        let found = self.find(rhythm, spans);
        if self.settled_to == 0 {
            return found;
        }
        self.settle_those(found.tones, rhythm, u64::MAX);
        chain::whole(self.settled, rhythm, spans)
    }

    /// Adds the tones that begin before `up_to` to those settled. One at the border may have been measured otherwise before.
    fn settle_those(&mut self, tones: Vec<Candidate>, rhythm: Rhythm, up_to: u64) {
        let known = self.settled.last().map_or(0, |tone| tone.end);
        let from = known.max(self.settled_to.saturating_sub(rhythm.on_samples));
        self.settled.extend(tones.into_iter().filter(|tone| (from..up_to).contains(&tone.start)));
        self.settled_to = up_to;
    }

    /// The tones among the lines that are kept.
    fn find(&self, rhythm: Rhythm, spans: &[Range<u64>]) -> Found {
        let kept = self.lines.kept();
        let (start, end) = ((kept.start * LINE) as u64, (kept.end * LINE) as u64);
        let within = |span: &Range<u64>| span.start.max(start)..span.end.min(end);
        let spans: Vec<Range<u64>> = spans.iter().map(within).filter(|span| span.start < span.end).collect();
        let spans = spans.as_slice();
        let found = chain::pick(&self.candidates, self.lines.frequency_hz as f32, rhythm, spans);
        let found = if fold::is_whole(&found, rhythm) { found } else { fold::complete(&self.lines, found, rhythm, spans) };
        let found = refine::refine(&self.lines, found, rhythm);
        if is_doubtful(&found) { chain::whole(Vec::new(), rhythm, spans) } else { found }
    }

    /// The channel has ended: all candidates, ascending.
    pub fn candidates(mut self) -> Vec<Candidate> {
        self.end();
        self.candidates
    }

    fn end(&mut self) {
        self.lines.finish();
        self.look(self.lines.kept().end);
        self.in_order();
    }

    fn in_order(&mut self) {
        // A tone may turn out to reach back before one that was seen earlier.
        self.candidates.retain(|tone| tone.start < tone.end);
        self.candidates.sort_by_key(|tone| tone.start);
    }

    /// Looks at all lines up to `end` for windows of even phase.
    fn look(&mut self, end: usize) {
        let steps = self.window - 1;
        let begin = self.seen.saturating_sub(steps).max(self.lines.kept().start);
        let (turn_im, turn_re) = self.lines.turn_per_line().sin_cos();
        let least = if self.window < 16 { 0.62 } else { 0.42 } * steps as f32;
        let mut history = vec![(0.0_f32, 0.0_f32); steps];
        let (mut sum_re, mut sum_im) = (0.0_f32, 0.0_f32);
        let (mut last, mut slot) = (Line::default(), 0);
        let mut best: Option<(usize, f32)> = None;
        for at in begin..end {
            let unit = self.lines.at(at).unit();
            // unit · conj(last), turned back by what a tone of exactly the frequency turns.
            let (re, im) = (unit.re * last.re + unit.im * last.im, unit.im * last.re - unit.re * last.im);
            let step = (re * turn_re + im * turn_im, im * turn_re - re * turn_im);
            last = unit;
            let leaving = std::mem::replace(&mut history[slot], step);
            slot = if slot + 1 == steps { 0 } else { slot + 1 };
            sum_re += step.0 - leaving.0;
            sum_im += step.1 - leaving.1;
            let square = sum_re * sum_re + sum_im * sum_im;
            let even = square > least * least && (sum_re > 0.0 || sum_im.abs() > -4.0 * sum_re);
            match best {
                _ if even && best.is_none_or(|(_, most)| square > most) => best = Some((at, square)),
                Some((found, _)) if !even && at > found + BRIDGE_LINES => {
                    best = None;
                    self.measure(found, self.lines.kept().end);
                }
                _ => {}
            }
        }
        if let Some((found, _)) = best {
            self.measure(found, self.lines.kept().end);
        }
        self.seen = end;
    }

    /// Measures the tone whose window ends with line `last`.
    fn measure(&mut self, last: usize, end: usize) {
        let window = (last + 1).saturating_sub(self.window)..last + 1;
        let sample = |line: usize| (line * LINE) as u64;
        if self.candidates.last().is_some_and(|known| sample(window.end) <= known.end) {
            return; // the same tone, seen again behind a burst of speech
        }
        let Some(seen) = self.fit(&window, self.turn_of(&window)) else { return };
        let reach = window.start.saturating_sub(REACH_LINES).max(self.lines.kept().start)..(window.end + REACH_LINES).min(end);
        let fill = |at: usize| if reach.contains(&at) { self.lines.in_phase(at, &seen) / seen.amplitude } else { 0.0 };
        let outer = grow(&fill, window);
        let Some(whole) = self.fit(&outer, seen.turn) else { return };
        // The first and the last line, and those outside, are filled as far as the tone reaches into them.
        let filled = |at: usize| fill(at).clamp(0.0, 1.0) * LINE as f32;
        let head = filled(outer.start) + outer.start.checked_sub(1).map_or(0.0, filled);
        let tail = filled(outer.end - 1) + filled(outer.end);
        let start = sample(outer.start + 1).saturating_sub(head as u64);
        self.keep(&outer, &whole, start..sample(outer.end - 1) + tail as u64);
    }

    /// Adds it to the candidates. Where two overlap, the louder one is right about its edge.
    fn keep(&mut self, lines: &Range<usize>, tone: &Tone, mut place: Range<u64>) {
        let peak = tone.amplitude / (LINE / 2) as f32;
        if let Some(last) = self.candidates.last_mut().filter(|last| last.end > place.start) {
            if last.peak > peak {
                place.start = last.end;
            } else {
                last.end = place.start.max(last.start);
            }
        }
        if tone.steadiness < LEAST_STEADINESS || place.start >= place.end || self.candidates.len() >= MOST_CANDIDATES {
            return;
        }
        let energy: f32 = lines.clone().map(|at| self.lines.at(at).energy).sum();
        let of_the_tone = peak * peak / 2.0 * (lines.len() * LINE) as f32;
        self.candidates.push(Candidate {
            start: place.start,
            end: place.end,
            frequency_hz: self.lines.frequency_of(tone.turn),
            peak,
            steadiness: tone.steadiness,
            purity: if energy > 0.0 { (of_the_tone / energy).min(1.0) } else { 0.0 },
        });
    }

    /// By how much the phase turns from line to line, beyond what a tone of exactly the frequency does.
    fn turn_of(&self, lines: &Range<usize>) -> f32 {
        let (mut re, mut im) = (0.0, 0.0);
        for at in lines.start + 1..lines.end {
            let (a, b) = (self.lines.at(at - 1).unit(), self.lines.at(at).unit());
            re += b.re * a.re + b.im * a.im;
            im += b.im * a.re - b.re * a.im;
        }
        wrapped(im.atan2(re) - self.lines.turn_per_line())
    }

    /// The tone that fits these lines best, its turn being about `turn`; none where nothing is.
    fn fit(&self, lines: &Range<usize>, turn: f32) -> Option<Tone> {
        let middle = lines.start + lines.len() / 2;
        let sum = |part: Range<usize>| self.lines.sum(&part, turn, lines.start, |line| line);
        let (first, second) = (sum(lines.start..middle), sum(middle..lines.end));
        let slope = (second.im * first.re - second.re * first.im).atan2(second.re * first.re + second.im * first.im);
        let turn = turn + slope / (lines.len() as f32 / 2.0);
        let all = self.lines.sum(lines, turn, lines.start, |line| line);
        let amplitude = all.re.hypot(all.im) / lines.len() as f32;
        let even = self.lines.sum(lines, turn, lines.start, Line::unit);
        (amplitude > 0.0 && turn.abs() < LARGEST_TURN).then(|| Tone {
            turn,
            phase: all.im.atan2(all.re),
            origin: lines.start,
            amplitude,
            steadiness: even.re.hypot(even.im) / lines.len() as f32,
        })
    }
}

/// Whether more tones are missing than there are, and those there are sound among other things: notes of a melody do. Or whether they are little of
/// what sounds there and do not even go on evenly: then nobody can say where they are.
fn is_doubtful(found: &Found) -> bool {
    let many = found.tones.len() as f32;
    let purity: f32 = found.tones.iter().map(|tone| tone.purity).sum();
    let steadiness: f32 = found.tones.iter().map(|tone| tone.steadiness).sum();
    let are_few = many > 1.0 && found.misses.len() as f32 >= many && purity < LEAST_PURITY * many;
    are_few || (many > 1.0 && purity < FAINT_PURITY * many && steadiness < FAINT_STEADINESS * many)
}

/// From −π to π.
fn wrapped(angle: f32) -> f32 {
    angle - TAU * (angle / TAU).round()
}

/// Widens a window to all lines that have the tone, over short holes. Lines at the edge have at least half of it.
fn grow(fill: &impl Fn(usize) -> f32, window: Range<usize>) -> Range<usize> {
    let has = |at: usize| (0.5..2.0).contains(&fill(at));
    let (mut start, mut end) = (window.start, window.end);
    while start + 1 < end && !has(start) {
        start += 1;
    }
    while end > start + 1 && !has(end - 1) {
        end -= 1;
    }
    // Beyond a hole two lines in a row must have it: one may be chance.
    let earlier = |start: usize| {
        let reached = |at: &usize| has(*at) && (*at + 1 == start || (*at > 0 && has(*at - 1)));
        (start.saturating_sub(BRIDGE_LINES)..start).rev().find(reached)
    };
    while let Some(found) = earlier(start) {
        start = found;
    }
    let later = |end: usize| (end..end + BRIDGE_LINES).find(|at| has(*at) && (*at == end || has(*at + 1)));
    while let Some(found) = later(end) {
        end = found + 1;
    }
    start..end
}

#[cfg(test)]
mod tests;
