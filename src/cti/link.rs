//! One T-Server: which address next, registration, numbered events, requests and their answers, and whether it is still there.
//!
//! ```text
//! Waiting ──due──► Connecting ──connected──► Up ──lost, silent, garbage──► Waiting (the other address first, then later and later)
//!    ▲──────────failed───────┘
//! ```
//! Pure: bytes, `now` and a seeded generator come in; [`Action`]s and [`News`] are polled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::model::{DnType, MonoTime};

use super::lines::{Line, Lines, MAX_LINE_BYTES};
use super::message::{self, Body, CallEvent, ConfigData, Incoming, Outgoing, Pairs, Registered, dn_type_name};
use super::sequence::{Sequence, Step};

/// The pause after both addresses have failed; doubled with each further round.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause after a good connection was lost.
const SHORT_PAUSE: Duration = Duration::from_millis(100);
/// A connection that has lasted so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// How long without a line from the T-Server until it is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(10);
/// How long without one until it is not.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often a request is made.
const TRIES: u32 = 3;
/// A refused registration is tried again; an operator may have added the DN meanwhile.
const REGISTER_AGAIN: Duration = Duration::from_secs(60);
/// At least so long between two registrations of all DNs because of gaps.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// So many bad lines in a row are no T-Server.
const BAD_LINES: u32 = 100;

/// What to connect to, and what to monitor there.
#[derive(Clone, Debug)]
pub struct Config {
    /// For the log.
    pub name: String,
    /// How many addresses there are: primary, backup.
    pub addresses: usize,
    /// The DNs to monitor.
    pub dns: Vec<(Arc<str>, DnType)>,
}

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to this address, and say whether that went well.
    Connect(usize),
    /// Send to the T-Server.
    Send(Vec<u8>),
    /// Close the connection.
    Close,
}

/// What has become known.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The link is there.
    Up,
    /// It was there and is lost.
    Down,
    /// A DN is monitored, with the calls on it.
    Registered(Registered),
    /// An event.
    Event(Box<CallEvent>),
    /// So many events are lost.
    Gap(u64),
    /// The cached configuration.
    Config(Box<ConfigData>),
    /// A request is done, or why not.
    Answer {
        /// Number of the asker's.
        ticket: u64,
        /// What came of it.
        result: Result<(), String>,
    },
}

/// RequestPrivateService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The asker's number for it.
    pub ticket: u64,
    /// What: start, stop, pause or resume, by the switch's number.
    pub service_id: u64,
    /// For which DN.
    pub this_dn: Arc<str>,
    /// In which call.
    pub conn_id: Arc<str>,
    /// How.
    pub extensions: Pairs,
    /// Why.
    pub reasons: Pairs,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages understood.
    pub messages: u64,
    /// Lines that are no message, or too long.
    pub bad_lines: u64,
    /// Messages of unknown names.
    pub unknown: u64,
    /// Numbers that came twice.
    pub duplicates: u64,
    /// Events that never came.
    pub lost: u64,
    /// Times the link came up.
    pub connections: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: MonoTime },
    Connecting,
    Up { since: MonoTime },
}

/// What a reference that is out was for.
#[derive(Clone, Debug)]
enum Asked {
    Register(usize),
    Snapshot,
    KeepAlive,
    Service(u64),
}

#[derive(Debug)]
struct Pending {
    request: Request,
    tries: u32,
    due: MonoTime,
}

/// The link to one T-Server.
#[derive(Debug)]
pub struct Link {
    config: Config,
    rng: Rng,
    state: State,
    /// Address of the present or next attempt.
    address: usize,
    failures: u32,
    /// Why the link is not there.
    trouble: Option<String>,
    lines: Lines,
    sequence: Sequence<Incoming>,
    next_ref: u64,
    asked: BTreeMap<u64, Asked>,
    requests: BTreeMap<u64, Pending>,
    heard: MonoTime,
    asked_alive: MonoTime,
    register_at: BTreeMap<usize, MonoTime>,
    resynced: MonoTime,
    bad_in_a_row: u32,
    actions: VecDeque<Action>,
    news: VecDeque<News>,
    counters: Counters,
}

