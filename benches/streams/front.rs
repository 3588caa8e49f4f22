//! SIP for contestants that speak none: answers every INVITE with ports that its owner opens, and every BYE (RFC 3261).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nearend::sip::{Message, Method, Request};

use super::Result;
use super::contestant::ADDRESS;

/// Who opens ports for sessions.
pub(crate) trait Ports: Send {
    /// A session begins; gives the answer to its offer.
    fn open(&mut self, call_id: &str, offer: &str) -> Result<String>;

    /// It is over.
    fn close(&mut self, call_id: &str) -> Result<()>;
}

/// The thread that answers.
pub(crate) struct Front {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    pub(crate) fn start(ports: Box<dyn Ports>) -> Result<Front> {
        let socket = UdpSocket::bind((ADDRESS, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (address, stop) = (socket.local_addr()?, Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut answers = Answers { ports, open: HashMap::new() };
            if let Err(error) = answers.serve(&socket, &stopped) {
                eprintln!("bench: SIP for a contestant without: {error}"); // the sender's calls fail, and with them the trial
            }
        });
        Ok(Front { address, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // what went wrong has been said
        }
    }
}

/// An answer to an offer of one µ-law stream, or an offer of one.
pub(crate) fn description(address: Ipv4Addr, port: u16) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=recvonly\r\n")
}

struct Answers {
    ports: Box<dyn Ports>,
    /// The answers given, by Call-ID: a retransmitted INVITE gets the same again.
    open: HashMap<String, String>,
}

impl Answers {
    fn serve(&mut self, socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
        let mut datagram = [0; 16_384];
        while !stop.load(Ordering::Relaxed) {
            match socket.recv_from(&mut datagram) {
                Ok((length, from)) => {
                    if let Some(answer) = self.answer(datagram.get(..length).unwrap_or_default())? {
                        socket.send_to(&answer, from)?;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn answer(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>> {
        let Ok(Message::Request(request)) = Message::parse(message) else { return Ok(None) };
        let body = match request.method {
            Method::Ack => return Ok(None),
            Method::Invite => self.invite(&request)?,
            Method::Bye => self.bye(&request)?,
            _ => String::new(),
        };
        Ok(Some(ok(&request, &body)))
    }

    fn invite(&mut self, request: &Request) -> Result<String> {
        if let Some(answer) = self.open.get(&request.call_id) {
            return Ok(answer.clone());
        }
        let answer = self.ports.open(&request.call_id, &String::from_utf8_lossy(&request.body))?;
        self.open.insert(request.call_id.clone(), answer.clone());
        Ok(answer)
    }

    fn bye(&mut self, request: &Request) -> Result<String> {
        if self.open.remove(&request.call_id).is_some() {
            self.ports.close(&request.call_id)?;
        }
        Ok(String::new())
    }
}

fn ok(request: &Request, body: &str) -> Vec<u8> {
    let header = |name: &str| request.headers.text(name).unwrap_or_default().into_owned();
    let tag = if request.to.tag().is_some() { "" } else { ";tag=bench" };
    let (via, from, to) = (header("Via"), header("From"), header("To"));
    let (call_id, cseq, length) = (&request.call_id, &request.cseq, body.len());
    format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: <sip:{ADDRESS}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
