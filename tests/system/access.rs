//! Who may come in over HTTP, and what happens to everybody else: refused, counted, and no recording notices.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::site::{PASSWORD, Site};

/// Every path that asks for somebody, with the role that is the least.
const GATED: [(&str, &str, &str); 20] = [
    ("GET", "/api/v1/status", "viewer"),
    ("GET", "/api/v1/history", "viewer"),
    ("GET", "/api/v1/events", "viewer"),
    ("GET", "/api/v1/calls", "viewer"),
    ("GET", "/api/v1/calls/x", "viewer"),
    ("GET", "/api/v1/geo/explain", "viewer"),
    ("GET", "/api/v1/rules/explain", "viewer"),
    ("GET", "/api/v1/recordings", "viewer"),
    ("GET", "/api/v1/recordings/x", "viewer"),
    ("GET", "/api/v1/recordings/x/peaks", "listener"),
    ("GET", "/api/v1/recordings/x/audio", "listener"),
    ("POST", "/api/v1/calls/x/pause", "listener"),
    ("POST", "/api/v1/calls/x/resume", "listener"),
    ("POST", "/api/v1/calls/x/stop", "admin"),
    ("POST", "/api/v1/recordings/x/first", "admin"),
    ("GET", "/api/v1/access/users", "admin"),
    ("POST", "/api/v1/access/users", "admin"),
    ("POST", "/api/v1/access/tokens", "admin"),
    ("DELETE", "/api/v1/access/users/tester", "admin"),
    ("GET", "/api/v1/access/audit", "admin"),
];

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub(crate) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

fn refused(site: &Site, why: &str) -> u64 {
    site.metric(&format!("nearend_web_refused_total{{reason=\"{why}\"}}")).unwrap_or_default()
}

#[test]
fn nobody_comes_in_without_a_name_and_each_role_does_what_it_may() {
    let site = Site::start();
    for path in ["/", "/assets/page.js", "/health/live", "/health/ready", "/metrics", "/api/v1/access"] {
        assert_eq!(site.exchange("GET", path, "", "").0, 200, "{path} is open");
    }
    for (method, path, _) in GATED {
        let (status, head, body) = site.exchange(method, path, "", "");
        assert_eq!((status, &json_of(&body)["status"]), (401, &json!(401)), "{method} {path}");
        assert!(head.contains("www-authenticate: Bearer") && head.contains("application/problem+json"), "{head}");
        assert_eq!(site.exchange(method, path, &bearer("ne_guessed"), "").0, 401, "{method} {path}");
        assert_eq!(site.exchange(method, path, "Cookie: nearend=guessed\r\n", "").0, 401, "{method} {path}");
    }
    let admin = bearer(site.token());
    let rank = |role| ["viewer", "listener", "admin"].iter().position(|known| *known == role).unwrap();
    for role in ["viewer", "listener"] {
        let token = bearer(&site.new_token(&admin, role, role, "null"));
        for (method, path, least) in GATED.iter().filter(|(_, path, _)| *path != "/api/v1/events") {
            let (status, _, body) = site.exchange(method, path, &token, "");
            assert_eq!(status == 403, rank(*least) > rank(role), "{role}: {method} {path}: {status} {body}");
        }
    }
    site.wait_for("the count", |site| refused(site, "unknown") >= 60 && refused(site, "forbidden") >= 1);
    let (status, _, body) = site.exchange("DELETE", "/api/v1/access/users/tester", &admin, "");
    assert_eq!((status, json_of(&body)["detail"].as_str().unwrap().contains("last administrator")), (409, true));
    assert_eq!(site.exchange("DELETE", "/api/v1/access/tokens/viewer", &admin, "").0, 204);
}

