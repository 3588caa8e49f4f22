//! Where log lines go: to the journal when systemd listens, else to standard error. `RUST_LOG` chooses what is logged.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{filter::Targets, fmt};

/// Begins to log; `default` holds where `RUST_LOG` says nothing.
pub(crate) fn begin(default: &str) {
    let filter = |directives: &str| directives.parse::<Targets>().ok();
    let asked = std::env::var("RUST_LOG").ok().and_then(|directives| filter(&directives));
    let filter = asked.or_else(|| filter(default)).unwrap_or_default();
    let registry = tracing_subscriber::registry().with(filter);
    // systemd sets JOURNAL_STREAM for a service whose standard error is the journal (systemd.exec(5)).
    let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => registry.with(fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).with_target(false)).init(),
    }
}
