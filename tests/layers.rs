//! Holds the layers: which file may touch the outside, which station may know which, and a few habits that a compiler does
//! not check. A rule that is in the way is changed here, with its reason, where a reviewer sees it.
//!
//! The sources are read as text: comments, strings and test modules are blanked, then every path (`use` trees unfolded,
//! `super` resolved) is held against the rules.

use std::fs;
use std::path::Path;

// ---- the rules

/// What a station may use beside itself, `model` and the standard library's pure parts. Data flows to the right in
/// src/lib.rs; a station that is not named here may use no other.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("config", &["rules", "tones"]), // reads rules, and says where one stands that cannot match or names no preset of a tone
    ("session", &["sip"]),           // reads SIP requests and SDP as an offer of legs
    ("recording", &["session"]),     // takes what a session offers
    ("forward", &["files"]),         // writes as finish does
    ("finish", &["files"]),
    ("events", &["files"]),
    ("access", &["files"]),
    ("web", &["access", "files", "host", "tones"]), // asks who it is, keeps its certificate, shows the machine and the tone bench
];

/// Files and folders directly under src/ that are no stations: they join, or are joined by, everything.
const NO_STATIONS: [&str; 8] = ["lib.rs", "main.rs", "clock.rs", "files.rs", "files/", "daemon/", "bin/", "cmd/"];

/// What only a `driver.rs` may name, and why.
const OUTSIDE: [(&str, &str); 18] = [
    ("std::fs", "files belong to the driver"),
    ("std::process", "processes belong to the driver"),
    ("std::thread", "threads belong to the driver"),
    ("std::env", "the surroundings are arguments"),
    ("std::sync::Mutex", "a pure machine has one owner"),
    ("std::sync::RwLock", "a pure machine has one owner"),
    ("std::sync::Condvar", "a pure machine waits for nothing"),
    ("std::sync::mpsc", "output is returned or polled"),
    ("UdpSocket", "sockets belong to the driver"),
    ("TcpStream", "sockets belong to the driver"),
    ("TcpListener", "sockets belong to the driver"),
    ("Instant", "now is an argument"),
    ("SystemTime", "now is an argument"),
    ("Now::read", "now is an argument"),
    ("tokio", "the runtime belongs to the driver"),
    ("nix", "the system belongs to the driver"),
    ("socket2", "sockets belong to the driver"),
    ("fastrand::Rng::new", "randomness is an argument: a seeded Rng"),
];

/// Crates that have one place.
const ONLY_IN: [(&str, &[&str]); 18] = [
    ("rumqttc", &["events/driver/connection.rs"]),
    ("http_auth", &["forward/target/login.rs"]),
    ("object_store", &["forward/target/s3.rs"]),
    ("reqwest", &["forward/target/", "tones/driver.rs", "update/driver.rs"]),
    ("sled", &["spool/driver.rs", "spool/ledger.rs"]),
    ("alsa", &["bin/nearend-tone.rs"]),
    ("rppal", &["panel/driver/"]),
    ("ring", &["spool/seal.rs", "spool/driver.rs", "finish/identity.rs", "finish/driver/identity_file.rs", "access/driver.rs"]),
    ("argon2", &["access/password.rs"]),
    ("hyper", &["web/driver/serving.rs"]),
    ("rcgen", &["web/driver/tls.rs"]),
    ("age", &["finish/seal.rs", "config/tenant.rs"]),
    ("opus", &["finish/ogg_opus.rs", "finish/opus_reader.rs"]),
    ("rsip", &["sip/"]),
    ("nanomp3", &["tones/audio.rs"]),
    ("axum", &["web/"]),
    ("toml", &["config/", "cmd/", "bin/nearend-panel.rs"]),
    ("clap", &["main.rs", "bin/", "cmd/"]),
];

