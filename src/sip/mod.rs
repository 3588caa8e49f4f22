//! The SIP user-agent server: takes recording sessions and answers them locally.
//!
//! Data in: datagrams and streams from media servers, resource managers, SBCs. Data out: [`endpoint::Event`]s (a call, its
//! changes, its end) for the application, which accepts or rejects; responses, and requests of our own within dialogs. What a
//! call means (MSR, SIPREC) and where its audio goes is not known here.
//!
//! | file | what it does | source |
//! |---|---|---|
//! | [`uri`], [`headers`], [`values`], [`message`] | read what arrives | RFC 3261 §7, §19, §20, §25 |
//! | [`framing`] | cuts streams into messages | RFC 3261 §18.3, RFC 5626 §3.5.1 |
//! | [`render`] | writes what leaves, the one place where rsip does it | RFC 3261 §7 |
//! | [`sdp`] | reads offers and answers, writes ours | RFC 3264, 8866 |
//! | [`transaction`] | repeats, absorbs and times out messages | RFC 3261 §17, RFC 6026 |
//! | `dialog`, [`session_timer`] | the state of a call, and how a vanished peer is found out | RFC 3261 §12, RFC 4028 |
//! | [`flow`] | where answers and requests go | RFC 3261 §18.2, RFC 3581 |
//! | [`endpoint`] | the core that joins them, without a socket or clock | RFC 3261 §8 to §15, RFC 3311 |
//! | [`tokens`], [`deadlines`] | its tags and branches; its timers | |
//! | [`driver`] | sockets, connections and the clock around it | RFC 3261 §18 |

pub mod deadlines;
mod dialog;
pub mod driver;
pub mod endpoint;
pub mod flow;
pub mod framing;
pub mod headers;
pub mod message;
pub mod render;
pub mod sdp;
pub mod session_timer;
pub mod tokens;
pub mod transaction;
pub mod uri;
pub mod values;

pub use dialog::DialogId;
pub use driver::SipDriver;
pub use endpoint::{Availability, Endpoint, Event, NothingPending, RestoreError};
pub use flow::{ConnectionId, Flow, Listener, Transmit, Transport};
pub use headers::{Header, Headers};
pub use message::{Message, ParseError, Refusal, Request, Response};
pub use rsip::{Method, StatusCode};
pub use sdp::{AudioMedia, LocalDescription, SessionDescription};
pub use uri::{Host, HostPort, Params, Scheme, Uri};
pub use values::{CSeq, NameAddr, Via};
