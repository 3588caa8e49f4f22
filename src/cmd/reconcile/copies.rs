//! Copies of the same recording in the data centre: the folder `{id}` and beside it `{id}~{box}`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nearend::assurance::copies::{Copied, better};
use nearend::finish::verify_folder;
use serde_json::{Value, json};

const COMPLETE: &str = "recording.json";

/// Says of every recording with copies below `root` which is the better one.
pub(super) fn run(root: &Path, as_json: bool) -> ExitCode {
    let pairs = match pairs(root) {
        Ok(pairs) => pairs,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut told = Vec::new();
    for pair in &pairs {
        let (good, why) = better(&pair[0], &pair[1]);
        told.push(json!({ "better": good.folder, "box": good.box_name, "why": why, "copies": pair }));
        if !as_json {
            println!("{} of {}: {why}", good.folder, good.box_name);
        }
    }
    match as_json {
        true => println!("{:#}", Value::from(told)),
        false => println!("{} recordings of which there are two copies", pairs.len()),
    }
    ExitCode::SUCCESS
}

/// Every folder that stands beside another of its name, in order; a third copy is compared with the first as well.
fn pairs(root: &Path) -> Result<Vec<[Copied; 2]>, String> {
    let mut pairs = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let fault = |error: std::io::Error| format!("{}: {error}", folder.display());
        let entries = fs::read_dir(&folder).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
        let mut below: Vec<PathBuf> = entries.iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        below.sort();
        for path in &below {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let first = name.split_once('~').map(|(id, _)| folder.join(id));
            if let Some(first) = first.filter(|first| first.join(COMPLETE).exists() && path.join(COMPLETE).exists()) {
                pairs.push([read(&first)?, read(path)?]);
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(pairs)
}

fn read(folder: &Path) -> Result<Copied, String> {
    let shown = folder.display().to_string();
    let text = fs::read(folder.join(COMPLETE)).map_err(|error| format!("{shown}: {error}"))?;
    let document: Value = serde_json::from_slice(&text).map_err(|error| format!("{shown}: {COMPLETE}: {error}"))?;
    let is_intact = verify_folder(folder, None).is_ok_and(|verification| verification.is_intact());
    Ok(Copied::read(shown, &document, is_intact))
}
