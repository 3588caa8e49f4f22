//! Station `geo`: at which location a call is recorded. A side door, and pure: there is no driver.
//!
//! Data in: the geo-locations of the things that a call touches. Data out: the one that counts and why, the pools of media
//! servers and recorders that serve there, the profile of the tenant.
//!
//! | file | responsible for |
//! |---|---|
//! | [`select`] | which geo-location counts: full-time, strategy, dynamic |
//! | [`pools`] | which media servers and recorders serve it |
//! | [`profile`] | which profile of the tenant is used |
//! | [`question`] | a call described by names and values, and the whole answer: for command line and HTTP |

pub mod pools;
pub mod profile;
pub mod question;
pub mod select;

#[cfg(test)]
mod tests;

pub use pools::{Group, Served, serve};
pub use profile::{Choice, Profile, choose};
pub use question::{Answer, Question};
pub use select::{Call, Dynamic, FullTime, Origin, Recorded, Selection, Selective};
