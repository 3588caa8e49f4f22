//! Whole-system tests: the real daemon as a process of its own, on loopback addresses of its own, with agents that
//! nobody here wrote at the other end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![expect(clippy::disallowed_methods, reason = "the tests stand outside of the box and its clock")]

mod demo;
mod disk;
mod faults;
mod load;
mod msr_calls;
mod pcap;
mod recovery;
mod restart;
mod schema;
mod senders;
mod sipp;
mod site;
mod wan;
mod wav;
