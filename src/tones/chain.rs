//! Which candidates are the recording tone: those that come in its rhythm, with one frequency and one level. Pure.
//!
//! A candidate alone proves little: a vowel may sing at 1,400 Hz, a melody may have that note. So the best chain of candidates is
//! looked for whose distances are whole periods; a single one counts only when it is beyond doubt.

use std::ops::Range;

use super::detect::Candidate;
use super::plan::Rhythm;

/// So many tones in a row may be missing without the chain breaking.
const MOST_MISSES: u64 = 24;

/// What a missing tone costs a chain; a perfect tone is worth 2.
const MISS: f64 = 0.35;

/// What a chain must be worth.
const LEAST_WORTH: f64 = 2.2;

/// What each tone of a long chain must be worth on the average, the missing ones counted, if few of them are beyond doubt. Of short tones
/// that is never enough: vowels and notes are as short.
const LEAST_WORTH_EACH: f64 = 0.55;

/// A tone so near to its frequency, steady and of the right length is one, unless it is …
const EXACT_HZ: f32 = 2.5;

/// … shorter than this, in samples: that a vowel can be.
const SHORT: f64 = 2_000.0;

/// Two tones of one source differ by less in frequency (a tone under speech is measured worse) …
const SAME_FREQUENCY_HZ: f32 = 7.0;

/// … and by less than this factor in level.
const SAME_LEVEL: f32 = 1.7;

/// Distances between tones are looked at up to this far from the expected one.
const FARTHEST: f64 = 0.13;

/// Chains are looked for around so many of the surest candidates.
const SUREST: usize = 600;

/// What was found in one channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The tones, ascending.
    pub tones: Vec<Candidate>,
    /// Where a tone should have begun and did not, ascending.
    pub misses: Vec<u64>,
}

impl Found {
    /// How many tones there should have been.
    pub fn expected(&self) -> usize {
        self.tones.len() + self.misses.len()
    }
}

/// Picks the tones of this rhythm out of the candidates of a channel that was recorded during `spans`.
pub(super) fn pick(candidates: &[Candidate], frequency_hz: f32, rhythm: Rhythm, spans: &[Range<u64>]) -> Found {
    let nodes: Vec<Node> = candidates.iter().filter_map(|tone| Node::new(tone, frequency_hz, rhythm, spans)).collect();
    let planned = rhythm.period() as f64;
    let chains = [Some(planned), usual_distance(&nodes, planned)].into_iter().flatten().map(|period| best_chain(&nodes, period));
    let best = chains.max_by(|a, b| a.worth.total_cmp(&b.worth)).unwrap_or_default();
    let misses_of = |chain: &Chain| misses(&chain.nodes, chain.period, rhythm, spans);
    let missing = misses_of(&best);
    if best.is_sure(missing.len(), rhythm.on_samples as f64 <= SHORT) {
        Found { misses: missing, tones: best.nodes.iter().map(|node| node.tone).collect() }
    } else {
        Found { misses: misses_of(&Chain::default()), tones: Vec::new() }
    }
}

/// Tones that are known to be all there are, in their spans.
pub(super) fn whole(tones: Vec<Candidate>, rhythm: Rhythm, spans: &[Range<u64>]) -> Found {
    let span_of = |tone: &Candidate| spans.iter().position(|span| span.contains(&tone.start.midpoint(tone.end)));
    let node = |tone: &Candidate| Some(Node { tone: *tone, worth: 0.0, sure: true, certain: true, span: span_of(tone)? });
    let nodes: Vec<Node> = tones.iter().filter_map(node).collect();
    let misses = misses(&nodes, rhythm.period() as f64, rhythm, spans);
    Found { tones, misses }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    tone: Candidate,
    /// From 0 to 2.
    worth: f64,
    /// Steady, of the right length, and little else sounds.
    sure: bool,
    /// So much so that it needs no other.
    certain: bool,
    span: usize,
}

impl Node {
    fn new(tone: &Candidate, frequency_hz: f32, rhythm: Rhythm, spans: &[Range<u64>]) -> Option<Node> {
        let length = (tone.end - tone.start) as f64;
        let right = rhythm.on_samples as f64;
        let middle = tone.start.midpoint(tone.end);
        let span = spans.iter().position(|span| span.contains(&middle))?;
        let cut = tone.end + 400 >= spans[span].end; // by the end or a pause
        let off = if cut && length < right { 0.0 } else { (length / right).ln().abs() };
        if off > 0.9 {
            return None; // less than two fifths, or more than two and a half
        }
        let worth = f64::from(tone.steadiness) * (1.0 - off) + f64::from(tone.purity);
        let sure = off < 0.3 && tone.steadiness > 0.8 && tone.purity > 0.5;
        let is_long = right > SHORT;
        let (most_off, least_steady) = if is_long { (0.12, 0.9) } else { (0.06, 0.95) };
        let near = (tone.frequency_hz - frequency_hz).abs() < EXACT_HZ;
        let exact = off < most_off && tone.steadiness > least_steady && near;
        let certain = (sure && tone.purity > 0.9 && off < 0.12) || (exact && is_long);
        Some(Node { tone: *tone, worth, sure: sure || exact, certain, span })
    }

    fn is_like(&self, other: &Node) -> bool {
        let ratio = self.tone.peak / other.tone.peak;
        (self.tone.frequency_hz - other.tone.frequency_hz).abs() < SAME_FREQUENCY_HZ
            && (SAME_LEVEL.recip()..SAME_LEVEL).contains(&ratio)
    }
}

