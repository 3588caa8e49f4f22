//! The SIP user-agent server: answers recording sessions.
//!
//! | file | what it does | source |
//! |---|---|---|
//! | [`uri`], [`headers`], [`values`], [`message`] | read what arrives | RFC 3261 §7, §19, §20, §25 |
//! | [`render`] | writes what leaves | RFC 3261 §7 |
//! | [`sdp`] | offers and answers | RFC 3264, 8866 |

pub mod deadlines;
mod dialog;
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

pub use headers::{Header, Headers};
pub use message::{Message, ParseError, Refusal, Request, Response};
pub use rsip::{Method, StatusCode};
pub use uri::{Host, HostPort, Params, Scheme, Uri};
pub use values::{CSeq, NameAddr, Via};
