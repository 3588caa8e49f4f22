//! The blocks of a call -> frames of two channels in its own law, bit by bit as it came. Pure: blocks in, bytes out; never more
//! than a second of audio in memory, however long the call. [`audio`](super::audio) makes a file of them.
//!
//! The file's head states its length, and the checksum is taken while writing. So the last blocks are read first, to learn how
//! far the audio reaches ([`audio_end`]); then [`encode`] goes through all of them once.
//!
//! The file begins when the first session was accepted and ends when the last one ended. What arrived later than that is kept
//! as far as there is any. All bytes are of the law of the first leg; blocks of the other law are converted by
//! [`g711`](super::g711), lost places are the law's silence.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use super::align;
use super::g711::transcode;
use super::gaps::{GapFinder, GapList, place_of};
use super::overhear::{Frames, recorded_spans};
use super::overlay::{Cell, Overlay};
use crate::model::block::Law;
use crate::model::{BLOCK_BYTES, BlockList, BlockNo, Channel, Damage, LegNo, MediaTime, Recording, StoredBlock};

/// More silence than this after the last audio was no call: the wall clock was set forward in between (a box without a
/// battery-backed clock wakes up in 1970). Twelve hours, in samples.
const MAX_SILENT_END: i64 = 12 * 3_600 * MediaTime::RATE;

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

    /// How much later than its place a block may be laid, in samples.
    fn longest_shift(&self) -> i64 {
        self.0.values().map(|route| route.shift).max().unwrap_or(0)
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

/// Where the last audio ends. Reads blocks from the last one on until none before it can reach further: mostly two.
pub fn audio_end(routes: &Routes, blocks: &mut dyn BlockList) -> Option<MediaTime> {
    let reaches_to = |number| Some(MediaTime(start_of(number).0 + BLOCK_BYTES as i64 + routes.longest_shift()));
    let mut end = None;
    for index in (0..blocks.count()).rev() {
        if blocks.number(index).is_some_and(|number| end >= reaches_to(number)) {
            break;
        }
        if let Ok(block) = blocks.read(index) {
            let ends = routes.pieces(&block).map(|(_, place, bytes)| MediaTime(place.0 + bytes.len() as i64));
            end = end.max(ends.max());
        }
    }
    end
}

/// From where to where the file reaches on the recording's time line, when its audio ends at `audio_end`.
pub fn span(recording: &Recording, audio_end: Option<MediaTime>) -> Range<MediaTime> {
    let start = place_of(recording, recording.started);
    let audio_end = audio_end.unwrap_or(start).max(start);
    let ended = recording.ended.map_or(audio_end, |ended| place_of(recording, ended));
    let call_end = if ended.0 - audio_end.0 > MAX_SILENT_END { audio_end } else { ended };
    start..call_end.max(audio_end)
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
    /// How many pieces can no longer be read.
    pub damaged: u64,
    /// The first of them.
    pub first_damage: Option<Damage>,
    /// Where which channel is silent.
    pub gaps: GapList,
}

/// The law of the file: that of the first leg.
pub fn law(recording: &Recording) -> Law {
    recording.legs.first().map_or(Law::Pcmu, |leg| leg.law)
}

/// Writes all frames from `span.start` to `span.end` to `out`: a byte of channel 1, a byte of channel 2, and so on.
///
/// # Errors
/// Those of `out`.
pub fn encode(
    recording: &Recording,
    routes: &Routes,
    span: Range<MediaTime>,
    blocks: impl Iterator<Item = Result<StoredBlock, Damage>>,
    out: &mut impl Frames,
) -> io::Result<Encoded> {
    let law = law(recording);
    let mut writer = FrameWriter { law, span: span.clone(), gaps: GapFinder::new(recording, &span), out };

    let mut overlay = Overlay::new(MediaTime(span.start.0.div_euclid(BLOCK_BYTES as i64) * BLOCK_BYTES as i64));
    let (mut transcoded, mut misplaced) = (0, 0);
    let mut unreadable = Unreadable::default();
    for block in blocks {
        let Some(block) = unreadable.sorted_out(block, &mut writer.gaps) else { continue };
        overlay.advance(start_of(block.number), |place, lanes| writer.frames(place, lanes))?;
        let mut laid = 0;
        for (channel, place, bytes) in routes.pieces(&block) {
            let samples = bytes.iter().map(|byte| transcode(*byte, block.law, law));
            laid += bytes.len() - overlay.lay(channel, block.leg, place, samples);
        }
        misplaced += (block.bytes.len() - laid) as u64;
        transcoded += if block.law == law { 0 } else { laid as u64 };
    }
    unreadable.ends(&mut writer.gaps);
    overlay.advance(span.end, |place, lanes| writer.frames(place, lanes))?;
    let Unreadable { pieces: damaged, first: first_damage, .. } = unreadable;
    Ok(Encoded { law, transcoded, misplaced, damaged, first_damage, gaps: writer.gaps.finish(span.end), span })
}

/// What can no longer be read. The order of the blocks tells only between which two readable ones it stood, those two
/// included.
#[derive(Default)]
struct Unreadable {
    pieces: u64,
    first: Option<Damage>,
    /// Where the last readable block begins.
    readable_to: MediaTime,
    is_pending: bool,
}

impl Unreadable {
    /// Counts a damaged block; gives a readable one back.
    fn sorted_out(&mut self, block: Result<StoredBlock, Damage>, gaps: &mut GapFinder) -> Option<StoredBlock> {
        match block {
            Ok(block) => {
                let start = start_of(block.number);
                if std::mem::take(&mut self.is_pending) {
                    gaps.damaged(self.readable_to..MediaTime(start.0 + BLOCK_BYTES as i64));
                }
                self.readable_to = start;
                Some(block)
            }
            Err(damage) => {
                self.pieces += 1;
                self.first.get_or_insert(damage);
                self.is_pending = true;
                None
            }
        }
    }

    /// No block is left.
    fn ends(&self, gaps: &mut GapFinder) {
        if self.is_pending {
            gaps.damaged(self.readable_to..MediaTime(i64::MAX));
        }
    }
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

impl<W: Frames> FrameWriter<'_, W> {
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
        self.out.write_all(&frames[..2 * recorded.len()])?;
        if self.out.asks_when() {
            let end = MediaTime(place.0 + recorded.len() as i64);
            self.out.tell_when(recorded_spans(self.gaps.so_far(), &(self.span.start..end)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finish::gaps::{Gap, GapReason};
    use crate::finish::testing::{Listed, ORIGIN, block, damage, full_block, leg, recording};
    use crate::model::WallTime;

    type Blocks = Vec<Result<StoredBlock, Damage>>;

    fn encoded(recording: &Recording, blocks: &Blocks) -> (Vec<u8>, Encoded) {
        let routes = Routes::new(recording);
        let span = span(recording, audio_end(&routes, &mut Listed::new(blocks)));
        let mut file = Vec::new();
        let encoded = encode(recording, &routes, span, blocks.iter().cloned(), &mut file).unwrap();
        (file, encoded)
    }

    #[test]
    fn every_byte_of_a_call_of_one_millisecond() {
        let (file, encoded) =
            encoded(&recording(1, "a", 1), &vec![Ok(block(0, 0, &[(0, 3), (5, 1)], 0x40)), Ok(block(1, 0, &[(1, 2)], 0x80))]);
        let expected =
            [[0x40, 0xFF], [0x41, 0x81], [0x42, 0x82], [0xFF, 0xFF], [0xFF, 0xFF], [0x45, 0xFF], [0xFF, 0xFF], [0xFF, 0xFF]];
        assert_eq!(file, expected.as_flattened());
        assert_eq!((encoded.transcoded, encoded.misplaced), (0, 0));
    }

    #[test]
    fn a_call_without_any_audio_is_silence_of_its_length() {
        let (file, encoded) = encoded(&recording(1, "a", 1_020), &Blocks::new());
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
        let (file, encoded) = encoded(&call, &vec![Ok(full_block(0, 0)), Ok(block(0, 1, &[(0, 24)], 9))]);
        assert_eq!(encoded.span, MediaTime(8)..MediaTime(4_024));
        assert_eq!(file.len(), 2 * 4_016);
        assert_eq!(file[0], 8);
        assert_eq!(file[file.len() - 2], 9 + 23);
    }

    #[test]
    fn a_wall_clock_set_forward_in_mid_call_makes_no_endless_file() {
        let mut call = recording(1, "a", 0);
        call.ended = Some(ORIGIN.plus_micros(56 * 365 * 86_400 * 1_000_000));
        let (_, encoded) = encoded(&call, &vec![Ok(full_block(0, 3))]);
        assert_eq!(encoded.span.end, MediaTime(16_000));
        call.ended = Some(WallTime(i64::MIN));
        assert_eq!(span(&call, None), MediaTime(0)..MediaTime(0));
    }

    #[test]
    fn the_other_law_is_converted_and_counted() {
        let mut other_law = block(1, 0, &[(0, 2)], 0);
        other_law.law = Law::Pcma;
        other_law.bytes = vec![0xD5, 0x2A];
        let (file, encoded) = encoded(&recording(1, "a", 1), &vec![Ok(other_law)]);
        assert_eq!(encoded.transcoded, 2);
        assert_eq!(file[..4], [0xFF, 0xFE, 0xFF, 0x00]);
        let mut a_law = recording(1, "a", 1);
        a_law.legs[0].law = Law::Pcma;
        let (file, encoded) = super::tests::encoded(&a_law, &Blocks::new());
        assert_eq!((encoded.law, file[0]), (Law::Pcma, 0xD5));
    }

    #[test]
    fn a_later_leg_takes_over_the_channel() {
        let mut call = recording(1, "a", 1);
        call.legs.push(leg(2, Channel::Recorded));
        let blocks = vec![Ok(block(0, 0, &[(0, 6)], 0)), Ok(block(2, 0, &[(2, 2)], 0x70))];
        let (file, _) = encoded(&call, &blocks);
        let recorded: Vec<u8> = file.iter().step_by(2).copied().collect();
        assert_eq!(recorded, [0, 1, 0x72, 0x73, 4, 5, 0xFF, 0xFF]);
    }

    #[test]
    fn damage_lies_between_the_blocks_around_it() {
        let blocks = vec![Ok(full_block(0, 0)), Ok(full_block(0, 1)), damage(), damage(), Ok(full_block(0, 4)), damage()];
        let (_, encoded) = encoded(&recording(1, "a", 3_000), &blocks);
        assert_eq!((encoded.damaged, encoded.first_damage), (3, damage().err()));
        let recorded: Vec<_> = encoded.gaps.gaps.iter().filter(|gap| gap.channel == Channel::Recorded).collect();
        let gap = |place| Gap { channel: Channel::Recorded, place, reason: GapReason::Damage };
        assert_eq!(recorded, [&gap(MediaTime(8_000)..MediaTime(16_000)), &gap(MediaTime(20_000)..MediaTime(24_000))]);
    }

    #[test]
    fn blocks_that_fit_nowhere_are_counted() {
        let mut torn = block(1, 0, &[(0, 4)], 0);
        torn.bytes.truncate(3);
        let blocks = vec![Ok(block(9, 0, &[(0, 5)], 0)), Ok(torn), Ok(full_block(0, 1)), Ok(block(1, 0, &[(0, 2)], 0))];
        let (_, encoded) = encoded(&recording(1, "a", 1_000), &blocks);
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

            let (file, encoded) = encoded(&call, &blocks.into_iter().map(Ok).collect());
            prop_assert_eq!(&file[..], frames[start..end].as_flattened());
            prop_assert_eq!(encoded.misplaced, 0);
        }
    }
}
