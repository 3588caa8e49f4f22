//! Delivery to a real S3 server, directly and over a bad link.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use nearend::forward::driver::Event;
use nearend::forward::{Target, TargetKind};

use super::proxy::{Fault, Proxy};
use super::s3::S3Server;
use super::{Sender, assert_same, bucket};
use crate::site::address;

#[test]
fn small_and_large_files_arrive_once_and_again_is_harmless() {
    let (mut sender, ip) = (Sender::new(1), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    sender.record("01ABC", 20_000);
    sender.record("strange %2F ü name", 11_000_000);
    sender.record("empty", 0);
    let target = sender.s3(&format!("http://{}", server.address));
    let mut running = sender.forward(vec![target.clone()]);
    running.delivered(3);
    running.stop();
    assert_same(&server.objects("calls"), &sender.expected());
    // As if the box had been killed before it could write down that they are delivered.
    sender.forget_deliveries();
    let mut running = sender.forward(vec![target]);
    running.delivered(3);
    running.stop();
    assert_same(&server.objects("calls"), &sender.expected());
}

/// The bucket "127" below the domain "0.0.1" is an address that needs no name server. The server takes an address for no domain, and
/// so the first part of the path for the bucket: that shows that ours is in the host alone, in a request that is signed as it should.
#[test]
fn a_bucket_as_virtual_host_below_a_prefix() {
    let (mut sender, ip) = (Sender::new(2), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    sender.record("01ABC", 100_000);
    let [_, a, b, c] = ip.octets();
    let mut settings = sender.s3_settings(&format!("http://{a}.{b}.{c}:{}", server.address.port()));
    (settings.bucket, settings.virtual_host, settings.prefix) = ("127".into(), true, "calls/of/17/".into());
    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings) }]);
    running.delivered(1);
    running.stop();
    let expected: Vec<_> = sender.expected().into_iter().map(|(name, content)| (format!("of/17/{name}"), content)).collect();
    assert_same(&server.objects("calls"), &expected);
}

#[test]
fn a_ca_of_ones_own_is_trusted_and_an_unknown_one_is_not() {
    let (mut sender, ip) = (Sender::new(3), address());
    let made = rcgen::generate_simple_self_signed([ip.to_string()]).unwrap();
    fs::write(sender.path("ca.pem"), made.cert.pem()).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let server = S3Server::start_tls(&bucket(&sender.path(""), "calls"), ip, Some(Arc::new(tls)));
    sender.record("01ABC", 1_000);
    let mut settings = sender.s3_settings(&format!("https://{}", server.address));

    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings.clone()) }]);
    let Event::TargetDown { error, .. } = running.next() else { panic!("an unknown certificate") };
    assert!(error.contains("certificate"), "{error}");
    running.stop();

    settings.access.ca_file = Some(sender.path("ca.pem"));
    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings) }]);
    running.delivered(1);
    running.stop();
    assert_same(&server.objects("calls"), &sender.expected());
}

#[test]
fn what_will_never_work_is_said_and_waits_for_a_person() {
    let (mut sender, ip) = (Sender::new(4), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    sender.record("01ABC", 1_000);
    fs::write(sender.path("wrong"), "another secret").unwrap();
    // The server makes a bucket that is not there; what others say comes from the proxy.
    let proxy = Proxy::start(ip, server.address, Box::new(|_| Fault::Answer(404)));
    let direct = server.address;
    for (address, secret, said) in
        [(proxy.address, "secret-key", "NoSuchBucket"), (direct, "wrong", "403"), (direct, "missing", "cannot read")]
    {
        let mut settings = sender.s3_settings(&format!("http://{address}"));
        settings.secret_key_file = sender.path(secret);
        let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings.clone()) }]);
        let Event::TargetDown { error, refused, .. } = running.next() else { panic!("{secret} works") };
        assert!(refused && error.contains(said), "{error}");
        running.stop();
    }
    assert_eq!(server.objects("calls"), []);
}

#[test]
fn the_copy_of_another_box_stays_and_ours_goes_beside_it() {
    let ip = address();
    let (mut one, mut two) = (Sender::new(5), Sender::new(6));
    let server = S3Server::start(&bucket(&one.path(""), "calls"), ip);
    for sender in [&mut one, &mut two] {
        sender.record("01ABC", 100_000);
        let mut running = sender.forward(vec![sender.s3(&format!("http://{}", server.address))]);
        running.delivered(1);
        running.stop();
    }
    let mut expected = one.expected();
    expected.extend(two.expected().into_iter().map(|(name, content)| (name.replace("01ABC/", "01ABC~branch-17.box/"), content)));
    expected.sort();
    assert_same(&server.objects("calls"), &expected);
}

