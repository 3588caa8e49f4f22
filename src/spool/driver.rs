//! The thread `spool`: the one writer of the folder of segments and of the ledger. Takes commands from a bounded queue, folds
//! what waits into one commit, and says what is durable. All of the station that touches threads, clock and disk; the disk
//! itself in `folder.rs`.

mod folder;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::UnboundedSender;

use self::folder::Folder;
use super::backlog::{Backlog, Batch};
use super::counters::{self, Counters};
use super::disk::{Disk, Failure};
use super::keys::{self, Keyring};
use super::ledger::Ledger;
use super::reader::Reader;
use super::recovery::{Inventory, Report, recover};
use super::retention;
use super::seal::{Algorithm, Entropy};
use super::store::Store;
use crate::clock::Now;
use crate::model::{BLOCK_BYTES, Block, MediaTime, MonoTime, Recording, RecordingNo, Stage};

/// Commands that may wait. The queue is empty again after every commit, so it is full only when a sync takes longer than
/// some 30 s; then the sender's `try_send` fails, and the sender counts what it could not hand over.
const QUEUE_COMMANDS: usize = 64;

/// Blocks written at once: 2 MB, and as much memory for the buffer.
const BATCH_BLOCKS: usize = 500;

/// How often free space is looked at.
const SPACE_EVERY: Duration = Duration::from_secs(5);

/// The pause after a first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where and how much.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder; made if it is missing.
    pub dir: PathBuf,
    /// Length at which a segment is closed, in bytes; usually [`Config::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// Free bytes below which no new recording is to be taken.
    pub floor_bytes: u64,
    /// Blocks that may wait in memory while the disk fails; usually [`Config::BACKLOG_BLOCKS`].
    pub backlog_blocks: usize,
}

impl Config {
    /// A segment takes 64 MiB: some ten minutes of ten calls, and 1,000 files on a disk of 64 GB.
    pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
    /// 16 MB: ten seconds of 200 calls.
    pub const BACKLOG_BLOCKS: usize = 4_000;
}

/// What the spool is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Keep these; their memory goes back to the pool.
    Blocks(Vec<Block>),
    /// Keep this description; from `Finished` on, the recording's blocks are free. Answered by [`Event::Described`].
    Describe(Box<Recording>),
    /// Write what waits, and end. [`Spool::stop`] sends it.
    Stop,
}

/// What the spool has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This description is durable, and all blocks handed over before it. Of several that waited, only the newest is named.
    Described {
        /// Whose.
        no: RecordingNo,
        /// Its stage there.
        stage: Stage,
    },
    /// The disk or the ledger fails: blocks wait in memory, and no new call should be taken.
    Trouble {
        /// What fails, and what to look at.
        what: String,
    },
    /// All that waited is durable again.
    Mended,
    /// How full it is; every 5 s.
    Space {
        /// Bytes free on its file system.
        free_bytes: u64,
        /// Bytes that the segments take.
        used_bytes: u64,
        /// Whether there is room for new recordings.
        accepting: bool,
    },
}

/// What stood in the spool when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// All recordings that are not yet released, the oldest first.
    pub recordings: Vec<Recording>,
    /// How far the audio of those still running reaches.
    pub kept: BTreeMap<RecordingNo, MediaTime>,
    /// The least number that no recording ever had.
    pub next_no: RecordingNo,
    /// What had to be mended.
    pub report: Report,
}

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is no good.
    #[error("spool folder {dir}: {why}; it must be (or be allowed to be made) a folder that this user may write to")]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// A daemon runs on it.
    #[error("spool folder {dir} is in use by another process, which holds spool.lock in it; stop that, or use another folder")]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A copy without its key.
    #[error(
        "spool folder {dir}: box.key: {why}; what a box recorded can be read only with its key: copy box.key from there, too"
    )]
    Key {
        /// The folder.
        dir: PathBuf,
        /// Why there is none.
        why: io::Error,
    },
    /// It could not be read or mended.
    #[error("spool folder {dir}: {why}")]
    Failed {
        /// The folder.
        dir: PathBuf,
        /// What failed.
        why: Failure,
    },
}

