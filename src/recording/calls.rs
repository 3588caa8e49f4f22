//! All recordings that run: which session belongs to which, what may begin, what is over.
//!
//! Sessions belong together when their recording id is the same. A call that lost all its sessions is kept open for a
//! while: the second of two sessions, or another media server after a failover, takes it up again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Now;
use crate::model::recording::{Note, RtpAnchor, Ruling, Stage};
use crate::model::{
    Channel, Conversation, EndReason, Flag, Json, Leg, Line, MediaTime, MonoTime, Recording, RecordingId, RecordingNo,
    SavedSession, StreamKey, StreamReport, SwitchId, TenantId, WallTime,
};
use crate::session::Session;

use super::call::{Call, PartyOnLine, SessionState};

/// What the station must know of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Recordings at one time; a further one is refused with 503.
    pub max_recordings: usize,
    /// How long a call whose sessions all ended with BYE may be continued.
    pub linger: Duration,
    /// The same for one whose last session was lost: the failover of a media server takes longer.
    pub linger_lost: Duration,
    /// After how long without any packet a session's peer is asked whether it is still there.
    pub media_timeout: Duration,
}

/// A SIP session: the number of its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// A stream to be opened before its line can be answered.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// Its key.
    pub key: StreamKey,
    /// For the log.
    pub recording_id: &'a RecordingId,
    /// Zero of the time line.
    pub origin: MonoTime,
    /// What is to be received.
    pub line: &'a Line,
    /// Nothing of it is to be kept at first.
    pub paused: bool,
    /// Where the peer sends already, after a restart; none: anywhere.
    pub local: Option<SocketAddr>,
    /// Where the stream's clock stood before a restart.
    pub anchor: Option<RtpAnchor>,
    /// What lies before is of before a restart, and stays as it is.
    pub begins: MediaTime,
}

/// What the station asks of the outside while it decides.
pub trait Surroundings {
    /// Opens a stream; gives the address to put into the SDP, or why it could not be opened.
    fn open(&mut self, opening: &Opening<'_>) -> Result<SocketAddr, String>;
    /// Closes a stream opened a moment ago whose session is refused after all.
    fn close(&mut self, key: StreamKey);
    /// Goes on with a session after a restart; none when it cannot be.
    fn resume(&mut self, session: &SavedSession) -> Option<SessionKey>;
    /// Whose a call is that begins, and what a rule wants done with it; or that one wants nothing recorded.
    fn judge(&mut self, session: &Session) -> Result<Placement, Declined>;
    /// Whether a recording of this id is already over.
    fn is_known(&self, id: &RecordingId) -> bool;
}

/// Where a recording belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whose it is.
    pub tenant: TenantId,
    /// The switch of the recorded DN, where it is known.
    pub switch: Option<SwitchId>,
    /// The rule that matched, and what it wants.
    pub ruling: Option<Box<Ruling>>,
}

/// A rule wants nothing recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// Its name.
    pub rule: String,
}

/// A session was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The recording.
    pub recording: RecordingNo,
    /// Its id.
    pub id: RecordingId,
    /// The session began it.
    pub is_new: bool,
    /// For each m-line: its stream and where it listens.
    pub lines: Vec<Option<(StreamKey, SocketAddr)>>,
}

/// Why a session was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The box has as many recordings as it may have.
    #[error("{0} recordings are running, which is all [sip] max_recordings allows")]
    Full(usize),
    /// No port, no leg number.
    #[error("no stream could be opened: {0}")]
    NoStream(String),
    /// A rule wants nothing recorded.
    #[error("rule {0:?} wants nothing recorded")]
    Declined(String),
    /// The session is not one of ours.
    #[error("no recording has this session")]
    UnknownSession,
}

/// What the daemon must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write this description.
    Describe(Box<Recording>),
    /// Close a stream; its last report is awaited.
    Close(StreamKey),
    /// A pause on request has ended by itself.
    PauseOver(RecordingNo),
    /// From this instant on keep nothing of a stream any more (true), or keep it again.
    Mask(StreamKey, MonoTime, bool),
    /// End a session with BYE.
    Bye(SessionKey),
    /// Ask the peer whether the session is still there (OPTIONS in the dialog).
    Probe(SessionKey),
}

