//! Where a channel is silent because nothing came, and why. Pure.
//!
//! What the recording's description explains goes first: paused, no session at that time. Then damage on the disk, and restarts
//! of the box. What is left is loss when it is shorter than a second and the leg counted lost packets; otherwise the sender just sent nothing.

use std::ops::Range;

use serde::Serialize;

use super::align;
use super::overlay::lane_of;
use crate::model::{Channel, EndReason, Leg, MaskKind, MediaTime, Recording, WallTime};

/// Gaps listed at most; what comes after them is only counted.
pub const MAX_GAPS: usize = 10_000;

/// Damaged places kept apart; more run together.
const MAX_DAMAGED_PLACES: usize = 1_000;

/// A longer silence is no packet loss.
const LONGEST_LOSS: i64 = MediaTime::RATE;

/// Silence this close to a restart is due to it. The first packet after one is as late as its network makes it, and a sender that was told
/// "port unreachable" drops another one.
const NEAR_RESTART: i64 = MediaTime::RATE / 10;

/// Why a channel is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The channel's first audio was yet to come.
    NotStarted,
    /// No session, or one over which nothing was sent.
    NoStream,
    /// Paused or held: masked.
    Pause,
    /// The box was down.
    Restart,
    /// What was kept can no longer be read.
    Damage,
    /// Packets were lost on their way.
    Loss,
}

/// A silent piece of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which channel.
    pub channel: Channel,
    /// From where to where.
    pub place: Range<MediaTime>,
    /// Why.
    pub reason: GapReason,
}

/// All gaps of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapList {
    /// The first [`MAX_GAPS`], by start.
    pub gaps: Vec<Gap>,
    /// How many more there are.
    pub left_out: u64,
}

/// Collects gaps while the call goes by, place after place.
pub struct GapFinder {
    lanes: [LaneGaps; 2],
    list: GapList,
}

struct LaneGaps {
    channel: Channel,
    reasons: Reasons,
    /// Something came already.
    has_begun: bool,
    /// Where the present silence began.
    silent_since: Option<MediaTime>,
    /// The last gap, which the next may continue.
    last: Option<Gap>,
}

impl GapFinder {
    /// For the audio at `span` of `recording`.
    pub fn new(recording: &Recording, span: &Range<MediaTime>) -> GapFinder {
        let lane = |channel| {
            let reasons = Reasons::new(recording, channel, span);
            LaneGaps { channel, reasons, has_begun: false, silent_since: None, last: None }
        };
        GapFinder { lanes: [lane(Channel::Recorded), lane(Channel::Other)], list: GapList::default() }
    }

    /// Something can no longer be read that stood between these places; they lie behind all that was told so far.
    pub fn damaged(&mut self, place: Range<MediaTime>) {
        self.lanes.iter_mut().for_each(|lane| lane.reasons.damaged(place.clone()));
    }

    /// The next samples of `channel`, which begin at `place`: whether each one came.
    pub fn samples(&mut self, channel: Channel, place: MediaTime, came: impl Iterator<Item = bool>) {
        let lane = &mut self.lanes[lane_of(channel)];
        for (came, at) in came.zip(place.0..) {
            match (came, lane.silent_since) {
                (false, None) => lane.silent_since = Some(MediaTime(at)),
                (true, Some(_)) => lane.silence_ends(MediaTime(at), &mut self.list),
                _ => {}
            }
            lane.has_begun |= came;
        }
    }

    /// The gaps that have ended, each channel's by start.
    pub fn so_far(&self) -> impl Iterator<Item = &Gap> {
        self.list.gaps.iter().chain(self.lanes.iter().filter_map(|lane| lane.last.as_ref()))
    }

    /// The call is over at `end`.
    pub fn finish(mut self, end: MediaTime) -> GapList {
        for lane in &mut self.lanes {
            lane.has_begun = true; // nothing will: so that is no beginning
            lane.silence_ends(end, &mut self.list);
            if let Some(last) = lane.last.take() {
                self.list.push(last);
            }
        }
        self.list.gaps.sort_by_key(|gap| (gap.place.start, gap.channel));
        self.list
    }
}

