//! The blocks of a call -> frames of two channels in its own law, bit by bit as it came. Pure: blocks in, bytes out; never more
//! than a second of audio in memory, however long the call. [`audio`](super::audio) makes a file of them.
//!
//! The blocks are read twice. [`Survey`] learns how far the audio reaches, because the file's head states its length and the
//! checksum is taken while writing; [`encode`] then writes.
//!
//! The file begins when the first session was accepted and ends when the last one ended. What arrived later than that is kept
//! as far as there is any. All bytes are of the law of the first leg; blocks of the other law are converted by
//! [`g711`](super::g711), lost places are the law's silence.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use super::align;
use super::g711::transcode;
use super::gaps::{GapFinder, GapList, place_of};
use super::overlay::{Cell, Overlay, lane_of};
use crate::model::block::Law;
use crate::model::{BLOCK_BYTES, BlockNo, Channel, Damage, LegNo, MediaTime, Recording, StoredBlock};

/// More silence than this after the last audio was no call: the wall clock was set forward in between (a box without a
/// battery-backed clock wakes up in 1970). Twelve hours, in samples.
const MAX_SILENT_END: i64 = 12 * 3_600 * MediaTime::RATE;

/// Damaged places kept apart; more run together.
const MAX_DAMAGED_PLACES: usize = 1_000;

/// Where each leg's audio goes.
#[derive(Clone, Debug)]
pub struct Routes(BTreeMap<LegNo, Route>);

#[derive(Clone, Copy, Debug)]
struct Route {
    channel: Channel,
    shift: i64,
}

impl Routes {
    /// Channel and shift of every leg.
    pub fn new(recording: &Recording) -> Routes {
        let shifts = align::shifts(&recording.legs);
        let route = |no: &LegNo, channel| Route { channel, shift: shifts.get(no).copied().unwrap_or(0) };
        Routes(recording.legs.iter().map(|leg| (leg.no, route(&leg.no, leg.channel))).collect())
    }

    /// The pieces of a block with their channel and place on the common clock. A block of a leg that the recording does not
    /// know has none.
    fn pieces<'b>(&self, block: &'b StoredBlock) -> impl Iterator<Item = (Channel, MediaTime, &'b [u8])> + use<'b> {
        let route = self.0.get(&block.leg).copied();
        let mut rest = block.bytes.as_slice();
        let block_start = start_of(block.number).0;
        block.runs.iter().map_while(move |run| {
            let Route { channel, shift } = route?;
            let (bytes, behind) = rest.split_at_checked(usize::from(run.len))?;
            rest = behind;
            Some((channel, MediaTime(block_start + i64::from(run.start) + shift), bytes))
        })
    }
}

/// What a first look at all blocks tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Where the first audio of each channel lies.
    pub first: [Option<MediaTime>; 2],
    /// Where the last audio ends.
    pub end: Option<MediaTime>,
    /// Between which places something can no longer be read; ascending, apart from each other.
    pub damage: Vec<Range<MediaTime>>,
    /// How many pieces can no longer be read.
    pub damaged: u64,
    /// The first of them.
    pub first_damage: Option<Damage>,
}

impl Survey {
    /// Looks at all blocks of a recording.
    pub fn new(routes: &Routes, blocks: impl Iterator<Item = Result<StoredBlock, Damage>>) -> Survey {
        let mut survey = Survey::default();
        let mut readable_to = MediaTime(0);
        let mut damage_pending = false;
        for block in blocks {
            let block = match block {
                Ok(block) => block,
                Err(damage) => {
                    survey.damaged += 1;
                    survey.first_damage.get_or_insert(damage);
                    damage_pending = true;
                    continue;
                }
            };
            let block_end = MediaTime(start_of(block.number).0 + BLOCK_BYTES as i64);
            if std::mem::take(&mut damage_pending) {
                survey.damage_between(readable_to, block_end);
            }
            readable_to = start_of(block.number);
            survey.look_at(routes, &block);
        }
        if damage_pending {
            survey.damage_between(readable_to, MediaTime(i64::MAX));
        }
        survey
    }

    fn look_at(&mut self, routes: &Routes, block: &StoredBlock) {
        for (channel, place, bytes) in routes.pieces(block) {
            let first = &mut self.first[lane_of(channel)];
            *first = Some(first.map_or(place, |f| f.min(place)));
            self.end = self.end.max(Some(MediaTime(place.0 + bytes.len() as i64)));
        }
    }

