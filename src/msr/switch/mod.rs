//! The switch's side of a call: a simulated SIP Server at the other end of the CTI link, which plays call scenarios from small
//! files (docs/scenarios.md) while the media server places the recording sessions that belong to them.
//!
//! ```text
//! file ──► script ──► player ──► driver ⇄ box   (CTI)
//!                        └──recordings──► super::run ──► box   (SIP, RTP)
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | [`crowd`] | a busy switch instead of a scenario, for measurements: pure |
//! | [`script`] | reads a scenario |
//! | [`player`] | which event when; registrations, requests, snapshots: pure |
//! | [`driver`] | the socket and the clock; [`play`] |

pub mod crowd;
pub mod driver;
pub mod player;
pub mod script;

pub use driver::{Failure, Played, Settings, play};
pub use script::Script;
