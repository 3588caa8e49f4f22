//! All T-Servers and the call model together: what the driver drives. Pure.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::clock::Now;
use crate::model::{CallFacts, CallUuid, Conversation, DnType, MonoTime, RecordingId, RecordingNo, Side, SwitchId, TenantId};

use super::board::{Board, LinkNo, RecordingFacts, SessionFacts};
use super::desk::{Desk, Overheard, Place, Services, Wish};
use super::link::{self, Counters, Link, News};
use super::message::{CallEvent, ConfigData, EventKind};
use super::wanted::{By, Missed, Wanted};

/// A T-Server and what to monitor there.
#[derive(Clone, Debug)]
pub struct TServer {
    /// Its name, for the log.
    pub name: String,
    /// The switch that it serves.
    pub switch: SwitchId,
    /// Whose switch it is.
    pub tenant: TenantId,
    /// Primary, then backup.
    pub addresses: Vec<Address>,
    /// The DNs to monitor.
    pub dns: Vec<(Arc<str>, DnType)>,
}

/// Where a T-Server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How TLS is spoken there; none: it is not.
    pub tls: Option<Tls>,
}

/// TLS towards a T-Server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates that its own must be signed by, PEM; read at each connection.
    pub ca_file: PathBuf,
    /// Name that its certificate must carry; none: the host of the address.
    pub name: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", if self.tls.is_some() { "tls" } else { "tcp" }, self.host, self.port)
    }
}

/// How the station goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The switch's numbers.
    pub services: Services,
    /// A party that is to be recorded and is not after so long is missed.
    pub missing_after: Duration,
}

/// What the daemon tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A recording begins, learns something or ends.
    Recording(RecordingFacts),
    /// A recording is over for good.
    Over(RecordingNo),
    /// A rule wants this party recorded: the answer to [`Event::Connected`].
    Ask {
        /// Where.
        place: Place,
        /// Whose side.
        side: Side,
        /// Its name.
        rule: String,
    },
    /// Somebody asked something of a recording; the box has done its part.
    Asked(RecordingNo, Wish),
}

/// What the daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What is known of a recording's conversation.
    Told {
        /// Which recording.
        no: RecordingNo,
        /// Whose switch it was on.
        tenant: TenantId,
        /// All of it.
        conversation: Box<Conversation>,
    },
    /// Somebody asked something of a recording by way of the switch.
    Asked(RecordingNo, Wish),
    /// A party is not recorded although somebody wants it.
    Missed {
        /// Who.
        by: By,
        /// Whose switch it is on.
        tenant: TenantId,
        /// Which party in which call, and for how long, in words.
        detail: String,
    },
    /// A T-Server told of the centre's configuration.
    Configured {
        /// Its name.
        tserver: String,
        /// All of it, or what has changed.
        data: Box<ConfigData>,
    },
    /// A party is connected, and nobody has it recorded: a rule may want it.
    Connected {
        /// Where.
        place: Place,
        /// What a rule may ask.
        facts: Box<CallFacts>,
    },
}

/// The state of a link, for page and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Name of the T-Server.
    pub name: String,
    /// Whether the link is there.
    pub is_up: bool,
    /// Why it is not.
    pub trouble: Option<String>,
    /// What it counts.
    pub counters: Counters,
}

/// What rules may ask of a T-Server.
#[derive(Debug)]
struct Served {
    switch: SwitchId,
    tenant: TenantId,
    dns: HashMap<Arc<str>, DnType>,
}

/// The station as one machine.
#[derive(Debug)]
pub struct Hub {
    names: Vec<String>,
    tservers: Vec<Served>,
    links: Vec<Link>,
    board: Board,
    desk: Desk,
    wanted: Wanted,
    actions: VecDeque<(LinkNo, link::Action)>,
    events: VecDeque<Event>,
}

impl Hub {
    /// Links that connect at the first [`Hub::handle_timeout`].
    pub fn new(now: Now, tservers: &[TServer], settings: Settings, rng: &mut Rng) -> Hub {
        let link = |tserver: &TServer| {
            let (name, dns) = (tserver.name.clone(), tserver.dns.clone());
            Link::new(now.mono, link::Config { name, addresses: tserver.addresses.len(), dns }, rng.fork())
        };
        let served = |tserver: &TServer| Served {
            switch: tserver.switch.clone(),
            tenant: tserver.tenant.clone(),
            dns: tserver.dns.iter().cloned().collect(),
        };
        Hub {
            tservers: tservers.iter().map(served).collect(),
            desk: Desk::new(settings.services),
            names: tservers.iter().map(|tserver| tserver.name.clone()).collect(),
            links: tservers.iter().map(link).collect(),
            board: Board::new(tservers.iter().map(|tserver| (tserver.switch.clone(), tserver.tenant.clone())).collect()),
            wanted: Wanted::new(settings.missing_after),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The daemon says something.
    pub fn handle_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Recording(facts) => self.board.handle_recording(facts),
            Command::Over(no) => self.board.forget_recording(no),
            Command::Ask { place, side, rule } => self.ask(now, place, side, &rule),
            Command::Asked(no, wish) => {
                if let Some(place) = self.board.place_of(no) {
                    self.board.wished(now, &place, wish);
                    self.desk.pass_on(now, place, no, wish);
                }
            }
        }
        self.settle(now);
    }