    /// The order of the blocks tells only between which two readable ones the damaged one stood, those two included.
    fn damage_between(&mut self, start: MediaTime, end: MediaTime) {
        let full = self.damage.len() >= MAX_DAMAGED_PLACES;
        match self.damage.last_mut() {
            Some(last) if full || start <= last.end => last.end = end,
            _ => self.damage.push(start..end),
        }
    }

    /// From where to where the file reaches on the recording's time line.
    pub fn span(&self, recording: &Recording) -> Range<MediaTime> {
        let start = place_of(recording, recording.started);
        let audio_end = self.end.unwrap_or(start).max(start);
        let ended = recording.ended.map_or(audio_end, |ended| place_of(recording, ended));
        let call_end = if ended.0 - audio_end.0 > MAX_SILENT_END { audio_end } else { ended };
        start..call_end.max(audio_end)
    }
}

/// What became of the blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The law of all bytes of the file.
    pub law: Law,
    /// Where the file begins and ends on the recording's time line.
    pub span: Range<MediaTime>,
    /// Samples that arrived in the other law and were converted. Zero: bit-exact.
    pub transcoded: u64,
    /// Samples that have no place: of an unknown leg, or out of order. A mistake of the box.
    pub misplaced: u64,
    /// Where which channel is silent.
    pub gaps: GapList,
}

/// The law of the file: that of the first leg.
pub fn law(recording: &Recording) -> Law {
    recording.legs.first().map_or(Law::Pcmu, |leg| leg.law)
}

/// Writes all frames to `out`: a byte of channel 1, a byte of channel 2, and so on.
///
/// # Errors
/// Those of `out`.
pub fn encode(
    recording: &Recording,
    routes: &Routes,
    survey: &Survey,
    blocks: impl Iterator<Item = Result<StoredBlock, Damage>>,
    out: &mut impl Write,
) -> io::Result<Encoded> {
    let law = law(recording);
    let span = survey.span(recording);
    let mut writer = FrameWriter { law, span: span.clone(), gaps: GapFinder::new(recording, survey, &span), out };

    let mut overlay = Overlay::new(MediaTime(span.start.0.div_euclid(BLOCK_BYTES as i64) * BLOCK_BYTES as i64));
    let (mut transcoded, mut misplaced) = (0, 0);
    for block in blocks.flatten() {
        overlay.advance(start_of(block.number), |place, lanes| writer.frames(place, lanes))?;
        let mut laid = 0;
        for (channel, place, bytes) in routes.pieces(&block) {
            let samples = bytes.iter().map(|byte| transcode(*byte, block.law, law));
            laid += bytes.len() - overlay.lay(channel, block.leg, place, samples);
        }
        misplaced += (block.bytes.len() - laid) as u64;
        transcoded += if block.law == law { 0 } else { laid as u64 };
    }
    overlay.advance(span.end, |place, lanes| writer.frames(place, lanes))?;
    Ok(Encoded { law, transcoded, misplaced, gaps: writer.gaps.finish(span.end), span })
}

/// Where a block begins.
fn start_of(number: BlockNo) -> MediaTime {
    MediaTime(i64::from(number.0) * BLOCK_BYTES as i64)
}

/// Interleaves both channels and cuts what lies outside the file.
struct FrameWriter<'o, W> {
    law: Law,
    span: Range<MediaTime>,
    gaps: GapFinder,
    out: &'o mut W,
}

