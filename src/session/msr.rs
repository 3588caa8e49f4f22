//! Genesys Media Stream Replication: what a media server says in the parameters of the request-URI and in its headers.
//!
//! `sip:record=<id>@box;calluuid=…;dn=…;recorddn=…;otherdn=…`: the session whose `dn` is the `recorddn` is the recorded party's
//! (channel 1). One session with two audio lines carries the recorded party on the first. Parameter names come in any
//! case: documents write `recordDN`, captures show `recorddn`.

use std::collections::BTreeMap;

use crate::model::{CallUuid, Channel, RecordingId};
use crate::sip::message::Request;

use super::Party;

/// The recording id in the user part of the request-URI: `record=<id>`.
pub fn recording_id(request: &Request) -> Option<RecordingId> {
    let user = request.uri.user()?;
    let (name, id) = user.split_once('=')?;
    (name.eq_ignore_ascii_case("record") && !id.is_empty()).then(|| RecordingId(id.into()))
}

/// All parameters of the request-URI, names in lower case, values unescaped.
pub fn parameters(request: &Request) -> BTreeMap<String, String> {
    let unescaped = |value: Option<&str>| crate::sip::uri::unescape(value.unwrap_or_default()).into_owned();
    request.uri.params().iter().map(|(name, value)| (name.to_ascii_lowercase(), unescaped(value))).collect()
}

/// The CallUUID: of the request-URI, else of `X-Genesys-CallUUID`.
pub fn call_uuid(request: &Request, parameters: &BTreeMap<String, String>) -> Option<CallUuid> {
    let uuid = parameters.get("calluuid").cloned();
    let uuid = uuid.or_else(|| request.headers.text("X-Genesys-CallUUID").map(|text| text.into_owned()));
    uuid.filter(|uuid| !uuid.is_empty()).map(|uuid| CallUuid(uuid.into()))
}

/// Who speaks on the first and the second audio line. A session with one line is the recorded party's if its DN says so.
pub fn parties(parameters: &BTreeMap<String, String>, audio_lines: usize) -> Vec<Party> {
    let dn = |name: &str| parameters.get(name).filter(|dn| !dn.is_empty()).cloned();
    if audio_lines >= 2 {
        let recorded = Party { channel: Some(Channel::Recorded), dn: dn("recorddn").or_else(|| dn("dn")), label: None };
        let other = Party { channel: Some(Channel::Other), dn: dn("otherdn"), label: None };
        return vec![recorded, other];
    }
    let channel = match (dn("dn"), dn("recorddn")) {
        (Some(own), Some(recorded)) if own.eq_ignore_ascii_case(&recorded) => Some(Channel::Recorded),
        (Some(_), Some(_)) => Some(Channel::Other),
        _ => None,
    };
    vec![Party { channel, dn: dn("dn"), label: None }]
}

/// What names the tenant, from the most exact to the vaguest: the id in `gvp.rm.tenant-id=101_record` of the GVP session id, the
/// tenant path of the session data (`Environment/acme`), `gvp-tenant-id=[Environment/acme].record` of the request-URI.
pub fn tenant_hints(request: &Request, parameters: &BTreeMap<String, String>) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(id) = request.headers.text("X-Genesys-GVP-Session-ID") {
        let tenant = id.split(';').find_map(|part| part.trim().strip_prefix("gvp.rm.tenant-id="));
        hints.extend(tenant.map(|t| t.split_once('_').map_or(t, |(id, _profile)| id).to_owned()));
    }
    if let Some(data) = request.headers.text("X-Genesys-GVP-Session-Data") {
        hints.extend(data.split(';').nth(6).map(str::to_owned));
    }
    if let Some(path) = parameters.get("gvp-tenant-id").and_then(|id| id.strip_prefix('[')?.split(']').next()) {
        hints.push(path.to_owned());
    }
    hints
}

/// Every `X-` header and `User-to-User`, as received.
pub fn kept_headers(request: &Request) -> Vec<(String, String)> {
    let is_kept =
        |name: &str| name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-")) || name.eq_ignore_ascii_case("user-to-user");
    request.headers.iter().filter(|h| is_kept(h.full_name())).map(|h| (h.name().to_owned(), h.text().into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Session;
    use super::*;
    use crate::model::recording::Dialect;
    use crate::sip::message::Message;

    fn session(file: &str, audio_lines: usize) -> Session {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sip").join(file);
        let text = std::fs::read_to_string(path).unwrap().replace('\n', "\r\n");
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => Session::read(&request, None, audio_lines),
            Message::Response(_) => panic!("{file} is a request"),
        }
    }

    #[test]
    fn two_sessions_say_who_is_who() {
        let recorded = session("mcp_invite_two_sessions_recorded.sip", 1);
        let far = session("mcp_invite_two_sessions_far.sip", 1);
        assert_eq!(recorded.recording_id, far.recording_id);
        assert_eq!(recorded.recording_id, Some(RecordingId("02ABCDEFGHIJKLMNOPQRSTUV00000002_2026-03-02_14-06-10".into())));
        assert_eq!(recorded.call_uuid, Some(CallUuid("02ABCDEFGHIJKLMNOPQRSTUV00000002".into())));
        assert_eq!(recorded.parties, [Party { channel: Some(Channel::Recorded), dn: Some("7001".into()), label: None }]);
        assert_eq!(far.parties, [Party { channel: Some(Channel::Other), dn: Some("5550100".into()), label: None }]);
        assert_eq!(recorded.dialect, Dialect::Msr);
    }

    #[test]
    fn one_session_keeps_all_it_says() {
        let session = session("mcp_invite_one_session.sip", 2);
        let dns: Vec<_> = session.parties.iter().map(|p| (p.channel.unwrap().number(), p.dn.clone().unwrap())).collect();
        assert_eq!(dns, [(1, "7001".into()), (2, "5550100".into())]);
        for (name, value) in [
            ("ani", "5550100"),
            ("connid", "0192037900000a7c"),
            ("datetime", "2026-03-02T14:05:59Z"),
            ("gvp-tenant-id", "[Environment].record"),
            ("agentid", "agent_anna"),
            ("transport", "tcp"),
        ] {
            assert_eq!(session.parameters.get(name).map(String::as_str), Some(value), "{name}");
        }
        let names: Vec<_> = session.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["User-to-User", "X-Genesys-GVP-Session-ID", "X-Genesys-GVP-Session-Data", "X-Genesys-RM-Application-dbid"]
        );
        assert_eq!(session.tenant_hints, ["1", "Environment", "Environment"]);
    }
}
