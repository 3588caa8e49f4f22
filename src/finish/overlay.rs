//! Lays blocks over each other on two channels, in a window of one second that moves forward over the call. Pure.
//!
//! What lies where two legs of one channel both have audio: the later leg's, because it is the one that took the channel over
//! (failover, continuation). Parts of one block of the same leg: the one written later. Where nothing came, a cell is empty.

use crate::model::{BLOCK_BYTES, Channel, LegNo, MediaTime};

/// One sample, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The leg it came from.
    pub leg: LegNo,
    /// The byte.
    pub byte: u8,
}

/// A block of any shift ([`super::align::MAX_SHIFT`]) that starts with the window fits into it.
const WINDOW: usize = 2 * BLOCK_BYTES;

/// Both channels from [`Overlay::start`] on; what lies before it is final and gone.
pub struct Overlay {
    start: MediaTime,
    lanes: [Vec<Option<Cell>>; 2],
}

impl Overlay {
    /// Empty, from `start` on.
    pub fn new(start: MediaTime) -> Overlay {
        Overlay { start, lanes: [vec![None; WINDOW], vec![None; WINDOW]] }
    }

    /// The first place that can still be changed.
    pub fn start(&self) -> MediaTime {
        self.start
    }

    /// Lays samples from `place` on. Returns how many of them fell outside the window and are not laid.
    pub fn lay(&mut self, channel: Channel, leg: LegNo, place: MediaTime, bytes: impl ExactSizeIterator<Item = u8>) -> usize {
        let lane = &mut self.lanes[lane_of(channel)];
        let offset = place.0.saturating_sub(self.start.0);
        let before = usize::try_from(offset.saturating_neg()).unwrap_or(0).min(bytes.len());
        let first = usize::try_from(offset).unwrap_or(0).min(WINDOW);
        let outside = bytes.len() - (bytes.len() - before).min(WINDOW - first);
        for (cell, byte) in lane[first..].iter_mut().zip(bytes.skip(before)) {
            if cell.is_none_or(|there| there.leg <= leg) {
                *cell = Some(Cell { leg, byte });
            }
        }
        outside
    }

    /// Moves the window to `to` and hands out what it leaves behind, at most a block at a time: the place, both channels.
    pub fn advance<E>(
        &mut self,
        to: MediaTime,
        mut out: impl FnMut(MediaTime, [&[Option<Cell>]; 2]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.start < to {
            let left = usize::try_from(to.0.saturating_sub(self.start.0)).unwrap_or(usize::MAX);
            let length = left.min(BLOCK_BYTES);
            out(self.start, [&self.lanes[0][..length], &self.lanes[1][..length]])?;
            for lane in &mut self.lanes {
                lane.copy_within(length.., 0);
                lane[WINDOW - length..].fill(None);
            }
            self.start = MediaTime(self.start.0 + length as i64);
        }
        Ok(())
    }
}

/// Index of a channel in every pair of this station.
pub(super) fn lane_of(channel: Channel) -> usize {
    usize::from(channel.number() - 1)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn drain(overlay: &mut Overlay, to: i64) -> [Vec<Option<(u8, u8)>>; 2] {
        let mut out = [Vec::new(), Vec::new()];
        let Ok(()) = overlay.advance(MediaTime(to), |_, lanes| {
            for (all, lane) in out.iter_mut().zip(lanes) {
                all.extend(lane.iter().map(|cell| cell.map(|c| (c.leg.0, c.byte))));
            }
            Ok::<(), Infallible>(())
        });
        out
    }

    #[test]
    fn samples_outside_the_window_are_counted_not_laid() {
        let mut overlay = Overlay::new(MediaTime(1_000));
        assert_eq!(overlay.lay(Channel::Recorded, LegNo(0), MediaTime(997), [1, 2, 3, 4].into_iter()), 3);
        assert_eq!(overlay.lay(Channel::Recorded, LegNo(0), MediaTime(1_000 + 7_999), [5, 6].into_iter()), 1);
        assert_eq!(overlay.lay(Channel::Recorded, LegNo(0), MediaTime(i64::MAX), [7].into_iter()), 1);
        assert_eq!(overlay.lay(Channel::Recorded, LegNo(0), MediaTime(i64::MIN), [7].into_iter()), 1);
        let [recorded, other] = drain(&mut overlay, 9_000);
        assert_eq!(recorded[0], Some((0, 4)));
        assert_eq!(recorded[7_999], Some((0, 5)));
        assert_eq!(recorded.iter().flatten().count(), 2);
        assert!(other.iter().all(Option::is_none));
    }

    #[derive(Clone, Debug)]
    struct Part {
        block: i64,
        leg: u8,
        start: usize,
        bytes: Vec<u8>,
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let part = (0..4i64, 0..4u8, 0..BLOCK_BYTES, prop::collection::vec(any::<u8>(), 0..600)).prop_map(
            |(block, leg, start, mut bytes)| {
                bytes.truncate(BLOCK_BYTES - start);
                Part { block, leg, start, bytes }
            },
        );
        prop::collection::vec(part, 0..40).prop_map(|mut parts| {
            parts.sort_by_key(|p| (p.block, p.leg)); // stable: keeps the order of writing
            parts
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The naive model: everything in memory at once, leg after leg.
        #[test]
        fn equals_painting_the_whole_call_leg_by_leg(parts in parts(), shifts in prop::array::uniform4(0..=4_000i64)) {
            let length = 5 * BLOCK_BYTES as i64;
            let mut expected = [vec![None; length as usize], vec![None; length as usize]];
            for leg in 0..4 {
                for part in parts.iter().filter(|p| p.leg == leg) {
                    let place = part.block * BLOCK_BYTES as i64 + part.start as i64 + shifts[usize::from(leg)];
                    for (i, byte) in part.bytes.iter().enumerate() {
                        expected[usize::from(leg % 2)][place as usize + i] = Some((leg, *byte));
                    }
                }
            }
            let mut overlay = Overlay::new(MediaTime(0));
            let mut found = [Vec::new(), Vec::new()];
            for part in &parts {
                let block_start = part.block * BLOCK_BYTES as i64;
                for (all, new) in found.iter_mut().zip(drain(&mut overlay, block_start)) {
                    all.extend(new);
                }
                let channel = if part.leg % 2 == 0 { Channel::Recorded } else { Channel::Other };
                let place = MediaTime(block_start + part.start as i64 + shifts[usize::from(part.leg)]);
                prop_assert_eq!(overlay.lay(channel, LegNo(part.leg), place, part.bytes.iter().copied()), 0);
            }
            for (all, new) in found.iter_mut().zip(drain(&mut overlay, length)) {
                all.extend(new);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
