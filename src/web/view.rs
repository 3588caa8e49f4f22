//! A recording as the page shows it: a few facts, none of which a sealed recording hides. Pure.

use serde::Serialize;

use crate::model::{Flag, LegCounters, Recording, Stage, WallTime};

/// One call or recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The numbers of its legs, the recorded party first.
    pub parties: Vec<String>,
    /// When it began.
    pub started: String,
    /// Its length; none: it runs.
    pub seconds: Option<u64>,
    /// Packets placed.
    pub packets: u64,
    /// Packets that never came.
    pub lost: u64,
    /// `recording`, `paused`, `ended`, `finished`, `delivered`, `released`.
    pub state: &'static str,
    /// What is not as usual, in words.
    pub flags: Vec<&'static str>,
    /// What became of the recording tone that had to be there: `pass`, `fail`; none: none was demanded, or it is not over.
    pub tone: Option<&'static str>,
}

impl From<&Recording> for RecordingView {
    fn from(recording: &Recording) -> RecordingView {
        let sum = |count: fn(&LegCounters) -> u64| recording.legs.iter().map(|leg| count(&leg.counters)).sum();
        let demanded = recording.tones.as_ref().filter(|tones| tones.demand != crate::model::ToneDemand::None);
        RecordingView {
            id: recording.id.0.to_string(),
            tenant: recording.tenant.0.to_string(),
            parties: recording.legs.iter().map(|leg| leg.dn.as_deref().unwrap_or("?").to_owned()).collect(),
            started: seconds(recording.started),
            seconds: recording.ended.map(|end| (end - recording.started).unsigned_abs() / 1_000_000),
            packets: sum(|counters| counters.packets),
            lost: sum(|counters| counters.lost),
            state: state(recording),
            flags: recording.flags.iter().map(flag).collect(),
            tone: demanded.map(|tones| if tones.complaint().is_some() { "fail" } else { "pass" }),
        }
    }
}

fn state(recording: &Recording) -> &'static str {
    match recording.stage {
        Stage::Recording if recording.pause.is_some() => "paused",
        Stage::Recording => "recording",
        Stage::Ended => "ended",
        Stage::Finished => "finished",
        Stage::Delivered => "delivered",
        Stage::Released => "released",
    }
}

fn flag(flag: &Flag) -> &'static str {
    match flag {
        Flag::OneSided => "one side only",
        Flag::Continued => "continued",
        Flag::ChannelsByOrder => "channels by order of arrival",
        Flag::LaterPart => "a later part",
        Flag::MetadataIncomplete => "metadata incomplete",
        Flag::Interrupted => "interrupted by a restart",
        Flag::Damaged => "damaged",
        Flag::ClockSet => "clock set meanwhile",
    }
}

/// `2026-03-02T14:05:59Z`: people need no milliseconds.
fn seconds(time: WallTime) -> String {
    let text = time.to_string();
    text.split('.').next().map_or_else(String::new, |seconds| format!("{seconds}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::testing::recording;

    #[test]
    fn a_recording_is_shown_by_a_few_facts() {
        let mut call = recording(1, "a", 61_000);
        call.legs[0].counters.lost = 3;
        call.flag(Flag::Damaged);
        let view = RecordingView::from(&call);
        assert_eq!((view.id.as_str(), view.seconds, view.lost, view.state), ("a", Some(61), 3, "ended"));
        assert_eq!((view.parties.len(), view.started.as_str(), view.flags), (2, "2026-03-02T14:05:59Z", vec!["damaged"]));
        call.stage = Stage::Recording;
        call.ended = None;
        assert_eq!((RecordingView::from(&call).seconds, RecordingView::from(&call).state), (None, "recording"));
    }
}
