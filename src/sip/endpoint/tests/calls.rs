//! Calls from INVITE to BYE, and what can come between.

use super::*;

#[test]
fn an_invite_without_answer_is_told_to_wait() {
    let mut world = World::new();
    world.receive(invite().text());
    world.receive(invite().text());
    assert!(world.sent.is_empty());
    world.pass_s(1);
    assert_eq!(world.times(), [(200, "SIP/2.0 100 Trying".into())]);
    world.receive(invite().text());
    let trying = world.response();
    assert_eq!((trying.status.code(), trying.to.tag()), (100, None));
}

#[test]
fn a_200_is_repeated_until_it_is_acknowledged() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, ANSWER);
    let tag = world.response().to.tag().unwrap().to_owned();
    world.receive(invite().text()); // RFC 6026: absorbed
    world.pass(Duration::from_millis(3_600));
    world.receive(ask("ACK").to(&tag).text());
    world.pass_s(60);
    let times: Vec<_> = world.times().into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, REPEATS_MS[..3]);
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn a_200_that_nobody_acknowledges_ends_the_call() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, ANSWER);
    world.pass(Duration::from_millis(32_000));
    let times = world.times();
    let repeats: Vec<_> = times.iter().filter(|(_, line)| line.ends_with("200 OK")).map(|(at, _)| *at).collect();
    assert_eq!(repeats[1..], REPEATS_MS);
    assert_eq!(times.last().unwrap(), &(32_000, "BYE sip:mcp@192.0.2.21:7090 SIP/2.0".to_owned()));
    assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::NoAck });
    assert_eq!(world.endpoint.dialog_count(), 0);
}

#[test]
fn a_rejection_is_repeated_until_it_is_acknowledged() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    let mut headers = Headers::default();
    headers.push("Warning", "304 nearend \"no PCMU\"");
    world.endpoint.reject(world.now, dialog, StatusCode::NotAcceptableHere, "Not Acceptable Here", headers).unwrap();
    world.collect();
    assert_eq!(world.response().headers.text("Warning").unwrap(), "304 nearend \"no PCMU\"");
    world.receive(invite().text());
    assert_eq!(world.response().status.code(), 488);
    world.pass(Duration::from_millis(1_600));
    world.receive(ask("ACK").to("whatever").text().replace("ACK-1", "INVITE-1"));
    world.pass_s(60);
    assert_eq!(world.times().iter().map(|(at, _)| *at).collect::<Vec<_>>(), REPEATS_MS[..2]);
    assert_eq!((world.endpoint.dialog_count(), world.endpoint.served.len()), (0, 0));
}

#[test]
fn a_rejection_over_tcp_is_not_repeated() {
    let mut world = World::new();
    world.flow = tcp(1);
    assert_eq!(world.status_of(&ask("INVITE").more("Require: x\r\n")), 420);
    world.pass_s(60);
    assert!(world.sent.is_empty() && world.endpoint.served.is_empty());
}

#[test]
fn a_bye_ends_the_call_and_is_answered_as_often_as_it_comes() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    assert_eq!(world.status_of(&ask("BYE").cseq(2).to(&tag)), 200);
    assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::Bye });
    world.receive(ask("BYE").cseq(2).to(&tag).text());
    assert_eq!(world.response().status.code(), 200);
    assert_eq!(world.status_of(&ask("INFO").cseq(3).to(&tag)), 481);
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn an_info_is_answered_and_told() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    assert_eq!(world.status_of(&ask("INFO").cseq(2).to(&tag).more("Content-Type: application/x\r\n")), 200);
    assert!(matches!(world.event(), Event::Info { dialog: d, request } if d == dialog && request.method == Method::Info));
    assert_eq!(world.status_of(&ask("OPTIONS").cseq(3).to(&tag)), 200);
}

