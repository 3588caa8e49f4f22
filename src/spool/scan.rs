//! Reads a segment from a given place to its end without any ledger: yields every record whose CRC holds, and every range
//! in which there is none. After damage it goes on at the next place where a whole record begins.
//!
//! A hole, where finished recordings stood ([`super::holes`]), is no damage: whole grains of zeros, with the rest of a
//! record before and behind.

use std::io;
use std::ops::Range;

use super::disk::ReadAt;
use super::holes::GRAIN;
use super::segment::{PREFIX_BYTES, RECORD_MAGIC, Record, What};
use crate::model::RecordingNo;

/// Bytes read at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What a scan comes upon, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record of a known kind.
    Record(Place),
    /// Bytes that belong to no record, or cannot be read.
    Damaged(Range<u64>),
}

impl Found {
    /// Where it begins.
    pub fn offset(&self) -> u64 {
        match self {
            Found::Record(place) => place.offset,
            Found::Damaged(range) => range.start,
        }
    }
}

/// Where a record stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte of the record.
    pub offset: u64,
    /// Length of the whole record, in bytes.
    pub len: u32,
    /// Whose it is.
    pub recording: RecordingNo,
    /// What it is about.
    pub what: What,
}

/// The scan; an iterator.
pub struct Scan<'a> {
    file: &'a dyn ReadAt,
    /// Where it stands, and where the file ends: one that can no longer be read at all must end, too.
    offset: u64,
    end: u64,
    /// What it is stepping over.
    gap: Option<Gap>,
    /// A part of the file, and where that begins.
    window: Vec<u8>,
    window_at: u64,
    /// A record found right after damage, which is reported first.
    next: Option<Place>,
}

impl<'a> Scan<'a> {
    /// Scans `file` from the byte `from`, where a record begins, or the file ends, up to `end`, its length.
    pub fn new(file: &'a dyn ReadAt, from: u64, end: u64) -> Scan<'a> {
        Scan { file, offset: from, end, gap: None, window: Vec::new(), window_at: from, next: None }
    }

    fn step(&mut self) -> Step {
        let offset = self.offset;
        if offset >= self.end {
            return Step::End;
        }
        let prefix = match self.view(offset, PREFIX_BYTES) {
            Ok([]) => return Step::End,
            Ok(prefix) => prefix,
            Err(_) => return self.skip(GRAIN - offset % GRAIN), // which is what an unreadable sector costs
        };
        let Some(len) = Record::length(prefix) else { return self.skip_to_candidate() };
        let checked = self.view(offset, len).ok().map(Record::check);
        let (Some(Ok(record)), Ok(len)) = (checked, u32::try_from(len)) else { return self.skip_to_candidate() };
        let place = record.what().map(|what| Place { offset, len, recording: record.recording, what });
        self.offset += u64::from(len);
        Step::Record(place)
    }

    /// Steps over zeros, or to the next byte with which a record could begin; never farther than to the next grain.
    fn skip_to_candidate(&mut self) -> Step {
        let offset = self.offset;
        if offset.is_multiple_of(GRAIN) {
            let hole_end = self.file.hole_end(offset) / GRAIN * GRAIN;
            if hole_end > offset {
                return self.skip_zeros(hole_end - offset);
            }
        }
        let to_grain = GRAIN - offset % GRAIN;
        let Ok(rest) = self.view(offset, to_grain as usize) else { return self.skip(to_grain) };
        if rest.len() as u64 == GRAIN && rest.iter().all(|byte| *byte == 0) {
            return self.skip_zeros(GRAIN);
        }
        let candidate = rest.iter().skip(1).position(|byte| *byte == RECORD_MAGIC[0]);
        let bytes = candidate.map_or(rest.len(), |at| at + 1);
        self.skip(bytes as u64)
    }

    fn skip_zeros(&mut self, bytes: u64) -> Step {
        self.gap.get_or_insert(Gap::at(self.offset)).has_zeros = true;
        self.offset += bytes;
        Step::Skipped
    }

    /// Steps over what is neither record nor hole, within one grain.
    fn skip(&mut self, bytes: u64) -> Step {
        let gap = self.gap.get_or_insert(Gap::at(self.offset));
        self.offset += bytes;
        gap.has_noise |= self.offset.is_multiple_of(GRAIN) && gap.from + GRAIN <= self.offset;
        Step::Skipped
    }

    /// Up to `len` bytes at `offset`; fewer at the end of the file.
    fn view(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside = |window_at: u64, window: &[u8]| {
            let start = usize::try_from(offset.checked_sub(window_at)?).ok()?;
            (start + len <= window.len()).then_some(start)
        };
        if let Some(start) = inside(self.window_at, &self.window) {
            return Ok(&self.window[start..start + len]);
        }
        // One bad sector must not hide its neighbours: read again just what is asked for.
        if self.fill(offset, len.max(CHUNK_BYTES)).is_err() {
            self.fill(offset, len)?;
        }
        Ok(&self.window[..len.min(self.window.len())])
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        self.window.clear();
        self.window_at = offset;
        // Grown with what is there, not with what a damaged length claims.
        while self.window.len() < len {
            let (had, more) = (self.window.len(), CHUNK_BYTES.min(len - self.window.len()));
            self.window.resize(had + more, 0);
            let read = self.file.read_at(&mut self.window[had..], offset + had as u64);
            self.window.truncate(had + *read.as_ref().unwrap_or(&0));
            if read? < more {
                break;
            }
        }
        Ok(())
    }
}

/// A range without any whole record.
struct Gap {
    from: u64,
    /// A whole grain in it is zeros.
    has_zeros: bool,
    /// A whole grain in it is not.
    has_noise: bool,
}

impl Gap {
    fn at(from: u64) -> Gap {
        Gap { from, has_zeros: false, has_noise: false }
    }

