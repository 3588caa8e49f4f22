//! Holes: the parts of a segment that are given back to the file system while the rest of it must stay.
//!
//! Where only records of finished recordings stand, whole [`GRAIN`]s can go. They read as zeros from then on. The rests of
//! records at both edges stay, and are less than a grain each; by that [`super::scan`] tells a hole from damage.

use std::ops::Range;

use super::scan::Place;

/// Holes begin and end on multiples of this, the block size of all common file systems; where a block is larger, the file
/// system writes zeros at the edges itself (fallocate(2)).
pub const GRAIN: u64 = 4_096;

/// Gathers records that are not needed any more, in the order of the file.
#[derive(Debug, Default)]
pub struct Holes {
    free: Vec<Range<u64>>,
}

impl Holes {
    /// The next such record.
    pub fn add(&mut self, place: &Place) {
        let end = place.offset + u64::from(place.len);
        match self.free.last_mut() {
            Some(last) if last.end == place.offset => last.end = end,
            _ => self.free.push(place.offset..end),
        }
    }

    /// The whole grains in there.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let inside = |free: &Range<u64>| free.start.next_multiple_of(GRAIN)..free.end / GRAIN * GRAIN;
        self.free.iter().map(inside).filter(|hole| !hole.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RecordingNo;
    use crate::spool::segment::What;

    fn holes(free: &[(u64, u32)]) -> Vec<(u64, u64)> {
        let mut holes = Holes::default();
        for (offset, len) in free {
            holes.add(&Place { offset: *offset, len: *len, recording: RecordingNo(1), what: What::Description });
        }
        holes.ranges().into_iter().map(|hole| (hole.start, hole.end)).collect()
    }

    #[test]
    fn neighbours_make_one_hole_of_whole_grains() {
        assert_eq!(holes(&[(52, 4_036), (4_088, 4_036), (8_124, 4_036)]), [(4_096, 8_192)]);
        assert_eq!(holes(&[(0, 4_096), (4_096, 4_096)]), [(0, 8_192)]);
        assert_eq!(holes(&[(0, 8_000), (8_010, 8_374)]), [(0, 4_096), (8_192, 16_384)]);
    }

    #[test]
    fn a_record_without_a_whole_grain_stays() {
        assert_eq!(holes(&[(100, 4_036), (12_000, 4_190)]), []);
        assert_eq!(holes(&[]), []);
    }
}
