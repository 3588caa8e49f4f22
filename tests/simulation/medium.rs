//! A disk with a page cache and no scruples. What was written and not synced may be lost in a power cut wholly or sector by
//! sector; a name, new, changed or removed, that was not synced by its folder may be lost with all that came after it there.
//! A sync that fails leaves some sectors written and forgets that the others are not (as Linux does).
//!
//! Every call counts as a step. At a step that the schedule picked, the machine goes off: a write is cut somewhere,
//! and nothing works from then on. Whether that was a kill (the cache survives) or a power cut shows only afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What a hole is made of.
const GRAIN: usize = 4_096;

/// Under which name its failures are counted.
pub(crate) const FAILED: &str = "failed writes and syncs";

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder,
    File(u64),
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Read,
    Write,
    Sync,
}

/// How a disk misbehaves in ways that no software can make good; only to show that the judge notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    #[default]
    None,
    /// A sync of a file returns at once, and does nothing.
    SyncsNothing,
    /// Names are not synced.
    SyncsNoNames,
    /// A sector is read from where another was meant.
    SwapsBlocks,
}

/// Names that change as one; none: gone.
type Change = Vec<(PathBuf, Option<Node>)>;

#[derive(Default)]
struct Content {
    /// As the running system reads it.
    now: Vec<u8>,
    /// As the kernel believes it to stand on the disk.
    clean: Vec<u8>,
    /// As it stands there.
    disk: Vec<u8>,
    /// Grains without anything on the disk.
    holes: BTreeSet<usize>,
}

