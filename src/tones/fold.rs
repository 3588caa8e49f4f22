//! Finds tones by their rhythm alone: all periods laid over each other, a place stands out that holds the tone in each of them. Pure.
//!
//! ```text
//! |      ▂       |      ▂       |      ▂       |      every period: how evenly does the phase go on in a window of the tone's length,
//! |    ▁▂█▂▁     |    ▁▂▆▂▁     |    ▁▂█▂▁     |      compared with what else is in the band (not: how loud is it)
//! ▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔      the same place in all of them, not one long note in one of them
//! ```
//!
//! A tone that speech or music covers, or of which a codec left little, gives no sure candidate anywhere; so it is found still. Music has such
//! notes, but not every 15.5 s and not to half a hertz.

use std::ops::Range;

use super::chain::{self, Found};
use super::detect::Candidate;
use super::lines::{FAINTEST, LINE, Lines};
use super::plan::Rhythm;

/// More periods are not needed to find the place.
const MOST_PERIODS: usize = 12;

/// What the place must be worth (see [`Fold::worth`]) where there are one, two, three or more periods of a tone …
const LEAST_WORTH: [f32; 3] = [60.0, 42.0, 28.0];

/// … and with three or more it may be worth this, if it is by so much the best.
const LEAST_WORTH_ALONE: f32 = 15.0;
const LEAST_LEAD: f32 = 2.5;

/// Of tones of less than a quarter of a second there must be three, worth this, …
const SHORT_LINES: usize = 31;
const LEAST_WORTH_SHORT: f32 = 12.0;
const LEAST_LEAD_SHORT: f32 = 2.0;

/// … or this.
const LEAST_WORTH_SHORT_ALONE: f32 = 8.0;
const LEAST_LEAD_SHORT_ALONE: f32 = 3.5;

/// In half of the periods there is less than this share of it before and behind.
const AROUND: f32 = 0.6;

/// Tones about equally loud differ by less than this factor from the one in the middle.
const MOST_UNEVEN: f32 = 2.0;

/// What a single tone must be worth once the place is known …
const LEAST_WORTH_THERE: f32 = 5.0;

/// … and what it must be to say where the next ones are: clocks drift.
const LEAST_WORTH_TO_FOLLOW: f32 = 25.0;

/// Where the chain saw only a piece of each tone, the rest holds on the average more than this share of it, or it is no rest.
const LEAST_HIDDEN: f32 = 0.2;

/// So far beside its place a tone is looked for.
const SEARCH_LINES: usize = 2;

/// The tones of a channel in which a chain of candidates left gaps: those of the chain that are in the rhythm, and those that only the rhythm
/// tells of. What was found stays as it is where no place stands out.
pub(super) fn complete(lines: &Lines, found: Found, rhythm: Rhythm, spans: &[Range<u64>]) -> Found {
    let kept = lines.kept();
    let in_lines = |span: &Range<u64>| {
        let line = |sample: u64| usize::try_from(sample / LINE as u64).unwrap_or(usize::MAX);
        line(span.start).max(kept.start)..line(span.end).min(kept.end)
    };
    let mut tones = Vec::new();
    for span in spans {
        let in_span: Vec<Candidate> = found.tones.iter().filter(|tone| span.contains(&tone.start)).copied().collect();
        match Fold::new(lines, in_lines(span), rhythm).and_then(|fold| fold.merged(&in_span)) {
            Some(merged) => tones.extend(merged),
            None => tones.extend(in_span),
        }
    }
    if tones == found.tones { found } else { chain::whole(tones, rhythm, spans) }
}

/// Whether the chain knows all tones of this rhythm, each in its whole length.
pub(super) fn is_whole(found: &Found, rhythm: Rhythm) -> bool {
    found.tones.len() > 1 && found.misses.is_empty() && !found.tones.iter().any(|tone| is_cut(tone, rhythm.on_samples))
}

/// Whether less is seen of a tone than it should be.
fn is_cut(tone: &Candidate, on_samples: u64) -> bool {
    (tone.end - tone.start) * 25 < on_samples * 24
}

/// Whether two are the same tone.
fn overlap(a: &Candidate, b: &Candidate) -> bool {
    let shared = a.end.min(b.end).saturating_sub(a.start.max(b.start));
    2 * shared > (a.end - a.start).min(b.end - b.start)
}

/// Lines turned back by a tone of exactly the frequency, summed up to each.
struct Sums<'l> {
    lines: &'l Lines,
    first: usize,
    sums: Vec<Sum>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    re: f64,
    im: f64,
    power: f64,
}

