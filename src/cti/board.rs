//! The call model: what the T-Servers' events say about calls, their parties and data, and which calls are one conversation.
//! It meets the recordings by CallUUID or recording id, whichever side comes first.
//!
//! A call is one ConnID at one switch. A conversation goes on when a party comes over from another call (a two-step transfer, a
//! conference) and when a call goes on at another switch; a consultation is a conversation of its own until then. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::model::conversation::{Blind, CallFact, Conversation, StepKind};
use crate::model::{CallUuid, Direction, MonoTime, RecordingId, RecordingNo, SwitchId, TenantId, WallTime};

use super::account;
use super::message::{CallEvent, EventKind, Pairs, Registered};
use past::{Past, Shares};
pub use questions::SessionFacts;

mod parties;
mod past;
mod questions;
mod talks;

/// A call with less than two parties is over when nothing more is heard of it for so long: within a transfer the old party
/// may leave before the new one comes.
const OVER_AFTER: Duration = Duration::from_secs(5);

/// How long a conversation is remembered after its last call: the media side may be late, and another call may go on with it.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A call of which nothing was heard for so long, and which is not recorded, has ended unnoticed.
const STALE: Duration = Duration::from_hours(12);

/// What is known of a recording is told at most so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// More calls at once are not followed.
const MAX_CALLS: usize = 20_000;

/// Parties of a call that are remembered.
const MAX_TURNS: usize = 64;

/// A T-Server by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo(pub usize);

/// Whose calls somebody may know of: one tenant's, and those of the tenants above it, whose switches it may be on. Calls of
/// a switch that is nobody's are everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose(Option<Vec<TenantId>>);

impl Whose {
    /// Nobody has said whose: then the switch will.
    pub fn unknown() -> Whose {
        Whose(None)
    }

    /// A tenant's; `above` are the tenants above it.
    pub fn of(tenant: TenantId, above: impl IntoIterator<Item = TenantId>) -> Whose {
        Whose(Some(std::iter::once(tenant).chain(above).collect()))
    }

    /// Whether calls of this tenant's switches are for them.
    pub fn includes(&self, owner: &TenantId) -> bool {
        *owner == TenantId::default_tenant() || self.0.as_ref().is_none_or(|tenants| tenants.contains(owner))
    }
}

/// What the media side knows of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingFacts {
    /// The box's number for it.
    pub no: RecordingNo,
    /// Its id.
    pub id: RecordingId,
    /// CallUUID, where the media server gave one.
    pub call_uuid: Option<CallUuid>,
    /// Whose it is.
    pub whose: Whose,
    /// DN of the recorded party.
    pub recorded_dn: Option<String>,
    /// When it began.
    pub started: WallTime,
    /// When its last session ended; none: it runs.
    pub ended: Option<WallTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CallNo(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TalkNo(u64);

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) fact: CallFact,
    pub(super) talk: TalkNo,
    pub(super) turns: Vec<Turn>,
    /// Parties that came over from other calls.
    pub(super) joined: Vec<(Arc<str>, CallNo)>,
    pub(super) data: Pairs,
    /// Somebody asked the switch to pause its recording.
    paused: bool,
    /// Since when it has less than two parties.
    emptied: Option<Now>,
    heard: MonoTime,
}

impl Call {
    /// When it ended: when all but one had left.
    pub(super) fn ended(&self) -> Option<WallTime> {
        self.fact.ended.or(self.emptied.map(|at| at.wall))
    }
}

/// A party of a call.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) dn: Arc<str>,
    pub(super) agent: Option<String>,
    /// When it was connected.
    pub(super) talking: Option<WallTime>,
    pub(super) to: Option<WallTime>,
    /// The DN is monitored: its own events tell when it leaves.
    has_events: bool,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: String,
    pub(super) calls: Vec<CallNo>,
    pub(super) past: Past,
    pub(super) recordings: Vec<RecordingId>,
    /// Those of them that run.
    running: Vec<RecordingNo>,
    over: Option<MonoTime>,
}

