//! An archive that is told of recordings, as a recording processor takes them: a POST with a login for each that has arrived.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use nearend::forward::driver::Event;
use nearend::forward::target::login::Settings;
use nearend::forward::{Target, TargetKind};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Sender, assert_same};
use crate::site::address;

const PATH: &str = "/api/contact-centers/4f6ba8c4/recordings";

/// What was told, by recording id, and how many requests were answered with 503 before.
#[derive(Default)]
struct Told {
    recordings: BTreeMap<String, Value>,
    busy: u32,
}

struct Archive {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    /// Ends the server when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl Archive {
    fn start(ip: Ipv4Addr) -> Archive {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind((ip, 0))).unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::<Mutex<Told>>::default());
        let router = Router::new().route(PATH, post(take)).with_state(Arc::clone(&told));
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = axum::serve(listener, router) => {}, _ = stopped => {} }
            })
        });
        Archive { address, told, _stop: stop }
    }
}

async fn take(State(told): State<Arc<Mutex<Told>>>, headers: HeaderMap, body: String) -> Response {
    let is = |name: header::HeaderName, value: &str| headers.get(name).is_some_and(|given| given == value);
    if !is(header::AUTHORIZATION, "Basic Ym94OnNlY3JldA==") {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"archive\"")]).into_response();
    }
    let mut told = told.lock().unwrap();
    told.busy += 1;
    if told.busy == 2 {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(recording) = serde_json::from_str::<Value>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    if !is(header::CONTENT_TYPE, "application/json") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let id = recording["id"].as_str().unwrap().to_owned();
    match told.recordings.insert(id, recording) {
        None => StatusCode::CREATED.into_response(),
        Some(_) => StatusCode::CONFLICT.into_response(),
    }
}

fn target(sender: &Sender, archive: SocketAddr, path: &str) -> Target {
    let access = sender.s3_settings("").access;
    let login = Some(("box".to_owned(), sender.path("password")));
    let metadata = Some(Settings { url: format!("http://{archive}{path}"), login, access });
    Target { name: "dc".into(), kind: TargetKind::Dir { path: sender.path("dc") }, metadata }
}

#[test]
fn an_archive_is_told_of_each_recording_whose_files_are_there() {
    let (mut sender, archive) = (Sender::new(31), Archive::start(address()));
    fs::create_dir(sender.path("dc")).unwrap();
    fs::write(sender.path("password"), "secret\n").unwrap();
    (0..5).for_each(|n| drop(sender.record(&format!("call-{n}"), 1_000)));

    let mut running = sender.forward(vec![target(&sender, archive.address, "/elsewhere")]);
    let Event::TargetDown { error, refused: true, .. } = running.next() else { panic!("nobody takes recordings there") };
    assert!(error.contains("POST") && error.contains("404"), "{error}");
    running.stop();

    for _ in 0..2 {
        let mut running = sender.forward(vec![target(&sender, archive.address, PATH)]);
        running.delivered(5); // the second time it has been told of all of them
        running.stop();
        sender.forget_deliveries();
    }
    let told = archive.told.lock().unwrap();
    assert_eq!(told.recordings.keys().collect::<Vec<_>>(), ["call-0", "call-1", "call-2", "call-3", "call-4"]);
    let root = sender.path("dc");
    let arrived: Vec<(String, Vec<u8>)> =
        sender.expected().into_iter().map(|(name, _)| (name.clone(), fs::read(root.join(name)).unwrap())).collect();
    assert_same(&arrived, &sender.expected());
}