    /// A connection that was asked for is there.
    pub fn connected(&mut self, now: Now, no: LinkNo) {
        self.with_link(now, no, |link| link.connected(now.mono));
    }

    /// A connection could not be made, or is lost.
    pub fn lost(&mut self, now: Now, no: LinkNo, why: &str) {
        self.with_link(now, no, |link| link.lost(now.mono, why));
    }

    /// Bytes of a T-Server.
    pub fn handle_bytes(&mut self, now: Now, no: LinkNo, bytes: &[u8]) {
        self.with_link(now, no, |link| link.handle_bytes(now.mono, bytes));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for no in 0..self.links.len() {
            self.with_link(now, LinkNo(no), |link| link.handle_timeout(now.mono));
        }
        self.board.handle_timeout(now);
        self.desk.handle_timeout(now);
        let missed = self.wanted.overdue(now, |place, by| is_recorded(&self.board, place, by));
        missed.into_iter().for_each(|missed| self.miss(missed));
        self.settle(now);
        for (no, conversation) in self.board.tell(now.mono) {
            let switch =
                conversation.couples.first().map(|couple| &couple.switch).or(conversation.calls.first().map(|call| &call.switch));
            let served = self.tservers.iter().find(|served| Some(&served.switch) == switch);
            let tenant = served.map_or_else(TenantId::default_tenant, |served| served.tenant.clone());
            self.events.push_back(Event::Told { no, tenant, conversation: Box::new(conversation) });
        }
    }

