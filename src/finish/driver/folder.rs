//! A finished or delivered folder, as it is found on a disk.

use std::io::{self, Read};
use std::path::Path;

use crate::files::{self, FileSystem, System};
use crate::finish::identity::{PublicKey, SignatureVerdict};
use crate::finish::seal::SUFFIX;
use crate::finish::verify::{Checked, Manifest, Verification, compare};
use crate::model::AudioFormat;

use super::{DETAILS, METADATA};

/// Ten thousand gaps make about 1 MB; a folder from elsewhere may hold anything.
const MAX_METADATA_BYTES: u64 = 64 * 1_024 * 1_024;

/// Checks a finished or delivered folder against its `recording.json`, and that against the key of the box it came from, if
/// that is known.
///
/// # Errors
/// A file cannot be read, or `recording.json` is none (`InvalidData`).
pub fn verify_folder(folder: &Path, key: Option<&PublicKey>) -> io::Result<Verification> {
    let fs = &System;
    let manifest = Manifest::read(&read_metadata(fs, folder)?)
        .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, format!("{METADATA}: {what}")))?;
    check(fs, folder, &manifest, key)
}

pub(super) fn check(
    fs: &dyn FileSystem,
    folder: &Path,
    manifest: &Manifest,
    key: Option<&PublicKey>,
) -> io::Result<Verification> {
    let mut files = Vec::new();
    for expected in &manifest.files {
        let found = match fs.open(&folder.join(&expected.name)) {
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
pub(super) fn read_metadata(fs: &dyn FileSystem, folder: &Path) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    fs.open(&folder.join(METADATA))?.take(MAX_METADATA_BYTES).read_to_end(&mut json)?;
    Ok(json)
}

/// Removes what an earlier try left behind: it may have been made in another format, or before it was to be sealed.
pub(super) fn remove_leftovers(fs: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    let contents = AudioFormat::ALL.map(AudioFormat::file_name).into_iter().chain([DETAILS]);
    let names = contents.flat_map(|content| [content.to_owned(), format!("{content}{SUFFIX}")]);
    for name in names.flat_map(|name| [files::temporary_name(&name), name]) {
        match fs.remove(&folder.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