    fn is_hole(&self) -> bool {
        self.has_zeros && !self.has_noise
    }
}

enum Step {
    /// A whole record; none inside when its kind is not known to this version.
    Record(Option<Place>),
    Skipped,
    End,
}

impl Iterator for Scan<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(place) = self.next.take() {
            return Some(Found::Record(place));
        }
        loop {
            let before = self.offset;
            let step = self.step();
            let place = match step {
                Step::Skipped => continue,
                Step::Record(place) => place,
                Step::End => None,
            };
            if let Some(gap) = self.gap.take().filter(|gap| !gap.is_hole()) {
                self.next = place;
                return Some(Found::Damaged(gap.from..before.min(self.end)));
            }
            match (place, step) {
                (Some(place), _) => return Some(Found::Record(place)),
                (None, Step::End) => return None,
                (None, _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::seal::{Algorithm, SealingKey};
    use super::super::segment::tests::any_block;
    use super::super::segment::{self, push_description};
    use super::*;
    use crate::model::{BLOCK_BYTES, Block, BlockNo, LegNo, Run};

    /// A file in memory, one range of which cannot be read.
    struct Memory(Vec<u8>, Range<u64>);

    impl ReadAt for Memory {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let end = offset + buffer.len() as u64;
            if offset < self.1.end && end > self.1.start {
                return Err(io::Error::from_raw_os_error(5)); // EIO
            }
            let rest = usize::try_from(offset).ok().and_then(|o| self.0.get(o..)).unwrap_or(&[]);
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn hole_end(&self, offset: u64) -> u64 {
            offset
        }
    }

    fn push_block(out: &mut Vec<u8>, block: &Block) {
        segment::push_block(out, block, &SealingKey::new(Algorithm::ChaCha20Poly1305, &[1; 32]), [5; 12]).unwrap();
    }

    fn scan(bytes: &[u8]) -> Vec<Found> {
        Scan::new(&Memory(bytes.to_vec(), 0..0), 0, bytes.len() as u64).collect()
    }

    fn short_block(no: u64, number: u32) -> Block {
        let runs = [Run { start: 0, len: 3 }, Run { start: 9, len: 8 }].into_iter().collect();
        let (leg, law) = (LegNo(0), crate::model::block::Law::Pcma);
        let samples = Box::new([u8::try_from(number).unwrap(); BLOCK_BYTES]);
        Block { recording: RecordingNo(no), leg, number: BlockNo(number), law, runs, samples }
    }

    /// Three blocks and a description; with the boundaries of the records.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for number in 0..3 {
            push_block(&mut bytes, &short_block(4, number));
            ends.push(bytes.len());
        }
        push_description(&mut bytes, RecordingNo(4), br#"{"no":4}"#).unwrap();
        ends.push(bytes.len());
        (bytes, ends)
    }

    #[test]
    fn every_flipped_bit_costs_no_more_than_its_record() {
        let (bytes, ends) = sample();
        let whole = scan(&bytes);
        assert_eq!(whole.len(), 4);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let touched = ends.iter().filter(|end| **end <= bit / 8).count() - 1;
            let mut expected = whole.clone();
            expected[touched] = Found::Damaged(ends[touched] as u64..ends[touched + 1] as u64);
            assert_eq!(scan(&flipped), expected, "bit {bit}");
        }
    }

    #[test]
    fn a_tail_torn_anywhere_leaves_what_is_before_it() {
        let (bytes, ends) = sample();
        let whole = scan(&bytes);
        for cut in 0..bytes.len() {
            let records = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut expected = whole[..records].to_vec();
            if ends[records] < cut {
                expected.push(Found::Damaged(ends[records] as u64..cut as u64));
            }
            assert_eq!(scan(&bytes[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_unreadable_sector_costs_the_records_in_it() {
        let mut bytes = Vec::new();
        (0..100).for_each(|number| push_block(&mut bytes, &short_block(1, number)));
        let (length, file) = (bytes.len() as u64, Memory(bytes, 1_024..1_030));
        let found: Vec<Found> = Scan::new(&file, 0, length).collect();
        let records = found.iter().filter(|f| matches!(f, Found::Record(_))).count();
        assert!((14..99).contains(&records), "those before the sector and those after it, but {records} of 100");
        let damaged: Vec<_> = found.iter().filter(|f| matches!(f, Found::Damaged(_))).collect();
        assert!(matches!(damaged[..], [Found::Damaged(range)] if range.contains(&1_024)), "{damaged:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_at_all_ends_where_it_ended() {
        let file = Memory(Vec::new(), 0..u64::MAX);
        let found: Vec<Found> = Scan::new(&file, 52, 10_000).collect();
        assert_eq!(found, [Found::Damaged(52..10_000)]);
    }

    #[test]
    fn records_of_a_later_version_are_passed_over() {
        let (mut bytes, ends) = sample();
        bytes[ends[1] + 4] = 77; // its kind
        let crc = crc32c::crc32c(&bytes[ends[1]..ends[2] - 4]).to_be_bytes();
        bytes[ends[2] - 4..ends[2]].copy_from_slice(&crc);
        let found = scan(&bytes);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|f| matches!(f, Found::Record(_))));
    }

    #[test]
    fn a_hole_is_no_damage_and_hides_none() {
        let mut bytes = Vec::new();
        (0..=255).for_each(|number| push_block(&mut bytes, &short_block(1, number)));
        assert!(bytes.len() > 10_000);
        let whole = scan(&bytes);
        bytes[4_096..8_192].fill(0);
        let around = scan(&bytes);
        assert!(around.iter().all(|found| whole.contains(found)), "{around:?}");
        assert!((195..205).contains(&around.len()), "{} of 256 records", around.len());
        bytes[6_000] = 1;
        let damaged = scan(&bytes).into_iter().filter(|found| !around.contains(found)).collect::<Vec<_>>();
        assert!(matches!(&damaged[..], [Found::Damaged(range)] if range.contains(&6_000)), "{damaged:?}");
        bytes[6_000] = 0;
        bytes[5_000..8_000].fill(9);
        bytes.extend_from_slice(&[0; 8_192]);
        assert_eq!(
            scan(&bytes).iter().filter(|found| matches!(found, Found::Damaged(_))).count(),
            1,
            "zeros behind the end are none"
        );
    }

    proptest! {
        #[test]
        fn noise_between_records_is_stepped_over(blocks in proptest::collection::vec((any_block(), any::<Vec<u8>>()), 0..6)) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (block, noise) in &blocks {
                if !noise.is_empty() {
                    let from = bytes.len() as u64;
                    bytes.extend_from_slice(noise);
                    expected.push(Found::Damaged(from..bytes.len() as u64));
                }
                let offset = bytes.len() as u64;
                push_block(&mut bytes, block);
                let len = u32::try_from(bytes.len() as u64 - offset).unwrap();
                let what = super::What::Block { leg: block.leg, number: block.number };
                expected.push(Found::Record(Place { offset, len, recording: block.recording, what }));
            }
            prop_assert_eq!(scan(&bytes), expected);
        }
    }
}
