//! One session against a recorder played by hand.

use crate::model::block::Law;
use crate::sip::{Message, Transport};

use super::super::options::Mode;
use super::*;

const START: MonoTime = MonoTime(1_000_000);
const ANSWER: &str = "v=0\r\nc=IN IP4 192.0.2.30\r\nm=audio 20000 RTP/AVP 0\r\na=recvonly\r\n";

fn after(ms: u64) -> MonoTime {
    START.after(Duration::from_millis(ms))
}

fn dialog(transport: Transport, invite_body: Body) -> Dialog {
    let local: SocketAddr = "192.0.2.20:5060".parse().unwrap();
    let envelope = Envelope {
        transport,
        local,
        record_route: None,
        uri: "sip:record=1@192.0.2.30:5060;calluuid=2".into(),
        to: "<sip:record=1@192.0.2.30:5060>".into(),
        from: "<sip:Genesys@192.0.2.20:5060>;tag=ours".into(),
        call_id: "c".into(),
        contact: "<sip:Genesys@192.0.2.20:5060>".into(),
        invite_headers: vec![],
    };
    let mode = Mode::TwoSession;
    let ports = vec![40_000];
    let (session, version) = (1, 0);
    let description = Description { mode, session, ip: local.ip(), ports, law: Law::Pcmu, ptime_ms: 20, paused: false, version };
    Dialog::open(START, envelope, description, invite_body, Rng::with_seed(1))
}

fn calling() -> (Dialog, Request) {
    let mut dialog = dialog(Transport::Udp, Body::sdp("v=0\r\n".into()));
    let invite = sent(&mut dialog);
    (dialog, invite)
}

