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

use super::answers::{answer_of, is_own_page, problem};
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

#[derive(Clone)]
struct Bench {
    asks: mpsc::Sender<super::Ask>,
    turn: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

pub(super) fn routes(asks: mpsc::Sender<super::Ask>) -> Router {
    let bench = Bench { asks, turn: Arc::new(Semaphore::new(1)), listeners: Arc::new(Semaphore::new(MOST_LISTENERS)) };
    Router::new()
        .route("/api/v1/tones/presets", get(presets))
        .route("/api/v1/tones/call", get(facts))
        .route("/api/v1/tones/call/{file}", get(file))
        .route("/api/v1/tones/speaker", get(async |State(bench): State<Bench>| ask(&bench, Request::Status {}).await))
        .route("/api/v1/tones/speaker/events", get(events))
        .route("/api/v1/tones/speaker/play/{perspective}", post(play))
        .route("/api/v1/tones/speaker/{verb}", post(order))
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

/// A player asks for pieces when somebody moves to another place (RFC 9110 §14.2): a single range of bytes is served.
fn audio(bytes: Vec<u8>, headers: &HeaderMap) -> Response {
    let own = [(header::CONTENT_TYPE, "audio/wav"), (header::ACCEPT_RANGES, "bytes"), (header::CACHE_CONTROL, "no-store")];
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(|range| range.strip_prefix("bytes="));
    let Some((from, to)) = asked.and_then(|range| range.split_once('-')) else { return (own, bytes).into_response() };
    let last = bytes.len().saturating_sub(1);
    let from: Option<usize> = from.parse().ok();
    let to: usize = to.parse().unwrap_or(last).min(last);
    match from.and_then(|from| Some((from, bytes.get(from..=to)?.to_vec()))) {
        Some((from, piece)) => {
            let range = format!("bytes {from}-{to}/{}", bytes.len());
            (StatusCode::PARTIAL_CONTENT, own, [(header::CONTENT_RANGE, range)], piece).into_response()
        }
        None => (own, bytes).into_response(),
    }
}

// ---- the loudspeaker

async fn play(State(bench): State<Bench>, Path(perspective): Path<String>, headers: HeaderMap, setup: Asked) -> Response {
    if !is_own_page(&headers) {
        return problem(StatusCode::FORBIDDEN, "a page of another origin may not ask for this");
    }
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
        Ok(play) => ask(&bench, Request::Play(play)).await,
        Err(why) => problem(StatusCode::CONFLICT, &format!("no tone sounds: {why}")),
    }
}

async fn order(State(bench): State<Bench>, Path(verb): Path<String>, headers: HeaderMap) -> Response {
    if !is_own_page(&headers) {
        return problem(StatusCode::FORBIDDEN, "a page of another origin may not ask for this");
    }
    match verb.as_str() {
        "pause" => ask(&bench, Request::Pause {}).await,
        "resume" => ask(&bench, Request::Resume {}).await,
        "stop" => ask(&bench, Request::Stop {}).await,
        _ => problem(StatusCode::NOT_FOUND, "the loudspeaker can be asked to pause, resume or stop"),
    }
}

async fn ask(bench: &Bench, request: Request) -> Response {
    match answer_of(&bench.asks, |answer| super::Ask::Speaker(Ask { request, answer })).await {
        Ok(Ok(status)) => Json(status).into_response(),
        Ok(Err(why)) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
        Err(answer) => answer,
    }
}

/// `speaker`: what it says of itself; `silent`: why it does not.
async fn events(State(bench): State<Bench>) -> Response {
    let Ok(room) = Arc::clone(&bench.listeners).try_acquire_owned() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many pages listen to the loudspeaker; close one");
    };
    let news = stream::unfold((bench.asks, room, Duration::ZERO), tell);
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}

type Telling = (mpsc::Sender<super::Ask>, OwnedSemaphorePermit, Duration);

async fn tell((asks, room, wait): Telling) -> Option<(Result<Event, Infallible>, Telling)> {
    tokio::time::sleep(wait).await;
    let request = Request::Status {};
    let event = match answer_of(&asks, |answer| super::Ask::Speaker(Ask { request, answer })).await {
        Ok(Ok(status)) => Event::default().event("speaker").json_data(status).ok()?,
        Ok(Err(why)) => Event::default().event("silent").json_data(why).ok()?,
        Err(_) => Event::default().event("silent").json_data("the box is busy").ok()?,
    };
    Some((Ok(event), (asks, room, TELL_EVERY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_gets_the_piece_it_asks_for() {
        let answer = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            let answer = audio(vec![0; 100], &headers);
            let said = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), said(header::CONTENT_RANGE))
        };
        assert_eq!(answer("bytes=0-"), (206, Some("bytes 0-99/100".into())));
        assert_eq!(answer("bytes=10-19"), (206, Some("bytes 10-19/100".into())));
        assert_eq!(answer("bytes=90-500"), (206, Some("bytes 90-99/100".into())));
        for all in ["bytes=200-", "bytes=-5", "seconds=1-2", "bytes=x-y", "bytes=20-10"] {
            assert_eq!(answer(all), (200, None), "{all}");
        }
    }
}