impl<W: Write> FrameWriter<'_, W> {
    fn frames(&mut self, place: MediaTime, lanes: [&[Option<Cell>]; 2]) -> io::Result<()> {
        let index_of = |at: MediaTime| usize::try_from(at.0.saturating_sub(place.0)).unwrap_or(0).min(lanes[0].len());
        let inside = index_of(self.span.start)..index_of(self.span.end);
        let place = MediaTime(place.0 + inside.start as i64);
        let [recorded, other] = lanes.map(|lane| &lane[inside.clone()]);
        self.gaps.samples(Channel::Recorded, place, recorded.iter().map(Option::is_some));
        self.gaps.samples(Channel::Other, place, other.iter().map(Option::is_some));

        let mut frames = [0; 2 * BLOCK_BYTES];
        let byte_of = |cell: &Option<Cell>| cell.map_or(self.law.silence(), |c| c.byte);
        for (frame, (recorded, other)) in frames.chunks_exact_mut(2).zip(recorded.iter().zip(other)) {
            frame.copy_from_slice(&[byte_of(recorded), byte_of(other)]);
        }
        self.out.write_all(&frames[..2 * recorded.len()])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finish::gaps::{Gap, GapReason};
    use crate::finish::testing::{ORIGIN, block, damage, full_block, leg, recording};
    use crate::model::WallTime;

    type Blocks = Vec<Result<StoredBlock, Damage>>;

    fn encoded(recording: &Recording, blocks: &Blocks) -> (Vec<u8>, Encoded, Survey) {
        let routes = Routes::new(recording);
        let survey = Survey::new(&routes, blocks.iter().cloned());
        let mut file = Vec::new();
        let encoded = encode(recording, &routes, &survey, blocks.iter().cloned(), &mut file).unwrap();
        (file, encoded, survey)
    }

    #[test]
    fn every_byte_of_a_call_of_one_millisecond() {
        let (file, encoded, _) =
            encoded(&recording(1, "a", 1), &vec![Ok(block(0, 0, &[(0, 3), (5, 1)], 0x40)), Ok(block(1, 0, &[(1, 2)], 0x80))]);
        let expected =
            [[0x40, 0xFF], [0x41, 0x81], [0x42, 0x82], [0xFF, 0xFF], [0xFF, 0xFF], [0x45, 0xFF], [0xFF, 0xFF], [0xFF, 0xFF]];
        assert_eq!(file, expected.as_flattened());
        assert_eq!((encoded.transcoded, encoded.misplaced), (0, 0));
    }

    #[test]
    fn a_call_without_any_audio_is_silence_of_its_length() {
        let (file, encoded, _) = encoded(&recording(1, "a", 1_020), &Blocks::new());
        assert_eq!(file.len(), 2 * 8_160);
        assert!(file.iter().all(|byte| *byte == 0xFF));
        let whole = MediaTime(0)..MediaTime(8_160);
        let gap = |channel| Gap { channel, place: whole.clone(), reason: GapReason::NoStream };
        assert_eq!(encoded.gaps.gaps, [gap(Channel::Recorded), gap(Channel::Other)]);
    }

    #[test]
    fn the_head_before_the_start_is_cut_and_late_audio_is_kept() {
        let mut call = recording(1, "a", 500);
        call.started = ORIGIN.plus_micros(1_000);
        let (file, encoded, _) = encoded(&call, &vec![Ok(full_block(0, 0)), Ok(block(0, 1, &[(0, 24)], 9))]);
        assert_eq!(encoded.span, MediaTime(8)..MediaTime(4_024));
        assert_eq!(file.len(), 2 * 4_016);
        assert_eq!(file[0], 8);
        assert_eq!(file[file.len() - 2], 9 + 23);
    }

    #[test]
    fn a_wall_clock_set_forward_in_mid_call_makes_no_endless_file() {
        let mut call = recording(1, "a", 0);
        call.ended = Some(ORIGIN.plus_micros(56 * 365 * 86_400 * 1_000_000));
        let (_, encoded, _) = encoded(&call, &vec![Ok(full_block(0, 3))]);
        assert_eq!(encoded.span.end, MediaTime(16_000));
        call.ended = Some(WallTime(i64::MIN));
        assert_eq!(Survey::default().span(&call), MediaTime(0)..MediaTime(0));
    }

    #[test]
    fn the_other_law_is_converted_and_counted() {
        let mut other_law = block(1, 0, &[(0, 2)], 0);
        other_law.law = Law::Pcma;
        other_law.bytes = vec![0xD5, 0x2A];
        let (file, encoded, _) = encoded(&recording(1, "a", 1), &vec![Ok(other_law)]);
        assert_eq!(encoded.transcoded, 2);
        assert_eq!(file[..4], [0xFF, 0xFE, 0xFF, 0x00]);
        let mut a_law = recording(1, "a", 1);
        a_law.legs[0].law = Law::Pcma;
        let (file, encoded, _) = super::tests::encoded(&a_law, &Blocks::new());
        assert_eq!((encoded.law, file[0]), (Law::Pcma, 0xD5));
    }

    #[test]
    fn a_later_leg_takes_over_the_channel() {
        let mut call = recording(1, "a", 1);
        call.legs.push(leg(2, Channel::Recorded));
        let blocks = vec![Ok(block(0, 0, &[(0, 6)], 0)), Ok(block(2, 0, &[(2, 2)], 0x70))];
        let (file, ..) = encoded(&call, &blocks);
        let recorded: Vec<u8> = file.iter().step_by(2).copied().collect();
        assert_eq!(recorded, [0, 1, 0x72, 0x73, 4, 5, 0xFF, 0xFF]);
    }

    #[test]
    fn damage_lies_between_the_blocks_around_it() {
        let blocks = vec![Ok(full_block(0, 0)), Ok(full_block(0, 1)), damage(), damage(), Ok(full_block(0, 4)), damage()];
        let (_, encoded, survey) = encoded(&recording(1, "a", 3_000), &blocks);
        assert_eq!(survey.damaged, 3);
        assert_eq!(survey.damage, [MediaTime(4_000)..MediaTime(i64::MAX)]);
        let recorded: Vec<_> = encoded.gaps.gaps.iter().filter(|gap| gap.channel == Channel::Recorded).collect();
        let gap = |place| Gap { channel: Channel::Recorded, place, reason: GapReason::Damage };
        assert_eq!(recorded, [&gap(MediaTime(8_000)..MediaTime(16_000)), &gap(MediaTime(20_000)..MediaTime(24_000))]);
    }

    #[test]
    fn blocks_that_fit_nowhere_are_counted() {
        let mut torn = block(1, 0, &[(0, 4)], 0);
        torn.bytes.truncate(3);
        let blocks = vec![Ok(block(9, 0, &[(0, 5)], 0)), Ok(torn), Ok(full_block(0, 1)), Ok(block(1, 0, &[(0, 2)], 0))];
        let (_, encoded, _) = encoded(&recording(1, "a", 1_000), &blocks);
        assert_eq!(encoded.misplaced, 5 + 3 + 2);
    }

    fn stored() -> impl Strategy<Value = StoredBlock> {
        let runs = prop::collection::vec((0..400u16, 1..400u16), 0..8);
        (0..4u8, 0..5u32, runs, any::<u8>(), any::<bool>()).prop_map(|(leg, number, steps, seed, a_law)| {
            let mut end = 0;
            let ascending: Vec<_> = steps
                .into_iter()
                .map(|(gap, len)| {
                    let start = end + gap + 1;
                    end = start + len;
                    (start, len)
                })
                .take_while(|(start, len)| usize::from(start + len) <= BLOCK_BYTES)
                .collect();
            StoredBlock { law: if a_law { Law::Pcma } else { Law::Pcmu }, ..block(leg, number, &ascending, seed) }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whole call in memory, one sample after the other.
        #[test]
        fn equals_the_naive_file(
            mut blocks in prop::collection::vec(stored(), 0..30),
            head_us in 0..500_000i64,
            length_ms in 0..3_000i64,
        ) {
            blocks.sort_by_key(|b| (b.number, b.leg));
            let mut call = recording(1, "a", 0);
            call.legs = (0..4).map(|no| leg(no, if no % 2 == 0 { Channel::Recorded } else { Channel::Other })).collect();
            call.started = ORIGIN.plus_micros(head_us);
            call.ended = Some(call.started.plus_micros(length_ms * 1_000));

            let mut frames = vec![[0xFF; 2]; 5 * BLOCK_BYTES];
            let mut audio_end = 0;
            for leg in 0..4 {
                for block in blocks.iter().filter(|b| b.leg.0 == leg) {
                    let places = block.runs.iter().flat_map(|r| r.start..r.start + r.len);
                    for (place, byte) in places.zip(&block.bytes) {
                        let at = block.number.0 as usize * BLOCK_BYTES + usize::from(place);
                        frames[at][usize::from(leg % 2)] = transcode(*byte, block.law, Law::Pcmu);
                        audio_end = audio_end.max(at + 1);
                    }
                }
            }
            let start = (head_us / 125) as usize;
            let end = ((head_us + length_ms * 1_000) / 125) as usize;
            let end = end.max(audio_end).max(start);
            frames.resize(end.max(frames.len()), [0xFF; 2]);

            let (file, encoded, _) = encoded(&call, &blocks.into_iter().map(Ok).collect());
            prop_assert_eq!(&file[..], frames[start..end].as_flattened());
            prop_assert_eq!(encoded.misplaced, 0);
        }
    }
}
