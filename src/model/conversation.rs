//! What the switch's side (CTI) knows of a recorded call: the conversation that it is a part of. Kept in the description of the
//! recording, so it must be readable for ever (serde defaults for new fields).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::call_facts::{Direction, SwitchId};
use super::{CallUuid, History, RecordingId, WallTime};

/// A conversation: what goes on for the customer through transfers and conferences, as far as it was known when the
/// recording ended. All times are the box's, when it heard of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    /// The same for all recordings of the conversation: CallUUID (else ConnID) of its first call.
    pub id: String,
    /// Its calls, in the order in which they became known.
    pub calls: Vec<CallFact>,
    /// The recorded pairs of this recording: a new one begins whenever the far side changes.
    pub couples: Vec<CoupleFact>,
    /// Who spoke for the contact centre.
    pub agents: Vec<AgentFact>,
    /// Attached data at the end.
    pub attached_data: BTreeMap<String, String>,
    /// How it came to that.
    pub data_changes: History<DataChange>,
    /// What happened in its calls.
    pub steps: History<Step>,
    /// Changes and steps that are not listed, because there were too many.
    pub left_out: u32,
    /// When the link to the switch was down: what happened meanwhile is known only by its result.
    pub blind: Vec<Blind>,
    /// All recordings of the conversation known so far, this one included.
    pub recordings: Vec<RecordingId>,
}

/// One call at one switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFact {
    /// Its CallUUID, where the switch gave one.
    #[serde(default)]
    pub call_uuid: Option<CallUuid>,
    /// Its ConnID.
    pub conn_id: Arc<str>,
    /// The switch that it is on.
    pub switch: SwitchId,
    /// What kind of call it is; none: the switch does not say.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// The calling party's number.
    #[serde(default)]
    pub ani: Option<String>,
    /// The number that was dialled.
    #[serde(default)]
    pub dnis: Option<String>,
    /// ConnID of the call that it was made from, when it is a consultation.
    #[serde(default)]
    pub consult_of: Option<Arc<str>>,
    /// When the box first heard of it.
    pub started: WallTime,
    /// When its last parties left; none: it goes on.
    #[serde(default)]
    pub ended: Option<WallTime>,
}

/// The recorded party and whom it spoke with at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoupleFact {
    /// The recorded DN.
    pub recorded_dn: Arc<str>,
    /// The far side; several in a conference.
    pub other_dns: Vec<Arc<str>>,
    /// ConnID of the call.
    pub conn_id: Arc<str>,
    /// CallUUID of the call.
    #[serde(default)]
    pub call_uuid: Option<CallUuid>,
    /// The switch.
    pub switch: SwitchId,
    /// From when.
    pub started: WallTime,
    /// To when; none: it goes on.
    #[serde(default)]
    pub ended: Option<WallTime>,
}

/// An agent at a DN for a part of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFact {
    /// Login or employee id, as the switch gives it.
    pub agent_id: String,
    /// Where.
    pub dn: Arc<str>,
    /// From when.
    pub started: WallTime,
    /// To when; none: still there.
    #[serde(default)]
    pub ended: Option<WallTime>,
}

/// One key of the attached data was set, changed or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataChange {
    /// When.
    pub time: WallTime,
    /// Which key.
    pub key: String,
    /// Its value from then on; none: deleted.
    #[serde(default)]
    pub value: Option<String>,
    /// The DN whose event told of it.
    pub dn: Arc<str>,
}

/// Something that happened in a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub time: WallTime,
    /// What.
    pub kind: StepKind,
    /// Whom it happened to.
    pub dn: Arc<str>,
    /// In which call, by its ConnID.
    pub conn_id: Arc<str>,
}

/// What may happen to a party of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// It calls.
    Dialing,
    /// It is called.
    Ringing,
    /// It is connected.
    Established,
    /// It put the call on hold.
    Held,
    /// It took the call up again.
    Retrieved,
    /// It came in from another call: a transfer or a conference was completed.
    Joined,
    /// It left.
    Released,
    /// It hung up before anybody answered.
    Abandoned,
    /// The recording was paused on request.
    Paused,
    /// The recording went on on request.
    Resumed,
}

impl StepKind {
    /// All of them. Their order is how [`History`] numbers them in memory, nowhere else.
    pub const ALL: [StepKind; 10] = [
        StepKind::Dialing,
        StepKind::Ringing,
        StepKind::Established,
        StepKind::Held,
        StepKind::Retrieved,
        StepKind::Joined,
        StepKind::Released,
        StepKind::Abandoned,
        StepKind::Paused,
        StepKind::Resumed,
    ];
}

/// A time without events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    /// Of which switch.
    pub switch: SwitchId,
    /// When the link was lost.
    pub from: WallTime,
    /// When it was there again; none: still lost.
    #[serde(default)]
    pub to: Option<WallTime>,
}
