//! A directory as target, on a local disk or mounted from the network. Which file system that is, is an argument.
//!
//! Each file goes to a temporary name in its folder, is made durable, read back and compared, and then gets its name without
//! replacing anything that has it.

use std::io::{self, Write};
use std::path::Path;

use super::{Delivery, DeliveryError};
use crate::files::{self, Digest, FileSystem, Hashing};
use crate::model::recording::FileFact;

/// Delivers all files below `root`.
///
/// # Errors
/// See [`DeliveryError`]; a missing `root` is [`DeliveryError::Unreachable`] and is never made.
pub fn deliver(fs: &dyn FileSystem, root: &Path, finished_dir: &Path, delivery: &Delivery) -> Result<(), DeliveryError> {
    let there = fs.is_folder(root).and_then(|is| if is { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
    there.map_err(|error| DeliveryError::Unreachable { path: root.to_path_buf(), error })?;

    let source = finished_dir.join(&delivery.path);
    let folder = files::create_folder(fs, root, &delivery.to).map_err(write_error(&root.join(&delivery.to)))?;
    for file in &delivery.files {
        put(fs, &source, &folder, file)?;
        // Also for a file that was there: the try that put it there may have been cut off before this.
        fs.sync_folder(&folder).map_err(write_error(&folder))?;
    }
    Ok(())
}

/// Puts one file into `folder`, or sees that it is there.
fn put(fs: &dyn FileSystem, source: &Path, folder: &Path, file: &FileFact) -> Result<(), DeliveryError> {
    let path = folder.join(&file.name);
    let temporary = folder.join(files::temporary_name(&file.name));
    if let Some(present) = digest_of(fs, &path).map_err(write_error(&path))? {
        return check_present(fs, &path, &temporary, file, &present);
    }
    copy(fs, &source.join(&file.name), &temporary, file)?;
    match digest_of(fs, &temporary).map_err(write_error(&temporary))? {
        Some(written) if is_same(file, &written) => {}
        _ => return Err(DeliveryError::ReadBack { path: temporary }),
    }
    match fs.rename_to_new(&temporary, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match digest_of(fs, &path).map_err(write_error(&path))? {
            Some(present) => check_present(fs, &path, &temporary, file, &present),
            None => Err(write_error(&path)(error)),
        },
        named => named.map_err(write_error(&path)),
    }
}

/// The name is taken: by an earlier try, or by something else.
fn check_present(
    fs: &dyn FileSystem,
    path: &Path,
    temporary: &Path,
    file: &FileFact,
    present: &Digest,
) -> Result<(), DeliveryError> {
    if !is_same(file, present) {
        return Err(DeliveryError::Conflict { path: path.to_path_buf() });
    }
    match fs.remove(temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(write_error(temporary)(e)),
        _ => Ok(()),
    }
}

/// Copies the finished file to `temporary`, durably. What is not the file that was finished is not delivered.
fn copy(fs: &dyn FileSystem, source: &Path, temporary: &Path, file: &FileFact) -> Result<(), DeliveryError> {
    let changed = |what| DeliveryError::Changed { path: source.to_path_buf(), what };
    let mut from = match fs.open(source) {
        Ok(from) => from,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(changed("missing")),
        Err(error) => return Err(DeliveryError::Read { path: source.to_path_buf(), error }),
    };
    let to = files::create_temporary(fs, temporary).map_err(write_error(temporary))?;
    let mut to = Hashing::new(to);
    copy_all(&mut from, &mut to, source, temporary)?;
    let (to, digest) = to.finish();
    if !is_same(file, &digest) {
        return Err(changed("its checksum differs"));
    }
    to.sync().map_err(write_error(temporary))?;
    to.forget_cached(); // so that reading back asks the disk, not memory
    Ok(())
}

/// `io::copy` that tells which side failed.
fn copy_all(from: &mut impl io::Read, to: &mut impl Write, source: &Path, temporary: &Path) -> Result<(), DeliveryError> {
    let mut buffer = vec![0; 64 * 1_024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length]).map_err(write_error(temporary))?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DeliveryError::Read { path: source.to_path_buf(), error }),
        }
    }
}

