//! Names of things: the sender's (recording id, CallUUID, tenant) and the box's own small numbers.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The recording id as the sender gave it (`sip:record=<id>@…`); any characters, so never a file name as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordingId(pub Arc<str>);

/// CallUUID of the Genesys side: 32 characters of `[0-9A-V]` there, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallUuid(pub Arc<str>);

/// A tenant by its configured id; `default` where none is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Arc<str>);

impl TenantId {
    /// The tenant of every recording whose tenant is not known.
    pub fn default_tenant() -> TenantId {
        TenantId("default".into())
    }
}

/// The box's own number of a recording: the key in ledger and segments; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordingNo(pub u64);

/// A leg within its recording, counted from 0 in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegNo(pub u8);

/// A half-second of a recording's time line, counted from its grid origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockNo(pub u32);

/// A channel of the finished stereo file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Channel 1: the recorded party.
    Recorded,
    /// Channel 2: the other party.
    Other,
}

impl Channel {
    /// 1 or 2, as people and metadata count them.
    pub fn number(self) -> u8 {
        match self {
            Channel::Recorded => 1,
            Channel::Other => 2,
        }
    }
}

/// Makes `name` safe as one component of a path: every byte outside `[A-Za-z0-9._-]` becomes `%XX`,
/// as does a leading dot, so that `..`, `/` and hidden files cannot arise and two names never collide.
/// A name over 200 bytes is cut and ends in its CRC-32C.
pub fn path_component(name: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if i == 0 => out.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
            }
        }
    }
    if out.is_empty() {
        out.push('%');
    }
    if out.len() > 200 {
        out.truncate(190);
        let _ = write!(out, "~{:08x}", crc32c::crc32c(name.as_bytes()));
    }
    out
}

macro_rules! shown_as_inner {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
shown_as_inner!(RecordingId, CallUuid, TenantId, RecordingNo, LegNo, BlockNo);

#[cfg(test)]
mod tests {
    use super::path_component;

    #[test]
    fn names_from_the_network_cannot_leave_their_folder() {
        assert_eq!(path_component("01AB_2026-03-02_14-05-59"), "01AB_2026-03-02_14-05-59");
        assert_eq!(path_component("../../etc"), "%2E.%2F..%2Fetc");
        assert_eq!(path_component(".."), "%2E.");
        assert_eq!(path_component(""), "%");
        assert_eq!(path_component("a b\0ü"), "a%20b%00%C3%BC");
        let long = path_component(&"x".repeat(4_000));
        assert!(long.len() <= 200);
        assert_ne!(long, path_component(&"x".repeat(4_001)));
    }
}