/// A recording and its call.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) facts: RecordingFacts,
    pub(super) call: Option<CallNo>,
    is_news: bool,
    told: Option<MonoTime>,
}

/// All calls of all switches.
#[derive(Debug)]
pub struct Board {
    switches: Vec<SwitchId>,
    /// Whose each of the switches is. Numbers and ids of one tenant's switch mean nothing at another's.
    owners: Vec<TenantId>,
    pub(super) calls: BTreeMap<CallNo, Call>,
    by_conn: HashMap<(LinkNo, Arc<str>), CallNo>,
    by_uuid: HashMap<(TenantId, CallUuid), CallNo>,
    by_recording_id: HashMap<RecordingId, CallNo>,
    pub(super) talks: BTreeMap<TalkNo, Talk>,
    /// What the histories of all conversations take.
    past_bytes: usize,
    recordings: BTreeMap<RecordingNo, Recorded>,
    /// Agents by DN, from the cached configuration.
    agents: HashMap<(LinkNo, Arc<str>), String>,
    pub(super) blind: Vec<Blind>,
    /// Recordings that began after their call was paused.
    late_pauses: Vec<RecordingNo>,
    next: u64,
    not_followed: u64,
}

impl Board {
    /// Nothing known yet; for each T-Server its switch, and whose that is.
    pub fn new(switches: Vec<(SwitchId, TenantId)>) -> Board {
        let (switches, owners) = switches.into_iter().unzip();
        Board {
            switches,
            owners,
            calls: BTreeMap::new(),
            by_conn: HashMap::new(),
            by_uuid: HashMap::new(),
            by_recording_id: HashMap::new(),
            talks: BTreeMap::new(),
            past_bytes: 0,
            recordings: BTreeMap::new(),
            agents: HashMap::new(),
            blind: Vec::new(),
            late_pauses: Vec::new(),
            next: 0,
            not_followed: 0,
        }
    }

    /// Calls that go on.
    pub fn calls_in_progress(&self) -> usize {
        self.calls.values().filter(|call| call.fact.ended.is_none()).count()
    }

    /// An event of a call.
    pub fn handle_event(&mut self, now: Now, link: LinkNo, event: &CallEvent) {
        if event.kind == EventKind::UserEvent && event.conn_id.is_empty() {
            return;
        }
        let Some(no) = self.call_of(now, link, event) else { return };
        self.learn(now, link, no, event);
        if let Some(previous) = &event.previous_conn_id {
            self.come_over(now, link, no, previous, event);
        }
        self.move_parties(now, no, event);
        if let Some(data) = &event.user_data {
            self.change_data(now, no, &event.this_dn, data);
        }
        self.changed(no);
    }

    /// All calls on a DN, as the T-Server says after a registration: what it does not name has ended meanwhile.
    pub fn handle_registered(&mut self, now: Now, link: LinkNo, registered: &Registered) {
        let Some(calls) = &registered.calls else { return };
        calls.iter().for_each(|event| self.handle_event(now, link, event));
        let there: Vec<CallNo> = calls.iter().filter_map(|e| self.by_conn.get(&(link, e.conn_id.clone())).copied()).collect();
        let at_dn = |call: &Call| call.turns.iter().any(|turn| turn.dn == registered.dn && turn.has_events && turn.to.is_none());
        let switch = self.switches.get(link.0).cloned();
        let gone: Vec<CallNo> = self
            .calls
            .iter()
            .filter(|(no, call)| Some(&call.fact.switch) == switch.as_ref() && !there.contains(no) && at_dn(call))
            .map(|(no, _)| *no)
            .collect();
        for no in gone {
            self.leave(now, no, &registered.dn);
            self.step(now, no, StepKind::Released, &registered.dn);
            self.changed(no);
        }
    }

