//! Uploads that are under way, kept on the disk: after a restart they go on with the next part instead of from the beginning.
//! An edge: it writes files.
//!
//! One small JSON file for each, replaced atomically after every part. A lost one costs what was sent, never a recording.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::{FileSystem as _, System};
use crate::model::id::path_component;

/// An upload of one file in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Upload {
    /// Where it goes.
    pub(super) key: String,
    /// What it is.
    pub(super) sha256: String,
    /// How the server calls it.
    pub(super) id: String,
    /// Length of every part but the last.
    pub(super) part_bytes: u64,
    /// What the server called the parts that it has, in order.
    pub(super) parts: Vec<String>,
}

/// The folder of one target's uploads.
#[derive(Clone, Debug)]
pub(super) struct Uploads(PathBuf);

impl Uploads {
    pub(super) fn new(folder: PathBuf) -> Uploads {
        Uploads(folder)
    }

    /// The upload to `key` of the content `sha256`, if it was begun in such parts.
    pub(super) fn find(&self, key: &str, sha256: &str, part_bytes: u64) -> Option<Upload> {
        let upload: Upload = serde_json::from_slice(&fs::read(self.path(key)).ok()?).ok()?;
        (upload.key == key && upload.sha256 == sha256 && upload.part_bytes == part_bytes).then_some(upload)
    }

    /// Keeps what is known now, durably.
    pub(super) fn keep(&self, upload: &Upload) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.path(&upload.key);
        let temporary = path.with_extension("part");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(upload)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        System.sync_folder(&self.0)
    }

    /// It is done, or begins anew.
    pub(super) fn forget(&self, key: &str) {
        let _ = fs::remove_file(self.path(key)); // as a rule there is none; one that stays is replaced, or not looked at again
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(format!("{}.json", path_component(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_upload_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(dir.path().join("dc"));
        let upload = Upload { key: "a/b".into(), sha256: "s".into(), id: "u".into(), part_bytes: 5, parts: vec!["e".into()] };
        assert_eq!(uploads.find("a/b", "s", 5), None);
        uploads.keep(&upload).unwrap();
        assert_eq!(uploads.find("a/b", "s", 5), Some(upload));
        assert_eq!(uploads.find("a/b", "other", 5), None);
        assert_eq!(uploads.find("a/b", "s", 6), None);
        fs::write(dir.path().join("dc/a%2Fb.json"), "{").unwrap();
        assert_eq!(uploads.find("a/b", "s", 5), None, "a broken one is none");
        uploads.forget("a/b");
        uploads.forget("a/b");
    }
}