#[test]
fn a_lower_cseq_is_out_of_order() {
    let mut world = World::new();
    let (_, tag, _) = world.call(&invite().cseq(5));
    assert_eq!(world.status_of(&ask("INFO").cseq(4).to(&tag)), 500);
    assert_eq!(world.status_of(&ask("INFO").cseq(6).to(&tag)), 200);
}

#[test]
fn a_cancel_before_the_answer_ends_the_call() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.receive(ask("CANCEL").text().replace("CANCEL-1", "INVITE-1"));
    let (cancel, invite) = (world.response(), world.response());
    assert_eq!((cancel.status.code(), cancel.cseq.method), (200, Method::Cancel));
    assert_eq!((invite.status.code(), invite.cseq.method), (487, Method::Invite));
    assert_eq!(cancel.to.tag(), invite.to.tag());
    assert_eq!(world.event(), Event::Cancelled { dialog });
    assert_eq!(world.endpoint.accept(world.now, dialog, SDP, Vec::new()), Err(NothingPending));
}

#[test]
fn a_cancel_after_the_answer_changes_nothing() {
    let mut world = World::new();
    let (_, tag, _) = world.call(&invite());
    world.receive(ask("CANCEL").text().replace("CANCEL-1", "INVITE-1"));
    assert_eq!(world.response().status.code(), 200);
    assert_eq!((world.sent.len(), world.endpoint.poll_event()), (0, None));
    assert_eq!(world.status_of(&ask("BYE").cseq(2).to(&tag)), 200);
}

#[test]
fn a_delayed_offer_is_answered_by_the_ack() {
    let mut world = World::new();
    world.receive(ask("INVITE").text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, OFFER);
    let tag = world.response().to.tag().unwrap().to_owned();
    // While our offer is open, an offer of the peer would cross it.
    assert_eq!(world.status_of(&ask("INVITE").cseq(2).to(&tag).body(OFFER)), 491);
    world.receive(ask("ACK").to(&tag).body(ANSWER).text());
    let Event::Answered { dialog: answered, request } = world.event() else { panic!() };
    assert_eq!((answered, request.body.as_slice()), (dialog, ANSWER.as_bytes()));
    world.receive(ask("ACK").to(&tag).body(ANSWER).text());
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn an_offer_in_a_multipart_body_is_none_of_ours() {
    let mut world = World::new();
    let body = "--x\r\nContent-Type: Application/SDP\r\n\r\nv=0\r\n--x--\r\n";
    let multipart = Ask { body, ..ask("INVITE").more("Content-Type: multipart/mixed;boundary=x\r\n") };
    world.call(&multipart);
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn renegotiation_one_at_a_time() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    world.receive(ask("INVITE").cseq(2).to(&tag).body(OFFER).text());
    assert!(matches!(world.event(), Event::Reinvite { dialog: d, .. } if d == dialog));
    world.receive(ask("UPDATE").cseq(3).to(&tag).text());
    let busy = world.response();
    assert_eq!(busy.status.code(), 500);
    assert!(busy.headers.text("Retry-After").unwrap().parse::<u32>().unwrap() <= 10);
    world.accept(dialog, ANSWER);
    assert_eq!(world.response().cseq, CSeq { number: 2, method: Method::Invite });
    // The ACK is late; the peer has seen the 200, or it would not go on.
    world.receive(ask("UPDATE").cseq(4).to(&tag).text());
    assert!(matches!(world.event(), Event::Reinvite { request, .. } if request.method == Method::Update));
    world.accept(dialog, "");
    let ok = world.response();
    assert_eq!((ok.cseq.method, ok.headers.first("Content-Type"), ok.body.len()), (Method::Update, None, 0));
}

#[test]
fn a_rejected_reinvite_leaves_the_dialog_as_it_was() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    let moved = |method: &'static str, cseq| ask(method).cseq(cseq).to(&tag).text().replace("192.0.2.21:7090", "192.0.2.99:7091");
    world.receive(moved("INVITE", 2));
    world.endpoint.reject(world.now, dialog, StatusCode::NotAcceptableHere, "No", Headers::default()).unwrap();
    world.collect();
    assert_eq!(world.response().status.code(), 488);
    world.receive(moved("UPDATE", 3));
    world.accept(dialog, "");
    world.sent.clear();
    world.endpoint.probe(world.now, dialog);
    world.collect();
    assert_eq!(world.request().uri.to_string(), "sip:mcp@192.0.2.99:7091"); // moved by the UPDATE only
    assert_eq!(world.endpoint.dialog_count(), 1);
}

