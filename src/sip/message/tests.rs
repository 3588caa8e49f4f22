//! The four messages of real media servers, what other parsers trip over, and anything at all.

use proptest::prelude::*;

use super::*;
use crate::sip::uri::unescape;

const ONE_SESSION: &str = include_str!("../../../tests/data/sip/mcp_invite_one_session.sip");
const TWO_SESSIONS_FAR: &str = include_str!("../../../tests/data/sip/mcp_invite_two_sessions_far.sip");
const TWO_SESSIONS_RECORDED: &str = include_str!("../../../tests/data/sip/mcp_invite_two_sessions_recorded.sip");
const RM_OPTIONS: &str = include_str!("../../../tests/data/sip/rm_options.sip");
const ALL: [&str; 4] = [ONE_SESSION, TWO_SESSIONS_FAR, TWO_SESSIONS_RECORDED, RM_OPTIONS];

/// The file as it was on the wire: CRLF in the head, the body's true length.
fn wire(file: &str) -> Vec<u8> {
    let (head, body) = file.split_once("\n\n").unwrap();
    let body = body.replace('\n', "\r\n");
    let head = head.replace('\n', "\r\n").replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    format!("{head}\r\n\r\n{body}").into_bytes()
}

fn request(bytes: &[u8]) -> Request {
    match Message::parse(bytes) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn refusal(text: &str) -> (u16, String) {
    match Message::parse(text.as_bytes()) {
        Err(ParseError::Refused(refusal)) => (refusal.status.code(), refusal.reason),
        other => panic!("{other:?}"),
    }
}

/// An INVITE of which single lines can be replaced.
fn invite(replaced: &str, by: &str) -> String {
    let text = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:f@g>;tag=1\r\nTo: <sip:a@b>\r\n\
                Call-ID: c\r\nCSeq: 1 INVITE\r\n\r\n";
    assert!(text.contains(replaced), "{replaced}");
    text.replace(replaced, by)
}

#[test]
fn one_session_invite() {
    let r = request(&wire(ONE_SESSION));
    assert_eq!(r.method, Method::Invite);
    assert_eq!(r.uri.user(), Some("record=01ABCDEFGHIJKLMNOPQRSTUV00000001_2026-03-02_14-05-59"));
    assert_eq!(r.uri.host_port().unwrap().to_string(), "box.example:5060");
    let params: Vec<_> = r.uri.params().iter().map(|(name, value)| (name, value.unwrap())).collect();
    let expected = [
        ("calluuid", "01ABCDEFGHIJKLMNOPQRSTUV00000001"),
        ("dn", "7001"),
        ("otherdn", "5550100"),
        ("agentid", "agent_anna"),
        ("ani", "5550100"),
        ("connid", "0192037900000a7c"),
        ("datetime", "2026-03-02T14:05:59Z"),
        ("dnis", "8005550199"),
        ("gvp-tenant-id", "[Environment].record"),
        ("recorddn", "7001"),
        ("sipsappname", "sips_east_1"),
        ("media-id", "01ABCDEFGHIJKLMNOPQRSTUV00000001"),
        ("transport", "tcp"),
    ];
    assert_eq!(params, expected);
    assert_eq!((r.via.transport.as_str(), r.via.branch()), ("TCP", Some("z9hG4bK0x1a2b3c01")));
    assert_eq!((r.from.tag(), r.to.tag()), (Some("0A1B2C3D-0001"), None));
    assert_eq!(r.call_id, "11111111-2222-3333-4444-555555555555-7094@192.0.2.21");
    assert_eq!(r.contact().unwrap().uri.param("transport").unwrap(), "tcp");
    assert_eq!(r.headers.text("User-to-User").unwrap(), "04FA08004704DE66A2A560;encoding=hex");
    assert_eq!(
        r.headers.text("x-genesys-gvp-session-id").unwrap(),
        "A8565000-5F6C-D09A-308B-000000000001;gvp.rm.datanodes=2|1;gvp.rm.tenant-id=1_record"
    );
    assert_eq!(r.content_type().as_deref(), Some("application/sdp"));
    assert!(r.body.starts_with(b"v=0\r\n") && r.body.ends_with(b"a=record:on\r\n"));
}

#[test]
fn two_session_invites() {
    for (file, dn, branch) in [(TWO_SESSIONS_FAR, "5550100", "z9hG4bK0xbbbb"), (TWO_SESSIONS_RECORDED, "7001", "z9hG4bK0xaaaa")] {
        let r = request(&wire(file));
        assert_eq!(r.uri.param("dn").unwrap(), dn);
        assert_eq!(r.uri.param("RecordDN").unwrap(), "7001");
        assert_eq!(r.via.branch(), Some(branch));
        assert_eq!(r.headers.list("Via").len(), 2);
        let record_route = r.headers.text("Record-Route").unwrap();
        assert!(
            record_route.starts_with(
                "<sip:0x196e3b00@192.0.2.20:15060;lr;gvp.rm.datanodes=1;confinstid=2026-03-02:14-06-RM:15060;idtag="
            )
        );
        assert_eq!(r.headers.text("X-Genesys-geo-location").unwrap(), "dallas");
    }
}

#[test]
fn options_with_a_bare_to() {
    let r = request(&wire(RM_OPTIONS));
    assert_eq!(r.method, Method::Options);
    assert_eq!(r.to.uri.to_string(), "sip:192.0.2.30:5060");
    assert!(r.body.is_empty());
}

#[test]
fn what_is_written_is_read_back_the_same() {
    for file in ALL {
        let bytes = wire(file);
        let r = request(&bytes);
        assert_eq!(request(&r.render()), r);
    }
}

/// What rsip gets wrong, in one message: compact names, folding, space before the colon, lists, quoted parameters, IPv6,
/// bytes that are no UTF-8, leading empty lines, a surplus after the body.
#[test]
fn everything_legal_and_odd_in_one_message() {
    let r = request(
        b"\r\n\r\nINVITE tel:+1201;phone-context=[x]:y SIP/2.0\r\nv : SIP/2.0/UDP [2001:db8::9]:5062;branch=z9hG4bK7\r\n ;rport, SIP/2.0/TCP a\r\n\
          f: \"A, <B>\" <sip:[2001:db8::1]>;tag=1\r\nt: sip:a@b;calluuid=X\r\ni: c\xff\r\nCSEQ: 7\r\n INVITE\r\n\
          m: \"x\" <sip:m@[::1]:5070;transport=tcp>;+sip.src;a=\"b;c\", <sip:n@o>\r\nc:application/SDP ; charset=x\r\nl:3\r\nX-R: \xfe\r\n\r\nv=0 surplus",
    );
    assert_eq!(r.uri.user(), Some("+1201"));
    assert_eq!(r.uri.param("phone-context").unwrap(), "[x]:y");
    assert!(r.via.wants_rport());
    assert_eq!(r.via.sent_by.to_string(), "[2001:db8::9]:5062");
    assert_eq!(r.from.display.as_deref(), Some("A, <B>"));
    assert_eq!(r.to.params.get("calluuid"), Some("X"));
    assert_eq!((r.call_id.as_str(), r.cseq.number), ("c\u{fffd}", 7));
    assert_eq!(r.contact().unwrap().uri.host_port().unwrap().to_string(), "[::1]:5070");
    assert_eq!(r.contact().unwrap().params.get("+SIP.SRC"), Some(""));
    assert_eq!(r.content_type().as_deref(), Some("application/sdp"));
    assert_eq!(r.body, b"v=0");
    assert_eq!(r.headers.first("X-R"), Some(&b"\xfe"[..]));
}

#[test]
fn broken_requests_say_what_is_wrong_with_them() {
    assert_eq!(refusal(&invite("SIP/2.0\r\nVia", "SIP/3.0\r\nVia")), (505, "SIP/3.0 is not SIP/2.0".into()));
    assert_eq!(refusal(&invite("INVITE", "FROBNICATE")), (501, "FROBNICATE is not implemented".into()));
    assert_eq!(refusal(&invite("INVITE sip", "invite sip")), (501, "invite is not implemented".into()));
    assert_eq!(refusal(&invite("sip:a@b SIP", "http://x SIP")), (416, "Unsupported URI scheme http".into()));
    assert_eq!(refusal(&invite("sip:a@b SIP", "sip:a@b c SIP")), (400, "Request-URI: there is a space in it".into()));
    assert_eq!(refusal(&invite("<sip:f@g>", "<f@g>")), (400, "From: no scheme in \"f@g\"".into()));
    assert_eq!(refusal(&invite("Call-ID", "Call")), (400, "Call-ID is missing".into()));
    assert_eq!(refusal(&invite("CSeq:", "t: <sip:c@d>\r\nCSeq:")), (400, "To is there twice".into()));
    assert_eq!(refusal(&invite("1 INVITE", "1 BYE")), (400, "CSeq is of BYE, the request of INVITE".into()));
    assert_eq!(refusal(&invite("1 INVITE", "x INVITE")), (400, "\"x INVITE\" is no CSeq".into()));
    assert_eq!(refusal(&invite("c\r\n", "c\r\nl: 4\r\nl: 5\r\n")), (400, "Content-Length is there twice and differs".into()));
    assert_eq!(refusal(&invite("c\r\n", "c\r\nl: -4\r\n")), (400, "Content-Length \"-4\" is no number".into()));
    assert_eq!(refusal(&(invite("c\r\n", "c\r\nl: 9\r\n") + "v=0")), (400, "Content-Length says 9 bytes, 3 arrived".into()));
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let texts = [
        String::new(),
        "\r\n\r\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        invite("\r\n\r\n", ""),
        invite("Via: ", "Vla: "),
        invite("SIP/2.0/UDP h", "UDP h"),
        "SIP/2.0 99 Low\r\n\r\n".into(),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n".into(),
    ];
    for text in texts {
        assert!(matches!(Message::parse(text.as_bytes()), Err(ParseError::Unreadable(_))), "{text}");
    }
}

#[test]
fn responses() {
    let text = invite("INVITE sip:a@b SIP/2.0", "SIP/2.0 422 Session Interval Too Small").replace("<sip:a@b>", "<sip:a@b>;tag=9");
    let Ok(Message::Response(r)) = Message::parse(text.as_bytes()) else { panic!() };
    assert_eq!((r.status.code(), r.reason.as_str()), (422, "Session Interval Too Small"));
    assert_eq!((r.to.tag(), r.cseq.method), (Some("9"), Method::Invite));
    assert!(!r.is_provisional() && !r.is_success());
    assert_eq!(Message::parse(&r.render()), Ok(Message::Response(Response { headers: with_length(&r.headers), ..r })));
}

fn with_length(headers: &Headers) -> Headers {
    let mut headers = headers.clone();
    headers.push("Content-Length", "0");
    headers
}

/// One careless byte operation: overwrite, insert, delete a stretch, repeat a stretch.
fn mutate(bytes: &mut Vec<u8>, (kind, at, value, length): (u8, u16, u8, u8)) {
    let at = usize::from(at) % (bytes.len() + 1);
    let end = (at + usize::from(length)).min(bytes.len());
    match kind {
        0 if at < bytes.len() => bytes[at] = value,
        1 => bytes.insert(at, value),
        2 => drop(bytes.drain(at..end)),
        _ => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_messages_never_panic_and_read_back_the_same(
        file in 0..ALL.len(),
        mutations in prop::collection::vec((0..4u8, any::<u16>(), any::<u8>(), any::<u8>()), 1..12),
    ) {
        let mut bytes = wire(ALL[file]);
        mutations.into_iter().for_each(|m| mutate(&mut bytes, m));
        if let Ok(Message::Request(read)) = Message::parse(&bytes) {
            let rendered = read.render();
            let again = request(&rendered);
            prop_assert_eq!(again.render(), rendered);
            prop_assert_eq!((again.method, &again.call_id, again.cseq, &again.body), (read.method, &read.call_id, read.cseq, &read.body));
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        let _ = Message::parse(&bytes);
        let _ = NameAddr::parse(&bytes);
        let _ = Via::parse(&bytes);
        let _ = CSeq::parse(&bytes);
        prop_assert!(unescape(&text).len() <= text.len() * 3);
    }
}
