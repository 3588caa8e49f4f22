//! What the station's tests have in common: recordings and blocks that tell one another apart.

use crate::model::block::Law;
use crate::model::recording::{Dialect, Leg, LegCounters};
use crate::model::{
    BLOCK_BYTES, Block, BlockNo, Channel, LegNo, Recording, RecordingId, RecordingNo, Run, Stage, TenantId, WallTime,
};

/// A recording of two legs.
pub(crate) fn recording(no: u64, stage: Stage) -> Recording {
    Recording {
        no: RecordingNo(no),
        id: RecordingId(format!("01AB{no}_2026-03-02_14-05-59").into()),
        call_uuid: None,
        tenant: TenantId::default_tenant(),
        switch: None,
        ruling: None,
        dialect: Dialect::Msr,
        origin: WallTime(1_772_460_359_000_000),
        started: WallTime(1_772_460_359_120_000),
        ended: None,
        end_reason: None,
        stage,
        legs: vec![leg(0, Channel::Recorded), leg(1, Channel::Other)],
        pause: None,
        masks: vec![],
        flags: vec![],
        parameters: [("ani".into(), "5551234".into())].into(),
        headers: vec![],
        notes: vec![],
        conversation: None,
        tones: None,
        files: vec![],
        arrived_at: vec![],
        set_aside: vec![],
        immediate: false,
        sessions: vec![],
        restarts: vec![],
    }
}

fn leg(no: u8, channel: Channel) -> Leg {
    let address = "10.1.2.3:20000".parse().unwrap();
    Leg {
        no: LegNo(no),
        channel,
        dn: Some("7001".into()),
        call_id: format!("call-{no}@10.0.0.1"),
        label: None,
        law: Law::Pcmu,
        local: address,
        remote: address,
        started: WallTime(1_772_460_359_120_000),
        ended: None,
        end_reason: None,
        counters: LegCounters::default(),
        ssrcs: vec![],
        digits: vec![],
        anchor: None,
        clock: vec![],
    }
}

/// A full block whose bytes say whose and which it is.
pub(crate) fn block(no: u64, leg: u8, number: u32) -> Block {
    let mut samples = Box::new([0; BLOCK_BYTES]);
    let mark = [no.to_be_bytes().as_slice(), &[leg], &number.to_be_bytes()].concat();
    samples.iter_mut().zip(mark.iter().cycle()).for_each(|(sample, byte)| *sample = *byte);
    let runs = [Run { start: 0, len: 4_000 }].into_iter().collect();
    Block { recording: RecordingNo(no), leg: LegNo(leg), number: BlockNo(number), law: Law::Pcmu, runs, samples }
}
