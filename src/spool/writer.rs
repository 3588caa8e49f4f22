//! What the thread of the spool does: folds what waits into commits, says what is durable, and tries again what failed. The
//! time, the disk and randomness are arguments; [`super::driver`] gives the real ones, the simulation others.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::backlog::{Backlog, Batch};
use super::counters::{self, Counters};
use super::descriptions::Descriptions;
use super::disk::{Disk, Failure};
use super::keys::{self, Keyring};
use super::ledger::Ledger;
use super::reader::Reader;
use super::recovery::{Inventory, Report, recover};
use super::retention;
use super::seal::{Algorithm, Entropy};
use super::store::Store;
use crate::model::{Block, MediaTime, MonoTime, Recording, RecordingNo, Samples, Stage};

/// Blocks written at once: the half-second of 500 calls.
const BATCH_BLOCKS: usize = 1_000;

/// Descriptions without audio wait so long for others after a commit: each commit costs a sync and some pages, and nobody waits
/// for them. Of a call whose sessions end within this time only the last description is written.
const GATHER: Duration = Duration::from_millis(100);

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
    /// All recordings that are not yet delivered, the oldest first.
    pub recordings: Vec<Recording>,
    /// How far the audio of those still running reaches.
    pub kept: BTreeMap<RecordingNo, MediaTime>,
    /// The least number that no recording ever had.
    pub next_no: RecordingNo,
    /// What had to be mended.
    pub report: Report,
}

/// The state of the one writer.
pub struct Writer {
    disk: Arc<dyn Disk>,
    store: Store,
    backlog: Backlog,
    /// Taken from the backlog, not yet durable.
    in_flight: Option<Batch>,
    counters: Arc<Counters>,
    floor_bytes: u64,
    accepting: bool,
    space_due: MonoTime,
    trouble: Option<Trouble>,
    /// See [`GATHER`].
    gather_until: MonoTime,
    /// For [`Writer::poll`].
    events: Vec<Event>,
    /// For [`Writer::take_spare`].
    spare: Vec<Samples>,
}

#[derive(Clone, Copy)]
struct Trouble {
    pause: Duration,
    retry_at: MonoTime,
}

impl Writer {
    /// Mends what a crash or a damaged disk left. The ledger stands in `config.dir`, all else on `disk`.
    ///
    /// # Errors
    /// When the disk cannot be read, or not even an empty ledger be made.
    pub fn open(config: &Config, disk: Arc<dyn Disk>, mut entropy: Entropy) -> Result<(Writer, Reader, Recovered), Failure> {
        let box_key = keys::box_key(disk.as_ref(), &mut entropy).map_err(Failure::Disk)?;
        let ledger = Ledger::closed(Some(ledger_path(&config.dir)), box_key);
        let mut inventory = recover(disk.as_ref(), &ledger, &mut entropy)?;
        let keys = load_keys(disk.as_ref(), &ledger, &mut inventory)?;
        let recordings = undelivered(Descriptions { disk: disk.as_ref(), ledger: &ledger }).map_err(Failure::Ledger)?;
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
        let store = Store::new(disk.clone(), ledger, counters.clone(), inventory, keys, entropy, config.segment_bytes);
        let writer = Writer {
            disk,
            store,
            backlog: Backlog::new(config.backlog_blocks),
            in_flight: None,
            counters,
            floor_bytes: config.floor_bytes,
            accepting: true,
            space_due: MonoTime::default(),
            trouble: None,
            gather_until: MonoTime::default(),
            events: Vec::new(),
            spare: Vec::new(),
        };
        Ok((writer, reader, recovered))
    }

    /// Keeps these; those that are given up for them are spare at once.
    pub fn take_blocks(&mut self, blocks: Vec<Block>) {
        let dropped = self.backlog.add_blocks(blocks);
        counters::add(&self.counters.dropped_blocks, dropped.len());
        self.recycle(dropped);
    }

    /// Keeps this description.
    pub fn take_description(&mut self, recording: Recording) {
        self.backlog.add_description(recording);
    }

    /// As much waits as is written at once.
    pub fn has_a_batch(&self) -> bool {
        self.backlog.is_worth(BATCH_BLOCKS)
    }

    /// Writes the next batch, unless the disk has just failed, and sees to what else is due. True: there may be more to do now.
    pub fn turn(&mut self, now: MonoTime) -> bool {
        counters::add(&self.counters.turns, 1);
        if now >= self.space_due {
            self.look_at_space(now);
        }
        if self.waits_until().is_some_and(|until| now < until) {
            return false;
        }
        let done = self.work();
        let is_more = *done.as_ref().unwrap_or(&false);
        self.gather_until = now.after(GATHER);
        if !is_more {
            self.judge(done.map(drop), now);
        }
        is_more
    }

