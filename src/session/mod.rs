//! Dialects: what an INVITE offers.
