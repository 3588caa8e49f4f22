//! The sockets of the CTI links: one task drives the machine, one more per connection reads and writes. All on the main
//! thread's runtime; if they die, calls go on being recorded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::clock::Now;
use crate::model::{CallFacts, MonoTime};

use super::board::{LinkNo, SessionFacts};
use super::hub::{Address, Command, Event, Hub, LinkState, Settings, TServer};
use super::link::Action;

mod tls;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often the call model is looked after.
const EVERY: Duration = Duration::from_millis(200);
/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1_024;
/// Chunks that wait; then no more is read, and the T-Server has to wait.
const CHUNKS: usize = 32;
/// Lines that wait to be sent; a T-Server that reads none of them is given up.
const LINES: usize = 4_096;
/// Messages between station and daemon; when the daemon's queue is full it is told again a moment later.
const QUEUE: usize = 1_024;

/// The running station.
#[derive(Debug)]
pub struct Cti {
    commands: mpsc::Sender<Command>,
    states: watch::Receiver<Vec<LinkState>>,
    hub: Arc<Mutex<Hub>>,
}

impl Cti {
    /// Starts the links. Without any T-Server it does nothing.
    pub fn start(tservers: Vec<TServer>, settings: Settings) -> (Cti, mpsc::Receiver<Event>) {
        let hub = Arc::new(Mutex::new(Hub::new(Now::read(), &tservers, settings, &mut Rng::new())));
        let (commands, incoming) = mpsc::channel(QUEUE);
        let (outgoing, events) = mpsc::channel(QUEUE);
        let (published, states) = watch::channel(Vec::new());
        if !tservers.is_empty() {
            tokio::spawn(Driver::new(tservers, Arc::clone(&hub), outgoing, published).run(incoming));
        }
        (Cti { commands, states, hub }, events)
    }

    /// Tells the station something. It never waits: what does not fit is lost, and the next message about that recording
    /// makes up for it.
    pub fn tell(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.commands.try_send(command) {
            tracing::warn!("the CTI station does not keep up: something about a recording was not told to it");
        }
    }

    /// What rules may ask of the call of a recording session that begins; none: no T-Server has told of it, or the station
    /// has died.
    pub fn facts(&self, now: Now, session: &SessionFacts<'_>) -> Option<CallFacts> {
        self.hub.lock().ok()?.facts_of_session(now, session)
    }

    /// The links as they are.
    pub fn links(&self) -> Vec<LinkState> {
        self.states.borrow().clone()
    }
}

/// What a connection has to say.
enum Input {
    Connected,
    Bytes(Vec<u8>),
    Lost(String),
}

/// The present connection of a link.
struct Line {
    /// Counts them, so that the last words of an old one are not taken for the new one's.
    epoch: u64,
    lines: mpsc::Sender<Vec<u8>>,
}

struct Driver {
    tservers: Vec<TServer>,
    /// Held for a moment at a time, never while something is awaited: only then does nobody wait for it.
    hub: Arc<Mutex<Hub>>,
    lines: Vec<Option<Line>>,
    epoch: u64,
    inputs: mpsc::Sender<(LinkNo, u64, Input)>,
    arrived: mpsc::Receiver<(LinkNo, u64, Input)>,
    events: mpsc::Sender<Event>,
    states: watch::Sender<Vec<LinkState>>,
}