    /// When [`Writer::turn`] is to be called although nothing has come.
    pub fn poll_timeout(&self) -> MonoTime {
        self.waits_until().map_or(self.space_due, |until| until.min(self.space_due))
    }

    /// Until when nothing is written, although something waits.
    fn waits_until(&self) -> Option<MonoTime> {
        let gathers = self.in_flight.is_none() && self.backlog.has_only_descriptions();
        self.trouble.map(|trouble| trouble.retry_at).or_else(|| gathers.then_some(self.gather_until))
    }

    /// What there is to say, the oldest first.
    pub fn poll(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The memory of blocks that are durable, or given up.
    pub fn take_spare(&mut self) -> Vec<Samples> {
        std::mem::take(&mut self.spare)
    }

    /// Writes all that waits, whether or not the disk has just failed.
    ///
    /// # Errors
    /// What keeps it from becoming durable.
    pub fn write_all(&mut self) -> Result<(), Failure> {
        while self.work()? {}
        Ok(())
    }

    /// Closes the ledger, for its readers too.
    ///
    /// # Errors
    /// See [`Store::close`].
    pub fn close(self) -> Result<(), Failure> {
        self.store.close()
    }

    /// Makes one batch durable. True: there may be another.
    fn work(&mut self) -> Result<bool, Failure> {
        let batch = self.in_flight.get_or_insert_with(|| self.backlog.take(BATCH_BLOCKS));
        self.store.carry(batch)?;
        let is_empty = batch.is_empty();
        if is_empty {
            self.in_flight = None;
        } else {
            self.store.commit(batch)?;
            self.acknowledge();
        }
        self.store.reclaim()?;
        Ok(!is_empty)
    }

    fn acknowledge(&mut self) {
        let batch = self.in_flight.take().unwrap_or_default();
        for Recording { no, id, stage, .. } in batch.descriptions {
            tracing::debug!(recording = %id, no = no.0, ?stage, "description is durable");
            self.events.push(Event::Described { no, stage });
        }
        self.recycle(batch.blocks);
    }

    fn recycle(&mut self, blocks: Vec<Block>) {
        self.spare.extend(blocks.into_iter().map(|block| block.samples));
    }

    /// Goes into trouble or out of it.
    fn judge(&mut self, done: Result<(), Failure>, now: MonoTime) {
        match (done, self.trouble) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.trouble = None;
                tracing::info!("the spool writes again");
                self.events.push(Event::Mended);
            }
            (Err(failure), before) => {
                counters::add(&self.counters.failures, 1);
                let pause = before.map_or(FIRST_PAUSE, |trouble| LONGEST_PAUSE.min(trouble.pause * 2));
                self.trouble = Some(Trouble { pause, retry_at: now.after(pause) });
                if before.is_none() {
                    tracing::error!("{failure}; audio waits in memory, tried again until it is written");
                    self.events.push(Event::Trouble { what: failure.to_string() });
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
                self.events.push(Event::Space { free_bytes, used_bytes, accepting });
            }
            Err(e) => tracing::warn!("free space is not known: {e}"),
        }
    }
}

/// The keys of what was recovered; the report then says which are lost.
pub(super) fn load_keys(disk: &dyn Disk, ledger: &Ledger, inventory: &mut Inventory) -> Result<Keyring, Failure> {
    let mut keys = Keyring::load(disk, ledger.key(), Algorithm::of_this_cpu());
    inventory.report.lost_keys = keys.agree(ledger, &inventory.holdings).map_err(Failure::Ledger)?;
    Ok(keys)
}

/// Where the ledger stands in the spool's folder.
pub(super) fn ledger_path(dir: &Path) -> PathBuf {
    dir.join("ledger")
}

fn undelivered(descriptions: Descriptions<'_>) -> io::Result<Vec<Recording>> {
    let rows = descriptions.ledger.rows()?;
    let wanted = rows.iter().filter(|(_, row)| row.stage < Stage::Delivered);
    let read = wanted.filter_map(|(no, _)| {
        // A later version's description must not keep the box from starting.
        let warn = |e: &io::Error| tracing::warn!(no = no.0, "{e}; it is left as it is");
        descriptions.recording(*no).inspect_err(warn).ok().flatten()
    });
    Ok(read.collect())
}
