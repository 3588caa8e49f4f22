//! A whole run: places the calls at their rate, opens their sessions, lets them speak, pauses, hangs up, and keeps the tally.
//!
//! Pure: the driver carries out [`Action`]s, and tells what arrives, what is due, and which streams have ended.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::clock::Now;
use crate::model::id::path_component;
use crate::model::{Channel, MonoTime, block::Law};
use crate::sip::Message;
use crate::sip::deadlines::Deadlines;

use super::dialog::{Dialog, Event};
use super::digits::Digits;
use super::message::{Body, answer_outside};
use super::options::{Mode, Options, SecondLeg};
use super::plan::{CallPlan, SessionPlan};
use super::sdp::Description;
use super::sender::{CallNo, StreamNo};
use super::stream::{Counters, Setup};
use super::summary::{CallResult, Outcome, Percentiles, Summary};
use super::{genesys, siprec};

/// How long a stopped run waits for answers to INVITE and BYE.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// A session among all of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u32);

/// What the driver shall do.
#[derive(Debug)]
pub enum Action {
    /// Send a SIP message to the recorder.
    Send(Vec<u8>),
    /// Open a pair of ports for each stream, and say which by [`Scenario::ports_open`].
    OpenPorts {
        /// Whose they are.
        session: SessionNo,
        /// One for each.
        streams: Vec<StreamNo>,
    },
    /// Begin to send a stream; say by [`Scenario::stream_finished`] when it has ended.
    Start(Box<Start>),
    /// Send its packets to another place from now on.
    Move(StreamNo, SocketAddr),
    /// Stop its packets for a while.
    Pause(StreamNo),
    /// Go on with them.
    Resume(StreamNo),
    /// End it if it runs, and close its ports.
    Close(StreamNo),
}

/// A stream to begin with.
#[derive(Debug)]
pub struct Start {
    /// Its number.
    pub stream: StreamNo,
    /// Whose frames it shares.
    pub call: CallNo,
    /// Where its packets go.
    pub remote: SocketAddr,
    /// What it is like.
    pub setup: Setup,
    /// The frame in which it ends.
    pub end: u64,
    /// Name of its dump file.
    pub dump_name: String,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls placed so far.
    pub placed: u32,
    /// Calls that are to be placed in all.
    pub of: u32,
    /// Calls under way.
    pub active: u32,
    /// Calls over and completed as they should.
    pub completed: u32,
    /// Calls over in another way.
    pub unsuccessful: u32,
}

/// A run.
#[derive(Debug)]
pub struct Scenario {
    options: Options,
    local: SocketAddr,
    ids: Rng,
    started: MonoTime,
    next_session: u32,
    next_stream: u32,
    calls: BTreeMap<CallNo, Call>,
    sessions: BTreeMap<SessionNo, Session>,
    by_call_id: HashMap<String, SessionNo>,
    deadlines: Deadlines<Timer>,
    actions: VecDeque<Action>,
    setup_times: Vec<Duration>,
    summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Place,
    GiveUp,
    SecondLeg(CallNo),
    Pause(CallNo),
    Resume(CallNo),
    Dialog(SessionNo),
}

#[derive(Debug)]
struct Call {
    plan: CallPlan,
    /// Its sessions that were opened, in order.
    sessions: Vec<SessionNo>,
    call_ids: Vec<String>,
    accepted: usize,
    /// Sessions that are not over.
    open: usize,
    /// Streams that are being sent.
    sending: usize,
    paused: bool,
    /// Set once it is going to end.
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Session {
    call: CallNo,
    plan: SessionPlan,
    streams: Vec<StreamNo>,
    opened: MonoTime,
    /// None until its ports are open.
    dialog: Option<Dialog>,
}

impl Scenario {
    /// A run that begins `now`. `local` is where our SIP arrives; `ids` must not repeat between runs.
    pub fn new(now: Now, mut options: Options, local: SocketAddr, ids: Rng) -> Scenario {
        options.audio = options.audio.map(|audio| audio.in_law(options.law));
        let mut deadlines = Deadlines::default();
        deadlines.set(Timer::Place, Some(now.mono));
        Scenario {
            local,
            ids,
            started: now.mono,
            next_session: 0,
            next_stream: 0,
            calls: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_call_id: HashMap::new(),
            deadlines,
            actions: VecDeque::new(),
            setup_times: Vec::new(),
            summary: Summary { seed: options.seed, ..Summary::default() },
            options,
        }
    }

