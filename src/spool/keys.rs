//! The keys on the disk: the box's own in `box.key`, the recordings' in two small files, sealed with it.
//!
//! | file | holds |
//! |---|---|
//! | `box.key` | 32 random bytes, made at the first start |
//! | `keys-ID`, `keys-ID.copy` | the key of every recording that has audio in the segments; `ID` is the spool's, so that keys of another `box.key` are never overwritten |
//!
//! ```text
//! "NEARKEY" 7 │ format version 1 │ { recording 8 │ algorithm 1 │ nonce 12 │ sealed key 32 │ tag 16 } …
//! ```
//!
//! Both files are replaced as a whole, one after the other, before the first block of a recording is written and after the
//! recording is finished. A ledger holds no keys: a log-structured database keeps what was removed (docs/decisions/0006).

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use super::disk::Disk;
use super::holdings::Holdings;
use super::ledger::Ledger;
use super::seal::{Algorithm, BoxKey, Entropy, KEY_BYTES, Nonce, SEAL_BYTES, SealingKey};
use super::segment::SpoolId;
use crate::model::{RecordingNo, Stage};

/// The file of the box's key.
pub const BOX_KEY: &str = "box.key";

const MAGIC: &[u8; 8] = b"NEARKEY\x01"; // the last byte is the format version
const LABEL_BYTES: usize = 9;
const ENTRY_BYTES: usize = LABEL_BYTES + KEY_BYTES + SEAL_BYTES;

/// Keys that fit into one page of the disk together: so few are written for each one that is destroyed.
const PAGE_KEYS: usize = (4_096 - MAGIC.len()) / ENTRY_BYTES;

/// The key that a spool was written with.
///
/// # Errors
/// `NotFound` when there is none; `InvalidData` when it is damaged; else when it cannot be read.
pub fn read_box_key(disk: &dyn Disk) -> io::Result<BoxKey> {
    let bytes = disk.small_file(BOX_KEY)?.ok_or(io::Error::new(ErrorKind::NotFound, "it is missing"))?;
    let secret = bytes.as_slice().try_into();
    Ok(BoxKey::new(secret.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not 32 bytes long"))?))
}

/// The key of this box, made when there is none that can be used. One that is damaged is set aside, not overwritten.
///
/// # Errors
/// When the folder cannot be written, or it is forbidden to read the key.
pub fn box_key(disk: &dyn Disk, entropy: &mut Entropy) -> io::Result<BoxKey> {
    match read_box_key(disk) {
        Err(why) if why.kind() == ErrorKind::PermissionDenied => {
            let remedy = "the user that the service runs as must be allowed to read it";
            Err(io::Error::new(why.kind(), format!("{BOX_KEY}: {why}; {remedy}")))
        }
        Err(why) => new_box_key(disk, entropy, &why),
        known => known,
    }
}

fn new_box_key(disk: &dyn Disk, entropy: &mut Entropy, why: &io::Error) -> io::Result<BoxKey> {
    let is_missing = why.kind() == ErrorKind::NotFound;
    if !is_missing || !disk.segments()?.is_empty() {
        tracing::error!(
            "{BOX_KEY} cannot be used ({why}): what was recorded with it is left alone, recording goes on in a new spool; \
             put the right {BOX_KEY} back and restart to get at those recordings"
        );
    }
    let (mut secret, mut tail) = ([0; KEY_BYTES], [0; 4]);
    entropy(&mut secret)?;
    entropy(&mut tail)?;
    if !is_missing {
        disk.rename_small_file(BOX_KEY, &format!("{BOX_KEY}.set-aside-{:08x}", u32::from_be_bytes(tail)))?;
    }
    disk.replace_small_file(BOX_KEY, &secret)?;
    Ok(BoxKey::new(&secret))
}

/// The keys of all recordings that have audio to keep.
pub struct Keyring {
    names: [String; 2],
    wrapping: SealingKey,
    /// For new keys.
    algorithm: Algorithm,
    entries: BTreeMap<RecordingNo, Entry>,
    /// The files do not say the same.
    is_unsaved: bool,
}

/// A key takes its own length only; one that is ready for work is ten times as long.
struct Entry {
    stored: [u8; ENTRY_BYTES],
    secret: Secret,
}

/// A recording's key.
struct Secret {
    algorithm: Algorithm,
    bytes: [u8; KEY_BYTES],
}

impl Secret {
    fn key(&self) -> SealingKey {
        SealingKey::new(self.algorithm, &self.bytes)
    }
}

impl Keyring {
    /// Reads the files. A copy that is missing or damaged costs nothing as long as the other has the key.
    pub fn load(disk: &dyn Disk, box_key: &BoxKey, algorithm: Algorithm) -> Keyring {
        let (names, wrapping) = (file_names(box_key.spool()), box_key.wrapping_key());
        let copies = names.each_ref().map(|name| image(disk, name));
        let mut entries = BTreeMap::new();
        for stored in copies.iter().flat_map(|copy| stored(copy)) {
            if let Some((no, secret)) = unwrapped(&wrapping, stored) {
                entries.entry(no).or_insert(Entry { stored: *stored, secret });
            }
        }
        let mut keyring = Keyring { names, wrapping, algorithm, entries, is_unsaved: false };
        let whole = keyring.encode();
        let is_new = copies.iter().all(Vec::is_empty);
        keyring.is_unsaved = !is_new && copies.iter().any(|copy| *copy != whole);
        keyring
    }

    /// Whether a recording has a key.
    pub fn has(&self, no: RecordingNo) -> bool {
        self.entries.contains_key(&no)
    }

    /// The key of a recording, ready for work.
    pub fn key(&self, no: RecordingNo) -> Option<SealingKey> {
        self.entries.get(&no).map(|entry| entry.secret.key())
    }

    /// Gives a recording a new key. Nothing that is sealed with it may be written before it is [saved](Keyring::save).
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn begin(&mut self, no: RecordingNo, entropy: &mut Entropy) -> io::Result<()> {
        let (mut secret, mut nonce) = ([0; KEY_BYTES], Nonce::default());
        entropy(&mut secret)?;
        entropy(&mut nonce)?;
        let mut stored = Vec::with_capacity(ENTRY_BYTES);
        stored.extend_from_slice(&no.0.to_be_bytes());
        stored.push(self.algorithm.code());
        self.wrapping.seal(&mut stored, 0, nonce, |out| out.extend_from_slice(&secret))?;
        let stored = *stored.first_chunk().expect("label, nonce, key and tag are ENTRY_BYTES");
        self.entries.insert(no, Entry { stored, secret: Secret { algorithm: self.algorithm, bytes: secret } });
        self.is_unsaved = true;
        Ok(())
    }

    /// Destroys the key of a recording; on the disk with the next [`Keyring::save`].
    pub fn destroy(&mut self, no: RecordingNo) {
        self.is_unsaved |= self.entries.remove(&no).is_some();
    }

    /// Destroys the keys of recordings that are finished, as a crash may have left them. Gives the recordings whose key is lost.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn agree(&mut self, ledger: &Ledger, holdings: &Holdings) -> io::Result<Vec<RecordingNo>> {
        for no in self.entries.keys().copied().collect::<Vec<_>>() {
            if ledger.row(no)?.is_some_and(|row| row.stage >= Stage::Finished) {
                self.destroy(no);
            }
        }
        Ok(holdings.with_audio_to_keep().into_iter().filter(|no| !self.has(*no)).collect())
    }

    /// Whether to save costs no more than a page for each file.
    pub fn is_small(&self) -> bool {
        self.entries.len() <= PAGE_KEYS
    }

    /// Writes both files, if they do not say the same already. Gives the bytes written.
    ///
    /// # Errors
    /// When one cannot be written; to be tried again then.
    pub fn save(&mut self, disk: &dyn Disk) -> io::Result<usize> {
        if !self.is_unsaved {
            return Ok(0);
        }
        let image = self.encode();
        self.names.iter().try_for_each(|name| disk.replace_small_file(name, &image))?;
        self.is_unsaved = false;
        Ok(image.len() * self.names.len())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAGIC.len() + self.entries.len() * ENTRY_BYTES);
        out.extend_from_slice(MAGIC);
        self.entries.values().for_each(|entry| out.extend_from_slice(&entry.stored));
        out
    }
}

