//! One line of the CTI link as a message, and back: T-Lib's messages and attribute names as JSON (docs/cti.md,
//! docs/schema/cti-to-box.schema.json, docs/schema/cti-from-box.schema.json).
//!
//! What is not known is ignored, so that a bridge may say more than this box understands; what is known and has the wrong
//! form makes the line bad, with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{CallUuid, Direction, DnType};

/// More keys of attached data than this are not taken.
const MAX_KEYS: usize = 256;

/// Longer values of attached data are cut off here.
const MAX_VALUE_BYTES: usize = 4_096;

/// More attached data than this in one message makes it bad: as much as T-Lib allows.
const MAX_DATA_BYTES: usize = 65_536;

/// Longer names, of DNs, keys, ids, make a message bad.
const MAX_NAME_BYTES: usize = 256;

/// Attached data, extensions, reasons: values as text, lists within as JSON.
pub type Pairs = BTreeMap<String, String>;

/// A message of a T-Server.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// The request that it answers.
    pub reference: Option<u64>,
    /// Its number.
    pub seq: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What a message of a T-Server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A DN is monitored from now on; the calls that are on it.
    Registered(Registered),
    /// Something happened in a call.
    Call(Box<CallEvent>),
    /// A request was done.
    Ack,
    /// A request was refused.
    Error(String),
    /// The cached configuration, whole or in part.
    Config(Box<ConfigData>),
    /// A message that this box does not know.
    Unknown(String),
}

/// EventRegistered.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Which DN.
    pub dn: Arc<str>,
    /// Of which type, where the switch says it: one that may be monitored, or why not.
    pub dn_type: Option<Result<DnType, String>>,
    /// Who is logged in there.
    pub agent: Option<String>,
    /// All calls on it; none: the switch does not say.
    pub calls: Option<Vec<CallEvent>>,
}

/// An event of a call, as one of its DNs sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallEvent {
    /// What happened.
    pub kind: EventKind,
    /// The call.
    pub conn_id: Arc<str>,
    /// The call that it was before: a transfer, a conference, another site.
    pub previous_conn_id: Option<Arc<str>>,
    /// The call that this one consults about.
    pub transfer_conn_id: Option<Arc<str>>,
    /// The call's CallUUID.
    pub call_uuid: Option<CallUuid>,
    /// Whose event it is.
    pub this_dn: Arc<str>,
    /// The other party, where there is one.
    pub other_dn: Option<Arc<str>>,
    /// Dialled number.
    pub dnis: Option<String>,
    /// Caller's number.
    pub ani: Option<String>,
    /// The agent at `this_dn`.
    pub agent: Option<String>,
    /// CallType: none when unknown.
    pub direction: Option<Direction>,
    /// All attached data of the call as it is now; none: the event does not say.
    pub user_data: Option<Pairs>,
    /// Extensions.
    pub extensions: Pairs,
    /// PrivateMsgID of EventPrivateInfo.
    pub private_msg_id: Option<u64>,
}

/// Which event of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// EventRinging
    Ringing,
    /// EventDialing
    Dialing,
    /// EventEstablished
    Established,
    /// EventHeld
    Held,
    /// EventRetrieved
    Retrieved,
    /// EventPartyAdded
    PartyAdded,
    /// EventPartyChanged
    PartyChanged,
    /// EventPartyDeleted
    PartyDeleted,
    /// EventReleased
    Released,
    /// EventAbandoned
    Abandoned,
    /// EventAttachedDataChanged
    AttachedDataChanged,
    /// EventPrivateInfo
    PrivateInfo,
    /// EventUserEvent
    UserEvent,
}

/// The cached configuration: names as the centre has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigData {
    /// True for ConfigUpdate: only what it names has changed.
    #[serde(skip)]
    pub is_update: bool,
    /// Tenants.
    pub tenants: Vec<TenantRow>,
    /// Switches.
    pub switches: Vec<SwitchRow>,
    /// T-Servers.
    pub tservers: Vec<TServerRow>,
    /// DNs.
    pub dns: Vec<DnRow>,
    /// Agents and where they are logged in.
    pub agents: Vec<AgentRow>,
}

/// A tenant of the centre.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRow {
    /// Its id.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The tenant above it.
    #[serde(default)]
    pub parent: Option<String>,
}

/// A switch of the centre.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRow {
    /// Its id.
    pub id: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// A T-Server of the centre.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TServerRow {
    /// Its name.
    pub name: String,
    /// The switch that it serves.
    pub switch: String,
    /// Its kind; only `SIP` counts. Empty: SIP.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A DN of a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnRow {
    /// Its number.
    pub dn: String,
    /// Its type, as the centre names it.
    #[serde(default)]
    pub dn_type: String,
}

