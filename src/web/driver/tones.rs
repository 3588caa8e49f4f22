//! The tone bench (docs/tones.md): a call with tones as JSON, WAV and picture, and what the box's own loudspeaker plays of it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::super::recorded::range;
use super::answers::{answer_of, note, problem};
use super::gate::Known;
use crate::access::Access;
use crate::clock::Now;
use crate::tones::audio::wav_bytes;
use crate::tones::bench::{Facts, Setup, picture};
use crate::tones::plan::Perspective;
use crate::tones::presets::Preset;
use crate::tones::protocol::{Request, Status};

/// Asks `nearend-tone`.
#[derive(Debug)]
pub struct Ask {
    /// What it is asked.
    pub request: Request,
    /// What it says; or why it does not.
    pub answer: oneshot::Sender<Result<Status, String>>,
}

/// So often a page is told how the loudspeaker is …
const TELL_EVERY: Duration = Duration::from_millis(250);

/// … and so many pages are.
const MOST_LISTENERS: usize = 4;

/// Calls are rendered one after the other; so long a page waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who renders and plays.
#[derive(Clone)]
pub(super) struct Bench {
    asks: mpsc::Sender<super::Ask>,
    access: Access,
    turn: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

impl Bench {
    pub(super) fn new(asks: mpsc::Sender<super::Ask>, access: Access) -> Bench {
        Bench { asks, access, turn: Arc::new(Semaphore::new(1)), listeners: Arc::new(Semaphore::new(MOST_LISTENERS)) }
    }
}

/// What everybody who may look may see and hear.
pub(super) fn shown(bench: Bench) -> Router {
    Router::new()
        .route("/api/v1/tone/presets", get(presets))
        .route("/api/v1/tone/call", get(facts))
        .route("/api/v1/tone/call/{file}", get(file))
        .route("/api/v1/tone/speaker", get(async |State(bench): State<Bench>| ask(&bench, Request::Status {}).await))
        .route("/api/v1/tone/speaker/events", get(events))
        .with_state(bench)
}

/// What makes a noise on the site.
pub(super) fn asked(bench: Bench) -> Router {
    Router::new()
        .route("/api/v1/tone/speaker/play/{perspective}", post(play))
        .route("/api/v1/tone/speaker/{verb}", post(order))
        .with_state(bench)
}

async fn presets() -> Response {
    let one = |preset: Preset| json!({"country": preset.country, "frequency_hz": preset.frequency_hz, "on_ms": preset.on_ms, "off_ms": preset.off_ms});
    Json(Preset::all().map(one).collect::<Vec<_>>()).into_response()
}

// ---- rendered

type Asked = Result<Query<Setup>, QueryRejection>;

fn checked(setup: Asked) -> Result<Setup, String> {
    let Query(setup) = setup.map_err(|why| why.body_text())?;
    setup.check()?;
    Ok(setup)
}

async fn facts(State(bench): State<Bench>, setup: Asked) -> Response {
    let setup = match checked(setup) {
        Ok(setup) => setup,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    rendered(&bench, move || Json(Facts::of(&setup.scene().call())).into_response()).await
}

async fn file(State(bench): State<Bench>, Path(file): Path<String>, headers: HeaderMap, setup: Asked) -> Response {
    let setup = match checked(setup) {
        Ok(setup) => setup,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    if file == "picture.svg" {
        let draw = move || picture("What is heard, and what is recorded", &setup.scene().call());
        return rendered(&bench, move || ([(header::CONTENT_TYPE, "image/svg+xml")], draw()).into_response()).await;
    }
    let perspective = file.strip_suffix(".wav").and_then(Perspective::of);
    let Some(perspective) = perspective else {
        return problem(
            StatusCode::NOT_FOUND,
            "there are recorddn-hears.wav, otherdn-hears.wav, channel-1.wav, channel-2.wav, picture.svg",
        );
    };
    rendered(&bench, move || audio(wav_bytes(&setup.scene().call().render(perspective)), &headers)).await
}

/// Rendering takes a board a moment: not on the thread that answers, and one at a time.
async fn rendered(bench: &Bench, work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(&bench.turn).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "others render calls just now; try again");
    };
    let done = tokio::task::spawn_blocking(move || {
        let answer = work();
        drop(turn);
        answer
    });
    done.await.unwrap_or_else(|_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the call could not be rendered; the log says why"))
}

/// A player asks for pieces when somebody moves to another place.
fn audio(bytes: Vec<u8>, headers: &HeaderMap) -> Response {
    let own = [(header::CONTENT_TYPE, "audio/wav"), (header::ACCEPT_RANGES, "bytes")];
    let wanted = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let Ok(part) = range(wanted, bytes.len() as u64) else {
        return problem(StatusCode::RANGE_NOT_SATISFIABLE, "the call is shorter than that");
    };
    let piece = part.and_then(|part| Some((part.clone(), bytes.get(part.start as usize..part.end as usize)?.to_vec())));
    let Some((part, piece)) = piece else { return (own, bytes).into_response() };
    let said = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
    (StatusCode::PARTIAL_CONTENT, own, [(header::CONTENT_RANGE, said)], piece).into_response()
}

// ---- the loudspeaker

async fn play(State(bench): State<Bench>, Path(perspective): Path<String>, known: Known, setup: Asked) -> Response {
    let setup = match checked(setup) {
        Ok(setup) => setup,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let Some(perspective) = Perspective::of(&perspective) else {
        return problem(
            StatusCode::NOT_FOUND,
            "a call is listened to from recorddn-hears, otherdn-hears, channel-1 or channel-2",
        );
    };
    match setup.play(perspective) {
        Ok(play) => match note(&bench.access, &known, "speaker-play", perspective.name(), "").await {
            Ok(()) => ask(&bench, Request::Play(play)).await,
            Err(answer) => answer,
        },
        Err(why) => problem(StatusCode::CONFLICT, &format!("no tone sounds: {why}")),
    }
}

async fn order(State(bench): State<Bench>, Path(verb): Path<String>, known: Known) -> Response {
    let (did, request) = match verb.as_str() {
        "pause" => ("speaker-pause", Request::Pause {}),
        "resume" => ("speaker-resume", Request::Resume {}),
        "stop" => ("speaker-stop", Request::Stop {}),
        _ => return problem(StatusCode::NOT_FOUND, "the loudspeaker can be asked to pause, resume or stop"),
    };
    match note(&bench.access, &known, did, "", "").await {
        Ok(()) => ask(&bench, request).await,
        Err(answer) => answer,
    }
}

async fn ask(bench: &Bench, request: Request) -> Response {
    match answer_of(&bench.asks, |answer| super::Ask::Speaker(Ask { request, answer })).await {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(why)) => problem(StatusCode::CONFLICT, &why), // many boxes have no loudspeaker: nothing is wrong with this one
        Err(answer) => answer,
    }
}

/// `speaker`: what it says of itself; `silent`: why it does not.
async fn events(State(bench): State<Bench>, known: Known) -> Response {
    let Ok(room) = Arc::clone(&bench.listeners).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages listen to the loudspeaker; close one");
    };
    let news = stream::unfold((bench, known, room, Duration::ZERO), tell);
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}

type Telling = (Bench, Known, OwnedSemaphorePermit, Duration);

async fn tell((bench, known, room, wait): Telling) -> Option<(Result<Event, Infallible>, Telling)> {
    tokio::time::sleep(wait).await;
    bench.access.who(Now::read(), &known.credential)?; // who has been logged out is told no more
    let request = Request::Status {};
    let event = match answer_of(&bench.asks, |answer| super::Ask::Speaker(Ask { request, answer })).await {
        Ok(Ok(status)) => Event::default().event("speaker").json_data(status).ok()?,
        Ok(Err(why)) => Event::default().event("silent").json_data(why).ok()?,
        Err(_) => Event::default().event("silent").json_data("the box is busy").ok()?,
    };
    Some((Ok(event), (bench, known, room, TELL_EVERY)))
}