/// All recordings that run.
#[derive(Debug)]
pub struct Calls {
    pub(super) config: Config,
    /// Boxed, because half of the room in a B-tree is empty.
    pub(super) calls: BTreeMap<RecordingNo, Box<Call>>,
    pub(super) next_no: RecordingNo,
    pub(super) actions: Vec<Action>,
    /// Ids of the last calls that ended; while the disk fails, the ledger does not know them yet.
    over: VecDeque<RecordingId>,
}

impl Calls {
    /// None yet; the first one gets the number `next_no`.
    pub fn new(config: Config, next_no: RecordingNo) -> Calls {
        Calls { config, calls: BTreeMap::new(), next_no, actions: Vec::new(), over: VecDeque::new() }
    }

    /// The box stops, and comes back: streams are closed so that all they have is written, sessions stay as they are.
    pub fn suspend(&mut self, now: Now) {
        for call in self.calls.values_mut() {
            let no = call.recording.no;
            self.actions.extend(call.streams.iter().map(|s| Action::Close(StreamKey { recording: no, leg: s.leg })));
            if call.sessions.is_empty() {
                call.over_at = Some(now.mono);
            }
        }
        self.handle_timeout(now);
    }

    /// Whether no stream is left whose last report has not come.
    pub fn is_quiet(&self) -> bool {
        self.calls.values().all(|call| call.streams.is_empty())
    }

    /// The wall clock was set: running calls keep their own, and say so.
    pub fn clock_set(&mut self) {
        for call in self.calls.values_mut() {
            call.recording.flag(Flag::ClockSet);
            self.actions.push(Action::Describe(Box::new(call.recording.clone())));
        }
    }

    /// Number of recordings that have a session.
    pub fn running(&self) -> usize {
        self.calls.values().filter(|call| !call.sessions.is_empty()).count()
    }

    /// The descriptions of all that is not over.
    pub fn recordings(&self) -> impl Iterator<Item = &Recording> {
        self.calls.values().map(|call| &call.recording)
    }

    /// The recording that a session belongs to.
    pub fn of_session(&self, key: SessionKey) -> Option<&Recording> {
        self.calls.values().find(|call| call.sessions.iter().any(|s| s.key == key)).map(|call| &call.recording)
    }

    /// Whether a session with this recording id would join a call that is there, which is never refused for lack of room.
    pub fn would_join(&self, session: &Session) -> bool {
        self.no_of(session).is_some()
    }

    /// A session begins. `lines` has an entry per m-line of its SDP; none: the line is not taken.
    pub fn admit(
        &mut self,
        now: Now,
        key: SessionKey,
        session: &Session,
        lines: &[Option<Line>],
        outside: &mut dyn Surroundings,
    ) -> Result<Admission, Refusal> {
        let known = self.no_of(session);
        let is_new = known.is_none();
        let no = match known {
            Some(no) => no,
            None if self.running() >= self.config.max_recordings => return Err(Refusal::Full(self.running())),
            None => {
                let placement = outside.judge(session).map_err(|declined| Refusal::Declined(declined.rule))?;
                self.begin(now, session, placement, outside)
            }
        };
        let opened = self.open_lines(now, no, session, lines, outside);
        let Some(call) = self.calls.get_mut(&no) else { return Err(Refusal::UnknownSession) };
        match opened {
            Ok(opened) => {
                call.learn(session);
                let legs: Vec<_> = opened.iter().map(|line| line.map(|(key, _)| key.leg)).collect();
                call.save_session(&session.call_id, lines, &legs);
                call.sessions.push(SessionState { key, call_id: session.call_id.clone(), lines: legs });
                Ok(Admission { recording: no, id: call.recording.id.clone(), is_new, lines: opened })
            }
            Err(refusal) => {
                if call.recording.legs.is_empty() {
                    self.calls.remove(&no);
                }
                Err(refusal)
            }
        }
    }

