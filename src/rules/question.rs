//! A call described by pairs of name and value, as on the command line or in the query of a URL.

use crate::model::{CallFacts, CallUuid, Direction, DnType, SwitchId, TenantId, WallTime};

/// A described call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    facts: CallFacts,
    tenant: Option<TenantId>,
    at: Option<WallTime>,
}

impl Question {
    /// Reads a description.
    ///
    /// # Errors
    /// Which name or value is wrong, and what was expected.
    pub fn read(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Question, String> {
        let facts = CallFacts::unknown(TenantId::default_tenant(), WallTime(0));
        let mut question = Question { facts, tenant: None, at: None };
        pairs.into_iter().try_for_each(|(name, value)| question.set(&name, value))?;
        Ok(question)
    }

    /// As rules see it. Whose call it is without a named tenant is `owner` to say; without a time it begins now.
    pub fn facts(self, now: WallTime, owner: impl Fn(&SwitchId) -> Option<TenantId>) -> CallFacts {
        let by_switch = || self.facts.switch.as_ref().and_then(owner);
        let tenant = self.tenant.or_else(by_switch).unwrap_or_else(TenantId::default_tenant);
        CallFacts { tenant, at: self.at.unwrap_or(now), ..self.facts }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let facts = &mut self.facts;
        match name {
            "dn" => facts.dn = Some(value),
            "dn-type" => facts.dn_type = Some(one_of(name, &value, &DnType::ALL, DnType::name)?),
            "other-dn" => facts.other_dn = Some(value),
            "agent" => facts.agent = Some(value),
            "ani" => facts.ani = Some(value),
            "dnis" => facts.dnis = Some(value),
            "direction" => facts.direction = Some(one_of(name, &value, &Direction::ALL, Direction::name)?),
            "attached" => {
                let pair = value.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = pair.ok_or_else(|| format!("attached {value:?}: expected KEY=VALUE"))?;
                facts.attached.insert(key.to_owned(), value.to_owned());
            }
            "tenant" => self.tenant = Some(TenantId(value.into())),
            "switch" => facts.switch = Some(SwitchId(value.into())),
            "call-uuid" => facts.call_uuid = Some(CallUuid(value.into())),
            "at" => {
                let time = value.parse::<jiff::Timestamp>();
                let time = time.map_err(|_| format!("at {value:?}: expected a time such as 2026-03-02T09:00:00-06:00"))?;
                self.at = Some(WallTime(time.as_microsecond()));
            }
            _ => return Err(format!("{name} is nothing that can be said of a call here")),
        }
        Ok(())
    }
}

fn one_of<T: Copy>(name: &str, value: &str, all: &[T], shown: fn(T) -> &'static str) -> Result<T, String> {
    let known = || all.iter().map(|one| shown(*one)).collect::<Vec<_>>().join(", ");
    all.iter().copied().find(|one| shown(*one) == value).ok_or_else(|| format!("{name} {value:?}: expected {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Question, String> {
        Question::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_tenant_is_the_named_one_else_that_of_the_switch() {
        let owner = |switch: &SwitchId| (&*switch.0 == "hq").then(|| TenantId("101".into()));
        let tenant = |pairs| read(pairs).unwrap().facts(WallTime(7), owner).tenant.to_string();
        assert_eq!(tenant(&[("switch", "hq")]), "101");
        assert_eq!(tenant(&[("switch", "hq"), ("tenant", "102")]), "102");
        assert_eq!(tenant(&[("switch", "west")]), "default");
    }

    #[test]
    fn what_is_said_is_what_rules_see() {
        let pairs = [("dn-type", "trunk-group"), ("attached", "skill=cards"), ("attached", "x=a=b"), ("direction", "inbound")];
        let facts = read(&pairs).unwrap().facts(WallTime(7), |_| None);
        assert_eq!((facts.dn_type, facts.direction, facts.at), (Some(DnType::TrunkGroup), Some(Direction::Inbound), WallTime(7)));
        assert_eq!((facts.attached["skill"].as_str(), facts.attached["x"].as_str()), ("cards", "a=b"));
        let facts = read(&[("at", "1970-01-01T00:00:01Z")]).unwrap().facts(WallTime(7), |_| None);
        assert_eq!(facts.at, WallTime(1_000_000));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value, words) in [
            ("direction", "up", "direction \"up\": expected "),
            ("attached", "=x", "expected KEY=VALUE"),
            ("at", "noon", "expected a time such as"),
            ("colour", "red", "colour is nothing"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