impl LaneGaps {
    /// Cuts the silence into pieces of one reason each.
    fn silence_ends(&mut self, end: MediaTime, list: &mut GapList) {
        let Some(mut at) = self.silent_since.take() else { return };
        if !self.has_begun {
            self.reasons.first_audio(end);
        }
        while at < end {
            let (reason, until) = self.reasons.at(at, end);
            self.add(Gap { channel: self.channel, place: at..until, reason }, list);
            at = until;
        }
    }

    fn add(&mut self, gap: Gap, list: &mut GapList) {
        match &mut self.last {
            Some(last) if last.place.end == gap.place.start && last.reason == gap.reason => last.place.end = gap.place.end,
            last => {
                if let Some(done) = last.replace(gap) {
                    list.push(done);
                }
            }
        }
    }
}

impl GapList {
    fn push(&mut self, gap: Gap) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push(gap);
        } else {
            self.left_out += 1;
        }
    }
}

/// What explains silence on one channel, in order of precedence. Each list is ascending and does not overlap itself.
struct Reasons {
    explained: [Vec<(Range<MediaTime>, GapReason)>; 4],
    start: MediaTime,
    /// When the box came back from a restart; the silence around such a moment is due to it.
    restarts: Vec<MediaTime>,
    end: MediaTime,
    counted_loss: bool,
}

impl Reasons {
    fn new(recording: &Recording, channel: Channel, span: &Range<MediaTime>) -> Reasons {
        let legs: Vec<&Leg> = recording.legs.iter().filter(|leg| leg.channel == channel).collect();
        let explained = [pauses(recording, &legs, span), without_session(recording, &legs, span), Vec::new(), Vec::new()];
        let lost = |leg: &&Leg| leg.counters.lost > 0 || leg.counters.overrun > 0 || leg.counters.kernel_drops > 0;
        let restarts = recording.restarts.iter().map(|time| place_of(recording, *time)).collect();
        Reasons { explained, restarts, start: span.start, end: span.end, counted_loss: legs.iter().any(lost) }
    }

    fn damaged(&mut self, place: Range<MediaTime>) {
        let [_, _, damage, _] = &mut self.explained;
        let is_full = damage.len() >= MAX_DAMAGED_PLACES;
        match damage.last_mut() {
            Some((last, _)) if is_full || place.start <= last.end => last.end = place.end,
            _ => damage.push((place, GapReason::Damage)),
        }
    }

    fn first_audio(&mut self, at: MediaTime) {
        let [.., not_started] = &mut self.explained;
        *not_started = vec![(self.start..at, GapReason::NotStarted)];
    }

    /// Why it is silent at `at`, and up to where (`end` at most) that is the reason.
    fn at(&self, at: MediaTime, end: MediaTime) -> (GapReason, MediaTime) {
        let mut until = end;
        for list in &self.explained {
            let next = list.partition_point(|(place, _)| place.end <= at);
            match list.get(next) {
                Some((place, reason)) if place.start <= at => return (*reason, until.min(place.end)),
                Some((place, _)) => until = until.min(place.start),
                None => {}
            }
        }
        let is_near = |restart: &MediaTime| restart.0 >= at.0 - NEAR_RESTART && restart.0 < until.0 + NEAR_RESTART;
        if self.restarts.iter().any(is_near) {
            return (GapReason::Restart, until);
        }
        let is_loss = self.counted_loss && until.0 - at.0 < LONGEST_LOSS && until < self.end;
        (if is_loss { GapReason::Loss } else { GapReason::NoStream }, until)
    }
}

/// Where the wall clock of an event lies on the time line.
pub(super) fn place_of(recording: &Recording, time: WallTime) -> MediaTime {
    MediaTime::from_micros(time - recording.origin)
}

