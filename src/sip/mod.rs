//! The SIP user-agent server.
