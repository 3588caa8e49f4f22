//! Station `assurance`: was everything recorded that should have been? A side door, and pure: there is no driver.
//!
//! Data in: calls that should have been recorded (a rule's, or a switch's own records as CSV), descriptions of recordings. Data
//! out: what is missing, late, short, one-sided or silent; a report for each day.
//!
//! | file | responsible for |
//! |---|---|
//! | [`mod@check`] | one call against the recordings of it |
//! | [`calls_csv`] | a switch's own call records |
//! | [`copies`] | two copies of one recording: which is the better one |
//! | [`report`] | the day's report |

pub mod calls_csv;
pub mod check;
pub mod copies;
pub mod report;

pub use check::{Call, Finding, Heard, Kind, Tolerance, check, reconcile};
pub use report::Day;
