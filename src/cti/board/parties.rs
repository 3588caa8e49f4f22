//! The parties of a call: who came, was connected, went over to another call, left. Pure.

use std::sync::Arc;

use crate::clock::Now;
use crate::model::conversation::StepKind;

use super::{Board, CallNo, LinkNo, MAX_TURNS, Turn};
use crate::cti::message::{CallEvent, EventKind};

impl Board {
    /// Who came, was connected, left.
    pub(super) fn move_parties(&mut self, now: Now, no: CallNo, event: &CallEvent) {
        let this = &event.this_dn;
        let other = event.other_dn.as_ref().filter(|other| *other != this);
        match event.kind {
            EventKind::Ringing | EventKind::Dialing => {
                self.enter(now, no, this, true, false);
                other.into_iter().for_each(|dn| self.enter(now, no, dn, false, event.kind == EventKind::Ringing));
                self.step(now, no, if event.kind == EventKind::Ringing { StepKind::Ringing } else { StepKind::Dialing }, this);
            }
            EventKind::Established | EventKind::Held | EventKind::Retrieved => {
                self.enter(now, no, this, true, true);
                other.into_iter().for_each(|dn| self.enter(now, no, dn, false, true));
                let kind = match event.kind {
                    EventKind::Held => StepKind::Held,
                    EventKind::Retrieved => StepKind::Retrieved,
                    _ => StepKind::Established,
                };
                self.step(now, no, kind, this);
            }
            EventKind::PartyAdded => {
                self.enter(now, no, this, true, true);
                other.into_iter().for_each(|dn| self.enter(now, no, dn, false, true));
                other.into_iter().for_each(|dn| self.step(now, no, StepKind::Joined, dn));
            }
            EventKind::PartyChanged => {
                self.enter(now, no, this, true, true);
                if let Some(other) = other {
                    self.replace_far_side(now, no, this, other);
                }
            }
            EventKind::PartyDeleted => other.into_iter().for_each(|dn| {
                self.leave(now, no, dn);
                self.step(now, no, StepKind::Released, dn);
            }),
            EventKind::Released => {
                self.leave(now, no, this);
                self.step(now, no, StepKind::Released, this);
            }
            EventKind::Abandoned => {
                self.leave(now, no, this);
                other.into_iter().for_each(|dn| self.leave(now, no, dn));
                self.step(now, no, StepKind::Abandoned, other.unwrap_or(this));
            }
            EventKind::AttachedDataChanged | EventKind::PrivateInfo | EventKind::UserEvent => {}
        }
        self.judge(now, no);
    }

    /// A party comes, or is connected.
    pub(super) fn enter(&mut self, now: Now, no: CallNo, dn: &Arc<str>, has_events: bool, is_talking: bool) {
        let agent = self.calls.get(&no).and_then(|call| {
            let link = self.switches.iter().position(|switch| *switch == call.fact.switch)?;
            self.agents.get(&(LinkNo(link), dn.clone())).cloned()
        });
        let Some(call) = self.calls.get_mut(&no) else { return };
        if !call.turns.iter().any(|turn| turn.dn == *dn && turn.to.is_none()) {
            if call.turns.len() >= MAX_TURNS {
                return;
            }
            call.turns.push(Turn { dn: dn.clone(), agent, talking: None, to: None, has_events });
        }
        let Some(turn) = call.turns.iter_mut().find(|turn| turn.dn == *dn && turn.to.is_none()) else { return };
        turn.has_events |= has_events;
        if is_talking {
            turn.talking.get_or_insert(now.wall);
        }
    }

    pub(super) fn leave(&mut self, now: Now, no: CallNo, dn: &str) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        call.turns.iter_mut().filter(|turn| *turn.dn == *dn && turn.to.is_none()).for_each(|turn| turn.to = Some(now.wall));
    }

    /// The far side of `this` is `other` now. Whoever was there before and has no events of its own has left.
    pub(super) fn replace_far_side(&mut self, now: Now, no: CallNo, this: &Arc<str>, other: &Arc<str>) {
        let gone: Vec<Arc<str>> = self.calls.get(&no).map_or_else(Vec::new, |call| {
            let live = call.turns.iter().filter(|turn| turn.to.is_none() && turn.dn != *this && turn.dn != *other);
            live.filter(|turn| !turn.has_events).map(|turn| turn.dn.clone()).collect()
        });
        gone.iter().for_each(|dn| self.leave(now, no, dn));
        let is_new = self.calls.get(&no).is_some_and(|call| !call.turns.iter().any(|t| t.dn == *other && t.to.is_none()));
        self.enter(now, no, other, false, true);
        if is_new {
            self.step(now, no, StepKind::Joined, other);
        }
    }

    /// A party comes over from the call `previous`: the two are one conversation from now on.
    pub(super) fn come_over(&mut self, now: Now, link: LinkNo, no: CallNo, previous: &Arc<str>, event: &CallEvent) {
        let dn = &event.this_dn;
        let Some(from) = self.anywhere(link, previous).filter(|from| *from != no) else { return };
        let was_there = self.calls.get(&from).is_some_and(|call| call.turns.iter().any(|t| t.dn == *dn && t.to.is_none()));
        if event.kind != EventKind::PartyChanged && !was_there {
            return;
        }
        let agent = self.calls.get(&from).and_then(|call| call.turns.iter().rev().find(|t| t.dn == *dn)?.agent.clone());
        self.leave(now, from, dn);
        self.judge(now, from);
        self.enter(now, no, dn, true, true);
        if let Some(call) = self.calls.get_mut(&no) {
            let here = |turn: &&mut Turn| turn.dn == *dn && turn.to.is_none();
            call.turns.iter_mut().filter(here).for_each(|turn| turn.agent = turn.agent.take().or_else(|| agent.clone()));
        }
        self.step(now, no, StepKind::Joined, dn);
        self.unite(no, from);
    }

    /// Whether the call still has two parties.
    pub(super) fn judge(&mut self, now: Now, no: CallNo) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        match call.turns.iter().filter(|turn| turn.to.is_none()).count() {
            0 => {
                call.emptied.get_or_insert(now);
                self.finish(no);
            }
            1 => call.emptied = call.emptied.or(Some(now)),
            _ => (call.emptied, call.fact.ended) = (None, None),
        }
    }

    /// The call ended when it was left by all but one.
    pub(super) fn finish(&mut self, no: CallNo) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        let Some(emptied) = call.emptied else { return };
        call.fact.ended.get_or_insert(emptied.wall);
        call.turns.iter_mut().filter(|turn| turn.to.is_none()).for_each(|turn| turn.to = Some(emptied.wall));
    }
}
