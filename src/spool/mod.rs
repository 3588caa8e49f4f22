//! The spool: keeps blocks and descriptions safe from the moment they are handed over until the recording is finished.
//!
//! ```text
//! rtp: blocks ───────────┐                ┌─► segment-0000000001.nseg …   the audio and the descriptions, sealed, append-only
//!                        ├─► driver ──────┼─► box.key, keys-ID, .copy     the keys; destroyed one by one
//! main: descriptions ────┘  thread spool  └─► ledger/ (sled)              what stands where; can be made anew
//!                             │     ▲
//! main: what is durable ◄─────┘     └── reader ──► finish: one recording's blocks;  web, command line: descriptions
//! ```
//!
//! **In**: [`driver::Command`]s through a bounded queue. **Out**: [`writer::Event`]s; the blocks' memory, back to the pool;
//! and for any thread a [`reader::Reader`].
//!
//! A commit: all that waits is appended to the open segment in one write, `fdatasync`, one value in the ledger that says where
//! each record stands, flush, and then the answer. So a kill, a power cut or a full disk costs what was not yet answered and
//! nothing else; a lost ledger costs a scan.
//!
//! | file | what it is responsible for |
//! |---|---|
//! | [`segment`] | the format of segment files, drawn there; [`scan`] reads one without a ledger |
//! | [`seal`] | how what a record says is sealed, and which key comes from which |
//! | [`keys`] | the box's key and the recordings' keys on the disk: made, found, destroyed |
//! | [`index`] | the ledger's value for one commit |
//! | [`ledger`] | keys and values in sled, and sled's moods |
//! | [`descriptions`] | where the latest description of a recording is read |
//! | [`backlog`] | what waits, and what is given up if the disk fails for too long |
//! | [`store`] | a batch becomes durable; segments begin and go |
//! | [`holdings`] | which segments may go, and which descriptions are carried on before |
//! | [`holes`] | what of a segment is given back while the rest must stay |
//! | [`recovery`] | ledger and segments agree again; [`stand_in`] for a lost description |
//! | [`retention`] | which finished files leave the box, and when it takes no new calls |
//! | [`reader`] | descriptions, and a recording's blocks one by one |
//! | [`disk`] | what the spool asks of a folder |
//! | [`writer`] | all of that, turn by turn: what waits, what is durable, what is tried again |
//! | [`driver`] | the thread, the real folder, the clock |

pub mod backlog;
pub mod counters;
pub mod descriptions;
pub mod disk;
pub mod driver;
#[cfg(test)]
mod fixture;
pub mod holdings;
pub mod holes;
pub mod index;
pub mod keys;
pub mod ledger;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod scan;
pub mod seal;
pub mod segment;
pub mod stand_in;
pub mod store;
pub mod writer;

pub use driver::{Command, OpenError, Spool, open_offline};
pub use reader::Reader;
pub use writer::{Config, Event, Recovered, Writer};