    /// A session is renegotiated: `lines` is its whole new state. Lines that were not there before are opened.
    pub fn renegotiate(
        &mut self,
        now: Now,
        key: SessionKey,
        session: &Session,
        lines: &[Option<Line>],
        outside: &mut dyn Surroundings,
    ) -> Result<Admission, Refusal> {
        let call = self.call_of(key).ok_or(Refusal::UnknownSession)?;
        let no = call.recording.no;
        let Some(at) = call.sessions.iter().position(|s| s.key == key) else { return Err(Refusal::UnknownSession) };
        let had = call.sessions.get(at).map(|s| s.lines.clone()).unwrap_or_default();
        let is_new = |i: usize| had.get(i).copied().flatten().is_none();
        let fresh: Vec<Option<Line>> = lines.iter().enumerate().map(|(i, line)| line.clone().filter(|_| is_new(i))).collect();
        let mut opened = self.open_lines(now, no, session, &fresh, outside)?;
        let Some(call) = self.calls.get_mut(&no) else { return Err(Refusal::UnknownSession) };
        for (i, leg) in had.iter().enumerate().filter_map(|(i, leg)| leg.map(|leg| (i, leg))) {
            call.change_leg(now.mono, leg, lines.get(i).and_then(Option::as_ref));
            let local = call.recording.legs.iter().find(|l| l.no == leg).map(|l| l.local);
            if let (Some(slot), Some(local)) = (opened.get_mut(i), local) {
                *slot = Some((StreamKey { recording: no, leg }, local));
            }
        }
        let legs = (0..had.len().max(opened.len()))
            .map(|i| opened.get(i).copied().flatten().map(|(key, _)| key.leg).or(had.get(i).copied().flatten()));
        let legs: Vec<_> = legs.collect();
        let mut call_id = session.call_id.clone();
        if let Some(session) = call.sessions.get_mut(at) {
            session.lines.clone_from(&legs);
            call_id.clone_from(&session.call_id);
        }
        call.save_session(&call_id, lines, &legs);
        Ok(Admission { recording: no, id: call.recording.id.clone(), is_new: false, lines: opened })
    }

    /// The answer to a delayed offer has come: lines that it refused never were. Gives the stream of each line that stays.
    pub fn answered(&mut self, now: Now, key: SessionKey, lines: &[Option<Line>]) -> Vec<Option<StreamKey>> {
        let Some(call) = self.call_of(key) else { return Vec::new() };
        let no = call.recording.no;
        let Some(session) = call.sessions.iter_mut().find(|s| s.key == key) else { return Vec::new() };
        let offered = session.lines.clone();
        for (i, slot) in session.lines.iter_mut().enumerate() {
            *slot = slot.filter(|_| lines.get(i).is_some_and(Option::is_some));
        }
        let kept = session.lines.iter().map(|leg| leg.map(|leg| StreamKey { recording: no, leg })).collect();
        let (call_id, legs) = (session.call_id.clone(), session.lines.clone());
        call.save_session(&call_id, lines, &legs);
        let mut closed = Vec::new();
        let mut taken = Vec::new();
        for (i, leg) in offered.into_iter().enumerate().filter_map(|(i, leg)| leg.map(|leg| (i, leg))) {
            match lines.get(i).and_then(Option::as_ref) {
                Some(line) => taken.extend(call.start_leg(now.mono, leg, line)),
                None => {
                    call.forget_leg(leg);
                    closed.push(Action::Close(StreamKey { recording: no, leg }));
                }
            }
        }
        self.actions.extend(closed);
        for channel in taken {
            self.replace(now, no, channel, &call_id);
        }
        kept
    }

    /// A request that changed the session has been answered: this is its dialog now. Writes the description.
    pub fn settled(&mut self, now: Now, key: SessionKey, dialog: Json) {
        let Some(call) = self.call_of(key) else { return };
        let Some(call_id) = call.sessions.iter().find(|s| s.key == key).map(|s| s.call_id.clone()) else { return };
        if let Some(saved) = call.recording.sessions.iter_mut().find(|saved| saved.call_id == call_id) {
            saved.dialog = dialog;
        }
        call.described_at = now.mono;
        let describe = Action::Describe(Box::new(call.recording.clone()));
        self.actions.push(describe);
    }

