//! Which recordings' files leave the box, and when the box takes no new ones. (Which segments go: [`super::holdings`].)
//!
//! Only a recording that every target has confirmed ever goes: first those older than their tenant's retention, then, while
//! the box is too full, the oldest.

use std::time::Duration;

use super::seal::BoxKey;
use crate::model::{Recording, RecordingNo, Stage, WallTime};

/// How full the disk is, and how full it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that the recordings take now, in the spool and as files.
    pub used_bytes: u64,
    /// The most they may take, if there is a limit.
    pub max_bytes: Option<u64>,
    /// Bytes free on the disk now.
    pub free_bytes: u64,
    /// Bytes to be kept free.
    pub floor_bytes: u64,
}

impl Fill {
    /// Bytes that must go.
    fn excess_bytes(&self) -> u64 {
        let over = self.max_bytes.map_or(0, |max| self.used_bytes.saturating_sub(max));
        over.max(self.floor_bytes.saturating_sub(self.free_bytes))
    }
}

/// Whether new recordings are taken. What runs goes on in any case, for which the floor is there; a tenth more than
/// the floor must be free before it begins again, so that it does not change with every block.
pub fn accepting(was: bool, free_bytes: u64, floor_bytes: u64) -> bool {
    free_bytes > if was { floor_bytes } else { floor_bytes.saturating_add(floor_bytes / 10) }
}

/// What is known here of a recording that is not released. The ledger has it beside the description, so that none is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub no: RecordingNo,
    /// How far it is.
    pub stage: Stage,
    /// When the call ended.
    pub over_since: WallTime,
    /// Length of its files on the box.
    pub bytes: u64,
    /// What stands for its tenant.
    pub tenant: [u8; 16],
}

impl Kept {
    /// Of a description.
    pub fn of(recording: &Recording, key: &BoxKey) -> Kept {
        Kept {
            no: recording.no,
            stage: recording.stage,
            over_since: recording.ended.unwrap_or(recording.started),
            bytes: recording.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add),
            tenant: key.blinded_tenant(&recording.tenant),
        }
    }

    /// As it stands in the ledger, but for number and stage, which stand before.
    pub fn encode(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&self.over_since.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.bytes.to_be_bytes());
        out[16..].copy_from_slice(&self.tenant);
        out
    }

    /// Reads [`Kept::encode`].
    pub fn decode(no: RecordingNo, stage: Stage, bytes: &[u8]) -> Option<Kept> {
        let (over_since, rest) = bytes.split_first_chunk()?;
        let (length, tenant) = rest.split_first_chunk()?;
        let (over_since, bytes) = (WallTime(i64::from_be_bytes(*over_since)), u64::from_be_bytes(*length));
        Some(Kept { no, stage, over_since, bytes, tenant: tenant.try_into().ok()? })
    }

    /// Whether its files stand on the box.
    pub fn is_on_box(&self) -> bool {
        matches!(self.stage, Stage::Finished | Stage::Delivered)
    }
}

