//! One call against the recordings of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{CallUuid, Channel, Recording, RecordingId, WallTime};

/// A call that should have been recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its CallUUID; none: it is found by DN and time.
    pub call_uuid: Option<CallUuid>,
    /// The DN that should have been recorded.
    pub dn: Option<String>,
    /// When it was connected.
    pub started: WallTime,
    /// When it ended.
    pub ended: WallTime,
}

/// What a check needs of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its id.
    pub id: RecordingId,
    /// CallUUID.
    pub call_uuid: Option<CallUuid>,
    /// All DNs of its recorded side.
    pub dns: Vec<String>,
    /// When it began.
    pub started: WallTime,
    /// When it ended; none: it goes on.
    pub ended: Option<WallTime>,
    /// Whether the recorded party sent any audio, also while it was paused.
    pub recorded_side: bool,
    /// Whether the other party did.
    pub other_side: bool,
    /// What is wrong with the recording tone that it must hold; none: nothing, or it is not finished yet.
    pub tone_fault: Option<String>,
}

impl Heard {
    /// Of a description.
    pub fn of(recording: &Recording) -> Heard {
        let side = |channel: Channel| recording.legs.iter().filter(move |leg| leg.channel == channel);
        let has_audio = |channel| side(channel).any(|leg| leg.counters.packets + leg.counters.masked > 0);
        Heard {
            id: recording.id.clone(),
            call_uuid: recording.call_uuid.clone(),
            dns: side(Channel::Recorded).filter_map(|leg| leg.dn.clone()).collect(),
            started: recording.started,
            ended: recording.ended,
            recorded_side: has_audio(Channel::Recorded),
            other_side: has_audio(Channel::Other),
            tone_fault: recording.tones.as_ref().and_then(|tones| tones.complaint()),
        }
    }
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// There is no recording.
    Missing,
    /// It began too long after the call.
    LateStart,
    /// It ended too long before the call.
    Short,
    /// Only one party sent audio.
    OneSided,
    /// Neither party did.
    Silent,
    /// The recording tone that was demanded is missing, or not as it should be.
    Tone,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [Kind::Missing, Kind::LateStart, Kind::Short, Kind::OneSided, Kind::Silent, Kind::Tone];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::LateStart => "late-start",
            Kind::Short => "short",
            Kind::OneSided => "one-sided",
            Kind::Silent => "silent",
            Kind::Tone => "tone",
        }
    }
}

/// What is wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// In words.
    pub detail: String,
}

/// How much may be missing at either end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// In microseconds.
    pub us: i64,
}

impl Default for Tolerance {
    /// Five seconds: a media server takes a moment, and two clocks differ.
    fn default() -> Tolerance {
        Tolerance { us: 5_000_000 }
    }
}

/// Checks a call against all recordings of it. Several (a continuation, each couple of a transfer) count together.
pub fn check(call: &Call, recordings: &[&Heard], tolerance: Tolerance) -> Vec<Finding> {
    let Some(started) = recordings.iter().map(|heard| heard.started).min() else {
        return vec![Finding { kind: Kind::Missing, detail: "there is no recording of it".into() }];
    };
    let mut found = Vec::new();
    let mut add = |kind, detail: String| found.push(Finding { kind, detail });
    let late = started - call.started;
    if late > tolerance.us {
        add(Kind::LateStart, format!("it began {} after the call", seconds(late)));
    }
    // One that goes on has not ended too early.
    let ended = recordings.iter().map(|heard| heard.ended).try_fold(started, |latest, end| end.map(|end| latest.max(end)));
    let early = ended.map_or(0, |ended| call.ended - ended);
    if early > tolerance.us {
        add(Kind::Short, format!("it ended {} before the call", seconds(early)));
    }
    let has = |side: fn(&Heard) -> bool| recordings.iter().any(|heard| side(heard));
    match (has(|heard| heard.recorded_side), has(|heard| heard.other_side)) {
        (true, true) => {}
        (false, false) => add(Kind::Silent, "neither party sent audio".into()),
        (true, false) => add(Kind::OneSided, "the other party sent no audio".into()),
        (false, true) => add(Kind::OneSided, "the recorded party sent no audio".into()),
    }
    for fault in recordings.iter().filter_map(|heard| heard.tone_fault.clone()) {
        found.push(Finding { kind: Kind::Tone, detail: fault });
    }
    found
}

fn seconds(us: i64) -> String {
    format!("{}.{} s", us / 1_000_000, us / 100_000 % 10)
}

