//! Durable files, for every station that leaves some behind: folders, temporary files and checksums done the way that
//! survives a power cut (data, then name, each with its fsync).
//!
//! What these stations ask of a file system is the trait [`FileSystem`]. [`System`] is the machine's own; the simulation
//! (`tests/simulation/`) has one that forgets what was not synced.

mod system;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use self::system::{System, replace};

/// What is asked of a file system. Nothing of it is durable before it is synced: a file's content by [`NewFile::sync`], its
/// name (a new, another or a removed one) by [`FileSystem::sync_folder`] on the folder it is in.
pub trait FileSystem: Send + Sync {
    /// Opens a file for reading, from its beginning.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; or it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>>;

    /// Makes a file that does not exist; a link is never followed.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; or it cannot be made.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// Whether there is a folder of that name, or one that a link there leads to.
    ///
    /// # Errors
    /// `NotFound` when nothing has the name; or it cannot be looked at.
    fn is_folder(&self, path: &Path) -> io::Result<bool>;

    /// Makes one folder in a folder that exists.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; or it cannot be made.
    fn create_one_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, which it takes from whatever has it.
    ///
    /// # Errors
    /// The file keeps its name then.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name that nothing has.
    ///
    /// # Errors
    /// `AlreadyExists` when something has it.
    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; or it cannot be removed.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with all that is in it.
    ///
    /// # Errors
    /// `NotFound` when there is none of that name; or part of it cannot be removed.
    fn remove_with_content(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// It cannot be opened or synced.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written, from its beginning.
pub trait NewFile: Write {
    /// Makes what was written durable.
    ///
    /// # Errors
    /// It may or may not be on the disk then.
    fn sync(&self) -> io::Result<()>;

    /// Asks that who reads it back gets it from the disk and not from memory. Only advice.
    fn forget_cached(&self);
}

/// Length and SHA-256 of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Length.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

/// Hashes everything that is written through it.
pub struct Hashing<W> {
    inner: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Hashing<W> {
        Hashing { inner, sha256: Sha256::new(), bytes: 0 }
    }

    /// The writer back, and what went through.
    pub fn finish(self) -> (W, Digest) {
        (self.inner, Digest { bytes: self.bytes, sha256: hex(&self.sha256.finalize()) })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buf)?;
        self.sha256.update(&buf[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Length and SHA-256 of all that `from` still holds.
///
/// # Errors
/// Reading failed.
pub fn digest(mut from: impl Read) -> io::Result<Digest> {
    let mut hashing = Hashing::new(io::sink());
    io::copy(&mut from, &mut hashing)?;
    Ok(hashing.finish().1)
}

/// Makes the folder `relative` under `root`, one component after the other, each durable before the next; also one that is
/// there already, because whoever made it may have been cut off before. `root` itself must be there: when it is a mount point that is not mounted, nothing is made in its place.
///
/// # Errors
/// A component cannot be made, or is something else than a folder.
pub fn create_folder(fs: &dyn FileSystem, root: &Path, relative: &str) -> io::Result<PathBuf> {
    let mut folder = root.to_path_buf();
    for component in relative.split('/') {
        let parent = folder.clone();
        folder.push(component);
        match fs.create_one_folder(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !fs.is_folder(&folder)? => return Err(e),
            _ => fs.sync_folder(&parent)?,
        }
    }
    Ok(folder)
}

/// Removes a folder with all that is in it, durably; one that is gone already is no error.
///
/// # Errors
/// Part of it cannot be removed, or it may come back after a power cut.
pub fn remove_folder(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    match fs.remove_with_content(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => match path.parent().map(|parent| fs.sync_folder(parent)) {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()), // or the parent is gone as well
        },
    }
}

/// The name under which a file is written before it gets its own.
pub fn temporary_name(name: &str) -> String {
    format!(".{name}.part")
}

/// Opens the temporary file `path` for writing. What an earlier try left there is replaced; a link is never followed.
///
/// # Errors
/// It cannot be made.
pub fn create_temporary(fs: &dyn FileSystem, path: &Path) -> io::Result<Box<dyn NewFile>> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => fs.create(path),
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}"); // writing to a String cannot fail
        out
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn digest_of_the_standards_own_example() {
        // FIPS 180-2, appendix B.1
        let abc = digest(b"abc".as_slice()).unwrap();
        assert_eq!(abc.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(abc.bytes, 3);
        let mut through = Hashing::new(Vec::new());
        through.write_all(b"a").unwrap();
        through.write_all(b"bc").unwrap();
        assert_eq!(through.finish(), (b"abc".to_vec(), abc));
    }

    #[test]
    fn folders_grow_only_under_an_existing_root() {
        let root = tempfile::tempdir().unwrap();
        let made = create_folder(&System, root.path(), "a/b/c").unwrap();
        assert!(made.is_dir());
        assert_eq!(create_folder(&System, root.path(), "a/b/c").unwrap(), made);
        assert!(create_folder(&System, &root.path().join("unmounted"), "a").is_err());
        fs::write(root.path().join("file"), "").unwrap();
        assert!(create_folder(&System, root.path(), "file/a").is_err());
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it_and_again() {
        let root = tempfile::tempdir().unwrap();
        let made = create_folder(&System, root.path(), "a/b").unwrap();
        fs::write(made.join("file"), "").unwrap();
        for _ in 0..2 {
            remove_folder(&System, &made).unwrap();
            assert!(!made.exists() && root.path().join("a").exists());
        }
        fs::remove_dir(root.path().join("a")).unwrap();
        remove_folder(&System, &made).unwrap();
    }

    #[test]
    fn a_temporary_file_replaces_what_was_left_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "kept").unwrap();
        let temporary = dir.path().join(temporary_name("audio.wav"));
        std::os::unix::fs::symlink(&precious, &temporary).unwrap();
        create_temporary(&System, &temporary).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        assert_eq!(fs::read_to_string(&temporary).unwrap(), "new");
    }
}
