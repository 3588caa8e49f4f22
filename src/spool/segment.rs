//! The segment file: append-only, written once, deleted as a whole. Every record describes itself, so that a ledger can be
//! rebuilt from segments alone and damage costs no more than the records it touches.
//!
//! All numbers are big-endian. A file `segment-0000000001.nseg` is a header and then records until its end:
//!
//! ```text
//!  header, 52 bytes                                 record
//! ┌──────────────────────┐                         ┌──────────────────────┐
//! │ "NEARSEG"          7 │                         │ F1 9E C0 DE        4 │ no UTF-8, so never inside a description
//! │ format version     1 │ 1                       │ kind               1 │ 1 block, 3 description
//! │ spool id          16 │ random, per spool       │ header length      1 │ from the magic to before the payload
//! │ segment number     8 │ as in the name          │ payload length     4 │
//! │ next recording     8 │ no number below is free │ recording number   8 │
//! │ first commit       8 │ the ledger had all      ├──────────────────────┤ a block has in addition:
//! │ CRC-32C            4 │ commits below           │ leg                1 │
//! └──────────────────────┘                         │ law                1 │ 0 µ-law, 1 A-law
//!                                                  │ block number       4 │
//!                                                  │ runs: start, length  │ 2 + 2 each; as many as the header has room for
//!                                                  ├──────────────────────┤
//!                                                  │ payload: nonce    12 │
//!                                                  │   sealed             │ block: the bytes of all runs in turn
//!                                                  │                      │ description: `model::Recording` as JSON, deflated
//!                                                  │   tag             16 │ of all before it, from the magic on
//!                                                  │ CRC-32C            4 │ of all before it, from the magic on
//!                                                  └──────────────────────┘
//! ```
//!
//! "Next recording" and "first commit" are what must outlive a lost ledger although no record may say it any longer: which
//! recording numbers were used, and how far a ledger must reach not to be an outdated one. Records of an unknown kind are
//! skipped. The CRC is over the bytes on the disk, so damage is found without any key; the tag tells that nobody changed
//! what the record says of itself ([`super::seal`]).

use std::{fmt, io};

use heapless::Vec as Fixed;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use super::seal::{Nonce, SEAL_BYTES, SealingKey};
use crate::model::block::{Law, MAX_RUNS};
use crate::model::{BLOCK_BYTES, Block, BlockNo, LegNo, RecordingNo, Run, StoredBlock};

/// Length of a segment's header.
pub const HEADER_BYTES: usize = 52;

/// The bytes of a record that tell its length.
pub const PREFIX_BYTES: usize = 10;

const HEADER_MAGIC: &[u8; 8] = b"NEARSEG\x01"; // the last byte is the format version
pub(super) const RECORD_MAGIC: [u8; 4] = [0xF1, 0x9E, 0xC0, 0xDE];
const COMMON_BYTES: usize = 18;
const CRC_BYTES: usize = 4;
const KIND_BLOCK: u8 = 1;
const KIND_DESCRIPTION: u8 = 3; // 2 was not deflated

/// The fastest: more saves a twentieth of the length.
const DEFLATE_LEVEL: u8 = 1;

/// What a description may inflate to; only this box can have sealed it.
const LONGEST_JSON: usize = 64 * 1024 * 1024;

/// Number of a segment file, from 1, never used twice in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u64);

impl SegmentNo {
    /// The name of the file.
    pub fn file_name(self) -> String {
        format!("segment-{:010}.nseg", self.0)
    }

    /// The number in a file name, if it is one of ours.
    pub fn from_file_name(name: &str) -> Option<SegmentNo> {
        let number = SegmentNo(name.strip_prefix("segment-")?.strip_suffix(".nseg")?.parse().ok()?);
        (number.file_name() == name).then_some(number)
    }
}

impl fmt::Display for SegmentNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What tells one spool from another, so that a ledger or a segment that was copied in is not taken for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolId(pub u128);

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The spool it belongs to.
    pub spool: SpoolId,
    /// Its number.
    pub segment: SegmentNo,
    /// The least recording number that was not used when it was begun.
    pub next_recording: RecordingNo,
    /// Number of the first commit that may stand in it; the ledger had all before.
    pub first_commit: u64,
}