    /// A message of the recorder.
    pub fn handle_message(&mut self, now: Now, message: &Message) {
        let call_id = match message {
            Message::Request(request) => &request.call_id,
            Message::Response(response) => &response.call_id,
        };
        let no = self.by_call_id.get(call_id).copied();
        match (no.and_then(|no| self.sessions.get_mut(&no)?.dialog.as_mut()), message) {
            (Some(dialog), Message::Response(response)) => dialog.handle_response(now.mono, response),
            (Some(dialog), Message::Request(request)) => dialog.handle_request(request),
            (None, Message::Request(request)) if request.method != crate::sip::Method::Ack => {
                self.actions.push_back(Action::Send(answer_outside(request)));
            }
            (None, _) => {}
        }
        if let Some(no) = no {
            self.attend(now, no);
        }
    }

    /// When [`handle_timeout`](Scenario::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.deadlines.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.deadlines.pop_due(now.mono) {
            match timer {
                Timer::Place => self.place(now),
                Timer::GiveUp => self.give_up(),
                Timer::SecondLeg(call) => self.open_next_session(now, call),
                Timer::Pause(call) => self.set_paused(now, call, true),
                Timer::Resume(call) => self.set_paused(now, call, false),
                Timer::Dialog(no) => {
                    if let Some(dialog) = self.sessions.get_mut(&no).and_then(|session| session.dialog.as_mut()) {
                        dialog.handle_timeout(now.mono);
                    }
                    self.attend(now, no);
                }
            }
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The RTP ports that [`Action::OpenPorts`] wanted are open: the INVITE goes out.
    pub fn ports_open(&mut self, now: Now, no: SessionNo, ports: Vec<u16>) {
        let Some(session) = self.sessions.get_mut(&no) else { return };
        let Some(call) = self.calls.get_mut(&session.call) else { return };
        let options = &self.options;
        let description = description(options, self.local, ports, &mut self.ids);
        let envelope = match options.mode {
            Mode::Siprec => siprec::envelope(options, &session.plan, self.local),
            Mode::OneSession | Mode::TwoSession => genesys::envelope(options, &call.plan, &session.plan, self.local),
        };
        let body = invite_body(options, &call.plan, &description, &mut self.ids);
        let mut dialog = Dialog::open(now.mono, envelope, description, body, self.ids.fork());
        if call.outcome.is_some() {
            dialog.hang_up(now.mono);
        }
        call.call_ids.push(dialog.call_id().to_owned());
        self.by_call_id.insert(dialog.call_id().to_owned(), no);
        session.dialog = Some(dialog);
        self.attend(now, no);
    }

    /// A stream that was started has ended.
    pub fn stream_finished(&mut self, now: Now, call: CallNo, counters: Counters) {
        self.summary.add_stream(counters);
        let Some(state) = self.calls.get_mut(&call) else { return };
        state.sending = state.sending.saturating_sub(1);
        if state.sending == 0 {
            let outcome = if self.options.vanish { Outcome::Vanished } else { Outcome::Completed };
            self.end_call(now, call, outcome);
        }
    }

    /// Places no further calls and hangs up all that are under way.
    pub fn stop(&mut self, now: Now) {
        self.summary.stopped = true;
        self.deadlines.set(Timer::Place, None);
        self.deadlines.set(Timer::GiveUp, Some(now.mono.after(STOP_WITHIN)));
        let calls: Vec<_> = self.calls.keys().copied().collect();
        calls.into_iter().for_each(|call| self.end_call(now, call, Outcome::Stopped));
    }

