//! What requests need to know of the calls: where a recording is, which recordings are at a place, what a rule may ask. Pure.

use crate::clock::Now;
use crate::model::conversation::StepKind;
use crate::model::{CallFacts, CallUuid, RecordingId, RecordingNo};

use super::{Board, Call, LinkNo, Whose};
use crate::cti::desk::{Place, Wish};

impl Board {
    /// The running recordings of this DN in this call; where none is the DN's, those of the call.
    pub fn recordings_at(&self, place: &Place) -> Vec<RecordingNo> {
        let exact = self.recordings_of(place, true);
        if exact.is_empty() { self.recordings_of(place, false) } else { exact }
    }

    /// Whether this DN is being recorded in this call.
    pub fn is_recorded(&self, place: &Place) -> bool {
        !self.recordings_of(place, true).is_empty()
    }

    fn recordings_of(&self, place: &Place, exact: bool) -> Vec<RecordingNo> {
        let Some(no) = self.by_conn.get(&(place.link, place.conn_id.clone())) else { return Vec::new() };
        let Some(talk) = self.calls.get(no).and_then(|call| self.talks.get(&call.talk)) else { return Vec::new() };
        let running = talk.running.iter().filter_map(|no| self.recordings.get(no)).filter(|r| r.facts.ended.is_none());
        let is_at = |dn: &Option<String>| dn.as_deref() == Some(&*place.dn);
        let fits = |r: &&super::Recorded| if exact { is_at(&r.facts.recorded_dn) } else { r.call == Some(*no) };
        running.filter(fits).map(|r| r.facts.no).collect()
    }

    /// Where requests about a recording go to: the recorded party in the call that it is in now.
    pub fn place_of(&self, no: RecordingNo) -> Option<Place> {
        let recorded = self.recordings.get(&no)?;
        let dn = recorded.facts.recorded_dn.as_deref()?;
        let matched = self.calls.get(&recorded.call?)?;
        let talk = self.talks.get(&matched.talk)?;
        let is_there = |call: &&Call| call.turns.iter().any(|turn| *turn.dn == *dn && turn.to.is_none());
        let call = talk.calls.iter().rev().filter_map(|no| self.calls.get(no)).find(is_there).unwrap_or(matched);
        let link = LinkNo(self.switches.iter().position(|switch| *switch == call.fact.switch)?);
        Some(Place { link, conn_id: call.fact.conn_id.clone(), dn: dn.into() })
    }

    /// Somebody asked something of the recordings of a call.
    pub fn wished(&mut self, now: Now, place: &Place, wish: Wish) {
        let Some(no) = self.by_conn.get(&(place.link, place.conn_id.clone())).copied() else { return };
        let Some(call) = self.calls.get_mut(&no) else { return };
        let kind = match wish {
            Wish::Pause => StepKind::Paused,
            Wish::Resume => StepKind::Resumed,
            Wish::Stop => return,
        };
        call.paused = wish == Wish::Pause;
        self.step(now, no, kind, &place.dn);
        self.changed(no);
    }

    /// Recordings that began after their call had been paused.
    pub fn late_pauses(&mut self) -> Vec<RecordingNo> {
        std::mem::take(&mut self.late_pauses)
    }

    /// What a rule may ask of a party of a call.
    pub fn facts(&self, place: &Place, known: CallFacts) -> Option<CallFacts> {
        let call = self.calls.get(self.by_conn.get(&(place.link, place.conn_id.clone()))?)?;
        Some(facts(call, &place.dn, known))
    }

    /// The call of a recording session that begins, and where its DN is.
    pub fn place_of_session(&self, session: &SessionFacts<'_>) -> Option<Place> {
        let no = self.call_of_session(session.id, session.call_uuid, &session.whose)?;
        let call = self.calls.get(&no)?;
        let link = LinkNo(self.switches.iter().position(|switch| *switch == call.fact.switch)?);
        Some(Place { link, conn_id: call.fact.conn_id.clone(), dn: session.dn?.into() })
    }
}

/// What a recording session says of itself when it begins.
#[derive(Clone, Debug)]
pub struct SessionFacts<'a> {
    /// Recording id.
    pub id: Option<&'a RecordingId>,
    /// CallUUID.
    pub call_uuid: Option<&'a CallUuid>,
    /// DN of the recorded party.
    pub dn: Option<&'a str>,
    /// Whose it is.
    pub whose: Whose,
}

fn facts(call: &Call, dn: &str, known: CallFacts) -> CallFacts {
    let own = call.turns.iter().rev().find(|turn| *turn.dn == *dn);
    let other = call.turns.iter().rev().find(|turn| *turn.dn != *dn && turn.to.is_none());
    CallFacts {
        call_uuid: call.fact.call_uuid.clone(),
        dn: Some(dn.to_owned()),
        other_dn: other.map(|turn| turn.dn.to_string()),
        agent: own.and_then(|turn| turn.agent.clone()),
        ani: call.fact.ani.clone(),
        dnis: call.fact.dnis.clone(),
        direction: call.fact.direction,
        attached: call.data.clone(),
        ..known
    }
}
