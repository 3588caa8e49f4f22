//! Every timer of RFC 3261 Table 4 and RFC 6026, stepped through deadline by deadline.

use super::*;
use crate::model::MonoTime;
use crate::sip::message::Message;

const NOW: MonoTime = MonoTime(0);

fn ms(milliseconds: u64) -> MonoTime {
    MonoTime(milliseconds * 1_000)
}

/// What a transaction does until it is over: when it sends, and how it ends.
fn life(mut deadline_and_due: impl FnMut(Option<MonoTime>) -> (Option<MonoTime>, Option<Due>)) -> (Vec<u64>, Option<(u64, Due)>) {
    let mut sends = Vec::new();
    let (mut deadline, _) = deadline_and_due(None);
    while let Some(now) = deadline {
        let (next, due) = deadline_and_due(Some(now));
        match due {
            Some(Due::Send(_)) => sends.push(now.0 / 1_000),
            Some(end) => return (sends, Some((now.0 / 1_000, end))),
            None => {}
        }
        deadline = next;
    }
    (sends, None)
}

fn server_life(transaction: &mut ServerTransaction) -> (Vec<u64>, Option<(u64, Due)>) {
    life(|now| {
        let due = now.and_then(|now| transaction.handle_timeout(now));
        (transaction.deadline(), due)
    })
}

fn client_life(transaction: &mut ClientTransaction) -> (Vec<u64>, Option<(u64, Due)>) {
    life(|now| {
        let due = now.and_then(|now| transaction.handle_timeout(now));
        (Some(transaction.deadline()), due)
    })
}

fn server(invite: bool, reliable: bool) -> ServerTransaction {
    match invite {
        true => ServerTransaction::invite(NOW, Timing::default(), reliable, b"trying".to_vec()),
        false => ServerTransaction::other(Timing::default(), reliable),
    }
}

fn client(invite: bool, reliable: bool) -> ClientTransaction {
    ClientTransaction::new(NOW, Timing::default(), invite, reliable, b"request".to_vec())
}

#[test]
fn server_invite_refused() {
    let mut udp = server(true, false);
    udp.answer(NOW, false, b"486".to_vec());
    assert_eq!(udp.retransmitted(), Some(&b"486"[..]));
    let g = vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(server_life(&mut udp), (g, Some((32_000, Due::Done)))); // H
    let mut tcp = server(true, true);
    tcp.answer(NOW, false, b"486".to_vec());
    assert_eq!(server_life(&mut tcp), (vec![], Some((32_000, Due::Done))));
}

#[test]
fn server_invite_refused_and_acknowledged() {
    for (reliable, i) in [(false, 5_100), (true, 100)] {
        let mut transaction = server(true, reliable);
        transaction.answer(NOW, false, b"486".to_vec());
        assert!(transaction.acknowledged(ms(100)) && transaction.acknowledged(ms(150)));
        assert_eq!(transaction.retransmitted(), None);
        assert_eq!(server_life(&mut transaction), (vec![], Some((i, Due::Done))));
    }
}

#[test]
fn server_invite_accepted() {
    let mut transaction = server(true, false);
    assert!(!transaction.acknowledged(NOW) && !transaction.is_answered());
    transaction.answer(ms(100), true, b"200".to_vec());
    assert!(!transaction.acknowledged(ms(200)), "the ACK to a 2xx is the dialog's");
    assert_eq!(transaction.retransmitted(), None);
    assert_eq!(server_life(&mut transaction), (vec![], Some((32_100, Due::Done)))); // L
}

#[test]
fn server_others() {
    for (reliable, j) in [(false, 32_000), (true, 0)] {
        let mut transaction = server(false, reliable);
        assert_eq!((transaction.retransmitted(), transaction.deadline()), (None, None));
        transaction.answer(NOW, true, b"200".to_vec());
        assert_eq!(transaction.retransmitted(), Some(&b"200"[..]));
        assert_eq!(server_life(&mut transaction), (vec![], Some((j, Due::Done))));
    }
}

#[test]
fn client_invite() {
    let a = vec![500, 1_500, 3_500, 7_500, 15_500, 31_500];
    assert_eq!(client_life(&mut client(true, false)), (a, Some((32_000, Due::TimedOut)))); // A, B
    assert_eq!(client_life(&mut client(true, true)), (vec![], Some((32_000, Due::TimedOut))));

    let mut ringing = client(true, false);
    assert_eq!(ringing.response(ms(100), 180), Heard::Nothing);
    assert_eq!(client_life(&mut ringing), (vec![], Some((180_100, Due::TimedOut))));

    for (reliable, code, linger) in [(false, 486, 32_000), (true, 486, 0), (false, 200, 32_000), (true, 200, 32_000)] {
        let mut answered = client(true, reliable);
        assert_eq!(answered.response(ms(100), code), Heard::Final);
        assert_eq!((answered.response(ms(100), 180), answered.response(ms(100), code)), (Heard::Nothing, Heard::AckAgain));
        assert_eq!(client_life(&mut answered), (vec![], Some((linger + 100, Due::Done)))); // D, M
    }
}

#[test]
fn client_others() {
    let e = vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(client_life(&mut client(false, false)), (e, Some((32_000, Due::TimedOut)))); // E, F

    let mut trying = client(false, false);
    assert_eq!(trying.response(ms(100), 100), Heard::Nothing);
    let e = vec![500, 4_500, 8_500, 12_500, 16_500, 20_500, 24_500, 28_500];
    assert_eq!(client_life(&mut trying), (e, Some((32_000, Due::TimedOut))));

    for (reliable, k) in [(false, 5_000), (true, 0)] {
        let mut answered = client(false, reliable);
        assert_eq!((answered.response(NOW, 200), answered.response(NOW, 200)), (Heard::Final, Heard::Nothing));
        assert_eq!(client_life(&mut answered), (vec![], Some((k, Due::Done))));
    }
}

#[test]
fn which_request_belongs_to_which_transaction() {
    let key = |method: &str, branch: &str, host: &str| {
        let text = format!(
            "{method} sip:b SIP/2.0\r\nVia: SIP/2.0/UDP {host};branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { panic!() };
        TransactionKey::of_request(&request)
    };
    let invite = key("INVITE", "z9hG4bK1", "Host");
    assert_eq!(invite, key("ACK", "z9hG4bK1", "hOST"));
    assert_eq!(invite, key("CANCEL", "z9hG4bK1", "host").of_cancelled());
    assert_ne!(invite, key("CANCEL", "z9hG4bK1", "host"));
    assert_ne!(invite, key("INVITE", "z9hG4bK2", "host"));
    assert_ne!(invite, key("INVITE", "z9hG4bK1", "host:5070"));
    assert_eq!(key("INVITE", "1", "host"), key("ACK", "1", "host"));
    assert_ne!(key("INVITE", "1", "host"), key("INVITE", "2", "host"));
}
