//! Whose a call is, which rule counts for it, and which rules are in force: the configuration's are, until a reload brings better ones.

use std::collections::VecDeque;

use crate::clock::Now;
use crate::config::{Config, Loaded};
use crate::cti::{Cti, SessionFacts, Whose};
use crate::model::recording::Ruling;
use crate::model::{CallFacts, RecordingId, Side, TenantId};
use crate::recording::{Declined, Placement};
use crate::rules::{Action, Decision, Question, Rules};
use crate::session::Session;
use crate::tenants::{Directory, Dn, Switch, Tenant};

use super::Daemon;
use super::centre::Centre;

/// Declined recordings that are remembered: the second session of a call is declined like the first, whatever time it is.
const DECLINED_KEPT: usize = 1_000;

/// What decides over calls.
pub(super) struct Judge {
    /// What the configuration says.
    own: Directory,
    /// The same, completed by what the T-Servers say.
    all: Directory,
    rules: Rules,
    declined: VecDeque<(RecordingId, String)>,
}

impl Judge {
    pub(super) fn new(config: &Config) -> Judge {
        let own = directory(config);
        Judge { all: own.clone(), own, rules: rules(config), declined: VecDeque::new() }
    }

    /// The centre's configuration is known, or has changed.
    pub(super) fn learn(&mut self, config: &Config, centre: &Centre) {
        self.all = centre.complete(config, &self.own);
    }

    /// Where a new recording belongs, or the rule that wants nothing recorded.
    pub(super) fn judge(&mut self, now: Now, session: &Session, cti: &Cti) -> Result<Placement, Declined> {
        let known = |id: &RecordingId| self.declined.iter().find(|(declined, _)| declined == id).map(|(_, rule)| rule.clone());
        if let Some(rule) = session.recording_id.as_ref().and_then(known) {
            return Err(Declined { rule });
        }
        let facts = self.facts(now, session, cti);
        let (tenant, switch) = (facts.tenant.clone(), facts.switch.clone());
        let ruling = match self.decide(&facts) {
            Some((rule, action)) if !action.record.audio() => return Err(self.decline(session, rule)),
            Some((rule, action)) => Some(Box::new(ruling(rule, action))),
            None => None,
        };
        Ok(Placement { tenant, switch, ruling })
    }

    /// Whose side of a connected party a rule wants recorded, and which rule.
    pub(super) fn wants(&self, facts: &CallFacts) -> Option<(Side, String)> {
        let (rule, action) = self.decide(facts)?;
        action.record.audio().then(|| (action.side.unwrap_or(Side::Source), rule))
    }

    /// Which rule counts for a described call, and why.
    pub(super) fn explain(&self, now: Now, question: Question) -> Decision {
        self.rules.decide(&question.facts(now.wall, |switch| self.all.owner(switch).cloned()))
    }

    /// Switches whose calls nobody tells of.
    pub(super) fn unmonitorable(&self) -> Vec<String> {
        self.all.unmonitorable().map(ToString::to_string).collect()
    }

    /// Whose calls a tenant may know of.
    pub(super) fn whose(&self, tenant: &TenantId) -> Whose {
        match *tenant == TenantId::default_tenant() {
            true => Whose::unknown(),
            false => Whose::of(tenant.clone(), self.all.above(tenant).cloned()),
        }
    }

    /// The one place where rules are asked, whoever tells of the call.
    fn decide(&self, facts: &CallFacts) -> Option<(String, Action)> {
        let decision = self.rules.decide(facts);
        decision.rule.map(|rule| (rule, decision.action))
    }

    /// All that is known of a call: what its session says, and where that says nothing, what a T-Server has told.
    fn facts(&self, now: Now, session: &Session, cti: &Cti) -> CallFacts {
        // The box's own file first: what a T-Server makes up must not hide a tenant of the file.
        let hints = &session.tenant_hints;
        let named = self.own.tenant(hints).or_else(|| self.all.tenant(hints)).map(|tenant| tenant.id.clone());
        let mut facts = session.facts(named.clone().unwrap_or_else(TenantId::default_tenant), now.wall);
        let asked = SessionFacts {
            id: session.recording_id.as_ref(),
            call_uuid: session.call_uuid.as_ref(),
            dn: facts.dn.as_deref(),
            whose: self.whose(&facts.tenant),
        };
        if let Some(told) = cti.facts(now, &asked) {
            facts.complete(told, named.is_some());
        } else if let Some(dn) = facts.dn.as_ref().and_then(|dn| self.dn(dn, &facts.tenant)) {
            facts.dn_type = Some(dn.dn_type);
            facts.switch = Some(dn.switch.clone());
        }
        facts
    }

    fn dn(&self, dn: &str, tenant: &TenantId) -> Option<&Dn> {
        self.own.dn(dn, tenant).or_else(|| self.all.dn(dn, tenant))
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
    let Action { record: _, side: _, format, tone, retention_class, partitions } = action;
    Ruling { rule, retention_class, partitions, format, tone }
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
        match self.config.sip.tls.as_ref().map(super::sip_tls) {
            Some(Ok(acceptor)) => self.sip.renew_tls(acceptor),
            Some(Err(error)) => tracing::error!("the old certificate stays in force: {error}"),
            None => {}
        }
        self.config.rules = new.rules;
        self.config.calendars = new.calendars;
        self.judge.rules = rules(&self.config);
        tracing::info!(rules = self.judge.rules.count(), "reloaded: the new rules are in force");
    }
}
