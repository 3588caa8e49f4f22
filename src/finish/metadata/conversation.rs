//! What the switch's side knew of a call, as it stands in `recording.json`: `nearend.couples` and `nearend.conversation`. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::Iso;
use crate::model::conversation::{AgentFact, Blind, CallFact, CoupleFact, DataChange, Step, StepKind};
use crate::model::{CallUuid, Conversation, Direction, Recording, RecordingId, SwitchId};

/// A recorded pair of streams.
#[derive(Serialize)]
pub(super) struct Couple<'a> {
    id: String,
    #[serde(rename = "GEN_CFG_TENANT")]
    tenant: &'a str,
    #[serde(rename = "GEN_CFG_SWITCH", skip_serializing_if = "Option::is_none")]
    switch: Option<&'a SwitchId>,
    #[serde(flatten)]
    parties: Option<Parties<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parties<'a> {
    recorded_dn: &'a str,
    other_dns: &'a [Arc<str>],
    conn_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_uuid: Option<&'a CallUuid>,
    start_time: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_time: Option<Iso>,
}

/// The couples of a recording, the first under the recording's own id. Without word from the switch there is one, of which
/// only the tenant is known.
pub(super) fn couples(recording: &Recording) -> Vec<Couple<'_>> {
    let tenant = &*recording.tenant.0;
    let conversation = recording.conversation.as_deref();
    let known = conversation.map(|conversation| &*conversation.couples).unwrap_or_default();
    if known.is_empty() {
        let told = conversation.and_then(|conversation| conversation.calls.first()).map(|call| &call.switch);
        let switch = told.or(recording.switch.as_ref());
        return vec![Couple { id: recording.id.to_string(), tenant, switch, parties: None }];
    }
    let id = |n: usize| if n == 0 { recording.id.to_string() } else { format!("{}/{}", recording.id, n + 1) };
    let couples = known.iter().enumerate();
    couples
        .map(|(n, couple)| Couple { id: id(n), tenant, switch: Some(&couple.switch), parties: Some(parties(couple)) })
        .collect()
}

fn parties(couple: &CoupleFact) -> Parties<'_> {
    Parties {
        recorded_dn: &couple.recorded_dn,
        other_dns: &couple.other_dns,
        conn_id: &couple.conn_id,
        call_uuid: couple.call_uuid.as_ref(),
        start_time: Iso(couple.started),
        stop_time: couple.ended.map(Iso),
    }
}

/// `nearend.conversation`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversationPart<'a> {
    id: &'a str,
    recordings: &'a [RecordingId],
    calls: Vec<CallEntry<'a>>,
    agents: Vec<AgentEntry<'a>>,
    attached_data: &'a BTreeMap<String, String>,
    data_changes: Vec<ChangeEntry>,
    steps: Vec<StepEntry>,
    left_out: u32,
    blind: Vec<BlindEntry<'a>>,
}

impl<'a> ConversationPart<'a> {
    /// Gathers it.
    pub(super) fn new(conversation: &'a Conversation) -> ConversationPart<'a> {
        ConversationPart {
            id: &conversation.id,
            recordings: &conversation.recordings,
            calls: conversation.calls.iter().map(call).collect(),
            agents: conversation.agents.iter().map(agent).collect(),
            attached_data: &conversation.attached_data,
            data_changes: conversation.data_changes.iter().map(change).collect(),
            steps: conversation.steps.iter().map(step).collect(),
            left_out: conversation.left_out,
            blind: conversation.blind.iter().map(blind).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallEntry<'a> {
    conn_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_uuid: Option<&'a CallUuid>,
    switch: &'a SwitchId,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ani: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dnis: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consult_of: Option<&'a str>,
    start_time: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_time: Option<Iso>,
}

fn call(call: &CallFact) -> CallEntry<'_> {
    CallEntry {
        conn_id: &call.conn_id,
        call_uuid: call.call_uuid.as_ref(),
        switch: &call.switch,
        direction: call.direction,
        ani: call.ani.as_deref(),
        dnis: call.dnis.as_deref(),
        consult_of: call.consult_of.as_deref(),
        start_time: Iso(call.started),
        stop_time: call.ended.map(Iso),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AgentEntry<'a> {
    agent_id: &'a str,
    dn: &'a str,
    start_time: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_time: Option<Iso>,
}

fn agent(agent: &AgentFact) -> AgentEntry<'_> {
    AgentEntry { agent_id: &agent.agent_id, dn: &agent.dn, start_time: Iso(agent.started), stop_time: agent.ended.map(Iso) }
}

#[derive(Serialize)]
struct ChangeEntry {
    time: Iso,
    key: String,
    /// Null: deleted.
    value: Option<String>,
    dn: Arc<str>,
}

fn change(change: DataChange) -> ChangeEntry {
    ChangeEntry { time: Iso(change.time), key: change.key, value: change.value, dn: change.dn }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepEntry {
    time: Iso,
    kind: StepKind,
    dn: Arc<str>,
    conn_id: Arc<str>,
}

fn step(step: Step) -> StepEntry {
    StepEntry { time: Iso(step.time), kind: step.kind, dn: step.dn, conn_id: step.conn_id }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BlindEntry<'a> {
    switch: &'a SwitchId,
    start_time: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_time: Option<Iso>,
}

fn blind(blind: &Blind) -> BlindEntry<'_> {
    BlindEntry { switch: &blind.switch, start_time: Iso(blind.from), stop_time: blind.to.map(Iso) }
}
