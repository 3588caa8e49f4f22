//! Downloads from a server that cuts, changes its mind, and lies.

use std::collections::VecDeque;
use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// Answers each connection with the next of these, whole, and closes it. Gives what was asked.
fn server(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/box.raucb", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for answer in VecDeque::from(answers) {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            heard.lock().unwrap().push(String::from_utf8(request).unwrap().to_lowercase());
            stream.write_all(&answer).unwrap();
        }
    });
    (url, asked)
}

fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn client_files(folder: &Path) -> (reqwest::Client, Files) {
    (client().unwrap(), Files { bundle: folder.join("bundle.raucb"), about: folder.join("bundle.about") })
}

#[tokio::test]
async fn what_was_cut_off_is_gone_on_with() {
    let body: Vec<u8> = (0..200_u8).collect();
    let etag = "ETag: \"v1\"\r\n";
    let (url, asked) = server(vec![
        answer("200 OK", etag, 200, &body[..80]),
        answer("206 Partial Content", "Content-Range: bytes 80-199/200\r\nETag: \"v1\"\r\n", 120, &body[80..]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let (client, files) = client_files(folder.path());
    assert!(step(&client, &url, &files, &files.partial(&url)).await.is_err(), "cut after 80 bytes");
    assert_eq!(files.partial(&url), Partial { have: 80, etag: Some("\"v1\"".into()) });
    assert_eq!(files.partial("http://elsewhere/box.raucb"), Partial::default());
    assert!(step(&client, &url, &files, &files.partial(&url)).await.unwrap());
    assert_eq!(fs::read(&files.bundle).unwrap(), body);
    let asked = asked.lock().unwrap();
    assert!(!asked[0].contains("range:"), "{asked:?}");
    assert!(asked[1].contains("range: bytes=80-\r\n") && asked[1].contains("if-range: \"v1\"\r\n"), "{asked:?}");
}

#[tokio::test]
async fn a_file_that_has_changed_begins_anew() {
    let (url, _) =
        server(vec![answer("200 OK", "ETag: \"v1\"\r\n", 100, &[1; 60]), answer("200 OK", "ETag: \"v2\"\r\n", 70, &[2; 70])]);
    let folder = tempfile::tempdir().unwrap();
    let (client, files) = client_files(folder.path());
    assert!(step(&client, &url, &files, &files.partial(&url)).await.is_err());
    assert!(step(&client, &url, &files, &files.partial(&url)).await.unwrap());
    assert_eq!(fs::read(&files.bundle).unwrap(), [2; 70]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_given_up_and_a_busy_server_is_not() {
    let (url, _) = server(vec![answer("503 Busy", "", 0, b""), answer("404 Not Found", "", 0, b"")]);
    let folder = tempfile::tempdir().unwrap();
    let (client, files) = client_files(folder.path());
    assert!(!step(&client, &url, &files, &Partial::default()).await.unwrap());
    let error = step(&client, &url, &files, &Partial::default()).await.unwrap_err();
    assert!(error.kind() == io::ErrorKind::Unsupported && error.to_string().contains("404"), "{error}");
}

#[test]
fn an_open_socket_is_seen() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    assert!(sockets(port..=port).unwrap() >= 1);
}