#[test]
fn an_upload_goes_on_after_a_restart_with_the_part_that_is_missing() {
    let (mut sender, ip) = (Sender::new(7), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    sender.record("01ABC", 23_000_000);
    // Every connection ends after 8 MB, so that no try could bring all five parts.
    let proxy = Proxy::start(ip, server.address, Box::new(|_| Fault::ResetAfter(8_000_000)));
    for _ in 0..2 {
        let mut running = sender.forward(vec![sender.s3(&format!("http://{}", proxy.address))]);
        assert!(matches!(running.next(), Event::TargetDown { .. }));
        running.stop();
    }
    let uploads = fs::read_dir(sender.path("uploads")).unwrap().count();
    assert_eq!(uploads, 1, "one upload is remembered");
    let mut running = sender.forward(vec![sender.s3(&format!("http://{}", proxy.address))]);
    running.delivered(1);
    running.stop();
    assert_same(&server.objects("calls"), &sender.expected());
    let sent = proxy.bytes();
    assert!(sent < 23_000_000 + 4 * 3_000_000, "parts that were there are not sent again: {sent} bytes");
    assert_eq!(fs::read_dir(sender.path("uploads")).unwrap().count(), 0);
}

/// Every kind; resets at every class of offset: before the request, in its line, its head, its body, behind it, in the answer.
const FAULTS: [Fault; 20] = [
    Fault::ResetAfter(0),
    Fault::ResetAfter(1),
    Fault::ResetAfter(40),
    Fault::ResetAfter(300),
    Fault::ResetAfter(700),
    Fault::ResetAfter(2_500),
    Fault::ResetAfter(9_000),
    Fault::ResetAfter(70_000),
    Fault::ResetInAnswer(0),
    Fault::ResetInAnswer(100),
    Fault::Latency(30),
    Fault::Slow(8_000, 10_000),
    Fault::TruncateAfter(3_000),
    Fault::TruncateAfter(66_000),
    Fault::WrongTls,
    Fault::Answer(500),
    Fault::Answer(503),
    Fault::Answer(429),
    Fault::LyingSuccess,
    Fault::HalfClosed,
];

/// Every other connection has a fault, all kinds after each other, with offsets that wander; the others do some work before they
/// are cut off.
pub(crate) fn faults(connection: u64) -> Fault {
    let (turn, no) = (connection / 40, connection / 2 % 20);
    match (connection % 2, FAULTS[usize::try_from(no).unwrap()]) {
        (1, _) => Fault::ResetAfter(16_000 + 77 * connection),
        (_, Fault::ResetAfter(bytes)) => Fault::ResetAfter(bytes + bytes * (turn % 7) / 3),
        (_, Fault::Latency(ms)) if turn > 0 => Fault::ResetInAnswer(200 + ms * turn),
        (_, fault) => fault,
    }
}

/// Enough for eight faults to come; `scripts/wan-faults` asks for more.
fn recordings() -> usize {
    std::env::var("NEAREND_WAN_RECORDINGS").map_or(140, |number| number.parse().unwrap())
}

/// Through at least eight of the faults, from this connection of the proxy on: every other one has a fault.
fn through_faults(from: u64) {
    let recordings = recordings();
    let (mut sender, ip) = (Sender::new(8), address());
    let server = S3Server::start(&bucket(&sender.path(""), "calls"), ip);
    let mut random = fastrand::Rng::with_seed(9);
    for n in 0..recordings {
        sender.record(&format!("call-{n:04}"), random.usize(100..12_000));
    }
    let proxy = Proxy::start(ip, server.address, Box::new(move |connection| faults(from + connection)));
    let mut settings = sender.s3_settings(&format!("http://{}", proxy.address));
    settings.access.timeout = Duration::from_secs(1); // what a connection that swallows everything costs
    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings) }]);
    running.delivered(recordings);
    running.stop();
    assert_same(&server.objects("calls"), &sender.expected());
    assert!(proxy.connections() >= 16, "all eight have come: {}", proxy.connections());
    println!("{recordings} recordings, once each, over {} connections", proxy.connections());
}

#[test]
fn every_recording_arrives_once_through_resets_at_every_offset() {
    through_faults(0);
}

#[test]
fn every_recording_arrives_once_through_errors_lies_and_cut_uploads() {
    through_faults(24);
}
