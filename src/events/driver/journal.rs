//! The file of events that wait: one JSON line each, appended and synced, written anew when little of it is of use.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::events::message::Kind;
use crate::events::outbox::{MOST_BYTES, Outbox, Place};
use crate::files::{FileSystem as _, System};

/// No event is longer.
pub(super) const MOST_EVENT_BYTES: u32 = 64 << 10;

/// A line.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// The file, and what of it waits.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    outbox: Outbox,
}

impl Journal {
    /// Opens the file, or makes it. A last line that was cut off by a power cut is left out; its event is lost.
    pub(super) fn open(folder: &Path) -> io::Result<Journal> {
        fs::create_dir_all(folder)?;
        let path = folder.join("waiting.jsonl");
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut outbox = Outbox::new(MOST_BYTES);
        let mut lines = BufReader::new(&file);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if line.pop() != Some(b'\n') {
                break;
            }
            outbox.push(u32::try_from(line.len()).unwrap_or(u32::MAX));
            line.clear();
        }
        file.set_len(outbox.end())?;
        System.sync_folder(folder)?;
        Ok(Journal { path, file, outbox })
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Adds an event; it is safe after [`Journal::sync`].
    pub(super) fn add(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let event: &RawValue = serde_json::from_slice(payload)?;
        let mut line = serde_json::to_vec(&Line { kind: name(kind), event })?;
        let bytes = u32::try_from(line.len()).ok().filter(|bytes| *bytes <= MOST_EVENT_BYTES);
        let bytes = bytes.ok_or_else(|| io::Error::other("an event of more than 64 KiB"))?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            let _ = self.file.set_len(self.outbox.end()); // half a line would join the next one; if this fails, so does that
            return Err(error);
        }
        self.outbox.push(bytes);
        Ok(())
    }

    /// Makes what was added safe, and the file short again.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        match self.outbox.to_rewrite() {
            Some(kept) => self.rewrite(&kept),
            None => Ok(()),
        }
    }

    fn rewrite(&mut self, kept: &[Place]) -> io::Result<()> {
        let temporary = self.path.with_extension("part");
        let _ = fs::remove_file(&temporary); // as a rule there is none
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&temporary)?;
        for place in kept {
            let mut line = self.line(*place)?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        self.file = file;
        self.outbox.rewritten();
        System.sync_folder(self.path.parent().unwrap_or(Path::new("/")))
    }

    /// What stands at a place.
    pub(super) fn read(&self, place: Place) -> io::Result<(Kind, Vec<u8>)> {
        let text = self.line(place)?;
        let line: Line = serde_json::from_slice(&text)?;
        let kind = kind(line.kind).ok_or_else(|| io::Error::other("no kind of event"))?;
        Ok((kind, line.event.get().as_bytes().to_vec()))
    }

    fn line(&self, place: Place) -> io::Result<Vec<u8>> {
        if place.bytes > MOST_EVENT_BYTES {
            return Err(io::Error::other("no event is that long"));
        }
        let mut line = vec![0; place.bytes as usize];
        self.file.read_exact_at(&mut line, place.offset)?;
        Ok(line)
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Recording => "recording",
        Kind::Alarm => "alarm",
    }
}

fn kind(name: &str) -> Option<Kind> {
    [Kind::Recording, Kind::Alarm].into_iter().find(|kind| self::name(*kind) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_outlive_a_restart_but_not_half_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.add(Kind::Recording, b"{\"n\":1}").unwrap();
        journal.add(Kind::Alarm, b"{\"n\":2}").unwrap();
        assert!(journal.add(Kind::Alarm, b"{\"n\"").is_err());
        journal.sync().unwrap();
        let path = dir.path().join("waiting.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"kind\":\"al"].concat()).unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let places = [journal.outbox().take_next().unwrap(), journal.outbox().take_next().unwrap()];
        assert_eq!(journal.outbox().take_next(), None);
        assert_eq!(journal.read(places[0]).unwrap(), (Kind::Recording, b"{\"n\":1}".to_vec()));
        assert_eq!(journal.read(places[1]).unwrap(), (Kind::Alarm, b"{\"n\":2}".to_vec()));
        assert_eq!(fs::read(&path).unwrap(), whole);
        journal.outbox().acknowledged(places[0].no);
        journal.outbox().acknowledged(places[1].no);
        journal.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        journal.add(Kind::Alarm, b"{\"n\":3}").unwrap();
        let place = journal.outbox().take_next().unwrap();
        assert_eq!(journal.read(place).unwrap().1, b"{\"n\":3}");
    }

    #[test]
    fn nonsense_in_the_file_is_told_and_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("waiting.jsonl"), "nonsense\n{\"kind\":\"alarm\",\"event\":{}}\n").unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        let places = [journal.outbox().take_next().unwrap(), journal.outbox().take_next().unwrap()];
        assert!(journal.read(places[0]).is_err());
        assert_eq!(journal.read(places[1]).unwrap(), (Kind::Alarm, b"{}".to_vec()));
    }
}
