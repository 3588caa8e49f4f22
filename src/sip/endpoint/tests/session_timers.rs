//! RFC 4028 in both roles.

use super::*;

/// A peer that makes the box refresh; `allow` is its Allow header.
fn passive(allow: &str) -> Ask {
    invite().more(&format!("Session-Expires: 600;refresher=uas\r\nAllow: {allow}\r\n"))
}

#[test]
fn a_peer_that_stops_refreshing_is_hung_up_on() {
    let mut world = World::new();
    let (dialog, tag, ok) = world.call(&invite().more("Session-Expires: 600\r\n"));
    assert_eq!(ok.headers.text("Session-Expires").unwrap(), "600;refresher=uac");
    assert!(ok.headers.lists("Require", "timer"));
    world.pass_s(500);
    world.receive(ask("UPDATE").cseq(2).to(&tag).more("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n").text());
    assert!(matches!(world.event(), Event::Reinvite { .. }));
    world.accept(dialog, "");
    assert_eq!(world.response().headers.text("Session-Expires").unwrap(), "600;refresher=uac");
    world.pass_s(567);
    assert!(world.sent.is_empty());
    world.pass_s(1);
    assert_eq!(world.request().method, Method::Bye);
    assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::PeerVanished });
}

#[test]
fn the_box_refreshes_by_update() {
    let mut world = World::new();
    let (_, _, ok) = world.call(&passive("INVITE, UPDATE"));
    assert_eq!(ok.headers.text("Session-Expires").unwrap(), "600;refresher=uas");
    for cseq in 1..4 {
        world.pass_s(300);
        let update = world.request();
        assert_eq!((update.method, update.cseq.number, update.body.len()), (Method::Update, cseq, 0));
        assert_eq!(update.headers.text("Session-Expires").unwrap(), "600;refresher=uac");
        world.answer(&update, 200, &[("Session-Expires", "600;refresher=uac")]);
    }
    assert_eq!(world.endpoint.poll_event(), None);
}

#[test]
fn a_peer_without_timers_is_refreshed_by_reinvites_that_change_nothing() {
    let mut world = World::new();
    let (_, tag, ok) = world.call(&ask("INVITE").body(OFFER));
    assert_eq!(ok.headers.text("Session-Expires").unwrap(), "1800;refresher=uas");
    assert_eq!(ok.headers.first("Require"), None);
    world.pass_s(900);
    let reinvite = world.request();
    assert_eq!((reinvite.method, reinvite.body.as_slice()), (Method::Invite, ANSWER.as_bytes()));
    // A request of the peer that crosses it has to wait.
    assert_eq!(world.status_of(&ask("INVITE").cseq(2).to(&tag).body(OFFER)), 491);
    world.receive(ask("ACK").cseq(2).to(&tag).text().replace("ACK-2", "INVITE-2"));
    world.answer(&reinvite, 200, &[("Contact", "<sip:moved@192.0.2.77>")]);
    let ack = world.request();
    assert_eq!((ack.method, ack.cseq.number, ack.uri.to_string().as_str()), (Method::Ack, 1, "sip:moved@192.0.2.77"));
    assert_ne!(ack.via.branch(), reinvite.via.branch());
    world.answer(&reinvite, 200, &[]);
    assert_eq!(world.request(), ack);
    world.pass_s(900);
    assert_eq!(world.request().cseq.number, 2);
}

#[test]
fn a_refused_update_becomes_a_reinvite() {
    let mut world = World::new();
    world.call(&passive("INVITE, UPDATE"));
    world.pass_s(300);
    let update = world.request();
    world.answer(&update, 501, &[]);
    let reinvite = world.request();
    assert_eq!(reinvite.method, Method::Invite);
    world.answer(&reinvite, 500, &[]);
    let ack = world.request();
    assert_eq!((ack.method, ack.via.branch()), (Method::Ack, reinvite.via.branch()));
    world.answer(&reinvite, 500, &[]);
    assert_eq!(world.request(), ack);
    world.pass_s(268); // no refresh has succeeded
    assert_eq!(world.request().method, Method::Bye);
    assert!(matches!(world.event(), Event::Ended { reason: EndReason::PeerVanished, .. }));
}

#[test]
fn a_longer_interval_is_taken_and_glare_waited_out() {
    let mut world = World::new();
    world.call(&passive("UPDATE"));
    world.pass_s(300);
    let update = world.request();
    world.answer(&update, 422, &[("Min-SE", "900")]);
    let longer = world.request();
    assert_eq!(longer.headers.text("Session-Expires").unwrap(), "900;refresher=uac");
    world.answer(&longer, 491, &[]);
    assert!(world.sent.is_empty());
    world.pass_s(2);
    let again = world.request();
    world.answer(&again, 200, &[("Session-Expires", "900;refresher=uas")]);
    world.pass_s(867); // the peer refreshes from now on, and does not
    assert!(world.sent.is_empty());
    world.pass_s(1);
    assert_eq!(world.request().method, Method::Bye);
}

#[test]
fn a_peer_that_knows_no_dialog_any_more_has_vanished() {
    for (status, byes) in [(481, 0), (408, 1)] {
        let mut world = World::new();
        let (dialog, ..) = world.call(&passive("UPDATE"));
        world.pass_s(300);
        let update = world.request();
        world.answer(&update, status, &[]);
        assert_eq!(world.event(), Event::Ended { dialog, reason: EndReason::PeerVanished });
        assert_eq!(world.sent.len(), byes);
    }
}