pub(crate) struct State {
    rng: Rng,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    unsynced: BTreeMap<PathBuf, Vec<Change>>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    pub(crate) capacity_bytes: u64,
    /// How many of a hundred writes and syncs fail.
    pub(crate) failing_percent: u32,
    pub(crate) lie: Lie,
    steps: u64,
    off_at: Option<u64>,
    is_off: bool,
    /// The judge looks: nothing counts, nothing fails.
    is_observed: bool,
    /// Called when it goes off.
    on_off: Option<Box<dyn FnMut() + Send>>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// A handle to the disk; clones share it.
#[derive(Clone)]
pub(crate) struct Medium(Arc<Mutex<State>>);

impl Medium {
    /// An empty disk with the folders `folders`, which are durable.
    pub(crate) fn new(rng: Rng, capacity_bytes: u64, folders: &[&str]) -> Medium {
        let names: BTreeMap<PathBuf, Node> = folders.iter().map(|folder| (PathBuf::from(folder), Node::Folder)).collect();
        Medium(Arc::new(Mutex::new(State {
            rng,
            durable: names.clone(),
            names,
            unsynced: BTreeMap::new(),
            files: BTreeMap::new(),
            next_file: 1,
            capacity_bytes,
            failing_percent: 0,
            lie: Lie::None,
            steps: 0,
            off_at: None,
            is_off: false,
            is_observed: false,
            on_off: None,
            counts: BTreeMap::new(),
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has to be done when it goes off.
    pub(crate) fn when_off(&self, work: impl FnMut() + Send + 'static) {
        self.state().on_off = Some(Box::new(work));
    }

    /// While somebody from outside looks, nothing counts and nothing fails.
    pub(crate) fn observe(&self, is_observed: bool) {
        self.state().is_observed = is_observed;
    }

    /// Goes off at the `nth` step from now.
    pub(crate) fn go_off_in(&self, nth: u64) {
        let mut state = self.state();
        state.off_at = Some(state.steps + nth);
    }

    /// Goes off now.
    pub(crate) fn go_off(&self) {
        self.state().turn_off();
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// On again, with everything as the kernel had it.
    pub(crate) fn on_after_kill(&self) {
        let mut state = self.state();
        (state.is_off, state.off_at) = (false, None);
    }

    /// On again, with what had reached the disk.
    pub(crate) fn on_after_power_cut(&self) {
        let mut state = self.state();
        state.lose();
        (state.is_off, state.off_at) = (false, None);
    }

    /// Counts a step; fails when the machine is off, or the disk ill.
    pub(crate) fn step(&self, step: Step) -> io::Result<()> {
        self.state().step(step)
    }

    /// The content of a file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.step(Step::Read)?;
        let id = state.file(path)?;
        Ok(state.files[&id].now.clone())
    }

    /// The file of that name.
    pub(crate) fn open(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state();
        state.step(Step::Read)?;
        state.file(path)
    }

    /// Up to `buffer.len()` bytes of an open file at `offset`.
    pub(crate) fn read_at(&self, file: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.step(Step::Read)?;
        let mut from = usize::try_from(offset).unwrap_or(usize::MAX);
        if state.lie == Lie::SwapsBlocks && buffer.len() > 2_000 && from > 20_000 && state.rng.u32(..20) == 0 {
            from -= 4_060; // what stands one full block before
        }
        let now = &state.files[&file].now;
        let there = now.get(from..).unwrap_or_default();
        let length = there.len().min(buffer.len());
        buffer[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    /// The end of the hole that a byte is in; itself when it is in none.
    pub(crate) fn hole_end(&self, file: u64, offset: u64) -> u64 {
        let state = self.state();
        let Some(content) = state.files.get(&file) else { return offset };
        let mut grain = usize::try_from(offset).unwrap_or(usize::MAX) / GRAIN;
        if !content.holes.contains(&grain) {
            return offset;
        }
        while content.holes.contains(&grain) {
            grain += 1;
        }
        (grain * GRAIN) as u64
    }

    /// Makes a file that nothing has the name of.
    pub(crate) fn create(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.state();
        state.step(Step::Write)?;
        state.parent_exists(path)?;
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.change(path, vec![(path.to_path_buf(), Some(Node::File(id)))]);
        Ok(id)
    }

    /// Makes a folder.
    pub(crate) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Write)?;
        state.parent_exists(path)?;
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.change(path, vec![(path.to_path_buf(), Some(Node::Folder))]);
        Ok(())
    }

    /// Writes at the end of a file. On a full disk, and when the machine goes off, a part of it.
    pub(crate) fn append(&self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let (stepped, room) = (state.step(Step::Write), state.free_bytes());
        let part = match &stepped {
            Err(_) if state.steps > 0 && state.off_at == Some(state.steps) => state.rng.usize(..=bytes.len()),
            Err(_) => 0,
            Ok(()) => bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)),
        };
        state.off_at = state.off_at.filter(|at| *at > state.steps);
        if let Some(content) = state.files.get_mut(&file) {
            content.now.extend_from_slice(&bytes[..part]);
        }
        stepped?;
        if part < bytes.len() {
            *state.counts.entry("writes to a full disk").or_default() += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Makes a file's content durable.
    pub(crate) fn sync(&self, file: u64) -> io::Result<()> {
        let mut state = self.state();
        let stepped = state.step(Step::Sync);
        if state.lie == Lie::SyncsNothing {
            return stepped;
        }
        let (is_off, mut rng) = (state.is_off, state.rng.fork());
        let Some(content) = state.files.get_mut(&file) else { return stepped };
        match &stepped {
            Ok(()) => content.reach_the_disk(|_| true),
            Err(_) if is_off => {} // what is lost is drawn when the power comes back
            Err(_) => content.reach_the_disk(|_| rng.bool()),
        }
        stepped
    }

    /// Cuts a file.
    pub(crate) fn cut(&self, file: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Write)?;
        if let Some(content) = state.files.get_mut(&file) {
            content.now.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// Makes holes, which read as zeros.
    pub(crate) fn punch(&self, file: u64, holes: &[Range<u64>]) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Write)?;
        let Some(content) = state.files.get_mut(&file) else { return Ok(()) };
        for hole in holes {
            let (from, to) = (hole.start as usize, (hole.end as usize).min(content.now.len()));
            if let Some(range) = content.now.get_mut(from..to) {
                range.fill(0);
                content.holes.extend(from / GRAIN..to / GRAIN);
            }
        }
        Ok(())
    }

    /// Length of a file, and what it takes.
    pub(crate) fn length(&self, file: u64) -> (u64, u64) {
        let state = self.state();
        let Some(content) = state.files.get(&file) else { return (0, 0) };
        let length = content.now.len() as u64;
        (length, length.saturating_sub((content.holes.len() * GRAIN) as u64))
    }

    /// Renames; an existing one is replaced unless `must_be_new`.
    pub(crate) fn rename(&self, from: &Path, to: &Path, must_be_new: bool) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Write)?;
        let node = state.names.get(from).copied().ok_or(ErrorKind::NotFound)?;
        if must_be_new && state.names.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.change(to, vec![(from.to_path_buf(), None), (to.to_path_buf(), Some(node))]);
        Ok(())
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Write)?;
        state.file(path)?;
        state.change(path, vec![(path.to_path_buf(), None)]);
        Ok(())
    }

    /// Removes a folder with all in it, one after the other.
    pub(crate) fn remove_all(&self, path: &Path) -> io::Result<()> {
        let inside: Vec<PathBuf> = self.state().below(path);
        if inside.is_empty() {
            self.step(Step::Write)?;
            return Err(ErrorKind::NotFound.into());
        }
        for name in inside.iter().rev() {
            let mut state = self.state();
            state.step(Step::Write)?;
            state.change(name, vec![(name.clone(), None)]);
        }
        Ok(())
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Step::Sync)?;
        if state.names.get(folder) != Some(&Node::Folder) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.lie != Lie::SyncsNoNames {
            state.harden(folder, usize::MAX);
        }
        Ok(())
    }

    /// What a name stands for.
    pub(crate) fn node(&self, path: &Path) -> Option<Node> {
        self.state().names.get(path).copied()
    }

    /// All files below a folder, with their content; for the judge.
    pub(crate) fn tree(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let below = state.below(Path::new(folder));
        let content = |name: &PathBuf| match state.names.get(name) {
            Some(Node::File(id)) => Some((name.clone(), state.files[id].now.clone())),
            _ => None,
        };
        below.iter().filter_map(content).collect()
    }

