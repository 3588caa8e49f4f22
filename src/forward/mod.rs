//! Delivers finished recordings to the targets.
