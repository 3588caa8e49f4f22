//! The file system that finisher and forwarder see: the box's medium, and the targets as if they were mounted: those fail,
//! are away, lose what they confirmed to have taken, or do what they were asked and say they did not.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use fastrand::Rng;
use nearend::files::{FileSystem, NewFile};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::medium::{Medium, Node, Step};

/// Where finished recordings stand on the box.
pub(crate) const FINISHED: &str = "/box/finished";

/// How a target behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Not mounted.
    Away,
    /// A third of all calls fail.
    Fails,
    /// A third of all calls are done and then said to have failed: a time-out.
    TimesOut,
    /// A third of all files it takes are cut short, and it says nothing.
    Truncates,
    /// Only to show that the judge notices: it changes a file after it was read back.
    Forges,
}

/// One target.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) root: &'static str,
    pub(crate) medium: Medium,
    state: Arc<Mutex<(Mood, Rng, u64)>>,
}

impl Target {
    pub(crate) fn new(root: &'static str, mut rng: Rng) -> Target {
        let medium = Medium::new(rng.fork(), u64::MAX, &[root]);
        Target { root, medium, state: Arc::new(Mutex::new((Mood::Well, rng, 0))) }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.state().0 = mood;
    }

    /// How often it misbehaved.
    pub(crate) fn misdeeds(&self) -> u64 {
        self.state().2
    }

    fn state(&self) -> MutexGuard<'_, (Mood, Rng, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it misbehaves now in this way.
    fn does(&self, mood: Mood) -> bool {
        let (present, rng, count) = &mut *self.state();
        let does = *present == mood && (mood == Mood::Away || rng.u32(..3) == 0);
        *count += u64::from(does);
        does
    }

    fn call<T>(&self, work: impl FnOnce(&Medium) -> io::Result<T>) -> io::Result<T> {
        if self.does(Mood::Away) {
            return Err(ErrorKind::NotFound.into());
        }
        if self.does(Mood::Fails) {
            return Err(io::Error::other("simulated: the target fails"));
        }
        let done = work(&self.medium)?;
        if self.does(Mood::TimesOut) {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(done)
    }
}

/// All that is mounted on the box.
#[derive(Clone)]
pub(crate) struct Mounted {
    pub(crate) medium: Medium,
    pub(crate) targets: Vec<Target>,
}

impl Mounted {
    fn at<T>(&self, path: &Path, work: impl FnOnce(&Medium) -> io::Result<T>) -> io::Result<T> {
        match self.targets.iter().find(|target| path.starts_with(target.root)) {
            Some(target) => {
                self.medium.step(Step::Read)?; // nothing is done any more by a box that is off
                target.call(work)
            }
            None => work(&self.medium),
        }
    }

    fn target(&self, path: &Path) -> Option<&Target> {
        self.targets.iter().find(|target| path.starts_with(target.root))
    }
}

impl FileSystem for Mounted {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        self.at(path, |medium| Ok(Box::new(io::Cursor::new(medium.read(path)?)) as Box<dyn Read>))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = self.at(path, |medium| medium.create(path))?;
        let target = self.target(path).cloned();
        let room = target.as_ref().filter(|target| target.does(Mood::Truncates)).map(|target| target.state().1.usize(..5_000));
        Ok(Box::new(Writing { mounted: self.clone(), target, file, room }))
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        let node = self.at(path, |medium| {
            medium.step(Step::Read)?;
            Ok(medium.node(path))
        })?;
        node.map(|node| node == Node::Folder).ok_or(ErrorKind::NotFound.into())
    }

    fn create_one_folder(&self, path: &Path) -> io::Result<()> {
        self.at(path, |medium| medium.create_folder(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(to, |medium| medium.rename(from, to, false))
    }

    fn rename_to_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if let Some(target) = self.target(from).filter(|target| target.does(Mood::Forges)) {
            let file = target.medium.open(from)?;
            target.medium.append(file, b"forged")?;
        }
        self.at(to, |medium| medium.rename(from, to, true))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.at(path, |medium| medium.remove(path))
    }

    fn remove_with_content(&self, path: &Path) -> io::Result<()> {
        self.at(path, |medium| medium.remove_all(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.at(path, |medium| medium.sync_folder(path))
    }
}

struct Writing {
    mounted: Mounted,
    target: Option<Target>,
    file: u64,
    /// Of what is written, only so much is kept.
    room: Option<usize>,
}

impl Writing {
    fn at<T>(&self, work: impl FnOnce(&Medium) -> io::Result<T>) -> io::Result<T> {
        match &self.target {
            Some(target) => {
                self.mounted.medium.step(Step::Read)?;
                target.call(work)
            }
            None => work(&self.mounted.medium),
        }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let kept = self.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        self.at(|medium| medium.append(self.file, &bytes[..kept]))?;
        self.room = self.room.map(|room| room - kept);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for Writing {
    fn sync(&self) -> io::Result<()> {
        self.at(|medium| medium.sync(self.file))
    }

    fn forget_cached(&self) {}
}