#[test]
fn a_password_opens_a_session_that_ends_and_who_guesses_waits() {
    let mut site = Site::start();
    site.token();
    let login = |password: &str| {
        site.exchange("POST", "/api/v1/access/login", "", &json!({"name": "tester", "password": password}).to_string())
    };
    let (status, head, _) = login(PASSWORD);
    let set = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().to_owned();
    assert!(status == 200 && set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let cookie = format!("Cookie: {}\r\n", set.split(';').next().unwrap());
    assert_eq!(site.exchange("GET", "/api/v1/status", &cookie, "").0, 200);
    for foreign in ["Origin: http://evil.example\r\n", "Sec-Fetch-Site: cross-site\r\n", "Origin: null\r\n"] {
        assert_eq!(site.exchange("POST", "/api/v1/calls/x/pause", &format!("{cookie}{foreign}"), "").0, 403, "{foreign}");
    }
    assert_eq!(site.exchange("POST", "/api/v1/access/logout", &cookie, "").0, 204);
    assert_eq!(site.exchange("GET", "/api/v1/status", &cookie, "").0, 401, "it is over");
    let wrong: Vec<u16> = (0..8).map(|_| login("not the password").0).collect();
    assert_eq!((&wrong[..6], wrong[7]), (&[401; 6][..], 429), "{wrong:?}");
    let (status, head, _) = login(PASSWORD);
    assert!(status == 429 && head.contains("retry-after: "), "the right one waits as well: {head}");
    assert_eq!(site.get("/api/v1/status").0, 200, "a token does not");
    site.wait_for("the count", |site| refused(site, "wrong-password") >= 6 && refused(site, "throttled") >= 2);

    let verify = |head: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearend"));
        command.args(["audit", "verify", "--json", "--data-dir"]).arg(site.path("data")).args(head).output().unwrap()
    };
    let audit = json_of(&site.get("/api/v1/access/audit").1);
    let did: Vec<&str> = audit["entries"].as_array().unwrap().iter().map(|line| line["did"].as_str().unwrap()).collect();
    assert_eq!(did, ["first-use", "add-token", "login", "login-throttled"]);
    let noted = format!("2:{}", audit["entries"][1]["hash"].as_str().unwrap());
    let whole = verify(&["--head", &noted]);
    assert!(whole.status.success() && json_of(&String::from_utf8_lossy(&whole.stdout))["lines"] == 4);
    assert!(!verify(&["--head", &noted.replacen('2', "3", 1)]).status.success(), "another line than was noted");
    let log = site.path("data/access/audit-000000000001.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.lines().filter(|line| !line.contains("throttled")).map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    assert!(verify(&[]).status.success(), "a cut end is seen by who has noted it alone");
    assert!(!verify(&["--head", &format!("4:{}", audit["entries"][3]["hash"].as_str().unwrap())]).status.success());
    fs::write(&log, text.replacen("tester", "nobody", 1)).unwrap();
    let broken = verify(&[]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("jsonl:1: its text is not the one that was hashed"));

    site.kill();
    site.run();
    assert_eq!(site.get("/api/v1/status").0, 200, "accounts outlast a restart, and so does the log");
    assert_eq!(
        site.exchange(
            "POST",
            "/api/v1/access/first",
            "",
            "{\"code\": \"A\", \"name\": \"eve\", \"password\": \"correct horse battery\"}"
        )
        .0,
        409
    );
}

pub(crate) const TENANTS: &str = "[[tenant]]\nid = \"101\"\nname = \"acme\"\n[[tenant]]\nid = \"102\"\nname = \"globex\"\n";

pub(crate) fn call_of(site: &Site, tenant: &str, id: &str) -> Child {
    let (to, local) = (format!("sip:{}", site.sip()), site.peer().to_string());
    let mut msr = Command::new(env!("CARGO_BIN_EXE_nearend-msr"));
    msr.args(["--to", &to, "--local", &local, "--recording-id", id, "--tenant", tenant, "--duration", "60s"]);
    msr.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn tenants_know_nothing_of_each_others_calls() {
    let site = Site::start_with(TENANTS);
    let admin = bearer(site.token());
    let mut calls = [call_of(&site, "acme", "01ACME"), call_of(&site, "globex", "02GLOBEX")];
    site.wait_for("both calls", |site| site.metric("nearend_recordings_running") == Some(2));
    let own = bearer(&site.new_token(&admin, "acme-desk", "admin", "[\"101\"]"));
    let get = |path: &str| site.exchange("GET", path, &own, "");
    let ids =
        |list: &Value| list.as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&json_of(&get("/api/v1/calls").2)["calls"]), ["01ACME"]);
    assert_eq!(ids(&json_of(&get("/api/v1/status").2)["calls"]), ["01ACME"]);
    assert_eq!(ids(&json_of(&site.get("/api/v1/status").1)["calls"]).len(), 2, "who sees all sees both");
    assert_eq!((get("/api/v1/calls/01ACME").0, get("/api/v1/calls/02GLOBEX").0), (200, 404));
    for verb in ["pause", "resume", "stop"] {
        let (status, _, body) = site.exchange("POST", &format!("/api/v1/calls/02GLOBEX/{verb}"), &own, "");
        assert_eq!(
            (status, body),
            (404, site.exchange("POST", &format!("/api/v1/calls/03NONE/{verb}"), &own, "").2),
            "as if it were not there"
        );
    }
    assert_eq!(get("/api/v1/access/audit").0, 403);
    assert_eq!(get("/api/v1/rules/explain?dn=1").0, 403);
    let more = json!({"name": "x", "role": "viewer", "tenants": ["102"]}).to_string();
    assert_eq!(site.exchange("POST", "/api/v1/access/tokens", &own, &more).0, 403, "nor can it make a token for them");
    assert_eq!(json_of(&get("/api/v1/access/users").2)["users"], json!({}), "nor see who made it");
    for verb in ["pause", "stop"] {
        assert_eq!(site.exchange("POST", &format!("/api/v1/calls/01ACME/{verb}"), &own, "").0, 200);
    }
    let (_, stopped) = site.post("/api/v1/calls/02GLOBEX/stop", "");
    assert!(stopped.contains("stopped"), "{stopped}");
    calls.iter_mut().for_each(|call| drop(call.wait()));
    let arrived = site.wait_for_recordings(2);
    let of = |id: &str| arrived.iter().find(|recording| recording.id() == id).unwrap();
    let masks = |id: &str| of(id).json["mediaFiles"][0]["masks"].as_array().map_or(0, Vec::len);
    assert!(masks("01ACME") > 0 && masks("02GLOBEX") == 0);
    assert!(json_of(&get("/api/v1/status").2)["recent"].as_array().unwrap().iter().all(|call| call["tenant"] == "101"));
}

