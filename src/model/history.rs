//! A list that only grows, of what happened in a conversation, packed: a change of attached data takes some twenty bytes instead
//! of two hundred, because names stand in it once, times as distances, and nothing is a piece of memory of its own. In JSON it stays
//! packed, because a description is written again and again while the call is on: `{"names": […], "packed": base64}`. A plain list of
//! entries, as older boxes wrote it, is read, too.
//!
//! ```text
//! entry = time since the entry before, number of each name, what is special to the kind of entry; all numbers LEB128
//! ```
//! What is no entry ends the list: nothing that a disk says may do more.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::WallTime;
use super::conversation::{DataChange, Step, StepKind};

/// What a name takes beside its text: the pointer to it, and what the allocator and the counts of its owners need.
const NAME_BYTES: usize = 48;

/// Entries of one kind, in the order in which they came.
pub struct History<E> {
    names: Vec<Arc<str>>,
    packed: Vec<u8>,
    name_bytes: usize,
    length: usize,
    last: WallTime,
    kind: PhantomData<fn() -> E>,
}

/// What a history may consist of.
pub trait Entry: Sized {
    /// Appends itself.
    fn pack(&self, packer: &mut Packer<'_>);
    /// Reads what [`Entry::pack`] has written; none: something else.
    fn unpack(unpacker: &mut Unpacker<'_>) -> Option<Self>;
}

impl<E: Entry> History<E> {
    /// Adds an entry behind all others.
    pub fn push(&mut self, entry: &E) {
        // By a quarter, not to the double: there may be a thousand of them.
        if self.packed.capacity() - self.packed.len() < 32 {
            self.packed.reserve_exact((self.packed.len() / 4).max(64));
        }
        let History { names, packed, name_bytes, last, .. } = self;
        entry.pack(&mut Packer { names, packed, name_bytes, last });
        self.length += 1;
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = E> {
        Unpacker { names: &self.names, packed: &self.packed, last: WallTime::default() }.entries()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.packed.capacity() + self.name_bytes
    }
}

/// Writes an entry.
#[derive(Debug)]
pub struct Packer<'a> {
    names: &'a mut Vec<Arc<str>>,
    packed: &'a mut Vec<u8>,
    name_bytes: &'a mut usize,
    last: &'a mut WallTime,
}

impl Packer<'_> {
    fn time(&mut self, time: WallTime) {
        let distance = time.0.wrapping_sub(self.last.0);
        *self.last = time;
        self.number((distance.wrapping_shl(1) ^ (distance >> 63)).cast_unsigned());
    }

    fn name(&mut self, name: &str) {
        let known = self.names.iter().position(|known| **known == *name);
        let no = known.unwrap_or_else(|| {
            *self.name_bytes += name.len() + NAME_BYTES;
            self.names.push(name.into());
            self.names.len() - 1
        });
        self.number(no as u64);
    }

    /// Nothing is 0, text is its length and one more, and itself.
    fn text(&mut self, text: Option<&str>) {
        self.number(text.map_or(0, |text| text.len() as u64 + 1));
        self.packed.extend_from_slice(text.unwrap_or_default().as_bytes());
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.packed.push((number & 0x7F) as u8 | 0x80);
            number >>= 7;
        }
        self.packed.push(number as u8);
    }
}

/// Reads entries.
#[derive(Debug)]
pub struct Unpacker<'a> {
    names: &'a [Arc<str>],
    packed: &'a [u8],
    last: WallTime,
}

impl<'a> Unpacker<'a> {
    /// All that is an entry.
    fn entries<E: Entry>(mut self) -> impl Iterator<Item = E> + use<'a, E> {
        std::iter::from_fn(move || if self.packed.is_empty() { None } else { E::unpack(&mut self) })
    }
}

