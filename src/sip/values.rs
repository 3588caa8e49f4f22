//! Header values with a grammar of their own: name-addr (`From`, `To`, `Contact`, routes), `Via`, `CSeq` (RFC 3261 §20, §25).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use rsip::Method;
use thiserror::Error;

use super::headers::pieces;
use super::uri::{HostPort, Params, Uri, UriError};

/// `"Display" <uri>;params`, or `uri;params` without angle brackets, where the parameters belong to the header
/// (RFC 3261 §20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name without its quotes; none when empty.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// The parameters behind it: `tag`, and whatever middleboxes repeat there.
    pub params: Params,
}

/// One value of `Via` (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP` …, in upper case.
    pub transport: String,
    /// Where the sender wants its answers.
    pub sent_by: HostPort,
    /// `branch`, `received`, `rport` …
    pub params: Params,
}

/// `CSeq` (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// The sequence number.
    pub number: u32,
    /// The method it counts.
    pub method: Method,
}

/// Why a header value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// The URI or sent-by in it is broken.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// A display name's closing quote is missing.
    #[error("a quote is never closed")]
    OpenQuote,
    /// No `SIP/2.0/TRANSPORT host`.
    #[error("\"{0}\" is no Via")]
    Via(String),
    /// No `number METHOD`.
    #[error("\"{0}\" is no CSeq")]
    CSeq(String),
}

impl NameAddr {
    /// Reads one value (see [`super::Headers::list`] for lists). A missing `>` is taken as standing at the end: Metaswitch
    /// sends such a Contact.
    pub fn parse(value: &[u8]) -> Result<NameAddr, ValueError> {
        let (display, rest) = split_display(value.trim_ascii())?;
        let (uri, params) = match rest.strip_prefix(b"<") {
            Some(inner) => match inner.iter().position(|&b| b == b'>') {
                Some(end) => (&inner[..end], &inner[end + 1..]),
                None => (inner, &b""[..]),
            },
            None => rest.split_at(rest.iter().position(|&b| b == b';').unwrap_or(rest.len())),
        };
        let display = Some(unquote(&String::from_utf8_lossy(display)).into_owned()).filter(|d| !d.is_empty());
        let params = header_params(&String::from_utf8_lossy(params));
        Ok(NameAddr { display, uri: Uri::parse(uri.trim_ascii())?, params })
    }

    /// The `tag` parameter of From and To.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }
}

impl Via {
    /// Reads one value.
    pub fn parse(value: &[u8]) -> Result<Via, ValueError> {
        let text = String::from_utf8_lossy(value);
        let no_via = || ValueError::Via(text.clone().into_owned());
        let mut protocol = text.splitn(3, '/').map(str::trim);
        if !protocol.next().is_some_and(|name| name.eq_ignore_ascii_case("SIP")) {
            return Err(no_via());
        }
        let (_version, rest) = protocol.next().zip(protocol.next()).ok_or_else(no_via)?;
        let (transport, rest) = rest.split_once(|c: char| c.is_ascii_whitespace()).ok_or_else(no_via)?;
        let (sent_by, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        Ok(Via { transport: transport.to_ascii_uppercase(), sent_by: HostPort::parse(sent_by)?, params: header_params(params) })
    }

    /// The `branch` parameter, which names the transaction.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// Whether answers shall go to the source port (RFC 3581 §3).
    pub fn wants_rport(&self) -> bool {
        self.params.get("rport").is_some()
    }

    /// This value with where it really came from: `received` where that differs from sent-by or `rport` was asked for, and `rport`
    /// filled in (RFC 3261 §18.2.1, RFC 3581 §4). What the sender claimed itself is overwritten.
    pub fn stamped(&self, ip: IpAddr, port: u16) -> String {
        let wants_rport = self.wants_rport();
        let mut text = format!("SIP/2.0/{} {}", self.transport, self.sent_by);
        for (name, value) in self.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("received")) {
            let value =
                if name.eq_ignore_ascii_case("rport") { Some(Cow::Owned(port.to_string())) } else { value.map(Cow::Borrowed) };
            text.push_str(&value.map_or_else(|| format!(";{name}"), |value| format!(";{name}={value}")));
        }
        if wants_rport || self.sent_by.ip() != Some(ip) {
            text.push_str(&format!(";received={ip}"));
        }
        text
    }
}

