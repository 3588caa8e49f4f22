//! Whole-system tests: the real daemon as a process of its own, on loopback addresses of its own, with agents that
//! nobody here wrote at the other end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]
#![expect(clippy::disallowed_methods, reason = "the tests stand outside of the box and its clock")]

mod access;
mod api;
mod aside;
mod browser;
mod control;
mod conversations;
mod cti;
mod demo;
mod devices;
mod disk;
mod docs;
mod events;
mod faults;
mod geo;
mod load;
mod msr_calls;
mod pcap;
mod reconcile;
mod recorded;
mod recovery;
mod restart;
mod rules;
mod schema;
mod sealed;
mod senders;
mod server;
mod service;
mod sidecar;
mod sipp;
mod site;
mod stolen;
mod tls;
mod tone;
mod tone_bench;
mod tone_proof;
mod trials;
mod wan;
mod wav;