    /// A session is over.
    pub fn end(&mut self, now: Now, key: SessionKey, reason: EndReason) {
        let (linger, linger_lost) = (self.config.linger, self.config.linger_lost);
        let Some(call) = self.call_of(key) else { return };
        let no = call.recording.no;
        let legs = call.end_session(now.mono, key, reason);
        if call.sessions.is_empty() {
            let lost = !matches!(reason, EndReason::Bye | EndReason::Cancelled | EndReason::Shutdown | EndReason::Stopped);
            call.over_at = Some(now.mono.after(if lost { linger_lost } else { linger }));
        }
        tracing::info!(recording = %call.recording.id, reason = ?reason, sessions_left = call.sessions.len(), "session ended");
        let describe = Action::Describe(Box::new(call.recording.clone()));
        self.actions.extend(legs.into_iter().map(|leg| Action::Close(StreamKey { recording: no, leg })));
        self.actions.push(describe);
    }

    /// The media thread reports on a stream. A session all of whose streams are silent is asked for, report by report.
    pub fn report(&mut self, now: Now, report: StreamReport) {
        let key = report.key;
        let timeout = self.config.media_timeout;
        let Some(call) = self.calls.get_mut(&key.recording) else { return };
        let is_first = report.anchor.is_some() && call.recording.legs.iter().any(|leg| leg.no == key.leg && leg.anchor.is_none());
        let closed = call.report(report);
        if closed || is_first || now.mono.since(call.described_at) >= DESCRIBE_EVERY {
            call.described_at = now.mono;
            self.actions.push(Action::Describe(Box::new(call.recording.clone())));
        }
        if closed {
            self.handle_timeout(now);
        } else if let Some(session) = call.silent_session(now.mono, key.leg, timeout) {
            tracing::info!(recording = %call.recording.id, "no packet for {timeout:?}; asking the peer whether the session is still up");
            self.actions.push(Action::Probe(session));
        }
    }

    /// A session said something beside the audio.
    pub fn note(&mut self, now: Now, key: SessionKey, note: Note) {
        let Some(call) = self.call_of(key) else { return };
        let time = call.time(now.mono);
        call.note(Note { time, ..note });
        let describe = Action::Describe(Box::new(call.recording.clone()));
        self.actions.push(describe);
    }

