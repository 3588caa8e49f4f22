//! One target: what is delivered to it, and what can go wrong there.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::FileSystem;
use crate::model::recording::FileFact;
use crate::model::{Recording, RecordingId, RecordingNo};

pub mod dir;

/// The file that says that a folder is complete; always delivered last.
const COMPLETE: &str = "recording.json";

/// A place in the data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub kind: TargetKind,
}

/// The kinds of target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory, local or mounted.
    Dir {
        /// Where; it must exist, it is never made.
        path: PathBuf,
    },
}

/// What has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which recording.
    pub no: RecordingNo,
    /// Its id.
    pub id: RecordingId,
    /// Its folder below the finished folder, and below the root of every target.
    pub path: String,
    /// Its files in the order of delivery.
    pub files: Vec<FileFact>,
}

impl Delivery {
    /// All files of a finished recording, `recording.json` last.
    pub fn new(recording: &Recording) -> Delivery {
        let mut files = recording.files.clone();
        files.sort_by_key(|file| file.name == COMPLETE);
        Delivery { no: recording.no, id: recording.id.clone(), path: recording.path(), files }
    }
}

/// Why a recording did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The target is not there at present.
    #[error("{path} is not there ({error}); is it mounted?", path = .path.display())]
    Unreachable {
        /// The root of the target.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Writing there failed.
    #[error("cannot write {path}: {error}; check its free space and permissions", path = .path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What was written there reads back differently.
    #[error("{path} reads back differently from what was written; check that disk and its connection", path = .path.display())]
    ReadBack {
        /// Which file.
        path: PathBuf,
    },
    /// The finished file on the box cannot be read.
    #[error("cannot read the finished file {path}: {error}; check the disk of the box", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The finished file on the box is not what it was.
    #[error("the finished file {path} is no longer what it was ({what}); see `nearend recordings verify`", path = .path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
        /// In what way.
        what: &'static str,
    },
    /// Another content has the name already; nothing is ever overwritten.
    #[error("{path} exists with another content and is not overwritten; move it away and restart", path = .path.display())]
    Conflict {
        /// Which file.
        path: PathBuf,
    },
}

impl DeliveryError {
    /// Whether trying again cannot help before a person has looked.
    pub fn is_final(&self) -> bool {
        matches!(self, DeliveryError::Changed { .. } | DeliveryError::Conflict { .. })
    }

    /// Whether `other` tells a reader of the log nothing new.
    pub fn is_like(&self, other: &DeliveryError) -> bool {
        self.io_kind() == other.io_kind() && std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Unreachable { error, .. } | Self::Write { error, .. } | Self::Read { error, .. } => Some(error.kind()),
            Self::ReadBack { .. } | Self::Changed { .. } | Self::Conflict { .. } => None,
        }
    }
}

impl Target {
    /// Delivers all files from `finished_dir` and checks that they arrived. Doing it again is harmless.
    ///
    /// # Errors
    /// What is missing may be delivered already in part; the next try goes on from there.
    pub fn deliver(&self, fs: &dyn FileSystem, finished_dir: &Path, delivery: &Delivery) -> Result<(), DeliveryError> {
        match &self.kind {
            TargetKind::Dir { path } => dir::deliver(fs, path, finished_dir, delivery),
        }
    }
}
