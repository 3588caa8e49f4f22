//! Finished files on the box's disk: what is sent must be what was finished, so each is checked before it goes. An edge: it
//! reads files.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::DeliveryError;
use crate::files::hex;
use crate::model::recording::FileFact;

/// An opened finished file whose content is the one that the ledger knows.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    pub(super) bytes: u64,
    /// MD5 of the whole, and of each part: what S3 calls its ETag.
    pub(super) md5: Md5Sums,
}

/// MD5 sums, in hex: RFC 1321.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Md5Sums {
    pub(super) whole: String,
    /// The MD5 of the parts' MD5s, behind it a dash and how many they are.
    pub(super) of_parts: String,
}

impl Source {
    /// Opens `file` of the folder `finished` and compares it with what is known of it.
    pub(super) fn open(finished: &Path, fact: &FileFact, part_bytes: u64) -> Result<Source, DeliveryError> {
        let path = finished.join(&fact.name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(DeliveryError::Changed { path, what: "missing" }),
            Err(error) => return Err(DeliveryError::Read { path, error }),
        };
        let (sha256, md5) = match sums(&mut file, part_bytes) {
            Ok(sums) => sums,
            Err(error) => return Err(DeliveryError::Read { path, error }),
        };
        if sha256 != fact.sha256 {
            return Err(DeliveryError::Changed { path, what: "its checksum differs" });
        }
        Ok(Source { path, file, bytes: fact.bytes, md5 })
    }

    /// So many bytes from `offset`, or what is left of them.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Bytes, DeliveryError> {
        let length = length.min(self.bytes.saturating_sub(offset));
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        match self.file.read_exact_at(&mut buffer, offset) {
            Ok(()) => Ok(buffer.into()),
            Err(error) => Err(DeliveryError::Read { path: self.path.clone(), error }),
        }
    }
}

fn sums(file: &mut File, part_bytes: u64) -> io::Result<(String, Md5Sums)> {
    let (mut sha256, mut whole, mut parts) = (Sha256::new(), Md5::new(), Md5::new());
    let mut count = 0_u64;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut part = Md5::new();
        let mut left = part_bytes;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let length = file.read(&mut buffer[..most])?;
            if length == 0 {
                break;
            }
            sha256.update(&buffer[..length]);
            whole.update(&buffer[..length]);
            part.update(&buffer[..length]);
            left -= length as u64;
        }
        if left < part_bytes {
            parts.update(part.finalize());
            count += 1;
        }
        if left > 0 {
            let of_parts = format!("{}-{count}", hex(&parts.finalize()));
            return Ok((hex(&sha256.finalize()), Md5Sums { whole: hex(&whole.finalize()), of_parts }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_whole_and_parts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "abcdefg").unwrap();
        let sha256 = crate::files::digest(b"abcdefg".as_slice()).unwrap().sha256;
        let fact = FileFact { name: "a".into(), bytes: 7, sha256 };
        let source = Source::open(dir.path(), &fact, 3).unwrap();
        assert_eq!(source.md5.whole, "7ac66c0f148de9519b8bd264312c4d64");
        let parts = [&b"abc"[..], b"def", b"g"].map(Md5::digest).concat();
        assert_eq!(source.md5.of_parts, format!("{}-3", hex(&Md5::digest(parts))));
        assert_eq!(source.read(3, 3).unwrap(), "def");
        assert_eq!(source.read(6, 3).unwrap(), "g");
        let other = FileFact { sha256: "0".repeat(64), ..fact };
        assert!(matches!(Source::open(dir.path(), &other, 3), Err(DeliveryError::Changed { .. })));
    }
}
