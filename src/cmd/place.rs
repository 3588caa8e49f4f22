//! Where a subcommand finds the box's data, and how a configuration that is wrong is told.

use std::path::{Path, PathBuf};

use clap::Args;
use nearend::config::{self, Config, Diagnostic};

/// The options of subcommands that look at a box's data.
#[derive(Args)]
pub(crate) struct Place {
    /// The configuration that says where the data is
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/nearend/nearend.toml", conflicts_with = "data_dir")]
    pub(crate) config: PathBuf,
    /// A data directory, such as one copied from a dead box, instead of the configured one
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// For programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// Reads a configuration; else all that is wrong, a line each.
pub(crate) fn load(path: &Path) -> Result<Config, String> {
    let faults = |faults: Vec<Diagnostic>| faults.iter().map(|fault| format!("{fault}\n")).collect::<String>();
    Ok(config::load(path).map_err(faults)?.config)
}
