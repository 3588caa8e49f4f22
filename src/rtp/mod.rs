//! Station `rtp`: receives the audio of every leg and places it on the time line of its recording.
//!
//! In: datagrams, streams to open, change and close. Out: [`Block`](crate::model::Block)s for the spool, a
//! [`StreamReport`](crate::model::StreamReport) per stream every five seconds and at its end, receiver reports to the peer.
//! RFC 3550 (RTP, RTCP), RFC 3551 (G.711), RFC 3389 (comfort noise), RFC 4733 (telephone events), RFC 5761 (rtcp-mux).
//!
//! ```text
//!          every 500 ms          per packet, nothing allocated                        every 500 ms
//! sockets ─────────────► stream ──► source ──► stats ──► timeline ──► blocks ──► pool ─────────────► spool
//!            driver        │        who may    sequence,  which        where in         driver
//!                          │        send       loss,      place        memory
//!                          └─► digits          jitter
//! ```
//!
//! | file | responsible for |
//! |---|---|
//! | [`packet`] | what a datagram is and what its payload type means |
//! | [`source`] | from which address a stream may be sent |
//! | [`stats`] | sequence numbers, loss, jitter of one SSRC |
//! | [`timeline`] | timestamps to places on the time line |
//! | [`drift`] | a sender's clock against the box's |
//! | [`blocks`] | open blocks of a leg, the pool of their memory |
//! | [`digits`] | telephone events to digits |
//! | [`rtcp`] | sender reports in, receiver reports out |
//! | [`stream`] | one stream: all of these joined, and every packet counted |
//! | [`ports`] | which port pair is next |
//! | [`driver`] | the `media` thread and its sockets |

pub mod blocks;
pub mod digits;
pub mod drift;
pub mod driver;
pub mod packet;
pub mod ports;
pub mod rtcp;
pub mod source;
pub mod stats;
pub mod stream;
pub mod timeline;

pub use driver::{Config, Media, OpenError};
pub use packet::PayloadMap;
pub use stream::{Manner, Remote, StreamChange, StreamSpec};

#[cfg(test)]
mod tests;