impl Driver {
    fn new(
        tservers: Vec<TServer>,
        hub: Arc<Mutex<Hub>>,
        events: mpsc::Sender<Event>,
        states: watch::Sender<Vec<LinkState>>,
    ) -> Driver {
        let (inputs, arrived) = mpsc::channel(CHUNKS);
        let lines = tservers.iter().map(|_| None).collect();
        Driver { tservers, hub, lines, epoch: 0, inputs, arrived, events, states }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut every = tokio::time::interval(EVERY);
        loop {
            let wake = self.hub().poll_timeout();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.hub().handle_command(Now::read(), command),
                    None => return, // the daemon is gone
                },
                Some((no, epoch, input)) = self.arrived.recv() => self.take(Now::read(), no, epoch, input),
                () = until(wake) => self.hub().handle_timeout(Now::read()),
                _ = every.tick() => {
                    self.hub().handle_timeout(Now::read());
                    self.states.send_replace(self.hub().links());
                }
            }
            if self.settle().await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, now: Now, no: LinkNo, epoch: u64, input: Input) {
        if self.line(no).is_none_or(|line| line.epoch != epoch) {
            return;
        }
        match input {
            Input::Connected => self.hub().connected(now, no),
            Input::Bytes(bytes) => self.hub().handle_bytes(now, no, &bytes),
            Input::Lost(why) => {
                self.close(no);
                self.hub().lost(now, no, &why);
            }
        }
    }

    /// Carries out what the machine wants; fails when the daemon is gone.
    async fn settle(&mut self) -> Result<(), mpsc::error::SendError<Event>> {
        loop {
            let Some((no, action)) = self.hub().poll_action() else { break };
            match action {
                Action::Connect(address) => self.connect(no, address),
                Action::Close => self.close(no),
                Action::Send(bytes) => {
                    if self.line(no).is_some_and(|line| line.lines.try_send(bytes).is_err()) {
                        self.close(no);
                        self.hub().lost(Now::read(), no, "it does not read what it is sent");
                    }
                }
            }
        }
        loop {
            let Some(event) = self.hub().poll_event() else { return Ok(()) };
            self.events.send(event).await?;
        }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        // Only this task changes it; had it panicked, it would not be here.
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, no: LinkNo) -> Option<&Line> {
        self.lines.get(no.0)?.as_ref()
    }

    fn connect(&mut self, no: LinkNo, address: usize) {
        let Some(address) = self.tservers.get(no.0).and_then(|tserver| tserver.addresses.get(address)) else { return };
        self.epoch += 1;
        let (lines, outgoing) = mpsc::channel(LINES);
        let connection = Connection { no, epoch: self.epoch, inputs: self.inputs.clone() };
        if let Some(line) = self.lines.get_mut(no.0) {
            *line = Some(Line { epoch: self.epoch, lines });
        }
        tokio::spawn(connection.run(address.clone(), outgoing));
    }

    /// The connection's task ends when nobody can give it lines any more.
    fn close(&mut self, no: LinkNo) {
        if let Some(line) = self.lines.get_mut(no.0) {
            *line = None;
        }
    }
}

struct Connection {
    no: LinkNo,
    epoch: u64,
    inputs: mpsc::Sender<(LinkNo, u64, Input)>,
}

impl Connection {
    async fn run(self, address: Address, outgoing: mpsc::Receiver<Vec<u8>>) {
        let carried = match tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect((&*address.host, address.port))).await {
            Ok(Ok(stream)) => self.begin(stream, outgoing, &address).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer".into()),
        };
        if let Err(why) = carried {
            self.say(Input::Lost(format!("{address}: {why}"))).await;
        }
    }

    /// Carries lines over a connection that is there, in TLS or as they are.
    async fn begin(&self, stream: TcpStream, outgoing: mpsc::Receiver<Vec<u8>>, address: &Address) -> Result<(), String> {
        let _ = stream.set_nodelay(true); // it works without, a little later
        let Some(tls) = &address.tls else {
            self.say(Input::Connected).await;
            return self.carry(stream, outgoing).await;
        };
        let connected = tokio::time::timeout(CONNECT_WITHIN, tls::connect(stream, tls, &address.host)).await;
        let stream = connected.map_err(|_| "TLS: it does not answer")??;
        self.say(Input::Connected).await;
        self.carry(stream, outgoing).await
    }

    /// Reads and writes until one of the two fails, or the line is closed.
    async fn carry(&self, stream: impl AsyncRead + AsyncWrite, mut outgoing: mpsc::Receiver<Vec<u8>>) -> Result<(), String> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            while let Some(line) = outgoing.recv().await {
                writer.write_all(&line).await?;
                writer.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        tokio::select! {
            why = self.read(&mut reader) => Err(why),
            written = write => written.map_err(|error| error.to_string()),
        }
    }

    async fn read(&self, reader: &mut (impl AsyncRead + Unpin)) -> String {
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            match reader.read_buf(&mut chunk).await {
                Ok(0) => return "closed by the T-Server".into(),
                Ok(_) => self.say(Input::Bytes(chunk)).await,
                Err(error) => return error.to_string(),
            }
        }
    }

    async fn say(&self, input: Input) {
        let _ = self.inputs.send((self.no, self.epoch, input)).await; // fails only when the station is gone
    }
}

async fn until(wake: Option<MonoTime>) {
    match wake {
        Some(at) => tokio::time::sleep(at.since(Now::read().mono)).await,
        None => std::future::pending().await,
    }
}
