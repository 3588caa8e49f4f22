//! `GET /api/v1/recordings…`: what the box has recorded, one of them with all that is known, its picture, and its audio while the box may still
//! read it. Each play is a line of the audit log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::super::peaks::Picture;
use super::super::recorded::{self, Detail, List, Playable, range};
use super::answers::{answer_of, note, problem, tagged};
use super::gate::Known;
use crate::access::Access;
use crate::clock::Now;
use crate::model::access::Scope;
use crate::model::{AudioFormat, MonoTime};

/// A request to the daemon; an error means that the ledger cannot be read now.
#[derive(Debug)]
pub enum Ask {
    /// For some of them.
    List {
        /// Whose.
        scope: Scope,
        /// Which.
        query: recorded::Query,
        /// They.
        answer: oneshot::Sender<io::Result<List>>,
    },
    /// For one.
    Find {
        /// Whose.
        scope: Scope,
        /// Its id.
        id: String,
        /// It; none: there is no such recording.
        answer: oneshot::Sender<io::Result<Option<Found>>>,
    },
    /// For its picture.
    Picture {
        /// Whose.
        scope: Scope,
        /// Its id.
        id: String,
        /// In so many steps.
        count: usize,
        /// It; none: there is no such recording, or it cannot be heard here.
        answer: oneshot::Sender<io::Result<Option<Picture>>>,
    },
}

/// One recording.
#[derive(Debug)]
pub struct Found {
    /// What is said of it.
    pub detail: Detail,
    /// Where its files are.
    pub folder: PathBuf,
    /// What can be played, with its length and checksum.
    pub audio: Result<(AudioFormat, u64, String), Playable>,
}

/// What the handlers know.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) asks: mpsc::Sender<super::Ask>,
    pub(super) access: Access,
    pub(super) plays: Plays,
}

pub(super) async fn list(
    State(shelf): State<Shelf>,
    known: Known,
    Query(query): Query<recorded::Query>,
    headers: HeaderMap,
) -> Response {
    if let Err(fault) = query.limit() {
        return problem(StatusCode::BAD_REQUEST, &fault);
    }
    let scope = known.who.scope;
    match looked_up(&shelf.asks, |answer| Ask::List { scope, query, answer }).await {
        Ok(list) => tagged(&headers, &json!(list)),
        Err(answer) => answer,
    }
}

pub(super) async fn show(State(shelf): State<Shelf>, known: Known, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let found = match shelf.find(&known, id).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let path = found.folder.join("recording.json");
    let metadata = match found.detail.whereabouts.on_box {
        true => tokio::task::spawn_blocking(move || metadata(&path)).await.ok().flatten(),
        false => None,
    };
    let mut said = json!(found.detail);
    said["metadata"] = metadata.unwrap_or(Value::Null);
    tagged(&headers, &said)
}

/// A document with ten thousand gaps is for programs, which find it at the target.
const MOST_METADATA_BYTES: u64 = 1 << 20;

fn metadata(path: &std::path::Path) -> Option<Value> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MOST_METADATA_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// In how many steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Steps {
    steps: Option<usize>,
}

const USUAL_STEPS: usize = 600;

pub(super) async fn peaks(
    State(shelf): State<Shelf>,
    known: Known,
    Path(id): Path<String>,
    Query(steps): Query<Steps>,
    headers: HeaderMap,
) -> Response {
    let count = steps.steps.unwrap_or(USUAL_STEPS);
    if !(1..=super::super::peaks::MOST).contains(&count) {
        return problem(StatusCode::BAD_REQUEST, &format!("steps is to be from 1 to {}", super::super::peaks::MOST));
    }
    let found = match shelf.find(&known, id.clone()).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if let Err(why) = found.audio {
        return silent(why);
    }
    let scope = known.who.scope;
    match looked_up(&shelf.asks, |answer| Ask::Picture { scope, id, count, answer }).await {
        Ok(Some(picture)) => tagged(&headers, &json!(picture)),
        Ok(None) => silent(Playable::Gone),
        Err(answer) => answer,
    }
}