/// Files that may do what the rules above forbid: (file, name, reason).
const EXCEPTIONS: [(&str, &str, &str); 9] = [
    ("spool/ledger.rs", "std::sync::RwLock", "readers of other threads outlive a ledger that is opened anew"),
    ("forward/target/source.rs", "std::fs", "reads what an edge sends"),
    ("forward/target/uploads.rs", "std::fs", "keeps what an edge has sent"),
    ("forward/target/http.rs", "std::fs", "an edge of its own: keys and certificates"),
    ("forward/target/http.rs", "std::sync::Mutex", "all that send share one pace"),
    ("forward/target/http.rs", "Now::read", "an edge of its own"),
    ("forward/target/http.rs", "tokio", "an edge of its own: waits for the pace and for answers"),
    ("forward/target/s3.rs", "std::sync::Mutex", "object_store tells why a request failed only as text"),
    ("forward/target/s3.rs", "tokio", "an edge of its own: gives up what does not move"),
];

/// Lines of a file, tests included.
const MOST_LINES: usize = 600;

// ---- the tree

#[test]
fn every_file_keeps_to_its_layer() {
    let found: Vec<String> = sources("src").iter().flat_map(|(file, text)| breaches(file, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut found = Vec::new();
    for root in ["src", "tests", "benches", "fuzz"] {
        found.extend(sources(root).iter().flat_map(|(file, text)| bad_shape(&format!("{root}/{file}"), text)));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let missing = unexplained(&read("Cargo.toml"), &read("CONTRIBUTING.md"));
    assert!(missing.is_empty(), "no line \"| `NAME` | reason |\" in CONTRIBUTING.md for: {}", missing.join(", "));
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("stands in the repository")
}

/// All `.rs` files below a folder of the repository: path from there, text.
fn sources(root: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue }; // there may be no benches yet
        for path in entries.map(|entry| entry.expect("readable").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).expect("found below it").to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    files.sort();
    files
}

// ---- the checks: text in, complaints out

/// What `file` (from src/) must not say.
fn breaches(file: &str, text: &str) -> Vec<String> {
    if is_test_file(file) {
        return Vec::new();
    }
    let code = without_tests(&without_comments_and_strings(text));
    let mut found: Vec<String> = paths(&code).iter().filter_map(|p| breach(file, &resolved(file, p))).collect();
    found.sort();
    found.dedup();
    found
}

fn breach(file: &str, path: &str) -> Option<String> {
    let excepted = |name: &str| EXCEPTIONS.iter().any(|(f, n, _)| *f == file && *n == name);
    for (name, places) in ONLY_IN {
        if starts_with(path, name) && !places.iter().any(|place| file.starts_with(place)) && !excepted(name) {
            return Some(format!("src/{file}: `{path}`: {name} is only for {}", places.join(", ")));
        }
    }
    let station = station(file)?;
    if !is_driver(file) {
        let outside = OUTSIDE.iter().find(|(name, _)| contains(path, name) && !excepted(name));
        if let Some((_, reason)) = outside {
            return Some(format!("src/{file}: `{path}`: only driver.rs touches the outside: {reason}"));
        }
    }
    let other = path.strip_prefix("crate::")?.split("::").next()?;
    let allowed = MAY_USE.iter().find(|(s, _)| *s == station).map_or(&[][..], |(_, others)| others);
    let known = [station, "model", "clock"].contains(&other) || allowed.contains(&other) || excepted(other);
    (!known).then(|| format!("src/{file}: `{path}`: station {station} does not know {other}"))
}

/// A driver may have parts, in a folder of its name.
fn is_driver(file: &str) -> bool {
    file.ends_with("/driver.rs") || file.contains("/driver/")
}

/// The station that a file belongs to. `model` is held to the same rules; `config` and `msr` are stations of their own.
fn station(file: &str) -> Option<&str> {
    let none = NO_STATIONS.iter().any(|n| file == *n || file.starts_with(n));
    // The simulated media server is the other side of the wire: it borrows the box's parsers.
    if none || file.starts_with("msr/") { None } else { file.split('/').next() }
}

fn is_test_file(file: &str) -> bool {
    ["tests.rs", "testing.rs"].iter().any(|name| file.ends_with(name)) || file.contains("/tests/")
}

fn bad_shape(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{file}: does not open with a //! comment that says what it is for"));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        found.push(format!("{file}: {lines} lines; expected at most {MOST_LINES}: split it"));
    }
    found
}

/// Dependencies without a row in the table.
fn unexplained(cargo: &str, contributing: &str) -> Vec<String> {
    let manifest: toml::Table = cargo.parse().expect("cargo reads it, too");
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let names = tables.iter().filter_map(|t| manifest.get(*t)?.as_table()).flat_map(|t| t.keys());
    let explained = |name: &str| {
        contributing.lines().any(|line| line.strip_prefix(&format!("| `{name}` | ")).is_some_and(|reason| reason.len() > 10))
    };
    names.filter(|name| !explained(name)).cloned().collect()
}

// ---- reading Rust as text

/// Blanks comments, strings and characters, so that only code is left.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest, out.chars().next_back()) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2; // r, the hashes and the quote
            rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
        } else if c == '"' {
            string_length(rest, '"')
        } else if c == '\'' && is_char_literal(rest) {
            string_length(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[length..];
    }
    out
}