impl Header {
    /// The header as it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(HEADER_MAGIC);
        out.extend_from_slice(&self.spool.0.to_be_bytes());
        out.extend_from_slice(&self.segment.0.to_be_bytes());
        out.extend_from_slice(&self.next_recording.0.to_be_bytes());
        out.extend_from_slice(&self.first_commit.to_be_bytes());
        push_crc(&mut out, 0);
        out
    }

    /// Reads a header; none when it is damaged, or of a format version that is not known.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let mut rest = without_crc(bytes.get(..HEADER_BYTES)?)?;
        if &take::<8>(&mut rest)? != HEADER_MAGIC {
            return None;
        }
        Some(Header {
            spool: SpoolId(u128::from_be_bytes(take(&mut rest)?)),
            segment: SegmentNo(u64::from_be_bytes(take(&mut rest)?)),
            next_recording: RecordingNo(u64::from_be_bytes(take(&mut rest)?)),
            first_commit: u64::from_be_bytes(take(&mut rest)?),
        })
    }
}

/// What a record is about, beside its recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A part of a block.
    Block {
        /// Which leg.
        leg: LegNo,
        /// Which half-second.
        number: BlockNo,
    },
    /// The description of the recording as it was then.
    Description,
}

/// A record whose CRC holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Whose it is.
    pub recording: RecordingNo,
    header: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The length of the record that begins with `prefix`; none when no record can begin so.
    pub fn length(prefix: &[u8]) -> Option<usize> {
        let rest = prefix.strip_prefix(&RECORD_MAGIC)?;
        let (&[_kind, header, a, b, c, d], _) = rest.split_first_chunk::<6>()?;
        let payload = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        if usize::from(header) < COMMON_BYTES {
            return None;
        }
        payload.checked_add(usize::from(header) + CRC_BYTES)
    }

    /// Checks the bytes of exactly one record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(bytes: &'a [u8]) -> Result<Record<'a>, &'static str> {
        if Record::length(bytes) != Some(bytes.len()) {
            return Err("no record of the expected length begins here");
        }
        let body = without_crc(bytes).ok_or("the CRC does not match")?;
        let (header, payload) = body.split_at_checked(usize::from(bytes[5])).ok_or("the header is longer than the record")?;
        let number = take(&mut &header[PREFIX_BYTES..]).ok_or("the header is too short")?;
        Ok(Record { recording: RecordingNo(u64::from_be_bytes(number)), header, payload })
    }

    /// What it is about; none when it is of a kind that a later version writes, or makes no sense.
    pub fn what(&self) -> Option<What> {
        match self.header[4] {
            KIND_BLOCK => {
                let &[leg, _law, a, b, c, d] = self.own_header().first_chunk::<6>()?;
                Some(What::Block { leg: LegNo(leg), number: BlockNo(u32::from_be_bytes([a, b, c, d])) })
            }
            KIND_DESCRIPTION => Some(What::Description),
            _ => None,
        }
    }

    /// The description as it was sealed, if it is one; see [`open_description`].
    pub fn description(&self) -> Option<&'a [u8]> {
        (self.what() == Some(What::Description)).then_some(self.payload)
    }

    /// Opens the block.
    ///
    /// # Errors
    /// When it is no block, was sealed with another key, or does not fit what its header says.
    pub fn block(&self, key: &SealingKey) -> Result<StoredBlock, &'static str> {
        let bytes = key.open(self.header, self.payload).ok_or("the record was sealed with another key")?;
        self.open_block(bytes).ok_or("the record is not a block")
    }

    fn open_block(&self, bytes: Vec<u8>) -> Option<StoredBlock> {
        let Some(What::Block { leg, number }) = self.what() else { return None };
        let law = match self.own_header().get(1)? {
            0 => Law::Pcmu,
            1 => Law::Pcma,
            _ => return None,
        };
        let (mut runs, mut end, mut total) = (Fixed::new(), 0, 0);
        for run in self.own_header().get(6..)?.chunks(4) {
            let &[a, b, c, d] = run.first_chunk::<4>()?;
            let run = Run { start: u16::from_be_bytes([a, b]), len: u16::from_be_bytes([c, d]) };
            if usize::from(run.start) < end {
                return None;
            }
            end = usize::from(run.start) + usize::from(run.len);
            total += usize::from(run.len);
            runs.push(run).ok()?;
        }
        let fits = end <= BLOCK_BYTES && total == bytes.len();
        fits.then_some(StoredBlock { leg, number, law, runs, bytes })
    }

    /// What only records of this kind say.
    fn own_header(&self) -> &'a [u8] {
        &self.header[COMMON_BYTES..] // it was long enough when it was checked
    }
}

