//! The thread `events`: keeps what happened on the disk, and hands it to the broker.

mod connection;
mod journal;

use std::io;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

pub use self::connection::Broker;
use self::connection::{Connection, News, Tag};
use self::journal::Journal;
use super::message::{Kind, Sender, Status, Topics};
use crate::clock::Now;
use crate::model::MonoTime;

/// Settings of the station.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker is; none: nothing is told, nothing kept.
    pub broker: Option<Broker>,
    /// Where topics begin.
    pub topic: String,
    /// Who speaks.
    pub sender: Sender,
    /// Where what waits is kept.
    pub folder: PathBuf,
}

/// How the station stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Events that the broker has not acknowledged.
    pub waiting: usize,
    /// Events that had to be dropped since the start.
    pub lost: u64,
    /// Whether the broker is there.
    pub connected: bool,
}

enum Command {
    Event(Kind, Vec<u8>),
    Status(Vec<u8>),
}

/// The running station.
pub struct Events {
    commands: mpsc::Sender<Command>,
    standing: watch::Receiver<Standing>,
    thread: Option<JoinHandle<()>>,
    dropped: u64,
}

/// Commands that wait while the disk does not answer; more are lost.
const QUEUE: usize = 1_024;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a broker is waited for when the box stops.
const GOODBYE: Duration = Duration::from_secs(2);

impl Events {
    /// Starts the thread, if there is a broker.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(config: Config) -> io::Result<Events> {
        let (commands, incoming) = mpsc::channel(QUEUE);
        let (shown, standing) = watch::channel(Standing::default());
        let thread = match config.broker.clone() {
            None => None,
            Some(broker) => Some(thread::Builder::new().name("events".into()).spawn(move || {
                let runtime = match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => return warn!("no events are told: {error}"),
                };
                match Journal::open(&config.folder) {
                    Ok(journal) => runtime.block_on(Driver::new(config, broker, journal, shown).run(incoming)),
                    Err(error) => warn!("no events are told: {}: {error}; check the disk", config.folder.display()),
                }
            })?),
        };
        Ok(Events { commands, standing, thread, dropped: 0 })
    }

    /// Whether anybody is told.
    pub fn is_on(&self) -> bool {
        self.thread.is_some()
    }

    /// Something happened. It never waits: what does not fit is lost and counted.
    pub fn tell(&mut self, kind: Kind, payload: Vec<u8>) {
        if self.is_on() && self.commands.try_send(Command::Event(kind, payload)).is_err() {
            self.dropped += 1;
            warn!(lost = self.dropped, "an event is lost: the thread events does not keep up");
        }
    }

    /// The state of the box, for those who look.
    pub fn status(&self, status: &Status) {
        if self.is_on() {
            let _ = self.commands.try_send(Command::Status(status.payload())); // the next one says the same
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let standing = *self.standing.borrow();
        Standing { lost: standing.lost + self.dropped, ..standing }
    }

    /// Says goodbye to the broker, and ends.
    pub fn stop(self) {
        drop(self.commands); // the thread reads what is left, then ends
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread events had panicked");
        }
    }
}

struct Driver {
    config: Config,
    broker: Broker,
    topics: Topics,
    journal: Journal,
    shown: watch::Sender<Standing>,
    connection: Option<Connection>,
    /// Whether the broker has greeted.
    connected: bool,
    /// Anew with each connection, so that what an old one says counts no more.
    news: (mpsc::Sender<News>, mpsc::Receiver<News>),
    status: Vec<u8>,
    status_sent: bool,
    failures: u32,
    retry_at: MonoTime,
    /// What was last said of the disk, or of the broker.
    trouble: Option<String>,
}

