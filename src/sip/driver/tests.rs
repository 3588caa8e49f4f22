//! Calls over real sockets on loopback.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;
use crate::model::EndReason;
use crate::sip::framing::StreamFramer;
use crate::sip::{Message, Method, Request, Response};

const PATIENCE: Duration = Duration::from_secs(10);

fn driver(listen: &[&str], trusts: impl Fn(IpAddr) -> bool + Send + 'static) -> SipDriver {
    let listener = |text: &&str| {
        let (name, address) = text.split_once(':').unwrap();
        let transport = Transport::ALL.into_iter().find(|known| known.name() == name).unwrap();
        Listener { transport, address: address.parse().unwrap() }
    };
    let config = Config { listen: listen.iter().map(listener).collect(), trusts: Box::new(trusts), ..Config::default() };
    SipDriver::bind(config, [7; 32]).unwrap()
}

fn request(method: &str, sent_by: SocketAddr, transport: &str, more: &str) -> Vec<u8> {
    let (to_tag, more) = more.split_once('|').unwrap_or(("", more));
    format!(
        "{method} sip:box SIP/2.0\r\nVia: SIP/2.0/{transport} {sent_by};branch=z9hG4bK{method}\r\nFrom: <sip:mcp@{sent_by}>;tag=f\r\n\
         To: <sip:box>{to_tag}\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nContact: <sip:mcp@{sent_by};transport={transport}>\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn response(bytes: &[u8]) -> Response {
    match Message::parse(bytes) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

fn in_dialog(ok: &Response) -> String {
    format!(";tag={}|", ok.to.tag().unwrap())
}

/// Drives the server while `peer` talks to it.
async fn during<T>(driver: &mut SipDriver, peer: impl Future<Output = T>) -> T {
    let peer = timeout(PATIENCE, peer);
    tokio::select! {
        done = peer => done.expect("the server answers in time"),
        event = driver.next() => panic!("{event:?}"),
    }
}

async fn event(driver: &mut SipDriver) -> Event {
    timeout(PATIENCE, driver.next()).await.expect("an event comes in time")
}

async fn accept_next(driver: &mut SipDriver) -> Request {
    match event(driver).await {
        Event::Invite { dialog, request } => {
            driver.endpoint().accept(Now::read().mono, dialog, "application/sdp", b"v=0\r\n".to_vec()).unwrap();
            driver.flush();
            request
        }
        other => panic!("{other:?}"),
    }
}

async fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).await.unwrap();
    buffer.truncate(length);
    buffer
}

async fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut framer = StreamFramer::default();
    loop {
        if let Some(Frame::Message(bytes)) = framer.next_frame() {
            return bytes;
        }
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed by the server");
        framer.push(&buffer[..length]);
    }
}

#[tokio::test]
async fn a_call_over_udp_to_a_socket_on_all_addresses() {
    for (listen, peer) in [("udp:0.0.0.0:0", "127.0.0.1:0"), ("udp:[::]:0", "[::1]:0")] {
        let mut driver = driver(&[listen], |_| true);
        let socket = UdpSocket::bind(peer).await.unwrap();
        let own = socket.local_addr().unwrap();
        let server = SocketAddr::new(own.ip(), driver.listeners()[0].address.port());
        socket.connect(server).await.unwrap();

        socket.send(b"\r\n\r\n").await.unwrap();
        socket.send(&request("INVITE", own, "UDP", "")).await.unwrap();
        accept_next(&mut driver).await;
        let ok = during(&mut driver, async { response(&datagram(&socket).await) }).await;
        assert_eq!((ok.status.code(), ok.body.as_slice()), (200, &b"v=0\r\n"[..]));
        assert_eq!(ok.contact().unwrap().uri.host_port().unwrap().to_string(), server.to_string());

        socket.send(&request("ACK", own, "UDP", &in_dialog(&ok))).await.unwrap();
        assert!(matches!(event(&mut driver).await, Event::Answered { .. }));
        socket.send(&request("BYE", own, "UDP", &in_dialog(&ok))).await.unwrap();
        assert!(matches!(event(&mut driver).await, Event::Ended { reason: EndReason::Bye, .. }));
        let bye = during(&mut driver, async { response(&datagram(&socket).await) }).await;
        assert_eq!((bye.status.code(), bye.cseq.method), (200, Method::Bye));
    }
}

#[tokio::test]
async fn a_call_over_tcp_that_the_box_ends_on_a_connection_of_its_own() {
    let mut driver = driver(&["tcp:127.0.0.1:0"], |_| true);
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = peer.local_addr().unwrap();
    let mut stream = TcpStream::connect(driver.listeners()[0].address).await.unwrap();

    stream.write_all(&request("INVITE", own, "TCP", "")).await.unwrap();
    let Event::Invite { dialog, .. } = event(&mut driver).await else { panic!() };
    driver.endpoint().accept(Now::read().mono, dialog, "application/sdp", b"v=0\r\n".to_vec()).unwrap();
    let ok = during(&mut driver, async { response(&message(&mut stream).await) }).await;
    stream.write_all(&request("ACK", own, "TCP", &in_dialog(&ok))).await.unwrap();
    assert!(matches!(event(&mut driver).await, Event::Answered { .. }));

    driver.endpoint().bye(Now::read().mono, dialog, "Shutdown");
    let bye = during(&mut driver, async { message(&mut peer.accept().await.unwrap().0).await }).await;
    let Ok(Message::Request(bye)) = Message::parse(&bye) else { panic!() };
    assert_eq!((bye.method, bye.via.sent_by.to_string()), (Method::Bye, driver.listeners()[0].address.to_string()));
}

