//! What of the call model belongs to one recording: its conversation, its couples, who spoke, what was attached. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::WallTime;
use crate::model::conversation::{AgentFact, Blind, CallFact, Conversation, CoupleFact};

use super::board::{Board, Call, Recorded, Talk, Turn};

/// A far side that lasts less is not a couple: within a transfer one party may come a moment before the other leaves.
const SHORTEST_US: i64 = 250_000;

/// The conversation of a recording as it is known now; none: its call is not known.
pub(super) fn conversation(board: &Board, recorded: &Recorded) -> Option<Conversation> {
    let matched = board.calls.get(&recorded.call?)?;
    let talk = board.talks.get(&matched.talk)?;
    let calls: Vec<&Call> = talk.calls.iter().filter_map(|no| board.calls.get(no)).collect();
    let dn = recorded.facts.recorded_dn.as_deref();
    let way = dn.map(|dn| way(board, talk, recorded, dn)).unwrap_or_default();
    let was_up = |blind: &&Blind| {
        calls
            .iter()
            .any(|call| call.fact.switch == blind.switch && overlap((call.fact.started, call.ended()), (blind.from, blind.to)))
    };
    Some(Conversation {
        id: talk.id.clone(),
        calls: calls.iter().map(|call| CallFact { ended: call.ended(), ..call.fact.clone() }).collect(),
        couples: dn.map(|dn| couples(&way, dn, (recorded.facts.started, recorded.facts.ended))).unwrap_or_default(),
        agents: agents(&calls),
        attached_data: way.last().unwrap_or(&matched).data.clone(),
        data_changes: talk.past.changes.clone(),
        steps: talk.past.steps.clone(),
        left_out: talk.past.left_out,
        blind: board.blind.iter().filter(was_up).cloned().collect(),
        recordings: talk.recordings.clone(),
    })
}

/// The calls of the recorded party that its streams belong to: the one that was recorded, and those it went over to from there.
fn way<'a>(board: &'a Board, talk: &Talk, recorded: &Recorded, dn: &str) -> Vec<&'a Call> {
    let mut way: Vec<_> = recorded.call.into_iter().collect();
    let mut at = 0;
    while let Some(from) = way.get(at).copied() {
        let came = |call: &Call| call.joined.iter().any(|(who, call)| **who == *dn && *call == from);
        let next = talk.calls.iter().filter(|no| !way.contains(no) && board.calls.get(no).is_some_and(came));
        let next: Vec<_> = next.copied().collect();
        way.extend(next);
        at += 1;
    }
    way.iter().filter_map(|no| board.calls.get(no)).collect()
}

type Span = (WallTime, Option<WallTime>);

fn overlap(a: Span, b: Span) -> bool {
    let before_end = |start: WallTime, end: Option<WallTime>| end.is_none_or(|end| start < end);
    before_end(a.0, b.1) && before_end(b.0, a.1)
}

/// The part that both have in common.
fn common(a: Span, b: Span) -> Option<Span> {
    let end = match (a.1, b.1) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let start = a.0.max(b.0);
    end.is_none_or(|end| start < end).then_some((start, end))
}

/// When a party could be heard.
fn talking(call: &Call, turn: &Turn) -> Option<Span> {
    let to = turn.to.or(call.ended());
    turn.talking.filter(|from| to.is_none_or(|to| *from < to)).map(|from| (from, to))
}

/// Whom the recorded party spoke with, and when, within the recording.
fn couples(calls: &[&Call], dn: &str, recording: Span) -> Vec<CoupleFact> {
    let mut couples = Vec::new();
    for call in calls {
        for own in call.turns.iter().filter(|turn| *turn.dn == *dn).filter_map(|turn| talking(call, turn)) {
            let Some(own) = common(own, recording) else { continue };
            couples.extend(far_sides(call, dn, own));
        }
    }
    couples.sort_by_key(|couple| couple.started);
    couples
}

/// The far sides of a party while it was in a call: a new one whenever somebody comes or goes.
fn far_sides(call: &Call, dn: &str, own: Span) -> Vec<CoupleFact> {
    let others: Vec<(&Arc<str>, Span)> = call
        .turns
        .iter()
        .filter(|turn| *turn.dn != *dn)
        .filter_map(|turn| Some((&turn.dn, common(talking(call, turn)?, own)?)))
        .collect();
    let starts = others.iter().map(|(_, span)| span.0);
    let changes: BTreeSet<WallTime> = starts.chain(others.iter().filter_map(|(_, span)| span.1)).collect();
    let changes: Vec<WallTime> = changes.into_iter().collect();
    let mut couples: Vec<CoupleFact> = Vec::new();
    for (n, from) in changes.iter().enumerate() {
        let to = changes.get(n + 1).copied();
        let heard = others.iter().filter(|(_, span)| overlap(*span, (*from, to))).map(|(dn, _)| (*dn).clone());
        let heard: BTreeSet<Arc<str>> = heard.collect();
        let is_short = to.is_some_and(|to| to - *from < SHORTEST_US);
        if heard.is_empty() || is_short {
            continue;
        }
        let other_dns: Vec<Arc<str>> = heard.into_iter().collect();
        match couples.last_mut().filter(|last| last.other_dns == other_dns) {
            Some(last) => last.ended = to,
            None => couples.push(CoupleFact {
                recorded_dn: dn.into(),
                other_dns,
                conn_id: call.fact.conn_id.clone(),
                call_uuid: call.fact.call_uuid.clone(),
                switch: call.fact.switch.clone(),
                started: *from,
                ended: to,
            }),
        }
    }
    couples
}

/// Who spoke for the contact centre.
fn agents(calls: &[&Call]) -> Vec<AgentFact> {
    let turns = calls.iter().flat_map(|call| call.turns.iter().map(move |turn| (call, turn)));
    let mut agents: Vec<AgentFact> = turns
        .filter_map(|(call, turn)| {
            let (started, ended) = talking(call, turn)?;
            Some(AgentFact { agent_id: turn.agent.clone()?, dn: turn.dn.clone(), started, ended })
        })
        .collect();
    agents.sort_by_key(|agent| agent.started);
    let mut merged: Vec<AgentFact> = Vec::new();
    for agent in agents {
        let goes_on = |last: &&mut AgentFact| {
            last.agent_id == agent.agent_id && last.dn == agent.dn && last.ended.is_none_or(|ended| agent.started <= ended)
        };
        match merged.iter_mut().rev().find(goes_on) {
            Some(last) => last.ended = last.ended.zip(agent.ended).map(|(a, b)| a.max(b)),
            None => merged.push(agent),
        }
    }
    merged
}
