//! The link against a T-Server that the test plays: its clock is a number.

use super::*;
use crate::cti::message::EventKind;

fn at(ms: u64) -> MonoTime {
    MonoTime(1_000_000_000 + ms * 1_000)
}

fn link(addresses: usize) -> Link {
    let dns = vec![("7001".into(), DnType::Extension), ("7002".into(), DnType::AcdPosition)];
    Link::new(at(0), Config { name: "east".into(), addresses, dns }, Rng::with_seed(1))
}

fn up(addresses: usize) -> Link {
    let mut link = link(addresses);
    link.handle_timeout(at(0));
    assert_eq!(link.poll_action(), Some(Action::Connect(0)));
    link.connected(at(0));
    link
}

fn sent(link: &mut Link) -> Vec<String> {
    let lines = std::iter::from_fn(|| link.poll_action()).map(|action| match action {
        Action::Send(line) => String::from_utf8(line).unwrap(),
        other => panic!("{other:?}"),
    });
    lines.collect()
}

fn news(link: &mut Link) -> Vec<News> {
    std::iter::from_fn(|| link.poll_news()).collect()
}

fn hear(link: &mut Link, now: MonoTime, text: &str) -> Vec<News> {
    link.handle_bytes(now, format!("{text}\n").as_bytes());
    news(link)
}

fn event(seq: u64) -> String {
    format!(r#"{{"msg":"EventRinging","seq":{seq},"connId":"c{seq}","thisDn":"7001"}}"#)
}

fn conn_ids(news: &[News]) -> Vec<&str> {
    news.iter().filter_map(|n| if let News::Event(event) = n { Some(&*event.conn_id) } else { None }).collect()
}

fn request(ticket: u64) -> Request {
    let (extensions, reasons) = (Pairs::new(), Pairs::new());
    Request { ticket, service_id: 3_013, this_dn: "7001".into(), conn_id: "c1".into(), extensions, reasons }
}

#[test]
fn it_registers_asks_for_a_snapshot_and_hears_events() {
    let mut link = up(1);
    let lines = sent(&mut link);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], "{\"msg\":\"RegisterAddress\",\"ref\":2,\"dn\":\"7002\",\"dnType\":\"ACDPosition\"}\n");
    assert!(lines[2].contains("RequestSnapshot"));
    assert_eq!(news(&mut link), [News::Up]);
    let registered = hear(&mut link, at(1), r#"{"msg":"EventRegistered","ref":1,"dn":"7001"}"#);
    assert!(matches!(&registered[..], [News::Registered(r)] if &*r.dn == "7001"));
    assert_eq!(conn_ids(&hear(&mut link, at(2), &event(1))), ["c1"]);
}

#[test]
fn a_lost_link_tries_the_other_address_then_waits_longer_and_longer() {
    let mut link = up(2);
    link.lost(at(20_000), "closed");
    assert_eq!(news(&mut link), [News::Up, News::Down]);
    let mut now = at(20_000);
    let mut tried = Vec::new();
    let _ = sent(&mut link);
    for _ in 0..12 {
        let due = link.poll_timeout().unwrap();
        let pause_ms = due.since(now).as_millis();
        now = due;
        link.handle_timeout(now);
        let Some(Action::Connect(address)) = link.poll_action() else { panic!("no attempt") };
        tried.push((address, pause_ms));
        link.lost(now, "refused");
    }
    assert_eq!(tried[0], (1, 100), "the backup at once");
    assert!(tried.windows(2).all(|pair| pair[0].0 != pair[1].0), "{tried:?}");
    assert!((750..=1_000).contains(&tried[1].1) && (22_500..=30_000).contains(&tried[11].1), "{tried:?}");
    assert_eq!(news(&mut link), []);
}

#[test]
fn a_gap_asks_for_all_calls_again_but_not_all_the_time() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    let _ = hear(&mut link, at(6_000), &event(1));
    assert_eq!(hear(&mut link, at(6_001), &event(4)), []);
    link.handle_timeout(at(6_501));
    let told = news(&mut link);
    assert!(matches!(&told[..], [News::Gap(2), News::Event(_)]), "{told:?}");
    assert_eq!(sent(&mut link).iter().filter(|line| line.contains("RegisterAddress")).count(), 2);
    let _ = hear(&mut link, at(6_600), &event(9));
    link.handle_timeout(at(7_200));
    assert!(matches!(news(&mut link)[0], News::Gap(4)));
    assert_eq!(sent(&mut link), Vec::<String>::new());
    link.handle_timeout(at(11_501));
    assert_eq!(sent(&mut link).len(), 2);
    assert_eq!(link.counters().lost, 6);
}

#[test]
fn reordered_and_repeated_events_come_once_and_in_order() {
    let mut link = up(1);
    let _ = news(&mut link);
    let mut told = Vec::new();
    for seq in [1, 3, 2, 2, 1, 4] {
        told.extend(hear(&mut link, at(10), &event(seq)));
    }
    assert_eq!(conn_ids(&told), ["c1", "c2", "c3", "c4"]);
    assert_eq!(link.counters().duplicates, 2);
}