/// The key of one recording as it stands on the disk; for readers, which so need nothing of the writer.
pub fn find(disk: &dyn Disk, box_key: &BoxKey, no: RecordingNo) -> Option<SealingKey> {
    let wrapping = box_key.wrapping_key();
    file_names(box_key.spool()).iter().find_map(|name| {
        let image = image(disk, name);
        let mut wanted = stored(&image).iter().filter(|entry| entry.starts_with(&no.0.to_be_bytes()));
        wanted.find_map(|entry| unwrapped(&wrapping, entry)).map(|(_, secret)| secret.key())
    })
}

fn file_names(spool: SpoolId) -> [String; 2] {
    ["", ".copy"].map(|end| format!("keys-{:032x}{end}", spool.0))
}

/// A file as it is; empty when there is none, or none that can be read.
fn image(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let read = disk.small_file(name).inspect_err(|e| tracing::warn!("{name} cannot be read ({e}); its copy is used"));
    read.ok().flatten().unwrap_or_default()
}

/// The entries of a file. A torn one has fewer.
fn stored(image: &[u8]) -> &[[u8; ENTRY_BYTES]] {
    image.strip_prefix(MAGIC).map(|entries| entries.as_chunks().0).unwrap_or_default()
}

fn unwrapped(wrapping: &SealingKey, stored: &[u8; ENTRY_BYTES]) -> Option<(RecordingNo, Secret)> {
    let (label, payload) = stored.split_first_chunk::<LABEL_BYTES>()?;
    let bytes: [u8; KEY_BYTES] = wrapping.open(label, payload)?.try_into().ok()?;
    let (no, code) = label.split_first_chunk::<8>()?;
    let algorithm = Algorithm::from_code(*code.first()?)?;
    Some((RecordingNo(u64::from_be_bytes(*no)), Secret { algorithm, bytes }))
}
