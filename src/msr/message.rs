//! The requests of a recording session as text, line by line in the shape in which media servers send them.
//!
//! Deliberately no library writes them: what the box must cope with is what stands here.

use std::net::SocketAddr;

use crate::sip::{Headers, HostPort, Method, NameAddr, Request, Response, StatusCode, render};

use crate::model::dialog::Transport;

/// What all requests of one dialog have in common.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// How it travels.
    pub transport: Transport,
    /// Where answers and the recorder's requests shall come.
    pub local: SocketAddr,
    /// A resource manager's traces: a second Via; and this Record-Route in the INVITE.
    pub record_route: Option<String>,
    /// Request-URI of the INVITE.
    pub uri: String,
    /// To, without tag.
    pub to: String,
    /// From, with our tag.
    pub from: String,
    /// Call-ID.
    pub call_id: String,
    /// Contact.
    pub contact: String,
    /// Further headers of the INVITE, each a line without its end.
    pub invite_headers: Vec<String>,
}

/// A body and what it is.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Content-Type; none without a body.
    pub content_type: Option<String>,
    /// The body.
    pub text: String,
}

/// The recorder's end of an established dialog (RFC 3261 §12.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its Contact: the Request-URI of what we send.
    pub target: String,
    /// To, with its tag.
    pub to: String,
    /// Route headers, in order.
    pub routes: Vec<String>,
}

/// A request on its way: number and branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// CSeq number.
    pub cseq: u32,
    /// Branch of the topmost Via.
    pub branch: String,
}

const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE";

impl Body {
    /// SDP.
    pub fn sdp(text: String) -> Body {
        Body { content_type: Some("application/sdp".to_owned()), text }
    }
}

impl Envelope {
    /// The INVITE that opens the session.
    pub fn invite(&self, stamp: &Stamp, body: &Body) -> Vec<u8> {
        let mut lines = self.head(Method::Invite, &self.uri, stamp, &self.to);
        if let Some(route) = &self.record_route {
            let first_route = lines.iter().position(|line| line.starts_with("Max-Forwards")).unwrap_or(lines.len());
            lines.insert(first_route, format!("Record-Route: {route}"));
        }
        lines.push(format!("Contact: {}", self.contact));
        lines.push(format!("Allow: {ALLOW}"));
        lines.extend(self.invite_headers.iter().cloned());
        finish(lines, body)
    }

    /// The ACK of a refusal (RFC 3261 §17.1.1.3): it belongs to the INVITE's transaction.
    pub fn ack_refusal(&self, stamp: &Stamp, refusal: &Response, remote: Option<&Remote>) -> Vec<u8> {
        let to = refusal.headers.text("To").unwrap_or_default();
        let uri = remote.map_or(&self.uri, |remote| &remote.target);
        let mut lines = self.head(Method::Ack, uri, stamp, &to);
        lines.extend(remote.iter().flat_map(|remote| route_lines(remote)));
        finish(lines, &Body::default())
    }

    /// A request within the dialog: ACK of a 2xx, re-INVITE, BYE.
    pub fn in_dialog(&self, method: Method, stamp: &Stamp, remote: &Remote, body: &Body) -> Vec<u8> {
        let mut lines = self.head(method, &remote.target, stamp, &remote.to);
        lines.extend(route_lines(remote));
        if method == Method::Invite {
            lines.push(format!("Contact: {}", self.contact));
            lines.push(format!("Allow: {ALLOW}"));
            lines.push("Supported: timer, uui".to_owned());
            lines.push("Session-Expires: 1800".to_owned());
        }
        finish(lines, body)
    }

    /// Our answer to a request of the recorder.
    pub fn answer(&self, request: &Request, status: StatusCode, body: &Body) -> Vec<u8> {
        let mut headers = answer_headers(request);
        headers.push("Contact", self.contact.as_str());
        headers.push("Allow", ALLOW);
        if let Some(content_type) = &body.content_type {
            headers.push("Content-Type", content_type.as_str());
        }
        render::response(&status, render::reason(&status), &headers, body.text.as_bytes())
    }

    /// What a 2xx tells of the recorder's end. The route set is the Record-Route in reverse (RFC 3261 §12.1.2) without entries that
    /// name ourselves: those are ours as the resource manager's, which takes them off before a request leaves.
    pub fn remote(&self, success: &Response) -> Option<Remote> {
        let is_ours = |route: &NameAddr| {
            let local = |at: &HostPort| at.ip() == Some(self.local.ip()) && at.port.unwrap_or(5060) == self.local.port();
            route.uri.host_port().is_some_and(local)
        };
        let routes = success.headers.list("Record-Route").into_iter().rev();
        let routes = routes.filter(|route| !NameAddr::parse(route).is_ok_and(|route| is_ours(&route)));
        Some(Remote {
            target: success.contact()?.uri.to_string(),
            to: success.headers.text("To")?.into_owned(),
            routes: routes.map(|route| String::from_utf8_lossy(route).into_owned()).collect(),
        })
    }

