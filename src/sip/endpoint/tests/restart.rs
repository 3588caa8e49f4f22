//! Calls that go through a restart: the endpoint is dropped, a new one takes its dialogs in.

use super::*;
use crate::model::SavedDialog;
use crate::model::dialog::WireBytes;
use crate::sip::session_timer::Refresher;

/// Not UTF-8, and followed by one that is; the first is an address over TCP.
const ROUTES: &[u8] = b"Record-Route: <sip:192.0.2.22:15060;transport=tcp;lr;id=\xff\xe9>, \"b\" <sip:c@d;lr>;x=y\r\n";

/// Both ways in: before the restart and after it, when a TCP peer has a new connection.
fn ways() -> [(Flow, Flow); 2] {
    [(udp(), udp()), (tcp(1), Flow { remote: "192.0.2.20:41000".parse().unwrap(), ..tcp(2) })]
}

fn listeners() -> Config {
    let listener = |transport| Listener { transport, address: "192.0.2.30:5060".parse().unwrap() };
    Config { listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)], ..Config::default() }
}

impl World {
    /// The process dies and another one starts: all that is left of the dialog is what JSON holds.
    fn restart(&mut self, dialog: DialogId) -> DialogId {
        let json = serde_json::to_string(&self.saved(dialog)).unwrap();
        self.restart_with(serde_json::from_str(&json).unwrap())
    }

    fn restart_with(&mut self, saved: SavedDialog) -> DialogId {
        self.endpoint = Endpoint::new(self.endpoint.config.clone(), [2; 32]);
        self.sent.clear();
        self.endpoint.restore(self.now, saved).unwrap()
    }

    fn saved(&self, dialog: DialogId) -> SavedDialog {
        self.endpoint.save(dialog).expect("a dialog that can be saved")
    }
}

#[test]
fn the_peer_goes_on_as_if_nothing_had_been() {
    for (before, after) in ways() {
        let mut world = World::new();
        world.flow = before;
        let (dialog, tag, _) = world.call(&invite().cseq(5));
        let dialog = world.restart(dialog);
        world.flow = after;
        assert_eq!(world.status_of(&ask("INFO").cseq(4).to(&tag)), 500, "out of order as before");

        world.receive(ask("INVITE").cseq(6).to(&tag).body(OFFER).text());
        assert!(matches!(world.event(), Event::Reinvite { dialog: d, .. } if d == dialog));
        world.accept(dialog, ANSWER);
        assert_eq!(world.sent[0].flow, after, "an answer goes back the way its request came");
        assert_eq!(world.response().headers.text("Contact").unwrap().contains("tcp"), after.transport == Transport::Tcp);
        world.receive(ask("ACK").cseq(6).to(&tag).text());

        world.receive(ask("UPDATE").cseq(7).to(&tag).text());
        assert!(matches!(world.event(), Event::Reinvite { dialog: d, .. } if d == dialog));
        world.accept(dialog, "");
        assert_eq!(world.response().status.code(), 200);
        assert_eq!(world.status_of(&ask("INFO").cseq(8).to(&tag)), 200);
        assert!(matches!(world.event(), Event::Info { dialog: d, .. } if d == dialog));
        assert_eq!(world.status_of(&ask("BYE").cseq(9).to(&tag)), 200);
        assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::Bye });
        world.pass_s(60);
        assert_eq!((world.sent.len(), world.endpoint.poll_timeout()), (0, None));
    }
}

#[test]
fn a_request_that_was_lost_in_the_restart_may_come_again() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    world.receive(ask("UPDATE").cseq(2).to(&tag).text());
    let dialog = world.restart(dialog);
    world.receive(ask("UPDATE").cseq(2).to(&tag).text());
    world.accept(dialog, "");
    assert_eq!(world.response().status.code(), 200);
}