/// The running spool.
pub struct Spool {
    commands: SyncSender<Command>,
    reader: Reader,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Spool {
    /// Opens the spool in `config.dir`, mends what a crash or a damaged disk left, and starts its thread. The memory of
    /// written blocks goes to `pool`. The queue of `events` has no bound, because each answers a command of its receiver, or
    /// comes every few seconds.
    ///
    /// # Errors
    /// See [`OpenError`]. A damaged ledger or segment is no error: see [`Recovered::report`].
    pub fn open(
        config: &Config,
        pool: Sender<Box<[u8; BLOCK_BYTES]>>,
        events: UnboundedSender<Event>,
    ) -> Result<(Spool, Recovered), OpenError> {
        let lock = lock(&config.dir)?;
        let folder = Arc::new(Folder { dir: config.dir.clone(), is_writable: true });
        Spool::start(config, lock, folder, pool, events).map_err(|why| OpenError::Failed { dir: config.dir.clone(), why })
    }

    fn start(
        config: &Config,
        lock: Flock<File>,
        disk: Arc<dyn Disk>,
        pool: Sender<Box<[u8; BLOCK_BYTES]>>,
        events: UnboundedSender<Event>,
    ) -> Result<(Spool, Recovered), Failure> {
        let mut entropy = entropy();
        let box_key = keys::box_key(disk.as_ref(), &mut entropy).map_err(Failure::Disk)?;
        let ledger = Ledger::closed(Some(ledger_path(&config.dir)), box_key);
        let mut inventory = recover(disk.as_ref(), &ledger, &mut entropy)?;
        let keys = load_keys(disk.as_ref(), &ledger, &mut inventory)?;
        let recordings = unreleased(&ledger).map_err(Failure::Ledger)?;
        let running = recordings.iter().filter(|recording| recording.stage == Stage::Recording);
        let recovered = Recovered {
            kept: running.map(|recording| (recording.no, inventory.holdings.kept(recording.no))).collect(),
            recordings,
            next_no: inventory.next_recording,
            report: inventory.report.clone(),
        };
        if recovered.report != Report::default() {
            tracing::warn!(report = %recovered.report, "the spool was not left in order");
        }
        let counters = Arc::new(Counters::default());
        let reader = Reader { disk: disk.clone(), ledger: ledger.clone(), counters: counters.clone() };
        let store = Store::new(disk.clone(), ledger, counters.clone(), inventory, keys, entropy, config.segment_bytes)
            .map_err(Failure::Ledger)?;
        let (commands, queue) = sync_channel(QUEUE_COMMANDS);
        let writer = Writer {
            queue,
            disk,
            store,
            backlog: Backlog::new(config.backlog_blocks),
            in_flight: None,
            pool,
            events,
            counters,
            floor_bytes: config.floor_bytes,
            accepting: true,
            space_due: MonoTime::default(),
            trouble: None,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(|| writer.run()).map_err(Failure::Disk)?;
        Ok((Spool { commands, reader, thread }, recovered))
    }

    /// A sender of commands. `try_send` where waiting for a disk is out of the question.
    pub fn sender(&self) -> SyncSender<Command> {
        self.commands.clone()
    }

    /// A reader, which may go to another thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<Counters> {
        self.reader.counters.clone()
    }

    /// Writes what was handed over before, ends the thread and closes the ledger, for readers too.
    ///
    /// # Errors
    /// What kept the last commands from becoming durable.
    pub fn stop(self) -> Result<(), Failure> {
        let _ = self.commands.send(Command::Stop); // fails only when the thread has ended already
        self.thread.join().unwrap_or_else(|_| Err(Failure::Disk(io::Error::other("the thread of the spool panicked"))))
    }
}

/// Reads a spool that no daemon serves, such as one copied from a dead box, from its segments alone and without changing
/// anything in it. It needs `box.key` and the key files, too. A released recording is no longer in there.
///
/// # Errors
/// When the folder or its segments cannot be read.
pub fn open_offline(dir: &Path) -> Result<(Reader, Report), OpenError> {
    fs::read_dir(dir).map_err(|why| OpenError::Folder { dir: dir.into(), why })?;
    let disk = Arc::new(Folder { dir: dir.into(), is_writable: false });
    let box_key = keys::read_box_key(disk.as_ref()).map_err(|why| OpenError::Key { dir: dir.into(), why })?;
    let failed = |why| OpenError::Failed { dir: dir.into(), why };
    let ledger = Ledger::closed(None, box_key);
    let mut inventory = recover(disk.as_ref(), &ledger, &mut entropy()).map_err(failed)?;
    load_keys(disk.as_ref(), &ledger, &mut inventory).map_err(failed)?;
    Ok((Reader { disk, ledger, counters: Arc::default() }, inventory.report))
}

/// The keys of what was recovered; the report then says which are lost.
fn load_keys(disk: &dyn Disk, ledger: &Ledger, inventory: &mut Inventory) -> Result<Keyring, Failure> {
    let mut keys = Keyring::load(disk, ledger.key(), Algorithm::of_this_cpu());
    inventory.report.lost_keys = keys.agree(ledger, &inventory.holdings).map_err(Failure::Ledger)?;
    Ok(keys)
}

/// The system's randomness, which blocks until there is enough of it after power-on.
fn entropy() -> Entropy {
    let system = SystemRandom::new();
    Box::new(move |bytes| system.fill(bytes).map_err(|_| io::Error::other("the system has no randomness to give")))
}

fn lock(dir: &Path) -> Result<Flock<File>, OpenError> {
    let folder = |why| OpenError::Folder { dir: dir.into(), why };
    fs::create_dir_all(dir).map_err(folder)?;
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(dir.join("spool.lock")).map_err(folder)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| OpenError::InUse { dir: dir.into() })
}

