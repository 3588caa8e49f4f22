//! The thread `finish`: takes recordings that ended, one after the other at low priority, and leaves a finished folder.
//!
//! Every file is written under a temporary name, made durable, then named; `recording.json` comes last, so a folder that has one
//! is complete. A crash in between costs nothing: the next try makes them again. What is to be sealed is sealed while it is
//! written, so it is never on the disk in the clear.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc as events;
use tracing::{info, warn};

use super::audio::AudioFile;
use super::encode::{Encoded, Routes, audio_end, encode, law, span};
use super::identity::Identity;
use super::jobs::{Job, Jobs};
use super::metadata::{self, BoxFacts, Made, Sealed};
use super::overhear::{Overheard, recorded_spans};
use super::seal::{Outlet, Sealing};
use super::verify::Manifest;
use crate::clock::Now;
use crate::files::{self, FileSystem, Hashing, NewFile, System};
use crate::model::recording::FileFact;
use crate::model::tone::{ToneListener, ToneProof};
use crate::model::{AudioFormat, BlockSource, Flag, Recording, RecordingId, RecordingNo, Stage, TenantId};

mod folder;
pub mod identity_file;

pub use folder::verify_folder;

const METADATA: &str = "recording.json";
const DETAILS: &str = "details.json";

/// The lowest priority that still gets its turn on a busy CPU: everything else of the box goes first.
const NICE: i32 = 19;

const WRITE_BYTES: usize = 64 * 1_024;

/// Settings of the finisher.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where finished recordings stand; it must exist.
    pub finished_dir: PathBuf,
    /// What the metadata says about the box.
    pub facts: BoxFacts,
    /// How each tenant's files are made; those of a tenant that is not here like those of `default`.
    pub tenants: BTreeMap<TenantId, Making>,
    /// Who listens for recording tones; none: nobody does.
    pub tones: Option<Arc<dyn ToneProof>>,
    /// What signs `recording.json`; none: it is not signed.
    pub identity: Option<Arc<Identity>>,
}

/// How files are made.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// The format of the audio.
    pub format: AudioFormat,
    /// For whom the files are sealed.
    pub sealing: Sealing,
}

impl Config {
    /// As its tenant has it, in the format that its rule wants.
    fn making(&self, recording: &Recording) -> Making {
        let making = self.tenants.get(&recording.tenant).or_else(|| self.tenants.get(&TenantId::default_tenant()));
        let making = making.cloned().unwrap_or_default();
        let format = recording.ruling.as_ref().and_then(|ruling| ruling.format);
        Making { format: format.unwrap_or(making.format), ..making }
    }
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
    if let Some(manifest) = already_finished(fs, &folder, recording)? {
        finished.files = manifest.files;
        finished.tones = manifest.tones.map(Box::new);
        return Ok(finished);
    }
    folder::remove_leftovers(fs, &folder).map_err(file_error(&folder))?;

    let making = config.making(recording);
    let routes = Routes::new(recording);
    let mut blocks = source.blocks(recording.no).map_err(FinishError::Spool)?;
    let span = span(recording, audio_end(&routes, &mut *blocks));
    let all = (0..blocks.count()).map(|index| blocks.read(index));
    let frames = span.end.0.abs_diff(span.start.0);
    let mut listener = config.tones.as_ref().map(|tones| tones.listen(recording, law(recording)));
    let (audio, encoded) = write_audio(fs, &folder, &making, recording, frames, |out| {
        encode(recording, &routes, span, all, &mut Overheard { out, listener: listener.as_deref_mut() })
    })?;
    finished.tones = listener.map(|listener| Box::new(listener.finish(recorded_spans(encoded.gaps.gaps.iter(), &encoded.span))));
    if let Some(first) = &encoded.first_damage {
        finished.flag(Flag::Damaged);
        warn!(recording = %recording.id, pieces = encoded.damaged, %first, "audio can no longer be read; it is silence now");
    }
    if encoded.misplaced > 0 {
        warn!(recording = %recording.id, samples = encoded.misplaced, "blocks of an unknown leg or out of order are left out");
    }
    let made = Made { encoded: &encoded, format: making.format, audio: &audio, sealed: None };
    finished.files = write_metadata(config, fs, &folder, &making, &finished, made)?;
    Ok(finished)
}

