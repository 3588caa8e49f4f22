//! Conversations: which calls are one, what happened in them, which recordings belong to them. Pure.

use std::sync::Arc;

use crate::clock::Now;
use crate::model::conversation::{DataChange, Step, StepKind};
use crate::model::{CallUuid, RecordingNo};

use super::{Board, Call, CallNo, MAX_CHANGE_BYTES, MAX_STEPS, REMEMBERED, RecordingFacts, STALE, Talk, TalkNo};
use crate::cti::message::{CallEvent, Pairs};

impl Board {
    pub(super) fn begin_talk(&mut self, event: &CallEvent) -> TalkNo {
        let no = TalkNo(self.number());
        let id = event.call_uuid.as_ref().map_or(&event.conn_id, |uuid| &uuid.0).to_string();
        let talk = Talk {
            id,
            calls: Vec::new(),
            changes: Vec::new(),
            steps: Vec::new(),
            left_out: 0,
            recordings: Vec::new(),
            running: Vec::new(),
            change_bytes: 0,
            over: None,
        };
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
            talk.changes.extend(gone.changes);
            talk.changes.sort_by_key(|change| change.time);
            talk.steps.extend(gone.steps);
            talk.steps.sort_by_key(|step| step.time);
            talk.left_out += gone.left_out;
            talk.change_bytes += gone.change_bytes;
            talk.running.extend(gone.running);
            let new = gone.recordings.into_iter().filter(|id| !talk.recordings.contains(id)).collect::<Vec<_>>();
            talk.recordings.extend(new);
        }
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
        let Some(talk) = self.talks.get_mut(&call.talk) else { return };
        for (key, value) in changes {
            let bytes = key.len() + value.as_ref().map_or(0, String::len);
            if talk.change_bytes + bytes > MAX_CHANGE_BYTES {
                talk.left_out += 1;
            } else {
                talk.change_bytes += bytes;
                talk.changes.push(DataChange { time: now.wall, key, value, dn: dn.clone() });
            }
        }
    }

    /// Notes what happened; every monitored DN of the call tells it, so only once.
    pub(super) fn step(&mut self, now: Now, no: CallNo, kind: StepKind, dn: &Arc<str>) {
        let Some(call) = self.calls.get(&no) else { return };
        let Some(talk) = self.talks.get_mut(&call.talk) else { return };
        let conn_id = &call.fact.conn_id;
        let last = talk.steps.iter().rev().find(|step| step.dn == *dn && step.conn_id == *conn_id);
        if last.is_some_and(|last| last.kind == kind) {
            return;
        }
        if talk.steps.len() >= MAX_STEPS {
            talk.left_out += 1;
        } else {
            talk.steps.push(Step { time: now.wall, kind, dn: dn.clone(), conn_id: conn_id.clone() });
        }
    }

    /// Something is new about the recordings of a call's conversation.
    pub(super) fn changed(&mut self, no: CallNo) {
        let Some(talk) = self.calls.get(&no).and_then(|call| self.talks.get(&call.talk)) else { return };
        for no in &talk.running {
            self.recordings.entry(*no).and_modify(|recorded| recorded.is_news = true);
        }
    }

    pub(super) fn call_recorded(&self, facts: &RecordingFacts) -> Option<CallNo> {
        let by_uuid = |uuid: &CallUuid| self.by_uuid.get(uuid).copied();
        let in_id = || facts.id.0.split_once('_').map(|(uuid, _)| CallUuid(uuid.into()));
        let by_id = self.by_recording_id.get(&facts.id).copied();
        by_id.or_else(|| facts.call_uuid.as_ref().and_then(by_uuid)).or_else(|| by_uuid(&in_id()?))
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
        let Some(talk) = self.calls.get(&no).and_then(|call| self.talks.get_mut(&call.talk)) else { return };
        let mut is_new = false;
        for recorded in self.recordings.values().filter(|r| r.call == Some(no)) {
            if talk.running.contains(&recorded.facts.no) {
                continue;
            }
            is_new = true;
            talk.running.push(recorded.facts.no);
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
        let calls = &self.calls;
        self.by_conn.retain(|_, no| calls.contains_key(no));
        self.by_uuid.retain(|_, no| calls.contains_key(no));
        self.by_recording_id.retain(|_, no| calls.contains_key(no));
    }
}
