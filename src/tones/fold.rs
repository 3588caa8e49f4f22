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

use std::f64::consts::TAU;
use std::ops::Range;

use super::chain::{self, Found};
use super::detect::Candidate;
use super::lines::{FAINTEST, LINE, Lines};
use super::plan::Rhythm;

/// More periods are not needed to find the place.
const MOST_PERIODS: usize = 12;

/// What a place must be worth, and by how much more than any other: in phase over all periods ([`Worth::in_phase`]), …
const IN_PHASE: [Least; 2] = [Least { worth: 100.0, lead: 2.5 }, Least { worth: 40.0, lead: 4.0 }];
const IN_PHASE_SHORT: [Least; 1] = [Least { worth: 25.0, lead: 2.5 }];

/// … or in each of them ([`Worth::each`]), where there are one, two, three or more.
const EACH: [&[Least]; 3] =
    [&[Least { worth: 60.0, lead: 2.5 }], &[Least { worth: 42.0, lead: 2.5 }], &[Least { worth: 15.0, lead: 2.5 }]];
const EACH_SHORT: [Least; 2] = [Least { worth: 12.0, lead: 2.0 }, Least { worth: 8.0, lead: 3.5 }];

/// Tones of fewer lines (a quarter of a second) are short: vowels and notes are as short, and one or two of them prove nothing.
const SHORT_LINES: usize = 31;

/// In half of the periods there is less than this share of it before and behind.
const AROUND: f32 = 0.6;

/// Tones about equally loud differ by less than this factor from the one in the middle.
const MOST_UNEVEN: f32 = 2.0;

/// The place that stands out is right to so many lines.
const SETTLE_LINES: usize = 10;

/// A tone of the chain stays where it is if it fits there so much of what it does in the place that the rhythm tells.
const FITS_AS_WELL: f32 = 0.9;

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

    /// The tone that these lines have in common, as it is in each.
    fn mean(&self, start: usize, lines: usize) -> (f64, f64) {
        let sum = self.over(start, lines);
        (sum.re / lines as f64, sum.im / lines as f64)
    }

    /// The evidence of one window.
    fn evidence(&self, start: usize, lines: usize) -> f32 {
        let sum = self.over(start, lines);
        let most = lines as f64 * sum.power.max(lines as f64 * f64::from(FAINTEST * FAINTEST));
        evidence((sum.re * sum.re + sum.im * sum.im) / most, lines)
    }

    /// How well this tone fits these lines: a line that is nothing else counts 1, a silent one -½, one that is full of other things next to nothing.
    fn fit(&self, start: usize, lines: usize, tone: (f64, f64)) -> f32 {
        let square = tone.0 * tone.0 + tone.1 * tone.1;
        let fit = |at: usize| {
            let line = self.over(at, 1);
            let rest = (line.re - tone.0, line.im - tone.1);
            let gain = 2.0 * (line.re * tone.0 + line.im * tone.1) - square;
            gain / (square + rest.0 * rest.0 + rest.1 * rest.1).max(1.0)
        };
        (start..start + lines).map(fit).sum::<f64>() as f32
    }
}

/// By how much likelier a tone is than other things in its band, when this share of their power goes on in phase with it: the logarithm of how
/// rarely noise has as much.
fn evidence(share: f64, lines: usize) -> f32 {
    -(lines as f32 - 1.0) * ((1.0 - share) as f32).max(1e-6).ln()
}

/// What a place must be worth, and how many times that of the best place elsewhere.
struct Least {
    worth: f32,
    lead: f32,
}

/// What speaks for a place.
struct Worth {
    /// The evidence of its periods, so that one of them cannot speak for the others.
    each: f32,
    /// The evidence of all periods together: a tone from a file begins with the same phase each time.
    in_phase: f32,
    /// How many periods there are.
    many: usize,
}

struct Fold<'l> {
    sums: Sums<'l>,
    span: Range<usize>,
    /// Lines that the tone fills.
    length: usize,
    on_samples: u64,
    period: f64,
    /// What turns the tone of each period to the phase of the first.
    turns: Vec<(f64, f64)>,
}

