//! Who may do what: roles, and the tenants whose calls somebody may know of.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::TenantId;

/// What somebody may do; each may what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See how the box is, and which calls and recordings there are.
    Viewer,
    /// Hear them, pause and resume.
    Listener,
    /// Everything else.
    Admin,
}

/// The tenants whose calls somebody may know of; none named: all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(pub Option<BTreeSet<TenantId>>);

impl Scope {
    /// Whether calls of this tenant are within it.
    pub fn sees(&self, tenant: &str) -> bool {
        self.0.as_ref().is_none_or(|tenants| tenants.iter().any(|seen| &*seen.0 == tenant))
    }

    /// Whether nothing of the box is hidden.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether whoever has this scope may hand out `other`.
    pub fn includes(&self, other: &Scope) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => others.is_subset(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(tenants: &[&str]) -> Scope {
        Scope(Some(tenants.iter().map(|id| TenantId((*id).into())).collect()))
    }

    #[test]
    fn a_scope_hands_out_no_more_than_it_has() {
        let (all, some, one) = (Scope::default(), scope(&["101", "102"]), scope(&["101"]));
        assert!(all.includes(&some) && some.includes(&one) && some.includes(&some) && all.includes(&all));
        assert!(!one.includes(&some) && !some.includes(&all) && !one.includes(&scope(&["103"])));
        assert!(all.sees("x") && one.sees("101") && !one.sees("102") && !scope(&[]).sees("101"));
    }

    #[test]
    fn roles_rise() {
        assert!(Role::Viewer < Role::Listener && Role::Listener < Role::Admin);
    }
}
