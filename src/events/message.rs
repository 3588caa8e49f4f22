//! The payloads, as docs/schema/event-*.schema.json describes them, and their topics. Pure.
//!
//! No number, name or attached data of a call is in them: they tell that something is there, and where.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::id::path_component;
use crate::model::recording::FileFact;
use crate::model::{EndReason, Flag, Recording, WallTime};

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sender {
    /// `[site] name`.
    pub site: String,
    /// Site and host name, as they stand beside the copies of two boxes.
    #[serde(rename = "box")]
    pub box_name: String,
}

/// The topics of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(String);

impl Topics {
    /// `{prefix}/{box}/…`; what could be a level or a wildcard in the name is written as `%XX`.
    pub fn new(prefix: &str, sender: &Sender) -> Topics {
        Topics(format!("{prefix}/{}", path_component(&sender.box_name)))
    }

    /// The retained status.
    pub fn status(&self) -> String {
        format!("{}/status", self.0)
    }

    /// Where an event goes.
    pub fn of(&self, kind: Kind) -> String {
        let leaf = match kind {
            Kind::Recording => "recording",
            Kind::Alarm => "alarm",
        };
        format!("{}/{leaf}", self.0)
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A recording has arrived.
    Recording,
    /// Something is wrong, or is so no more.
    Alarm,
}

/// What happened, beside the recording or alarm.
#[derive(Clone, Debug, Serialize)]
pub struct Event<T> {
    /// The same when it is told again.
    pub id: String,
    /// When it happened.
    #[serde(serialize_with = "shown")]
    pub time: WallTime,
    /// On which box.
    #[serde(flatten)]
    pub sender: Sender,
    /// What.
    #[serde(flatten)]
    pub what: T,
}

impl<T: Serialize> Event<T> {
    /// As it is sent; no other event has its `id`.
    pub fn payload(sender: &Sender, time: WallTime, id: String, what: T) -> Vec<u8> {
        let event = Event { id, time, sender: sender.clone(), what };
        serde_json::to_vec(&event).unwrap_or_default() // strings and numbers: serde_json has nothing to refuse
    }
}

/// A recording that every target has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrived<'a> {
    /// Its id.
    pub recording: &'a str,
    /// CallUUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_uuid: Option<String>,
    /// Whose.
    pub tenant: &'a str,
    /// Its switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<String>,
    /// When the call began.
    #[serde(serialize_with = "shown")]
    pub started: WallTime,
    /// When it ended.
    #[serde(serialize_with = "shown_or_none", skip_serializing_if = "Option::is_none")]
    pub ended: Option<WallTime>,
    /// How.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// What a reader must know.
    pub flags: &'a [Flag],
    /// Its folder at the targets.
    pub path: String,
    /// Who has it.
    pub targets: &'a [String],
    /// Its files.
    pub files: &'a [FileFact],
}

impl<'a> From<&'a Recording> for Arrived<'a> {
    fn from(recording: &'a Recording) -> Arrived<'a> {
        Arrived {
            recording: &recording.id.0,
            call_uuid: recording.call_uuid.as_ref().map(ToString::to_string),
            tenant: &recording.tenant.0,
            switch: recording.switch.as_ref().map(ToString::to_string),
            started: recording.started,
            ended: recording.ended,
            end_reason: recording.end_reason,
            flags: &recording.flags,
            path: recording.path(),
            targets: &recording.arrived_at,
            files: &recording.files,
        }
    }
}

/// An alarm that begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which.
    #[serde(flatten)]
    pub alarm: Alarm,
    /// Whether it begins.
    pub state: State,
    /// In words; of one that ends the last that was said.
    pub detail: String,
}

/// Whether an alarm begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is wrong.
    Raised,
    /// It is not wrong any more.
    Cleared,
}

/// What is wrong, and with what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Alarm {
    /// What, as one word.
    pub alarm: &'static str,
    /// With which target, T-Server or device; empty: the box.
    pub subject: String,
}

/// The state of a box, retained by the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// On which box.
    #[serde(flatten)]
    pub sender: Sender,
    /// False in the last will, and after an orderly stop; then nothing else is told.
    pub online: bool,
    /// What else.
    #[serde(flatten)]
    pub rest: Option<Details>,
}

/// The state of a box that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// When this was true.
    #[serde(serialize_with = "shown")]
    pub time: WallTime,
    /// Version of the program.
    pub version: String,
    /// Whether a call that comes now is recorded.
    pub accepting: bool,
    /// Recordings with a session.
    pub running: usize,
    /// Recordings that are over and not delivered.
    pub waiting: usize,
    /// Room on the disk.
    pub disk_free_bytes: u64,
    /// Each target by name.
    pub targets: BTreeMap<String, TargetState>,
    /// What is wrong.
    pub alarms: Vec<Alarm>,
    /// Events that the broker has not acknowledged.
    pub events_waiting: usize,
    /// Events that had to be dropped since the start.
    pub events_lost: u64,
}

/// How a target stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetState {
    /// Recordings that it has not confirmed.
    pub waiting: usize,
    /// What they weigh.
    pub waiting_bytes: u64,
    /// Recordings that it will not take.
    pub set_aside: usize,
    /// Whether the last try failed.
    pub down: bool,
}

impl Status {
    /// As it is sent.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // strings and numbers: serde_json has nothing to refuse
    }
}

fn shown<S: serde::Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn shown_or_none<S: serde::Serializer>(time: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender { site: "branch/17 +#".into(), box_name: "branch/17 +#.host".into() }
    }

    #[test]
    fn a_name_is_one_level_of_the_topic() {
        let topics = Topics::new("calls/nearend", &sender());
        assert_eq!(topics.status(), "calls/nearend/branch%2F17%20%2B%23.host/status");
        assert_eq!(topics.of(Kind::Alarm), "calls/nearend/branch%2F17%20%2B%23.host/alarm");
    }

    #[test]
    fn an_alarm_says_who_when_what() {
        let alarm = Alarm { alarm: "target-down", subject: "dc".into() };
        let change = Change { alarm, state: State::Raised, detail: "no answer".into() };
        let payload = Event::payload(&sender(), WallTime(1_772_460_359_000_000), "b/ff".into(), change);
        let expected = serde_json::json!({
            "id": "b/ff", "time": "2026-03-02T14:05:59.000Z", "site": "branch/17 +#",
            "box": "branch/17 +#.host", "alarm": "target-down", "subject": "dc", "state": "raised", "detail": "no answer",
        });
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&payload).unwrap(), expected);
    }

    #[test]
    fn who_is_away_says_only_that() {
        let text = Status { sender: sender(), online: false, rest: None }.payload();
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"site":"branch/17 +#","box":"branch/17 +#.host","online":false}"#);
    }
}
