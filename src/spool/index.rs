//! The index of one commit: where each record of it stands. The ledger's value for a commit, made small, because it is what
//! the ledger writes twice a second.
//!
//! The records of a commit follow each other in one segment, so the place of the first and the length of each say all:
//!
//! ```text
//! segment  offset  { recording  records' length  entries' length  { what  [block number]  length } … } …
//! ```
//!
//! Records of one recording that follow each other make a group, so that who looks for one recording among hundreds skips
//! the others. `what` is 0 for a description, or for a block its leg plus 1. All numbers are LEB128, `recording` as the zigzag
//! distance from the group before. A block takes about 7 bytes for its 4,000.

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
        let (mut last, mut group) = (0, Vec::new());
        for entries in self.entries.chunk_by(|one, next| one.recording == next.recording) {
            let [Entry { recording, .. }, ..] = entries else { continue }; // no chunk is empty
            let delta = recording.0.wrapping_sub(last).cast_signed();
            last = recording.0;
            group.clear();
            entries.iter().for_each(|entry| entry.push_to(&mut group));
            push_varint(&mut out, ((delta << 1) ^ (delta >> 63)).cast_unsigned());
            push_varint(&mut out, entries.iter().map(|entry| u64::from(entry.len)).sum());
            push_varint(&mut out, group.len() as u64);
            out.extend_from_slice(&group);
        }
        out
    }

    /// Reads what [`CommitIndex::encode`] wrote; none when it is anything else.
    pub fn decode(bytes: &[u8]) -> Option<CommitIndex> {
        let mut groups = Groups::of(bytes)?;
        let (segment, offset) = (groups.segment, groups.offset);
        let mut entries = Vec::new();
        while !groups.rest.is_empty() {
            let group = groups.next()?;
            group.each(|entry| entries.push(entry))?;
        }
        Some(CommitIndex { segment, offset, entries })
    }

    /// Calls `visit` with segment and place of each record of `wanted` in an encoded index; none when that is damaged.
    pub fn visit_places_of(bytes: &[u8], wanted: RecordingNo, mut visit: impl FnMut(SegmentNo, Place)) -> Option<()> {
        let mut groups = Groups::of(bytes)?;
        while !groups.rest.is_empty() {
            let group = groups.next()?;
            if group.recording != wanted {
                continue;
            }
            let mut offset = group.offset;
            group.each(|Entry { recording, what, len }| {
                visit(groups.segment, Place { offset, len, recording, what });
                offset += u64::from(len); // all of a group ends below u64::MAX
            })?;
        }
        Some(())
    }
}

impl Entry {
    fn push_to(&self, out: &mut Vec<u8>) {
        match self.what {
            What::Description => out.push(0),
            What::Block { leg, number } => {
                push_varint(out, u64::from(leg.0) + 1);
                push_varint(out, u64::from(number.0));
            }
        }
        push_varint(out, u64::from(self.len));
    }
}

/// Goes through an encoded index.
struct Groups<'a> {
    segment: SegmentNo,
    /// First byte of the next record.
    offset: u64,
    last: u64,
    rest: &'a [u8],
}

struct Group<'a> {
    recording: RecordingNo,
    offset: u64,
    length: u64,
    entries: &'a [u8],
}

impl<'a> Groups<'a> {
    fn of(mut bytes: &'a [u8]) -> Option<Groups<'a>> {
        let (segment, offset) = (SegmentNo(varint(&mut bytes)?), varint(&mut bytes)?);
        (offset < u64::MAX).then_some(Groups { segment, offset, last: 0, rest: bytes })
    }

    fn next(&mut self) -> Option<Group<'a>> {
        let zigzag = varint(&mut self.rest)?;
        self.last = self.last.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg());
        let (offset, length) = (self.offset, varint(&mut self.rest)?);
        self.offset = offset.checked_add(length).filter(|end| *end < u64::MAX)?;
        let entries = usize::try_from(varint(&mut self.rest)?).ok()?;
        let (entries, rest) = self.rest.split_at_checked(entries)?;
        self.rest = rest;
        Some(Group { recording: RecordingNo(self.last), offset, length, entries })
    }
}

impl Group<'_> {
    /// Reads its entries; none when they are damaged, or not as long as it says.
    fn each(&self, mut visit: impl FnMut(Entry)) -> Option<()> {
        let (mut bytes, mut left) = (self.entries, self.length);
        while !bytes.is_empty() {
            let what = match varint(&mut bytes)? {
                0 => What::Description,
                leg => What::Block {
                    leg: LegNo(u8::try_from(leg - 1).ok()?),
                    number: BlockNo(u32::try_from(varint(&mut bytes)?).ok()?),
                },
            };
            let len = u32::try_from(varint(&mut bytes)?).ok()?;
            left = left.checked_sub(u64::from(len))?;
            visit(Entry { recording: self.recording, what, len });
        }
        (left == 0).then_some(())
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
        let no = prop_oneof![any::<u64>(), 0..3_u64];
        (no, proptest::option::of((any::<u8>(), any::<u32>())), any::<u32>()).prop_map(|(no, block, len)| {
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
            for wanted in index.entries.iter().map(|entry| entry.recording).collect::<std::collections::BTreeSet<_>>() {
                let (mut found, expected) = (Vec::new(), index.places().filter(|place| place.recording == wanted));
                let visit = |no, place| found.push((no, place));
                prop_assert_eq!(CommitIndex::visit_places_of(&index.encode(), wanted, visit), Some(()));
                prop_assert_eq!(found, expected.map(|place| (index.segment, place)).collect::<Vec<_>>());
            }
        }

        #[test]
        fn any_value_is_read_without_a_panic(bytes: Vec<u8>) {
            if let Some(index) = CommitIndex::decode(&bytes) {
                prop_assert_eq!(index.places().count(), index.entries.len());
            }
            let _ = CommitIndex::visit_places_of(&bytes, RecordingNo(0), |_, _| {});
        }
    }

    #[test]
    fn a_block_of_a_long_call_takes_seven_bytes() {
        let entry = |no, number| Entry {
            recording: RecordingNo(no),
            what: What::Block { leg: LegNo(1), number: BlockNo(number) },
            len: 4_032,
        };
        let entries: Vec<Entry> = (0..400).map(|n| entry(10_000 + n / 2, 7_200)).collect();
        let encoded = CommitIndex { segment: SegmentNo(900), offset: 60_000_000, entries }.encode();
        assert!(encoded.len() <= 7 * 400 + 16, "{} bytes", encoded.len());
    }
}
