//! The other end: a simulated media server that places recording sessions and sends real audio.
//!
//! ```text
//! Options ──► scenario: which call when ──► call: one dialog each ──► driver ⇄ recorder   (SIP)
//!                 └──► sender: which packet when ──► stream: its packets ──► driver ──► recorder   (RTP, RTCP)
//! ```
//!
//! | file | what it does | source |
//! |---|---|---|
//! | [`options`], [`plan`] | what a run shall be; who speaks in a call and what all is called | |
//! | [`genesys`], [`siprec`] | how a media server and a SIPREC client open a session | `tests/data/sip`, RFC 7865, 7866 |
//! | [`message`], [`sdp`] | requests and descriptions as text | RFC 3261, 3264, 8866 |
//! | [`audio`], [`digits`], [`impair`] | what is said and dialled, what the network does to it | RFC 3551, 4733 |
//! | [`rtcp`], [`stream`], [`sender`] | packets, and when each is due | RFC 3550 |
//!
//! In: [`Options`]. Out: SIP, RTP and RTCP towards the recorder.

pub mod audio;
pub mod dialog;
pub mod digits;
pub mod genesys;
pub mod impair;
pub mod message;
pub mod options;
pub mod plan;
pub mod rtcp;
pub mod sdp;
pub mod sender;
pub mod siprec;
pub mod stream;

pub use options::Options;
