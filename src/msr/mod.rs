//! The other end: a simulated media server that places recording sessions and sends real audio.
//!
//! ```text
//! Options ──► scenario: which call when ──► dialog: one each   ──► driver ⇄ recorder   (SIP)
//!                 └──► sender: which packet when ──► stream: its packets ──► driver ──► recorder   (RTP, RTCP)
//! ```
//!
//! | file | what it does | source |
//! |---|---|---|
//! | [`options`], [`plan`] | what a run shall be; who speaks in a call and what all is called | |
//! | [`genesys`], [`siprec`] | how a media server and a SIPREC client open a session | `tests/data/sip`, RFC 7865, 7866 |
//! | [`dialog`] | one session, from INVITE to BYE | RFC 3261 §12-§17, RFC 4028 |
//! | [`message`], [`sdp`] | requests and descriptions as text | RFC 3261, 3264, 8866 |
//! | [`audio`], [`digits`], [`impair`] | what is said and dialled, what the network does to it | RFC 3551, 4733 |
//! | [`rtcp`], [`stream`], [`sender`] | packets, and when each is due | RFC 3550 |
//! | [`scenario`], [`summary`] | a whole run, and what came of it | |
//! | [`driver`] | sockets, files and the loop; [`run`] | |
//! | [`switch`] | a simulated SIP Server, which plays call scenarios beside it | docs/cti.md |
//!
//! In: [`Options`]. Out: SIP, RTP and RTCP towards the recorder.

pub mod audio;
pub mod dialog;
pub mod digits;
pub mod driver;
pub mod genesys;
pub mod impair;
pub mod message;
pub mod options;
pub mod plan;
pub mod rtcp;
pub mod scenario;
pub mod sdp;
pub mod sender;
pub mod siprec;
pub mod stream;
pub mod summary;
pub mod switch;

pub use driver::{Error, run};
pub use options::Options;
pub use scenario::Progress;
pub use summary::Summary;