/// What comes back over a connection until it is closed.
fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text); // a reset is an end, too
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn what_is_too_long_too_slow_or_a_trick_is_refused_while_calls_are_recorded() {
    let site = Site::start();
    let mut call = call_of(&site, "Environment", "01CALL");
    site.wait_for("the call", |site| site.metric("nearend_recordings_running") == Some(1));
    let admin = bearer(site.token());
    for path in [
        "/assets/../driver.rs",
        "/assets/..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/page.pem",
        "//etc/passwd",
        "/api/v1/calls/..%2f..%2f",
        "/.git",
    ] {
        assert_eq!(site.exchange("GET", path, &admin, "").0, 404, "{path}");
    }
    let broken = site.exchange("GET", "/api/v1/calls/%ff", &admin, "");
    assert!(broken.0 == 400 && broken.1.contains("problem+json"), "{broken:?}");
    let connect = || TcpStream::connect((site.ip, 8080)).unwrap();
    let said = |head: &str| {
        let mut stream = connect();
        let _ = stream.write_all(head.as_bytes());
        answer(stream)
    };
    let long = "x".repeat(40_000);
    assert!(said(&format!("GET /api/v1/status HTTP/1.1\r\nHost: box\r\nX: {long}\r\n\r\n")).starts_with("HTTP/1.1 431 "));
    let upload = "POST /api/v1/access/login HTTP/1.1\r\nHost: box\r\nConnection: close\r\nContent-Type: application/json\r\n";
    assert!(said(&format!("{upload}Content-Length: 70000\r\n\r\n")).starts_with("HTTP/1.1 413 "), "it is not even read");
    let chunk = format!("{:x}\r\n{long}\r\n", long.len());
    assert!(said(&format!("{upload}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")).starts_with("HTTP/1.1 413 "));
    assert!(said(&format!("{upload}Content-Length: 2\r\n\r\n[]")).starts_with("HTTP/1.1 422 "), "not what is asked for");
    assert!(said("HELO box\r\n\r\n").starts_with("HTTP/1.1 400 "));
    // Heads and bodies that never end: many at once, and the box does not wait for them.
    let begun = Instant::now();
    let slow: Vec<TcpStream> = (0..40)
        .map(|n| {
            let mut stream = connect();
            let begin =
                if n % 2 == 0 { "GET / HTTP/1.1\r\nHost: ".to_owned() } else { format!("{upload}Content-Length: 100\r\n\r\n{{") };
            stream.write_all(begin.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
            stream
        })
        .collect();
    assert_eq!(site.get("/api/v1/status").0, 200, "others are served meanwhile");
    let ends: Vec<String> = slow.into_iter().map(answer).collect();
    assert!(begun.elapsed() < Duration::from_secs(100), "they were cut off, not waited for");
    assert!(ends.iter().skip(1).step_by(2).all(|end| end.starts_with("HTTP/1.1 408 ")), "{ends:?}");
    site.wait_for("the counts", |site| refused(site, "slow") >= 40 && refused(site, "oversized") >= 3);
    assert_eq!(site.post("/api/v1/calls/01CALL/stop", "").0, 200);
    let _ = call.wait();
    let arrived = site.wait_for_recordings(1).pop().unwrap();
    assert_eq!(
        arrived.json["nearend"]["legs"].as_array().unwrap().iter().map(|leg| leg["lost"].as_u64().unwrap()).sum::<u64>(),
        0
    );
}

#[test]
fn the_page_is_encrypted_by_a_certificate_that_the_box_makes_or_is_given() {
    let curl = |site: &Site, certificate: &str, path: &str, more: &[&str]| {
        let to = format!("localhost:8080:{}:8080", site.ip);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--connect-to", &to, "--cacert"])
            .arg(site.path(certificate))
            .args(more);
        let output = curl.arg(format!("https://localhost:8080{path}")).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let mut site = Site::start_with("[web] tls = \"generated\"");
    let first = json!({"code": site.code(), "name": "anna", "password": PASSWORD}).to_string();
    let more = ["--header", "Content-Type: application/json", "--data", &first];
    let (done, said) = curl(&site, "data/access/page.pem", "/api/v1/access/first", &more);
    assert!(done && said.contains("set-cookie: __Host-nearend=") && said.contains("; Secure"), "{said}");
    let mut plain = TcpStream::connect((site.ip, 8080)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: box\r\n\r\n").unwrap();
    assert!(!answer(plain).contains("HTTP/1.1 200"), "nothing is told in the clear");
    site.stop();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
        .arg(site.path("own.key"))
        .arg("-out")
        .arg(site.path("own.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |name: &str| site.path(name).display().to_string();
    site.rewrite(&format!("[web] cert_file = \"{}\"\n[web] key_file = \"{}\"", file("own.pem"), file("own.key")));
    site.run();
    let (done, said) = curl(&site, "own.pem", "/api/v1/access", &[]);
    assert!(done && said.contains("\"firstUse\":false"), "{said}");
    assert!(!curl(&site, "data/access/page.pem", "/", &[]).0, "the other certificate is not its own any more");
}