    /// Request line to CSeq.
    fn head(&self, method: Method, uri: &str, stamp: &Stamp, to: &str) -> Vec<String> {
        let Stamp { cseq, branch } = stamp;
        let (transport, local) = (self.transport.via_name(), self.local);
        let mut lines = vec![format!("{method} {uri} SIP/2.0"), format!("Via: SIP/2.0/{transport} {local};branch={branch}")];
        if self.record_route.is_some() {
            let media_server = SocketAddr::new(local.ip(), 7090);
            lines.push(format!("Via: SIP/2.0/TCP {media_server};branch={branch}01;received={}", local.ip()));
        }
        lines.push("Max-Forwards: 69".to_owned());
        lines.push(format!("From: {}", self.from));
        lines.push(format!("To: {to}"));
        lines.push(format!("Call-ID: {}", self.call_id));
        lines.push(format!("CSeq: {cseq} {method}"));
        lines
    }
}

/// Our answer to a request that belongs to no session of ours: 200 to OPTIONS, 481 to all else.
pub fn answer_outside(request: &Request) -> Vec<u8> {
    let status = if request.method == Method::Options { StatusCode::OK } else { StatusCode::CallTransactionDoesNotExist };
    render::response(&status, render::reason(&status), &answer_headers(request), b"")
}

/// What an answer repeats (RFC 3261 §8.2.6.2). To gets a tag where it has none, always the same: we keep nothing of such requests.
fn answer_headers(request: &Request) -> Headers {
    let mut headers = Headers::default();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        request.headers.all(name).for_each(|value| {
            headers.push(
                name,
                match (name, request.to.tag()) {
                    ("To", None) => [value, b";tag=nearend-msr"].concat(),
                    _ => value.to_vec(),
                },
            )
        });
    }
    headers
}

fn route_lines(remote: &Remote) -> impl Iterator<Item = String> {
    remote.routes.iter().map(|route| format!("Route: {route}"))
}

fn finish(mut lines: Vec<String>, body: &Body) -> Vec<u8> {
    lines.extend(body.content_type.as_ref().map(|content_type| format!("Content-Type: {content_type}")));
    lines.push(format!("Content-Length: {}", body.text.len()));
    format!("{}\r\n\r\n{}", lines.join("\r\n"), body.text).into_bytes()
}

#[cfg(test)]
mod tests {
    use crate::sip::Message;

    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            transport: Transport::Udp,
            local: "192.0.2.20:15060".parse().unwrap(),
            record_route: Some("<sip:0x1@192.0.2.20:15060;lr>".into()),
            uri: "sip:record=1@box.example:5060".into(),
            to: "<sip:record=1@box.example:5060>".into(),
            from: "<sip:Genesys@192.0.2.20:15060>;tag=a".into(),
            call_id: "c@192.0.2.20".into(),
            contact: "<sip:Genesys@192.0.2.20:15060>".into(),
            invite_headers: vec![],
        }
    }

    fn stamp(cseq: u32) -> Stamp {
        Stamp { cseq, branch: "z9hG4bK0xb".into() }
    }

    fn request(bytes: &[u8]) -> Request {
        match Message::parse(bytes) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn response(more: &str) -> Response {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK0xb\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:c@d>;tag=t;x=\"1\"\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        match Message::parse(text.as_bytes()) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_route_set_is_the_others_record_route_in_reverse() {
        let success = response(
            "Record-Route: <sip:0x1@192.0.2.20:15060;lr>, <sip:p1;lr>\r\nRecord-Route: <sip:p2:5070;lr;a=b:c>\r\n\
             Contact: \"box\" <sip:nearend@192.0.2.30:5060;transport=tcp>;x=1\r\n",
        );
        let remote = envelope().remote(&success).unwrap();
        assert_eq!(remote.routes, ["<sip:p2:5070;lr;a=b:c>", "<sip:p1;lr>"]);
        let bye = request(&envelope().in_dialog(Method::Bye, &stamp(2), &remote, &Body::default()));
        assert_eq!(bye.uri.to_string(), "sip:nearend@192.0.2.30:5060;transport=tcp");
        assert_eq!(bye.headers.text("To").unwrap(), "<sip:c@d>;tag=t;x=\"1\"");
        assert_eq!(bye.headers.list("Route"), [&b"<sip:p2:5070;lr;a=b:c>"[..], b"<sip:p1;lr>"]);
        assert_eq!((bye.cseq.to_string(), bye.headers.all("Via").count()), ("2 BYE".into(), 2));
        assert_eq!(envelope().remote(&response("")), None, "a 2xx without Contact makes no dialog");
    }

    #[test]
    fn a_refusal_is_acknowledged_in_its_own_transaction() {
        let ack = request(&envelope().ack_refusal(&stamp(1), &response(""), None));
        assert_eq!((ack.method, ack.cseq.number, ack.via.branch()), (Method::Ack, 1, Some("z9hG4bK0xb")));
        assert_eq!((ack.uri.to_string().as_str(), ack.to.tag()), ("sip:record=1@box.example:5060", Some("t")));
    }

    #[test]
    fn keep_alives_are_answered_and_strangers_turned_away() {
        let options = include_str!("../../tests/data/sip/rm_options.sip");
        let answer = Message::parse(&answer_outside(&request(options.as_bytes())));
        let Ok(Message::Response(answer)) = answer else { panic!("{answer:?}") };
        assert_eq!((answer.status, answer.to.tag()), (StatusCode::OK, Some("nearend-msr")));
        let bye = request(options.replace("OPTIONS sip", "BYE sip").replace("1 OPTIONS", "1 BYE").as_bytes());
        let Ok(Message::Response(answer)) = Message::parse(&answer_outside(&bye)) else { panic!() };
        assert_eq!(answer.status.code(), 481);
    }
}