#[derive(Clone, Debug, Default)]
struct Chain {
    nodes: Vec<Node>,
    worth: f64,
    period: f64,
}

impl Chain {
    /// Whether this is the recording tone, of which so many are missing.
    fn is_sure(&self, missing: usize, are_short: bool) -> bool {
        let sure = self.nodes.iter().filter(|node| node.sure).count();
        let length = self.nodes.len();
        let clear = self.nodes.iter().all(|node| node.tone.purity > 0.9);
        match length {
            0 => false,
            1 => self.nodes[0].certain && (missing == 0 || clear),
            2 | 3 => self.worth > LEAST_WORTH && (sure > 1 || clear) && (clear || missing <= length),
            _ => {
                self.worth > LEAST_WORTH
                    && missing <= 2 * length
                    && (sure * 4 >= length || (!are_short && self.worth > LEAST_WORTH_EACH * length as f64))
            }
        }
    }
}

/// The distance that sure candidates mostly have, in case the tone comes in another rhythm than it should.
fn usual_distance(nodes: &[Node], planned: f64) -> Option<f64> {
    let sure: Vec<&Node> = nodes.iter().filter(|node| node.sure).take(SUREST).collect();
    let mut distances: Vec<f64> = sure
        .windows(2)
        .filter(|pair| pair[0].span == pair[1].span && pair[0].is_like(pair[1]))
        .map(|pair| (pair[1].tone.start - pair[0].tone.start) as f64)
        .filter(|distance| *distance > 0.1 * planned)
        .map(|distance| distance / (distance / planned).round().max(1.0)) // between two of them others may be missing
        .collect();
    // One distance alone may be chance, unless it is between tones with nothing beside them.
    if distances.len() < 2 && sure.iter().any(|node| node.tone.purity <= 0.9) {
        return None;
    }
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied()
}

/// The chain that is worth most, by dynamic programming over the candidates.
fn best_chain(nodes: &[Node], period: f64) -> Chain {
    let mut worths: Vec<f64> = Vec::with_capacity(nodes.len());
    let mut before: Vec<Option<usize>> = Vec::with_capacity(nodes.len());
    for (at, node) in nodes.iter().enumerate() {
        let mut best = (0.0, None);
        for earlier in (0..at).rev() {
            let distance = (node.tone.start - nodes[earlier].tone.start) as f64;
            if distance > (MOST_MISSES + 1) as f64 * period * (1.0 + FARTHEST) {
                break;
            }
            let cost = step(&nodes[earlier], node, distance, period);
            let worth = cost.map_or(f64::MIN, |cost| worths[earlier] - cost);
            if worth > best.0 {
                best = (worth, Some(earlier));
            }
        }
        worths.push(best.0 + node.worth);
        before.push(best.1);
    }
    let Some(last) = (0..nodes.len()).max_by(|a, b| worths[*a].total_cmp(&worths[*b])) else { return Chain::default() };
    let mut chain: Vec<Node> = std::iter::successors(Some(last), |at| before[*at]).map(|at| nodes[at]).collect();
    chain.reverse();
    Chain { nodes: chain, worth: worths[last], period }
}

/// What it costs to go on from one tone to the next; none: these two are not of one chain.
fn step(from: &Node, to: &Node, distance: f64, period: f64) -> Option<f64> {
    if !from.is_like(to) {
        return None;
    }
    if from.span != to.span {
        return Some(0.0); // a pause lies between: the rhythm begins anew
    }
    let periods = (distance / period).round();
    if periods < 1.0 {
        return None;
    }
    let off = (distance - periods * period).abs() / period;
    let allowed = (0.02 * periods).min(FARTHEST);
    let strict = 0.004 * periods.sqrt();
    let price = if off <= strict { off / strict * 0.1 } else { 0.1 + (off - strict) / allowed * 0.6 };
    let limit = if from.sure && to.sure { FARTHEST } else { allowed };
    (off <= limit).then_some(price + (periods - 1.0) * MISS)
}

/// Where tones are missing: between those found, before the first, behind the last. A stretch without any is blamed only for
/// those that it would hold wherever the rhythm began in it.
fn misses(tones: &[Node], period: f64, rhythm: Rhythm, spans: &[Range<u64>]) -> Vec<u64> {
    let mut misses = Vec::new();
    let period = if tones.is_empty() { rhythm.period() as f64 } else { period };
    for (number, span) in spans.iter().enumerate() {
        let found: Vec<f64> = tones.iter().filter(|node| node.span == number).map(|node| node.tone.start as f64).collect();
        let (start, end) = (span.start as f64, (span.end as f64) - rhythm.on_samples as f64);
        let Some((first, last)) = found.first().zip(found.last()) else {
            let mut place = start + period;
            while place <= end {
                misses.push(place - period);
                place += period;
            }
            continue;
        };
        let tolerance = 0.02 * period;
        let earlier = std::iter::successors(Some(first - period), |place| Some(place - period));
        misses.extend(earlier.take_while(|place| *place >= start - tolerance / 4.0));
        for pair in found.windows(2) {
            let periods = ((pair[1] - pair[0]) / period).round().max(1.0);
            misses.extend((1..periods as u64).map(|n| pair[0] + (pair[1] - pair[0]) * n as f64 / periods));
        }
        let later = std::iter::successors(Some(last + period), |place| Some(place + period));
        misses.extend(later.take_while(|place| *place <= end - tolerance));
    }
    misses.sort_by(f64::total_cmp);
    misses.into_iter().map(|place| place.max(0.0) as u64).collect()
}
