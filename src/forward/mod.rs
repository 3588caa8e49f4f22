//! Delivers finished recordings to the targets.
//!
//! | file | what it does |
//! |---|---|
//! | [`queue`] | what to deliver next where, and when to try again |
//! | [`target`] | one target: what a delivery is, what can go wrong |
//! | [`pace`] | how fast, and when |
//! | [`target::dir`] | a directory, local or mounted |
//! | [`target::s3`] | a bucket of an S3 server |
//! | [`target::webdav`] | a folder of a WebDAV server |
//! | [`driver`] | the thread `forward` and two threads per target |
//!
//! In: a [`Recording`](crate::model::Recording) at stage `Finished`, its files in the finished folder. Out: the same files at every
//! target under [`Recording::path`](crate::model::Recording::path), checked there; then the news that it is delivered.
//! At least once and idempotent; a name is never overwritten with another content; `recording.json` comes last.

pub mod driver;
pub mod pace;
pub mod queue;
pub mod target;

pub use driver::{Config, Event, Forwarder};
pub use target::{Target, TargetKind};