impl Fold<'_> {
    fn new(lines: &Lines, span: Range<usize>, rhythm: Rhythm) -> Option<Fold<'_>> {
        let length = usize::try_from(rhythm.on_samples / LINE as u64).ok().filter(|lines| *lines >= 6)? - 1;
        let period = rhythm.period() as f64 / LINE as f64;
        let turn = TAU * (lines.frequency_hz * rhythm.period() as f64 / 8_000.0).fract();
        let turns = (0..MOST_PERIODS).map(|n| ((n as f64 * turn).cos(), (n as f64 * turn).sin())).collect();
        (span.len() > length).then(|| Fold {
            sums: Sums::new(lines, span.clone()),
            span,
            length,
            on_samples: rhythm.on_samples,
            period,
            turns,
        })
    }

    /// The places of all periods of which this is the first.
    fn places(&self, start: usize) -> impl Iterator<Item = usize> {
        let (period, last) = (self.period, self.span.end - self.length);
        (0..).map(move |n| (start as f64 + f64::from(n) * period).round() as usize).take_while(move |at| *at <= last)
    }

    /// What a place is worth by its first periods.
    fn worth(&self, start: usize) -> Worth {
        let length = self.length as f64;
        let (mut each, mut re, mut im, mut many) = (0.0, 0.0, 0.0, 0);
        for (at, turn) in self.places(start).zip(&self.turns) {
            let sum = self.sums.over(at, self.length);
            let most = length * sum.power.max(length * f64::from(FAINTEST * FAINTEST));
            each += evidence((sum.re * sum.re + sum.im * sum.im) / most, self.length).sqrt();
            let scale = most.sqrt().recip();
            re += (sum.re * turn.0 - sum.im * turn.1) * scale;
            im += (sum.re * turn.1 + sum.im * turn.0) * scale;
            many += 1;
        }
        let periods = many.max(1) as f64;
        Worth {
            each: (each / periods as f32).powi(2),
            in_phase: evidence((re * re + im * im) / (periods * periods), many * self.length),
            many,
        }
    }

    /// From one place that is looked at to the next.
    fn step(&self) -> usize {
        (self.length / 16).max(1)
    }

    /// The line with which the first tone begins, if one place stands out.
    fn best(&self) -> Option<usize> {
        let step = self.step();
        let last = self.span.end - self.length;
        let starts = (self.span.start..(self.span.start + self.period as usize).min(last)).step_by(step);
        let worths: Vec<(usize, Worth)> = starts.map(|start| (start, self.worth(start))).collect();
        let is_short = self.length < SHORT_LINES;
        let in_phase = if is_short { &IN_PHASE_SHORT[..] } else { &IN_PHASE };
        let by_phase = self.standing_out(&worths, |worth| worth.in_phase, |many| if many > 2 { in_phase } else { &[] });
        let each = |many: usize| match (is_short, many) {
            (true, ..3) => &[],
            (true, _) => &EACH_SHORT[..],
            (false, _) => EACH[many.clamp(1, 3) - 1],
        };
        by_phase.or_else(|| self.standing_out(&worths, |worth| worth.each, each))
    }

    /// The place that is worth most, if it is worth enough.
    fn standing_out(
        &self,
        worths: &[(usize, Worth)],
        of: fn(&Worth) -> f32,
        least: impl Fn(usize) -> &'static [Least],
    ) -> Option<usize> {
        let step = self.step();
        let (start, best) = worths.iter().max_by(|a, b| of(&a.1).total_cmp(&of(&b.1)))?;
        let period = self.period as usize;
        let beside = |other: usize| other.abs_diff(*start).min(period.abs_diff(other.abs_diff(*start))) > self.length + 6;
        let next = worths.iter().filter(|(other, _)| beside(*other)).fold(1.0_f32, |most, (_, worth)| most.max(of(worth)));
        let near = start.saturating_sub(step).max(self.span.start)..=(start + step).min(self.span.end - self.length);
        let worth = near.fold(of(best), |most, start| most.max(of(&self.worth(start))));
        if !least(best.many).iter().any(|least| worth > least.worth && worth > least.lead * next) {
            return None;
        }
        let start = self.settled(*start, SETTLE_LINES, MOST_PERIODS);
        (self.is_alone(start) && self.is_even(start)).then_some(start)
    }

    /// The place near this one that fits best in all periods.
    fn settled(&self, start: usize, by: usize, periods: usize) -> usize {
        let near = start.saturating_sub(by).max(self.span.start)..=(start + by).min(self.span.end - self.length);
        let models: Vec<(usize, (f64, f64))> =
            self.places(start).take(periods).map(|at| (at, self.sums.mean(at, self.length))).collect();
        let fit = |place: usize| {
            let shift = place as isize - start as isize;
            models.iter().map(|(at, tone)| self.sums.fit(at.saturating_add_signed(shift), self.length, *tone)).sum::<f32>()
        };
        near.map(|place| (place, fit(place))).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(start, |(place, _)| place)
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
        let fit = |tone: &Candidate| {
            let at = usize::try_from(tone.start.div_ceil(LINE as u64)).unwrap_or(usize::MAX);
            self.sums.fit(at, self.length, self.sums.mean(at, self.length))
        };
        let better = |(tone, known): (&Candidate, &Option<&Candidate>)| match known {
            Some(known) if is_cut(known, self.on_samples) => {
                if is_hidden {
                    *tone
                } else {
                    **known
                }
            }
            Some(known) if fit(known) >= FITS_AS_WELL * fit(tone) => **known,
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
            let expected = place.saturating_add_signed(drift).clamp(self.span.start, self.span.end - self.length);
            let at = self.settled(expected, SEARCH_LINES, 1);
            let evidence = self.sums.evidence(at, self.length);
            if evidence < LEAST_WORTH_THERE {
                continue;
            }
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
