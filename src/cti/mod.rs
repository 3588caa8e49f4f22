//! Station `cti`: the links to the T-Servers, and what they tell of the calls. A side door: if it dies, no recording notices.
//!
//! In: lines of JSON from the T-Servers (docs/cti.md), and which recordings run. Out: what is known of the conversation of
//! each recording, and what somebody asks of it (pause, resume, stop).
//!
//! | file | responsible for |
//! |---|---|
//! | [`message`] | one line of the link as a message, and back |
//! | [`lines`] | bytes -> lines, whatever the peer sends |
//! | [`sequence`] | numbered events in their order: duplicates, gaps |
//! | [`link`] | one T-Server: connect, register, keep alive, requests and their answers |
//! | [`board`] | the call model: calls, parties, attached data, conversations |
//! | [`account`] | what of it belongs to one recording |
//! | [`centre`] | the centre's configuration as it was told last |
//! | [`hub`] | all of these as one machine |
//! | [`desk`] | requests to the switch, and what others ask of it |
//! | [`wanted`] | what is wanted recorded, and is not |
//! | [`driver`] | the sockets |

pub mod account;
pub mod board;
pub mod centre;
pub mod desk;
pub mod driver;
pub mod hub;
pub mod lines;
pub mod link;
pub mod message;
pub mod sequence;
pub mod wanted;

pub use board::{RecordingFacts, SessionFacts, Whose};
pub use desk::{Services, Wish};
pub use driver::Cti;
pub use hub::{Address, Command, Event, LinkState, Settings, TServer};
pub use wanted::By;

#[cfg(test)]
mod tests;
