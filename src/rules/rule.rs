//! One rule: on which calls, and what is to be done with them. A condition that names nothing holds for every call; one that
//! names several things holds for any of them; all conditions of a rule must hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{AudioFormat, Direction, DnRange, DnType, Side, SwitchId, TenantId};

/// One rule of the list; the first that matches counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// Its name in explanations, logs and recordings.
    pub name: String,
    /// On which calls.
    #[serde(flatten)]
    pub when: Condition,
    /// What is to be done with them.
    #[serde(flatten)]
    pub then: Action,
}

/// Which calls a rule is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Condition {
    /// The DN that may be recorded is in one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dn: Vec<DnRange>,
    /// It is of one of these types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dn_type: Vec<DnType>,
    /// The DN at the other end is in one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_dn: Vec<DnRange>,
    /// One of these agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agent: Vec<String>,
    /// The caller's number begins with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ani: Vec<String>,
    /// The number that was called begins with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dnis: Vec<String>,
    /// One of these directions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub direction: Vec<Direction>,
    /// One of these tenants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant: Vec<TenantId>,
    /// One of these switches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switch: Vec<SwitchId>,
    /// Name of the calendar within which the call begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    /// Name of the calendar outside which the call begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<String>,
    /// Of the calls for which all else holds, so many in a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_percent: Option<u8>,
    /// Each of these keys is attached to the call with one of its values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attached: BTreeMap<String, Vec<String>>,
}

/// What is to be done with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Action {
    /// What is recorded.
    pub record: Record,
    /// Whose side, where the box asks for the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Format of the audio, where it is not the tenant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<AudioFormat>,
    /// Preset of the consent tone that the recording must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tone: Option<String>,
    /// Name of the retention class, by which the data centre knows how long to keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_class: Option<String>,
    /// Partitions of the archive that it goes to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
}

/// What is recorded of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// What is said.
    #[default]
    Audio,
    /// Nothing.
    None,
}

impl Record {
    /// All that may be written.
    pub const ALL: [Record; 2] = [Record::Audio, Record::None];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Record::Audio => "audio",
            Record::None => "none",
        }
    }

    /// Whether what is said is recorded.
    pub fn audio(self) -> bool {
        self == Record::Audio
    }
}