impl Driver {
    fn new(config: Config, broker: Broker, journal: Journal, shown: watch::Sender<Standing>) -> Driver {
        let topics = Topics::new(&config.topic, &config.sender);
        Driver {
            config,
            broker,
            topics,
            journal,
            shown,
            connection: None,
            connected: false,
            news: mpsc::channel(64),
            status: Vec::new(),
            status_sent: true,
            failures: 0,
            retry_at: MonoTime::default(),
            trouble: None,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.connect();
            self.send();
            self.show();
            let wait = if self.connection.is_some() { LONGEST_PAUSE } else { self.retry_at.since(Now::read().mono) };
            tokio::select! {
                command = commands.recv() => match command {
                    None => break,
                    Some(command) => self.take(command, &mut commands),
                },
                Some(news) = self.news.1.recv() => self.on_news(news),
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.say_goodbye().await;
    }

    /// Keeps what came, all that waits in the queue with one sync.
    fn take(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) {
        let mut next = Some(first);
        let mut written = Ok(());
        while let Some(command) = next {
            match command {
                Command::Event(kind, payload) => {
                    let added = self.journal.add(kind, &payload);
                    if added.is_err() {
                        self.journal.outbox().lose();
                    }
                    written = written.and(added);
                }
                Command::Status(payload) => (self.status, self.status_sent) = (payload, false),
            }
            next = commands.try_recv().ok();
        }
        if let Err(error) = written.and_then(|()| self.journal.sync()) {
            self.complain(format!("{}: {error}; events may be lost, check the disk", self.config.folder.display()));
        }
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Connected => {
                info!(broker = self.broker.host, waiting = self.journal.outbox().len(), "the broker is there");
                (self.connected, self.status_sent, self.failures, self.trouble) = (true, self.status.is_empty(), 0, None);
            }
            News::Acknowledged(Tag::Event(no)) => {
                self.journal.outbox().acknowledged(no);
                if self.journal.outbox().is_empty()
                    && let Err(error) = self.journal.sync()
                {
                    self.complain(format!("{}: {error}; check the disk", self.config.folder.display()));
                }
            }
            News::Acknowledged(Tag::Status) => {}
            News::Ended(why) => self.lost(why),
        }
    }

    fn lost(&mut self, why: String) {
        (self.connection, self.connected) = (None, false);
        self.news = mpsc::channel(64); // what the old connection may still say is not read
        self.journal.outbox().disconnected();
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.retry_at = Now::read().mono.after(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
        self.failures = self.failures.saturating_add(1);
        self.complain(format!("{}:{}: {why}; events are kept until it is there", self.broker.host, self.broker.port));
    }

    /// Once in the log, until something else is wrong.
    fn complain(&mut self, trouble: String) {
        match self.trouble.as_ref() == Some(&trouble) {
            true => debug!("events: {trouble}"),
            false => warn!("events: {trouble}"),
        }
        self.trouble = Some(trouble);
    }

    fn connect(&mut self) {
        if self.connection.is_some() || Now::read().mono < self.retry_at {
            return;
        }
        let will = Status { sender: self.config.sender.clone(), online: false, rest: None };
        match Connection::open(&self.broker, (self.topics.status(), will.payload()), self.news.0.clone()) {
            Ok(connection) => self.connection = Some(connection),
            Err(why) => self.lost(why),
        }
    }

    /// Hands over what may go.
    fn send(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.connected) else { return };
        if !self.status_sent {
            self.status_sent = connection.publish(self.topics.status(), true, self.status.clone(), Tag::Status);
        }
        while let Some(place) = self.journal.outbox().take_next() {
            let sent = match self.journal.read(place) {
                Ok((kind, payload)) => connection.publish(self.topics.of(kind), false, payload, Tag::Event(place.no)),
                Err(error) => {
                    warn!("an event is lost: {}: {error}", self.config.folder.display());
                    self.journal.outbox().acknowledged(place.no);
                    self.journal.outbox().lose();
                    continue;
                }
            };
            if !sent {
                return self.lost("takes no more".into());
            }
        }
    }

    fn show(&mut self) {
        let connected = self.connected;
        let outbox = self.journal.outbox();
        let standing = Standing { waiting: outbox.len(), lost: outbox.lost(), connected };
        self.shown.send_if_modified(|shown| std::mem::replace(shown, standing) != standing);
    }

    async fn say_goodbye(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| self.connected) else { return };
        let gone = Status { sender: self.config.sender.clone(), online: false, rest: None };
        if !connection.publish(self.topics.status(), true, gone.payload(), Tag::Status) {
            return;
        }
        connection.disconnect();
        let (journal, news) = (&mut self.journal, &mut self.news.1);
        let ended = async {
            while let Some(news) = news.recv().await {
                match news {
                    News::Acknowledged(Tag::Event(no)) => journal.outbox().acknowledged(no),
                    News::Ended(_) => return,
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(GOODBYE, ended).await.is_err() {
            debug!("the broker did not say goodbye");
        }
    }
}
