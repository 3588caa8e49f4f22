//! The configuration: what `/etc/nearend/nearend.toml` says, checked, with every default filled in.
//!
//! ```text
//! text ──► file ──────────────► resolve ───────────► typed
//!          raw image by serde,   defaults, and what   plain values,
//!          unknown keys refused  keys say together    one part per station
//! ```
//!
//! Data in: the text of the file. Data out: [`Loaded`], or every [`Diagnostic`] of the file at once, each with its place,
//! what was expected and how to mend it. An empty file is a valid one.
//!
//! `control` is the same for the tables that say who is recorded: switches, T-Servers, calendars, rules.
//! [`value`] and [`wan`] read single values (durations, sizes, networks, port ranges; rates, addresses), [`diagnostic`] finds places and near misses;
//! `driver.rs` alone touches the disk: it reads the file and looks at the directories that it names.

mod control;
pub mod diagnostic;
mod driver;
mod events;
mod file;
mod resolve;
mod targets;
pub mod tenant;
mod tone;
mod typed;
pub mod value;
pub mod wan;
mod web;

#[cfg(test)]
mod tests;

pub use control::Link;
pub use diagnostic::{Diagnostic, Severity};
pub use driver::load;
pub use resolve::parse;
pub use tenant::Recipient;
pub use tone::Tone;
pub use typed::{
    Access, Config, Control, Events, Forward, Loaded, MonitoredDn, Peer, Place, Rtp, S3, Sip, SipTls, Site, Spool, Switch,
    TServer, Target, Tenant, Web,
};
pub use value::{Listen, Network, PortRange, Source};
pub use wan::{Addressing, BrokerUrl, Policy, Priority, Rate, Secret, Url, Window, Zone};
pub use web::PageTls;
