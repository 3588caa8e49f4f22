//! One target: what is delivered to it, and what can go wrong there.
//!
//! | file | responsible for |
//! |---|---|
//! | `dir` | a directory |
//! | `s3` | a bucket, with uploads that go on after a restart (`uploads`) |
//! | `webdav` | a folder of a WebDAV server |
//! | `metadata` | an archive is told of what has arrived |
//! | `login` | requests to a server that wants a login |
//! | `http` | requests: paced, watched for stalls, their answers read as verdicts |
//! | `source` | finished files, checked while they are read |

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::id::path_component;
use crate::model::recording::FileFact;
use crate::model::{Recording, RecordingId, RecordingNo};

pub mod dir;
pub mod http;
pub mod login;
pub mod metadata;
pub mod s3;
mod source;
mod uploads;
pub mod webdav;

/// The file that says that a folder is complete; always delivered last.
const COMPLETE: &str = "recording.json";

/// A place in the data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in the configuration.
    pub name: String,
    /// What it is.
    pub kind: TargetKind,
    /// Who is told of what has arrived; none: nobody.
    pub metadata: Option<login::Settings>,
}

/// The kinds of target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory, local or mounted.
    Dir {
        /// Where; it must exist, it is never made.
        path: PathBuf,
    },
    /// A bucket of an S3 server.
    S3(s3::Settings),
    /// A folder of a WebDAV server.
    WebDav(login::Settings),
}

/// What has to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which recording.
    pub no: RecordingNo,
    /// Its id.
    pub id: RecordingId,
    /// Its folder below the finished folder.
    pub path: String,
    /// Its folder below the root of the target.
    pub to: String,
    /// Its files in the order of delivery.
    pub files: Vec<FileFact>,
}

impl Delivery {
    /// All files of a finished recording, `recording.json` last.
    pub fn new(recording: &Recording) -> Delivery {
        let mut files = recording.files.clone();
        files.sort_by_key(|file| file.name == COMPLETE);
        let path = recording.path();
        Delivery { no: recording.no, id: recording.id.clone(), to: path.clone(), path, files }
    }

    /// The same under the name that it gets when another box has delivered its copy of the call before: two boxes may have
    /// recorded it (Genesys `dest2`), and both copies count.
    #[must_use]
    pub fn beside(&self, box_name: &str) -> Delivery {
        Delivery { to: format!("{}~{}", self.path, path_component(box_name)), ..self.clone() }
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
    #[error("{path} exists with another content and is not overwritten; move it away and have it tried again", path = .path.display())]
    Conflict {
        /// Which file.
        path: PathBuf,
    },
    /// What the box needs to know for the target cannot be read.
    #[error("cannot read {path} ({error}); the target's key, password or CA belongs there", path = .path.display())]
    Secret {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No answer: the connection could not be made, broke, or nothing moved any more.
    #[error("{what}: {error}; check the link, the address and the server")]
    Link {
        /// Which request.
        what: String,
        /// Why.
        error: http::LinkError,
    },
    /// The server does not want it.
    #[error("{what}: {answer}")]
    Answered {
        /// Which request.
        what: String,
        /// With what.
        answer: http::Answer,
    },
    /// The server said that it had taken a file, and does not have it, or has another length.
    #[error("{what}: the server said that it has it, but {found}; is something in between that answers for it?")]
    Lied {
        /// Which file.
        what: String,
        /// What is there instead.
        found: String,
    },
}

/// What a failure says about the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may work later, not before so long from now.
    Later(Duration),
    /// The same, and it says nothing of the recording: the way, or a server that has too much to do.
    Blameless(Duration),
    /// The same; the connection was there and broke, or nothing moved on it any more. It may have been the recording after all.
    Broken,
    /// The target takes nothing before somebody has changed something: access, bucket, certificate.
    Refused,
    /// This recording will never work there as it is; others may.
    Never,
}

impl DeliveryError {
    /// What it says about the next try.
    pub fn verdict(&self) -> Verdict {
        match self {
            DeliveryError::Changed { .. } | DeliveryError::Conflict { .. } => Verdict::Never,
            DeliveryError::Secret { .. } => Verdict::Refused,
            DeliveryError::Answered { answer, .. } => answer.verdict(),
            DeliveryError::Link { error, .. } if error.is_broken() => Verdict::Broken,
            DeliveryError::Link { .. } | DeliveryError::Unreachable { .. } => Verdict::Blameless(Duration::ZERO),
            _ => Verdict::Later(Duration::ZERO),
        }
    }

    /// Whether `other` tells a reader of the log nothing new.
    pub fn is_like(&self, other: &DeliveryError) -> bool {
        self.detail() == other.detail() && std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether the way to the target may have been asked too much.
    pub fn is_congestion(&self) -> bool {
        match self {
            DeliveryError::Link { error, .. } => error.is_congestion(),
            DeliveryError::Answered { answer, .. } => answer.is_busy(),
            _ => false,
        }
    }

    fn detail(&self) -> (Option<io::ErrorKind>, Option<u16>) {
        match self {
            Self::Unreachable { error, .. }
            | Self::Write { error, .. }
            | Self::Read { error, .. }
            | Self::Secret { error, .. } => (Some(error.kind()), None),
            Self::Answered { answer, .. } => (None, Some(answer.status)),
            Self::ReadBack { .. } | Self::Changed { .. } | Self::Conflict { .. } | Self::Link { .. } | Self::Lied { .. } => {
                (None, None)
            }
        }
    }
}
