//! Station `access`: who may do what with the box, and who did what. A side door: without it nobody sees the page, and every call is recorded.
//!
//! In: names, passwords, tokens, session cookies. Out: [`Who`] asks, or why not; and the audit log.
//!
//! | file | responsible for |
//! |---|---|
//! | [`book`] | users and tokens, as they are kept |
//! | [`password`] | what a password must be, and its hash (Argon2id, RFC 9106) |
//! | [`session`] | who is logged in, and for how long |
//! | [`throttle`] | how often somebody may be wrong |
//! | [`audit`] | the chain of what was done (SHA-256), and its verifier |
//! | [`driver`] | files, random numbers, and the threads that hash |

pub mod audit;
pub mod book;
pub mod driver;
pub mod password;
pub mod session;
pub mod throttle;

pub use book::Who;
pub use driver::Access;
