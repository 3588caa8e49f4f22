//! Status page, health, metrics.
