//! Station `rules`: who is recorded, and how. A side door: without a rule every call that arrives is recorded.
//!
//! Data in: [`CallFacts`](crate::model::CallFacts) of one call. Data out: what is to be done with it, and why. Pure: there is no
//! driver; the daemon asks.
//!
//! | file | responsible for |
//! |---|---|
//! | [`rule`] | one rule: its conditions and what it wants done |
//! | [`calendar`] | days and hours, in a time zone |
//! | [`decide`] | the first rule that matches, and why the others do not |
//! | [`reach`] | rules that can never match |
//! | [`question`] | a call described by names and values: for command line and HTTP |

pub mod calendar;
pub mod decide;
pub mod question;
pub mod reach;
pub mod rule;

#[cfg(test)]
mod tests;

pub use calendar::{Calendar, DateRange, Hours};
pub use decide::{Decision, Mismatch, Rules, Step};
pub use question::Question;
pub use reach::{Unreachable, unreachable};
pub use rule::{Action, Condition, Record, Rule};