/// The number of `#` of a raw string that begins here.
fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    let body = rest.strip_prefix('r').filter(|_| !before.is_some_and(|c| c == '_' || (c.is_alphanumeric() && c != 'b')))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].starts_with('"').then_some(hashes)
}

fn is_char_literal(rest: &str) -> bool {
    let mut after = rest.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''), // else a lifetime
        None => false,
    }
}

/// Length of a literal that begins with `quote`, escapes respected.
fn string_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Drops every item behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[at + item_length(&rest[at..])..];
    }
    out + rest
}

/// Up to the `;` or the closing brace of the item.
fn item_length(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    item.len()
}

/// Every path of the code, `use` trees unfolded.
fn paths(code: &str) -> Vec<String> {
    let words = words(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        at = if is_name(words[at]) { unfold(&words, at, "", &mut found) } else { at + 1 };
    }
    found
}

/// Reads a path (or the tree that it opens) from `at`, adds what it finds below `prefix`, returns the place behind it.
fn unfold(words: &[&str], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    while words.get(at).is_some_and(|word| is_name(word)) {
        path = join(&path, words[at]);
        at += 1;
        if words.get(at) != Some(&"::") {
            found.push(path);
            return if words.get(at) == Some(&"as") { at + 2 } else { at };
        }
        at += 1;
    }
    if words.get(at) == Some(&"{") {
        at += 1;
        while at < words.len() && words[at] != "}" {
            at = if words[at] == "," { at + 1 } else { unfold(words, at, &path, found) };
        }
    } else {
        found.push(path); // `path::*`, `path::<Type>`
    }
    at + 1
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") }
}

/// Names, `::` and single signs.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let length = if c == '_' || c.is_alphanumeric() {
            rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c == '_' || c.is_alphabetic())
}

/// `super` and `self` written out as `crate::station::…`.
fn resolved(file: &str, path: &str) -> String {
    let mut module: Vec<&str> = file.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let mut parts: Vec<&str> = path.split("::").collect();
    if !["self", "super"].contains(&parts[0]) {
        return path.to_owned();
    }
    while let Some(first) = parts.first().copied().filter(|part| ["self", "super"].contains(part)) {
        parts.remove(0);
        if first == "super" {
            module.pop();
        }
    }
    std::iter::once("crate").chain(module).chain(parts).collect::<Vec<_>>().join("::")
}

