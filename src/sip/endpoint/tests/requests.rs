//! What single requests get: golden answers to real messages, and every status the core itself gives.

use super::*;

/// A file of tests/data/sip as it was on the wire.
fn wire(file: &str) -> String {
    let (head, body) = file.split_once("\n\n").unwrap();
    let body = body.replace('\n', "\r\n");
    let head = head.replace('\n', "\r\n").replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
    format!("{head}\r\n\r\n{body}")
}

#[test]
fn the_answer_to_a_media_server() {
    let mut world = World::new();
    world.receive(wire(include_str!("../../../../tests/data/sip/mcp_invite_two_sessions_far.sip")));
    let Event::Invite { dialog, request } = world.event() else { panic!() };
    assert_eq!(request.uri.param("recorddn").unwrap(), "7001");
    world.accept(dialog, ANSWER);
    let sent = world.sent.pop_front().unwrap();
    assert_eq!(sent.flow.remote, "192.0.2.20:15060".parse().unwrap());
    let text = String::from_utf8(sent.bytes).unwrap();
    let (before_tag, after_tag) = text.rsplit_once(";tag=").unwrap();
    let expected_before = "SIP/2.0 200 OK\r\n\
        Via: SIP/2.0/UDP 192.0.2.20:15060;branch=z9hG4bK0xbbbb\r\n\
        Via: SIP/2.0/TCP 192.0.2.21:7090;branch=z9hG4bK0xbbbb01;received=192.0.2.21\r\n\
        From: <sip:Genesys@192.0.2.21:7090>;tag=bbbb-0001\r\n\
        Call-ID: 22222222-2222-3333-4444-00000000bbbb-7090@192.0.2.21\r\n\
        CSeq: 1 INVITE\r\n\
        To: <sip:record=02ABCDEFGHIJKLMNOPQRSTUV00000002_2026-03-02_14-06-10@box.example:5060>";
    let expected_after = "\r\n\
        Record-Route: <sip:0x196e3b00@192.0.2.20:15060;lr;gvp.rm.datanodes=1;confinstid=2026-03-02:14-06-RM:15060;idtag=0000000D>\r\n\
        Server: nearend\r\n\
        Contact: <sip:192.0.2.30:5060>\r\n\
        Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO\r\n\
        Supported: timer, siprec\r\n\
        Session-Expires: 1800;refresher=uac\r\n\
        Require: timer\r\n\
        Content-Type: application/sdp\r\n\
        Content-Length: 35\r\n\r\nv=0\r\nm=audio 20000 RTP/AVP 0\r\n";
    assert_eq!(before_tag, expected_before);
    assert_eq!(&after_tag[16..], expected_after.replace("35", &ANSWER.len().to_string()));
}

#[test]
fn the_one_session_invite_comes_over_tcp() {
    let mut world = World::new();
    world.flow = tcp(3);
    world.receive(wire(include_str!("../../../../tests/data/sip/mcp_invite_one_session.sip")));
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, ANSWER);
    assert_eq!(world.sent[0].flow, tcp(3));
    let ok = world.response();
    assert_eq!(ok.contact().unwrap().uri.to_string(), "sip:192.0.2.30:5060;transport=tcp");
    let route = "<sip:0x196e3b00@192.0.2.20:15060;lr;gvp.rm.datanodes=1;confinstid=2026-03-02:14-05-RM:15060;idtag=0000000C>";
    assert_eq!(ok.headers.text("Record-Route").unwrap(), route);
}

#[test]
fn options_of_a_resource_manager() {
    let mut world = World::new();
    let options = wire(include_str!("../../../../tests/data/sip/rm_options.sip"));
    world.receive(&options);
    let ok = world.response();
    assert_eq!(ok.status.code(), 200);
    assert!(ok.headers.lists("Allow", "UPDATE") && ok.headers.lists("Accept", SDP) && ok.headers.lists("Supported", "timer"));
    assert_eq!(ok.to.uri.to_string(), "sip:192.0.2.30:5060");

    world.endpoint.set_availability(Availability::Unavailable { reason: "Disk full".into(), retry_after_s: 30 });
    world.receive(options.replace("0x0ff0", "0x0ff1").replace("CSeq: 1", "CSeq: 2"));
    let busy = world.response();
    assert_eq!((busy.status.code(), busy.reason.as_str()), (503, "Disk full"));
    assert_eq!(busy.headers.text("Retry-After").unwrap(), "30");
}

#[test]
fn statuses_of_the_core() {
    let cases = [
        (ask("BYE").to("x"), 481),
        (ask("BYE"), 481),
        (ask("INFO").to("x"), 481),
        (ask("UPDATE").to("x"), 481),
        (ask("INVITE").to("x"), 481),
        (ask("PRACK").to("x"), 481),
        (ask("CANCEL"), 481),
        (ask("REGISTER"), 405),
        (ask("SUBSCRIBE"), 405),
        (ask("OPTIONS").more("Max-Forwards: 0\r\n"), 200),
        (ask("INVITE").more("Require: timer, 100rel\r\nrequire: replaces\r\n"), 420),
        (ask("INVITE").more("Content-Type: text/plain\r\n").body_only("x"), 415),
        (ask("INVITE").more("Content-Encoding: gzip\r\n").body(OFFER), 415),
        (ask("INVITE").more("Supported: timer\r\nSession-Expires: 60\r\n"), 422),
    ];
    for (ask, status) in cases {
        assert_eq!(World::new().status_of(&ask), status, "{}", ask.text());
    }
}