#[tokio::test]
async fn a_call_over_tcp_goes_on_after_a_restart() {
    let mut before = driver(&["tcp:127.0.0.1:0"], |_| true);
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = peer.local_addr().unwrap();
    let mut stream = TcpStream::connect(before.listeners()[0].address).await.unwrap();
    stream.write_all(&request("INVITE", own, "TCP", "")).await.unwrap();
    let Event::Invite { dialog, .. } = event(&mut before).await else { panic!() };
    before.endpoint().accept(Now::read().mono, dialog, "application/sdp", b"v=0\r\n".to_vec()).unwrap();
    let ok = during(&mut before, async { response(&message(&mut stream).await) }).await;
    let saved = before.endpoint().save(dialog).unwrap();
    drop((before, stream));

    let mut after = driver(&["tcp:127.0.0.1:0"], |_| true);
    let dialog = after.endpoint().restore(Now::read().mono, saved).unwrap();
    after.endpoint().probe(Now::read().mono, dialog);
    let options = during(&mut after, async { message(&mut peer.accept().await.unwrap().0).await }).await;
    let Ok(Message::Request(options)) = Message::parse(&options) else { panic!() };
    assert_eq!((options.method, options.from.tag(), options.to.tag()), (Method::Options, ok.to.tag(), Some("f")));

    let mut stream = TcpStream::connect(after.listeners()[0].address).await.unwrap();
    stream.write_all(&request("BYE", own, "TCP", &in_dialog(&ok))).await.unwrap();
    let ended = event(&mut after).await;
    assert_eq!(ended, Event::Ended { dialog, reason: EndReason::Bye });
    let bye = during(&mut after, async { response(&message(&mut stream).await) }).await;
    assert_eq!((bye.status.code(), bye.cseq.method), (200, Method::Bye));
}

#[tokio::test]
async fn an_answer_finds_its_way_when_the_connection_has_closed() {
    let mut driver = driver(&["tcp:127.0.0.1:0"], |_| true);
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(driver.listeners()[0].address).await.unwrap();
    stream.write_all(&request("INVITE", peer.local_addr().unwrap(), "TCP", "")).await.unwrap();
    let Event::Invite { dialog, .. } = event(&mut driver).await else { panic!() };
    drop(stream);
    while driver.connection_count() > 0 {
        let _ = timeout(Duration::from_millis(1), driver.next()).await;
    }
    driver.endpoint().accept(Now::read().mono, dialog, "application/sdp", b"v=0\r\n".to_vec()).unwrap();
    let ok = during(&mut driver, async { message(&mut peer.accept().await.unwrap().0).await }).await;
    assert_eq!(response(&ok).status.code(), 200);
}

#[tokio::test]
async fn keep_alives_and_broken_streams() {
    let mut driver = driver(&["tcp:127.0.0.1:0"], |_| true);
    let mut stream = TcpStream::connect(driver.listeners()[0].address).await.unwrap();
    let own = stream.local_addr().unwrap();
    let mut pong = [0; 2];
    during(&mut driver, async {
        stream.write_all(b"\r\n\r\n").await.unwrap();
        stream.read_exact(&mut pong).await.unwrap();
    })
    .await;
    assert_eq!(&pong, b"\r\n");

    let broken = String::from_utf8(request("OPTIONS", own, "TCP", "")).unwrap().replace("Content-Length: 0\r\n", "");
    let mut rest = Vec::new();
    during(&mut driver, async {
        stream.write_all(broken.as_bytes()).await.unwrap();
        stream.read_to_end(&mut rest).await.unwrap(); // answered, then closed
    })
    .await;
    assert_eq!((response(&rest).status.code(), driver.connection_count()), (411, 0));
}

#[tokio::test]
async fn strangers_are_not_read() {
    let mut driver = driver(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], |_| false);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(driver.listeners()[0].address).await.unwrap();
    socket.send(&request("OPTIONS", socket.local_addr().unwrap(), "UDP", "")).await.unwrap();
    let mut stream = TcpStream::connect(driver.listeners()[1].address).await.unwrap();
    let read = during(&mut driver, async { stream.read(&mut [0; 1]).await }).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    while driver.untrusted_count() < 2 {
        let _ = timeout(Duration::from_millis(1), driver.next()).await;
    }
    assert_eq!(driver.endpoint().counters().requests.len(), 0);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config { listen: vec![Listener { transport: Transport::Udp, address }], ..Config::default() };
    let Err(error) = SipDriver::bind(config, [0; 32]) else { panic!() };
    assert!(error.to_string().starts_with(&format!("cannot listen for SIP on udp:{address}: ")));
}
