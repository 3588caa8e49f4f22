//! Two legs -> one stereo file and `recording.json`.
//!
//! | file | what it does |
//! |---|---|
//! | [`align`] | where each leg lies on the common clock, by RTCP sender reports (RFC 3550) |
//! | [`overlay`] | lays blocks over each other on two channels |
//! | [`encode`] | blocks -> WAV, bit by bit as it came |
//! | [`wav`], [`g711`] | the file's head; µ-law <-> A-law (ITU-T G.711) |
//! | [`gaps`] | where a channel is silent, and why |
//! | [`metadata`] | everything known about the call -> `recording.json` |
//! | [`verify`] | a folder against its `recording.json` |
//! | [`jobs`] | what to finish next, and when to try again |
//! | [`driver`] | the thread `finish` and its files |
//!
//! In: a [`Recording`](crate::model::Recording) at stage `Ended`, its blocks from a [`BlockSource`](crate::model::BlockSource).
//! Out: the folder [`Recording::path`](crate::model::Recording::path) with `audio.wav` and, written last, `recording.json`;
//! the recording at stage `Finished`.
//!
//! Another codec stands beside [`wav`], sealing between [`encode`] and the file in [`driver`].

pub mod align;
pub mod driver;
pub mod encode;
pub mod g711;
pub mod gaps;
pub mod jobs;
pub mod metadata;
pub mod overlay;
pub mod verify;
pub mod wav;

pub use driver::{Config, Event, FinishError, Finisher, verify_folder};
pub use metadata::BoxFacts;
pub use verify::Verification;

#[cfg(test)]
pub(crate) mod testing;
