//! Looks again, with what is known from the tones that were found for sure: places of those that speech covers, and those
//! that were not found at all. Pure.

use std::ops::Range;

use super::chain::Found;
use super::detect::Candidate;
use super::lines::{LINE, Lines};
use super::plan::Rhythm;

/// So far from its expected place a missing tone is looked for …
const SEARCH_LINES: usize = 8;

/// … and one of which a piece was found.
const SETTLE_LINES: usize = 2;

/// Pieces of tones are at most so many samples longer than they should be, or lie so far off.
const BLUR: i64 = 2 * LINE as i64;

/// Each line farther from there has to give so much more of it.
const UNLIKELY: f32 = 0.025;

/// Distances between tones differ by less than this from those planned, or they do not say where others are.
const MOST_DRIFT: f64 = 0.1;

/// Between these shares of the usual level it is the tone.
const LEVELS: Range<f32> = 0.55..1.7;

/// Before and behind it there is less than this share of it.
const AROUND: f32 = 0.62;

/// The tone as most of those found have it.
struct Usual {
    turn: f32,
    /// Of the correlation.
    amplitude: f32,
    lines: usize,
    samples: u64,
}

/// Corrects the places of tones whose edges were hidden, and finds missing ones that are there.
pub(super) fn refine(lines: &Lines, mut found: Found, rhythm: Rhythm) -> Found {
    if found.tones.len() < 2 {
        return found;
    }
    let usual = Usual::of(lines, &found.tones, rhythm);
    let grid = Grid::of(lines, &found.tones, &usual, rhythm);
    for tone in &mut found.tones {
        if !usual.is_clear(tone) {
            let start = grid.nearest(tone.start.midpoint(tone.end).saturating_sub(usual.samples / 2));
            let whole = usual.look_at(lines, start, SETTLE_LINES);
            *tone = whole.unwrap_or_else(|| if usual.is_piece_of(tone, start) { usual.whole(tone, start) } else { *tone });
        }
    }
    let (there, gone): (Vec<_>, Vec<_>) = found
        .misses
        .iter()
        .map(|place| (*place, usual.look_at(lines, grid.nearest(*place), SEARCH_LINES)))
        .partition(|(_, tone)| tone.is_some());
    found.tones.extend(there.into_iter().filter_map(|(_, tone)| tone));
    found.tones.sort_by_key(|tone| tone.start);
    found.misses = gone.into_iter().map(|(place, _)| place).collect();
    found
}

/// Where tones are to be expected, by those whose place is clear.
struct Grid {
    places: Vec<f64>,
    period: f64,
}

impl Grid {
    fn of(lines: &Lines, tones: &[Candidate], usual: &Usual, rhythm: Rhythm) -> Grid {
        let places: Vec<f64> = tones.iter().filter(|tone| usual.is_clear(tone)).map(|tone| tone.start as f64).collect();
        let planned = rhythm.period() as f64;
        let periods = |pair: &[f64]| (pair[1] - pair[0]) / ((pair[1] - pair[0]) / planned).round().max(1.0);
        let mut found: Vec<f64> = places.windows(2).map(periods).filter(|p| (p / planned - 1.0).abs() < MOST_DRIFT).collect();
        found.sort_by(f64::total_cmp);
        let grid = Grid { places, period: found.get(found.len() / 2).copied().unwrap_or(planned) };
        if grid.places.is_empty() { grid.agreed(lines, tones, usual) } else { grid }
    }

    /// Where no place is clear, the tones agree on one: what is seen of each lies within it, and most of them are on one grid. Where
    /// that leaves room, the place with the most of the tone in all of them counts.
    fn agreed(mut self, lines: &Lines, tones: &[Candidate], usual: &Usual) -> Grid {
        // How far the whole tone can begin before and behind a place of the grid.
        let room = |place: f64, tone: &Candidate| {
            let nearest = place + ((tone.start as f64 - place) / self.period).round() * self.period;
            let least = tone.end as f64 - usual.samples as f64 - nearest;
            (least.min(tone.start as f64 - nearest) as i64, (tone.start as f64 - nearest) as i64)
        };
        let agrees = |(least, most): &(i64, i64)| *least <= BLUR && *most >= -BLUR;
        let many = |place: f64| tones.iter().filter(|tone| agrees(&room(place, tone))).count();
        let Some(place) = tones.iter().map(|tone| tone.start as f64).max_by_key(|place| many(*place)) else { return self };
        let rooms: Vec<(i64, i64)> = tones.iter().map(|tone| room(place, tone)).filter(agrees).collect();
        let least = rooms.iter().map(|room| room.0).max().unwrap_or(0);
        let most = rooms.iter().map(|room| room.1).min().unwrap_or(0);
        let shared = |shift: i64| {
            let first = place + shift as f64;
            let start = |tone: &Candidate| first + ((tone.start as f64 - first) / self.period).round() * self.period;
            tones.iter().map(|tone| usual.share(lines, start(tone).max(0.0) as usize / LINE)).sum::<f32>()
        };
        let shifts = (least.min(most)..=most.max(least)).step_by(LINE).map(|shift| (shift, shared(shift)));
        let shift = shifts.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(shift, _)| shift);
        self.places = vec![place + shift as f64];
        self
    }

    /// The place of the grid next to this one, if one is near.
    fn nearest(&self, place: u64) -> u64 {
        let at = place as f64;
        let Some(clear) = self.places.iter().min_by(|a, b| (*a - at).abs().total_cmp(&(*b - at).abs())) else { return place };
        let expected = clear + ((at - clear) / self.period).round() * self.period;
        if (expected - at).abs() < MOST_DRIFT / 2.0 * self.period { expected.max(0.0) as u64 } else { place }
    }
}

