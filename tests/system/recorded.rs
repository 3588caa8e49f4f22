//! What the API tells of recordings: found, paged, seen, and heard by who may, while the box can still read them.

use std::fs;

use serde_json::{Value, json};

use super::access::{TENANTS, bearer, call_of, json_of};
use super::sealed::recipient;
use super::site::Site;

fn record(site: &Site, tenant: &str, id: &str) {
    let mut call = call_of(site, tenant, id);
    site.wait_for("the call", |site| site.get(&format!("/api/v1/calls/{id}")).0 == 200);
    site.wait_for("a second of it", |site| json_of(&site.get(&format!("/api/v1/calls/{id}")).1)["packets"].as_u64() > Some(100));
    assert_eq!(site.post(&format!("/api/v1/calls/{id}/stop"), "").0, 200);
    let _ = call.wait(); // the box has hung up
}

fn ids(list: &Value) -> Vec<&str> {
    list["recordings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn recordings_are_found_and_heard_by_who_may() {
    let site = Site::start_with(TENANTS);
    let admin = bearer(site.token());
    let away = site.path("away");
    fs::rename(site.path("dc"), &away).unwrap();
    for (tenant, id) in [("acme", "01ACME"), ("globex", "02GLOBEX"), ("acme", "03ACME")] {
        record(&site, tenant, id);
    }
    site.wait_for("all to be finished", |site| site.metric("nearend_recordings_finished_total") == Some(3));
    let list = |query: &str| json_of(&site.get(&format!("/api/v1/recordings{query}")).1);
    assert_eq!(ids(&list("")), ["03ACME", "02GLOBEX", "01ACME"], "the newest first");
    let first = list("?limit=2");
    let second = list(&format!("?limit=2&before={}", first["next"]));
    assert_eq!((ids(&first), ids(&second), &second["next"]), (vec!["03ACME", "02GLOBEX"], vec!["01ACME"], &Value::Null));
    assert_eq!(ids(&list("?tenant=102")), ["02GLOBEX"]);
    assert_eq!(ids(&list("?state=here")).len(), 3, "the data centre is away");
    assert_eq!(ids(&list("?party=nobody")).len(), 0);
    assert_eq!((ids(&list("?from=2000-01-01T00:00:00Z")).len(), ids(&list("?to=2000-01-01T00:00:00Z")).len()), (3, 0));
    for wrong in ["?limit=0", "?state=lost", "?from=yesterday", "?order=up"] {
        assert_eq!(site.get(&format!("/api/v1/recordings{wrong}")).0, 400, "{wrong}");
    }
    fs::rename(&away, site.path("dc")).unwrap();
    let arrived = site.wait_for_recordings(3);
    site.wait_for("their delivery", |_| ids(&list("?state=delivered")).len() == 3 && ids(&list("?state=here")).is_empty());

    let get = |path: &str, headers: &str| site.exchange_bytes("GET", path, headers, "");
    let (_, head, _) = get("/api/v1/recordings/01ACME", &admin);
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert_eq!(get("/api/v1/recordings/01ACME", &format!("{admin}If-None-Match: {etag}\r\n")).0, 304);
    let one = json_of(&site.get("/api/v1/recordings/01ACME").1);
    let of = |id: &str| arrived.iter().find(|recording| recording.id() == id).unwrap();
    assert_eq!(
        (&one["whereabouts"]["arrivedAt"], &one["whereabouts"]["onlyHere"], &one["audio"]),
        (&json!(["dc"]), &json!(false), &json!("yes"))
    );
    assert_eq!(one["metadata"], of("01ACME").json, "what the data centre has");

    let audio = "/api/v1/recordings/01ACME/audio";
    let file = fs::read(of("01ACME").folder.join("audio.wav")).unwrap();
    let (status, head, body) = get(audio, &admin);
    assert!(status == 200 && head.contains("content-type: audio/wav") && head.contains("accept-ranges: bytes"), "{head}");
    assert!(body == file, "byte for byte");
    let (status, head, body) = get(audio, &format!("{admin}Range: bytes=58-1057\r\n"));
    assert!(status == 206 && head.contains(&format!("content-range: bytes 58-1057/{}", file.len())), "{head}");
    assert!(body == file[58..1058]);
    assert_eq!(get(audio, &format!("{admin}Range: bytes={}-\r\n", file.len())).0, 416);
    assert_eq!(get(audio, &format!("{admin}Range: bytes=0-9\r\nIf-Range: \"another\"\r\n")).0, 200, "another file: all of it");
    let peaks = json_of(&site.get("/api/v1/recordings/01ACME/peaks?steps=10").1);
    let loudest =
        |channel: usize| peaks["channels"][channel].as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).max();
    assert!(loudest(0) > Some(5) && peaks["lengthMs"] == (file.len() - 58) / 16, "the first one speaks at once: {peaks}");

    let token = |name: &str, role: &str, tenants: &str| bearer(&site.new_token(&admin, name, role, tenants));
    let (viewer, acme) = (token("viewer", "viewer", "null"), token("acme", "listener", "[\"101\"]"));
    assert_eq!((get(audio, &viewer).0, get(audio, &acme).0), (403, 200));
    for path in ["", "/audio", "/peaks"] {
        assert_eq!(get(&format!("/api/v1/recordings/02GLOBEX{path}"), &acme).0, 404, "as if it were not there: {path}");
    }
    let own = json_of(&String::from_utf8(get("/api/v1/recordings", &acme).2).unwrap());
    assert_eq!(ids(&own), ["03ACME", "01ACME"]);
    let audit = json_of(&site.get("/api/v1/access/audit").1);
    let plays: Vec<(&str, &str)> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["did"] == "play")
        .map(|line| (line["who"].as_str().unwrap(), line["of"].as_str().unwrap()))
        .collect();
    assert_eq!(
        plays,
        [("token tests", "01ACME"), ("token acme", "01ACME")],
        "a play is noted once, and who was refused played nothing"
    );
}

#[test]
fn what_is_sealed_cannot_be_played_by_anybody_here() {
    let folder = tempfile::tempdir().unwrap();
    let key = recipient(folder.path(), "key");
    let site = Site::start_with(&super::sealed::tenant("wav", &[&key]));
    record(&site, "Environment", "01SEALED");
    site.wait_for_recordings(1);
    site.wait_for("its delivery", |site| site.metric("nearend_recordings_delivered_total") == Some(1));
    let one = json_of(&site.get("/api/v1/recordings/01SEALED").1);
    assert_eq!((&one["audio"], &one["metadata"]["callerPhoneNumber"]), (&json!("sealed"), &Value::Null));
    for path in ["audio", "peaks"] {
        let (status, body) = site.get(&format!("/api/v1/recordings/01SEALED/{path}"));
        assert!(status == 409 && body.contains("sealed to its tenant's recipients"), "{path}: {body}");
    }
}
