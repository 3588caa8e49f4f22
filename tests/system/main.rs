//! Whole-system tests: the real daemon as a process of its own, on loopback addresses of its own, with agents that
//! nobody here wrote at the other end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod demo;
mod faults;
mod load;
mod msr_calls;
mod pcap;
mod restart;
mod schema;
mod sipp;
mod site;
mod wav;