/// Length of the record that [`push_block`] makes; a run beyond the block counts all the same.
pub fn block_bytes(block: &Block) -> usize {
    let audio: usize = block.runs.iter().map(|run| usize::from(run.len)).sum();
    COMMON_BYTES + 6 + 4 * block.runs.len() + SEAL_BYTES + audio + CRC_BYTES
}

/// Length of the record that [`push_description`] makes.
pub fn description_bytes(sealed: &[u8]) -> usize {
    COMMON_BYTES + sealed.len() + CRC_BYTES
}

/// Appends the record of a block, sealed in place; a run that reaches beyond the block is left out.
///
/// # Errors
/// None that a block could cause.
pub fn push_block(out: &mut Vec<u8>, block: &Block, key: &SealingKey, nonce: Nonce) -> io::Result<()> {
    let mut own: Fixed<u8, { 6 + 4 * MAX_RUNS }> = Fixed::new();
    let _ = own.push(block.leg.0); // `own` has room for the six bytes and MAX_RUNS runs, the most a block has
    let _ = own.push(match block.law {
        Law::Pcmu => 0,
        Law::Pcma => 1,
    });
    let _ = own.extend_from_slice(&block.number.0.to_be_bytes());
    let kept = || block.runs.iter().filter_map(|run| Some((run, bytes_of(block, *run)?)));
    let mut payload = SEAL_BYTES as u32;
    for (run, bytes) in kept() {
        let _ = own.extend_from_slice(&run.start.to_be_bytes());
        let _ = own.extend_from_slice(&run.len.to_be_bytes());
        payload += u32::try_from(bytes.len()).unwrap_or(0); // at most BLOCK_BYTES
    }
    let start = push_header(out, KIND_BLOCK, block.recording, payload, &own);
    key.seal(out, start, nonce, |out| kept().for_each(|(_, bytes)| out.extend_from_slice(bytes)))?;
    push_crc(out, start);
    Ok(())
}

/// Deflates (RFC 1951) and seals a description, the same for segment and ledger. A third of its length is left: names of keys, and
/// identifiers that come again and again.
///
/// # Errors
/// When `json` is near 4 GiB.
pub fn seal_description(recording: RecordingNo, json: &[u8], key: &SealingKey, nonce: Nonce) -> io::Result<Vec<u8>> {
    let deflated = compress_to_vec(json, DEFLATE_LEVEL);
    let mut out = Vec::with_capacity(COMMON_BYTES + SEAL_BYTES + deflated.len());
    push_description_header(&mut out, recording, deflated.len() + SEAL_BYTES)?;
    key.seal(&mut out, 0, nonce, |out| out.extend_from_slice(&deflated))?;
    Ok(out.split_off(COMMON_BYTES))
}

/// The JSON of a sealed description; none when it is another's, or damaged.
pub fn open_description(recording: RecordingNo, sealed: &[u8], key: &SealingKey) -> Option<Vec<u8>> {
    let mut header = Vec::with_capacity(COMMON_BYTES);
    push_description_header(&mut header, recording, sealed.len()).ok()?;
    decompress_to_vec_with_limit(&key.open(&header, sealed)?, LONGEST_JSON).ok()
}

/// Appends the record of a sealed description.
///
/// # Errors
/// When it is over 4 GiB.
pub fn push_description(out: &mut Vec<u8>, recording: RecordingNo, sealed: &[u8]) -> io::Result<()> {
    let start = push_description_header(out, recording, sealed.len())?;
    out.extend_from_slice(sealed);
    push_crc(out, start);
    Ok(())
}