/// Lets somebody listen to a recording whose blocks are still in the spool; gives when each channel was recorded.
///
/// # Errors
/// See [`FinishError`].
pub fn listen(
    source: &dyn BlockSource,
    recording: &Recording,
    listener: &mut (dyn ToneListener + 'static),
) -> Result<[Vec<Range<u64>>; 2], FinishError> {
    let routes = Routes::new(recording);
    let mut blocks = source.blocks(recording.no).map_err(FinishError::Spool)?;
    let span = span(recording, audio_end(&routes, &mut *blocks));
    let all = (0..blocks.count()).map(|index| blocks.read(index));
    let mut heard = Overheard { out: io::sink(), listener: Some(listener) };
    let encoded = encode(recording, &routes, span, all, &mut heard).map_err(FinishError::Spool)?;
    Ok(recorded_spans(encoded.gaps.gaps.iter(), &encoded.span))
}

/// Writes the audio file, sealed if it is to be; `encode` writes its frames.
fn write_audio(
    fs: &dyn FileSystem,
    folder: &Path,
    making: &Making,
    recording: &Recording,
    frames: u64,
    encode: impl FnOnce(&mut AudioFile<&mut Sealable<'_>>) -> io::Result<Encoded>,
) -> Result<(FileFact, Encoded), FinishError> {
    let serial = recording.no.0 as u32; // any number will do
    write_file(fs, folder, making.format.file_name(), &making.sealing, |out| {
        let mut file = AudioFile::begin(making.format, law(recording), frames, serial, out)?;
        let encoded = encode(&mut file)?;
        file.finish()?;
        Ok(encoded)
    })
}

/// Writes `recording.json`, and before it, for a sealed recording, the details that it leaves out. Gives all files.
fn write_metadata(
    config: &Config,
    fs: &dyn FileSystem,
    folder: &Path,
    making: &Making,
    finished: &Recording,
    made: Made<'_>,
) -> Result<Vec<FileFact>, FinishError> {
    let identity = config.identity.as_deref();
    let write = |json: Vec<u8>| write_file(fs, folder, METADATA, &Sealing::default(), |out| out.write_all(&json));
    if !making.sealing.is_active() {
        let (metadata, ()) = write(metadata::render(&config.facts, finished, &made, identity))?;
        return Ok(vec![made.audio.clone(), metadata]);
    }
    let recipients = making.sealing.names();
    let within = Made { sealed: Some(Sealed { recipients: &recipients, details: None }), ..made };
    let json = metadata::render(&config.facts, finished, &within, identity);
    let (details, ()) = write_file(fs, folder, DETAILS, &making.sealing, |out| out.write_all(&json))?;
    let made = Made { sealed: Some(Sealed { recipients: &recipients, details: Some(&details) }), ..made };
    let (metadata, ()) = write(metadata::render(&config.facts, &metadata::without_personal(finished), &made, identity))?;
    Ok(vec![made.audio.clone(), details, metadata])
}

/// What is in a folder that an earlier run finished, just before it could say so. Written again if it is not intact.
fn already_finished(fs: &dyn FileSystem, folder: &Path, recording: &Recording) -> Result<Option<Manifest>, FinishError> {
    let conflict = |found| FinishError::Conflict { path: folder.to_path_buf(), found };
    let json = match folder::read_metadata(fs, folder) {
        Ok(json) => json,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(file_error(folder)(e)),
    };
    let mut manifest = Manifest::read(&json).map_err(|what| conflict(format!("{METADATA}: {what}")))?;
    let Manifest { id, start_time, recording_no, .. } = &manifest;
    if (id.as_str(), start_time, *recording_no) != (&*recording.id.0, &recording.started.to_string(), recording.no.0) {
        return Err(conflict(format!("recording {id} no. {recording_no} of {start_time}")));
    }
    if !folder::check(fs, folder, &manifest, None).map_err(file_error(folder))?.is_intact() {
        return Ok(None);
    }
    fs.sync_folder(folder).map_err(file_error(folder))?; // that run may have been cut off before it did
    let digest = files::digest(json.as_slice()).map_err(file_error(folder))?;
    manifest.files.push(fact(METADATA, digest));
    Ok(Some(manifest))
}

/// Where a file's content is written: sealed on its way, or not.
type Sealable<'f> = Outlet<&'f mut BufWriter<Hashing<Box<dyn NewFile>>>>;

/// Writes `name` in `folder` under a temporary name, makes it durable and gives it its name, to which sealing adds a suffix.
fn write_file<T>(
    fs: &dyn FileSystem,
    folder: &Path,
    name: &str,
    sealing: &Sealing,
    write: impl FnOnce(&mut Sealable<'_>) -> io::Result<T>,
) -> Result<(FileFact, T), FinishError> {
    let name = sealing.file_name(name);
    let temporary = folder.join(files::temporary_name(&name));
    let path = folder.join(&name);
    let written = || -> io::Result<(FileFact, T)> {
        let mut file = BufWriter::with_capacity(WRITE_BYTES, Hashing::new(files::create_temporary(fs, &temporary)?));
        let mut out = sealing.begin(&mut file)?;
        let result = write(&mut out)?;
        out.finish()?;
        let (file, digest) = file.into_inner()?.finish();
        file.sync()?;
        fs.rename(&temporary, &path)?;
        fs.sync_folder(folder)?;
        Ok((fact(&name, digest), result))
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