#[test]
fn a_bye_answers_what_was_still_open() {
    let mut world = World::new();
    let (_, tag, _) = world.call(&invite());
    world.receive(ask("INVITE").cseq(2).to(&tag).body(OFFER).text());
    world.receive(ask("BYE").cseq(3).to(&tag).text());
    let statuses: Vec<_> = [world.response(), world.response()].iter().map(|r| (r.status.code(), r.cseq.method)).collect();
    assert_eq!(statuses, [(487, Method::Invite), (200, Method::Bye)]);
}

#[test]
fn a_cancelled_reinvite_leaves_the_call() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    world.receive(ask("INVITE").cseq(2).to(&tag).body(OFFER).text());
    assert!(matches!(world.event(), Event::Reinvite { .. }));
    world.receive(ask("CANCEL").cseq(2).to(&tag).text().replace("CANCEL-2", "INVITE-2"));
    assert_eq!((world.response().status.code(), world.response().status.code()), (200, 487));
    assert_eq!((world.endpoint.poll_event(), world.endpoint.dialog_count()), (None, 1));
    assert_eq!(world.endpoint.accept(world.now, dialog, SDP, Vec::new()), Err(NothingPending));
}

#[test]
fn our_bye_follows_the_route_set() {
    let mut world = World::with(Config {
        listeners: vec![Listener { transport: Transport::Tcp, address: "192.0.2.30:5060".parse().unwrap() }],
        advertise: Some("203.0.113.30".parse().unwrap()),
        ..Config::default()
    });
    let routes = "Record-Route: <sip:192.0.2.22:15060;transport=tcp;lr;id=2026:\u{e9}>, \"b\" <sip:c@d;lr>;x=y\r\n";
    let (dialog, _, ok) = world.call(&invite().more(routes));
    assert_eq!(ok.contact().unwrap().uri.to_string(), "sip:203.0.113.30:5060");
    world.endpoint.bye(world.now, dialog, "Shut \"down\"");
    world.collect();
    assert_eq!(world.sent[0].flow, Flow { remote: "192.0.2.22:15060".parse().unwrap(), connection: None, ..tcp(0) });
    let bye = world.request();
    assert_eq!((bye.method, bye.uri.to_string().as_str()), (Method::Bye, "sip:mcp@192.0.2.21:7090"));
    let expected = ["<sip:192.0.2.22:15060;transport=tcp;lr;id=2026:\u{e9}>", "\"b\" <sip:c@d;lr>;x=y"];
    assert_eq!(bye.headers.all("Route").collect::<Vec<_>>(), expected.map(str::as_bytes));
    assert_eq!((bye.from.tag(), bye.to.tag()), (ok.to.tag(), Some("peer")));
    assert_eq!((bye.via.sent_by.to_string().as_str(), bye.via.transport.as_str()), ("203.0.113.30:5060", "TCP"));
    assert_eq!(bye.headers.text("Reason").unwrap(), "SIP;text=\"Shut down\"");
    world.answer(&bye, 200, &[]);
    world.pass_s(60);
    assert!(world.sent.is_empty() && world.endpoint.placed.is_empty());
    assert_eq!((world.endpoint.poll_event(), world.endpoint.dialog_count()), (None, 0));
}

