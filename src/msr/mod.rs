//! The simulated media server.
pub mod audio;
pub mod digits;
pub mod impair;
pub mod options;
pub mod plan;
pub mod rtcp;
pub mod sender;
pub mod stream;