impl Usual {
    /// Whether a tone from this place on would hold the piece that is seen of it.
    fn is_piece_of(&self, tone: &Candidate, start: u64) -> bool {
        tone.start as i64 >= start as i64 - BLUR && tone.end as i64 <= (start + self.samples) as i64 + BLUR
    }

    /// The whole tone of which a piece is seen.
    fn whole(&self, piece: &Candidate, start: u64) -> Candidate {
        Candidate { start, end: start + self.samples, ..*piece }
    }

    /// Whether it has the usual length, so that its edges were not hidden.
    fn is_clear(&self, tone: &Candidate) -> bool {
        (tone.end - tone.start).abs_diff(self.samples) * 25 <= self.samples
    }

    fn of(lines: &Lines, tones: &[Candidate], rhythm: Rhythm) -> Usual {
        let clear: Vec<&Candidate> = tones.iter().filter(|tone| tone.purity > 0.5).collect();
        let clear = if clear.is_empty() { tones.iter().collect() } else { clear };
        let samples = usual_length(&clear, rhythm.on_samples);
        Usual {
            turn: lines.turn_of(median(clear.iter().map(|tone| tone.frequency_hz).collect())),
            amplitude: median(clear.iter().map(|tone| tone.peak).collect()) * (LINE / 2) as f32,
            lines: usize::try_from(samples).unwrap_or(usize::MAX) / LINE,
            samples,
        }
    }

    /// The tone that begins about here, if it does.
    fn look_at(&self, lines: &Lines, place: u64, search: usize) -> Option<Candidate> {
        let middle = usize::try_from(place).ok()? / LINE;
        let nearby = middle.saturating_sub(search)..=middle + search;
        let likelihood = |at: usize, share: f32| share - UNLIKELY * at.abs_diff(middle) as f32;
        let shares = nearby.map(|at| (at, self.share(lines, at)));
        let (start, share) = shares.max_by(|a, b| likelihood(a.0, a.1).total_cmp(&likelihood(b.0, b.1)))?;
        let beside = self.lines + 2;
        let before = start.checked_sub(beside).map_or(0.0, |at| self.share(lines, at));
        let around = before.max(self.share(lines, start + beside));
        if !LEVELS.contains(&share) || around > AROUND * share || !lines.kept().contains(&start) {
            return None;
        }
        let window = start..start + self.lines;
        let energy: f32 = window.clone().map(|at| lines.at(at).energy).sum();
        let even = lines.sum(&window, self.turn, start, super::lines::Line::unit);
        let peak = share * self.amplitude / (LINE / 2) as f32;
        Some(Candidate {
            start: (start * LINE) as u64,
            end: (start * LINE) as u64 + self.samples,
            frequency_hz: lines.frequency_of(self.turn),
            peak,
            steadiness: even.re.hypot(even.im) / self.lines as f32,
            purity: (peak * peak / 2.0 * (self.lines * LINE) as f32 / energy.max(1.0)).min(1.0),
        })
    }

    /// How much of the tone there is in its length from a line on.
    fn share(&self, lines: &Lines, start: usize) -> f32 {
        let sum = lines.sum(&(start..start + self.lines), self.turn, start, |line| line);
        sum.re.hypot(sum.im) / self.lines as f32 / self.amplitude
    }
}

/// The length that tones have. What sounds beside one cuts it or adds to it, so another length than the planned one counts only when
/// most of them agree on it and few have the planned one.
fn usual_length(tones: &[&Candidate], planned: u64) -> u64 {
    let lengths: Vec<u64> = tones.iter().map(|tone| tone.end - tone.start).collect();
    let usual = median(lengths.iter().map(|length| *length as f32).collect()) as u64;
    let like = |right: u64| lengths.iter().filter(|length| length.abs_diff(right) * 25 <= right).count();
    let is_other = lengths.len() > 1 && 3 * like(usual) >= 2 * lengths.len() && 3 * like(planned) < lengths.len();
    if is_other { usual } else { planned }
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