impl Link {
    /// A link that connects at its first [`Link::handle_timeout`].
    pub fn new(now: MonoTime, config: Config, rng: Rng) -> Link {
        Link {
            config,
            rng,
            state: State::Waiting { until: now },
            address: 0,
            failures: 0,
            trouble: None,
            lines: Lines::default(),
            sequence: Sequence::default(),
            next_ref: 1,
            asked: BTreeMap::new(),
            requests: BTreeMap::new(),
            heard: now,
            asked_alive: now,
            register_at: BTreeMap::new(),
            resynced: MonoTime::default(),
            bad_in_a_row: 0,
            actions: VecDeque::new(),
            news: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Whether the link is there.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Why the link is not there, once it was tried.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What it counts.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The connection that was asked for is there.
    pub fn connected(&mut self, now: MonoTime) {
        if self.state != State::Connecting {
            return;
        }
        tracing::info!(tserver = self.config.name, address = self.address, dns = self.config.dns.len(), "CTI link is up");
        (self.state, self.trouble) = (State::Up { since: now }, None);
        (self.heard, self.asked_alive, self.resynced) = (now, now, now);
        (self.lines, self.sequence, self.bad_in_a_row) = (Lines::default(), Sequence::default(), 0);
        self.counters.connections += 1;
        self.asked.clear();
        self.news.push_back(News::Up);
        self.register_all(now);
        self.ask(Asked::Snapshot, |r#ref| Outgoing::RequestSnapshot { r#ref }.line());
        let tickets: Vec<u64> = self.requests.keys().copied().collect();
        tickets.into_iter().for_each(|ticket| self.make_request(now, ticket));
    }

    /// The connection could not be made, or is lost.
    pub fn lost(&mut self, now: MonoTime, why: &str) {
        let (is_up, was_good) = match self.state {
            State::Waiting { .. } => return,
            State::Connecting => (false, false),
            State::Up { since } => (true, now.since(since) >= GOOD_AFTER),
        };
        self.failures = if was_good { 1 } else { self.failures.saturating_add(1) };
        self.address = (self.address + 1) % self.config.addresses.max(1);
        let pause = self.pause();
        let half = self.lines.unfinished_bytes();
        if is_up {
            tracing::warn!(
                tserver = self.config.name,
                half_line_bytes = half,
                "CTI link lost: {why}; calls are recorded without it, tried again in {pause:?}"
            );
            self.news.push_back(News::Down);
        } else if self.failures.is_power_of_two() {
            tracing::warn!(tserver = self.config.name, failures = self.failures, "no CTI link: {why}; tried again in {pause:?}");
        }
        self.register_at.clear();
        self.trouble = Some(why.to_owned());
        self.state = State::Waiting { until: now.after(pause) };
    }

    /// Bytes from the T-Server.
    pub fn handle_bytes(&mut self, now: MonoTime, bytes: &[u8]) {
        if !self.is_up() {
            return; // what was still on its way when the connection was given up
        }
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(bytes, |line| self.handle_line(now, line));
        self.lines = lines;
        if self.bad_in_a_row >= BAD_LINES {
            self.close(now, "it sends what is no CTI message");
        }
    }

    /// Makes a request as soon as the link is there; its answer is [`News::Answer`].
    pub fn request(&mut self, now: MonoTime, request: Request) {
        let ticket = request.ticket;
        self.requests.insert(ticket, Pending { request, tries: 0, due: now });
        self.make_request(now, ticket);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        if let State::Waiting { until } = self.state
            && until <= now
        {
            self.state = State::Connecting;
            self.actions.push_back(Action::Connect(self.address));
        }
        let due: Vec<u64> = self.requests.iter().filter(|(_, p)| p.due <= now).map(|(ticket, _)| *ticket).collect();
        due.into_iter().for_each(|ticket| self.make_request(now, ticket));
        if !self.is_up() {
            return;
        }
        let mut steps = Vec::new();
        self.sequence.handle_timeout(now, &mut steps);
        self.take_steps(now, steps);
        if now >= self.heard.after(DEAD_AFTER) {
            return self.close(now, "it has not answered for 30 s");
        }
        if now >= self.heard.max(self.asked_alive).after(ASK_AFTER) {
            self.asked_alive = now;
            self.ask(Asked::KeepAlive, |r#ref| Outgoing::KeepAlive { r#ref }.line());
        }
        let due: Vec<usize> = self.register_at.iter().filter(|(_, at)| **at <= now).map(|(dn, _)| *dn).collect();
        due.into_iter().for_each(|dn| self.register(now, dn));
    }

    /// When [`Link::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let requests = self.requests.values().map(|pending| pending.due);
        let state = match self.state {
            State::Waiting { until } => [Some(until), None, None, None],
            State::Connecting => [None; 4],
            State::Up { .. } => [
                Some(self.heard.max(self.asked_alive).after(ASK_AFTER)),
                Some(self.heard.after(DEAD_AFTER)),
                self.sequence.poll_timeout(),
                self.register_at.values().min().copied(),
            ],
        };
        state.into_iter().flatten().chain(requests).min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is new.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }
}

impl Link {
    /// The first failure goes on with the next address at once; later and later when all have had their turn.
    fn pause(&mut self) -> Duration {
        let rounds = self.failures.saturating_sub(2) / u32::try_from(self.config.addresses.max(1)).unwrap_or(1);
        if self.failures <= 1 {
            return SHORT_PAUSE;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << rounds.min(5)).min(LONGEST_PAUSE);
        pause.mul_f64(0.75 + self.rng.f64() / 4.0) // not all boxes at the same moment
    }

    fn close(&mut self, now: MonoTime, why: &str) {
        self.actions.push_back(Action::Close);
        self.lost(now, why);
    }

    fn ask(&mut self, asked: Asked, line: impl FnOnce(u64) -> Vec<u8>) {
        let reference = self.next_ref;
        self.next_ref += 1;
        self.asked.insert(reference, asked);
        while self.asked.len() > self.most_asked() {
            self.asked.pop_first(); // never answered
        }
        self.actions.push_back(Action::Send(line(reference)));
    }

    fn most_asked(&self) -> usize {
        2 * self.config.dns.len() + TRIES as usize * self.requests.len() + 16
    }

    fn register_all(&mut self, now: MonoTime) {
        (0..self.config.dns.len()).for_each(|dn| self.register(now, dn));
    }

    fn register(&mut self, now: MonoTime, no: usize) {
        let Some((dn, dn_type)) = self.config.dns.get(no).cloned() else { return };
        self.register_at.insert(no, now.after(REGISTER_AGAIN)); // unless it is answered
        self.ask(Asked::Register(no), |r#ref| {
            Outgoing::RegisterAddress { r#ref, dn: &dn, dn_type: dn_type_name(dn_type) }.line()
        });
    }

    /// Sends a request whose time has come, or gives it up.
    fn make_request(&mut self, now: MonoTime, ticket: u64) {
        let is_up = self.is_up();
        let Some(pending) = self.requests.get_mut(&ticket) else { return };
        if pending.tries >= TRIES && pending.due <= now {
            let why = if is_up { "the T-Server does not answer" } else { "the link to the T-Server is down" };
            self.requests.remove(&ticket);
            return self.news.push_back(News::Answer { ticket, result: Err(why.into()) });
        }
        if pending.due <= now {
            pending.tries += 1;
            pending.due = now.after(ANSWER_WITHIN);
        }
        if is_up {
            let request = pending.request.clone();
            self.ask(Asked::Service(ticket), |r#ref| {
                let Request { service_id, this_dn, conn_id, extensions, reasons, .. } = &request;
                let (service_id, this_dn, conn_id) = (*service_id, &**this_dn, &**conn_id);
                Outgoing::RequestPrivateService { r#ref, service_id, this_dn, conn_id, extensions, reasons }.line()
            });
        }
    }

    fn handle_line(&mut self, now: MonoTime, line: Line<'_>) {
        self.heard = now;
        let read = match line {
            Line::Whole(line) => message::parse(line),
            Line::TooLong { bytes } => Err(format!("a line of {bytes} bytes; at most {MAX_LINE_BYTES} are taken")),
        };
        match read {
            Ok(incoming) => {
                self.bad_in_a_row = 0;
                self.counters.messages += 1;
                let mut steps = Vec::new();
                self.sequence.push(now, incoming.seq, incoming, &mut steps);
                self.take_steps(now, steps);
            }
            Err(why) => {
                self.bad_in_a_row += 1;
                self.counters.bad_lines += 1;
                if self.counters.bad_lines.is_power_of_two() {
                    tracing::warn!(tserver = self.config.name, bad_lines = self.counters.bad_lines, "a line is skipped: {why}");
                }
            }
        }
    }

    fn take_steps(&mut self, now: MonoTime, steps: Vec<Step<Incoming>>) {
        for step in steps {
            match step {
                Step::Event(incoming) => self.take(now, incoming),
                Step::Duplicate(seq) => {
                    self.counters.duplicates += 1;
                    if self.counters.duplicates.is_power_of_two() {
                        let count = self.counters.duplicates;
                        tracing::warn!(tserver = self.config.name, seq, count, "an event came twice; the second is dropped");
                    }
                }
                Step::Restarted(seq) => tracing::warn!(tserver = self.config.name, seq, "the T-Server counts its events anew"),
                Step::Gap(count) => {
                    self.counters.lost += count;
                    tracing::error!(
                        tserver = self.config.name,
                        count,
                        "events are missing; the calls of all DNs are asked for again"
                    );
                    self.news.push_back(News::Gap(count));
                    self.resync(now);
                }
            }
        }
    }

    /// Registers all DNs again, whose answers tell the calls on them; not too often.
    fn resync(&mut self, now: MonoTime) {
        let at = self.resynced.after(RESYNC_EVERY);
        if at <= now {
            self.resynced = now;
            return self.register_all(now);
        }
        self.register_at.extend((0..self.config.dns.len()).map(|dn| (dn, at)));
    }

    fn take(&mut self, now: MonoTime, incoming: Incoming) {
        let asked = incoming.reference.and_then(|reference| self.asked.remove(&reference));
        match incoming.body {
            Body::Call(event) => self.news.push_back(News::Event(event)),
            Body::Config(data) => self.news.push_back(News::Config(data)),
            Body::Registered(registered) => self.registered(now, registered, asked),
            Body::Ack => {
                if let Some(Asked::Service(ticket)) = asked {
                    self.answered(ticket, Ok(()));
                }
            }
            Body::Error(why) => self.refused(now, &why, asked),
            Body::Unknown(name) => {
                self.counters.unknown += 1;
                if self.counters.unknown.is_power_of_two() {
                    let count = self.counters.unknown;
                    tracing::warn!(tserver = self.config.name, name, count, "a message of an unknown name is ignored");
                }
            }
        }
    }

    fn registered(&mut self, now: MonoTime, registered: Registered, asked: Option<Asked>) {
        let by_name = self.config.dns.iter().position(|(dn, _)| *dn == registered.dn);
        let no = if let Some(Asked::Register(no)) = asked { Some(no) } else { by_name };
        let Some(no) = no else { return };
        if let Some(Err(why)) = &registered.dn_type {
            tracing::error!(tserver = self.config.name, dn = %registered.dn, "not monitored: {why}");
            self.register_at.insert(no, now.after(REGISTER_AGAIN));
            return;
        }
        self.register_at.remove(&no);
        self.news.push_back(News::Registered(registered));
    }

    fn refused(&mut self, now: MonoTime, why: &str, asked: Option<Asked>) {
        match asked {
            Some(Asked::Register(no)) => {
                let dn = self.config.dns.get(no).map_or("", |(dn, _)| dn);
                tracing::error!(
                    tserver = self.config.name,
                    dn,
                    "not monitored: the T-Server says: {why}; tried again in {REGISTER_AGAIN:?}"
                );
                self.register_at.insert(no, now.after(REGISTER_AGAIN));
            }
            Some(Asked::Service(ticket)) => self.answered(ticket, Err(why.to_owned())),
            Some(Asked::Snapshot) => tracing::warn!(tserver = self.config.name, "no configuration from the T-Server: {why}"),
            Some(Asked::KeepAlive) | None => {}
        }
    }

    fn answered(&mut self, ticket: u64, result: Result<(), String>) {
        if self.requests.remove(&ticket).is_some() {
            self.news.push_back(News::Answer { ticket, result });
        }
    }
}

#[cfg(test)]
mod tests;