impl CSeq {
    /// Reads `number METHOD`; a method that [`method`] does not know is an error.
    pub fn parse(value: &[u8]) -> Result<CSeq, ValueError> {
        let text = String::from_utf8_lossy(value);
        let mut words = text.split_ascii_whitespace();
        let parsed = match (words.next().map(str::parse), words.next().map(method), words.next()) {
            (Some(Ok(number)), Some(Some(method)), None) => Some(CSeq { number, method }),
            _ => None,
        };
        parsed.ok_or_else(|| ValueError::CSeq(text.into_owned()))
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

/// The method of that name. Methods are case-sensitive (RFC 3261 §7.1), which rsip's own reading is not.
pub fn method(token: &str) -> Option<Method> {
    token.parse::<Method>().ok().filter(|method| method.to_string() == token)
}

/// A quoted string without quotes and backslashes (RFC 3261 §25.1); anything else as it is.
pub fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else { return Cow::Borrowed(text) };
    let mut chars = inner.chars();
    let mut plain = String::with_capacity(inner.len());
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(plain)
}

/// Parameters of a header: `;name=value;name="quoted; value";flag`.
pub(super) fn header_params(text: &str) -> Params {
    Params::from_segments(pieces(text.as_bytes(), b';').into_iter().map(|range| &text[range]))
}

/// The display name, quotes included, and what follows it: `<…` or a bare URI.
fn split_display(value: &[u8]) -> Result<(&[u8], &[u8]), ValueError> {
    let quoted = value.starts_with(b"\"");
    let start = if quoted { end_of_quote(value).ok_or(ValueError::OpenQuote)? } else { 0 };
    match value[start..].iter().position(|&b| b == b'<') {
        Some(angle) => Ok((value[..start + angle].trim_ascii(), &value[start + angle..])),
        None => Ok((value[..start].trim_ascii(), value[start..].trim_ascii())),
    }
}

/// The index behind the quote that closes the one `value` begins with.
fn end_of_quote(value: &[u8]) -> Option<usize> {
    let mut escaped = false;
    let end = value.iter().skip(1).position(|&b| match b {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        _ => b == b'"',
    })?;
    Some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_addr(text: &str) -> NameAddr {
        NameAddr::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn name_addr_in_all_its_forms() {
        let quoted = name_addr("\"Anna \\\"A\\\" <x>; B\" <sip:a@b;lr=x>;tag=\"q;1\";flag");
        assert_eq!(quoted.display.as_deref(), Some("Anna \"A\" <x>; B"));
        assert_eq!(quoted.uri.to_string(), "sip:a@b;lr=x");
        assert_eq!(unquote(quoted.tag().unwrap()), "q;1");
        assert_eq!(quoted.params.get("FLAG"), Some(""));

        let bare = name_addr("sip:192.0.2.30:5060;tag=7");
        assert_eq!((bare.uri.to_string().as_str(), bare.tag(), &bare.display), ("sip:192.0.2.30:5060", Some("7"), &None));

        let tokens = name_addr("Genesys Media <sip:[2001:db8::1]:5060> ; tag = 1 ;calluuid=A;gvp-tenant-id=[Environment].record");
        assert_eq!(tokens.display.as_deref(), Some("Genesys Media"));
        assert_eq!(tokens.tag(), Some("1"));
        assert_eq!(tokens.params.get("gvp-tenant-id"), Some("[Environment].record"));

        assert_eq!(name_addr("<sip:a@b;transport=tcp").uri.param("transport").unwrap(), "tcp");
        assert_eq!(name_addr("<tel:+1201;phone-context=x>").uri.user(), Some("+1201"));
        assert_eq!(NameAddr::parse(b"\"open <sip:a@b>"), Err(ValueError::OpenQuote));
        assert!(NameAddr::parse(b"").is_err());
    }

    #[test]
    fn via_is_read_and_stamped() {
        let via = Via::parse(b"SIP / 2.0 / udp 192.0.2.20:15060 ;branch=z9hG4bK1;rport;Received=203.0.113.9;x=\"a;b\"").unwrap();
        assert_eq!((via.transport.as_str(), via.branch()), ("UDP", Some("z9hG4bK1")));
        assert_eq!(
            via.stamped("192.0.2.20".parse().unwrap(), 4711),
            "SIP/2.0/UDP 192.0.2.20:15060;branch=z9hG4bK1;rport=4711;x=\"a;b\";received=192.0.2.20"
        );
        let plain = Via::parse(b"SIP/2.0/TCP [2001:db8::5];branch=z9hG4bK2").unwrap();
        assert_eq!(plain.stamped("2001:db8::5".parse().unwrap(), 1), "SIP/2.0/TCP [2001:db8::5];branch=z9hG4bK2");
        assert_eq!(plain.stamped("::1".parse().unwrap(), 1), "SIP/2.0/TCP [2001:db8::5];branch=z9hG4bK2;received=::1");
        for text in ["", "SIP/2.0/UDP", "SIP/2.0 host", "HTTP/1.1/TCP host", "SIP/2.0/UDP h:x"] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn cseq_knows_its_method() {
        assert_eq!(CSeq::parse(b"4294967295   INVITE").unwrap(), CSeq { number: u32::MAX, method: Method::Invite });
        for text in ["", "1", "x INVITE", "1 invite", "1 INVITE x", "4294967296 INVITE", "-1 BYE"] {
            assert!(CSeq::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