#[test]
fn our_requests_follow_the_route_set_with_higher_numbers() {
    for (before, _) in ways() {
        let mut world = World::with(listeners());
        world.flow = before;
        let text = invite().text().into_bytes();
        let end_of_line = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        world.receive([&text[..end_of_line], ROUTES, &text[end_of_line..]].concat());
        let Event::Invite { dialog, .. } = world.event() else { panic!() };
        world.accept(dialog, ANSWER);
        let tag = world.response().to.tag().unwrap().to_owned();
        world.receive(ask("ACK").to(&tag).text());
        let saved = world.saved(dialog);
        world.endpoint.probe(world.now, dialog);
        world.collect();
        let probe_before = world.request();

        let dialog = world.restart_with(saved);
        world.endpoint.probe(world.now, dialog);
        world.endpoint.bye(world.now, dialog, "x");
        world.collect();
        let expected = Flow { remote: "192.0.2.22:15060".parse().unwrap(), connection: None, ..tcp(0) };
        assert!(world.sent.iter().all(|sent| sent.flow == expected));
        let (probe, bye) = (world.request(), world.request());
        assert_eq!((probe.method, bye.method), (Method::Options, Method::Bye));
        assert_eq!((probe.cseq.number, bye.cseq.number), (probe_before.cseq.number + 1_000, probe_before.cseq.number + 1_001));
        for request in [probe, bye] {
            for name in ["From", "To", "Call-ID", "Max-Forwards"] {
                assert_eq!(request.headers.first(name), probe_before.headers.first(name));
            }
            let routes: Vec<_> = request.headers.all("Route").collect();
            assert_eq!(routes, [&b"<sip:192.0.2.22:15060;transport=tcp;lr;id=\xff\xe9>"[..], b"\"b\" <sip:c@d;lr>;x=y"]);
            assert_eq!((request.uri.as_bytes(), request.from.tag()), (&b"sip:mcp@192.0.2.21:7090"[..], Some(&tag[..])));
        }
    }
}

#[test]
fn a_peer_known_by_name_is_reached_where_it_was_heard() {
    for ((before, _), expected) in ways().into_iter().zip(["192.0.2.20:5060", "192.0.2.20:5070"]) {
        let mut world = World::new();
        world.flow = before;
        let text = invite().text().replace("@192.0.2.21:7090", "@mcp.example");
        let over_tcp = before.transport == Transport::Tcp;
        world.receive(if over_tcp { text.replace("UDP 192.0.2.20;", "TCP 192.0.2.20:5070;") } else { text });
        let Event::Invite { dialog, .. } = world.event() else { panic!() };
        world.accept(dialog, ANSWER);
        let dialog = world.restart(dialog);
        world.endpoint.probe(world.now, dialog);
        world.collect();
        assert_eq!(world.sent[0].flow, Flow { remote: expected.parse().unwrap(), connection: None, ..before });
    }
}

#[test]
fn a_peer_that_refreshes_has_a_whole_interval_for_it() {
    let mut world = World::new();
    let (dialog, ..) = world.call(&invite().more("Session-Expires: 600\r\n"));
    world.pass_s(500);
    let dialog = world.restart(dialog);
    world.pass_s(567);
    assert!(world.sent.is_empty());
    world.pass_s(1);
    assert_eq!(world.request().method, Method::Bye);
    assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::PeerVanished });
}

#[test]
fn a_peer_that_is_refreshed_is_so_before_it_loses_patience() {
    for (allow, method) in [("UPDATE", Method::Update), ("INVITE", Method::Invite)] {
        let mut world = World::new();
        let passive = format!("Session-Expires: 90;refresher=uas\r\nAllow: {allow}\r\n");
        let (dialog, ..) = world.call(&invite().more(&passive));
        world.pass_s(44); // the peer gives up at 60 s
        let dialog = world.restart(dialog);
        world.pass_s(5);
        let refresh = world.request();
        assert_eq!((refresh.method, refresh.cseq.number), (method, 1_001));
        assert_eq!(refresh.headers.text("Session-Expires").unwrap(), "90;refresher=uac");
        assert_eq!(refresh.body, if method == Method::Invite { ANSWER.as_bytes() } else { b"" });
        world.answer(&refresh, 200, &[("Session-Expires", "90;refresher=uas")]);
        world.sent.clear(); // an ACK
        assert_eq!(world.saved(dialog).interval.refresher, Refresher::Peer);
        world.pass_s(59);
        assert_eq!((world.sent.len(), world.endpoint.dialog_count()), (0, 1));
    }
}

