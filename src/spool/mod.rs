//! Keeps blocks and descriptions safe.

pub mod disk;
pub mod scan;
pub mod segment;