    /// Whether all calls are over.
    pub fn is_finished(&self) -> bool {
        self.calls.is_empty() && (self.summary.stopped || self.summary.calls.placed == self.options.calls)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let over = self.summary.list.len() as u32; // at most options.calls
        Progress {
            placed: self.summary.calls.placed,
            of: self.options.calls,
            active: self.calls.len() as u32, // at most options.calls
            completed: self.summary.calls.completed,
            unsuccessful: over - self.summary.calls.completed,
        }
    }

    /// The tally so far.
    pub fn summary(&self, now: Now) -> Summary {
        let elapsed_ms = now.mono.since(self.started).as_millis() as u64; // a run has a duration
        Summary { elapsed_ms, setup_ms: Percentiles::of(&mut self.setup_times.clone()), ..self.summary.clone() }
    }

    fn place(&mut self, now: Now) {
        let no = CallNo(self.summary.calls.placed);
        self.summary.calls.placed += 1;
        if self.summary.calls.placed < self.options.calls {
            let next = f64::from(self.summary.calls.placed) / self.options.rate;
            let next = Duration::try_from_secs_f64(next).unwrap_or(Duration::MAX);
            self.deadlines.set(Timer::Place, Some(self.started.after(next)));
        }
        let plan = CallPlan::new(&self.options, no.0, now.wall, &mut self.ids);
        let (sessions, call_ids) = (Vec::new(), Vec::new());
        let call = Call { plan, sessions, call_ids, accepted: 0, open: 0, sending: 0, paused: false, outcome: None };
        self.calls.insert(no, call);
        self.open_next_session(now, no);
        if self.options.second_leg == SecondLeg::Together {
            self.open_next_session(now, no);
        }
    }

    fn open_next_session(&mut self, now: Now, call: CallNo) {
        let Some(state) = self.calls.get_mut(&call).filter(|state| state.outcome.is_none()) else { return };
        let Some(plan) = state.plan.sessions.get(state.sessions.len()).cloned() else { return };
        let no = SessionNo(self.next_session);
        self.next_session += 1;
        let streams: Vec<_> = plan.channels.iter().zip(self.next_stream..).map(|(_, number)| StreamNo(number)).collect();
        self.next_stream += streams.len() as u32; // one or two
        state.sessions.push(no);
        state.open += 1;
        self.actions.push_back(Action::OpenPorts { session: no, streams: streams.clone() });
        self.sessions.insert(no, Session { call, plan, streams, opened: now.mono, dialog: None });
    }

    /// After anything that may have moved a dialog: takes its messages and events, and its next deadline.
    fn attend(&mut self, now: Now, no: SessionNo) {
        while let Some(dialog) = self.sessions.get_mut(&no).and_then(|session| session.dialog.as_mut()) {
            self.actions.extend(std::iter::from_fn(|| dialog.poll_transmit()).map(Action::Send));
            let Some(event) = dialog.poll_event() else { break };
            self.react(now, no, event);
        }
        let Some(dialog) = self.sessions.get(&no).and_then(|session| session.dialog.as_ref()) else { return };
        if dialog.is_gone() {
            self.by_call_id.remove(dialog.call_id());
            self.deadlines.set(Timer::Dialog(no), None);
            self.sessions.remove(&no);
        } else {
            self.deadlines.set(Timer::Dialog(no), dialog.poll_timeout());
        }
    }

    fn react(&mut self, now: Now, no: SessionNo, event: Event) {
        let Some(call) = self.sessions.get(&no).map(|session| session.call) else { return };
        match event {
            Event::Accepted(destinations) => self.accepted(now, no, call, &destinations),
            Event::Moved(destinations) => self.moved(no, &destinations),
            Event::Changed => self.resume_if_due(no, call),
            Event::Unusable(why) => self.end_call(now, call, Outcome::Unusable { reason: why.to_string() }),
            Event::ChangeRefused(status) => self.end_call(now, call, Outcome::ChangeRefused { status }),
            Event::Refused(status) => self.session_over(now, no, call, Some(Outcome::Refused { status })),
            Event::Unanswered => self.session_over(now, no, call, Some(Outcome::Unanswered)),
            Event::EndedByRecorder => self.session_over(now, no, call, Some(Outcome::EndedByRecorder)),
            Event::HungUp { confirmed: true } => self.session_over(now, no, call, None),
            Event::HungUp { confirmed: false } => self.session_over(now, no, call, Some(Outcome::HangUpUnconfirmed)),
        }
    }

