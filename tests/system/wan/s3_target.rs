//! Delivery to a real S3 server, directly and over a bad link.

use std::fs;
use std::sync::Arc;

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
    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings), metadata: None }]);
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

    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings.clone()), metadata: None }]);
    let Event::TargetDown { error, .. } = running.next() else { panic!("an unknown certificate") };
    assert!(error.contains("certificate"), "{error}");
    running.stop();

    settings.access.ca_file = Some(sender.path("ca.pem"));
    let mut running = sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings), metadata: None }]);
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
        let mut running =
            sender.forward(vec![Target { name: "s3".into(), kind: TargetKind::S3(settings.clone()), metadata: None }]);
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