impl Unpacker<'_> {
    fn time(&mut self) -> Option<WallTime> {
        let folded = self.number()?;
        let distance = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
        self.last = WallTime(self.last.0.wrapping_add(distance));
        Some(self.last)
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let no = usize::try_from(self.number()?).ok()?;
        self.names.get(no).cloned()
    }

    fn text(&mut self) -> Option<Option<String>> {
        let Some(length) = self.number()?.checked_sub(1) else { return Some(None) };
        let (text, rest) = self.packed.split_at_checked(usize::try_from(length).ok()?)?;
        self.packed = rest;
        Some(Some(String::from_utf8_lossy(text).into_owned()))
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.packed.split_first()?;
            self.packed = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Entry for DataChange {
    fn pack(&self, packer: &mut Packer<'_>) {
        packer.time(self.time);
        packer.name(&self.key);
        packer.name(&self.dn);
        packer.text(self.value.as_deref());
    }

    fn unpack(unpacker: &mut Unpacker<'_>) -> Option<DataChange> {
        let (time, key, dn) = (unpacker.time()?, unpacker.name()?, unpacker.name()?);
        Some(DataChange { time, key: key.as_ref().into(), value: unpacker.text()?, dn })
    }
}

impl Entry for Step {
    fn pack(&self, packer: &mut Packer<'_>) {
        packer.time(self.time);
        packer.number(StepKind::ALL.iter().position(|kind| *kind == self.kind).unwrap_or_default() as u64);
        packer.name(&self.dn);
        packer.name(&self.conn_id);
    }

    fn unpack(unpacker: &mut Unpacker<'_>) -> Option<Step> {
        let (time, kind) = (unpacker.time()?, usize::try_from(unpacker.number()?).ok()?);
        Some(Step { time, kind: *StepKind::ALL.get(kind)?, dn: unpacker.name()?, conn_id: unpacker.name()? })
    }
}

impl<E> Default for History<E> {
    fn default() -> History<E> {
        let (names, packed) = (Vec::new(), Vec::new());
        History { names, packed, name_bytes: 0, length: 0, last: WallTime::default(), kind: PhantomData }
    }
}

impl<E> Clone for History<E> {
    fn clone(&self) -> History<E> {
        let (names, packed) = (self.names.clone(), self.packed.clone());
        History { names, packed, name_bytes: self.name_bytes, length: self.length, last: self.last, kind: PhantomData }
    }
}

impl<E: Entry> FromIterator<E> for History<E> {
    fn from_iter<I: IntoIterator<Item = E>>(entries: I) -> History<E> {
        let mut history = History::default();
        entries.into_iter().for_each(|entry| history.push(&entry));
        history
    }
}

impl<E: Entry + PartialEq> PartialEq for History<E> {
    fn eq(&self, other: &History<E>) -> bool {
        self.length == other.length && self.iter().eq(other.iter())
    }
}

impl<E: Entry + Eq> Eq for History<E> {}

impl<E: Entry + fmt::Debug> fmt::Debug for History<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As it stands in a description.
#[derive(Serialize)]
struct Written<'a> {
    names: &'a [Arc<str>],
    packed: String,
}

/// What may stand there.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read<E> {
    List(Vec<E>),
    Packed { names: Vec<Arc<str>>, packed: String },
}

impl<E> Serialize for History<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written { names: &self.names, packed: BASE64.encode(&self.packed) }.serialize(serializer)
    }
}

impl<'de, E: Entry + Deserialize<'de>> Deserialize<'de> for History<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<History<E>, D::Error> {
        match Read::deserialize(deserializer)? {
            Read::List(entries) => Ok(entries.into_iter().collect()),
            Read::Packed { names, packed } => {
                let packed = BASE64.decode(packed).map_err(serde::de::Error::custom)?;
                Ok(Unpacker { names: &names, packed: &packed, last: WallTime::default() }.entries().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = DataChange> {
        let time = prop_oneof![any::<i64>(), 1_770_000_000_000_000..1_770_000_100_000_000_i64];
        let value = proptest::option::of("[a-zß]{0,300}");
        (time, "[a-f]{0,2}", value, "[0-9]{1,2}").prop_map(|(time, key, value, dn)| DataChange {
            time: WallTime(time),
            key,
            value,
            dn: dn.into(),
        })
    }

    proptest! {
        #[test]
        fn what_was_packed_is_there_again(changes in proptest::collection::vec(change(), 0..40)) {
            let history: History<DataChange> = changes.iter().cloned().collect();
            prop_assert_eq!(history.iter().collect::<Vec<_>>(), changes.clone());
            prop_assert_eq!(history.len(), changes.len());
            for json in [serde_json::to_string(&history).unwrap(), serde_json::to_string(&changes).unwrap()] {
                prop_assert_eq!(&serde_json::from_str::<History<DataChange>>(&json).unwrap(), &history);
            }
        }

        #[test]
        fn whatever_stands_on_the_disk_is_survived(packed: Vec<u8>, names in proptest::collection::vec("[a-c]{1,2}", 0..3)) {
            let json = serde_json::json!({"names": names, "packed": BASE64.encode(&packed)}).to_string();
            let changes: History<DataChange> = serde_json::from_str(&json).unwrap();
            let steps: History<Step> = serde_json::from_str(&json).unwrap();
            prop_assert!(changes.len() + steps.len() <= 2 * packed.len());
        }
    }

    #[test]
    fn steps_are_there_again() {
        let step = |(n, kind): (usize, StepKind)| Step {
            time: WallTime(1_770_000_000_000_000 - n as i64),
            kind,
            dn: format!("700{}", n % 3).into(),
            conn_id: "c1".into(),
        };
        let steps: Vec<Step> = StepKind::ALL.into_iter().enumerate().map(step).collect();
        let history: History<Step> = steps.iter().cloned().collect();
        assert_eq!(history.iter().collect::<Vec<_>>(), steps);
    }

    #[test]
    fn three_hundred_changes_take_eight_kilobytes() {
        let change = |n: i64| DataChange {
            time: WallTime(1_770_000_000_000_000 + n * 200_000),
            key: format!("Key{}", n % 10),
            value: Some(format!("value {n:04}")),
            dn: "7001".into(),
        };
        let history: History<DataChange> = (0..300).map(change).collect();
        assert!(history.bytes() <= 8_192, "{}", history.bytes());
    }
}