    /// The switch's side knows something about a call, and whose it is where the sender did not say. Written at once when it is the first word, else with the next
    /// description: a switch may say much in a second.
    pub fn told(&mut self, now: Now, no: RecordingNo, tenant: TenantId, conversation: Box<Conversation>) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        if call.recording.tenant == TenantId::default_tenant() && tenant != call.recording.tenant {
            tracing::info!(recording = %call.recording.id, %tenant, "the switch tells whose call it is");
            call.recording.tenant = tenant;
        }
        let is_first = call.recording.conversation.replace(conversation).is_none();
        if is_first || now.mono.since(call.described_at) >= DESCRIBE_EVERY {
            call.described_at = now.mono;
            self.actions.push(Action::Describe(Box::new(call.recording.clone())));
        }
    }

    /// Ends what is over.
    pub fn handle_timeout(&mut self, now: Now) {
        self.end_pauses(now);
        let over: Vec<RecordingNo> = self
            .calls
            .values()
            .filter(|call| call.streams.is_empty() && call.over_at.is_some_and(|at| at <= now.mono))
            .map(|call| call.recording.no)
            .collect();
        for no in over {
            if let Some(mut call) = self.calls.remove(&no) {
                call.conclude();
                call.recording.stage = Stage::Ended;
                log_end(&call.recording);
                self.over.truncate(OVER_KEPT - 1);
                self.over.push_front(call.recording.id.clone());
                self.actions.push(Action::Describe(Box::new(call.recording)));
            }
        }
    }

    /// When [`Calls::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let over = self.calls.values().filter(|call| call.streams.is_empty()).filter_map(|call| call.over_at);
        over.chain(self.calls.values().filter_map(|call| call.resume_at)).min()
    }

    /// What is to be done.
    pub fn poll(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn no_of(&self, session: &Session) -> Option<RecordingNo> {
        let id = session.recording_id.as_ref()?;
        self.calls.values().find(|call| is_part_of(&call.recording.id, id)).map(|call| call.recording.no)
    }

    fn call_of(&mut self, key: SessionKey) -> Option<&mut Call> {
        self.calls.values_mut().find(|call| call.sessions.iter().any(|s| s.key == key)).map(Box::as_mut)
    }

    fn begin(&mut self, now: Now, session: &Session, placement: Placement, outside: &dyn Surroundings) -> RecordingNo {
        let no = self.next_no;
        self.next_no = RecordingNo(no.0 + 1);
        let origin = origin(now.mono, no, self.calls.len());
        let wanted = session.recording_id.clone().unwrap_or_else(|| made_up_id(no, session, now.wall));
        let (id, later_part) = free_id(wanted, |id| self.over.contains(id) || outside.is_known(id));
        let mut recording = Recording {
            no,
            id,
            call_uuid: session.call_uuid.clone(),
            tenant: placement.tenant,
            switch: placement.switch,
            ruling: placement.ruling,
            dialect: session.dialect,
            origin: now.wall.plus_micros(-i64::try_from(now.mono.since(origin).as_micros()).unwrap_or(0)),
            started: now.wall,
            ended: None,
            end_reason: None,
            stage: Stage::Recording,
            legs: Vec::new(),
            pause: None,
            masks: Vec::new(),
            flags: Vec::new(),
            parameters: BTreeMap::new(),
            headers: Vec::new(),
            notes: Vec::new(),
            conversation: None,
            tones: None,
            files: Vec::new(),
            arrived_at: Vec::new(),
            set_aside: Vec::new(),
            immediate: false,
            sessions: Vec::new(),
            restarts: Vec::new(),
        };
        if later_part {
            recording.flag(Flag::LaterPart);
        }
        let rule = recording.ruling.as_ref().map_or("-", |ruling| ruling.rule.as_str());
        tracing::info!(recording = %recording.id, tenant = %recording.tenant, rule, dialect = ?recording.dialect, "recording begins");
        self.calls.insert(no, Box::new(Call::new(recording, origin)));
        no
    }

    fn open_lines(
        &mut self,
        now: Now,
        no: RecordingNo,
        session: &Session,
        lines: &[Option<Line>],
        outside: &mut dyn Surroundings,
    ) -> Result<Vec<Option<(StreamKey, SocketAddr)>>, Refusal> {
        let mut opened: Vec<Option<(StreamKey, SocketAddr)>> = Vec::with_capacity(lines.len());
        for line in lines {
            let Some(line) = line else {
                opened.push(None);
                continue;
            };
            let nth = opened.iter().flatten().count();
            match self.open_line(now, no, session, (nth, line), outside) {
                Ok(stream) => opened.push(Some(stream)),
                Err(refusal) => {
                    self.withdraw(no, opened.into_iter().flatten().map(|(key, _)| key), outside);
                    return Err(refusal);
                }
            }
        }
        Ok(opened)
    }

    fn open_line(
        &mut self,
        now: Now,
        no: RecordingNo,
        session: &Session,
        (nth, line): (usize, &Line),
        outside: &mut dyn Surroundings,
    ) -> Result<(StreamKey, SocketAddr), Refusal> {
        let call = self.calls.get_mut(&no).ok_or(Refusal::UnknownSession)?;
        let leg = call.take_leg_no().ok_or_else(|| Refusal::NoStream("the recording has had 256 legs".into()))?;
        let party = session.party(nth, line.label.as_deref());
        let channel = party.channel.unwrap_or_else(|| {
            call.recording.flag(Flag::ChannelsByOrder);
            call.free_channel()
        });
        let key = StreamKey { recording: no, leg };
        let opening = Opening {
            key,
            recording_id: &call.recording.id,
            origin: call.origin,
            line,
            paused: call.pauses(line.active),
            local: None,
            anchor: None,
            begins: MediaTime(0),
        };
        let local = outside.open(&opening).map_err(Refusal::NoStream)?;
        if !line.is_offer() {
            self.replace(now, no, channel, &session.call_id);
        }
        if let Some(call) = self.calls.get_mut(&no) {
            call.add_leg(now.mono, leg, PartyOnLine { channel, dn: party.dn, call_id: &session.call_id, line }, local);
        }
        Ok((key, local))
    }

    /// A further session for a channel that still has a live one: the media server behind the old one has failed over.
    fn replace(&mut self, now: Now, no: RecordingNo, channel: Channel, by_call_id: &str) {
        let Some(call) = self.calls.get(&no) else { return };
        let is_old = |leg: &&Leg| leg.channel == channel && leg.end_reason.is_none() && leg.call_id != by_call_id;
        let mut old = call.recording.legs.iter().filter(is_old).filter(|leg| !leg.is_unanswered());
        let Some(old) = old.next().map(|leg| leg.no) else { return };
        let Some(key) = call.sessions.iter().find(|s| s.lines.contains(&Some(old))).map(|s| s.key) else { return };
        tracing::warn!(recording = %call.recording.id, channel = channel.number(), "another session took over this channel; the old one is ended");
        self.actions.push(Action::Bye(key));
        self.end(now, key, EndReason::Replaced);
    }

    fn withdraw(&mut self, no: RecordingNo, keys: impl Iterator<Item = StreamKey>, outside: &mut dyn Surroundings) {
        let Some(call) = self.calls.get_mut(&no) else { return };
        for key in keys {
            outside.close(key);
            call.forget_leg(key.leg);
        }
    }
}

