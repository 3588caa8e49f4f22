//! What the tests of this station and of `forward` build their calls from.

use std::collections::BTreeMap;

use crate::model::block::Law;
use crate::model::recording::Dialect;
use crate::model::{
    BLOCK_BYTES, BlockList, BlockNo, BlockSource, CallUuid, Channel, Damage, EndReason, Leg, LegCounters, LegNo, Recording,
    RecordingId, RecordingNo, Run, Stage, StoredBlock, TenantId, WallTime,
};

/// 2026-03-02T14:05:59.500Z, on the block grid.
pub(crate) const ORIGIN: WallTime = WallTime(1_772_460_359_500_000);

/// A leg of 192.0.2.10 in µ-law that lasted as long as the call.
pub(crate) fn leg(no: u8, channel: Channel) -> Leg {
    Leg {
        no: LegNo(no),
        channel,
        dn: Some(format!("700{no}")),
        call_id: format!("call-{no}@mcp"),
        label: None,
        law: Law::Pcmu,
        local: "192.0.2.1:20000".parse().unwrap(),
        remote: "192.0.2.10:30000".parse().unwrap(),
        started: ORIGIN,
        ended: None,
        end_reason: None,
        counters: LegCounters::default(),
        ssrcs: Vec::new(),
        digits: Vec::new(),
        anchor: None,
        clock: Vec::new(),
    }
}

/// Two legs, from [`ORIGIN`] on for `length_ms`, ended by BYE.
pub(crate) fn recording(no: u64, id: &str, length_ms: i64) -> Recording {
    Recording {
        no: RecordingNo(no),
        id: RecordingId(id.into()),
        call_uuid: Some(CallUuid("01ABCDEFGHIJKLMNOPQRSTUV01234567".into())),
        tenant: TenantId("101".into()),
        switch: None,
        ruling: None,
        dialect: Dialect::Msr,
        origin: ORIGIN,
        started: ORIGIN,
        ended: Some(ORIGIN.plus_micros(length_ms * 1_000)),
        end_reason: Some(EndReason::Bye),
        stage: Stage::Ended,
        legs: vec![leg(0, Channel::Recorded), leg(1, Channel::Other)],
        pause: None,
        masks: Vec::new(),
        flags: Vec::new(),
        parameters: BTreeMap::new(),
        headers: Vec::new(),
        notes: Vec::new(),
        conversation: None,
        tones: None,
        files: Vec::new(),
        arrived_at: Vec::new(),
        set_aside: Vec::new(),
        immediate: false,
        sessions: Vec::new(),
        restarts: Vec::new(),
    }
}

/// A µ-law block whose `runs` (start, length) hold the low byte of the place of each sample, plus `seed`.
pub(crate) fn block(leg: u8, number: u32, runs: &[(u16, u16)], seed: u8) -> StoredBlock {
    let places = runs.iter().flat_map(|(start, len)| *start..*start + *len);
    let bytes = places.map(|place| (place as u8).wrapping_add(seed)).collect();
    let runs = runs.iter().map(|(start, len)| Run { start: *start, len: *len }).collect();
    StoredBlock { leg: LegNo(leg), number: BlockNo(number), law: Law::Pcmu, runs, bytes }
}

/// A block without any gap.
pub(crate) fn full_block(leg: u8, number: u32) -> StoredBlock {
    block(leg, number, &[(0, BLOCK_BYTES as u16)], leg)
}

/// A spool in memory.
#[derive(Clone, Default)]
pub(crate) struct Blocks(pub(crate) Vec<Result<StoredBlock, Damage>>);

impl BlockSource for Blocks {
    fn blocks(&self, _no: RecordingNo) -> std::io::Result<Box<dyn BlockList + '_>> {
        Ok(Box::new(Listed::new(&self.0)))
    }
}

/// The blocks of one recording in it. A damaged one is taken to stand where the next readable one does.
pub(crate) struct Listed<'a>(Vec<(BlockNo, &'a Result<StoredBlock, Damage>)>);

impl Listed<'_> {
    pub(crate) fn new(blocks: &[Result<StoredBlock, Damage>]) -> Listed<'_> {
        let mut numbered = Vec::new();
        let mut next = BlockNo(u32::MAX);
        for block in blocks.iter().rev() {
            next = block.as_ref().map_or(next, |block| block.number);
            numbered.push((next, block));
        }
        numbered.reverse();
        Listed(numbered)
    }
}

impl BlockList for Listed<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn number(&self, index: usize) -> Option<BlockNo> {
        self.0.get(index).map(|(number, _)| *number)
    }

    fn read(&mut self, index: usize) -> Result<StoredBlock, Damage> {
        self.0[index].1.clone()
    }
}

/// One block that can no longer be read.
pub(crate) fn damage() -> Result<StoredBlock, Damage> {
    Err(Damage { recording: RecordingNo(1), segment: 7, offset: 4_096, what: "CRC does not match".into() })
}

impl crate::finish::overhear::Frames for Vec<u8> {}
