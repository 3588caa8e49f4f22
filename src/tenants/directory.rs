//! Tenants in their hierarchy, switches and DNs, and how they are found by what a sender says.
//!
//! An enterprise has one tenant, or several side by side. In a hierarchical contact centre a tenant may have a parent, and a
//! sender names it by its path: `Environment/acme/sales`. Two parents may each have a `sales`; the path tells them apart, and
//! a name that fits both is nobody's: a call never goes to a tenant by guess.

use crate::model::{DnRange, DnType, SwitchId, TenantId};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Tenants.
    pub tenants: Vec<Tenant>,
    /// Switches.
    pub switches: Vec<Switch>,
    /// DNs that are monitored.
    pub dns: Vec<Dn>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// The tenant above it.
    pub parent: Option<TenantId>,
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Its id.
    pub id: SwitchId,
    /// Whose it is; none: the default tenant's.
    pub tenant: Option<TenantId>,
    /// A SIP T-Server tells of its calls.
    pub is_monitored: bool,
}

/// DNs of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dn {
    /// Which.
    pub range: DnRange,
    /// Their type.
    pub dn_type: DnType,
    /// Their switch.
    pub switch: SwitchId,
}

/// A path longer than this is no tenant's.
const MOST_LEVELS: usize = 32;

impl Directory {
    /// Takes in what another knows of tenants, switches and DNs that this one does not know.
    pub fn complete(&mut self, other: Directory) {
        let tenants: Vec<Tenant> = other.tenants.into_iter().filter(|tenant| self.by_id(&tenant.id.0).is_none()).collect();
        let is_known = |switch: &Switch| self.switches.iter().any(|known| known.id == switch.id);
        let switches: Vec<Switch> = other.switches.into_iter().filter(|switch| !is_known(switch)).collect();
        let is_known = |dn: &Dn| self.dns.iter().any(|known| known.switch == dn.switch && known.range.meets(&dn.range));
        let dns: Vec<Dn> = other.dns.into_iter().filter(|dn| !is_known(dn)).collect();
        self.tenants.extend(tenants);
        self.switches.extend(switches);
        self.dns.extend(dns);
    }

    /// The tenant that a sender means: the first of its `hints` (an id, a name, or a path of names) that one tenant fits.
    pub fn tenant(&self, hints: &[String]) -> Option<&Tenant> {
        hints.iter().find_map(|hint| self.by_id(hint).or_else(|| self.by_path(hint)))
    }

    /// Whose a switch is.
    pub fn owner(&self, switch: &SwitchId) -> Option<&TenantId> {
        self.switches.iter().find(|known| known.id == *switch)?.tenant.as_ref()
    }

    /// The tenants above one, the nearest first.
    pub fn above(&self, tenant: &TenantId) -> impl Iterator<Item = &TenantId> {
        let parent = |id: &TenantId| self.by_id(&id.0).and_then(|tenant| tenant.parent.as_ref());
        std::iter::successors(parent(tenant), move |id| parent(id)).take(MOST_LEVELS)
    }

    /// The DN, of the switches of this tenant; none when it is on none of them, or on several.
    pub fn dn(&self, dn: &str, tenant: &TenantId) -> Option<&Dn> {
        let is_of =
            |known: &&Dn| self.owner(&known.switch).map_or(*tenant == TenantId::default_tenant(), |owner| owner == tenant);
        let mut found = self.dns.iter().filter(|known| known.range.contains(dn)).filter(is_of);
        let first = found.next()?;
        found.all(|other| other.switch == first.switch).then_some(first)
    }

    /// Switches whose calls nobody tells of.
    pub fn unmonitorable(&self) -> impl Iterator<Item = &SwitchId> {
        self.switches.iter().filter(|switch| !switch.is_monitored).map(|switch| &switch.id)
    }

    fn by_id(&self, id: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| *tenant.id.0 == *id)
    }

    /// The tenant whose name, and whose parents' names as far as both reach, are the end of the path. Of several the one with
    /// most levels in common; none when two have as many.
    fn by_path(&self, path: &str) -> Option<&Tenant> {
        let path: Vec<&str> = path.split('/').map(str::trim).filter(|part| !part.is_empty()).collect();
        let mut fitting: Vec<(usize, &Tenant)> =
            self.tenants.iter().filter_map(|tenant| Some((self.levels_in_common(tenant, &path)?, tenant))).collect();
        fitting.sort_by_key(|(levels, _)| std::cmp::Reverse(*levels));
        match &fitting[..] {
            [(best, _), (next, _), ..] if best == next => None,
            [(_, tenant), ..] => Some(tenant),
            [] => None,
        }
    }

    /// How many names of the path's end are the tenant's and its parents'; none when one differs.
    fn levels_in_common(&self, tenant: &Tenant, path: &[&str]) -> Option<usize> {
        let mut tenant = Some(tenant);
        let mut levels = 0;
        for name in path.iter().rev().take(MOST_LEVELS) {
            let Some(known) = tenant else { break }; // above are levels that the configuration does not name
            if known.name != *name && *known.id.0 != **name {
                return None;
            }
            levels += 1;
            tenant = known.parent.as_ref().and_then(|parent| self.by_id(&parent.0));
        }
        (levels > 0).then_some(levels)
    }
}
