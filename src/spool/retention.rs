//! Which recordings' files leave the box, and when the box takes no new ones. (Which segments go: [`super::holdings`].)
//!
//! Only a recording that every target has confirmed ever goes: first those older than their tenant's retention, then, while
//! the box is too full, the oldest.

use std::time::Duration;

use crate::model::{Recording, RecordingNo, Stage, TenantId, WallTime};

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

/// The delivered recordings whose files are to be deleted now, oldest first. `retention` of a tenant counts from the end of
/// the call; none: as long as there is room.
pub fn due<'a>(
    recordings: impl Iterator<Item = &'a Recording>,
    retention: impl Fn(&TenantId) -> Option<Duration>,
    fill: &Fill,
    now: WallTime,
) -> Vec<RecordingNo> {
    let mut delivered: Vec<&Recording> = recordings.filter(|r| r.stage == Stage::Delivered).collect();
    delivered.sort_by_key(|r| (over_since(r), r.no));
    let is_over_age = |r: &Recording| {
        let age_us = u64::try_from(now - over_since(r)).unwrap_or(0); // in the future: the clock was set
        retention(&r.tenant).is_some_and(|keep| Duration::from_micros(age_us) >= keep)
    };
    let (aged, kept): (Vec<&Recording>, Vec<&Recording>) = delivered.into_iter().partition(|r| is_over_age(r));
    let mut excess = aged.iter().fold(fill.excess_bytes(), |excess, r| excess.saturating_sub(bytes(r)));
    let for_room = kept.into_iter().take_while(|r| {
        let needed = excess > 0;
        excess = excess.saturating_sub(bytes(r));
        needed
    });
    let mut due: Vec<RecordingNo> = aged.iter().map(|r| r.no).collect();
    due.extend(for_room.map(|r| r.no));
    due
}

fn over_since(recording: &Recording) -> WallTime {
    recording.ended.unwrap_or(recording.started)
}

fn bytes(recording: &Recording) -> u64 {
    recording.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
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

    fn due_at(recordings: &[Recording], keep_s: Option<u64>, fill: &Fill, now_s: i64) -> Vec<u64> {
        let retention = |_: &TenantId| keep_s.map(Duration::from_secs);
        due(recordings.iter(), retention, fill, WallTime(now_s * 1_000_000)).into_iter().map(|no| no.0).collect()
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
            let due = due(all.iter(), |_| Some(Duration::ZERO), &fill, WallTime(now));
            let gone = |no: &RecordingNo| all.iter().any(|r| r.no == *no && r.stage == Stage::Delivered);
            prop_assert!(due.iter().all(gone));
        }
    }
}