/// Checks many calls: for each the ids of its recordings and what is wrong.
pub fn reconcile(calls: &[Call], heard: &[Heard], tolerance: Tolerance) -> Vec<(Vec<RecordingId>, Vec<Finding>)> {
    let mut by_uuid: BTreeMap<&CallUuid, Vec<&Heard>> = BTreeMap::new();
    let mut by_dn: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    for one in heard {
        if let Some(uuid) = &one.call_uuid {
            by_uuid.entry(uuid).or_default().push(one);
        }
        for dn in &one.dns {
            by_dn.entry(dn).or_default().push(one);
        }
    }
    let of = |call: &Call| -> Vec<&Heard> {
        let candidates = match (&call.call_uuid, &call.dn) {
            (Some(uuid), _) => by_uuid.get(uuid),
            (None, Some(dn)) => by_dn.get(dn.as_str()),
            (None, None) => None,
        };
        // Several calls may share a CallUUID or a DN: only what runs at the time of this one is its recording.
        let meets = |one: &&Heard| {
            let begins_before_its_end = one.started - call.ended <= tolerance.us;
            let ends_after_its_start = one.ended.is_none_or(|ended| call.started - ended <= tolerance.us);
            begins_before_its_end && ends_after_its_start && call.dn.as_ref().is_none_or(|dn| one.dns.contains(dn))
        };
        candidates.into_iter().flatten().copied().filter(meets).collect()
    };
    let one = |call: &Call| {
        let recordings = of(call);
        (recordings.iter().map(|heard| heard.id.clone()).collect(), check(call, &recordings, tolerance))
    };
    calls.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn call(uuid: &str, dn: &str, from_s: i64, to_s: i64) -> Call {
        Call {
            call_uuid: Some(CallUuid(uuid.into())).filter(|_| !uuid.is_empty()),
            dn: Some(dn.to_owned()).filter(|_| !dn.is_empty()),
            started: WallTime(from_s * SECOND),
            ended: WallTime(to_s * SECOND),
        }
    }

    fn heard(id: &str, uuid: &str, dn: &str, from_s: i64, to_s: i64) -> Heard {
        Heard {
            id: RecordingId(id.into()),
            call_uuid: Some(CallUuid(uuid.into())),
            dns: vec![dn.into()],
            started: WallTime(from_s * SECOND),
            ended: Some(WallTime(to_s * SECOND)),
            recorded_side: true,
            other_side: true,
            tone_fault: None,
        }
    }

    fn kinds(call: Call, heard: &[Heard]) -> Vec<Kind> {
        let mut all = reconcile(&[call], heard, Tolerance::default());
        all.remove(0).1.into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_call_that_was_recorded_has_no_finding() {
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[heard("r", "u1", "7001", 102, 199)]), []);
        assert_eq!(kinds(call("u1", "", 100, 200), &[heard("r", "u1", "7001", 102, 199)]), []);
        assert_eq!(kinds(call("", "7001", 100, 200), &[heard("r", "u9", "7001", 102, 199)]), [], "by DN and time");
    }

    #[test]
    fn each_fault_has_its_kind() {
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[]), [Kind::Missing]);
        assert_eq!(kinds(call("u1", "7002", 100, 200), &[heard("r", "u1", "7001", 100, 200)]), [Kind::Missing], "of another DN");
        assert_eq!(kinds(call("", "7001", 100, 200), &[heard("r", "u1", "7001", 300, 400)]), [Kind::Missing], "a later call");
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[heard("r", "u1", "7001", 106, 200)]), [Kind::LateStart]);
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[heard("r", "u1", "7001", 100, 194)]), [Kind::Short]);
        let mut one = heard("r", "u1", "7001", 110, 150);
        one.other_side = false;
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[one.clone()]), [Kind::LateStart, Kind::Short, Kind::OneSided]);
        one.recorded_side = false;
        assert!(kinds(call("u1", "7001", 100, 200), &[one]).contains(&Kind::Silent));
        let mut toneless = heard("r", "u1", "7001", 100, 200);
        toneless.tone_fault = Some("no tone was found".into());
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[toneless]), [Kind::Tone]);
    }

    #[test]
    fn several_recordings_of_a_call_count_together() {
        let parts = [heard("r", "u1", "7001", 100, 150), heard("r~2", "u1", "7001", 150, 200)];
        assert_eq!(kinds(call("u1", "7001", 100, 200), &parts), []);
        let mut running = heard("r", "u1", "7001", 100, 0);
        running.ended = None;
        assert_eq!(kinds(call("u1", "7001", 100, 200), &[running]), [], "one that goes on is not short");
    }
}
