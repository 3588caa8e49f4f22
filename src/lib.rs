//! Nearend: call recording at the edge.
//!
//! The way of a call, and so the order of the folders:
//!
//! ```text
//! INVITE ──► sip ──► session ──► recording ──► rtp ──► spool ──► finish ──► forward ──► data centre
//!            message  dialect     one call:     sockets  segments  legs ->     upload      S3, WebDAV
//!            dialog   MSR,SIPREC  legs, state,  timeline + sled    stereo file             or dir
//!                                 masks                  ledger    + json
//! ```
//!
//! | station | what it does | runs on |
//! |---|---|---|
//! | [`sip`] | answers SIP: framing, messages, transactions, dialogs, session timers | main |
//! | [`session`] | reads MSR, SIPREC and plain INVITEs as an offer of legs and metadata | main |
//! | [`recording`] | one call as a recording: legs, masks, continuation, end | main |
//! | [`rtp`] | receives the audio and places it on the time line | media |
//! | [`spool`] | keeps blocks and descriptions safe: segments, and sled as ledger over them | spool |
//! | [`finish`] | two legs -> one stereo file and `recording.json`, sealed and signed | finish |
//! | [`forward`] | delivers the files to the targets and verifies them there | forward |
//! | [`tones`] | consent tones: the plan, the bench, the proof: a side door | its own |
//! | [`geo`] | at which location a call is recorded: a side door | main |
//! | [`tenants`] | whose a call is: a side door | main |
//! | [`rules`] | which calls are recorded, and how: a side door | main |
//! | [`cti`] | the links to the T-Servers: what is known of each call: a side door | main |
//! | [`assurance`] | was everything recorded that should have been: a side door | main |
//! | [`wear`] | how long the medium lasts: a side door | wear |
//! | [`host`] | the machine that the box runs on: a side door | main |
//! | [`panel`] | the box's lights and button: a side door | a process of its own |
//! | [`update`] | a new system for the box: a side door | a command |
//! | [`events`] | tells the data centre over MQTT what happens: a side door | events |
//! | [`access`] | who may do what over HTTP, and the log of who did: a side door | main |
//! | [`web`] | status page, health, metrics: a side door | main |
//! | [`msr`] | the other end: a simulated media server, for tests, the demo and installers | its own |
//!
//! In each station pure machines stand beside one `driver.rs`, the only file that touches sockets, files, threads or
//! clocks. [`daemon`] joins the stations; [`model`] is the vocabulary between them; [`clock`] alone reads clocks,
//! [`files`] knows how files survive a power cut.

#![forbid(unsafe_code)]

pub mod access;
pub mod assurance;
pub mod clock;
pub mod config;
pub mod cti;
pub mod daemon;
pub mod events;
pub mod files;
pub mod finish;
pub mod forward;
pub mod geo;
pub mod host;
pub mod model;
pub mod msr;
pub mod panel;
pub mod recording;
pub mod rtp;
pub mod rules;
pub mod session;
pub mod sip;
pub mod spool;
pub mod tenants;
pub mod tones;
pub mod update;
pub mod wear;
pub mod web;