pub(super) async fn audio(State(shelf): State<Shelf>, known: Known, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let found = match shelf.find(&known, id.clone()).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    let (format, length, sha256) = match found.audio {
        Ok(audio) => audio,
        Err(why) => return silent(why),
    };
    let etag = format!("\"{sha256}\"");
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if text(header::IF_NONE_MATCH) == Some(&etag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let wanted = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|tag| tag == etag));
    let Ok(part) = range(wanted, length) else {
        let mut answer = problem(StatusCode::RANGE_NOT_SATISFIABLE, "the file is shorter than that");
        if let Ok(value) = format!("bytes */{length}").parse() {
            answer.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        return answer;
    };
    if shelf.plays.is_new(Now::read().mono, &known.who.name, &id)
        && let Err(answer) = note(&shelf.access, &known, "play", &id, "").await
    {
        return answer;
    }
    let whole = part.clone().unwrap_or(0..length);
    let path = found.folder.join(format.file_name());
    let opened = tokio::task::spawn_blocking(move || -> io::Result<File> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(whole.start))?;
        Ok(file)
    });
    let Ok(Ok(file)) = opened.await else { return silent(Playable::Gone) };
    let range = part.unwrap_or(0..length);
    let own = [
        (header::CONTENT_TYPE, kind(format).to_owned()),
        (header::CONTENT_LENGTH, (range.end - range.start).to_string()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "private, no-cache".into()),
    ];
    let body = pieces(file, range.end - range.start);
    match range.end - range.start == length && wanted.is_none() {
        true => (own, body).into_response(),
        false => {
            let said = format!("bytes {}-{}/{length}", range.start, range.end - 1);
            (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, said)], own, body).into_response()
        }
    }
}

fn kind(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::Wav => "audio/wav",
        AudioFormat::Opus => "audio/ogg; codecs=opus",
    }
}

/// Why there is nothing to be heard.
fn silent(why: Playable) -> Response {
    match why {
        Playable::Gone => problem(StatusCode::GONE, "it is delivered, and its copy here is gone; the data centre has it"),
        Playable::Sealed => {
            problem(StatusCode::CONFLICT, "it is sealed to its tenant's recipients; this box cannot open it any more")
        }
        Playable::Early | Playable::Yes => {
            problem(StatusCode::CONFLICT, "it is not finished yet; a call that runs can be listened to")
        }
    }
}

impl Shelf {
    async fn find(&self, known: &Known, id: String) -> Result<Found, Response> {
        let scope = known.who.scope.clone();
        let found = looked_up(&self.asks, |answer| Ask::Find { scope, id, answer }).await?;
        found.ok_or_else(|| problem(StatusCode::NOT_FOUND, "no recording of this id is on the box"))
    }
}

async fn looked_up<T>(
    asks: &mpsc::Sender<super::Ask>,
    ask: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Ask,
) -> Result<T, Response> {
    let answer = answer_of(asks, |answer| super::Ask::Recorded(ask(answer))).await?;
    answer
        .map_err(|error| problem(StatusCode::SERVICE_UNAVAILABLE, &format!("the ledger cannot be read now: {error}; try again")))
}

const PIECE_BYTES: u64 = 64 << 10;

/// The file at the pace of who reads it.
fn pieces(file: File, length: u64) -> Body {
    let pieces = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || -> io::Result<(Bytes, File)> {
            let mut piece = vec![0; usize::try_from(left.min(PIECE_BYTES)).unwrap_or_default()];
            file.read_exact(&mut piece)?;
            Ok((piece.into(), file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        let left = left - piece.len() as u64;
        Ok::<_, io::Error>(Some((piece, (file, left))))
    });
    Body::from_stream(pieces)
}

/// A player asks for one file many times; who plays it again within this time is noted once.
const ONE_PLAY: Duration = Duration::from_secs(60);
const MOST_PLAYS: usize = 256;

/// Who has lately played what.
#[derive(Clone, Default)]
pub(super) struct Plays(Arc<Mutex<VecDeque<(String, String, MonoTime)>>>);

impl Plays {
    fn is_new(&self, now: MonoTime, who: &str, id: &str) -> bool {
        let mut plays = self.0.lock().unwrap_or_else(PoisonError::into_inner); // nothing in it is ever half done
        plays.retain(|(.., at)| now.since(*at) < ONE_PLAY);
        if plays.iter().any(|(whose, what, _)| whose == who && what == id) {
            return false;
        }
        plays.truncate(MOST_PLAYS - 1);
        plays.push_front((who.to_owned(), id.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_is_one_however_often_the_player_asks() {
        let (plays, at) = (Plays::default(), |s: u64| MonoTime(s * 1_000_000));
        assert!(plays.is_new(at(0), "anna", "a"));
        assert!(!plays.is_new(at(59), "anna", "a"));
        assert!(plays.is_new(at(59), "ben", "a") && plays.is_new(at(59), "anna", "b"));
        assert!(plays.is_new(at(61), "anna", "a"));
    }
}
