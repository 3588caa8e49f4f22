//! The spool's folder on the simulated medium, doing what the real one (`src/spool/driver/folder.rs`) does in the same order;
//! and the ledger's folder, which is a real one in a temporary directory, because sled writes its files itself.
//!
//! What a power cut leaves of the ledger is not known sector by sector. So it is drawn from all that may be: what was there at
//! the last `sync_ledger`, what is there now, both mixed sector by sector, or nothing at all. sled's own threads may
//! arrange the bytes of its files in another way in another run of the same seed; what the box makes of them must not differ.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use fastrand::Rng;
use nearend::model::WallTime;
use nearend::spool::disk::{Append, Disk, ReadAt, SegmentFile};
use nearend::spool::segment::{Header, SegmentNo};
use nix::fcntl::{Flock, FlockArg};

use crate::medium::{Medium, Node, Step};

/// Where the spool stands on the medium.
pub(crate) const SPOOL: &str = "/box/spool";

/// The disk as the spool sees it.
pub(crate) struct Folder {
    pub(crate) medium: Medium,
    pub(crate) ledger: LedgerSite,
    /// The time that files get, in microseconds.
    pub(crate) wall_us: Arc<AtomicI64>,
}

impl Folder {
    fn path(&self, segment: SegmentNo) -> PathBuf {
        Path::new(SPOOL).join(segment.file_name())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.medium.sync_folder(Path::new(SPOOL))
    }
}

impl Disk for Folder {
    fn segments(&self) -> io::Result<Vec<SegmentFile>> {
        self.medium.step(Step::Read)?;
        let names = self.medium.tree(SPOOL).into_keys();
        let numbers = names.filter_map(|name| SegmentNo::from_file_name(name.file_name()?.to_str()?));
        let mut out = Vec::new();
        for no in numbers {
            let Some(Node::File(id)) = self.medium.node(&self.path(no)) else { continue };
            let (bytes, taken_bytes) = self.medium.length(id);
            out.push(SegmentFile { no, bytes, taken_bytes, modified: WallTime(self.wall_us.load(Ordering::Relaxed)) });
        }
        out.sort_by_key(|file| file.no);
        Ok(out)
    }

    fn open(&self, segment: SegmentNo) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(Segment { medium: self.medium.clone(), file: self.medium.open(&self.path(segment))? }))
    }

    fn create(&self, header: &Header) -> io::Result<Box<dyn Append>> {
        let path = self.path(header.segment);
        let mut segment = Segment { medium: self.medium.clone(), file: self.medium.create(&path)? };
        let made = segment.append(&header.encode()).and_then(|()| segment.sync()).and_then(|()| self.sync_names());
        if let Err(e) = made {
            let _ = self.medium.remove(&path);
            return Err(e);
        }
        Ok(Box::new(segment))
    }

    fn sync(&self, segment: SegmentNo) -> io::Result<()> {
        self.medium.sync(self.medium.open(&self.path(segment))?)
    }

    fn punch(&self, segment: SegmentNo, holes: &[Range<u64>]) -> io::Result<u64> {
        let file = self.medium.open(&self.path(segment))?;
        self.medium.punch(file, holes)?;
        Ok(self.medium.length(file).1)
    }

    fn remove(&self, segment: SegmentNo) -> io::Result<()> {
        match self.medium.remove(&self.path(segment)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync_names()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.medium.free_bytes()
    }

    fn small_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.medium.read(&Path::new(SPOOL).join(name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn replace_small_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, temporary) = (Path::new(SPOOL).join(name), Path::new(SPOOL).join(format!("{name}.part")));
        match self.medium.remove(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.medium.create(&temporary)?;
        self.medium.append(file, bytes)?;
        self.medium.sync(file)?;
        self.medium.rename(&temporary, &path, false)?;
        self.sync_names()
    }

    fn rename_small_file(&self, from: &str, to: &str) -> io::Result<()> {
        self.medium.rename(&Path::new(SPOOL).join(from), &Path::new(SPOOL).join(to), false)?;
        self.sync_names()
    }

    fn prepare_ledger(&self) -> io::Result<()> {
        self.medium.step(Step::Read)?;
        let path = self.ledger.path();
        fs::create_dir_all(&path)?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".generating") {
                fs::remove_file(entry.path())?;
            }
        }
        wait_for_lock(&path.join("db"))
    }

    fn sync_ledger(&self) -> io::Result<()> {
        self.medium.step(Step::Sync)?;
        copy_folder(&self.ledger.path(), &self.ledger.synced())
    }

    fn set_ledger_aside(&self) -> io::Result<()> {
        self.medium.step(Step::Write)?;
        let aside = self.ledger.dir.join("ledger.set-aside");
        remove_folder(&aside)?;
        fs::rename(self.ledger.path(), aside)
    }
}

