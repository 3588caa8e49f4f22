//! Writing messages: the only place where ours become rsip's.
//!
//! rsip's headers are text; ours are bytes, some of them no UTF-8 and to be sent back unchanged. So every byte crosses rsip as
//! the character of the same number (ISO 8859-1), which loses nothing in either direction.

use rsip::{Method, StatusCode, Version};

use super::headers::Headers;

/// A reason phrase is shown to people and kept in logs; longer ones are cut.
const MAX_REASON_CHARS: usize = 160;

/// A request; Content-Length is made to fit the body.
pub fn request(method: Method, uri: &[u8], headers: &Headers, body: &[u8]) -> Vec<u8> {
    message(&format!("{method} {} {}", to_chars(uri), Version::V2), headers, body)
}

/// A response; Content-Length is made to fit the body.
pub fn response(status: &StatusCode, reason: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    // rsip writes its own names run together ("BadRequest"); `Other` is how it takes a phrase.
    let status = StatusCode::Other(status.code(), to_chars(tidy(reason).as_bytes()));
    message(&format!("{} {status}", Version::V2), headers, body)
}

/// The phrase RFC 3261 §21 recommends, for the codes the box sends.
pub fn reason(status: &StatusCode) -> &'static str {
    match status.code() {
        100 => "Trying",
        200..300 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        420 => "Bad Extension",
        422 => "Session Interval Too Small",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        491 => "Request Pending",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

fn message(start_line: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let others = headers.iter().filter(|header| !header.full_name().eq_ignore_ascii_case("Content-Length"));
    let mut list: Vec<_> = others.map(|h| rsip::Header::Other(h.name().to_owned(), to_chars(h.value()))).collect();
    list.push(rsip::headers::ContentLength::from(u32::try_from(body.len()).unwrap_or(u32::MAX)).into());
    let head = format!("{start_line}\r\n{}\r\n", rsip::Headers::from(list));
    let mut bytes = to_bytes(&head);
    bytes.extend_from_slice(body);
    bytes
}

fn to_chars(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn to_bytes(text: &str) -> Vec<u8> {
    // Every character came from a byte or from ASCII.
    text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}

/// A phrase may quote what a peer sent: control characters must not get into the start line.
fn tidy(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cross_unchanged_and_the_length_fits() {
        let mut headers = Headers::default();
        headers.push("X-Raw", b"\xff\xc3\xa9 \x80".to_vec());
        headers.push("l", "99");
        let wire = request(Method::Bye, b"sip:\xfe@h", &headers, b"\xffbody");
        assert_eq!(wire, b"BYE sip:\xfe@h SIP/2.0\r\nX-Raw: \xff\xc3\xa9 \x80\r\nContent-Length: 5\r\n\r\n\xffbody");
    }

    #[test]
    fn a_reason_cannot_break_the_line() {
        let wire = response(&StatusCode::BadRequest, "bad \"a\r\nX: y\" \u{e9}\u{20ac}", &Headers::default(), b"");
        assert_eq!(wire, "SIP/2.0 400 bad \"a  X: y\" \u{e9}\u{20ac}\r\nContent-Length: 0\r\n\r\n".as_bytes());
    }
}
