//! Whose a call is, which rule counts for it, and which rules are in force: the configuration's are, until a reload brings better ones.

use std::collections::VecDeque;

use crate::clock::Now;
use crate::config::{Config, Loaded};
use crate::model::recording::Ruling;
use crate::model::{RecordingId, TenantId};
use crate::recording::{Declined, Placement};
use crate::rules::{Action, Rules};
use crate::session::Session;
use crate::tenants::{Directory, Dn, Switch, Tenant};

use super::Daemon;

/// Declined recordings that are remembered: the second session of a call is declined like the first, whatever time it is.
const DECLINED_KEPT: usize = 1_000;

/// What decides over calls.
pub(super) struct Judge {
    directory: Directory,
    rules: Rules,
    declined: VecDeque<(RecordingId, String)>,
}

impl Judge {
    pub(super) fn new(config: &Config) -> Judge {
        Judge { directory: directory(config), rules: rules(config), declined: VecDeque::new() }
    }

    /// Where a new recording belongs, or the rule that wants nothing recorded.
    pub(super) fn judge(&mut self, now: Now, session: &Session) -> Result<Placement, Declined> {
        let known = |id: &RecordingId| self.declined.iter().find(|(declined, _)| declined == id).map(|(_, rule)| rule.clone());
        if let Some(rule) = session.recording_id.as_ref().and_then(known) {
            return Err(Declined { rule });
        }
        let tenant = self.directory.tenant(&session.tenant_hints).map_or_else(TenantId::default_tenant, |t| t.id.clone());
        let mut facts = session.facts(tenant, now.wall);
        if let Some(dn) = facts.dn.as_ref().and_then(|dn| self.directory.dn(dn, &facts.tenant)) {
            facts.dn_type = Some(dn.dn_type);
            facts.switch = Some(dn.switch.clone());
        }
        let decision = self.rules.decide(&facts);
        let ruling = match decision.rule {
            Some(rule) if !decision.action.record.audio() => return Err(self.decline(session, rule)),
            Some(rule) => Some(Box::new(ruling(rule, decision.action))),
            None => None,
        };
        Ok(Placement { tenant: facts.tenant, switch: facts.switch, ruling })
    }

    fn decline(&mut self, session: &Session, rule: String) -> Declined {
        if let Some(id) = &session.recording_id {
            self.declined.truncate(DECLINED_KEPT - 1);
            self.declined.push_front((id.clone(), rule.clone()));
        }
        Declined { rule }
    }
}

fn ruling(rule: String, action: Action) -> Ruling {
    Ruling { rule, retention_class: action.retention_class, partitions: action.partitions, tone: action.tone }
}

fn rules(config: &Config) -> Rules {
    Rules::new(config.rules.clone(), config.calendars.clone())
}

fn directory(config: &Config) -> Directory {
    let tenants = config.tenants.iter();
    let owner = |switch: &_| config.tenants.iter().find(|tenant| tenant.switches.contains(switch)).map(|t| t.id.clone());
    let switch = |switch: &crate::config::Switch| Switch {
        id: switch.id.clone(),
        tenant: owner(&switch.id),
        is_monitored: config.tservers.iter().any(|tserver| tserver.switch == switch.id),
    };
    let dns = |tserver: &crate::config::TServer| -> Vec<Dn> {
        let dn =
            |dns: &crate::config::MonitoredDn| Dn { range: dns.dn.clone(), dn_type: dns.dn_type, switch: tserver.switch.clone() };
        tserver.dns.iter().map(dn).collect()
    };
    Directory {
        tenants: tenants.map(|t| Tenant { id: t.id.clone(), name: t.name.clone(), parent: t.parent.clone() }).collect(),
        switches: config.switches.iter().map(switch).collect(),
        dns: config.tservers.iter().flat_map(dns).collect(),
    }
}

impl Daemon {
    /// A configuration that was read anew: its rules and calendars are in force from now on, for calls that begin from now on.
    /// All else needs a restart, which ends no call.
    pub(super) fn reload(&mut self, loaded: Loaded) {
        loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let Loaded { config: new, .. } = loaded;
        let all_else = |config: &Config| Config { rules: Vec::new(), calendars: Vec::new(), ..config.clone() };
        if all_else(&new) != all_else(&self.config) {
            tracing::warn!(
                "the file differs in more than rules and calendars; the rest is in force after a restart, which ends no call"
            );
        }
        self.config.rules = new.rules;
        self.config.calendars = new.calendars;
        self.judge.rules = rules(&self.config);
        self.cti.tell(crate::cti::Command::Rules(self.judge.rules.clone()));
        tracing::info!(rules = self.judge.rules.count(), "reloaded: the new rules are in force");
    }
}
