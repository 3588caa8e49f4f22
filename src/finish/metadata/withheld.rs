//! What a sealed recording keeps from those who have no key: everything that names or describes a person. Pure.
//!
//! A reader needs ids, times, lengths and checksums to take a recording in; these stay in the clear. Who called whom, what was typed, and
//! all that the sender attached is personal, and stands only in the sealed details (docs/decisions/0037).

use std::collections::BTreeMap;

use crate::model::conversation::CallFact;
use crate::model::{Conversation, History, Leg, Recording};

/// Parameters that link a recording to its call and say nothing about anyone.
const IN_THE_CLEAR: [&str; 3] = ["calluuid", "connid", "datetime"];

/// The recording as everyone may see it.
///
/// Every field is named here: who adds one has to decide.
pub fn without_personal(recording: &Recording) -> Recording {
    let Recording {
        no,
        id,
        call_uuid,
        tenant,
        switch,
        ruling,
        dialect,
        conversation,
        tones,
        origin,
        started,
        ended,
        end_reason,
        stage,
        sessions: _, // none once it is over
        restarts,
        legs,
        masks,
        pause: _, // over with the call
        flags,
        parameters,
        headers: _,
        notes: _,
        files,
        arrived_at,
        set_aside: _, // nothing is delivered yet
        immediate,
    } = recording.clone();
    let parameters: BTreeMap<_, _> = parameters.into_iter().filter(|(name, _)| IN_THE_CLEAR.contains(&name.as_str())).collect();
    Recording {
        no,
        id,
        call_uuid,
        tenant,
        switch,
        ruling,
        dialect,
        tones, // tells of the recording, not of anyone
        conversation: conversation.map(|conversation| Box::new(links(*conversation))),
        origin,
        started,
        ended,
        end_reason,
        stage,
        sessions: Vec::new(),
        restarts,
        legs: legs.into_iter().map(leg_without_personal).collect(),
        masks,
        pause: None,
        flags,
        parameters,
        headers: Vec::new(),
        notes: Vec::new(),
        files,
        arrived_at,
        set_aside: Vec::new(),
        immediate,
    }
}

/// Without number and name of the party, and without the digits that it typed.
fn leg_without_personal(leg: Leg) -> Leg {
    Leg { dn: None, digits: Vec::new(), ..leg }
}

/// What belongs together, on which switch, and when; nothing of who spoke, what was attached, what the agents did.
fn links(conversation: Conversation) -> Conversation {
    let Conversation {
        id,
        calls,
        couples: _,
        agents: _,
        attached_data: _,
        data_changes: _,
        steps: _,
        left_out: _,
        blind,
        recordings,
    } = conversation;
    let call = |call: CallFact| CallFact { ani: None, dnis: None, ..call };
    Conversation {
        id,
        calls: calls.into_iter().map(call).collect(),
        couples: Vec::new(),
        agents: Vec::new(),
        attached_data: BTreeMap::new(),
        data_changes: History::default(),
        steps: History::default(),
        left_out: 0,
        blind,
        recordings,
    }
}
