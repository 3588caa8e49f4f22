//! The torture messages of RFC 4475 and RFC 5118, each with what the RFC expects of a user-agent server that serves no REGISTER and no MESSAGE.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A call that the application is asked about.
    Call,
    /// Answered with this status.
    Answered(u16),
    /// No answer.
    Silence,
}

use Fate::{Answered, Call, Silence};

const EXPECTED: [(&str, Fate); 60] = [
    ("3.1.1.1_wsinv", Answered(481)), // it says it is in a dialog that nobody here knows; all else in it is understood
    ("3.1.1.2_intmeth", Answered(501)),
    ("3.1.1.3_esc01", Call),
    ("3.1.1.4_escnull", Answered(405)),
    ("3.1.1.5_esc02", Answered(501)), // an escape in a method is none
    ("3.1.1.6_lwsdisp", Answered(200)),
    ("3.1.1.7_longreq", Call),
    ("3.1.1.8_dblreq", Answered(405)), // what follows in the datagram is ignored
    ("3.1.1.9_semiuri", Answered(200)),
    ("3.1.1.10_transports", Answered(200)),
    ("3.1.1.11_mpart01", Answered(405)),
    ("3.1.1.12_unreason", Silence), // responses to nothing, from here on
    ("3.1.1.13_noreason", Silence),
    ("3.1.2.1_badinv01", Answered(400)),
    ("3.1.2.2_clerr", Answered(400)),
    ("3.1.2.3_ncl", Answered(400)),
    ("3.1.2.4_scalar02", Answered(400)),
    ("3.1.2.5_scalarlg", Silence),
    ("3.1.2.6_quotbal", Answered(400)),
    ("3.1.2.7_ltgtruri", Answered(400)),
    ("3.1.2.8_lwsruri", Answered(400)),
    ("3.1.2.9_lwsstart", Call),       // the RFC lets a liberal element accept it
    ("3.1.2.10_trws", Answered(200)), // the same
    ("3.1.2.11_escruri", Call),       // the same: what is escaped there is of no use to a recorder
    ("3.1.2.12_baddate", Call),       // the same: nobody looks at the date
    ("3.1.2.13_regbadct", Answered(405)),
    ("3.1.2.14_badaspec", Answered(200)), // the RFC lets a liberal element accept it
    ("3.1.2.15_baddn", Answered(200)),    // the same
    ("3.1.2.16_badvers", Answered(505)),
    ("3.1.2.17_mismatch01", Answered(400)),
    ("3.1.2.18_mismatch02", Answered(501)), // 400 would do as well
    ("3.1.2.19_bigcode", Silence),
    ("3.2.1_badbranch", Answered(200)), // told apart as a request of RFC 2543
    ("3.3.1_insuf", Answered(400)),
    ("3.3.2_unkscm", Answered(416)),
    ("3.3.3_novelsc", Answered(416)),
    ("3.3.4_unksm2", Answered(405)),
    ("3.3.5_bext01", Answered(420)),
    ("3.3.6_invut", Answered(415)),
    ("3.3.7_regaut01", Answered(405)),
    ("3.3.8_multi01", Answered(400)),
    ("3.3.9_mcl01", Answered(400)),
    ("3.3.10_bcast", Silence),
    ("3.3.11_zeromf", Answered(200)), // for who is meant it has come far enough
    ("3.3.12_cparam01", Answered(405)),
    ("3.3.13_cparam02", Answered(405)),
    ("3.3.14_regescrt", Answered(405)),
    ("3.3.15_sdp01", Answered(406)),
    ("3.4.1_inv2543", Call),
    ("rfc5118_4.1_good", Answered(405)),
    ("rfc5118_4.2_bad", Answered(400)),
    ("rfc5118_4.3_port_ambiguous", Answered(405)), // it is an address, whatever was meant
    ("rfc5118_4.4_port_unambiguous", Answered(405)),
    ("rfc5118_4.5.1_received_with_brackets", Answered(481)),
    ("rfc5118_4.5.2_received_without_brackets", Answered(481)),
    ("rfc5118_4.6_address_in_sdp", Call),
    ("rfc5118_4.7_several_addresses_in_headers", Answered(481)),
    ("rfc5118_4.8_several_addresses_in_sdp", Call),
    ("rfc5118_4.9_mapped", Call),
    ("rfc5118_4.10_three_colons", Answered(200)),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/torture")
}

