//! Station `web`: the status page, health and metrics. A side door: if it dies, no recording notices.
//!
//! In: a [`Status`] that the daemon publishes about once a second. Out: HTTP.
//!
//! | file | responsible for |
//! |---|---|
//! | [`status`] | what is shown, as one value |
//! | [`page`] | the status page |
//! | [`metrics`] | the same for Prometheus |
//! | [`driver`] | the HTTP server; below it what is asked of calls, and what is explained |

pub mod driver;
pub mod metrics;
pub mod page;
pub mod status;

pub use status::Status;