    fn accepted(&mut self, now: Now, no: SessionNo, call: CallNo, destinations: &[Option<SocketAddr>]) {
        let (Some(state), Some(session)) = (self.calls.get_mut(&call), self.sessions.get(&no)) else { return };
        self.setup_times.push(now.mono.since(session.opened));
        state.accepted += 1;
        if state.outcome.is_some() {
            return; // it is being hung up already
        }
        let parties = session.streams.iter().zip(&session.plan.channels).zip(destinations);
        for ((&stream, &channel), remote) in parties {
            let Some(remote) = *remote else { continue };
            let setup = setup(&self.options, call, channel, self.local, &mut self.ids);
            let dump_name = dump_name(&state.plan.recording_id, channel, self.options.law);
            let end = self.options.frames();
            state.sending += 1;
            self.actions.push_back(Action::Start(Box::new(Start { stream, call, remote, setup, end, dump_name })));
            self.actions.extend(state.paused.then_some(Action::Pause(stream)));
        }
        if state.accepted == 1 {
            self.call_begins(now.mono, call);
        }
    }

    /// What shall happen in a call is counted from the acceptance of its first session.
    fn call_begins(&mut self, now: MonoTime, call: CallNo) {
        let Options { second_leg, pause, .. } = &self.options;
        let second_leg = if let SecondLeg::After(delay) = second_leg { Some(*delay) } else { None };
        for (timer, after) in [
            (Timer::SecondLeg(call), second_leg),
            (Timer::Pause(call), pause.map(|pause| pause.at)),
            (Timer::Resume(call), pause.map(|pause| pause.at + pause.length)),
        ] {
            self.deadlines.set(timer, after.map(|after| now.after(after)));
        }
    }

    fn moved(&mut self, no: SessionNo, destinations: &[Option<SocketAddr>]) {
        let Some(session) = self.sessions.get(&no) else { return };
        let moves = session.streams.iter().zip(destinations).filter_map(|(stream, to)| to.map(|to| Action::Move(*stream, to)));
        self.actions.extend(moves);
    }

    /// Audio stops before the recorder is told, and comes back when it has agreed: nothing is sent that must not be kept.
    fn set_paused(&mut self, now: Now, call: CallNo, paused: bool) {
        let Some(state) = self.calls.get_mut(&call).filter(|state| state.outcome.is_none()) else { return };
        state.paused = paused;
        for no in state.sessions.clone() {
            let Some(session) = self.sessions.get_mut(&no) else { continue };
            if paused {
                self.actions.extend(session.streams.iter().copied().map(Action::Pause));
            }
            if let Some(dialog) = &mut session.dialog {
                dialog.set_paused(now.mono, paused);
            }
            self.attend(now, no);
        }
    }

    fn resume_if_due(&mut self, no: SessionNo, call: CallNo) {
        if self.calls.get(&call).is_some_and(|state| !state.paused)
            && let Some(session) = self.sessions.get(&no)
        {
            self.actions.extend(session.streams.iter().copied().map(Action::Resume));
        }
    }

    /// A session will never carry media again. What went wrong first is the call's outcome.
    fn session_over(&mut self, now: Now, no: SessionNo, call: CallNo, failure: Option<Outcome>) {
        if let Some(state) = self.calls.get_mut(&call) {
            state.open = state.open.saturating_sub(1);
            if state.outcome == Some(Outcome::Completed) && failure == Some(Outcome::HangUpUnconfirmed) {
                state.outcome.clone_from(&failure);
            }
        }
        if let Some(session) = self.sessions.get(&no) {
            self.actions.extend(session.streams.iter().copied().map(Action::Close));
        }
        match failure {
            Some(failure) => self.end_call(now, call, failure),
            None => self.close_call(call),
        }
    }