fn ledger_path(dir: &Path) -> PathBuf {
    dir.join("ledger")
}

fn unreleased(ledger: &Ledger) -> io::Result<Vec<Recording>> {
    let rows = ledger.rows()?;
    let wanted = rows.iter().filter(|(_, row)| row.stage < Stage::Released);
    let read = wanted.filter_map(|(no, _)| {
        // A later version's description must not keep the box from starting.
        let warn = |e: &io::Error| tracing::warn!(no = no.0, "{e}; it is left as it is");
        ledger.recording(*no).inspect_err(warn).ok().flatten()
    });
    Ok(read.collect())
}

/// The state of the thread.
struct Writer {
    queue: Receiver<Command>,
    disk: Arc<dyn Disk>,
    store: Store,
    backlog: Backlog,
    /// Taken from the backlog, not yet durable.
    in_flight: Option<Batch>,
    pool: Sender<Box<[u8; BLOCK_BYTES]>>,
    events: UnboundedSender<Event>,
    counters: Arc<Counters>,
    floor_bytes: u64,
    accepting: bool,
    space_due: MonoTime,
    trouble: Option<Trouble>,
    _lock: Flock<File>,
}

#[derive(Clone, Copy)]
struct Trouble {
    pause: Duration,
    retry_at: MonoTime,
}

impl Writer {
    fn run(mut self) -> Result<(), Failure> {
        while self.wait().is_continue() {
            counters::add(&self.counters.turns, 1);
            let now = Now::read().mono;
            if now >= self.space_due {
                self.look_at_space(now);
            }
            if self.trouble.is_none_or(|trouble| now >= trouble.retry_at) {
                let done = self.work();
                self.judge(done, now);
            }
        }
        let done = self.work();
        done.and(self.store.close())
    }

    /// Takes one command, or lets the time pass until something else is due; then all that wait and fit into one batch.
    fn wait(&mut self) -> ControlFlow<()> {
        let due = self.trouble.map_or(self.space_due, |trouble| trouble.retry_at.min(self.space_due));
        match self.queue.recv_timeout(due.since(Now::read().mono)) {
            Ok(command) => self.take(command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
        }
        while !self.backlog.is_worth(BATCH_BLOCKS) {
            let Ok(command) = self.queue.try_recv() else { break };
            self.take(command)?;
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Blocks(blocks) => {
                let dropped = self.backlog.add_blocks(blocks);
                counters::add(&self.counters.dropped_blocks, dropped.len());
                self.recycle(dropped);
            }
            Command::Describe(recording) => self.backlog.add_description(*recording),
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Commits until nothing waits.
    fn work(&mut self) -> Result<(), Failure> {
        loop {
            let batch = self.in_flight.get_or_insert_with(|| self.backlog.take(BATCH_BLOCKS));
            self.store.carry(batch)?;
            if batch.is_empty() {
                self.in_flight = None;
                return self.store.reclaim();
            }
            self.store.commit(batch)?;
            self.acknowledge();
            self.store.reclaim()?;
        }
    }

    fn acknowledge(&mut self) {
        let batch = self.in_flight.take().unwrap_or_default();
        for Recording { no, id, stage, .. } in batch.descriptions {
            tracing::debug!(recording = %id, no = no.0, ?stage, "description is durable");
            let _ = self.events.send(Event::Described { no, stage }); // nobody listens during shutdown
        }
        self.recycle(batch.blocks);
    }

    fn recycle(&self, blocks: Vec<Block>) {
        for block in blocks {
            let _ = self.pool.send(block.samples); // without a pool the memory is freed
        }
    }

    /// Goes into trouble or out of it.
    fn judge(&mut self, done: Result<(), Failure>, now: MonoTime) {
        match (done, self.trouble) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.trouble = None;
                tracing::info!("the spool writes again");
                let _ = self.events.send(Event::Mended);
            }
            (Err(failure), before) => {
                counters::add(&self.counters.failures, 1);
                let pause = before.map_or(FIRST_PAUSE, |trouble| LONGEST_PAUSE.min(trouble.pause * 2));
                self.trouble = Some(Trouble { pause, retry_at: now.after(pause) });
                if before.is_none() {
                    tracing::error!("{failure}; audio waits in memory, tried again until it is written");
                    let _ = self.events.send(Event::Trouble { what: failure.to_string() });
                }
            }
        }
    }

    fn look_at_space(&mut self, now: MonoTime) {
        self.space_due = now.after(SPACE_EVERY);
        match self.disk.free_bytes() {
            Ok(free_bytes) => {
                self.accepting = retention::accepting(self.accepting, free_bytes, self.floor_bytes);
                let (used_bytes, accepting) = (self.store.used_bytes(), self.accepting);
                let _ = self.events.send(Event::Space { free_bytes, used_bytes, accepting });
            }
            Err(e) => tracing::warn!("free space is not known: {e}"),
        }
    }
}

#[cfg(test)]
mod tests;