#[test]
fn an_ack_that_is_missing_is_not_awaited() {
    let mut world = World::new();
    world.receive(ask("INVITE").text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    world.accept(dialog, OFFER);
    let tag = world.response().to.tag().unwrap().to_owned();
    let dialog = world.restart(dialog);
    world.pass_s(29); // the box refreshes by then
    world.sent.clear();
    world.receive(ask("ACK").to(&tag).body(ANSWER).text());
    assert_eq!((world.endpoint.poll_event(), world.endpoint.dialog_count()), (None, 1));
    world.endpoint.bye(world.now, dialog, "x");
    world.collect();
    assert_eq!(world.request().method, Method::Bye);
}

#[test]
fn only_what_is_up_is_saved() {
    let mut world = World::new();
    world.receive(invite().text());
    let Event::Invite { dialog, .. } = world.event() else { panic!() };
    assert_eq!(world.endpoint.save(dialog), None, "not accepted");
    world.accept(dialog, ANSWER);
    assert!(world.endpoint.save(dialog).is_some());
    world.endpoint.bye(world.now, dialog, "x");
    assert_eq!(world.endpoint.save(dialog), None, "its BYE waits for the ACK");
    let tag = world.response().to.tag().unwrap().to_owned();
    world.receive(ask("ACK").to(&tag).text());
    assert_eq!(world.endpoint.save(dialog), None, "gone");
}

#[test]
fn a_restart_of_a_restart_and_what_a_refresh_has_moved() {
    let mut world = World::new();
    let siprec = "Require: siprec\r\nSession-Expires: 600;refresher=uas\r\nAllow: UPDATE\r\n";
    let (dialog, ..) = world.call(&invite().more(siprec));
    let once = world.restart(dialog);
    world.pass_s(30);
    let update = world.request();
    assert!(update.headers.text("Contact").unwrap().ends_with(";+sip.srs"));
    world.answer(&update, 200, &[("Contact", "<sip:moved@192.0.2.77>")]);
    let saved = world.saved(once);
    let twice = world.restart(once);
    assert_eq!(world.saved(twice), SavedDialog { local_cseq: 2_001, ..saved.clone() });
    assert_eq!((saved.target, saved.siprec), (WireBytes(b"sip:moved@192.0.2.77".to_vec()), true));
}

#[test]
fn what_cannot_be_restored_is_refused() {
    let mut world = World::new();
    let (dialog, tag, _) = world.call(&invite());
    let saved = world.saved(dialog);
    assert_eq!(world.endpoint.restore(world.now, saved.clone()), Err(RestoreError::Exists("call".into())));
    let dialog = world.restart_with(saved.clone());
    let target = WireBytes(b"damaged".to_vec());
    let error = world.endpoint.restore(world.now, SavedDialog { target, ..saved.clone() }).unwrap_err();
    assert!(error.to_string().starts_with("the dialog of Call-ID call cannot go on"), "{error}");
    let other = SavedDialog { local_tag: "other".into(), ..saved };
    assert_ne!(world.endpoint.restore(world.now, other), Ok(dialog));
    assert_eq!(world.status_of(&ask("BYE").cseq(2).to(&tag)), 200);
    assert_eq!((world.event(), world.endpoint.dialog_count()), (Event::Ended { dialog, reason: EndReason::Bye }, 1));
}