    /// Ends a call for this reason, unless it is ending already: its streams, then its sessions.
    fn end_call(&mut self, now: Now, call: CallNo, outcome: Outcome) {
        let Some(state) = self.calls.get_mut(&call) else { return };
        if state.outcome.is_some() {
            return self.close_call(call);
        }
        let vanished = outcome == Outcome::Vanished;
        state.outcome = Some(outcome);
        if vanished {
            state.open = 0;
        }
        for no in state.sessions.clone() {
            let Some(session) = self.sessions.get_mut(&no) else { continue };
            self.actions.extend(session.streams.iter().copied().map(Action::Close));
            match &mut session.dialog {
                Some(dialog) if !vanished => dialog.hang_up(now.mono),
                Some(dialog) => {
                    self.by_call_id.remove(dialog.call_id());
                    self.deadlines.set(Timer::Dialog(no), None);
                    self.sessions.remove(&no);
                }
                None => {}
            }
            self.attend(now, no);
        }
        self.close_call(call);
    }

    /// Forgets the calls of a stopped run that are still waiting for answers.
    fn give_up(&mut self) {
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for call in calls {
            self.calls.entry(call).and_modify(|state| state.open = 0);
            self.close_call(call);
        }
    }

    /// Counts a call whose sessions are all over.
    fn close_call(&mut self, call: CallNo) {
        if self.calls.get(&call).is_none_or(|state| state.open > 0) {
            return;
        }
        [Timer::SecondLeg(call), Timer::Pause(call), Timer::Resume(call)]
            .into_iter()
            .for_each(|timer| self.deadlines.set(timer, None));
        let Some(Call { plan, call_ids, accepted, outcome: Some(outcome), .. }) = self.calls.remove(&call) else { return };
        let accepted = accepted == plan.sessions.len();
        self.summary.add_call(CallResult { recording_id: plan.recording_id, call_ids, accepted, outcome });
    }
}

/// Our side of a session.
fn description(options: &Options, local: SocketAddr, ports: Vec<u16>, ids: &mut Rng) -> Description {
    Description {
        mode: options.mode,
        session: ids.u32(..),
        ip: local.ip(),
        ports,
        law: options.law,
        ptime_ms: options.ptime_ms,
        paused: false,
        version: 0,
    }
}

fn invite_body(options: &Options, plan: &CallPlan, description: &Description, ids: &mut Rng) -> Body {
    let sdp = description.render(description.ports.len());
    match options.mode {
        _ if options.delayed_offer => Body::default(),
        Mode::Siprec => siprec::body(options, plan, &sdp, ids),
        Mode::OneSession | Mode::TwoSession => Body::sdp(sdp),
    }
}

/// What a party's stream is like. Only the fates of its packets follow from the seed.
fn setup(options: &Options, call: CallNo, channel: Channel, local: SocketAddr, ids: &mut Rng) -> Setup {
    let (audio, digits) = match channel {
        Channel::Recorded => (&options.audio[0], Digits::default()),
        Channel::Other => (&options.audio[1], options.digits.clone()),
    };
    Setup {
        ssrc: ids.u32(..),
        first_sequence: ids.u16(..),
        first_timestamp: ids.u32(..),
        audio: audio.clone(),
        ptime_ms: options.ptime_ms,
        digits,
        impairments: options.impairments,
        seed: Rng::with_seed(options.seed).u64(..) ^ (u64::from(call.0) << 8 | u64::from(channel.number())),
        cname: format!("nearend-msr@{}", local.ip()),
        goodbye: !options.vanish,
    }
}

fn dump_name(recording_id: &str, channel: Channel, law: Law) -> String {
    let law = match law {
        Law::Pcmu => "ulaw",
        Law::Pcma => "alaw",
    };
    format!("{}.channel-{}.{law}", path_component(recording_id), channel.number())
}

#[cfg(test)]
mod tests;
