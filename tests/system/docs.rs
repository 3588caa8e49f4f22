//! The commands that the documentation shows do what it shows: every `$ nearend …` line of a `console` block is run in docs/, and
//! what it prints is compared with what stands below it. `/mnt/dead-box` is a data directory without recordings.

use std::path::Path;
use std::process::Command;

use super::site::Site;

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Commands and what stands below them.
fn examples(page: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(docs().join(page)).unwrap();
    let mut found: Vec<(String, String)> = Vec::new();
    for block in text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for line in block.lines() {
            match line.strip_prefix("$ nearend ") {
                Some(command) => found.push((command.to_owned(), String::new())),
                None => *found.last_mut().map(|(_, output)| output).unwrap() += &format!("{line}\n"),
            }
        }
    }
    found
}

/// Runs every example of the page; gives how many there were.
fn run_all(page: &str, data_dir: &Path) -> usize {
    let examples = examples(page);
    let data_dir = data_dir.display().to_string();
    for (command, expected) in &examples {
        let run = Command::new(env!("CARGO_BIN_EXE_nearend"))
            .args(command.replace("/mnt/dead-box", &data_dir).split(' '))
            .current_dir(docs())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&run.stderr);
        assert_eq!(&String::from_utf8_lossy(&run.stdout), expected, "{page}: nearend {command}\n{errors}");
    }
    examples.len()
}

/// Runs what the page's `sh` blocks show, in one shell, against a box; gives how many requests there were.
fn run_shell(page: &str, site: &Site, token: &str) -> usize {
    let text = std::fs::read_to_string(docs().join(page)).unwrap();
    let script: String = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .args([
            "-euo",
            "pipefail",
            "-c",
            &format!("curl() {{ command curl --fail-with-body --silent --show-error \"$@\"; }}\n{script}"),
        ])
        .current_dir(folder.path())
        .envs([("BOX", format!("http://{}:8080", site.ip)), ("TOKEN", token.to_owned()), ("CODE", site.code())])
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{page}: {said}\n{errors}\n{script}");
    script.matches("curl ").count()
}

#[test]
fn the_requests_that_access_and_http_show_are_answered() {
    assert_eq!(run_shell("access.md", &Site::start(), ""), 7);
    let site = Site::start();
    assert_eq!(run_shell("http.md", &site, site.token()), 6);
}

#[test]
fn the_examples_of_rules_do_what_they_show() {
    assert_eq!(run_all("rules.md", Path::new("")), 4);
}

#[test]
fn the_examples_of_reconcile_do_what_they_show() {
    let mut site = Site::start();
    site.stop();
    assert_eq!(run_all("reconcile.md", &site.path("data")), 1);
}

#[test]
fn the_examples_of_geo_do_what_they_show() {
    assert_eq!(run_all("geo.md", Path::new("")), 9);
}