#[test]
fn a_strict_router_takes_the_request_uri() {
    let mut world = World::new();
    let (dialog, ..) = world.call(&invite().more("Record-Route: <sip:192.0.2.22:15060>\r\nRecord-Route: <sip:c@d;lr>\r\n"));
    world.endpoint.bye(world.now, dialog, "x");
    world.collect();
    assert_eq!(world.sent[0].flow.remote, "192.0.2.22:15060".parse().unwrap());
    let bye = world.request();
    assert_eq!(bye.uri.to_string(), "sip:192.0.2.22:15060");
    assert_eq!(bye.headers.all("Route").collect::<Vec<_>>(), [&b"<sip:c@d;lr>"[..], b"<sip:mcp@192.0.2.21:7090>"]);
}

#[test]
fn our_bye_is_repeated_and_given_up() {
    let mut world = World::new();
    let (dialog, ..) = world.call(&invite());
    world.endpoint.bye(world.now, dialog, "x");
    world.collect();
    world.pass_s(60);
    assert_eq!(world.times()[1..].iter().map(|(at, _)| *at).collect::<Vec<_>>(), REPEATS_MS);
    assert_eq!((world.endpoint.poll_event(), world.endpoint.placed.len()), (None, 0));
}

#[test]
fn our_bye_waits_for_the_ack() {
    let mut world = World::new();
    world.receive(ask("INVITE").text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, OFFER);
    let tag = world.response().to.tag().unwrap().to_owned();
    world.endpoint.bye(world.now, dialog, "x");
    world.collect();
    assert!(world.sent.is_empty());
    assert_eq!(world.status_of(&ask("UPDATE").cseq(2).to(&tag)), 481);
    world.receive(ask("ACK").to(&tag).body(ANSWER).text());
    assert_eq!(world.request().method, Method::Bye);
    assert_eq!((world.endpoint.poll_event(), world.endpoint.dialog_count()), (None, 0));
}

#[test]
fn our_bye_before_the_answer_is_a_rejection() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.endpoint.bye(world.now, dialog, "Shutdown");
    world.collect();
    assert_eq!(world.response().status.code(), 480);
    assert_eq!((world.sent.len(), world.endpoint.dialog_count()), (0, 0));
}

#[test]
fn a_probe_finds_out_who_has_vanished() {
    for (status, alive) in [(200, true), (405, true), (481, false), (408, false)] {
        let mut world = World::new();
        let (dialog, ..) = world.call(&invite());
        world.endpoint.probe(world.now, dialog);
        world.collect();
        let options = world.request();
        assert_eq!((options.method, options.cseq.number), (Method::Options, 1));
        world.answer(&options, 100, &[]);
        world.answer(&options, status, &[]);
        let ended = Event::Ended { dialog, reason: EndReason::PeerVanished };
        assert_eq!(world.endpoint.poll_event(), (!alive).then_some(ended), "{status}");
        assert_eq!(world.sent.len(), usize::from(status == 408)); // a BYE, unless the peer has said there is nothing to end
    }
    let mut world = World::new();
    let (dialog, ..) = world.call(&invite());
    world.endpoint.probe(world.now, dialog);
    world.pass_s(32);
    assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::PeerVanished });
}

#[test]
fn a_siprec_peer_sees_a_recording_server() {
    let mut world = World::new();
    let siprec = invite().more("Require: siprec\r\n");
    let (.., ok) = world.call(&siprec);
    assert_eq!(ok.contact().unwrap().params.get("+sip.srs"), Some(""));
}

#[test]
fn answers_follow_a_peer_whose_connection_has_closed() {
    let mut world = World::new();
    world.flow = tcp(7);
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.endpoint.handle_flow_closed(ConnectionId(7));
    world.accept(dialog, ANSWER);
    let flow = world.sent.pop_front().unwrap().flow;
    assert_eq!((flow.remote, flow.connection), ("192.0.2.20:5060".parse().unwrap(), None));
}