    pub(crate) fn free_bytes(&self) -> io::Result<u64> {
        self.step(Step::Read)?;
        Ok(self.state().free_bytes())
    }
}

impl State {
    fn step(&mut self, step: Step) -> io::Result<()> {
        if self.is_observed {
            return Ok(());
        }
        if self.is_off {
            return Err(off());
        }
        self.steps += 1;
        if self.off_at == Some(self.steps) {
            self.turn_off();
            return Err(off());
        }
        if step != Step::Read && self.rng.u32(..100) < self.failing_percent {
            *self.counts.entry(FAILED).or_default() += 1;
            return Err(io::Error::other("simulated: the medium fails"));
        }
        Ok(())
    }

    fn turn_off(&mut self) {
        if !self.is_off {
            self.is_off = true;
            if let Some(work) = &mut self.on_off {
                work();
            }
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Node::File(id)) => Ok(*id),
            Some(Node::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn parent_exists(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().and_then(|parent| self.names.get(parent));
        if parent == Some(&Node::Folder) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }

    fn below(&self, folder: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|name| name.starts_with(folder)).cloned().collect()
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        let taken = self.names.values().filter_map(|node| match node {
            Node::File(id) => self.files.get(id),
            Node::Folder => None,
        });
        let taken: usize = taken.map(|content| content.now.len() - (content.holes.len() * GRAIN).min(content.now.len())).sum();
        self.capacity_bytes.saturating_sub(taken as u64)
    }

    fn change(&mut self, path: &Path, change: Change) {
        for (name, node) in &change {
            set(&mut self.names, name, *node);
        }
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        self.unsynced.entry(folder).or_default().push(change);
    }

    /// The first `count` changes of a folder's names reach the disk.
    fn harden(&mut self, folder: &Path, count: usize) {
        let changes = self.unsynced.remove(folder).unwrap_or_default();
        for (name, node) in changes.into_iter().take(count).flatten() {
            set(&mut self.durable, &name, node);
        }
    }

    /// The power was away.
    fn lose(&mut self) {
        let folders: Vec<PathBuf> = self.unsynced.keys().cloned().collect();
        for folder in folders {
            let count = self.rng.usize(..=self.unsynced[&folder].len());
            self.harden(&folder, count);
        }
        let reachable: BTreeSet<PathBuf> = self.durable.keys().filter(|name| self.is_reachable(name)).cloned().collect();
        self.durable.retain(|name, _| reachable.contains(name));
        self.names.clone_from(&self.durable);
        let kept: BTreeSet<u64> =
            self.names.values().filter_map(|node| if let Node::File(id) = node { Some(*id) } else { None }).collect();
        self.files.retain(|id, _| kept.contains(id));
        for content in self.files.values_mut() {
            let percent = [0, 100, self.rng.u32(..100)][self.rng.usize(..3)];
            content.reach_the_disk(|_| self.rng.u32(..100) < percent);
            content.now.clone_from(&content.disk);
            content.clean.clone_from(&content.disk);
            let now = &content.now;
            content.holes.retain(|grain| now.get(grain * GRAIN..(grain + 1) * GRAIN).is_some_and(|g| g.iter().all(|b| *b == 0)));
        }
    }

    fn is_reachable(&self, name: &Path) -> bool {
        let folders = name.ancestors().skip(1).filter(|folder| folder.components().count() > 1);
        folders.into_iter().all(|folder| self.durable.get(folder) == Some(&Node::Folder))
    }
}

impl Content {
    /// Those dirty sectors that `is_written` picks reach the disk; of holes whole grains do. The kernel takes all for clean.
    fn reach_the_disk(&mut self, mut is_written: impl FnMut(usize) -> bool) {
        let length = self.now.len().max(self.clean.len());
        let mut disk_length = self.disk.len();
        if self.now.len() != self.clean.len() && is_written(usize::MAX) {
            disk_length = self.now.len();
        }
        self.disk.resize(self.disk.len().max(self.now.len()), 0);
        let mut at = 0;
        while at < length {
            let size = if self.holes.contains(&(at / GRAIN)) { GRAIN } else { SECTOR };
            let range = at..(at + size).min(self.now.len());
            let is_dirty = !range.is_empty() && self.now.get(range.clone()) != self.clean.get(range.clone());
            if is_dirty && is_written(at) {
                self.disk[range.clone()].copy_from_slice(&self.now[range.clone()]);
                // The length is written after the data it covers (ext4, data=ordered), or not at all.
            }
            at += size;
        }
        self.disk.truncate(disk_length.min(self.disk.len()));
        self.clean.clone_from(&self.now);
    }
}

fn set(names: &mut BTreeMap<PathBuf, Node>, name: &Path, node: Option<Node>) {
    match node {
        Some(node) => names.insert(name.to_path_buf(), node),
        None => names.remove(name),
    };
}

fn off() -> io::Error {
    io::Error::other("simulated: the machine is off")
}