/// The delivered recordings whose files are to be deleted now, oldest first. `retention` of a tenant counts from the end of
/// the call; none: as long as there is room.
pub fn due(
    recordings: &[Kept],
    retention: impl Fn(&[u8; 16]) -> Option<Duration>,
    fill: &Fill,
    now: WallTime,
) -> Vec<RecordingNo> {
    let mut delivered: Vec<&Kept> = recordings.iter().filter(|r| r.stage == Stage::Delivered).collect();
    delivered.sort_by_key(|r| (r.over_since, r.no));
    let is_over_age = |r: &Kept| {
        let age_us = u64::try_from(now - r.over_since).unwrap_or(0); // in the future: the clock was set
        retention(&r.tenant).is_some_and(|keep| Duration::from_micros(age_us) >= keep)
    };
    let (aged, kept): (Vec<&Kept>, Vec<&Kept>) = delivered.into_iter().partition(|r| is_over_age(r));
    let mut excess = aged.iter().fold(fill.excess_bytes(), |excess, r| excess.saturating_sub(r.bytes));
    let for_room = kept.into_iter().take_while(|r| {
        let needed = excess > 0;
        excess = excess.saturating_sub(r.bytes);
        needed
    });
    let mut due: Vec<RecordingNo> = aged.iter().map(|r| r.no).collect();
    due.extend(for_room.map(|r| r.no));
    due
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::recording;
    use super::*;
    use crate::model::recording::FileFact;

    const ROOMY: Fill = Fill { used_bytes: 0, max_bytes: None, free_bytes: 1_000, floor_bytes: 100 };

    fn delivered(no: u64, ended_s: i64, bytes: u64) -> Recording {
        let mut recording = recording(no, Stage::Delivered);
        recording.ended = Some(WallTime(ended_s * 1_000_000));
        recording.files = vec![FileFact { name: "audio.wav".into(), bytes, sha256: String::new() }];
        recording
    }

    fn kept(recordings: &[Recording]) -> Vec<Kept> {
        recordings.iter().map(|recording| Kept::of(recording, &BoxKey::new(&[1; 32]))).collect()
    }

    fn due_at(recordings: &[Recording], keep_s: Option<u64>, fill: &Fill, now_s: i64) -> Vec<u64> {
        let retention = |_: &[u8; 16]| keep_s.map(Duration::from_secs);
        due(&kept(recordings), retention, fill, WallTime(now_s * 1_000_000)).into_iter().map(|no| no.0).collect()
    }

    #[test]
    fn files_go_when_their_retention_is_over() {
        let all = [delivered(1, 100, 10), delivered(2, 200, 10)];
        assert_eq!(due_at(&all, Some(50), &ROOMY, 149), [0_u64; 0]);
        assert_eq!(due_at(&all, Some(50), &ROOMY, 150), [1]);
        assert_eq!(due_at(&all, Some(50), &ROOMY, 250), [1, 2]);
        assert_eq!(due_at(&all, None, &ROOMY, 1_000_000), [0_u64; 0]);
    }

    #[test]
    fn the_oldest_go_until_there_is_room() {
        let all = [delivered(3, 300, 10), delivered(1, 100, 10), delivered(2, 200, 10)];
        assert_eq!(due_at(&all, None, &Fill { used_bytes: 111, max_bytes: Some(100), ..ROOMY }, 400), [1, 2]);
        assert_eq!(due_at(&all, None, &Fill { free_bytes: 99, ..ROOMY }, 400), [1]);
        assert_eq!(due_at(&all, Some(300), &Fill { free_bytes: 95, ..ROOMY }, 400), [1], "what age frees counts");
    }

    #[test]
    fn what_is_kept_comes_back_from_its_bytes() {
        let kept = Kept::of(&delivered(7, 300, 10), &BoxKey::new(&[1; 32]));
        assert_eq!(Kept::decode(kept.no, kept.stage, &kept.encode()), Some(kept));
        assert_eq!(Kept::decode(kept.no, kept.stage, &kept.encode()[1..]), None);
    }

    #[test]
    fn the_floor_has_a_step() {
        assert!(accepting(true, 101, 100));
        assert!(!accepting(true, 100, 100));
        assert!(!accepting(false, 110, 100));
        assert!(accepting(false, 111, 100));
    }

    proptest! {
        #[test]
        fn nothing_undelivered_ever_goes(stages in proptest::collection::vec(0..5_usize, 0..20), used: u64, now: i64) {
            const STAGES: [Stage; 5] = [Stage::Recording, Stage::Ended, Stage::Finished, Stage::Delivered, Stage::Released];
            let all: Vec<Recording> = (0..).zip(stages).map(|(no, stage)| recording(no, STAGES[stage])).collect();
            let fill = Fill { used_bytes: used, max_bytes: Some(0), free_bytes: 0, floor_bytes: u64::MAX };
            let due = due(&kept(&all), |_| Some(Duration::ZERO), &fill, WallTime(now));
            let gone = |no: &RecordingNo| all.iter().any(|r| r.no == *no && r.stage == Stage::Delivered);
            prop_assert!(due.iter().all(gone));
        }
    }
}
