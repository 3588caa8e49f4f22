//! Which geo-location counts for one call: of those that are configured on what the call touches, the first in the order that
//! the kind of trigger says.
//!
//! | trigger | order |
//! |---|---|
//! | full-time, inbound | routing extension, routing point, inbound trunk, then the DN on which recording is enabled |
//! | full-time, outbound | routing extension, routing point, agent's DN, then the DN on which recording is enabled |
//! | routing strategy | `record=source`: the inbound trunk's; `record=destination`: the agent's |
//! | dynamic request | `record=source`: that of thisDN; `record=destination`: that of otherDN |

use serde::Serialize;

use crate::model::Side;

/// What a call may be recorded by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Recording is enabled on a DN.
    FullTime(FullTime),
    /// A routing strategy asks for it.
    Strategy(Selective),
    /// Somebody asks for it during the call.
    Dynamic(Dynamic),
}

/// A call with a DN on which recording is enabled. Locations that are not configured are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullTime {
    /// From an agent to a customer; else from a customer to an agent.
    pub outbound: bool,
    /// Of the trunk: inbound where the call came in, outbound the customer's.
    pub trunk: Option<String>,
    /// Of the routing point.
    pub routing_point: Option<String>,
    /// In the extensions of the routing request.
    pub extension: Option<String>,
    /// Of the agent's DN.
    pub agent: Option<String>,
    /// The DNs on which recording is enabled.
    pub recorded: Recorded,
}

/// On which DNs of a call recording is enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// On the agent's.
    pub agent: bool,
    /// On the trunk that leads to the caller or customer.
    pub outside: bool,
}

/// A strategy's routing request with the extension `record`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selective {
    /// Value of the extension.
    pub side: Side,
    /// Of the inbound trunk.
    pub trunk: Option<String>,
    /// Of the agent's DN.
    pub agent: Option<String>,
}

/// A recording request during the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynamic {
    /// Value of the extension `record`; the source where there is none.
    pub side: Side,
    /// Of the DN that the request names.
    pub this_dn: Option<String>,
    /// Of the DN at its other end.
    pub other_dn: Option<String>,
}

/// What a geo-location was configured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Extensions of the routing request.
    Extension,
    /// Routing point.
    RoutingPoint,
    /// Trunk.
    Trunk,
    /// The agent's DN.
    Agent,
    /// The DN that the request names.
    ThisDn,
    /// The DN at its other end.
    OtherDn,
}

impl Origin {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Extension => "extension",
            Origin::RoutingPoint => "routing-point",
            Origin::Trunk => "trunk",
            Origin::Agent => "agent",
            Origin::ThisDn => "this-dn",
            Origin::OtherDn => "other-dn",
        }
    }
}

/// The location that counts, and the way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// The location; none where none is configured that counts.
    pub selected: Option<String>,
    /// What it was configured on.
    pub from: Option<Origin>,
    /// What was looked at without finding one, in order.
    pub passed: Vec<Origin>,
}

impl Call {
    /// The location that counts.
    pub fn select(&self) -> Selection {
        let mut passed = Vec::new();
        for (origin, location) in self.order() {
            if location.is_some() {
                return Selection { selected: location.clone(), from: Some(origin), passed };
            }
            passed.push(origin);
        }
        Selection { selected: None, from: None, passed }
    }

    /// What counts, the strongest first.
    fn order(&self) -> Vec<(Origin, &Option<String>)> {
        match self {
            Call::FullTime(call) => call.order(),
            Call::Strategy(Selective { side: Side::Source, trunk, .. }) => vec![(Origin::Trunk, trunk)],
            Call::Strategy(Selective { side: Side::Destination, agent, .. }) => vec![(Origin::Agent, agent)],
            Call::Dynamic(Dynamic { side: Side::Source, this_dn, .. }) => vec![(Origin::ThisDn, this_dn)],
            Call::Dynamic(Dynamic { side: Side::Destination, other_dn, .. }) => vec![(Origin::OtherDn, other_dn)],
        }
    }
}

impl FullTime {
    fn order(&self) -> Vec<(Origin, &Option<String>)> {
        let (trunk, agent) = ((Origin::Trunk, &self.trunk), (Origin::Agent, &self.agent));
        let mut order = vec![(Origin::Extension, &self.extension), (Origin::RoutingPoint, &self.routing_point)];
        order.push(if self.outbound { agent } else { trunk });
        // Last the DN on which recording is enabled, where it has not had its turn.
        match self.outbound {
            true if self.recorded.outside => order.push(trunk),
            false if self.recorded.agent => order.push(agent),
            _ => {}
        }
        order
    }
}
