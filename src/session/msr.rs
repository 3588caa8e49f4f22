//! Genesys Media Stream Replication.
