//! A finished or delivered folder, as it is found on a disk.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::files;
use crate::finish::identity::{PublicKey, SignatureVerdict};
use crate::finish::verify::{Checked, Manifest, Verification, compare};

use super::METADATA;

/// Ten thousand gaps make about 1 MB; a folder from elsewhere may hold anything.
const MAX_METADATA_BYTES: u64 = 64 * 1_024 * 1_024;

/// Names that the finisher gives begin with one of these; other files of the folder are not its own.
const OWN: [&str; 4] = ["audio.", ".audio.", "details.json", ".details.json"];

/// Checks a finished or delivered folder against its `recording.json`, and that against the key of the box it came from, if
/// that is known.
///
/// # Errors
/// A file cannot be read, or `recording.json` is none (`InvalidData`).
pub fn verify_folder(folder: &Path, key: Option<&PublicKey>) -> io::Result<Verification> {
    let manifest = Manifest::read(&read_metadata(folder)?)
        .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("{METADATA}: {what}")))?;
    check(folder, &manifest, key)
}

pub(super) fn check(folder: &Path, manifest: &Manifest, key: Option<&PublicKey>) -> io::Result<Verification> {
    let mut files = Vec::new();
    for expected in &manifest.files {
        let found = match File::open(folder.join(&expected.name)) {
            Ok(file) => Some(files::digest(file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        files.push(Checked { name: expected.name.clone(), verdict: compare(expected, found.as_ref()) });
    }
    let signature = key.map_or(SignatureVerdict::Unchecked, |key| key.check(&manifest.document));
    Ok(Verification { id: manifest.id.clone(), files, signature })
}

/// `recording.json`, as far as it can be one.
pub(super) fn read_metadata(folder: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    File::open(folder.join(METADATA))?.take(MAX_METADATA_BYTES).read_to_end(&mut json)?;
    Ok(json)
}

/// Removes what an earlier try left behind: it may have been made in another format, or before it was to be sealed.
pub(super) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| OWN.iter().any(|own| name.starts_with(own))) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