/// An agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// Login or employee id.
    pub agent_id: String,
    /// Where it is logged in.
    #[serde(default)]
    pub dn: Option<String>,
}

/// Reads one line.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &[u8]) -> Result<Incoming, String> {
    let raw: Raw = serde_json::from_slice(line).map_err(|e| format!("no message: {e}"))?;
    let (reference, seq) = (raw.reference, raw.seq);
    let body = match raw.msg.as_str() {
        "EventACK" => Body::Ack,
        "EventError" => Body::Error(raw.error_text()),
        "EventRegistered" => Body::Registered(raw.registered()?),
        "ConfigSnapshot" | "ConfigUpdate" => Body::Config(Box::new(raw.config(line)?)),
        name => match EventKind::named(name) {
            Some(kind) => Body::Call(Box::new(raw.call_event(kind, None)?)),
            None => Body::Unknown(raw.msg.chars().take(64).collect()),
        },
    };
    Ok(Incoming { reference, seq, body })
}

/// T-Lib's attributes, all of them optional.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    msg: String,
    #[serde(rename = "ref")]
    reference: Option<u64>,
    seq: Option<u64>,
    dn: Option<String>,
    dn_type: Option<String>,
    conn_id: Option<String>,
    previous_conn_id: Option<String>,
    transfer_conn_id: Option<String>,
    call_uuid: Option<String>,
    this_dn: Option<String>,
    other_dn: Option<String>,
    dnis: Option<String>,
    ani: Option<String>,
    agent_id: Option<String>,
    call_type: Option<String>,
    user_data: Option<BTreeMap<String, Value>>,
    extensions: BTreeMap<String, Value>,
    private_msg_id: Option<u64>,
    state: Option<String>,
    calls: Option<Vec<Raw>>,
    error: Option<Value>,
}

impl Raw {
    fn registered(mut self) -> Result<Registered, String> {
        let dn = name("dn", self.dn.take().or(self.this_dn.take()))?.ok_or("EventRegistered without dn")?;
        let calls = self.calls.take().map(|calls| {
            let call = |call: Raw| {
                let kind = call.state.as_deref().map_or(Some(EventKind::Established), call_state);
                let kind = kind.ok_or_else(|| format!("a call in the unknown state {:?}", call.state))?;
                call.call_event(kind, Some(dn.clone()))
            };
            calls.into_iter().map(call).collect::<Result<Vec<_>, _>>()
        });
        let calls = calls.transpose()?;
        Ok(Registered { dn, dn_type: self.dn_type.as_deref().map(dn_type), agent: self.agent_id, calls })
    }

    fn call_event(self, kind: EventKind, dn: Option<Arc<str>>) -> Result<CallEvent, String> {
        let conn_id = name("connId", self.conn_id)?;
        let conn_id = match (kind, conn_id) {
            (_, Some(conn_id)) => conn_id,
            (EventKind::UserEvent, None) => "".into(), // not of a call
            (_, None) => return Err("an event of a call without connId".into()),
        };
        Ok(CallEvent {
            kind,
            conn_id,
            previous_conn_id: name("previousConnId", self.previous_conn_id)?,
            transfer_conn_id: name("transferConnId", self.transfer_conn_id)?,
            call_uuid: name("callUuid", self.call_uuid)?.map(CallUuid),
            this_dn: name("thisDn", self.this_dn)?.or(dn).ok_or("an event of a call without thisDn")?,
            other_dn: name("otherDn", self.other_dn)?,
            dnis: short("dnis", self.dnis)?,
            ani: short("ani", self.ani)?,
            agent: short("agentId", self.agent_id)?,
            direction: self.call_type.as_deref().map(direction).transpose()?.flatten(),
            user_data: self.user_data.map(pairs).transpose()?,
            extensions: pairs(self.extensions)?,
            private_msg_id: self.private_msg_id,
        })
    }

    fn config(&self, line: &[u8]) -> Result<ConfigData, String> {
        let data: ConfigData = serde_json::from_slice(line).map_err(|e| format!("{}: {e}", self.msg))?;
        Ok(ConfigData { is_update: self.msg == "ConfigUpdate", ..data })
    }

    fn error_text(&self) -> String {
        let text = match &self.error {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "no reason given".into(),
        };
        text.chars().take(MAX_NAME_BYTES).collect()
    }
}

