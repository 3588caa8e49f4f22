//! A description for audio whose every description is lost: says what the blocks tell, and that the rest is not known.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::segment::{SpoolId, What};
use crate::model::block::Law;
use crate::model::recording::{Dialect, LegCounters};
use crate::model::{
    BLOCK_BYTES, Channel, EndReason, Flag, Leg, LegNo, MediaTime, Recording, RecordingId, RecordingNo, Stage, TenantId, WallTime,
};

/// Gathers what the blocks of a recording tell.
#[derive(Default)]
pub struct StandIn {
    legs: BTreeSet<LegNo>,
    blocks: u32,
}

impl StandIn {
    /// Takes in one record.
    pub fn add(&mut self, what: What) {
        if let What::Block { leg, number } = what {
            self.legs.insert(leg);
            self.blocks = self.blocks.max(number.0.saturating_add(1));
        }
    }

    /// The description. `seen` is the best guess of when the call was: when its segment was last written to.
    pub fn recording(&self, spool: SpoolId, no: RecordingNo, seen: WallTime) -> Recording {
        let length_us = i64::from(self.blocks) * (BLOCK_BYTES as i64 * 1_000_000 / MediaTime::RATE);
        let started = seen.plus_micros(-length_us);
        Recording {
            no,
            id: RecordingId(format!("recovered-{:032x}-{no}", spool.0).into()),
            call_uuid: None,
            tenant: TenantId::default_tenant(),
            switch: None,
            ruling: None,
            dialect: Dialect::Plain,
            origin: started,
            started,
            ended: Some(seen),
            end_reason: Some(EndReason::Interrupted),
            stage: Stage::Ended,
            legs: self.legs.iter().map(|leg| self.leg(*leg, started, seen)).collect(),
            pause: None,
            masks: Vec::new(),
            flags: vec![Flag::ChannelsByOrder, Flag::Interrupted, Flag::Damaged],
            parameters: Default::default(),
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

    fn leg(&self, no: LegNo, started: WallTime, ended: WallTime) -> Leg {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let is_first = self.legs.first() == Some(&no);
        Leg {
            no,
            channel: if is_first { Channel::Recorded } else { Channel::Other },
            dn: None,
            call_id: String::new(),
            label: None,
            law: Law::Pcmu, // every block carries its own
            local: nowhere,
            remote: nowhere,
            started,
            ended: Some(ended),
            end_reason: Some(EndReason::Interrupted),
            counters: LegCounters::default(),
            ssrcs: Vec::new(),
            digits: Vec::new(),
            anchor: None,
            clock: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlockNo;

    #[test]
    fn it_says_what_the_blocks_tell() {
        let mut stand_in = StandIn::default();
        for (leg, number) in [(1, 0), (0, 7), (1, 3)] {
            stand_in.add(What::Block { leg: LegNo(leg), number: BlockNo(number) });
        }
        stand_in.add(What::Description); // one that cannot be read
        let recording = stand_in.recording(SpoolId(0xAB), RecordingNo(9), WallTime(10_000_000));
        assert_eq!(recording.id.0.as_ref(), "recovered-000000000000000000000000000000ab-9");
        assert_eq!((recording.started, recording.ended), (WallTime(6_000_000), Some(WallTime(10_000_000))));
        assert_eq!(recording.stage, Stage::Ended);
        let channels: Vec<_> = recording.legs.iter().map(|leg| (leg.no.0, leg.channel)).collect();
        assert_eq!(channels, [(0, Channel::Recorded), (1, Channel::Other)]);
    }
}
