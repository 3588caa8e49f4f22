//! The folder on the real disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use nix::libc::off_t;
use nix::unistd::{Whence, lseek};

use super::super::disk::{Append, Disk, ReadAt, SegmentFile};
use super::super::segment::{Header, SegmentNo};
use super::super::writer::ledger_path;
use crate::model::WallTime;

/// Free bytes without which the ledger is not even opened: sled cannot be trusted to survive a full disk.
const LEDGER_ROOM_BYTES: u64 = 8 * 1024 * 1024;

/// How often the lock of a ledger that was just closed is looked at, and how long in between: 5 s in all.
const LOCK_TRIES: usize = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The folder on the disk: segments, `ledger/`, keys, `spool.lock`.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    /// Or else a copy that must not be changed.
    pub(super) is_writable: bool,
}

impl Folder {
    fn path(&self, segment: SegmentNo) -> PathBuf {
        self.dir.join(segment.file_name())
    }

    fn writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(ErrorKind::ReadOnlyFilesystem.into()) }
    }

    /// Makes names durable.
    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Disk for Folder {
    fn segments(&self) -> io::Result<Vec<SegmentFile>> {
        let mut out = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Some(no) = entry.file_name().to_str().and_then(SegmentNo::from_file_name) else { continue };
            let Ok(facts) = entry.metadata() else { continue }; // deleted meanwhile
            let modified = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified = WallTime(i64::try_from(modified.as_micros()).unwrap_or(i64::MAX));
            out.push(SegmentFile { no, bytes: facts.len(), taken_bytes: taken_bytes(&facts), modified });
        }
        out.sort_by_key(|file| file.no);
        Ok(out)
    }

    fn open(&self, segment: SegmentNo) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(Segment(File::open(self.path(segment))?)))
    }

    fn create(&self, header: &Header) -> io::Result<Box<dyn Append>> {
        self.writable()?;
        let path = self.path(header.segment);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let made = file.write_all(&header.encode()).and_then(|()| file.sync_all()).and_then(|()| self.sync_names());
        if let Err(e) = made {
            let _ = fs::remove_file(&path); // where that fails, too, the next start sweeps it up
            return Err(e);
        }
        Ok(Box::new(Segment(file)))
    }

    fn sync(&self, segment: SegmentNo) -> io::Result<()> {
        if self.is_writable { File::open(self.path(segment))?.sync_all() } else { Ok(()) }
    }

    fn punch(&self, segment: SegmentNo, holes: &[Range<u64>]) -> io::Result<u64> {
        self.writable()?;
        let file = OpenOptions::new().write(true).open(self.path(segment))?;
        for hole in holes {
            let (from, len) = (offset(hole.start)?, offset(hole.end - hole.start)?);
            fallocate(&file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, from, len)?;
        }
        Ok(taken_bytes(&file.metadata()?))
    }

    fn remove(&self, segment: SegmentNo) -> io::Result<()> {
        self.writable()?;
        match fs::remove_file(self.path(segment)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync_names()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let facts = nix::sys::statvfs::statvfs(&self.dir)?;
        Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }

    fn small_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.dir.join(name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn replace_small_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        let (path, temporary) = (self.dir.join(name), self.dir.join(format!("{name}.part")));
        if let Some(left) = open_to_wipe(&temporary)? {
            wipe(left)?; // what a crash left there
            fs::remove_file(&temporary)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let old = open_to_wipe(&path)?;
        fs::rename(&temporary, &path)?;
        self.sync_names()?;
        old.map_or(Ok(()), wipe)
    }

    fn rename_small_file(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        fs::rename(self.dir.join(from), self.dir.join(to))?;
        self.sync_names()
    }

    fn prepare_ledger(&self) -> io::Result<()> {
        if !self.is_writable {
            return Ok(()); // the ledger of a copy is left alone
        }
        let free_bytes = self.free_bytes()?;
        if free_bytes < LEDGER_ROOM_BYTES {
            return Err(io::Error::new(
                ErrorKind::StorageFull,
                format!("{free_bytes} bytes are free, the ledger needs {LEDGER_ROOM_BYTES} to be opened; make room on the disk"),
            ));
        }
        let path = ledger_path(&self.dir);
        fs::create_dir_all(&path)?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
                fs::remove_file(entry.path())?;
            }
        }
        wait_for_lock(&path.join("db"))
    }

    fn sync_ledger(&self) -> io::Result<()> {
        File::open(ledger_path(&self.dir).join("db"))?.sync_all()
    }

    fn set_ledger_aside(&self) -> io::Result<()> {
        self.writable()?;
        let aside = self.dir.join("ledger.set-aside");
        match fs::remove_dir_all(&aside) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => fs::rename(ledger_path(&self.dir), aside)?,
        }
        self.sync_names()
    }
}

/// In units of 512 bytes, whatever the blocks of the file system are (stat(2)).
fn taken_bytes(facts: &fs::Metadata) -> u64 {
    facts.blocks() * 512
}

fn offset(bytes: u64) -> io::Result<off_t> {
    off_t::try_from(bytes).map_err(|_| ErrorKind::FileTooLarge.into())
}

/// Waits until nothing locks sled's file. A thread of sled's may hold the lock a moment longer than the database is open, and
/// sled itself, which does not wait, would call a sound ledger unusable.
fn wait_for_lock(path: &Path) -> io::Result<()> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()), // it is yet to be made
        opened => opened?,
    };
    for _ in 0..LOCK_TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => return Ok(()), // and free again
            Err((same, _)) => file = same,
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Err(io::Error::other(format!("{} is locked by another process; end it", path.display())))
}

struct Segment(File);

impl ReadAt for Segment {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn hole_end(&self, from: u64) -> u64 {
        // Behind the last data there is none (ENXIO): the rest is a hole, or nothing.
        let data = offset(from).and_then(|from| Ok(lseek(&self.0, from, Whence::SeekData)?));
        data.ok().and_then(|data| u64::try_from(data).ok()).unwrap_or(from)
    }
}

impl Append for Segment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

/// A file whose content is about to go; none when there is none.
fn open_to_wipe(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Overwrites what a file holds. Deleted alone, an old key would stay on the disk until its place is used for something else, and with it
/// whatever it opens.
fn wipe(mut file: File) -> io::Result<()> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all(&vec![0; length])?;
    file.sync_data()
}
