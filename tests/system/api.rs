//! What the box answers has the form that its OpenAPI document says, and the document is the one in docs/.

use serde_json::{Value, json};

use super::access::{call_of, json_of};
use super::site::Site;

/// The form of an answer with 200.
fn form(document: &Value, path: &str) -> Value {
    let answer = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(answer.is_object(), "{path} is in the document");
    json!({"allOf": [answer], "components": document["components"]})
}

#[test]
fn answers_are_as_the_document_says() {
    let site = Site::start();
    let served = json_of(&site.exchange("GET", "/api/v1/openapi.json", "", "").2);
    assert_eq!(served, json_of(include_str!("../../docs/schema/openapi.json")));
    let (mut over, mut running) = (call_of(&site, "Environment", "01OVER"), call_of(&site, "Environment", "02RUNS"));
    site.wait_for("both to be heard", |site| {
        ["01OVER", "02RUNS"].iter().all(|id| {
            let (status, call) = site.get(&format!("/api/v1/calls/{id}"));
            status == 200 && json_of(&call)["packets"].as_u64() > Some(50)
        })
    });
    assert_eq!(site.post("/api/v1/calls/01OVER/stop", "").0, 200);
    let _ = over.wait(); // the box has hung up
    site.wait_for_recordings(1);
    site.wait_for("its delivery", |site| site.get("/api/v1/recordings?state=delivered").1.contains("01OVER"));
    site.wait_for("a status with both", |site| ["01OVER", "02RUNS"].iter().all(|id| site.get("/api/v1/status").1.contains(id)));
    for (path, asked) in [
        ("/api/v1/status", "/api/v1/status"),
        ("/api/v1/calls", "/api/v1/calls?limit=1"),
        ("/api/v1/calls/{id}", "/api/v1/calls/02RUNS"),
        ("/api/v1/recordings", "/api/v1/recordings"),
        ("/api/v1/recordings/{id}", "/api/v1/recordings/01OVER"),
        ("/api/v1/recordings/{id}", "/api/v1/recordings/02RUNS"),
        ("/api/v1/recordings/{id}/peaks", "/api/v1/recordings/01OVER/peaks"),
        ("/api/v1/access", "/api/v1/access"),
        ("/api/v1/access/users", "/api/v1/access/users"),
        ("/api/v1/access/tokens", "/api/v1/access/tokens"),
        ("/api/v1/access/audit", "/api/v1/access/audit"),
    ] {
        let schema = jsonschema::validator_for(&form(&served, path)).unwrap();
        let (status, said) = site.get(asked);
        let said = json_of(&said);
        let faults: Vec<String> = schema.iter_errors(&said).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(status == 200 && faults.is_empty(), "{asked}: {faults:#?}\n{said}");
    }
    assert_eq!(site.post("/api/v1/calls/02RUNS/stop", "").0, 200);
    let _ = running.wait();
}