impl Sums<'_> {
    fn new(lines: &Lines, range: Range<usize>) -> Sums<'_> {
        let (step_im, step_re) = f64::from(lines.turn_per_line()).sin_cos();
        let (mut re, mut im) = (1.0_f64, 0.0_f64);
        let mut sum = Sum::default();
        let mut sums = Vec::with_capacity(range.len() + 1);
        sums.push(sum);
        for at in range.clone() {
            let line = lines.at(at);
            let (line_re, line_im) = (f64::from(line.re), f64::from(line.im));
            sum.re += line_re * re + line_im * im;
            sum.im += line_im * re - line_re * im;
            sum.power += line_re * line_re + line_im * line_im;
            sums.push(sum);
            (re, im) = (re * step_re - im * step_im, re * step_im + im * step_re);
        }
        Sums { lines, first: range.start, sums }
    }

    fn over(&self, start: usize, lines: usize) -> Sum {
        let at = |line: usize| self.sums[line.clamp(self.first, self.first + self.sums.len() - 1) - self.first];
        let (start, end) = (at(start), at(start + lines));
        Sum { re: end.re - start.re, im: end.im - start.im, power: end.power - start.power }
    }

    /// How much of the tone there is in each line.
    fn amount(&self, start: usize, lines: usize) -> f32 {
        let sum = self.over(start, lines);
        (sum.re.hypot(sum.im) / lines as f64) as f32
    }

    /// By how much likelier a tone is here than other things in its band: the share of their power that goes on in phase with it, as the
    /// logarithm of how rarely noise has as much.
    fn evidence(&self, start: usize, lines: usize) -> f32 {
        let sum = self.over(start, lines);
        let most = lines as f64 * sum.power.max(lines as f64 * f64::from(FAINTEST * FAINTEST));
        let share = (sum.re * sum.re + sum.im * sum.im) / most;
        -(lines as f32 - 1.0) * ((1.0 - share) as f32).max(1e-6).ln()
    }
}

struct Fold<'l> {
    sums: Sums<'l>,
    span: Range<usize>,
    /// Lines that the tone fills.
    length: usize,
    on_samples: u64,
    period: f64,
}

