//! The configuration: file.rs (raw image of the TOML, unknown keys refused) -> typed.rs (resolved, checked).
