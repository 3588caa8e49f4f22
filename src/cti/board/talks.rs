//! Conversations: which calls are one, what happened in them, which recordings belong to them. Pure.

use std::sync::Arc;

use crate::clock::Now;
use crate::model::conversation::{DataChange, Step, StepKind};
use crate::model::{CallUuid, RecordingId, RecordingNo};

use super::{Board, Call, CallNo, Past, REMEMBERED, RecordingFacts, STALE, Shares, Talk, TalkNo, Whose};
use crate::cti::message::{CallEvent, Pairs};

impl Board {
    pub(super) fn begin_talk(&mut self, event: &CallEvent) -> TalkNo {
        let no = TalkNo(self.number());
        let id = event.call_uuid.as_ref().map_or(&event.conn_id, |uuid| &uuid.0).to_string();
        let talk = Talk { id, calls: Vec::new(), past: Past::default(), recordings: Vec::new(), running: Vec::new(), over: None };
        self.talks.insert(no, talk);
        no
    }

    /// Makes the conversations of two calls one: that of the first goes on.
    pub(super) fn unite(&mut self, into: CallNo, from: CallNo) {
        let talk_of = |board: &Board, no| board.calls.get(&no).map(|call: &Call| call.talk);
        let (Some(stays), Some(goes)) = (talk_of(self, into), talk_of(self, from)) else { return };
        if stays == goes {
            return;
        }
        let Some(gone) = self.talks.remove(&goes) else { return };
        for no in &gone.calls {
            self.calls.entry(*no).and_modify(|call| call.talk = stays);
        }
        if let Some(talk) = self.talks.get_mut(&stays) {
            talk.calls.extend(gone.calls);
            talk.past.unite(gone.past);
            talk.running.extend(gone.running);
            let new = gone.recordings.into_iter().filter(|id| !talk.recordings.contains(id)).collect::<Vec<_>>();
            talk.recordings.extend(new);
        }
        self.weigh();
    }

    /// What all histories take, counted anew.
    fn weigh(&mut self) {
        self.past_bytes = self.talks.values().map(|talk| talk.past.bytes()).sum();
    }

    /// Adds to the history of a conversation.
    fn add_to_past(&mut self, no: TalkNo, add: impl FnOnce(&mut Past, Shares)) {
        let shares = Shares { bytes: self.past_bytes, conversations: self.talks.len() };
        let Some(talk) = self.talks.get_mut(&no) else { return };
        let before = talk.past.bytes();
        add(&mut talk.past, shares);
        self.past_bytes += talk.past.bytes().saturating_sub(before);
    }