impl Ask {
    fn body_only(self, body: &'static str) -> Ask {
        Ask { body, ..self }
    }
}

#[test]
fn errors_say_what_would_have_been_right() {
    let header = |ask: Ask, name: &str| {
        let mut world = World::new();
        world.receive(ask.text());
        world.response().headers.text(name).unwrap().into_owned()
    };
    assert_eq!(header(ask("MESSAGE"), "Allow"), "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO");
    assert_eq!(header(ask("INVITE").more("Require: timer, 100rel\r\nrequire: replaces\r\n"), "Unsupported"), "100rel, replaces");
    assert!(
        header(ask("UPDATE").to("x").more("Content-Type: text/plain\r\n").body_only("x"), "Accept")
            .starts_with("application/sdp")
    );
    assert_eq!(header(ask("INVITE").more("Content-Encoding: gzip\r\n").body(OFFER), "Accept-Encoding"), "identity");
    assert_eq!(header(ask("INVITE").more("k: timer\r\nx: 60\r\n"), "Min-SE"), "90");
}

#[test]
fn what_cannot_be_parsed_is_answered_without_state() {
    let mut world = World::new();
    for (from, to, status) in [
        ("sip:box@192.0.2.30 SIP/2.0", "http://box SIP/2.0", 416),
        ("192.0.2.30 SIP/2.0", "192.0.2.30 SIP/7.0", 505),
        ("INVITE sip", "FROBNICATE sip", 501),
        ("Content-Length: 0", "Content-Length: 700", 400),
    ] {
        world.receive(ask("INVITE").text().replace(from, to));
        let refused = world.response();
        assert_eq!(refused.status.code(), status);
        assert!(refused.to.tag().is_some());
    }
    world.receive(ask("ACK").text().replace("Content-Length: 0", "Content-Length: 700"));
    world.receive("SIP/2.0 200 OK\r\n\r\n");
    assert!(world.sent.is_empty() && world.endpoint.poll_timeout().is_none());
    assert_eq!(world.endpoint.counters().dropped, 2);
    let head = ask("INVITE").text();
    world.endpoint.handle_broken(tcp(1), head.as_bytes(), StatusCode::RequestEntityTooLarge, "Too long".into());
    world.collect();
    assert_eq!(world.response().status.code(), 413);
}

#[test]
fn a_request_that_comes_by_two_ways_is_a_loop() {
    let mut world = World::new();
    world.receive(invite().text());
    let merged = Ask { branch: "z9hG4bK-other".into(), ..invite() };
    assert_eq!(world.status_of(&merged), 482);
    world.receive(merged.text());
    assert_eq!(world.response().status.code(), 482); // repeated, not merged anew
    assert!(matches!(world.event(), Event::Invite { .. }));
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn accepted_bodies_and_extensions() {
    for more in [
        "Content-Type: multipart/mixed;boundary=x\r\n",
        "Content-Type:application/rs-metadata\r\n",
        "Content-Type: text/plain\r\nContent-Disposition: render; handling = optional\r\n",
        "Require: siprec\r\nContent-Type: Application/SDP\r\n",
        "",
    ] {
        let mut world = World::new();
        world.receive(ask("INVITE").more(more).body_only("x").text());
        assert!(matches!(world.event(), Event::Invite { .. }), "{more}");
    }
}

#[test]
fn old_peers_without_the_cookie_are_told_apart() {
    let mut world = World::new();
    let old = Ask { branch: "1".into(), ..ask("OPTIONS") };
    assert_eq!(world.status_of(&old), 200);
    world.receive(old.text());
    assert_eq!((world.response().status.code(), world.endpoint.counters().repeated), (200, 1));
    assert_eq!(world.status_of(&Ask { cseq: 2, ..old }), 200);
    assert_eq!(world.endpoint.counters().repeated, 1);
}

#[test]
fn no_more_than_the_limits() {
    let mut world = World::with(Config { max_transactions: 2, max_dialogs: 1, ..Config::default() });
    world.receive(invite().text());
    let second = invite().text().replace("Call-ID: call", "Call-ID: call2").replace("INVITE-1", "INVITE-2");
    world.receive(&second);
    let full = world.response();
    assert_eq!((full.status.code(), full.reason.as_str()), (503, "Too many calls"));
    world.receive(ask("OPTIONS").text());
    assert_eq!(world.response().reason, "Too many requests at once");
    assert_eq!(world.status_of(&ask("BYE").to("x")), 481);
    assert_eq!(world.status_of(&ask("INFO").to("x")), 481);
    assert_eq!(world.status_of(&ask("INFO").cseq(2).to("x")), 503);
    assert_eq!(world.endpoint.dialog_count(), 1);
}

#[test]
fn what_happens_is_counted() {
    let mut world = World::new();
    world.receive(ask("OPTIONS").text());
    world.receive(ask("OPTIONS").text());
    world.receive(ask("MESSAGE").text());
    let counters = world.endpoint.counters();
    assert_eq!((counters.requests["OPTIONS"], counters.requests["MESSAGE"]), (2, 1));
    assert_eq!((counters.responses[&2], counters.responses[&4]), (1, 1));
    assert_eq!((counters.repeated, counters.retransmitted), (1, 1));
}
