//! How a SIPREC client opens a recording session (RFC 7866 §6, §9): multipart body of SDP and metadata (RFC 7865).

use std::fmt::Write;
use std::net::SocketAddr;

use fastrand::Rng;

use super::message::{Body, Envelope};
use super::options::Options;
use super::plan::{CallPlan, SessionPlan, text};

const BOUNDARY: &str = "nearend-msr-boundary";

/// The envelope of a call's session.
pub fn envelope(options: &Options, session: &SessionPlan, local: SocketAddr) -> Envelope {
    let to = format!("sip:srs@{}", options.to);
    let contact_params = options.uri_transport();
    Envelope {
        transport: options.transport,
        local,
        record_route: options.record_route.then(|| format!("<sip:{local};lr>")),
        uri: to.clone(),
        to: format!("<{to}>"),
        from: format!("<sip:src@{local}>;tag={}", session.tag),
        call_id: format!("{}@{}", session.call_id, local.ip()),
        contact: format!("<sip:src@{local}{contact_params}>;+sip.src"),
        invite_headers: [
            "Supported: timer",
            "Session-Expires: 1800",
            "Require: siprec",
            "Accept: application/sdp, application/rs-metadata",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

/// The INVITE's body.
pub fn body(options: &Options, plan: &CallPlan, sdp: &str, ids: &mut Rng) -> Body {
    let metadata = metadata(options, plan, ids);
    let text = format!(
        "--{BOUNDARY}\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n\
         --{BOUNDARY}\r\nContent-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n{metadata}\r\n\
         --{BOUNDARY}--\r\n"
    );
    Body { content_type: Some(format!("multipart/mixed;boundary={BOUNDARY}")), text }
}

/// One session, two participants, and one stream from each to the other.
fn metadata(options: &Options, plan: &CallPlan, ids: &mut Rng) -> String {
    let time = &plan.datetime;
    let [group, session, agent, customer, from_agent, from_customer] = std::array::from_fn(|_| id(ids));
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <recording xmlns=\"urn:ietf:params:xml:ns:recording:1\">\r\n\
         <datamode>complete</datamode>\r\n\
         <group group_id=\"{group}\"><associate-time>{time}</associate-time></group>\r\n\
         <session session_id=\"{session}\"><sipSessionID>{};remote={}</sipSessionID><group-ref>{group}</group-ref>\
         <start-time>{time}</start-time></session>\r\n",
        text(ids, 32, HEX),
        text(ids, 32, HEX),
    );
    let parties = [
        (&agent, &plan.recorded_dn, plan.agent_id.as_str(), &from_agent, &from_customer),
        (&customer, &plan.other_dn, "Customer", &from_customer, &from_agent),
    ];
    // Writing to a String cannot fail.
    for (party, dn, name, ..) in &parties {
        let _ = write!(
            xml,
            "<participant participant_id=\"{party}\"><nameID aor=\"sip:{dn}@{}\"><name xml:lang=\"en\">{name}</name></nameID>\
             </participant>\r\n",
            options.to.host(),
        );
    }
    for (stream, label) in [(&from_agent, 1), (&from_customer, 2)] {
        let _ = write!(xml, "<stream stream_id=\"{stream}\" session_id=\"{session}\"><label>{label}</label></stream>\r\n");
    }
    let _ = write!(
        xml,
        "<sessionrecordingassoc session_id=\"{session}\"><associate-time>{time}</associate-time></sessionrecordingassoc>\r\n"
    );
    for (party, _, _, send, recv) in &parties {
        let _ = write!(
            xml,
            "<participantsessionassoc participant_id=\"{party}\" session_id=\"{session}\"><associate-time>{time}</associate-time>\
             </participantsessionassoc>\r\n\
             <participantstreamassoc participant_id=\"{party}\"><send>{send}</send><recv>{recv}</recv></participantstreamassoc>\r\n"
        );
    }
    xml.push_str("</recording>\r\n");
    xml
}

const HEX: &[u8] = b"0123456789abcdef";

/// A UUID in Base64 (RFC 7865 §6): 16 bytes, so that the last character carries two bits only.
fn id(ids: &mut Rng) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    format!("{}{}==", text(ids, 21, alphabet), text(ids, 1, b"AQgw"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use quick_xml::Reader;
    use quick_xml::events::Event;

    use crate::model::WallTime;
    use crate::sip::{Message, Request};

    use super::super::message::Stamp;
    use super::super::options::Mode;
    use super::*;

    fn invite() -> Request {
        let options = Options { mode: Mode::Siprec, ..Options::new("sip:box.example".parse().unwrap()) };
        let mut ids = Rng::with_seed(1);
        let plan = CallPlan::new(&options, 0, WallTime(1_772_460_359_000_000), &mut ids);
        let envelope = envelope(&options, &plan.sessions[0], "192.0.2.20:5060".parse().unwrap());
        let body = body(&options, &plan, "v=0\r\n", &mut ids);
        match Message::parse(&envelope.invite(&Stamp { cseq: 1, branch: "z9hG4bKb".into() }, &body)) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_session_is_marked_as_the_rfc_wants() {
        let invite = invite();
        assert!(invite.headers.lists("Require", "siprec"));
        assert_eq!(invite.contact().unwrap().params.get("+sip.src"), Some(""));
        assert_eq!(invite.content_type().as_deref(), Some("multipart/mixed"));
        let body = String::from_utf8(invite.body).unwrap();
        let parts: Vec<_> = body.split(&format!("--{BOUNDARY}")).collect();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[1], "\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n");
        assert!(parts[2].contains("Content-Disposition: recording-session\r\n\r\n<?xml"));
        assert_eq!(parts[3], "--\r\n");
    }

    #[test]
    fn every_reference_in_the_metadata_leads_somewhere() {
        let body = String::from_utf8(invite().body).unwrap();
        let xml = &body[body.find("<?xml").unwrap()..body.find("</recording>").unwrap() + 12];
        let mut reader = Reader::from_str(xml);
        let (mut ids, mut references, mut depth) = (HashMap::<String, usize>::new(), Vec::new(), 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    depth += 1;
                    let element = tag.name().as_ref().to_owned();
                    for attribute in tag.attributes().map(Result::unwrap) {
                        let name = attribute.key.as_ref().to_owned();
                        let value = attribute.value.to_string();
                        if name == format!("{element}_id") {
                            assert_eq!(value.len(), 24);
                            *ids.entry(value).or_default() += 1;
                        } else if name.ends_with("_id") {
                            references.push(value);
                        }
                    }
                    if matches!(element.as_str(), "send" | "recv" | "group-ref") {
                        references.push(reader.read_text(tag.name()).unwrap().to_string());
                        depth -= 1;
                    }
                }
                Event::End(_) => depth -= 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(depth, 0);
        assert_eq!(ids.len(), 6);
        assert!(ids.values().all(|count| *count == 1));
        // group-ref; session of two streams, of the recording and of two parties; each party twice; send and recv of both.
        assert_eq!(references.len(), 1 + 5 + 4 + 4);
        assert!(references.iter().all(|reference| ids.contains_key(reference)));
    }
}