    /// When [`Hub::handle_timeout`] wants to be called at the latest because of a link; the call model is content with a few
    /// times a second.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.links.iter().filter_map(Link::poll_timeout).min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<(LinkNo, link::Action)> {
        self.actions.pop_front()
    }

    /// What the daemon has to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All links.
    pub fn links(&self) -> Vec<LinkState> {
        let state = |(name, link): (&String, &Link)| LinkState {
            name: name.clone(),
            is_up: link.is_up(),
            trouble: link.trouble().map(str::to_owned),
            counters: link.counters(),
        };
        self.names.iter().zip(&self.links).map(state).collect()
    }

    /// The call model.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Moves a link, and takes in what comes of it.
    fn with_link(&mut self, now: Now, no: LinkNo, change: impl FnOnce(&mut Link)) {
        let Some(link) = self.links.get_mut(no.0) else { return };
        change(link);
        self.actions.extend(std::iter::from_fn(|| link.poll_action()).map(|action| (no, action)));
        let news: Vec<News> = std::iter::from_fn(|| link.poll_news()).collect();
        news.into_iter().for_each(|news| self.take(now, no, news));
        self.settle(now);
    }

    /// Makes the requests that have come up, and has recordings of paused calls paused.
    fn settle(&mut self, now: Now) {
        while let Some((no, request)) = self.desk.poll_request() {
            let Some(link) = self.links.get_mut(no.0) else { continue };
            link.request(now.mono, request);
            self.actions.extend(std::iter::from_fn(|| link.poll_action()).map(|action| (no, action)));
            let news: Vec<News> = std::iter::from_fn(|| link.poll_news()).collect();
            news.into_iter().for_each(|news| self.take(now, no, news));
        }
        self.events.extend(self.board.late_pauses().into_iter().map(|no| Event::Asked(no, Wish::Pause)));
    }

    fn take(&mut self, now: Now, no: LinkNo, news: News) {
        match news {
            News::Up => self.board.link_changed(now, no, true),
            News::Down => self.board.link_changed(now, no, false),
            News::Registered(registered) => {
                if let Some(agent) = &registered.agent {
                    self.board.agent_at(no, registered.dn.clone(), agent.clone());
                }
                self.board.handle_registered(now, no, &registered);
                let connected = |call: &&CallEvent| call.kind == EventKind::Established;
                registered.calls.iter().flatten().filter(connected).for_each(|call| self.consider(now, no, call));
            }
            News::Event(event) => {
                if matches!(event.kind, EventKind::Released | EventKind::Abandoned) {
                    self.leave(now, &place(no, &event));
                }
                self.board.handle_event(now, no, &event);
                match event.kind {
                    EventKind::Established | EventKind::PartyChanged => self.consider(now, no, &event),
                    EventKind::PrivateInfo => self.overhear(now, no, &event),
                    _ => {}
                }
            }
            News::Answer { ticket, result } => self.desk.answered(now, ticket, &result),
            News::Config(data) => {
                for row in &data.agents {
                    if let Some(dn) = &row.dn {
                        self.board.agent_at(no, dn.as_str().into(), row.agent_id.clone());
                    }
                }
                if let Some(tserver) = self.names.get(no.0).cloned() {
                    self.events.push_back(Event::Configured { tserver, data });
                }
            }
            News::Gap(_) => {}
        }
    }

    /// A party is connected: a rule may want it recorded.
    fn consider(&mut self, now: Now, no: LinkNo, event: &CallEvent) {
        let place = place(no, event);
        if self.is_seen_to(&place) {
            return;
        }
        if let Some(side) = event.extensions.get("record") {
            // A routing strategy sees to it, or has it that nobody does (`disable_destination`).
            if Side::ALL.iter().any(|known| side.eq_ignore_ascii_case(known.name())) {
                self.wanted.add(now, place.clone(), By::Strategy);
            }
            return self.desk.leave_to_others(place);
        }
        let Some(facts) = self.facts(now, &place) else { return };
        self.events.push_back(Event::Connected { place, facts: Box::new(facts) });
    }

    fn ask(&mut self, now: Now, place: Place, side: Side, rule: &str) {
        let Some(facts) = self.facts(now, &place) else { return };
        if self.is_seen_to(&place) {
            return; // meanwhile
        }
        let id = recording_id(now, &place, facts.call_uuid.as_ref());
        self.board.asked_to_record(place.link, &place.conn_id, id.clone());
        self.wanted.add(now, place.clone(), By::Rule(rule.to_owned()));
        self.desk.ask_to_record(now, place, &id, side.name(), rule);
    }

    /// A party is about to leave: nothing more is asked for it.
    fn leave(&mut self, now: Now, place: &Place) {
        self.desk.left(place);
        if let Some(missed) = self.wanted.left(now, place, |place, by| is_recorded(&self.board, place, by)) {
            self.miss(missed);
        }
    }

    fn miss(&mut self, missed: Missed) {
        let Missed { place, by, since } = missed;
        let Some(served) = self.tservers.get(place.link.0) else { return };
        let (switch, dn, conn_id) = (&served.switch, &place.dn, &place.conn_id);
        let detail = format!("DN {dn} of switch {switch} in call {conn_id}, connected for {} s", since.as_secs());
        self.events.push_back(Event::Missed { by, tenant: served.tenant.clone(), detail });
    }

    /// Somebody has this party recorded, or has asked for it.
    fn is_seen_to(&self, place: &Place) -> bool {
        self.desk.is_asked(place) || self.board.is_recorded(place)
    }

    /// What rules may ask of the call of a recording session that begins; none: no T-Server has told of it.
    pub fn facts_of_session(&self, now: Now, session: &SessionFacts<'_>) -> Option<CallFacts> {
        self.facts(now, &self.board.place_of_session(session)?)
    }

    fn facts(&self, now: Now, place: &Place) -> Option<CallFacts> {
        let served = self.tservers.get(place.link.0)?;
        let known = CallFacts {
            dn_type: served.dns.get(&place.dn).copied(),
            switch: Some(served.switch.clone()),
            ..CallFacts::unknown(served.tenant.clone(), now.wall)
        };
        self.board.facts(place, known)
    }

    /// EventPrivateInfo: somebody asked the switch for something.
    fn overhear(&mut self, now: Now, no: LinkNo, event: &CallEvent) {
        let place = place(no, event);
        let wish = match self.desk.overheard(now, no, event) {
            Some(Overheard::Wish(wish)) => wish,
            Some(Overheard::Start) => return self.wanted.add(now, place, By::ThirdParty),
            None => return,
        };
        if wish == Wish::Stop {
            self.wanted.forget(&place);
        }
        self.board.wished(now, &place, wish);
        for recording in self.board.recordings_at(&place) {
            self.events.push_back(Event::Asked(recording, wish));
        }
    }
}

/// Whether what somebody wants is so. A rule of the box is about this very party; others name a DN of which the far side is recorded,
/// or one that is no party at all.
fn is_recorded(board: &Board, place: &Place, by: &By) -> bool {
    match by {
        By::Rule(_) => board.is_recorded(place),
        By::Strategy | By::ThirdParty => !board.recordings_at(place).is_empty(),
    }
}

fn place(link: LinkNo, event: &CallEvent) -> Place {
    Place { link, conn_id: event.conn_id.clone(), dn: event.this_dn.clone() }
}

/// Like those of the media server, and unique by the DN: `<CallUUID>_<YYYY-MM-DD>_<HH-MM-SS>_<DN>`.
fn recording_id(now: Now, place: &Place, call_uuid: Option<&CallUuid>) -> RecordingId {
    let time = now.wall.to_string();
    let (date, time) = (time.get(..10).unwrap_or_default(), time.get(11..19).unwrap_or_default().replace(':', "-"));
    let call = call_uuid.map_or(&place.conn_id, |uuid| &uuid.0);
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    RecordingId(format!("{}_{date}_{time}_{}", plain(call), plain(&place.dn)).into())
}
