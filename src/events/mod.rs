//! Tells the data centre what happens on the box, over MQTT 5: a side door.
//!
//! | file | what it does |
//! |---|---|
//! | [`message`] | the payloads: status, recording, alarm; their topics |
//! | [`alarms`] | when something is wrong for long enough to be told, and when it is over |
//! | [`outbox`] | what waits for the broker, what is under way, what had to be dropped |
//! | [`driver`] | the thread `events`: the file of what waits, and the connection |
//!
//! In: recordings that are delivered, the state of the box once a second. Out: a retained status per box (with a last will), and one
//! message per recording and alarm, kept on the disk until the broker has acknowledged it (QoS 1), so at least once.
//! OASIS MQTT 5.0. Nothing here holds up a recording: what does not fit is counted and told.

pub mod alarms;
pub mod driver;
pub mod message;
pub mod outbox;

pub use driver::{Config, Events};
