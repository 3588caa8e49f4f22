//! Keeps blocks and descriptions safe.
