//! Station `web`: the status page, health and metrics. A side door: if it dies, no recording notices.
//!
//! In: a [`Status`] that the daemon publishes about once a second. Out: HTTP.
//!
//! | file | responsible for |
//! |---|---|
//! | [`status`], [`view`] | what is shown, as one value |
//! | [`alarms`] | what is wrong, and what to do |
//! | [`history`] | the last day, for the plots |
//! | [`recorded`], [`peaks`] | recordings as the API tells of them, and their picture |
//! | [`metrics`] | the status for Prometheus |
//! | `assets/` | the page: HTML, style sheet and modules that a browser runs as they are |
//! | [`driver`] | the HTTP server; below it the page's files, what is told, what is asked of calls, and what is explained |

pub mod alarms;
pub mod driver;
pub mod history;
pub mod metrics;
pub mod peaks;
pub mod recorded;
pub mod status;
pub mod view;

pub use status::Status;
