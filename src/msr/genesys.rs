//! How a Genesys media server opens a recording session (MSR): Request-URI, Record-Route and headers as in `tests/data/sip`.

use std::net::SocketAddr;

use crate::model::Channel;

use super::message::Envelope;
use super::options::{Mode, Options};
use super::plan::{CallPlan, SessionPlan};

/// The envelope of one session of a call.
pub fn envelope(options: &Options, plan: &CallPlan, session: &SessionPlan, local: SocketAddr) -> Envelope {
    let to = format!("sip:record={}@{}", plan.recording_id, options.to);
    let contact_params = options.uri_transport();
    Envelope {
        transport: options.transport,
        local,
        record_route: options.record_route.then(|| record_route(plan, session, local)),
        uri: format!("{to}{}", uri_params(options, plan, session)),
        to: format!("<{to}>"),
        from: format!("<sip:Genesys@{local}>;tag={}", session.tag),
        call_id: format!("{}-7090@{}", session.call_id, local.ip()),
        contact: format!("<sip:Genesys@{local}{contact_params}>"),
        invite_headers: invite_headers(plan),
    }
}

fn uri_params(options: &Options, plan: &CallPlan, session: &SessionPlan) -> String {
    let tenant = options.tenant.as_deref().unwrap_or("Environment");
    let CallPlan { call_uuid, recorded_dn, other_dn, ani, agent_id, dnis, conn_id, datetime, .. } = plan;
    if options.mode == Mode::OneSession {
        let transport = options.uri_transport();
        return format!(
            ";calluuid={call_uuid};dn={recorded_dn};otherdn={other_dn};agentid={agent_id};ani={ani};connid={conn_id}\
             ;datetime={datetime};dnis={dnis};gvp-tenant-id=[{tenant}].record;recorddn={recorded_dn};sipsappname=sips_east_1\
             ;media-id={call_uuid}{transport}"
        );
    }
    let dn = if session.channels.first() == Some(&Channel::Recorded) { recorded_dn } else { other_dn };
    format!(
        ";calluuid={call_uuid};dn={dn};recordDN={recorded_dn};otherDN={other_dn};ani={ani};dnis={dnis};connid={conn_id}\
         ;datetime={datetime};gvp-tenant-id=[{tenant}].record;sipsappname=sips_east_1"
    )
}

fn record_route(plan: &CallPlan, session: &SessionPlan, local: SocketAddr) -> String {
    let (date, time) = plan.datetime.split_once('T').unwrap_or_default();
    let minute = time.get(..5).unwrap_or_default().replace(':', "-");
    let tag = session.tag.get(..8).unwrap_or_default();
    format!("<sip:0x196e3b00@{local};lr;gvp.rm.datanodes=1;confinstid={date}:{minute}-RM:15060;idtag={tag}>")
}

fn invite_headers(plan: &CallPlan) -> Vec<String> {
    let guid = &plan.gvp_session;
    vec![
        "Supported: timer, uui".to_owned(),
        "Session-Expires: 1800".to_owned(),
        format!("User-to-User: 04FA0800{}", &plan.conn_id) + ";encoding=hex",
        format!("X-Genesys-GVP-Session-ID: {guid};gvp.rm.datanodes=2|1;gvp.rm.tenant-id=1_record"),
        format!("X-Genesys-GVP-Session-Data: callsession={guid};2;1;;;;Environment;record;;0;record"),
        "X-Genesys-RM-Application-dbid: 108".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use crate::model::WallTime;
    use crate::sip::{Message, Request, Transport};

    use super::super::message::{Body, Stamp};
    use super::*;

    fn request(bytes: &[u8]) -> Request {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn invite(mode: Mode, transport: Transport, session: usize) -> Request {
        let to = "sip:box.example".parse().unwrap();
        let options = Options { mode, transport, record_route: true, ..Options::new(to) };
        let plan = CallPlan::new(&options, 0, WallTime(1_772_460_359_000_000), &mut Rng::with_seed(1));
        let local = "192.0.2.20:15060".parse().unwrap();
        let stamp = Stamp { cseq: 1, branch: "z9hG4bK0xbbbb".into() };
        request(&envelope(&options, &plan, &plan.sessions[session], local).invite(&stamp, &Body::sdp("v=0\r\n".into())))
    }

    fn header_names(request: &Request) -> Vec<&str> {
        request.headers.iter().map(|h| h.name()).collect()
    }

    fn param_names(request: &Request) -> Vec<&str> {
        request.uri.params().iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn one_session_has_the_shape_of_the_sample() {
        let sample = request(include_bytes!("../../tests/data/sip/mcp_invite_one_session.sip"));
        let ours = invite(Mode::OneSession, Transport::Tcp, 0);
        assert_eq!(param_names(&ours), param_names(&sample));
        // Behind a resource manager there are two Vias; this sample was taken in front of it.
        let mut expected = header_names(&sample);
        expected.insert(1, "Via");
        assert_eq!(header_names(&ours), expected);
        assert_eq!(ours.uri.param("datetime"), sample.uri.param("datetime"));
        assert_eq!(ours.uri.user().unwrap().len(), sample.uri.user().unwrap().len());
        assert_eq!(ours.uri.param("media-id"), ours.uri.param("calluuid"));
    }

    #[test]
    fn both_sessions_have_the_shape_of_the_samples() {
        let samples = [
            request(include_bytes!("../../tests/data/sip/mcp_invite_two_sessions_recorded.sip")),
            request(include_bytes!("../../tests/data/sip/mcp_invite_two_sessions_far.sip")),
        ];
        for (session, sample) in samples.iter().enumerate() {
            let ours = invite(Mode::TwoSession, Transport::Udp, session);
            assert_eq!(param_names(&ours), param_names(sample));
            let params = ["dn", "recorddn", "otherdn", "ani", "dnis", "gvp-tenant-id", "sipsappname"];
            params.iter().for_each(|name| assert_eq!(ours.uri.param(name), sample.uri.param(name), "{name}"));
            let vias = |request: &Request| request.headers.list("Via").len();
            assert_eq!(vias(&ours), vias(sample));
            let route = ours.headers.text("Record-Route").unwrap().into_owned();
            assert_eq!(
                route.split_once(";lr;").unwrap().1.len(),
                "gvp.rm.datanodes=1;confinstid=2026-03-02:14-05-RM:15060;idtag=0000000D>".len()
            );
        }
    }

    #[test]
    fn the_sessions_of_a_call_have_one_recording_id_and_two_dialogs() {
        let (one, two) = (invite(Mode::TwoSession, Transport::Udp, 0), invite(Mode::TwoSession, Transport::Udp, 1));
        assert_eq!(one.uri.user(), two.uri.user());
        assert_ne!((one.call_id, one.from.tag().map(str::to_owned)), (two.call_id, two.from.tag().map(str::to_owned)));
    }
}
