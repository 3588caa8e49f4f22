//! `nearend recordings verify`, for both ends: what is on the box, or a folder that arrived in the data centre.

use std::path::{Path, PathBuf};

use clap::Args;
use nearend::finish::{self, PublicKey, SignatureVerdict, Verification, verify_folder};

use super::recordings::print_json;

/// Folders below a given one: tenant, day, recording, and one to spare.
const MAX_DEPTH: usize = 4;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this recording
    pub(crate) id: Option<String>,
    /// A folder that arrived in the data centre, or one with such folders below it, instead of the box's own; may be repeated
    #[arg(long = "folder", value_name = "DIR", conflicts_with = "id")]
    pub(crate) folders: Vec<PathBuf>,
    /// The box's public key (its identity.pub); on the box it is found without
    #[arg(long, value_name = "FILE")]
    box_key: Option<PathBuf>,
}

impl Arguments {
    /// Checks the folders that were named.
    pub(crate) fn folders(&self, json: bool) -> Result<(), String> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let before = found.len();
            find(folder, MAX_DEPTH, &mut found)?;
            if found.len() == before {
                return Err(format!("{}: no recording.json is in it or below it", folder.display()));
            }
        }
        found.sort();
        all(found.into_iter(), self.key(None)?.as_ref(), json)
    }

    /// The key that was named, else that of the box whose spool this is, if it has one.
    pub(crate) fn key(&self, spool: Option<&Path>) -> Result<Option<PublicKey>, String> {
        let own = || spool.map(|spool| spool.join(finish::PUBLIC)).filter(|path| path.exists());
        let path = self.box_key.clone().or_else(own);
        path.map(|path| finish::read_public_key(&path).map_err(|e| format!("--box-key {}: {e}", path.display()))).transpose()
    }
}

/// The folders with a `recording.json`.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        if entry.file_name() == "recording.json" {
            found.push(folder.to_path_buf());
        } else if depth > 0 && entry.file_type().map_err(fault)?.is_dir() {
            find(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// Checks all of these and says what became of them.
pub(crate) fn all(folders: impl Iterator<Item = PathBuf>, key: Option<&PublicKey>, json: bool) -> Result<(), String> {
    let verify = |folder: PathBuf| verify_folder(&folder, key).map_err(|e| format!("{}: {e}", folder.display()));
    let checked: Vec<Verification> = folders.map(verify).collect::<Result<_, _>>()?;
    if json {
        print_json(&checked)?;
    } else {
        checked.iter().for_each(|verification| println!("{}  {}", verdict(verification), verification.id));
    }
    intact(&checked)
}

fn verdict(verification: &Verification) -> &'static str {
    match verification.signature {
        _ if !verification.files_are_intact() => "DAMAGED",
        SignatureVerdict::Right => "intact",
        SignatureVerdict::Unchecked => "intact (signature not checked: name the box's identity.pub with --box-key)",
        SignatureVerdict::Wrong => "FORGED (recording.json is not what the box signed)",
        SignatureVerdict::OtherBox => "FOREIGN (signed by another box than --box-key is of)",
        SignatureVerdict::Unsigned => "UNSIGNED",
    }
}

/// An error that names those that are not.
pub(crate) fn intact(checked: &[Verification]) -> Result<(), String> {
    let wrong: Vec<&str> = checked.iter().filter(|v| !v.is_intact()).map(|v| v.id.as_str()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("not as the box made it: {}", wrong.join(", "))) }
}
