//! What a session says that rules ask for.

use crate::model::{CallFacts, Channel, TenantId, WallTime};

use super::Session;

impl Session {
    /// The call from the side of the recorded party. Both sessions of a call say the same, so that they are treated alike.
    pub fn facts(&self, tenant: TenantId, at: WallTime) -> CallFacts {
        let parameter = |name: &str| self.parameters.get(name).filter(|value| !value.is_empty()).cloned();
        let party = |channel| self.parties.iter().find(|party| party.channel == Some(channel)).and_then(|p| p.dn.clone());
        let dn = parameter("recorddn").or_else(|| party(Channel::Recorded));
        let own = parameter("dn").filter(|own| dn.as_ref().is_some_and(|dn| !own.eq_ignore_ascii_case(dn)));
        CallFacts {
            call_uuid: self.call_uuid.clone(),
            other_dn: own.or_else(|| parameter("otherdn")).or_else(|| party(Channel::Other)),
            dn,
            agent: parameter("agentid"),
            ani: parameter("ani"),
            dnis: parameter("dnis"),
            ..CallFacts::unknown(tenant, at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    fn facts(file: &str, audio_lines: usize) -> CallFacts {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sip").join(file);
        let text = std::fs::read_to_string(path).unwrap().replace('\n', "\r\n");
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => {
                Session::read(&request, None, audio_lines).facts(TenantId::default_tenant(), WallTime(0))
            }
            Message::Response(_) => panic!("{file} is a request"),
        }
    }

    #[test]
    fn both_sessions_of_a_call_say_the_same() {
        let recorded = facts("mcp_invite_two_sessions_recorded.sip", 1);
        let far = facts("mcp_invite_two_sessions_far.sip", 1);
        assert_eq!((recorded.dn.as_deref(), recorded.other_dn.as_deref()), (Some("7001"), Some("5550100")));
        assert_eq!((far.dn, far.other_dn, far.call_uuid), (recorded.dn, recorded.other_dn, recorded.call_uuid));
    }

    #[test]
    fn one_session_says_it_all() {
        let facts = facts("mcp_invite_one_session.sip", 2);
        assert_eq!((facts.dn.as_deref(), facts.other_dn.as_deref()), (Some("7001"), Some("5550100")));
        assert_eq!((facts.agent.as_deref(), facts.ani.as_deref()), (Some("agent_anna"), Some("5550100")));
    }
}