    pub(super) fn change_data(&mut self, now: Now, no: CallNo, dn: &Arc<str>, data: &Pairs) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        let set =
            data.iter().filter(|(key, value)| call.data.get(*key) != Some(*value)).map(|(k, v)| (k.clone(), Some(v.clone())));
        let deleted = call.data.keys().filter(|key| !data.contains_key(*key)).map(|key| (key.clone(), None));
        let changes: Vec<_> = set.chain(deleted).collect();
        if changes.is_empty() {
            return;
        }
        call.data.clone_from(data);
        let talk = call.talk;
        self.add_to_past(talk, |past, shares| {
            for (key, value) in changes {
                past.change(shares, &DataChange { time: now.wall, key, value, dn: dn.clone() });
            }
        });
    }

    /// Notes what happened.
    pub(super) fn step(&mut self, now: Now, no: CallNo, kind: StepKind, dn: &Arc<str>) {
        let Some(call) = self.calls.get(&no) else { return };
        let step = Step { time: now.wall, kind, dn: dn.clone(), conn_id: call.fact.conn_id.clone() };
        self.add_to_past(call.talk, |past, shares| past.step(shares, &step));
    }

    /// Something is new about the recordings of a call's conversation.
    pub(super) fn changed(&mut self, no: CallNo) {
        let Some(talk) = self.calls.get(&no).and_then(|call| self.talks.get(&call.talk)) else { return };
        for no in &talk.running {
            self.recordings.entry(*no).and_modify(|recorded| recorded.is_news = true);
        }
    }

    pub(super) fn call_recorded(&self, facts: &RecordingFacts) -> Option<CallNo> {
        self.call_of_session(Some(&facts.id), facts.call_uuid.as_ref(), &facts.whose)
    }

    /// The call that is recorded under this id, or by this CallUUID, if it is on a switch of theirs.
    pub(super) fn call_of_session(&self, id: Option<&RecordingId>, uuid: Option<&CallUuid>, whose: &Whose) -> Option<CallNo> {
        let by_uuid = |uuid: &CallUuid| {
            let owners = self.owners.iter().filter(|owner| whose.includes(owner));
            owners.into_iter().find_map(|owner| self.by_uuid.get(&(owner.clone(), uuid.clone())).copied())
        };
        let is_theirs = |no: &CallNo| {
            let switch = self.calls.get(no).map(|call| &call.fact.switch);
            let place = self.switches.iter().position(|known| Some(known) == switch);
            place.and_then(|place| self.owners.get(place)).is_some_and(|owner| whose.includes(owner))
        };
        let in_id = || id.and_then(|id| id.0.split_once('_')).map(|(uuid, _)| CallUuid(uuid.into()));
        let by_id = id.and_then(|id| self.by_recording_id.get(id).copied()).filter(is_theirs);
        by_id.or_else(|| uuid.and_then(by_uuid)).or_else(|| by_uuid(&in_id()?))
    }

    /// A CallUUID has become known: a recording may have waited for it.
    pub(super) fn look_for_recordings(&mut self, no: CallNo) {
        let waiting: Vec<RecordingNo> = self.recordings.values().filter(|r| r.call.is_none()).map(|r| r.facts.no).collect();
        for recording in waiting {
            let call = self.recordings.get(&recording).and_then(|r| self.call_recorded(&r.facts));
            if let Some(recorded) = self.recordings.get_mut(&recording) {
                recorded.call = call;
            }
        }
        self.meet(no);
    }

    /// The recordings of a call belong to its conversation.
    pub(super) fn meet(&mut self, no: CallNo) {
        let is_paused = self.calls.get(&no).is_some_and(|call| call.paused);
        let Some(talk) = self.calls.get(&no).and_then(|call| self.talks.get_mut(&call.talk)) else { return };
        let mut is_new = false;
        for recorded in self.recordings.values().filter(|r| r.call == Some(no)) {
            if talk.running.contains(&recorded.facts.no) {
                continue;
            }
            is_new = true;
            talk.running.push(recorded.facts.no);
            if is_paused {
                self.late_pauses.push(recorded.facts.no);
            }
            if !talk.recordings.contains(&recorded.facts.id) {
                talk.recordings.push(recorded.facts.id.clone());
            }
        }
        if is_new {
            self.changed(no);
        }
    }

    pub(super) fn forget(&mut self, now: Now) {
        let mut gone = Vec::new();
        for (no, talk) in &mut self.talks {
            let is_over = |no: &CallNo| {
                self.calls.get(no).is_none_or(|call| call.fact.ended.is_some() || call.heard.after(STALE) <= now.mono)
            };
            if !talk.running.is_empty() || !talk.calls.iter().all(is_over) {
                talk.over = None;
            } else if talk.over.get_or_insert(now.mono).after(REMEMBERED) <= now.mono {
                gone.push(*no);
            }
        }
        if gone.is_empty() {
            return;
        }
        for talk in gone.iter().filter_map(|no| self.talks.remove(no)) {
            talk.calls.iter().for_each(|no| drop(self.calls.remove(no)));
        }
        self.weigh();
        let calls = &self.calls;
        self.by_conn.retain(|_, no| calls.contains_key(no));
        self.by_uuid.retain(|_, no| calls.contains_key(no));
        self.by_recording_id.retain(|_, no| calls.contains_key(no));
    }
}