fn wire(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.sip"))).unwrap()
}

fn fate(bytes: &[u8]) -> Fate {
    let mut world = World::new();
    world.receive(bytes);
    if let Some(Event::Invite { .. }) = world.endpoint.poll_event() {
        return Call;
    }
    match world.sent.pop_front().map(|sent| sent.bytes) {
        None => Silence,
        Some(answer) => Answered(String::from_utf8_lossy(&answer).get(8..11).unwrap().parse().unwrap()),
    }
}

fn request(name: &str) -> Request {
    match Message::parse(&wire(name)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn every_message_meets_its_fate() {
    let met: Vec<_> = EXPECTED.iter().map(|(name, _)| (*name, fate(&wire(name)))).collect();
    assert_eq!(met, EXPECTED);
    let files =
        fs::read_dir(folder()).unwrap().filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "sip"));
    assert_eq!(files.count(), EXPECTED.len(), "every file has its line");
}

#[test]
fn what_is_legal_and_odd_is_understood() {
    let tortuous = request("3.1.1.1_wsinv");
    assert_eq!((tortuous.from.display.as_deref(), tortuous.from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!((tortuous.cseq.number, tortuous.via.transport.as_str(), tortuous.headers.list("Via").len()), (9, "UDP", 3));
    let contact = tortuous.contact().unwrap();
    assert_eq!((contact.params.get("newparam"), contact.params.get("q")), (Some("newvalue"), Some("0.33")));

    let escaped = request("3.1.1.3_esc01");
    assert_eq!(escaped.uri.user(), Some("sips%3Auser%40example.com"));
    assert_eq!(escaped.uri.host_port().unwrap().to_string(), "example.net");
    assert_eq!(request("3.1.1.6_lwsdisp").from.display.as_deref(), Some("caller"));
    assert_eq!(request("3.1.1.7_longreq").headers.list("Via").len(), 34);
    assert_eq!(request("3.1.1.9_semiuri").uri.user(), Some("user;par=u%40example.net"));

    let Ok(Message::Response(response)) = Message::parse(&wire("3.1.1.12_unreason")) else { panic!() };
    assert!(response.reason.starts_with("= 2**3 * 5**2 но сто"), "{}", response.reason);
    let Ok(Message::Response(response)) = Message::parse(&wire("3.1.1.13_noreason")) else { panic!() };
    assert_eq!((response.status.code(), response.reason.as_str()), (100, ""));

    let host = |name| request(name).uri.host_port().unwrap().to_string();
    assert_eq!(host("rfc5118_4.3_port_ambiguous"), "[2001:db8::10:5070]");
    assert_eq!(host("rfc5118_4.4_port_unambiguous"), "[2001:db8::10]:5070");
    assert_eq!(host("rfc5118_4.10_three_colons"), "[2001:db8::c000:201]");
}

#[test]
fn a_call_without_contact_can_be_ended() {
    let mut world = World::new();
    world.receive(wire("3.4.1_inv2543"));
    let Event::Invite { dialog, request } = world.event() else { panic!() };
    world.accept(dialog, ANSWER);
    let ok = world.response();
    let more = format!(
        "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com;branch=z9hG4bK-ack\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 56 ACK\r\n\r\n",
        request.uri,
        ok.headers.text("From").unwrap(),
        ok.headers.text("To").unwrap(),
        ok.call_id
    );
    world.receive(more);
    world.endpoint.bye(world.now, dialog, "over");
    world.collect();
    let bye = world.request();
    assert_eq!(bye.uri.to_string(), "sip:UserB@example.com;maddr=ss1.example.com", "a strict router takes the Request-URI");
    assert_eq!(bye.headers.text("Route").unwrap(), "<sip:+13035551111@ift.client.example.net;user=phone>");
}
