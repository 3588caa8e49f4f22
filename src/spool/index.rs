//! The index of one commit: where each record of it stands. The ledger's value for a commit, made small, because it is what
//! the ledger writes twice a second.
//!
//! The records of a commit follow each other in one segment, so the place of the first and the length of each say all:
//!
//! ```text
//! segment  offset  { recording  kind  [leg  block number]  length } …
//! ```
//!
//! `kind` (0 description, 1 block) and `leg` are a byte each; all else is LEB128, `recording` the zigzag distance from the
//! entry before. A block takes about 8 bytes for its 4,000.

use super::scan::Place;
use super::segment::{SegmentNo, What};
use crate::model::{BlockNo, LegNo, RecordingNo};

/// A commit: records that follow each other in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitIndex {
    /// The segment they stand in.
    pub segment: SegmentNo,
    /// First byte of the first.
    pub offset: u64,
    /// The records in turn.
    pub entries: Vec<Entry>,
}

/// A record of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub recording: RecordingNo,
    /// What it is about.
    pub what: What,
    /// Length of the whole record, in bytes.
    pub len: u32,
}

impl CommitIndex {
    /// The records with their places, in the order of writing.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.entries.iter().scan(self.offset, |offset, entry| {
            let place = Place { offset: *offset, len: entry.len, recording: entry.recording, what: entry.what };
            *offset += u64::from(entry.len);
            Some(place)
        })
    }

    /// First byte after the last record.
    pub fn end(&self) -> u64 {
        self.entries.iter().fold(self.offset, |end, entry| end.saturating_add(u64::from(entry.len)))
    }

    /// As it stands in the ledger.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + 10 * self.entries.len());
        push_varint(&mut out, self.segment.0);
        push_varint(&mut out, self.offset);
        let mut last = 0;
        for entry in &self.entries {
            let delta = entry.recording.0.wrapping_sub(last).cast_signed();
            push_varint(&mut out, ((delta << 1) ^ (delta >> 63)).cast_unsigned());
            last = entry.recording.0;
            match entry.what {
                What::Description => out.push(0),
                What::Block { leg, number } => {
                    out.extend_from_slice(&[1, leg.0]);
                    push_varint(&mut out, u64::from(number.0));
                }
            }
            push_varint(&mut out, u64::from(entry.len));
        }
        out
    }

    /// Reads what [`CommitIndex::encode`] wrote; none when it is anything else.
    pub fn decode(mut bytes: &[u8]) -> Option<CommitIndex> {
        let segment = SegmentNo(varint(&mut bytes)?);
        let offset = varint(&mut bytes)?;
        let (mut entries, mut last) = (Vec::new(), 0_u64);
        while !bytes.is_empty() {
            let zigzag = varint(&mut bytes)?;
            last = last.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg());
            let what = match byte(&mut bytes)? {
                0 => What::Description,
                1 => What::Block { leg: LegNo(byte(&mut bytes)?), number: BlockNo(u32::try_from(varint(&mut bytes)?).ok()?) },
                _ => return None,
            };
            let len = u32::try_from(varint(&mut bytes)?).ok()?;
            entries.push(Entry { recording: RecordingNo(last), what, len });
        }
        let index = CommitIndex { segment, offset, entries };
        (index.end() < u64::MAX).then_some(index)
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80); // seven bits
        value >>= 7;
    }
    out.push(value as u8); // below 0x80
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7F) << shift;
        if next & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        (any::<u64>(), proptest::option::of((any::<u8>(), any::<u32>())), any::<u32>()).prop_map(|(no, block, len)| {
            let what = match block {
                Some((leg, number)) => What::Block { leg: LegNo(leg), number: BlockNo(number) },
                None => What::Description,
            };
            Entry { recording: RecordingNo(no), what, len }
        })
    }

    proptest! {
        #[test]
        fn an_index_comes_back_as_it_was(segment: u64, offset: u32, entries in proptest::collection::vec(any_entry(), 0..50)) {
            let index = CommitIndex { segment: SegmentNo(segment), offset: u64::from(offset), entries };
            prop_assert_eq!(CommitIndex::decode(&index.encode()), Some(index.clone()));
            let last = index.places().last().map_or(index.offset, |place| place.offset + u64::from(place.len));
            prop_assert_eq!(last, index.end());
        }

        #[test]
        fn any_value_is_read_without_a_panic(bytes: Vec<u8>) {
            if let Some(index) = CommitIndex::decode(&bytes) {
                prop_assert_eq!(index.places().count(), index.entries.len());
            }
        }
    }

    #[test]
    fn a_block_of_a_long_call_takes_eight_bytes() {
        let entry = |no, number| Entry {
            recording: RecordingNo(no),
            what: What::Block { leg: LegNo(1), number: BlockNo(number) },
            len: 4_032,
        };
        let entries: Vec<Entry> = (0..400).map(|n| entry(10_000 + n / 2, 7_200)).collect();
        let encoded = CommitIndex { segment: SegmentNo(900), offset: 60_000_000, entries }.encode();
        assert!(encoded.len() <= 8 * 400, "{} bytes", encoded.len());
    }
}
