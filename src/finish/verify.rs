//! A recording's folder against its own `recording.json`: is every file there, whole and unchanged? Pure; the files are
//! measured by [`driver`](super::driver).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::SignatureVerdict;
use crate::files::Digest;
use crate::model::ToneFindings;
use crate::model::recording::FileFact;

/// What `recording.json` says of its folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The recording's id.
    pub id: String,
    /// When the call began, as written there.
    pub start_time: String,
    /// The box's number of the recording.
    pub recording_no: u64,
    /// Every other file of the folder.
    pub files: Vec<FileFact>,
    /// What was found of the recording tone.
    pub tones: Option<ToneFindings>,
    /// All of it, for the signature.
    pub document: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    id: String,
    start_time: String,
    nearend: Nearend,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nearend {
    recording_no: u64,
    files: Vec<FileFact>,
    #[serde(default)]
    tones: Option<ToneFindings>,
}

impl Manifest {
    /// Reads `recording.json`.
    ///
    /// # Errors
    /// What is wrong with it, in words: not JSON, a field missing, or a file name that would leave the folder.
    pub fn read(json: &[u8]) -> Result<Manifest, String> {
        let document: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let Document { id, start_time, nearend: Nearend { recording_no, files, tones } } =
            Document::deserialize(&document).map_err(|e| e.to_string())?;
        let leaves_folder = |name: &str| name.is_empty() || name.starts_with('.') || name.contains('/');
        match files.iter().find(|file| leaves_folder(&file.name)) {
            Some(file) => Err(format!("{:?} is no plain file name", file.name)),
            None => Ok(Manifest { id, start_time, recording_no, files, tones, document }),
        }
    }
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Length and checksum are right.
    Intact,
    /// It is not there.
    Missing,
    /// It has another length.
    WrongLength {
        /// The length by `recording.json`.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// It has the right length, but another content.
    WrongChecksum {
        /// The SHA-256 by `recording.json`.
        expected: String,
        /// Its SHA-256.
        found: String,
    },
}

/// One file and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name in the folder.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// All files of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The recording's id.
    pub id: String,
    /// Each file that `recording.json` names.
    pub files: Vec<Checked>,
    /// Whether the box signed `recording.json`.
    pub signature: SignatureVerdict,
}

impl Verification {
    /// Whether every file is as it was made, and nothing speaks against the signature.
    pub fn is_intact(&self) -> bool {
        matches!(self.signature, SignatureVerdict::Right | SignatureVerdict::Unchecked) && self.files_are_intact()
    }

    /// Whether every file is what `recording.json` says.
    pub fn files_are_intact(&self) -> bool {
        self.files.iter().all(|file| file.verdict == Verdict::Intact)
    }
}

/// Compares a file with what it should be; `found` is none when there is no such file.
pub fn compare(expected: &FileFact, found: Option<&Digest>) -> Verdict {
    match found {
        None => Verdict::Missing,
        Some(found) if found.bytes != expected.bytes => Verdict::WrongLength { expected: expected.bytes, found: found.bytes },
        Some(found) if found.sha256 != expected.sha256 => {
            Verdict::WrongChecksum { expected: expected.sha256.clone(), found: found.sha256.clone() }
        }
        Some(_) => Verdict::Intact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> Result<Manifest, String> {
        let json = format!(
            r#"{{"id": "a", "startTime": "t", "nearend": {{"recordingNo": 3, "more": [], "files":
                [{{"name": {name:?}, "bytes": 3, "sha256": "00"}}]}}}}"#
        );
        Manifest::read(json.as_bytes())
    }

    #[test]
    fn file_names_cannot_lead_out_of_the_folder() {
        assert_eq!(manifest("audio.wav").unwrap().files[0].bytes, 3);
        for name in ["../audio.wav", "/etc/shadow", "..", "", ".hidden", "a/b"] {
            assert!(manifest(name).unwrap_err().contains("no plain file name"), "{name}");
        }
        assert!(Manifest::read(b"{}").unwrap_err().contains("missing field `id`"));
        assert!(Manifest::read(b"\xff\x00").is_err());
    }

    #[test]
    fn length_is_told_before_checksum() {
        let expected = FileFact { name: "audio.wav".into(), bytes: 3, sha256: "aa".into() };
        let digest = |bytes, sha256: &str| Digest { bytes, sha256: sha256.into() };
        assert_eq!(compare(&expected, Some(&digest(3, "aa"))), Verdict::Intact);
        assert_eq!(compare(&expected, None), Verdict::Missing);
        assert_eq!(compare(&expected, Some(&digest(2, "bb"))), Verdict::WrongLength { expected: 3, found: 2 });
        let wrong = Verdict::WrongChecksum { expected: "aa".into(), found: "bb".into() };
        assert_eq!(compare(&expected, Some(&digest(3, "bb"))), wrong);
        let checked = Checked { name: "audio.wav".into(), verdict: wrong };
        assert_eq!(
            serde_json::to_string(&checked).unwrap(),
            r#"{"name":"audio.wav","verdict":"wrong-checksum","expected":"aa","found":"bb"}"#
        );
    }
}
