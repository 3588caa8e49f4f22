//! Two legs -> one stereo file and `recording.json`.
//!
//! | file | what it does |
//! |---|---|
//! | [`align`] | where each leg lies on the common clock, by RTCP sender reports (RFC 3550) |
//! | [`overlay`] | lays blocks over each other on two channels |
//! | [`encode`] | blocks -> frames of two channels, bit by bit as they came |
//! | [`audio`] | frames -> a file: [`wav`], the head of a G.711 file, or [`ogg_opus`] (RFC 6716, RFC 7845) in [`ogg`] (RFC 3533) |
//! | [`g711`] | µ-law <-> A-law (ITU-T G.711) |
//! | [`overhear`] | lets somebody listen for tones on the way |
//! | [`gaps`] | where a channel is silent, and why |
//! | [`metadata`] | everything known about the call -> `recording.json` |
//! | [`seal`] | files only for the tenant's recipients (age) |
//! | [`identity`] | the box's signature over `recording.json` (RFC 8032, RFC 8785) |
//! | [`verify`] | a folder against its `recording.json` |
//! | [`jobs`] | what to finish next, and when to try again |
//! | [`driver`] | the thread `finish` and its files |
//!
//! In: a [`Recording`](crate::model::Recording) at stage `Ended`, its blocks from a [`BlockSource`](crate::model::BlockSource).
//! Out: the folder [`Recording::path`](crate::model::Recording::path) with `audio.wav` or `audio.opus`, for a sealed recording
//! `details.json`, all of these with `.age` behind their names if they are sealed, and, written last, `recording.json`; the
//! recording at stage `Finished`.

pub mod align;
pub mod audio;
pub mod driver;
pub mod encode;
pub mod g711;
pub mod gaps;
pub mod identity;
pub mod jobs;
pub mod metadata;
pub mod ogg;
pub mod ogg_opus;
pub mod opus_reader;
pub mod overhear;
pub mod overlay;
pub mod seal;
pub mod verify;
pub mod wav;

pub use driver::identity_file::{PUBLIC, find_identity, open_identity, read_public_key};
pub use driver::{Config, Event, FinishError, Finisher, Making, listen, verify_folder};
pub use identity::{PublicKey, SignatureVerdict};
pub use metadata::BoxFacts;
pub use seal::{SUFFIX as SEALED_SUFFIX, Sealing};
pub use verify::Verification;

#[cfg(test)]
pub(crate) mod testing;
