//! The headers of a message as a list of raw name and value (RFC 3261 §7.3): in order, spelled as received, bytes kept.
//!
//! Reading resolves what is the same for every header: folded lines, white space around the colon, compact names. What a value
//! means is the business of [`super::values`].

use std::borrow::Cow;
use std::ops::Range;

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Vec<u8>,
}

/// All headers of a message in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

/// Compact names (RFC 3261 §7.3.3 and the IANA registry of header fields).
const COMPACT: [(&str, &str); 17] = [
    ("a", "Accept-Contact"),
    ("b", "Referred-By"),
    ("c", "Content-Type"),
    ("d", "Request-Disposition"),
    ("e", "Content-Encoding"),
    ("f", "From"),
    ("i", "Call-ID"),
    ("k", "Supported"),
    ("l", "Content-Length"),
    ("m", "Contact"),
    ("o", "Event"),
    ("r", "Refer-To"),
    ("s", "Subject"),
    ("t", "To"),
    ("u", "Allow-Events"),
    ("v", "Via"),
    ("x", "Session-Expires"),
];

impl Header {
    /// The name as received; may be a compact one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name written out: `Via` for `v`; as received where it has no compact form.
    pub fn full_name(&self) -> &str {
        COMPACT.iter().find(|(short, _)| self.name.eq_ignore_ascii_case(short)).map_or(&self.name, |(_, long)| long)
    }

    /// The value as received, unfolded, without white space around it.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The value as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }

    fn parse(line: &[u8]) -> Option<Header> {
        let colon = line.iter().position(|&b| b == b':')?;
        let name = str::from_utf8(line[..colon].trim_ascii()).ok()?;
        let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        is_token.then(|| Header { name: name.to_owned(), value: line[colon + 1..].trim_ascii().to_vec() })
    }
}

impl Headers {
    /// Reads the lines between start line and empty line. What is no header line is left out, as RFC 3261 §7.3.1 wants it for
    /// malformed headers that nobody needs; a needed one is then missed by who looks for it.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Headers {
        Headers(unfold(lines).iter().filter_map(|line| Header::parse(line)).collect())
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push(Header { name: name.to_owned(), value: value.into() });
    }

    /// Adds many at the end.
    pub fn extend(&mut self, more: Headers) {
        self.0.extend(more.0);
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    /// The values of every header `name` (written out), in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |h| h.full_name().eq_ignore_ascii_case(name)).map(Header::value)
    }

    /// The value of the first header `name`.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The value of the first header `name` as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.first(name).map(String::from_utf8_lossy)
    }

    /// The values of a header that is a comma-separated list (`Via`, `Record-Route`, `Contact`, `Allow` …), one by one and byte
    /// for byte. Commas in quotes and angle brackets do not count.
    pub fn list(&self, name: &str) -> Vec<&[u8]> {
        let values = self.all(name).flat_map(|value| pieces(value, b',').into_iter().map(|range| value[range].trim_ascii()));
        values.filter(|value| !value.is_empty()).collect()
    }

    /// Whether a list of tokens (`Supported`, `Require`, `Allow`) holds `token`, without regard to case.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).iter().any(|value| value.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Where the pieces of `text` between separators are; separators in quotes or angle brackets do not count.
pub(super) fn pieces(text: &[u8], separator: u8) -> Vec<Range<usize>> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    let mut start = 0;
    let mut ranges = Vec::new();
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b if b == separator && !quoted && !angle => {
                ranges.push(start..i);
                start = i + 1;
            }
            _ => {}
        }
    }
    ranges.push(start..text.len());
    ranges
}

/// Length of the head of a message, its closing empty line included; none while that has not come. A line ends at LF, with or
/// without a CR before it. `bytes` do not begin with an empty line.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1);
    line_ends.find_map(|after| match &bytes[after..] {
        [b'\n', ..] => Some(after + 1),
        [b'\r', b'\n', ..] => Some(after + 2),
        _ => None,
    })
}

/// Joins folded lines (RFC 3261 §7.3.1) with one space. A lone CR is white space, lest it become a line end on the way out.
fn unfold<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut unfolded: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        let mut text: Vec<u8> = line.trim_ascii_end().to_vec();
        text.iter_mut().filter(|b| **b == b'\r').for_each(|b| *b = b' ');
        match unfolded.last_mut() {
            Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                last.push(b' ');
                last.extend_from_slice(text.trim_ascii_start());
            }
            _ => unfolded.push(text),
        }
    }
    unfolded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &[u8]) -> Headers {
        Headers::parse(text.split(|b| *b == b'\n'))
    }

    #[test]
    fn compact_folded_and_spaced_names_are_found() {
        let h =
            headers(b"v: SIP/2.0/UDP a\r\nSubject : one\r\n two\r\n\t three\r\nk:timer\nno header line\n: no name\nX-A:\xff\rb");
        assert_eq!(h.text("via").unwrap(), "SIP/2.0/UDP a");
        assert_eq!(h.text("SUBJECT").unwrap(), "one two three");
        assert!(h.lists("Supported", "Timer"));
        assert_eq!(h.first("x-a").unwrap(), b"\xff b");
        let names: Vec<_> = h.iter().map(|h| (h.name(), h.full_name())).collect();
        assert_eq!(names, [("v", "Via"), ("Subject", "Subject"), ("k", "Supported"), ("X-A", "X-A")]);
    }

    #[test]
    fn lists_split_at_bare_commas_only() {
        let h = headers(b"Contact: \"a, \\\"b\" <sip:a@b;x=1,2>;q=1 , <sip:c@d>,\r\nm: sip:e@f\r\nX: ,");
        let values = h.list("Contact");
        assert_eq!(values, [&b"\"a, \\\"b\" <sip:a@b;x=1,2>;q=1"[..], b"<sip:c@d>", b"sip:e@f"]);
        assert!(h.list("X").is_empty());
    }

    #[test]
    fn the_head_ends_at_the_first_empty_line() {
        assert_eq!(head_length(b"A: b\r\n\r\nbody"), Some(8));
        assert_eq!(head_length(b"A: b\n\nbody"), Some(6));
        assert_eq!(head_length(b"A: b\r\n\r"), None);
        assert_eq!(head_length(b""), None);
    }
}