fn pauses(recording: &Recording, legs: &[&Leg], span: &Range<MediaTime>) -> Vec<(Range<MediaTime>, GapReason)> {
    let mut pauses: Vec<(Range<MediaTime>, GapReason)> = Vec::new();
    let mut paused_since = None;
    let shifts = align::shifts(&recording.legs);
    for mask in recording.masks.iter().filter(|m| m.leg.is_none_or(|no| legs.iter().any(|leg| leg.no == no))) {
        let place =
            MediaTime(place_of(recording, mask.time).0.saturating_add(align::shift_of_mask(mask, &recording.legs, &shifts)));
        let at = place.max(pauses.last().map_or(span.start, |(last, _)| last.end));
        match (mask.kind, paused_since) {
            (MaskKind::Paused, None) => paused_since = Some(at),
            (MaskKind::Resumed, Some(since)) => {
                pauses.push((since..at.max(since), GapReason::Pause));
                paused_since = None;
            }
            _ => {}
        }
    }
    pauses.extend(paused_since.map(|since| (since..span.end.max(since), GapReason::Pause)));
    pauses
}

/// The times at which no leg of the channel had a session.
fn without_session(recording: &Recording, legs: &[&Leg], span: &Range<MediaTime>) -> Vec<(Range<MediaTime>, GapReason)> {
    let mut legs = legs.to_vec();
    legs.sort_by_key(|leg| leg.started);
    let mut absences = Vec::new();
    let mut covered_to = span.start;
    let mut reason = if legs.is_empty() { GapReason::NoStream } else { GapReason::NotStarted };
    for leg in legs {
        let start = place_of(recording, leg.started);
        let end = leg.ended.map_or(span.end, |ended| place_of(recording, ended)).max(start);
        if start > covered_to {
            absences.push((covered_to..start, reason));
        }
        if end >= covered_to {
            covered_to = end;
            reason = if leg.end_reason == Some(EndReason::Interrupted) { GapReason::Restart } else { GapReason::NoStream };
        }
    }
    if covered_to < span.end {
        absences.push((covered_to..span.end, reason));
    }
    absences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::{ORIGIN, leg, recording};
    use crate::model::{LegNo, Mask};

    const SECOND: i64 = MediaTime::RATE;

    /// The gaps of channel 1 of a call of 10 s, of which `audio` came (from, to; in samples).
    fn gaps(call: &Recording, audio: &[(i64, i64)], damage: &[Range<MediaTime>]) -> Vec<(i64, i64, GapReason)> {
        let span = MediaTime(0)..MediaTime(10 * SECOND);
        let mut finder = GapFinder::new(call, &span);
        damage.iter().for_each(|place| finder.damaged(place.clone()));
        let came = (0..10 * SECOND).map(|at| audio.iter().any(|(from, to)| (*from..*to).contains(&at)));
        finder.samples(Channel::Recorded, span.start, came);
        let list = finder.finish(span.end);
        let gaps = list.gaps.into_iter().filter(|gap| gap.channel == Channel::Recorded);
        gaps.map(|gap| (gap.place.start.0, gap.place.end.0, gap.reason)).collect()
    }

    fn call() -> Recording {
        recording(1, "a", 10_000)
    }

    fn mask(at_ms: i64, kind: MaskKind, leg: Option<LegNo>) -> Mask {
        Mask { time: ORIGIN.plus_micros(at_ms * 1_000), kind, leg }
    }

    #[test]
    fn short_silence_is_loss_only_if_loss_was_counted() {
        let audio = [(0, 8_000), (8_160, 40_000), (56_000, 79_000)];
        use GapReason::{Loss, NoStream};
        assert_eq!(
            gaps(&call(), &audio, &[]),
            [(8_000, 8_160, NoStream), (40_000, 56_000, NoStream), (79_000, 80_000, NoStream)]
        );
        let mut lossy = call();
        lossy.legs[0].counters.lost = 1;
        let [lost, stopped, end] = gaps(&lossy, &audio, &[]).try_into().unwrap();
        assert_eq!((lost.2, stopped.2, end.2), (Loss, NoStream, NoStream), "two seconds, and the very end, are no loss");
    }

    #[test]
    fn a_silence_is_cut_where_its_reason_changes() {
        let mut call = call();
        call.masks = vec![mask(3_000, MaskKind::Paused, None), mask(4_000, MaskKind::Resumed, None)];
        use GapReason::{NoStream, NotStarted, Pause};
        assert_eq!(
            gaps(&call, &[(800, 16_000), (40_000, 80_000)], &[]),
            [(0, 800, NotStarted), (16_000, 24_000, NoStream), (24_000, 32_000, Pause), (32_000, 40_000, NoStream)]
        );
    }

    #[test]
    fn pauses_of_the_other_leg_and_odd_orders_do_no_harm() {
        let mut call = call();
        call.masks = vec![
            mask(1_000, MaskKind::Resumed, None),
            mask(1_000, MaskKind::Paused, Some(LegNo(1))),
            mask(5_000, MaskKind::Paused, Some(LegNo(0))),
            mask(4_000, MaskKind::Paused, None),
        ];
        assert_eq!(gaps(&call, &[(0, 8_000)], &[]), [(8_000, 40_000, GapReason::NoStream), (40_000, 80_000, GapReason::Pause)]);
    }

    #[test]
    fn the_silence_around_a_restart_is_its_own_however_short() {
        let mut call = call();
        call.legs[0].counters.lost = 5;
        call.restarts = vec![ORIGIN.plus_micros(3_000_000)];
        use GapReason::{Loss, Restart};
        let audio = [(0, 8_000), (8_160, 20_000), (24_800, 80_000)];
        assert_eq!(gaps(&call, &audio, &[]), [(8_000, 8_160, Loss), (20_000, 24_800, Restart)]);
        let audio = [(0, 8_000), (8_160, 24_080), (24_400, 25_600), (25_760, 80_000)];
        let expected = [(8_000, 8_160, Loss), (24_080, 24_400, Restart), (25_600, 25_760, Loss)];
        assert_eq!(gaps(&call, &audio, &[]), expected, "two packets after it came back");
    }

    #[test]
    fn sessions_that_come_and_go() {
        let at = |seconds: i64| ORIGIN.plus_micros(seconds * 1_000_000);
        let mut call = call();
        call.legs[0].started = at(1);
        call.legs[0].ended = Some(at(3));
        call.legs[0].end_reason = Some(EndReason::Interrupted);
        let mut again = leg(2, Channel::Recorded);
        again.started = at(5);
        again.ended = Some(at(8));
        again.end_reason = Some(EndReason::Bye);
        call.legs.push(again);
        use GapReason::{NoStream, NotStarted, Restart};
        assert_eq!(
            gaps(&call, &[(8_000, 24_000), (40_000, 64_000)], &[]),
            [(0, 8_000, NotStarted), (24_000, 40_000, Restart), (64_000, 80_000, NoStream)]
        );
        call.legs.clear();
        assert_eq!(gaps(&call, &[], &[]), [(0, 80_000, NoStream)]);
    }

    #[test]
    fn damage_explains_what_no_session_or_pause_does() {
        let damage = [MediaTime(4_000)..MediaTime(16_000)];
        assert_eq!(gaps(&call(), &[(0, 8_000), (12_000, 80_000)], &damage), [(8_000, 12_000, GapReason::Damage)]);
        let mut paused = call();
        paused.masks = vec![mask(1_000, MaskKind::Paused, None), mask(1_500, MaskKind::Resumed, None)];
        assert_eq!(gaps(&paused, &[(0, 8_000), (12_000, 80_000)], &damage), [(8_000, 12_000, GapReason::Pause)]);
    }

    #[test]
    fn more_gaps_than_anyone_reads_are_only_counted() {
        let span = MediaTime(0)..MediaTime(0);
        let mut finder = GapFinder::new(&call(), &span);
        finder.samples(Channel::Other, MediaTime(0), (0..30_000).map(|at| at % 2 == 0));
        let list = finder.finish(MediaTime(30_000));
        assert_eq!((list.gaps.len(), list.left_out), (MAX_GAPS, 5_000));
    }
}