    /// An agent is logged in at a DN.
    pub fn agent_at(&mut self, link: LinkNo, dn: Arc<str>, agent: String) {
        if self.agents.len() < MAX_CALLS || self.agents.contains_key(&(link, dn.clone())) {
            self.agents.insert((link, dn), agent);
        }
    }

    /// A link was lost, or is there again.
    pub fn link_changed(&mut self, now: Now, link: LinkNo, is_up: bool) {
        let Some(switch) = self.switches.get(link.0) else { return };
        if is_up {
            self.blind.iter_mut().filter(|b| b.switch == *switch && b.to.is_none()).for_each(|b| b.to = Some(now.wall));
        } else {
            self.blind.push(Blind { switch: switch.clone(), from: now.wall, to: None });
            self.blind.drain(..self.blind.len().saturating_sub(100));
        }
        self.recordings.values_mut().for_each(|recorded| recorded.is_news = true);
    }

    /// The switch was asked to record this call under this id.
    pub fn asked_to_record(&mut self, link: LinkNo, conn_id: &Arc<str>, id: RecordingId) {
        if let Some(no) = self.by_conn.get(&(link, conn_id.clone())).copied() {
            self.by_recording_id.insert(id, no);
            self.meet(no);
        }
    }

    /// A recording begins, learns something or ends.
    pub fn handle_recording(&mut self, facts: RecordingFacts) {
        let no = facts.no;
        let known = self.recordings.remove(&no);
        let call = known.as_ref().and_then(|recorded| recorded.call).or_else(|| self.call_recorded(&facts));
        let is_news = known.as_ref().is_none_or(|recorded| recorded.is_news || recorded.facts != facts);
        let told = known.and_then(|recorded| recorded.told);
        self.recordings.insert(no, Recorded { facts, call, is_news, told });
        if let Some(call) = call {
            self.meet(call);
        }
    }

    /// A recording is over for good.
    pub fn forget_recording(&mut self, no: RecordingNo) {
        let call = self.recordings.remove(&no).and_then(|recorded| recorded.call);
        if let Some(talk) = call.and_then(|call| self.talks.get_mut(&self.calls.get(&call)?.talk)) {
            talk.running.retain(|running| *running != no);
        }
    }

    /// What is new about recordings, and may be told by now.
    pub fn tell(&mut self, now: MonoTime) -> Vec<(RecordingNo, Conversation)> {
        // One that has ended is soon finished: there is no time to wait.
        let is_time = |r: &Recorded| r.facts.ended.is_some() || r.told.is_none_or(|told| told.after(TELL_EVERY) <= now);
        let due = |r: &&mut Recorded| r.is_news && r.call.is_some() && is_time(r);
        let due = self.recordings.values_mut().filter(due).map(|recorded| {
            (recorded.is_news, recorded.told) = (false, Some(now));
            recorded.facts.no
        });
        let due: Vec<RecordingNo> = due.collect();
        due.into_iter().filter_map(|no| Some((no, account::conversation(self, self.recordings.get(&no)?)?))).collect()
    }

    /// Ends what is over, forgets what is long over.
    pub fn handle_timeout(&mut self, now: Now) {
        let over =
            |call: &Call| call.fact.ended.is_none() && call.emptied.is_some_and(|at| at.mono.after(OVER_AFTER) <= now.mono);
        let over: Vec<CallNo> = self.calls.iter().filter(|(_, call)| over(call)).map(|(no, _)| *no).collect();
        for no in over {
            self.finish(no);
            self.changed(no);
        }
        self.forget(now);
    }
}