fn digest_of(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Digest>> {
    match fs.open(path) {
        Ok(file) => files::digest(file).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_same(expected: &FileFact, found: &Digest) -> bool {
    expected.bytes == found.bytes && expected.sha256 == found.sha256
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> DeliveryError {
    move |error| DeliveryError::Write { path: path.to_path_buf(), error }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::super::Verdict;
    use super::*;
    use crate::files::System;
    use crate::model::{RecordingId, RecordingNo};

    /// A box with one finished recording, and an empty target.
    struct World {
        _dir: TempDir,
        finished: PathBuf,
        target: PathBuf,
        delivery: Delivery,
    }

    const FILES: [(&str, &str); 2] = [("audio.wav", "RIFF and so on"), ("recording.json", "{}")];

    fn world() -> World {
        let dir = tempfile::tempdir().unwrap();
        let (finished, target) = (dir.path().join("finished"), dir.path().join("dc"));
        let path = "101/2026-03-02/a";
        fs::create_dir_all(finished.join(path)).unwrap();
        fs::create_dir(&target).unwrap();
        let files = FILES.map(|(name, text)| {
            fs::write(finished.join(path).join(name), text).unwrap();
            let Digest { bytes, sha256 } = files::digest(text.as_bytes()).unwrap();
            FileFact { name: name.into(), bytes, sha256 }
        });
        let delivery = Delivery {
            no: RecordingNo(1),
            id: RecordingId("a".into()),
            path: path.into(),
            to: path.into(),
            files: files.to_vec(),
        };
        World { _dir: dir, finished, target, delivery }
    }

    impl World {
        fn deliver(&self) -> Result<(), DeliveryError> {
            deliver(&System, &self.target, &self.finished, &self.delivery)
        }

        /// The delivered folder.
        fn arrived(&self) -> PathBuf {
            self.target.join(&self.delivery.path)
        }

        fn assert_arrived(&self) {
            let mut names: Vec<_> = fs::read_dir(self.arrived()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, FILES.map(|(name, _)| name), "these and no temporary ones");
            for (name, text) in FILES {
                assert_eq!(fs::read_to_string(self.arrived().join(name)).unwrap(), text);
            }
        }
    }

    #[test]
    fn all_files_arrive_and_again_is_harmless() {
        let world = world();
        world.deliver().unwrap();
        world.assert_arrived();
        world.deliver().unwrap();
        world.assert_arrived();
    }

    #[test]
    fn goes_on_where_a_crash_left_off() {
        let world = world();
        fs::create_dir_all(world.arrived()).unwrap();
        fs::write(world.arrived().join("audio.wav"), FILES[0].1).unwrap();
        fs::write(world.arrived().join(".audio.wav.part"), "linked, not yet unlinked").unwrap();
        fs::write(world.arrived().join(".recording.json.part"), "half").unwrap();
        world.deliver().unwrap();
        world.assert_arrived();
    }

    #[test]
    fn another_content_is_never_overwritten() {
        let world = world();
        fs::create_dir_all(world.arrived()).unwrap();
        fs::write(world.arrived().join("audio.wav"), "someone else's").unwrap();
        let error = world.deliver().unwrap_err();
        assert!(matches!(&error, DeliveryError::Conflict { path } if path.ends_with("a/audio.wav")));
        assert!(error.verdict() == Verdict::Never);
        assert_eq!(fs::read_to_string(world.arrived().join("audio.wav")).unwrap(), "someone else's");
        assert!(!world.arrived().join("recording.json").exists(), "nothing says that the folder is complete");
    }

    #[test]
    fn a_target_that_is_not_there_is_waited_for_never_made() {
        let world = world();
        fs::remove_dir(&world.target).unwrap();
        let error = world.deliver().unwrap_err();
        assert!(matches!(error, DeliveryError::Unreachable { .. }) && error.verdict() != Verdict::Never);
        assert!(error.to_string().ends_with("is it mounted?"), "{error}");
        assert!(!world.target.exists());
        fs::write(&world.target, "a file").unwrap();
        assert!(matches!(world.deliver(), Err(DeliveryError::Unreachable { .. })));
        fs::remove_file(&world.target).unwrap();
        fs::create_dir(&world.target).unwrap();
        world.deliver().unwrap();
        world.assert_arrived();
    }

    #[test]
    fn a_target_that_cannot_be_written_is_tried_again() {
        let world = world();
        // sysfs lets nobody make a folder, not even root.
        let error = deliver(&System, Path::new("/sys/kernel"), &world.finished, &world.delivery).unwrap_err();
        assert!(matches!(&error, DeliveryError::Write { path, .. } if path.starts_with("/sys/kernel/101")), "{error}");
        assert!(error.verdict() != Verdict::Never);
        fs::write(world.target.join("101"), "in the way").unwrap();
        assert!(matches!(world.deliver(), Err(DeliveryError::Write { .. })));
    }

    #[test]
    fn what_changed_on_the_box_is_not_delivered() {
        let world = world();
        let audio = world.finished.join(&world.delivery.path).join("audio.wav");
        fs::write(&audio, "riff and so on").unwrap();
        let error = world.deliver().unwrap_err();
        assert!(
            matches!(error, DeliveryError::Changed { what: "its checksum differs", .. }) && error.verdict() == Verdict::Never
        );
        fs::remove_file(&audio).unwrap();
        assert!(matches!(world.deliver(), Err(DeliveryError::Changed { what: "missing", .. })));
        assert!(!world.arrived().join("audio.wav").exists());
    }
}
