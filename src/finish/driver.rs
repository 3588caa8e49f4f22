//! The thread `finish`: takes recordings that ended, one after the other at low priority, and leaves a finished folder.
//!
//! Every file is written under a temporary name, made durable, then named; `recording.json` comes last, so a folder that has one
//! is complete. A crash in between costs nothing: the next try writes the same bytes again.

use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc as events;
use tracing::{info, warn};

use super::encode::{Routes, audio_end, encode, span};
use super::jobs::{Job, Jobs};
use super::metadata::{self, BoxFacts};
use super::verify::{Checked, Manifest, Verification, compare};
use crate::clock::Now;
use crate::files::{self, FileSystem, Hashing, NewFile, System};
use crate::model::recording::FileFact;
use crate::model::{BlockSource, Flag, Recording, RecordingId, RecordingNo, Stage};

const AUDIO: &str = "audio.wav";
const METADATA: &str = "recording.json";

/// Below the default of 0, so that the sweep and the spool go first.
const NICE: i32 = 10;

const WRITE_BYTES: usize = 64 * 1_024;

/// Ten thousand gaps make about 1 MB; a folder from elsewhere may hold anything.
const MAX_METADATA_BYTES: u64 = 64 * 1_024 * 1_024;

/// Settings of the finisher.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where finished recordings stand; it must exist.
    pub finished_dir: PathBuf,
    /// What the metadata says about the box.
    pub facts: BoxFacts,
}

/// What became of a recording.
#[derive(Debug)]
pub enum Event {
    /// Its files stand; it is at stage `Finished`, with `files` filled in.
    Finished(Box<Recording>),
    /// It could not be finished.
    Failed {
        /// Which one.
        no: RecordingNo,
        /// Its id.
        id: RecordingId,
        /// What went wrong, and what to do.
        error: FinishError,
        /// When it is tried again; none: not before the next start, because a person has to look first.
        again_in: Option<Duration>,
    },
}

/// Why a recording could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The spool cannot be read.
    #[error("its blocks cannot be read from the spool: {0}; check the disk that holds the spool")]
    Spool(io::Error),
    /// A file or folder cannot be written or read.
    #[error("{path}: {error}; check the disk, its free space and the permissions there", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another recording has this place.
    #[error("{path} already belongs to another recording: {found}; move that folder away and restart", path = .path.display())]
    Conflict {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: String,
    },
}

/// The handle of the thread `finish`.
pub struct Finisher {
    /// Unbounded, because the main thread must never wait here: one description per ended call, which the ledger holds as well.
    jobs: mpsc::Sender<Recording>,
    thread: JoinHandle<()>,
}

impl Finisher {
    /// Starts the thread. Its results go to `events`; when that is full, finishing waits (nothing is lost, the spool keeps the
    /// blocks), when it is closed, the thread ends.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(config: Config, source: Box<dyn BlockSource>, events: events::Sender<Event>) -> io::Result<Finisher> {
        let (jobs, incoming) = mpsc::channel();
        let thread = thread::Builder::new().name("finish".into()).spawn(move || {
            // On Linux the nice value is per thread (setpriority(2), "C library/kernel differences").
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                warn!(%error, "finish runs at normal priority");
            }
            Worker { config, source, events, jobs: Jobs::default() }.run(&incoming);
        })?;
        Ok(Finisher { jobs, thread })
    }

    /// Hands over a recording at stage `Ended`. It stays the caller's to remember until [`Event::Finished`].
    pub fn submit(&self, recording: Recording) {
        let id = recording.id.clone();
        if self.jobs.send(recording).is_err() {
            warn!(recording = %id, "not finished: the finisher has stopped; it is taken up at the next start");
        }
    }

    /// Waits for the recording at work, if any, and stops. Recordings that wait are the ledger's to remember.
    /// The receiver of the events must be read or closed meanwhile.
    pub fn stop(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            warn!("the thread finish had panicked");
        }
    }
}

struct Worker {
    config: Config,
    source: Box<dyn BlockSource>,
    events: events::Sender<Event>,
    jobs: Jobs,
}

impl Worker {
    fn run(mut self, incoming: &mpsc::Receiver<Recording>) {
        while self.take_in(incoming).is_ok() {
            let Some(job) = self.jobs.take_due(Now::read().mono) else { continue };
            let event = self.work(job);
            if self.events.blocking_send(event).is_err() {
                return;
            }
        }
    }

    /// Takes in all that was submitted; waits for it while nothing is due. Fails when no more can come.
    fn take_in(&mut self, incoming: &mpsc::Receiver<Recording>) -> Result<(), mpsc::RecvTimeoutError> {
        let mut wait = self.jobs.next_due().map_or(Duration::MAX, |due| due.since(Now::read().mono));
        loop {
            match incoming.recv_timeout(wait) {
                Ok(recording) => self.jobs.submit(Now::read().mono, recording),
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
                Err(disconnected) => return Err(disconnected),
            }
            wait = Duration::ZERO;
        }
    }

    fn work(&mut self, job: Job) -> Event {
        match finish(&self.config, &System, &*self.source, &job.recording) {
            Ok(finished) => {
                info!(recording = %finished.id, path = finished.path(), "finished");
                Event::Finished(Box::new(finished))
            }
            Err(error) => {
                let (no, id) = (job.recording.no, job.recording.id.clone());
                let again_in = match error {
                    FinishError::Conflict { .. } => None,
                    _ => Some(self.jobs.failed(Now::read().mono, job)),
                };
                warn!(recording = %id, %error, again_in_s = again_in.map(|d| d.as_secs()), "not finished");
                Event::Failed { no, id, error, again_in }
            }
        }
    }
}