impl Fold<'_> {
    fn new(lines: &Lines, span: Range<usize>, rhythm: Rhythm) -> Option<Fold<'_>> {
        let length = usize::try_from(rhythm.on_samples / LINE as u64).ok().filter(|lines| *lines >= 6)? - 1;
        let period = rhythm.period() as f64 / LINE as f64;
        (span.len() > length).then(|| Fold {
            sums: Sums::new(lines, span.clone()),
            span,
            length,
            on_samples: rhythm.on_samples,
            period,
        })
    }

    /// The places of all periods of which this is the first.
    fn places(&self, start: usize) -> impl Iterator<Item = usize> {
        let (period, last) = (self.period, self.span.end - self.length);
        (0..).map(move |n| (start as f64 + f64::from(n) * period).round() as usize).take_while(move |at| *at <= last)
    }

    /// What a place is worth: the evidence of its periods, so that one of them cannot speak for the others; and how many they are.
    fn worth(&self, start: usize) -> (f32, usize) {
        let add = |(sum, many): (f32, usize), at: usize| (sum + self.sums.evidence(at, self.length).max(0.0).sqrt(), many + 1);
        let (sum, many) = self.places(start).take(MOST_PERIODS).fold((0.0, 0), add);
        ((sum / many.max(1) as f32).powi(2), many)
    }

    /// The line with which the first tone begins, if one place stands out.
    fn best(&self) -> Option<usize> {
        let step = (self.length / 16).max(1);
        let period = self.period as usize;
        let starts = self.span.start..(self.span.start + period).min(self.span.end - self.length);
        let worths: Vec<(usize, f32)> = starts.step_by(step).map(|start| (start, self.worth(start).0)).collect();
        let (coarse, _) = worths.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let near = coarse.saturating_sub(step).max(self.span.start)..=(coarse + step).min(self.span.end - self.length);
        let (start, worth) = near.map(|start| (start, self.worth(start).0)).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let beside = |other: usize| other.abs_diff(start).min(period.abs_diff(other.abs_diff(start))) > self.length + 6;
        let next = worths.iter().filter(|(other, _)| beside(*other)).fold(1.0_f32, |most, (_, worth)| most.max(*worth));
        (self.is_enough(worth, worth / next, self.worth(start).1) && self.is_alone(start) && self.is_even(start)).then_some(start)
    }

    fn is_enough(&self, worth: f32, lead: f32, many: usize) -> bool {
        if self.length < SHORT_LINES {
            let stands_out = worth > LEAST_WORTH_SHORT && lead > LEAST_LEAD_SHORT;
            return many > 2 && (stands_out || (worth > LEAST_WORTH_SHORT_ALONE && lead > LEAST_LEAD_SHORT_ALONE));
        }
        let stands_out = lead > LEAST_LEAD;
        stands_out && (worth > LEAST_WORTH[many.clamp(1, 3) - 1] || (many > 2 && worth > LEAST_WORTH_ALONE))
    }

    /// Whether there is little of it before and behind.
    fn is_alone(&self, start: usize) -> bool {
        let beside = self.length + 3;
        let around = |at: usize| {
            let before = at.checked_sub(beside).filter(|at| *at >= self.span.start);
            let before = before.map_or(0.0, |at| self.sums.amount(at, self.length));
            before.max(self.sums.amount(at + beside, self.length)) / self.sums.amount(at, self.length).max(1.0)
        };
        let mut around: Vec<f32> = self.places(start).take(MOST_PERIODS).map(around).collect();
        around.sort_by(f32::total_cmp);
        around.get(around.len() / 2).is_some_and(|around| *around < AROUND)
    }

    /// The tones of the rhythm, those of the chain among them as they are known from there; none: no place stands out.
    fn merged(&self, chain: &[Candidate]) -> Option<Vec<Candidate>> {
        let by_rhythm = self.tones()?;
        let known: Vec<Option<&Candidate>> =
            by_rhythm.iter().map(|tone| chain.iter().find(|known| overlap(known, tone))).collect();
        let cut = by_rhythm.iter().zip(&known).filter_map(|(tone, known)| known.map(|known| (tone, known)));
        let is_hidden = self.hidden_share(cut) > LEAST_HIDDEN;
        let on_samples = self.on_samples;
        let better = |(tone, known): (&Candidate, &Option<&Candidate>)| match known {
            Some(known) if !(is_hidden && is_cut(known, on_samples)) => **known,
            _ => *tone,
        };
        Some(by_rhythm.iter().zip(&known).map(better).collect())
    }

    /// How much of the tone there is, on the average, where the chain did not see it and the rhythm says that it is: in phase with what was seen.
    /// Tones that are really shorter have nothing there.
    fn hidden_share<'a>(&self, pairs: impl Iterator<Item = (&'a Candidate, &'a Candidate)>) -> f32 {
        let line = |sample: u64| usize::try_from(sample / LINE as u64).unwrap_or(usize::MAX);
        let (mut share, mut lines) = (0.0, 0_usize);
        for (whole, seen) in pairs {
            let seen = line(seen.start) + 1..line(seen.end);
            let part = self.sums.over(seen.start, seen.len());
            let scale = (part.re * part.re + part.im * part.im) / seen.len().max(1) as f64;
            for hidden in [line(whole.start) + 1..seen.start.saturating_sub(1), seen.end + 1..line(whole.end).saturating_sub(1)] {
                let sum = self.sums.over(hidden.start, hidden.len());
                share += (sum.re * part.re + sum.im * part.im) / scale.max(1.0);
                lines += hidden.len();
            }
        }
        (share / lines.max(1) as f64) as f32
    }

    /// Whether half of all tones are about equally loud.
    fn is_even(&self, start: usize) -> bool {
        let mut amounts: Vec<f32> = self.places(start).take(MOST_PERIODS).map(|at| self.sums.amount(at, self.length)).collect();
        amounts.sort_by(f32::total_cmp);
        let Some(median) = amounts.get(amounts.len() / 2) else { return false };
        let alike = amounts.iter().filter(|amount| (median / MOST_UNEVEN..median * MOST_UNEVEN).contains(*amount)).count();
        2 * alike >= amounts.len()
    }

    /// The tones that are there; none: no place stands out.
    fn tones(&self) -> Option<Vec<Candidate>> {
        let start = self.best()?;
        let mut drift = 0;
        let mut tones = Vec::new();
        for place in self.places(start) {
            let expected = place.saturating_add_signed(drift);
            let last = self.span.end - self.length;
            let near = expected.saturating_sub(SEARCH_LINES).max(self.span.start)..=(expected + SEARCH_LINES).min(last);
            let best = near.map(|at| (at, self.sums.evidence(at, self.length))).max_by(|a, b| a.1.total_cmp(&b.1));
            let Some((at, evidence)) = best.filter(|(_, evidence)| *evidence > LEAST_WORTH_THERE) else { continue };
            let is_clear = evidence > LEAST_WORTH_TO_FOLLOW;
            tones.push(self.measure(if is_clear { at } else { expected }));
            drift = if is_clear { at as isize - place as isize } else { drift };
        }
        Some(tones)
    }

    /// The tone whose window begins here. It is as long as it should be; where it begins within a line, the lines at both ends of the window tell.
    fn measure(&self, start: usize) -> Candidate {
        let window = start..start + self.length;
        let sum = self.sums.over(start, self.length);
        let square = sum.re * sum.re + sum.im * sum.im;
        let filled = |at: usize| {
            let line = self.sums.over(at, 1);
            ((line.re * sum.re + line.im * sum.im) * self.length as f64 / square.max(1.0)).clamp(0.05, 1.0)
        };
        let (head, tail) = (start.checked_sub(1).map_or(0.0, filled), filled(window.end));
        let slack = self.on_samples as f64 - (self.length * LINE) as f64;
        let begin = ((start * LINE) as u64).saturating_sub((slack * head / (head + tail)) as u64);
        let peak = self.sums.amount(start, self.length) / (LINE / 2) as f32;
        let energy: f32 = window.map(|at| self.sums.lines.at(at).energy).sum();
        Candidate {
            start: begin,
            end: begin + self.on_samples,
            frequency_hz: self.sums.lines.frequency_hz as f32,
            peak,
            steadiness: (square / (self.length as f64 * sum.power.max(1.0))).sqrt() as f32,
            purity: (peak * peak / 2.0 * (self.length * LINE) as f32 / energy.max(1.0)).min(1.0),
        }
    }
}