struct Segment {
    medium: Medium,
    file: u64,
}

impl ReadAt for Segment {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.medium.read_at(self.file, buffer, offset)
    }
    fn hole_end(&self, offset: u64) -> u64 {
        self.medium.hole_end(self.file, offset)
    }
}

impl Append for Segment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.medium.append(self.file, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.medium.sync(self.file)
    }
    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.medium.cut(self.file, bytes)
    }
}

/// The ledger's folder of one life of the box.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSite {
    /// The parent of `ledger/`, as in the spool's folder.
    pub(crate) dir: PathBuf,
}

impl LedgerSite {
    pub(crate) fn new(root: &Path, life: u32) -> LedgerSite {
        LedgerSite { dir: root.join(format!("life-{life}")) }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    /// As it was at the last sync.
    fn synced(&self) -> PathBuf {
        self.dir.join("synced")
    }

    /// As it was when the machine went off.
    fn at_the_end(&self) -> PathBuf {
        self.dir.join("at-the-end")
    }

    /// Keeps what is there now: the machine goes off, and what still comes from the dead process does not count.
    pub(crate) fn freeze(&self) {
        let _ = copy_folder(&self.path(), &self.at_the_end()); // there may be none yet
    }

    /// The folder of the next life after a kill.
    pub(crate) fn after_kill(&self, next: &LedgerSite) -> io::Result<()> {
        copy_folder(&self.at_the_end(), &next.path())?;
        copy_folder(&self.synced(), &next.synced())
    }

    /// The folder of the next life after a power cut; says what is left.
    pub(crate) fn after_power_cut(&self, next: &LedgerSite, rng: &mut Rng) -> io::Result<&'static str> {
        let what = match rng.u32(..100) {
            0..15 => "ledger gone",
            15..40 => {
                copy_folder(&self.synced(), &next.path())?;
                "ledger as last synced"
            }
            40..65 => {
                copy_folder(&self.at_the_end(), &next.path())?;
                "ledger as written"
            }
            _ => {
                mix_folders(&self.synced(), &self.at_the_end(), &next.path(), rng)?;
                "ledger torn"
            }
        };
        copy_folder(&next.path(), &next.synced())?;
        Ok(what)
    }
}

/// Copies the files of a folder, in place of what is there; nothing when there is no such folder.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    remove_folder(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            match fs::copy(entry.path(), to.join(entry.file_name())) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {} // sled removes old snapshots on its own
            }
        }
    }
    Ok(())
}

/// Of every file either state, or sector by sector one or the other.
fn mix_folders(old: &Path, new: &Path, to: &Path, rng: &mut Rng) -> io::Result<()> {
    remove_folder(to)?;
    fs::create_dir_all(to)?;
    let mut names: Vec<_> = [old, new].iter().flat_map(fs::read_dir).flatten().flatten().map(|e| e.file_name()).collect();
    names.sort();
    names.dedup();
    for name in names {
        match (fs::read(old.join(&name)), fs::read(new.join(&name))) {
            (Ok(old), Ok(new)) => fs::write(to.join(&name), mixed(&old, &new, rng))?,
            (Ok(only), Err(_)) | (Err(_), Ok(only)) if rng.bool() => fs::write(to.join(&name), only)?,
            _ => {}
        }
    }
    Ok(())
}

fn mixed(old: &[u8], new: &[u8], rng: &mut Rng) -> Vec<u8> {
    let length = if rng.bool() { old.len() } else { new.len() };
    let percent = rng.u32(..=100);
    let mut out = vec![0; length];
    for (nth, chunk) in out.chunks_mut(512).enumerate() {
        let from = if rng.u32(..100) < percent { new } else { old };
        let there = from.get(nth * 512..).unwrap_or_default();
        let length = there.len().min(chunk.len());
        chunk[..length].copy_from_slice(&there[..length]);
    }
    out
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A thread of sled's may hold the lock a moment longer than the database is open.
fn wait_for_lock(path: &Path) -> io::Result<()> {
    for _ in 0..2_000 {
        let Ok(file) = File::open(path) else { return Ok(()) };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::Error::other("the ledger stays locked"))
}