/// The one request that is sent now.
fn sent(dialog: &mut Dialog) -> Request {
    let bytes = dialog.poll_transmit().expect("a message is sent");
    assert_eq!(dialog.poll_transmit(), None, "and only one");
    match Message::parse(&bytes) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn answer(to: &Request, status: u16, more: &str, body: &str) -> Response {
    let header = |name: &str| to.headers.text(name).unwrap().into_owned();
    let tag = if to.to.tag().is_some() { "" } else { ";tag=theirs" };
    let text = format!(
        "SIP/2.0 {status} x\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: c\r\nCSeq: {}\r\n\
         Contact: <sip:nearend@192.0.2.30:5060>\r\n{more}Content-Length: {}\r\n\r\n{body}",
        header("Via"),
        header("From"),
        header("To"),
        header("CSeq"),
        body.len()
    );
    match Message::parse(text.as_bytes()) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// A request of the recorder and our answer's status.
fn ask(dialog: &mut Dialog, method: &str, cseq: u32, body: &str) -> Response {
    let text = format!(
        "{method} sip:Genesys@192.0.2.20:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.30;branch=z9hG4bKr{cseq}\r\n\
         From: <sip:record=1@192.0.2.30:5060>;tag=theirs\r\nTo: <sip:Genesys@192.0.2.20:5060>;tag=ours\r\nCall-ID: c\r\n\
         CSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { panic!() };
    dialog.handle_request(&request);
    match Message::parse(&dialog.poll_transmit().expect("an answer")) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn up() -> Dialog {
    let (mut dialog, invite) = calling();
    dialog.handle_response(START, &answer(&invite, 200, "", ANSWER));
    assert_eq!(sent(&mut dialog).method, Method::Ack);
    assert!(matches!(dialog.poll_event(), Some(Event::Accepted(_))));
    dialog
}

fn run_until(dialog: &mut Dialog, end: MonoTime) -> Vec<(u64, Vec<u8>)> {
    let mut seen = Vec::new();
    while let Some(due) = dialog.poll_timeout().filter(|due| *due <= end) {
        dialog.handle_timeout(due);
        while let Some(bytes) = dialog.poll_transmit() {
            seen.push((due.since(START).as_millis() as u64, bytes));
        }
    }
    seen
}

#[test]
fn an_invite_is_repeated_until_something_comes_back() {
    let (mut dialog, invite) = calling();
    let repeated = run_until(&mut dialog, after(4_000));
    assert_eq!(repeated.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [500, 1_500, 3_500]);
    assert!(repeated.iter().all(|(_, bytes)| bytes.starts_with(b"INVITE sip:record=1@192.0.2.30:5060;calluuid=2 SIP/2.0\r\n")));
    dialog.handle_response(after(4_000), &answer(&invite, 100, "", ""));
    assert_eq!(run_until(&mut dialog, after(100_000)), []);
    dialog.handle_response(after(100_000), &answer(&invite, 180, "", ""));
    assert_eq!(dialog.poll_event(), None);
}

#[test]
fn without_an_answer_it_gives_up() {
    let (mut dialog, _) = calling();
    run_until(&mut dialog, after(40_000));
    assert_eq!(dialog.poll_event(), Some(Event::Unanswered));
    assert!(dialog.is_gone());
    let mut over_tcp = self::dialog(Transport::Tcp, Body::sdp("v=0\r\n".into()));
    sent(&mut over_tcp);
    assert_eq!(run_until(&mut over_tcp, after(40_000)), [], "a stream repeats nothing");
    assert_eq!(over_tcp.poll_event(), Some(Event::Unanswered));
}

#[test]
fn every_2xx_gets_its_ack() {
    let (mut dialog, invite) = calling();
    let ok = answer(&invite, 200, "Record-Route: <sip:rm;lr>\r\n", ANSWER);
    dialog.handle_response(after(10), &ok);
    let ack = sent(&mut dialog);
    assert_eq!((ack.method, ack.cseq.number, ack.uri.to_string()), (Method::Ack, 1, "sip:nearend@192.0.2.30:5060".into()));
    assert_eq!((ack.to.tag(), ack.headers.text("Route").unwrap().as_ref()), (Some("theirs"), "<sip:rm;lr>"));
    assert_ne!(ack.via.branch(), invite.via.branch());
    assert_eq!(dialog.poll_event(), Some(Event::Accepted(vec![Some("192.0.2.30:20000".parse().unwrap())])));
    dialog.handle_response(after(500), &ok);
    assert_eq!(sent(&mut dialog), ack);
    dialog.hang_up(after(600));
    assert_eq!(sent(&mut dialog).method, Method::Bye);
    dialog.handle_response(after(1_500), &ok);
    assert_eq!(sent(&mut dialog), ack, "also while hanging up");
    assert_eq!(dialog.poll_event(), None);
}

#[test]
fn a_refusal_is_acknowledged_each_time_it_comes() {
    let (mut dialog, invite) = calling();
    let busy = answer(&invite, 503, "Retry-After: 30\r\n", "");
    for _ in 0..2 {
        dialog.handle_response(after(10), &busy);
        let ack = sent(&mut dialog);
        assert_eq!((ack.method, ack.via.branch()), (Method::Ack, invite.via.branch()));
    }
    assert_eq!((dialog.poll_event(), dialog.poll_event()), (Some(Event::Refused(503)), None));
    assert!(!dialog.is_gone());
    run_until(&mut dialog, after(60_000));
    assert!(dialog.is_gone());
}

#[test]
fn hanging_up() {
    let mut dialog = up();
    dialog.hang_up(after(1_000));
    dialog.hang_up(after(1_001));
    let bye = sent(&mut dialog);
    assert_eq!((bye.method, bye.cseq.number, bye.to.tag()), (Method::Bye, 2, Some("theirs")));
    assert_eq!(run_until(&mut dialog, after(2_600)).len(), 2, "BYE is repeated");
    dialog.handle_response(after(2_700), &answer(&bye, 200, "", ""));
    assert_eq!((dialog.poll_event(), dialog.poll_event()), (Some(Event::HungUp { confirmed: true }), None));
    run_until(&mut dialog, after(60_000));
    assert!(dialog.is_gone());
}

#[test]
fn a_bye_that_is_refused_or_never_answered_is_told() {
    let mut dialog = up();
    dialog.hang_up(START);
    let bye = sent(&mut dialog);
    dialog.handle_response(START, &answer(&bye, 481, "", ""));
    assert_eq!(dialog.poll_event(), Some(Event::HungUp { confirmed: false }));
    let mut dialog = up();
    dialog.hang_up(START);
    run_until(&mut dialog, after(40_000));
    assert_eq!(dialog.poll_event(), Some(Event::HungUp { confirmed: false }));
}

#[test]
fn who_hangs_up_too_early_hangs_up_when_it_is_accepted() {
    let (mut dialog, invite) = calling();
    dialog.hang_up(after(1));
    assert_eq!(dialog.poll_transmit(), None);
    dialog.handle_response(after(2), &answer(&invite, 200, "", ANSWER));
    let methods: Vec<_> = std::iter::from_fn(|| dialog.poll_transmit()).map(|bytes| bytes[..3].to_vec()).collect();
    assert_eq!(methods, [b"ACK", b"BYE"]);
}

#[test]
fn the_answer_to_a_delayed_offer_goes_in_the_ack() {
    let mut dialog = dialog(Transport::Udp, Body::default());
    let invite = sent(&mut dialog);
    assert!(invite.body.is_empty() && invite.headers.first("Content-Type").is_none());
    let offer = ANSWER.to_owned() + "m=audio 20002 RTP/AVP 0\r\n";
    dialog.handle_response(START, &answer(&invite, 200, "Content-Type: application/sdp\r\n", &offer));
    let ack = sent(&mut dialog);
    assert_eq!(ack.content_type().as_deref(), Some("application/sdp"));
    let lines = crate::sip::sdp::SessionDescription::parse(&ack.body).unwrap().media;
    assert_eq!(lines.iter().map(|line| line.port).collect::<Vec<_>>(), [40_000, 0]);
}

#[test]
fn an_acceptance_of_no_use_is_hung_up() {
    let (mut dialog, invite) = calling();
    dialog.handle_response(START, &answer(&invite, 200, "", "v=0\r\nm=audio 0 RTP/AVP 0\r\n"));
    let methods: Vec<_> = std::iter::from_fn(|| dialog.poll_transmit()).map(|bytes| bytes[..3].to_vec()).collect();
    assert_eq!(methods, [b"ACK", b"BYE"]);
    assert_eq!(dialog.poll_event(), Some(Event::Unusable(NoMedia::NoLine)));
    let (mut dialog, invite) = calling();
    let mut nowhere = answer(&invite, 200, "", ANSWER);
    nowhere.headers = nowhere.headers.iter().filter(|h| h.name() != "Contact").fold(Default::default(), |mut headers, h| {
        crate::sip::Headers::push(&mut headers, h.name(), h.value());
        headers
    });
    dialog.handle_response(START, &nowhere);
    let events: Vec<_> = std::iter::from_fn(|| dialog.poll_event()).collect();
    assert_eq!(events, [Event::Unusable(NoMedia::NoContact), Event::HungUp { confirmed: false }]);
}

#[test]
fn pausing_and_resuming_are_re_invites_one_at_a_time() {
    let mut dialog = up();
    dialog.set_paused(after(10), true);
    let pause = sent(&mut dialog);
    assert_eq!((pause.method, pause.cseq.number), (Method::Invite, 2));
    assert!(String::from_utf8_lossy(&pause.body).contains("o=- 1 1 IN IP4 192.0.2.20\r\n"));
    assert!(String::from_utf8_lossy(&pause.body).contains("a=inactive\r\n"));
    dialog.set_paused(after(20), false);
    assert_eq!(dialog.poll_transmit(), None, "the first is still under way");
    dialog.handle_response(after(30), &answer(&pause, 200, "", ANSWER));
    let ack = dialog.poll_transmit().unwrap();
    assert!(ack.starts_with(b"ACK "));
    let resume = sent(&mut dialog);
    assert!(String::from_utf8_lossy(&resume.body).contains("a=sendonly\r\n"));
    dialog.handle_response(after(40), &answer(&resume, 488, "", ""));
    assert_eq!(sent(&mut dialog).method, Method::Ack);
    let events: Vec<_> = std::iter::from_fn(|| dialog.poll_event()).collect();
    assert_eq!(events, [Event::Changed, Event::ChangeRefused(488)]);
}

#[test]
fn the_session_is_refreshed_when_that_falls_to_us() {
    let (mut dialog, invite) = calling();
    dialog.handle_response(START, &answer(&invite, 200, "x: 600 ; Refresher=UAC\r\n", ANSWER));
    sent(&mut dialog);
    let refresh = run_until(&mut dialog, after(300_000));
    assert_eq!(refresh.len(), 1);
    let Ok(Message::Request(refresh)) = Message::parse(&refresh[0].1) else { panic!() };
    assert_eq!(refresh.method, Method::Invite);
    dialog.handle_response(after(300_000), &answer(&refresh, 200, "Session-Expires: 600;refresher=uac\r\n", ANSWER));
    sent(&mut dialog);
    run_until(&mut dialog, after(599_999));
    assert_eq!(dialog.poll_timeout(), Some(after(600_000)));
}

#[test]
fn the_recorders_requests_are_answered_once_and_again() {
    let mut dialog = up();
    assert_eq!(ask(&mut dialog, "OPTIONS", 7, "").status.code(), 200);
    assert_eq!(ask(&mut dialog, "INFO", 8, "").status.code(), 200);
    assert_eq!(ask(&mut dialog, "REFER", 9, "").status.code(), 405);
    assert_eq!(ask(&mut dialog, "UPDATE", 10, "").body, b"");
    let moved = ANSWER.replace("20000", "20008");
    for _ in 0..2 {
        let ok = ask(&mut dialog, "INVITE", 11, &moved);
        assert_eq!((ok.status.code(), ok.content_type().as_deref()), (200, Some("application/sdp")));
    }
    let expected = Event::Moved(vec![Some("192.0.2.30:20008".parse().unwrap())]);
    assert_eq!((dialog.poll_event(), dialog.poll_event()), (Some(expected), None));
    assert_eq!(ask(&mut dialog, "OPTIONS", 10, "").status.code(), 500);
}

#[test]
fn two_re_invites_that_cross() {
    let mut dialog = up();
    dialog.set_paused(after(1), true);
    sent(&mut dialog);
    assert_eq!(ask(&mut dialog, "INVITE", 1, ANSWER).status.code(), 491);
}

#[test]
fn the_recorder_hangs_up() {
    let mut dialog = up();
    assert_eq!(ask(&mut dialog, "BYE", 5, "").status.code(), 200);
    assert_eq!(ask(&mut dialog, "BYE", 5, "").status.code(), 200, "repeated");
    assert_eq!((dialog.poll_event(), dialog.poll_event()), (Some(Event::EndedByRecorder), None));
    dialog.hang_up(START);
    assert_eq!(dialog.poll_transmit(), None);
    assert_eq!(ask(&mut dialog, "INFO", 6, "").status.code(), 481);
}