impl EventKind {
    /// All of them by their names.
    pub const NAMES: [(&str, EventKind); 13] = [
        ("EventRinging", EventKind::Ringing),
        ("EventDialing", EventKind::Dialing),
        ("EventEstablished", EventKind::Established),
        ("EventHeld", EventKind::Held),
        ("EventRetrieved", EventKind::Retrieved),
        ("EventPartyAdded", EventKind::PartyAdded),
        ("EventPartyChanged", EventKind::PartyChanged),
        ("EventPartyDeleted", EventKind::PartyDeleted),
        ("EventReleased", EventKind::Released),
        ("EventAbandoned", EventKind::Abandoned),
        ("EventAttachedDataChanged", EventKind::AttachedDataChanged),
        ("EventPrivateInfo", EventKind::PrivateInfo),
        ("EventUserEvent", EventKind::UserEvent),
    ];

    /// By T-Lib's name.
    pub fn named(name: &str) -> Option<EventKind> {
        EventKind::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// The state of a call in EventRegistered, as the event that led to it.
fn call_state(state: &str) -> Option<EventKind> {
    Some(match state {
        "Ringing" => EventKind::Ringing,
        "Dialing" => EventKind::Dialing,
        "Established" => EventKind::Established,
        "Held" => EventKind::Held,
        _ => return None,
    })
}

/// A DN's type by the switch's name for it, in any case and with or without blanks.
///
/// # Errors
/// Why such a DN cannot be monitored.
pub fn dn_type(text: &str) -> Result<DnType, String> {
    let bare: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let known = DnType::ALL.into_iter().find(|kind| kind.name().replace('-', "") == bare);
    known.ok_or_else(|| {
        let name: String = text.chars().take(64).collect();
        format!("a DN of type {name:?} has no audio of its own; Extension, ACD Position, Voice Treatment Port and Trunk Group can be monitored")
    })
}

/// A DN's type as it goes over the link.
pub fn dn_type_name(dn_type: DnType) -> &'static str {
    match dn_type {
        DnType::Extension => "Extension",
        DnType::AcdPosition => "ACDPosition",
        DnType::VoiceTreatmentPort => "VoiceTreatmentPort",
        DnType::TrunkGroup => "TrunkGroup",
    }
}

fn direction(call_type: &str) -> Result<Option<Direction>, String> {
    Ok(Some(match call_type {
        "Unknown" => return Ok(None),
        "Internal" => Direction::Internal,
        "Inbound" => Direction::Inbound,
        "Outbound" => Direction::Outbound,
        "Consult" => Direction::Consult,
        other => return Err(format!("callType {other:?}: expected Unknown, Internal, Inbound, Outbound or Consult")),
    }))
}

fn short(what: &str, text: Option<String>) -> Result<Option<String>, String> {
    match text {
        Some(text) if text.len() > MAX_NAME_BYTES => {
            Err(format!("{what} has {} bytes; at most {MAX_NAME_BYTES} are taken", text.len()))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

fn name(what: &str, text: Option<String>) -> Result<Option<Arc<str>>, String> {
    Ok(short(what, text)?.map(Arc::from))
}

fn pairs(values: BTreeMap<String, Value>) -> Result<Pairs, String> {
    if values.len() > MAX_KEYS {
        return Err(format!("{} pairs of data; at most {MAX_KEYS} are taken", values.len()));
    }
    let pair = |(key, value): (String, Value)| {
        let value = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok((short("a key", Some(key))?.unwrap_or_default(), cut(value)))
    };
    let pairs: Pairs = values.into_iter().map(pair).collect::<Result<_, String>>()?;
    match pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() {
        bytes if bytes > MAX_DATA_BYTES => Err(format!("{bytes} bytes of data; at most {MAX_DATA_BYTES} are taken")),
        _ => Ok(pairs),
    }
}

fn cut(mut text: String) -> String {
    let mut end = MAX_VALUE_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A message to a T-Server.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "msg")]
pub enum Outgoing<'a> {
    /// Monitor a DN; answered by EventRegistered or EventError.
    #[serde(rename_all = "camelCase")]
    RegisterAddress {
        /// Number of the request.
        r#ref: u64,
        /// Which.
        dn: &'a str,
        /// Its type.
        dn_type: &'static str,
    },
    /// Give the cached configuration; answered by ConfigSnapshot.
    RequestSnapshot {
        /// Number of the request.
        r#ref: u64,
    },
    /// Start, stop, pause or resume a recording; answered by EventACK or EventError.
    #[serde(rename_all = "camelCase")]
    RequestPrivateService {
        /// Number of the request.
        r#ref: u64,
        /// What.
        service_id: u64,
        /// For which DN.
        this_dn: &'a str,
        /// In which call.
        conn_id: &'a str,
        /// How.
        extensions: &'a Pairs,
        /// Why.
        reasons: &'a Pairs,
    },
    /// Are you there; answered by EventACK.
    KeepAlive {
        /// Number of the request.
        r#ref: u64,
    },
}

impl Outgoing<'_> {
    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("all map keys are strings, and memory takes every write");
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests;
