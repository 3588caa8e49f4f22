//! The thread `spool`: gives the one writer of a folder what comes through a bounded queue, and passes on what it says. All of
//! the station that touches threads, clock and disk; the disk itself in `folder.rs`.

mod folder;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;

use nix::fcntl::{Flock, FlockArg};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::UnboundedSender;

use self::folder::Folder;
use super::counters::Counters;
use super::disk::{Disk, Failure};
use super::keys;
use super::ledger::Ledger;
use super::reader::Reader;
use super::recovery::{Report, recover};
use super::seal::Entropy;
use super::writer::{Config, Event, Recovered, Writer, load_keys};
use crate::clock::Now;
use crate::model::{Block, Recording, Samples};

/// Commands that may wait. The queue is empty again after every commit, so it is full only when a sync takes longer than
/// some 30 s; then the sender's `try_send` fails, and the sender counts what it could not hand over.
const QUEUE_COMMANDS: usize = 64;

/// What the spool is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Keep these; their memory goes back to the pool.
    Blocks(Vec<Block>),
    /// Keep this description; from `Finished` on, the recording's blocks are free. Answered by [`Event::Described`].
    Describe(Box<Recording>),
    /// Keep this beside the recordings, in the ledger alone, for after a restart; an empty value removes it. It is lost with the
    /// ledger, or when that fails just now.
    Memo {
        /// Its name.
        key: String,
        /// At most 512 KiB.
        value: Vec<u8>,
    },
    /// Write what waits, and end. [`Spool::stop`] sends it.
    Stop,
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
    pub fn open(config: &Config, pool: Sender<Samples>, events: UnboundedSender<Event>) -> Result<(Spool, Recovered), OpenError> {
        let lock = lock(&config.dir)?;
        let folder = Arc::new(Folder { dir: config.dir.clone(), is_writable: true });
        Spool::start(config, lock, folder, pool, events).map_err(|why| OpenError::Failed { dir: config.dir.clone(), why })
    }

    fn start(
        config: &Config,
        lock: Flock<File>,
        disk: Arc<dyn Disk>,
        pool: Sender<Samples>,
        events: UnboundedSender<Event>,
    ) -> Result<(Spool, Recovered), Failure> {
        let (writer, reader, recovered) = Writer::open(config, disk, entropy())?;
        let (commands, queue) = sync_channel(QUEUE_COMMANDS);
        let served = Served { queue, writer, ledger: reader.ledger.clone(), pool, events, _lock: lock };
        let thread = std::thread::Builder::new().name("spool".into()).spawn(|| served.run()).map_err(Failure::Disk)?;
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

/// What the thread has.
struct Served {
    queue: Receiver<Command>,
    writer: Writer,
    ledger: Ledger,
    pool: Sender<Samples>,
    events: UnboundedSender<Event>,
    _lock: Flock<File>,
}

impl Served {
    fn run(mut self) -> Result<(), Failure> {
        while self.wait().is_continue() {
            while self.writer.turn(Now::read().mono) {
                self.pass_on();
            }
            self.pass_on();
        }
        let done = self.writer.write_all();
        self.pass_on();
        done.and(self.writer.close())
    }

    /// Takes one command, or lets the time pass until something else is due; then all that wait and fit into one batch.
    fn wait(&mut self) -> ControlFlow<()> {
        match self.queue.recv_timeout(self.writer.poll_timeout().since(Now::read().mono)) {
            Ok(command) => self.take(command)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
        }
        while !self.writer.has_a_batch() {
            let Ok(command) = self.queue.try_recv() else { break };
            self.take(command)?;
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Blocks(blocks) => self.writer.take_blocks(blocks),
            Command::Describe(recording) => self.writer.take_description(*recording),
            Command::Memo { key, value } => {
                if let Err(e) = self.ledger.memo(&key, &value) {
                    tracing::warn!(key, "not kept for after a restart: {e}");
                }
            }
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn pass_on(&mut self) {
        for event in self.writer.poll() {
            let _ = self.events.send(event); // nobody listens during shutdown
        }
        for samples in self.writer.take_spare() {
            let _ = self.pool.send(samples); // without a pool the memory is freed
        }
    }
}

#[cfg(test)]
mod tests;