fn starts_with(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether the segments of `name` stand in `path` in a row.
fn contains(path: &str, name: &str) -> bool {
    format!("::{path}::").contains(&format!("::{name}::"))
}

// ---- the checks hold what they promise

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(file: &str, text: &str) -> String {
        let found = breaches(file, text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn a_pure_file_that_touches_the_outside_is_found() {
        assert!(complaint("rtp/timeline.rs", "use std::{io, fs::File};").contains("`std::fs::File`: only driver.rs"));
        assert!(complaint("rtp/timeline.rs", "fn f() { std::thread::sleep(d) }").contains("std::thread::sleep"));
        assert!(complaint("rtp/mod.rs", "use std::net::{SocketAddr, UdpSocket};").contains("UdpSocket"));
        assert!(complaint("sip/dialog.rs", "let t = Instant::now();").contains("now is an argument"));
        assert!(complaint("sip/dialog.rs", "let t = crate::clock::Now::read();").contains("now is an argument"));
        assert!(complaint("finish/align.rs", "async fn f() { tokio::spawn(g()) }").contains("tokio"));
        assert!(complaint("spool/retention.rs", "use std::sync::{Arc, Mutex};").contains("one owner"));
        assert!(complaint("model/id.rs", "use std::fs;").contains("std::fs"));
    }

    #[test]
    fn a_driver_may_touch_the_outside_but_not_other_stations() {
        assert_eq!(breaches("rtp/driver.rs", "use std::thread; use tokio::sync::mpsc; use crate::clock::Now;"), [""; 0]);
        assert!(complaint("rtp/driver.rs", "use crate::spool::Spool;").contains("station rtp does not know spool"));
        assert!(complaint("rtp/driver.rs", "use super::super::forward::driver;").contains("does not know forward"));
        assert!(complaint("forward/driver.rs", "fn f(s: crate::sip::Uri) {}").contains("does not know sip"));
        assert!(complaint("recording/call.rs", "use crate::{model::LegNo, web::Page};").contains("does not know web"));
        assert!(complaint("model/id.rs", "use crate::sip::Uri;").contains("station model does not know sip"));
    }

    #[test]
    fn a_crate_with_one_place_is_found_elsewhere() {
        assert!(complaint("forward/driver.rs", "use sled::Db;").contains("sled is only for spool/driver.rs"));
        assert!(complaint("daemon/mod.rs", "let db = ::sled::open(path);").contains("sled is only for"));
        assert!(complaint("main.rs", "use alsa::PCM;").contains("alsa is only for bin/nearend-tone.rs"));
        assert_eq!(breaches("spool/ledger.rs", "use sled::Tree;"), [""; 0]);
    }

    #[test]
    fn what_is_allowed_stays_quiet() {
        let text = r##"//! Never uses tokio or std::fs.
            use std::net::{IpAddr, SocketAddr};
            use super::packet::Packet;
            /* std::thread */
            fn f<'a>(x: &'a str) -> char { g("sled::open", r#"tokio " x"#, b"std::fs", '"', '\''); '{' }
            #[cfg(test)]
            use std::fs;
            #[cfg(test)]
            mod tests { use std::thread; fn t() { if true { tokio::spawn(x) } } }
        "##;
        assert_eq!(breaches("rtp/timeline.rs", text), [""; 0]);
        assert_eq!(breaches("rtp/tests.rs", "use std::thread;"), [""; 0]);
        assert_eq!(breaches("daemon/mod.rs", "use crate::{sip, rtp}; use std::thread;"), [""; 0]);
        assert_eq!(breaches("recording/call.rs", "use crate::session::Session;"), [""; 0]);
        assert_eq!(breaches("files/system.rs", "use std::fs::File;"), [""; 0]);
    }

    #[test]
    fn code_behind_a_test_module_is_still_read() {
        let text = "#[cfg(test)]\nmod tests { fn f() { \"}\" } }\nuse std::fs;";
        assert!(complaint("rtp/timeline.rs", text).contains("std::fs"));
    }

    #[test]
    fn use_trees_are_unfolded() {
        assert_eq!(paths("use a::{b, c::{self, d as e}, f::*}; g"), ["use", "a::b", "a::c::self", "a::c::d", "a::f", "g"]);
        assert_eq!(paths("use {a, ::b as c}; x::<d::E>::f()"), ["use", "a", "b", "x", "d::E", "f"]);
    }

    #[test]
    fn long_files_and_files_without_purpose_are_found() {
        assert_eq!(bad_shape("a.rs", "//! Says it.\n"), [""; 0]);
        assert!(bad_shape("a.rs", "use x;\n")[0].contains("does not open with"));
        assert!(bad_shape("a.rs", &"//! x\n".repeat(601))[0].contains("601 lines"));
    }

    #[test]
    fn a_dependency_without_reason_is_found() {
        let cargo = "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
        assert_eq!(unexplained(cargo, "| `serde` | reads and writes descriptions |\n"), ["proptest"]);
        assert_eq!(unexplained(cargo, "| `serde` | |\n| `proptest` | finds what nobody thought of |\n"), ["serde"]);
    }
}
