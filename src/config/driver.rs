//! The configuration's edge to the disk: reads the file, and looks at the directories that it names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Uid, User, faccessat};

use super::diagnostic::{Diagnostic, Findings, Severity};
use super::resolve::{Directory, conclude, resolve};
use super::typed::Loaded;

/// Longer than any configuration, and short enough to be read whole.
const MOST_BYTES: u64 = 1 << 20;

/// Reads and checks a configuration file and the directories that it names.
///
/// # Errors
/// Everything that is wrong with it: that it cannot be read, the text, missing or read-only directories.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|message| {
        vec![Diagnostic { severity: Severity::Error, file: name.clone(), line: 0, column: 0, key: String::new(), message }]
    })?;
    let mut findings = Findings::new(&name, &text);
    let (config, directories) = resolve(&text, &mut findings);
    for directory in &directories {
        if directory.span.is_none() && findings.has_errors() {
            continue; // a default is not to blame while the file may have meant another directory
        }
        if let Err(message) = check_directory(directory) {
            findings.error(directory.span.clone().unwrap_or_default(), directory.key, message);
        }
    }
    conclude(config, findings)
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "is not there; an empty file is a valid one, all defaults: create it".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read by this user; make it readable for the user of the daemon".to_owned(),
        _ => format!("cannot be read: {error}; expected a TOML file"),
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err("is larger than 1 MiB; expected a TOML file written by hand".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("is not UTF-8 in line {line}; save it as UTF-8")
    })
}

/// What the file names must be there, since a missing one is most often a file system that is not mounted. A default may
/// be missing as long as the daemon can make it.
fn check_directory(directory: &Directory) -> Result<(), String> {
    let path = &directory.path;
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Err(format!("{shown} is not a directory; expected one: name another path")),
        Ok(_) if writable(path) => Ok(()),
        Ok(_) => Err(not_writable(path)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(not_writable(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().find(|above| above.exists());
            let can_be_made = directory.span.is_none() && above.is_some_and(writable);
            if can_be_made { Ok(()) } else { Err(missing(path)) }
        }
        Err(error) => Err(format!("{shown} cannot be looked at: {error}; expected a directory")),
    }
}

fn missing(path: &Path) -> String {
    let shown = path.display();
    let then_own = owner().map(|user| format!(" && chown {user} {shown}")).unwrap_or_default();
    format!("{shown} is not there; expected a directory: mount its file system, or mkdir -p {shown}{then_own}")
}

fn not_writable(path: &Path) -> String {
    let shown = path.display();
    match owner() {
        Some(user) => format!("{shown} is not writable for {user}; expected a directory of its own: chown {user} {shown}"),
        None => format!("{shown} is not writable, not even for root; expected a file system that is mounted read-write"),
    }
}

/// The user who looks, which is to be the daemon's; none for root.
fn owner() -> Option<String> {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    (!uid.is_root()).then_some(name)
}

fn writable(path: &Path) -> bool {
    faccessat(AT_FDCWD, path, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}
