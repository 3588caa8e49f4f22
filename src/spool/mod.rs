//! Keeps blocks and descriptions safe.

pub mod backlog;
pub mod counters;
pub mod disk;
pub mod driver;
#[cfg(test)]
mod fixture;
pub mod holdings;
pub mod index;
pub mod ledger;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod scan;
pub mod segment;
pub mod stand_in;
pub mod store;

pub use driver::{Command, Config, Event, Recovered, Spool};
pub use reader::Reader;