/// Finishes one recording at stage `Ended`: the work of the thread. Doing it again is harmless. Gives it at stage `Finished`.
///
/// # Errors
/// See [`FinishError`].
pub fn finish(
    config: &Config,
    fs: &dyn FileSystem,
    source: &dyn BlockSource,
    recording: &Recording,
) -> Result<Recording, FinishError> {
    let mut finished = recording.clone();
    finished.stage = Stage::Finished;
    let folder = config.finished_dir.join(recording.path());
    files::create_folder(fs, &config.finished_dir, &recording.path()).map_err(file_error(&folder))?;
    if let Some(files) = already_finished(fs, &folder, recording)? {
        finished.files = files;
        return Ok(finished);
    }

    let routes = Routes::new(recording);
    let mut blocks = source.blocks(recording.no).map_err(FinishError::Spool)?;
    let span = span(recording, audio_end(&routes, &mut *blocks));
    let all = (0..blocks.count()).map(|index| blocks.read(index));
    let (audio, encoded) = write_file(fs, &folder, AUDIO, |out| encode(recording, &routes, span, all, out))?;
    if let Some(first) = &encoded.first_damage {
        finished.flag(Flag::Damaged);
        warn!(recording = %recording.id, pieces = encoded.damaged, %first, "audio can no longer be read; it is silence now");
    }
    if encoded.misplaced > 0 {
        warn!(recording = %recording.id, samples = encoded.misplaced, "blocks of an unknown leg or out of order are left out");
    }
    let json = metadata::render(&config.facts, &finished, &encoded, &audio);
    let (metadata, ()) = write_file(fs, &folder, METADATA, |out| out.write_all(&json))?;
    finished.files = vec![audio, metadata];
    Ok(finished)
}

/// The files of a folder that an earlier run finished, just before it could say so. Written again if they are not intact.
fn already_finished(fs: &dyn FileSystem, folder: &Path, recording: &Recording) -> Result<Option<Vec<FileFact>>, FinishError> {
    let conflict = |found| FinishError::Conflict { path: folder.to_path_buf(), found };
    let json = match read_metadata(fs, folder) {
        Ok(json) => json,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file_error(folder)(e)),
    };
    let mut manifest = Manifest::read(&json).map_err(|what| conflict(format!("{METADATA}: {what}")))?;
    let Manifest { id, start_time, recording_no, .. } = &manifest;
    if (id.as_str(), start_time, *recording_no) != (&*recording.id.0, &recording.started.to_string(), recording.no.0) {
        return Err(conflict(format!("recording {id} no. {recording_no} of {start_time}")));
    }
    if !check(fs, folder, &manifest).map_err(file_error(folder))?.is_intact() {
        return Ok(None);
    }
    fs.sync_folder(folder).map_err(file_error(folder))?; // that run may have been cut off before it did
    let digest = files::digest(json.as_slice()).map_err(file_error(folder))?;
    manifest.files.push(fact(METADATA, digest));
    Ok(Some(manifest.files))
}

/// Checks a finished or delivered folder against its `recording.json`.
///
/// # Errors
/// A file cannot be read, or `recording.json` is none (`InvalidData`).
pub fn verify_folder(folder: &Path) -> io::Result<Verification> {
    let fs = &System;
    let manifest = Manifest::read(&read_metadata(fs, folder)?)
        .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("{METADATA}: {what}")))?;
    check(fs, folder, &manifest)
}

fn check(fs: &dyn FileSystem, folder: &Path, manifest: &Manifest) -> io::Result<Verification> {
    let mut files = Vec::new();
    for expected in &manifest.files {
        let found = match fs.open(&folder.join(&expected.name)) {
            Ok(file) => Some(files::digest(file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        files.push(Checked { name: expected.name.clone(), verdict: compare(expected, found.as_ref()) });
    }
    Ok(Verification { id: manifest.id.clone(), files })
}

/// `recording.json`, as far as it can be one.
fn read_metadata(fs: &dyn FileSystem, folder: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    fs.open(&folder.join(METADATA))?.take(MAX_METADATA_BYTES).read_to_end(&mut json)?;
    Ok(json)
}

/// Writes `name` in `folder` under a temporary name, makes it durable and gives it its name.
fn write_file<T>(
    fs: &dyn FileSystem,
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<Hashing<Box<dyn NewFile>>>) -> io::Result<T>,
) -> Result<(FileFact, T), FinishError> {
    let temporary = folder.join(files::temporary_name(name));
    let path = folder.join(name);
    let written = || -> io::Result<(FileFact, T)> {
        let mut out = BufWriter::with_capacity(WRITE_BYTES, Hashing::new(files::create_temporary(fs, &temporary)?));
        let result = write(&mut out)?;
        let (file, digest) = out.into_inner()?.finish();
        file.sync()?;
        fs.rename(&temporary, &path)?;
        fs.sync_folder(folder)?;
        Ok((fact(name, digest), result))
    };
    written().map_err(file_error(&path))
}

fn fact(name: &str, digest: files::Digest) -> FileFact {
    FileFact { name: name.into(), bytes: digest.bytes, sha256: digest.sha256 }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> FinishError {
    move |error| FinishError::File { path: path.to_path_buf(), error }
}

#[cfg(test)]
mod tests;
