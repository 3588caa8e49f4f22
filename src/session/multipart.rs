//! Bodies of several parts (RFC 2046 §5.1), as SIPREC senders really write them: boundary quoted or not, LF or CRLF,
//! `Content-Type:` with or without a space, parts in any order, a closing delimiter that never comes.

/// One part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Media type in lower case, without parameters.
    pub media_type: String,
    /// The bytes.
    pub body: &'a [u8],
}

/// At most this many parts are looked at; more are no recording session's.
const MAX_PARTS: usize = 16;

/// The parts of a body of the given Content-Type; a body that is not multipart is its own only part.
pub fn parts<'a>(content_type: &str, body: &'a [u8]) -> Vec<Part<'a>> {
    let media_type = media_type(content_type);
    if !media_type.starts_with("multipart/") {
        return if body.is_empty() { Vec::new() } else { vec![Part { media_type, body }] };
    }
    match parameter(content_type, "boundary").or_else(|| first_delimiter(body)) {
        Some(boundary) => split(body, &boundary),
        None => Vec::new(),
    }
}

/// `application/sdp` of `application/SDP; charset=…`.
pub fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parameter(content_type: &str, name: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned()).filter(|v| !v.is_empty())
    })
}

/// Some senders name no boundary; the first line then is the delimiter.
fn first_delimiter(body: &[u8]) -> Option<String> {
    let line = lines(body).map(|(_, line)| line).find(|line| !line.is_empty())?;
    std::str::from_utf8(line.strip_prefix(b"--")?).ok().map(str::to_owned)
}

fn split<'a>(body: &'a [u8], boundary: &str) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut begin = None;
    for (at, line) in lines(body) {
        let Some(tail) = line.strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary.as_bytes())) else { continue };
        let is_last = tail.starts_with(b"--");
        if !is_last && !tail.trim_ascii().is_empty() {
            continue; // a longer boundary that begins like ours
        }
        parts.extend(begin.and_then(|begin| body.get(begin..at)).and_then(part));
        begin = (!is_last).then(|| (at + line.len() + newline_len(body, at + line.len())).min(body.len()));
        if is_last || parts.len() >= MAX_PARTS {
            return parts;
        }
    }
    parts.extend(begin.and_then(|begin| body.get(begin..)).and_then(part));
    parts
}

/// Splits a part's own headers from its body and takes the line end off that belongs to the delimiter.
fn part(raw: &[u8]) -> Option<Part<'_>> {
    let mut media = None;
    for (at, line) in lines(raw) {
        if line.trim_ascii().is_empty() {
            let body = raw.get(at + line.len() + newline_len(raw, at + line.len())..).unwrap_or_default();
            return Some(Part { media_type: media.unwrap_or_else(|| "text/plain".into()), body: without_newline(body) });
        }
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once(':')
            && (name.trim().eq_ignore_ascii_case("content-type") || name.trim().eq_ignore_ascii_case("c"))
        {
            media = Some(media_type(value));
        }
    }
    None
}

/// Lines with the offset of each, without CR and LF.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    bytes.split_inclusive(|b| *b == b'\n').map(move |line| {
        let begin = at;
        at += line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        (begin, line.strip_suffix(b"\r").unwrap_or(line))
    })
}

fn newline_len(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => 2,
        Some([b'\n', ..]) => 1,
        _ => 0,
    }
}

fn without_newline(body: &[u8]) -> &[u8] {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.strip_suffix(b"\r").unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(content_type: &str, body: &str) -> Vec<(String, String)> {
        let parts = parts(content_type, body.as_bytes());
        parts.into_iter().map(|p| (p.media_type, String::from_utf8_lossy(p.body).into_owned())).collect()
    }

    #[test]
    fn a_plain_body_is_one_part() {
        assert_eq!(shown("Application/SDP;x=y", "v=0\r\n"), [("application/sdp".into(), "v=0\r\n".into())]);
        assert_eq!(shown("application/sdp", ""), []);
    }

    #[test]
    fn parts_come_in_any_order_and_dress() {
        let strict = "--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b1\r\nContent-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n<r/>\r\n--b1--\r\n";
        let expected =
            [("application/sdp".to_owned(), "v=0\r\n".to_owned()), ("application/rs-metadata+xml".into(), "<r/>".into())];
        assert_eq!(shown("multipart/mixed;boundary=b1", strict), expected);
        assert_eq!(shown("multipart/mixed; boundary=\"b1\"", strict), expected);
        assert_eq!(shown("multipart/mixed", strict), expected);
        let loose = "preamble\n--b 1\nContent-Type:application/rs-metadata\n\n<r/>\n--b 1\nc: application/sdp\n\nv=0\n";
        let swapped = [("application/rs-metadata".to_owned(), "<r/>".to_owned()), ("application/sdp".into(), "v=0".into())];
        assert_eq!(shown("multipart/mixed; boundary=\"b 1\"", loose), swapped);
    }

    #[test]
    fn a_boundary_that_begins_like_ours_is_text() {
        let body = "--b\r\n\r\none\r\n--bc\r\ntwo\r\n--b--";
        assert_eq!(shown("multipart/mixed;boundary=b", body), [("text/plain".into(), "one\r\n--bc\r\ntwo".into())]);
    }

    proptest! {
        #[test]
        fn no_body_panics(content_type in "multipart/mixed(;boundary=[ab]{0,2})?", body in "[-ab:\r\n ]{0,200}") {
            prop_assert!(parts(&content_type, body.as_bytes()).len() <= MAX_PARTS);
        }
    }
}
