//! The audit log on the disk: `audit-000000000001.jsonl`, named after the first line in it, a new file every 8 MiB, none ever deleted.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::access::audit::{Deed, Entry, Head};
use crate::files::{FileSystem, System};
use crate::model::WallTime;

/// A file that has grown so far is followed by the next.
const FULL_BYTES: u64 = 8 << 20;

/// No line is longer.
const LONGEST_LINE: u64 = 64 << 10;

/// The log that is being written.
pub(super) struct Journal {
    dir: PathBuf,
    head: Head,
    /// The newest file and its length up to the last line that is whole; none: a new one is due.
    file: Option<(File, u64)>,
}

/// A log that is whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Lines.
    pub lines: u64,
    /// The hash of the last.
    pub hash: String,
    /// The hash of each line that was asked for, if it is there.
    pub asked: Option<String>,
}

impl Journal {
    /// What a power cut has left of a last line is cut off: nobody was told that it is written.
    pub(super) fn open(dir: &Path) -> io::Result<Journal> {
        let Some(newest) = files(dir)?.pop() else {
            return Ok(Journal { dir: dir.to_path_buf(), head: Head::default(), file: None });
        };
        let mut reader = BufReader::new(File::open(&newest)?);
        let (mut head, mut whole, mut line) = (None, 0, String::new());
        while let Ok(length) = reader.read_line(&mut line) {
            if length == 0 || !line.ends_with('\n') {
                break;
            }
            if let Some(last) = last(line.trim_end()) {
                head = Some(last);
            }
            whole += length as u64;
            line.clear();
        }
        let file = File::options().append(true).open(&newest)?;
        if file.metadata()?.len() > whole {
            tracing::warn!("{}: what stood behind byte {whole} was no whole line and was cut off", newest.display());
            file.set_len(whole)?;
            file.sync_all()?;
        }
        let head = match head {
            Some(head) => head,
            // The file was made, and its first line was not written any more.
            None => files(dir)?.iter().rev().nth(1).and_then(|older| last_of(older)).unwrap_or_default(),
        };
        Ok(Journal { dir: dir.to_path_buf(), head, file: Some((file, whole)) })
    }

    pub(super) fn write(&mut self, now: WallTime, deed: &Deed) -> io::Result<()> {
        let (line, head) = self.head.line(now, deed);
        let (mut file, length) = match self.file.take().filter(|(_, length)| *length < FULL_BYTES) {
            Some(open) => open,
            None => self.next_file(head.no)?,
        };
        let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            file.set_len(length)?; // half a line would break the chain
            self.file = Some((file, length));
            return Err(error);
        }
        self.file = Some((file, length + line.len() as u64 + 1));
        tracing::info!(audit = head.no, hash = %head.hash, who = %deed.who, did = deed.did, of = %deed.of, "audited");
        self.head = head;
        Ok(())
    }

    fn next_file(&self, no: u64) -> io::Result<(File, u64)> {
        let path = self.dir.join(format!("audit-{no:012}.jsonl"));
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        System.sync_folder(&self.dir)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }
}

/// Number and hash of a line, whether or not the chain is whole: what is broken is not mended, and what comes is chained to what is there.
fn last(line: &str) -> Option<Head> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(Head { no: value["no"].as_u64()?, hash: value["hash"].as_str()?.to_owned() })
}

fn last_of(file: &Path) -> Option<Head> {
    BufReader::new(File::open(file).ok()?).lines().map_while(Result::ok).filter_map(|line| last(&line)).last()
}

/// The files of the log, the oldest first.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("audit-") && name.ends_with(".jsonl") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Goes through the whole log. `hash_of` asks for the hash of one line, to compare it with one that was noted.
///
/// # Errors
/// It cannot be read, or (`InvalidData`) is not whole, and where.
pub fn verify(dir: &Path, hash_of: Option<u64>) -> io::Result<Verified> {
    let (mut head, mut asked) = (Head::default(), None);
    for file in files(dir)? {
        let broken =
            |line: usize, what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}:{line}: {what}", file.display()));
        let mut reader = BufReader::new(File::open(&file)?);
        for number in 1.. {
            let Some(line) = next_line(&mut reader)? else { break };
            let Some(line) = line.strip_suffix('\n') else { return Err(broken(number, "it is no whole line".into())) };
            (_, head) = head.check(line).map_err(|what| broken(number, what))?;
            if hash_of == Some(head.no) {
                asked = Some(head.hash.clone());
            }
        }
    }
    Ok(Verified { lines: head.no, hash: head.hash, asked })
}

/// Lines behind the number `after`, with the hash of each.
pub(super) fn read(dir: &Path, after: u64, limit: usize) -> io::Result<Vec<(Entry, String)>> {
    let mut found = Vec::new();
    let files = files(dir)?;
    let begins = |file: &PathBuf| file.file_stem()?.to_str()?.strip_prefix("audit-")?.parse::<u64>().ok();
    let from = files.iter().rposition(|file| begins(file).is_some_and(|first| first <= after.saturating_add(1))).unwrap_or(0);
    for file in &files[from..] {
        let mut reader = BufReader::new(File::open(file)?);
        while let Some(line) = next_line(&mut reader)? {
            let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let hash = value.as_object_mut().and_then(|fields| fields.remove("hash"));
            let Ok(entry) = serde_json::from_value::<Entry>(value) else { continue };
            if entry.no > after {
                found.push((entry, hash.and_then(|hash| hash.as_str().map(str::to_owned)).unwrap_or_default()));
            }
            if found.len() >= limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// With its end; none: there are no more.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let length = io::Read::take(reader, LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok((length > 0).then(|| String::from_utf8_lossy(&line).into_owned()))
}
