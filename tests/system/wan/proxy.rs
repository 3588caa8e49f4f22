//! A bad WAN: a TCP proxy that delays, slows down, resets, swallows, answers in the server's place. Each connection has one fault.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Everything comes so many milliseconds late.
    Latency(u64),
    /// Not more than so many bytes per second go to the server, for so many bytes; then it is reset.
    Slow(u64, u64),
    /// Reset after so many bytes from the client.
    ResetAfter(u64),
    /// Reset after so many bytes of the server's answers.
    ResetInAnswer(u64),
    /// Closed in order after so many bytes from the client, in the middle of whatever it is.
    TruncateAfter(u64),
    /// Everything is read and nothing answered.
    HalfClosed,
    /// What answers speaks another protocol: a TLS alert on a plain connection.
    WrongTls,
    /// The proxy answers the first request itself.
    Answer(u16),
    /// The proxy says 200 to the first PUT and throws it away; other requests pass.
    LyingSuccess,
}

/// Tells each new connection, by its number, what happens to it.
pub(crate) type Plan = Box<dyn Fn(u64) -> Fault + Send + Sync>;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: Mutex<SocketAddr>,
    plan: Plan,
    connections: AtomicU64,
    /// Bytes from clients.
    bytes: AtomicU64,
    /// When they came, where somebody wants to know.
    times: Option<Mutex<Vec<(Instant, usize)>>>,
    stopped: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(ip: Ipv4Addr, server: SocketAddr, plan: Plan) -> Proxy {
        Proxy::start_as(ip, server, plan, None)
    }

    /// One that disturbs nothing and writes down when bytes come from clients.
    pub(crate) fn watching(ip: Ipv4Addr, server: SocketAddr) -> Proxy {
        Proxy::start_as(ip, server, Box::new(|_| Fault::Latency(0)), Some(Mutex::default()))
    }

    fn start_as(ip: Ipv4Addr, server: SocketAddr, plan: Plan, times: Option<Mutex<Vec<(Instant, usize)>>>) -> Proxy {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, bytes, stopped) = Default::default();
        let state = Arc::new(State { server: Mutex::new(server), plan, connections, bytes, times, stopped });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.stopped.load(Relaxed) {
                    return;
                }
                let fault = (shared.plan)(shared.connections.fetch_add(1, Relaxed));
                let state = Arc::clone(&shared);
                thread::spawn(move || state.connection(client, fault));
            }
        });
        Proxy { address, state }
    }

    /// Bytes that came from clients up to now.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.bytes.load(Relaxed)
    }

    /// When bytes came from clients, and how many.
    pub(crate) fn times(&self) -> Vec<(Instant, usize)> {
        self.state.times.as_ref().unwrap().lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener
    }
}

impl State {
    fn connection(self: Arc<State>, mut client: TcpStream, fault: Fault) {
        match fault {
            Fault::HalfClosed => self.swallow(&mut client),
            Fault::WrongTls => {
                let _ = client.read(&mut [0; 1_024]);
                let _ = client.write_all(&[21, 3, 3, 0, 2, 2, 70]); // alert, fatal, protocol_version (RFC 8446 §6)
            }
            Fault::Answer(status) => {
                self.read_request(&mut client, None);
                let code = if status == 404 { "NoSuchBucket" } else { "SlowDown" };
                let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
                let answer = format!("HTTP/1.1 {status} No\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = client.write_all(answer.as_bytes());
            }
            fault => {
                let server = TcpStream::connect(*self.server.lock().unwrap());
                if let Ok(server) = server {
                    self.pass(client, server, fault);
                }
            }
        }
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if let Some(times) = &self.times {
            times.lock().unwrap().push((Instant::now(), bytes));
        }
    }

    fn swallow(&self, client: &mut TcpStream) {
        let mut buffer = [0; 16_384];
        while let Ok(n @ 1..) = client.read(&mut buffer) {
            self.count(n);
        }
    }

    /// Reads one request, passing it on or not. Gives its head.
    fn read_request(&self, client: &mut TcpStream, mut to: Option<&mut TcpStream>) -> Option<String> {
        let mut request = Vec::new();
        let mut buffer = [0; 16_384];
        loop {
            let n = client.read(&mut buffer).ok().filter(|n| *n > 0)?;
            self.count(n);
            request.extend_from_slice(&buffer[..n]);
            if let Some(to) = &mut to {
                to.write_all(&buffer[..n]).ok()?;
            }
            let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or_default();
            if request.len() >= end + 4 + length {
                return Some(head);
            }
        }
    }

    fn pass(self: Arc<State>, mut client: TcpStream, mut server: TcpStream, fault: Fault) {
        if fault == Fault::LyingSuccess {
            let mut peeked = [0; 4];
            while client.peek(&mut peeked).is_ok_and(|n| n > 0) {
                if &peeked == b"PUT " {
                    self.read_request(&mut client, None);
                    let _ = client.write_all(b"HTTP/1.1 200 OK\r\nETag: \"0\"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
                    return;
                }
                if self.read_request(&mut client, Some(&mut server)).is_none()
                    || forward_answer(&mut server, &mut client).is_none()
                {
                    return;
                }
            }
            return;
        }
        let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let down = thread::spawn(move || pump(&mut from_server, &mut to_client, fault, false, |_| {}));
        pump(&mut client, &mut server, fault, true, |bytes| self.count(bytes));
        let _ = down.join();
    }
}

/// Passes bytes in one direction until it ends or its fault comes.
fn pump(from: &mut TcpStream, to: &mut TcpStream, fault: Fault, is_up: bool, count: impl Fn(usize)) {
    let limit = match fault {
        Fault::ResetAfter(n) | Fault::TruncateAfter(n) | Fault::Slow(_, n) if is_up => n,
        Fault::ResetInAnswer(n) if !is_up => n,
        _ => u64::MAX,
    };
    let mut passed = 0;
    let mut buffer = [0; 16_384];
    while passed < limit {
        let most = if matches!(fault, Fault::Slow(..)) { 800 } else { buffer.len() };
        let most = most.min(usize::try_from(limit - passed).unwrap_or(usize::MAX));
        let Ok(n @ 1..) = from.read(&mut buffer[..most]) else {
            let _ = to.shutdown(Shutdown::Write);
            return;
        };
        count(n);
        passed += n as u64;
        match fault {
            Fault::Latency(ms) if ms > 0 => thread::sleep(Duration::from_millis(ms)),
            Fault::Slow(rate, _) if is_up => thread::sleep(Duration::from_micros(n as u64 * 1_000_000 / rate)),
            _ => {}
        }
        if to.write_all(&buffer[..n]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
    if !matches!(fault, Fault::TruncateAfter(_)) {
        // Discards what waits and sends RST instead of FIN (socket(7)).
        for socket in [&*from, &*to] {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Passes one answer on; the head tells how long it is. None: the server closed.
fn forward_answer(server: &mut TcpStream, client: &mut TcpStream) -> Option<()> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        let n = server.read(&mut buffer).ok().filter(|n| *n > 0)?;
        client.write_all(&buffer[..n]).ok()?;
        answer.extend_from_slice(&buffer[..n]);
        let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0_usize);
        // The answer to a HEAD has a length and no body: what follows comes with the next answer then, which is passed on as well.
        if answer.len() >= end + 4 + length || head.starts_with("http/1.1 404") || length > 0 {
            return Some(());
        }
    }
}
