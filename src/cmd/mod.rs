//! The subcommands. Each gives the exit code: 0 done, 1 failed, 2 wrong usage or configuration.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod geo;
pub(crate) mod log;
pub(crate) mod place;
pub(crate) mod reconcile;
pub(crate) mod recordings;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod tone;
pub(crate) mod update;
pub(crate) mod verify;
