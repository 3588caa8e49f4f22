//! All T-Servers and the call model together: what the driver drives. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;

use crate::clock::Now;
use crate::model::{Conversation, DnType, MonoTime, RecordingNo, SwitchId};

use super::board::{Board, LinkNo, RecordingFacts};
use super::link::{self, Counters, Link, News};

/// A T-Server and what to monitor there.
#[derive(Clone, Debug)]
pub struct TServer {
    /// Its name, for the log.
    pub name: String,
    /// The switch that it serves.
    pub switch: SwitchId,
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
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", if self.tls { "tls" } else { "tcp" }, self.host, self.port)
    }
}

/// What the daemon tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A recording begins, learns something or ends.
    Recording(RecordingFacts),
    /// A recording is over for good.
    Over(RecordingNo),
}

/// What the daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What is known of a recording's conversation.
    Told {
        /// Which recording.
        no: RecordingNo,
        /// All of it.
        conversation: Box<Conversation>,
    },
}

/// The state of a link, for page and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Name of the T-Server.
    pub name: String,
    /// Whether the link is there.
    pub is_up: bool,
    /// What it counts.
    pub counters: Counters,
}

/// The station as one machine.
#[derive(Debug)]
pub struct Hub {
    names: Vec<String>,
    links: Vec<Link>,
    board: Board,
    actions: VecDeque<(LinkNo, link::Action)>,
    events: VecDeque<Event>,
}

impl Hub {
    /// Links that connect at the first [`Hub::handle_timeout`].
    pub fn new(now: Now, tservers: &[TServer], rng: &mut Rng) -> Hub {
        let link = |tserver: &TServer| {
            let (name, dns) = (tserver.name.clone(), tserver.dns.clone());
            Link::new(now.mono, link::Config { name, addresses: tserver.addresses.len(), dns }, rng.fork())
        };
        Hub {
            names: tservers.iter().map(|tserver| tserver.name.clone()).collect(),
            links: tservers.iter().map(link).collect(),
            board: Board::new(tservers.iter().map(|tserver| tserver.switch.clone()).collect()),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The daemon says something.
    pub fn handle_command(&mut self, command: Command) {
        match command {
            Command::Recording(facts) => self.board.handle_recording(facts),
            Command::Over(no) => self.board.forget_recording(no),
        }
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
        for (no, conversation) in self.board.tell(now.mono) {
            self.events.push_back(Event::Told { no, conversation: Box::new(conversation) });
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
        let state =
            |(name, link): (&String, &Link)| LinkState { name: name.clone(), is_up: link.is_up(), counters: link.counters() };
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
            }
            News::Event(event) => self.board.handle_event(now, no, &event),
            News::Config(data) => {
                for row in data.agents {
                    if let Some(dn) = row.dn {
                        self.board.agent_at(no, dn.into(), row.agent_id);
                    }
                }
            }
            News::Gap(_) | News::Answer { .. } => {}
        }
    }
}