/// How often the description of a running call is written anew, for its counters and digits: a kill costs no more of them.
const DESCRIBE_EVERY: Duration = Duration::from_secs(30);

/// The block grid of every recording lies on the monotonic quarter-second, where the sweeps are.
pub(super) const GRID_US: u64 = 250_000;

/// As long as there are fewer recordings, the blocks of all end together, and one commit takes them all. From then on every other
/// recording ends its blocks a quarter of a second later, because what ends together waits for the disk together: it takes as
/// much memory again as it took while it came in.
const TOGETHER: usize = 100;

pub(super) const BLOCK_US: u64 = 500_000;

/// The origin of a recording that begins now, when so many others run.
pub(super) fn origin(now: MonoTime, no: RecordingNo, others: usize) -> MonoTime {
    let later_us = if others < TOGETHER { 0 } else { no.0 % 2 * GRID_US };
    let within_us = now.0.saturating_add(BLOCK_US - later_us) % BLOCK_US;
    MonoTime(now.0.saturating_sub(within_us))
}

/// An id for a session that brought none.
fn made_up_id(no: RecordingNo, session: &Session, now: WallTime) -> RecordingId {
    let time = now.to_string().replace([':', 'T'], "-");
    let head = session.call_uuid.as_ref().map_or("call", |uuid| &uuid.0);
    RecordingId(format!("{head}_{}_{no}", time.trim_end_matches('Z')).into())
}

/// Ids of ended calls that are remembered: those of a disk that fails for half an hour under heavy load.
const OVER_KEPT: usize = 1_000;

/// The id itself, or with `~2`, `~3` … when recordings of that id are already over: a delivered one is never changed.
fn free_id(wanted: RecordingId, is_known: impl Fn(&RecordingId) -> bool) -> (RecordingId, bool) {
    if !is_known(&wanted) {
        return (wanted, false);
    }
    let part = |n: u32| RecordingId(format!("{wanted}~{n}").into());
    let free = (2..=9_999).map(part).find(|id| !is_known(id));
    (free.unwrap_or_else(|| part(10_000)), true)
}

fn is_part_of(running: &RecordingId, wanted: &RecordingId) -> bool {
    running == wanted
        || running.0.strip_prefix(&*wanted.0).and_then(|rest| rest.strip_prefix('~')).is_some_and(|n| n.parse::<u32>().is_ok())
}

fn log_end(recording: &Recording) {
    let packets: u64 = recording.legs.iter().map(|leg| leg.counters.packets).sum();
    let lost: u64 = recording.legs.iter().map(|leg| leg.counters.lost).sum();
    let seconds = recording.ended.map_or(0, |end| (end - recording.started) / 1_000_000);
    tracing::info!(
        recording = %recording.id, reason = ?recording.end_reason, seconds, packets, lost, legs = recording.legs.len(),
        flags = ?recording.flags, "recording over"
    );
}