impl Board {
    /// The call of an event; a new one if it is not known.
    fn call_of(&mut self, now: Now, link: LinkNo, event: &CallEvent) -> Option<CallNo> {
        let key = (link, event.conn_id.clone());
        if let Some(no) = self.by_conn.get(&key) {
            return Some(*no);
        }
        if event.kind == EventKind::Released {
            return None; // the end of something that was never seen
        }
        let switch = self.switches.get(link.0)?.clone();
        let owner = self.owners.get(link.0)?.clone();
        let twin = event.call_uuid.as_ref().and_then(|uuid| self.by_uuid.get(&(owner, uuid.clone()))).copied();
        if let Some(no) =
            twin.filter(|no| self.calls.get(no).is_some_and(|call| call.fact.switch == switch && call.fact.ended.is_none()))
        {
            self.by_conn.insert(key, no); // the switch gave it another ConnID
            return Some(no);
        }
        if self.calls.len() >= MAX_CALLS {
            self.not_followed += 1;
            if self.not_followed.is_power_of_two() {
                tracing::error!(count = self.not_followed, "more than {MAX_CALLS} calls: a further one is not followed");
            }
            return None;
        }
        let before = event.previous_conn_id.as_ref().and_then(|conn| self.anywhere(link, conn)).or(twin);
        let consulted = event.transfer_conn_id.as_ref().and_then(|conn| self.anywhere(link, conn));
        let no = CallNo(self.number());
        let data = before.or(consulted).and_then(|no| self.calls.get(&no)).map(|call| call.data.clone()).unwrap_or_default();
        let talk = match before.and_then(|no| self.calls.get(&no)) {
            Some(call) => call.talk,
            None => self.begin_talk(event),
        };
        let fact = CallFact {
            call_uuid: None,
            conn_id: event.conn_id.clone(),
            switch,
            direction: None,
            ani: None,
            dnis: None,
            consult_of: event.transfer_conn_id.clone(),
            started: now.wall,
            ended: None,
        };
        self.calls.insert(
            no,
            Call { fact, talk, turns: Vec::new(), joined: Vec::new(), data, paused: false, emptied: None, heard: now.mono },
        );
        self.by_conn.insert(key, no);
        if let Some(talk) = self.talks.get_mut(&talk) {
            talk.calls.push(no);
            talk.over = None;
        }
        Some(no)
    }

    /// A call by its ConnID: at this switch, else at any other of the same tenant.
    fn anywhere(&self, link: LinkNo, conn_id: &Arc<str>) -> Option<CallNo> {
        let at = |link| self.by_conn.get(&(link, conn_id.clone())).copied();
        let owner = self.owners.get(link.0);
        let others = (0..self.switches.len()).filter(|n| *n != link.0 && self.owners.get(*n) == owner);
        at(link).or_else(|| others.into_iter().find_map(|n| at(LinkNo(n))))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What an event says of the call as such.
    fn learn(&mut self, now: Now, link: LinkNo, no: CallNo, event: &CallEvent) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        call.heard = now.mono;
        let fact = &mut call.fact;
        fact.direction = fact.direction.or(event.direction);
        if event.transfer_conn_id.is_some() && fact.direction.is_none() {
            fact.direction = Some(Direction::Consult);
        }
        fact.ani = fact.ani.take().or_else(|| event.ani.clone());
        fact.dnis = fact.dnis.take().or_else(|| event.dnis.clone());
        if let Some(uuid) = event.call_uuid.as_ref().filter(|_| fact.call_uuid.is_none()) {
            fact.call_uuid = Some(uuid.clone());
            if let Some(owner) = self.owners.get(link.0) {
                self.by_uuid.insert((owner.clone(), uuid.clone()), no);
            }
            self.look_for_recordings(no);
        }
        if let Some(agent) = &event.agent {
            self.agents.insert((link, event.this_dn.clone()), agent.clone());
        }
        let agent = event.agent.clone().or_else(|| self.agents.get(&(link, event.this_dn.clone())).cloned());
        if let (Some(call), Some(agent)) = (self.calls.get_mut(&no), agent) {
            let here = |turn: &&mut Turn| turn.dn == event.this_dn && turn.to.is_none() && turn.agent.is_none();
            call.turns.iter_mut().filter(here).for_each(|turn| turn.agent = Some(agent.clone()));
        }
    }
}
