//! Fetching from a real HTTP server that is as bad as servers are, and from files.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::audio::wav_bytes;
use super::*;

/// How the server answers a path; it counts the answers with 200.
struct Server {
    address: SocketAddr,
    whole: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let whole = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&whole);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                thread::spawn(move || answer(stream, &count));
            }
        });
        Server { address, whole }
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn fetch(&self, path: &str) -> Result<Vec<f32>, SourceError> {
        fetch(&self.uri(path), None).await
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Writes fail when the client has hung up, which is what it should do here and there.
fn answer(mut stream: TcpStream, whole: &AtomicUsize) {
    let request = head(&mut stream);
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let tone = wav_bytes(&[1_000; 4_000]);
    let say = |stream: &mut TcpStream, head: &str, body: &[u8]| {
        let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").and_then(|()| stream.write_all(body));
    };
    match path.as_str() {
        "/tone.wav" if request.to_ascii_lowercase().contains("if-none-match: \"v1\"") => {
            say(&mut stream, "304 Not Modified", &[])
        }
        "/tone.wav" => {
            whole.fetch_add(1, Ordering::Relaxed);
            say(&mut stream, &format!("200 OK\r\nETag: \"v1\"\r\nContent-Length: {}", tone.len()), &tone);
        }
        "/moved" => say(&mut stream, "302 Found\r\nLocation: /tone.wav\r\nContent-Length: 0", &[]),
        "/loop" => say(&mut stream, "302 Found\r\nLocation: /loop\r\nContent-Length: 0", &[]),
        "/large" => say(&mut stream, "200 OK\r\nContent-Length: 10737418240", &tone),
        "/endless" => {
            say(&mut stream, "200 OK", &tone);
            let zeros = vec![0; 1 << 16];
            while stream.write_all(&zeros).is_ok() {}
        }
        "/page" => say(&mut stream, "200 OK\r\nContent-Length: 6", b"<html>"),
        "/slow" => {
            say(&mut stream, "200 OK\r\nContent-Length: 8044", &tone[..100]);
            let _ = stream.read(&mut [0]); // until the client gives up
        }
        "/broken" => say(&mut stream, "200 OK\r\nContent-Length: 8044", &tone[..100]),
        "/forbidden" => say(&mut stream, "403 Forbidden\r\nContent-Length: 0", &[]),
        _ => say(&mut stream, "404 Not Found\r\nContent-Length: 0", &[]),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn each_bad_source_has_its_state() {
    let server = Server::start();
    for (path, state) in [
        ("/nothing", State::NotFound),
        ("/forbidden", State::Refused),
        ("/large", State::TooLarge),
        ("/endless", State::TooLarge),
        ("/page", State::NotAudio),
        ("/loop", State::RedirectLoop),
        ("/slow", State::Slow),
        ("/broken", State::Unreachable),
    ] {
        let error = run(server.fetch(path)).unwrap_err();
        assert_eq!(error.state(), state, "{path}: {error}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(run(fetch(&format!("http://{nobody}/"), None)).unwrap_err().state(), State::Unreachable);
    assert_eq!(run(fetch("tone.wav", None)).unwrap_err().state(), State::BadUri);
}

#[test]
fn a_tone_is_fetched_once_and_then_only_asked_for() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    for _ in 0..3 {
        let tone = run(fetch(&server.uri("/tone.wav"), Some(folder.path()))).unwrap();
        assert_eq!(tone.len(), 4_000);
    }
    assert_eq!(server.whole.load(Ordering::Relaxed), 1);
    assert_eq!(run(server.fetch("/moved")).unwrap().len(), 4_000);
    let copy = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    fs::write(&copy, b"\x00\nno tone").unwrap();
    assert_eq!(run(fetch(&server.uri("/tone.wav"), Some(folder.path()))).unwrap().len(), 4_000, "a broken copy is none");
}

#[test]
fn files_are_read_as_far_as_they_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let state = |name: &str| run(fetch(&format!("file://{}/{name}", folder.path().display()), None)).map_err(|e| e.state());
    fs::write(folder.path().join("tone.wav"), wav_bytes(&[1_000; 800])).unwrap();
    assert_eq!(state("tone.wav").map(|tone| tone.len()), Ok(800));
    assert_eq!(state("nothing.wav"), Err(State::NotFound));
    assert_eq!(state(""), Err(State::Unreadable), "a folder");
    fs::File::create(folder.path().join("large.wav")).unwrap().set_len(10 << 30).unwrap();
    assert_eq!(state("large.wav"), Err(State::TooLarge), "ten gigabytes");
    assert_eq!(run(fetch("file:///dev/zero", None)).map_err(|e| e.state()), Err(State::Unreadable));
}
