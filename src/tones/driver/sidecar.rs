//! Looks after `nearend-tone`, the process that plays on the loudspeaker: whether it is there, and whether its device works. Nothing
//! waits for it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::tones::protocol::{MOST_ANSWER_BYTES, Request, State, Status};

const LOOK_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);

/// How the sidecar is.
#[derive(Clone, Debug, PartialEq)]
pub enum Sidecar {
    /// There is no socket: it is not installed, or was stopped on purpose.
    Absent,
    /// There is a socket, and nobody answers at it: why.
    Silent(String),
    /// What it says of itself.
    Answers(Box<Status>),
}

impl Sidecar {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Sidecar::Absent => "absent",
            Sidecar::Silent(_) => "silent",
            Sidecar::Answers(status) => status.state.name(),
        }
    }

    /// What is wrong, in words; none: nothing.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Sidecar::Absent => None,
            Sidecar::Silent(why) => {
                Some(format!("nearend-tone does not answer: {why}; `systemctl status nearend-tone` says more"))
            }
            Sidecar::Answers(status) => {
                let error = status.error.as_ref()?;
                Some(match status.state {
                    State::DeviceBusy => {
                        format!(
                            "the loudspeaker is busy: {error}; `fuser -v /dev/snd/*` names it; it is used as soon as it is free"
                        )
                    }
                    _ => format!("the loudspeaker cannot be used: {error}; `aplay -L` lists the devices there are"),
                })
            }
        }
    }
}

/// Asks it now and again for as long as somebody reads the answers. What changes is logged once.
pub fn watch_over(socket: PathBuf) -> watch::Receiver<Sidecar> {
    let (news, seen) = watch::channel(Sidecar::Absent);
    tokio::spawn(async move {
        let mut trouble = None;
        loop {
            let sidecar = look(&socket).await;
            let now = sidecar.trouble();
            if now != trouble {
                match &now {
                    Some(what) => tracing::warn!(state = sidecar.name(), "{what}"),
                    None => tracing::info!(state = sidecar.name(), "nearend-tone has no more trouble"),
                }
                trouble = now;
            }
            news.send_replace(sidecar);
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = news.closed() => return,
            }
        }
    });
    seen
}

async fn look(socket: &Path) -> Sidecar {
    match tokio::time::timeout(PATIENCE, ask(socket, &Request::Status {})).await {
        Ok(Ok(status)) => Sidecar::Answers(Box::new(status)),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Sidecar::Absent,
        Ok(Err(error)) => Sidecar::Silent(error.to_string()),
        Err(_) => Sidecar::Silent(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// One request; what it says then, or why it does not answer.
///
/// # Errors
/// In words: it is not there, or does not answer in time.
pub async fn order(socket: &Path, request: &Request) -> Result<Status, String> {
    let answered = tokio::time::timeout(PATIENCE, ask(socket, request)).await;
    let answered = answered.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    answered.map_err(|error| format!("nearend-tone does not answer: {error}; `systemctl status nearend-tone` says more"))
}

async fn ask(socket: &Path, request: &Request) -> io::Result<Status> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    stream.take(MOST_ANSWER_BYTES).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
