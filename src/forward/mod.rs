//! Delivers finished recordings to the targets.
//!
//! | file | what it does |
//! |---|---|
//! | [`queue`] | what to deliver next where, and when to try again |
//! | [`target`] | one target: what a delivery is, what can go wrong |
//! | [`target::dir`] | a directory, local or mounted |
//! | [`driver`] | the thread `forward` and one thread per target |
//!
//! In: a [`Recording`](crate::model::Recording) at stage `Finished`, its files in the finished folder. Out: the same files at every
//! target under [`Recording::path`](crate::model::Recording::path), read back and compared; then the news that it is delivered.
//! At least once and idempotent; a name is never overwritten with another content; `recording.json` comes last.
//!
//! Other kinds of target stand beside [`target::dir`]; a pace and time windows stand between [`queue`] and [`driver`].

pub mod driver;
pub mod queue;
pub mod target;

pub use driver::{Config, Event, Forwarder};
pub use target::{Target, TargetKind};
