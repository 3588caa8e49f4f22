//! Station `tenants`: whose a call is. A side door, and pure: there is no driver.
//!
//! Data in: tenants, switches and DNs of the configuration. Data out: the tenant that a sender names, the switch of a DN, which
//! switches cannot be monitored.
//!
//! | file | responsible for |
//! |---|---|
//! | [`directory`] | tenants in their hierarchy, switches, DNs, and how they are found |

pub mod directory;

#[cfg(test)]
mod tests;

pub use directory::{Directory, Dn, Switch, Tenant};