fn push_description_header(out: &mut Vec<u8>, recording: RecordingNo, payload: usize) -> io::Result<usize> {
    let payload = u32::try_from(payload)
        .map_err(|_| io::Error::other(format!("the description of recording {recording} is over 4 GiB")))?;
    Ok(push_header(out, KIND_DESCRIPTION, recording, payload, &[]))
}

fn bytes_of(block: &Block, run: Run) -> Option<&[u8]> {
    block.samples.get(usize::from(run.start)..usize::from(run.start) + usize::from(run.len))
}

fn push_header(out: &mut Vec<u8>, kind: u8, recording: RecordingNo, payload: u32, own: &[u8]) -> usize {
    let start = out.len();
    out.extend_from_slice(&RECORD_MAGIC);
    out.push(kind);
    out.push(u8::try_from(COMMON_BYTES + own.len()).unwrap_or(u8::MAX)); // at most 18 + 6 + 4 * 32 = 152
    out.extend_from_slice(&payload.to_be_bytes());
    out.extend_from_slice(&recording.0.to_be_bytes());
    out.extend_from_slice(own);
    start
}

fn push_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// `bytes` without the CRC at their end, if that holds.
fn without_crc(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    (crc32c::crc32c(body) == u32::from_be_bytes(*crc)).then_some(body)
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*chunk)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::seal::Algorithm;
    use super::super::seal::tests::BOTH;
    use super::*;

    /// Any block whose runs are ascending and do not touch.
    pub(crate) fn any_block() -> impl Strategy<Value = Block> {
        let cuts = proptest::collection::btree_set(0..=BLOCK_BYTES, 0..2 * MAX_RUNS);
        (any::<u64>(), any::<u8>(), any::<u32>(), any::<bool>(), cuts, any::<u8>()).prop_map(
            |(no, leg, number, ulaw, cuts, seed)| {
                let cuts: Vec<u16> = cuts.into_iter().map(|c| u16::try_from(c).unwrap()).collect();
                let runs = cuts.chunks_exact(2).map(|pair| Run { start: pair[0], len: pair[1] - pair[0] }).collect();
                let law = if ulaw { Law::Pcmu } else { Law::Pcma };
                let samples = (0..BLOCK_BYTES).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect();
                Block { recording: RecordingNo(no), leg: LegNo(leg), number: BlockNo(number), law, runs, samples }
            },
        )
    }

    /// What the spool must give back for `block`.
    pub(crate) fn stored(block: &Block) -> StoredBlock {
        let bytes =
            block.runs.iter().flat_map(|r| &block.samples[usize::from(r.start)..][..usize::from(r.len)]).copied().collect();
        StoredBlock { leg: block.leg, number: block.number, law: block.law, runs: block.runs.clone(), bytes }
    }

    proptest! {
        #[test]
        fn a_block_comes_back_as_it_was(block in any_block()) {
            for algorithm in BOTH {
                let (key, other) = (SealingKey::new(algorithm, &[1; 32]), SealingKey::new(algorithm, &[2; 32]));
                let mut bytes = vec![7; 3];
                push_block(&mut bytes, &block, &key, [5; 12]).unwrap();
                prop_assert_eq!(bytes.len() - 3, block_bytes(&block));
                let record = Record::check(&bytes[3..]).unwrap();
                prop_assert_eq!(record.recording, block.recording);
                prop_assert_eq!(record.what(), Some(What::Block { leg: block.leg, number: block.number }));
                prop_assert_eq!(record.block(&key), Ok(stored(&block)));
                prop_assert_eq!(record.block(&other), Err("the record was sealed with another key"));
                prop_assert_eq!(record.description(), None);
            }
        }

        #[test]
        fn a_changed_record_is_refused_even_if_its_crc_is_right(block in any_block(), at: prop::sample::Index, flip in 1..=u8::MAX) {
            let key = SealingKey::new(Algorithm::ChaCha20Poly1305, &[1; 32]);
            let mut bytes = Vec::new();
            push_block(&mut bytes, &block, &key, [5; 12]).unwrap();
            bytes.truncate(bytes.len() - CRC_BYTES);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            push_crc(&mut bytes, 0);
            prop_assert!(Record::check(&bytes).and_then(|record| record.block(&key)).is_err());
        }

        #[test]
        fn a_description_comes_back_as_it_was(no: u64, json: Vec<u8>) {
            let key = SealingKey::new(Algorithm::ChaCha20Poly1305, &[1; 32]);
            let no = RecordingNo(no);
            let sealed = seal_description(no, &json, &key, [5; 12]).unwrap();
            let mut bytes = Vec::new();
            push_description(&mut bytes, no, &sealed).unwrap();
            prop_assert_eq!(bytes.len(), description_bytes(&sealed));
            let record = Record::check(&bytes).unwrap();
            prop_assert_eq!(record.description(), Some(sealed.as_slice()));
            prop_assert_eq!((record.recording, record.what()), (no, Some(What::Description)));
            prop_assert_eq!(record.block(&key), Err("the record is not a block"));
            prop_assert_eq!(open_description(no, &sealed, &key), Some(json));
            prop_assert_eq!(open_description(RecordingNo(no.0 ^ 1), &sealed, &key), None);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>, own: Vec<u8>, kind: u8, payload: Vec<u8>) {
            let _ = (Header::parse(&bytes), Record::check(&bytes));
            // Right by its CRC but senseless: another version wrote it, or somebody who means harm.
            let own = &own[..own.len().min(200)];
            let key = SealingKey::new(Algorithm::ChaCha20Poly1305, &[1; 32]);
            let mut record = Vec::new();
            push_header(&mut record, kind, RecordingNo(1), u32::try_from(payload.len() + SEAL_BYTES).unwrap(), own);
            key.seal(&mut record, 0, [5; 12], |out| out.extend_from_slice(&payload)).unwrap();
            push_crc(&mut record, 0);
            let checked = Record::check(&record).unwrap();
            let _ = (checked.what(), checked.block(&key), checked.description());
        }

        #[test]
        fn a_header_comes_back_and_a_flipped_one_does_not(id: u128, segment: u64, next: u64, first_commit: u64, bit in 0..HEADER_BYTES * 8) {
            let header =
                Header { spool: SpoolId(id), segment: SegmentNo(segment), next_recording: RecordingNo(next), first_commit };
            let mut bytes = header.encode();
            prop_assert_eq!(bytes.len(), HEADER_BYTES);
            prop_assert_eq!(Header::parse(&bytes), Some(header));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::parse(&bytes), None);
        }
    }

    #[test]
    fn runs_beyond_the_block_are_left_out() {
        let runs = [Run { start: 10, len: 2 }, Run { start: 3_999, len: 2 }].into_iter().collect();
        let (recording, leg, number, law) = (RecordingNo(1), LegNo(0), BlockNo(0), Law::Pcmu);
        let block = Block { recording, leg, number, law, runs, samples: Box::new([1; BLOCK_BYTES]) };
        let (mut bytes, key) = (Vec::new(), SealingKey::new(Algorithm::Aes256Gcm, &[1; 32]));
        push_block(&mut bytes, &block, &key, [5; 12]).unwrap();
        assert_eq!(Record::check(&bytes).unwrap().block(&key).unwrap().bytes, [1, 1]);
    }

    #[test]
    fn a_full_block_takes_sixty_bytes_more_than_its_audio() {
        let (mut bytes, key) = (Vec::new(), SealingKey::new(Algorithm::Aes256Gcm, &[1; 32]));
        push_block(&mut bytes, &super::super::fixture::block(1, 0, 0), &key, [5; 12]).unwrap();
        assert_eq!(bytes.len(), BLOCK_BYTES + 60);
    }

    #[test]
    fn only_our_own_file_names_count() {
        assert_eq!(SegmentNo(7).file_name(), "segment-0000000007.nseg");
        assert_eq!(SegmentNo::from_file_name("segment-0000000007.nseg"), Some(SegmentNo(7)));
        assert_eq!(SegmentNo::from_file_name("segment-7.nseg"), None);
        assert_eq!(SegmentNo::from_file_name("segment-+000000007.nseg"), None);
        assert_eq!(SegmentNo::from_file_name(&SegmentNo(u64::MAX).file_name()), Some(SegmentNo(u64::MAX)));
    }
}