#[test]
fn garbage_half_lines_and_huge_lines_do_not_stop_it() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    link.handle_bytes(at(1), b"\xff\xfe garbage\n{\"msg\":\n");
    link.handle_bytes(at(1), &vec![b'x'; 10_000_000]);
    link.handle_bytes(at(1), b"\n");
    assert_eq!(link.counters().bad_lines, 3);
    assert!(hear(&mut link, at(2), r#"{"msg":"EventOfTheFuture"}"#).is_empty());
    assert_eq!(conn_ids(&hear(&mut link, at(2), &event(1))), ["c1"]);
    let (head, tail) = (event(2), event(3));
    link.handle_bytes(at(3), &head.as_bytes()[..20]);
    link.lost(at(4), "closed");
    link.handle_timeout(at(2_000));
    link.connected(at(2_000));
    let told = hear(&mut link, at(2_001), &tail);
    assert_eq!(conn_ids(&told), ["c3"], "the half line of the old connection is no part of the new one");
    assert_eq!(link.counters().unknown, 1);
}

#[test]
fn a_peer_that_sends_nothing_but_garbage_is_left() {
    let mut link = up(2);
    let _ = (sent(&mut link), news(&mut link));
    link.handle_bytes(at(1), "HTTP/1.1 400 Bad Request\n".repeat(100).as_bytes());
    assert_eq!(link.poll_action(), Some(Action::Close));
    assert_eq!(news(&mut link), [News::Down]);
    assert!(!link.is_up());
}

#[test]
fn a_silent_peer_is_asked_and_then_left() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    link.handle_timeout(at(10_000));
    assert!(sent(&mut link)[0].contains("KeepAlive"));
    let _ = hear(&mut link, at(10_001), r#"{"msg":"EventACK","ref":4}"#);
    link.handle_timeout(at(39_000));
    assert!(link.is_up());
    link.handle_timeout(at(40_002));
    assert!(!link.is_up());
}

#[test]
fn a_request_is_answered_refused_or_tried_three_times() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    for (ticket, reference, answer) in [(1, 4, r#""EventACK""#), (2, 5, r#""EventError","error":"no such call""#)] {
        link.request(at(0), request(ticket));
        assert!(sent(&mut link)[0].contains("\"serviceId\":3013"));
        let told = hear(&mut link, at(1), &format!(r#"{{"msg":{answer},"ref":{reference}}}"#));
        let expected = if ticket == 1 { Ok(()) } else { Err("no such call".to_owned()) };
        assert_eq!(told, [News::Answer { ticket, result: expected }]);
    }
    link.request(at(0), request(3));
    for ms in [0, 5_000, 10_000] {
        link.handle_timeout(at(ms));
        assert_eq!(sent(&mut link).iter().filter(|line| line.contains("RequestPrivateService")).count(), 1, "{ms}");
        let _ = hear(&mut link, at(ms + 10), r#"{"msg":"EventACK"}"#);
    }
    link.handle_timeout(at(15_000));
    assert_eq!(news(&mut link), [News::Answer { ticket: 3, result: Err("the T-Server does not answer".into()) }]);
}

#[test]
fn a_request_outlives_a_short_loss_of_the_link() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    link.request(at(0), request(1));
    link.lost(at(10), "closed");
    link.handle_timeout(at(1_200));
    let _ = std::iter::from_fn(|| link.poll_action()).count();
    link.connected(at(1_300));
    assert_eq!(sent(&mut link).iter().filter(|line| line.contains("RequestPrivateService")).count(), 1);
    link.request(at(1_300), request(2));
    link.lost(at(1_400), "closed");
    for ms in [6_300, 11_300, 16_300] {
        link.handle_timeout(at(ms));
    }
    let told = news(&mut link);
    assert!(told.contains(&News::Answer { ticket: 2, result: Err("the link to the T-Server is down".into()) }), "{told:?}");
}

#[test]
fn a_dn_that_cannot_be_monitored_is_tried_again_later() {
    let mut link = up(1);
    let _ = (sent(&mut link), news(&mut link));
    let told = hear(&mut link, at(1), r#"{"msg":"EventRegistered","ref":1,"dn":"7001","dnType":"Routing Point"}"#);
    assert_eq!(told, []);
    assert_eq!(hear(&mut link, at(1), r#"{"msg":"EventError","ref":2,"error":"unknown DN"}"#), []);
    for ms in (5_000..60_000).step_by(5_000) {
        let _ = hear(&mut link, at(ms), r#"{"msg":"EventACK"}"#);
    }
    let _ = sent(&mut link);
    link.handle_timeout(at(60_001));
    assert_eq!(sent(&mut link).iter().filter(|line| line.contains("RegisterAddress")).count(), 2);
    let registered =
        hear(&mut link, at(60_002), r#"{"msg":"EventRegistered","dn":"7001","calls":[{"connId":"c1","state":"Held"}]}"#);
    assert!(matches!(&registered[..], [News::Registered(r)] if r.calls.as_ref().unwrap()[0].kind == EventKind::Held));
}
