//! URIs as they stand in SIP messages: `sip:`, `sips:`, `tel:` and, opaque, all others (RFC 3261 §19.1, §25; RFC 3966).
//!
//! Read by the grammar but leniently: MSR senders write `[`, `:` and upper-case names in parameters, and some write `@` in the
//! user part. The bytes as received are kept, because they are what goes back on the wire.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

/// A URI with its parts, and the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    raw: Vec<u8>,
    scheme: Scheme,
    user: Option<String>,
    host_port: Option<HostPort>,
    params: Params,
}

/// The part before the first colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`, whose number is the user part.
    Tel,
    /// Any other, in lower case; nothing behind it is looked at.
    Other(String),
}

/// A host and, where written, its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address.
    pub host: Host,
    /// The port; none means the default of the transport.
    pub port: Option<u16>,
}

/// A host by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IPv4 address, or an IPv6 one (in brackets on the wire).
    Ip(IpAddr),
    /// A name; never resolved here.
    Name(String),
}

/// Parameters in the order and spelling received; looked up without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

/// Why a URI cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UriError {
    /// Nothing that looks like `scheme:` stands at its head.
    #[error("no scheme in \"{0}\"")]
    NoScheme(String),
    /// Neither a name, an IPv4 address nor an IPv6 address in brackets.
    #[error("\"{0}\" is no host")]
    Host(String),
    /// Not a number from 0 to 65535.
    #[error("\"{0}\" is no port")]
    Port(String),
}

impl Uri {
    /// Reads a URI that stands alone, without angle brackets around it.
    pub fn parse(raw: &[u8]) -> Result<Uri, UriError> {
        let text = String::from_utf8_lossy(raw);
        let (scheme, rest) = split_scheme(&text)?;
        let (user, host_port, params) = match scheme {
            Scheme::Sip | Scheme::Sips => sip_parts(rest)?,
            Scheme::Tel => {
                let (number, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
                (Some(number.to_owned()), None, Params::of_uri(params))
            }
            Scheme::Other(_) => (None, None, Params::default()),
        };
        Ok(Uri { raw: raw.to_vec(), scheme, user, host_port, params })
    }

    /// The bytes as received.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// `sip`, `sips`, `tel` or another.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// All before the `@`, or the number of a `tel:` URI, as written (see [`unescape`]).
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Host and port; none in a `tel:` URI.
    pub fn host_port(&self) -> Option<&HostPort> {
        self.host_port.as_ref()
    }

    /// All parameters in order, as written.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The value of the first parameter `name`, unescaped; empty for one without a value.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params.get(name).map(unescape)
    }
}

/// For people; bytes that are no UTF-8 are shown as U+FFFD.
impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` and a bare IPv6 address, as some write it in `received=`.
    pub fn parse(text: &str) -> Result<HostPort, UriError> {
        let text = text.trim();
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Ok(HostPort { host: Host::Ip(ip.into()), port: None });
        }
        let (host, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            Some((v6, rest)) => {
                // The grammar of RFC 2373, and so of some senders, allows a third colon before an IPv4 part (RFC 5118 §4.10).
                let ip: Ipv6Addr = v6.replace(":::", "::").parse().map_err(|_| UriError::Host(text.to_owned()))?;
                let rest = rest.trim();
                let port = rest.strip_prefix(':');
                if port.is_none() && !rest.is_empty() {
                    return Err(UriError::Host(text.to_owned()));
                }
                (Host::Ip(ip.into()), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Host::parse_name_or_v4(host.trim())?, Some(port)),
                None => (Host::parse_name_or_v4(text)?, None),
            },
        };
        let port = port.map(|p| p.trim().parse().map_err(|_| UriError::Port(p.to_owned()))).transpose()?;
        Ok(HostPort { host, port })
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        }
    }
}

impl Host {
    fn parse_name_or_v4(text: &str) -> Result<Host, UriError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Host::Ip(ip));
        }
        // Underscores are no part of a host name, but machines are called so.
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        match !text.is_empty() && text.chars().all(valid) {
            true => Ok(Host::Name(text.to_owned())),
            false => Err(UriError::Host(text.to_owned())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl Params {
    /// Parameters of a URI: `;name=value;flag`. A quote has no meaning there.
    fn of_uri(text: &str) -> Params {
        Params::from_segments(text.split(';'))
    }

    /// Parameters from their texts, one each; empty ones are skipped.
    pub(super) fn from_segments<'a>(segments: impl Iterator<Item = &'a str>) -> Params {
        let params = segments.map(str::trim).filter(|s| !s.is_empty()).map(|segment| match segment.split_once('=') {
            Some((name, value)) => (name.trim_end().to_owned(), Some(value.trim_start().to_owned())),
            None => (segment.to_owned(), None),
        });
        Params(params.collect())
    }

    /// The value of the first one of that name, as written; empty for one without a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_deref().unwrap_or(""))
    }

    /// Name and value of each, as written and in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// As on the wire: `;name=value;flag`.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| match value {
            Some(value) => write!(f, ";{name}={value}"),
            None => write!(f, ";{name}"),
        })
    }
}

/// Resolves `%HH` (RFC 3261 §25, `escaped`). What is no such triple stays as it is; bytes that are no UTF-8 become U+FFFD.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail.split_first_chunk::<2>().and_then(|(hex, tail)| Some((hex_byte(*hex)?, tail)))) {
            (b'%', Some((byte, tail))) => {
                bytes.push(byte);
                rest = tail;
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), UriError> {
    let no_scheme = || UriError::NoScheme(text.to_owned());
    let (scheme, rest) = text.split_once(':').ok_or_else(no_scheme)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(valid) {
        return Err(no_scheme());
    }
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "sip" => Scheme::Sip,
        "sips" => Scheme::Sips,
        "tel" => Scheme::Tel,
        other => Scheme::Other(other.to_owned()),
    };
    Ok((scheme, rest))
}

/// `[user@]host[:port][;params][?headers]`; the headers are of no use here and left out.
fn sip_parts(text: &str) -> Result<(Option<String>, Option<HostPort>, Params), UriError> {
    let (user, rest) = match end_of_user(text) {
        Some(at) => (Some(text[..at].to_owned()), &text[at + 1..]),
        None => (None, text),
    };
    let (rest, _headers) = rest.split_once('?').unwrap_or((rest, ""));
    let (host_port, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
    if host_port.trim().parse::<Ipv6Addr>().is_ok() {
        return Err(UriError::Host(host_port.to_owned())); // without brackets its end would be a port (RFC 5118 §4.2)
    }
    Ok((user, Some(HostPort::parse(host_port)?), Params::of_uri(params)))
}

/// Where the `@` after the user part stands. The user part may hold `;`, `?` and, from careless senders, `@`: the last `@`
/// before the first `;` or `?` ends it; only when there is none, the first `@` behind does.
fn end_of_user(text: &str) -> Option<usize> {
    let before_params = text.find([';', '?']).unwrap_or(text.len());
    text[..before_params].rfind('@').or_else(|| text.find('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn request_uri_of_a_media_server() {
        let u = uri("sip:record=01AB_2026-03-02_14-05-59@box.example:5060;calluuid=01AB;recordDN=7001;\
             datetime=2026-03-02T14:05:59Z;gvp-tenant-id=[Environment].record;name=a%20b%2;lr;transport=tcp");
        assert_eq!(u.scheme(), &Scheme::Sip);
        assert_eq!(u.user(), Some("record=01AB_2026-03-02_14-05-59"));
        assert_eq!(u.host_port().unwrap().to_string(), "box.example:5060");
        assert_eq!(u.param("RECORDdn").unwrap(), "7001");
        assert_eq!(u.param("datetime").unwrap(), "2026-03-02T14:05:59Z");
        assert_eq!(u.param("gvp-tenant-id").unwrap(), "[Environment].record");
        assert_eq!(u.param("name").unwrap(), "a b%2");
        assert_eq!(u.param("lr").unwrap(), "");
        assert_eq!(u.param("absent"), None);
        assert_eq!(u.params().iter().last(), Some(("transport", Some("tcp"))));
    }

    #[test]
    fn hosts_of_all_kinds() {
        assert_eq!(uri("sip:[2001:db8::1]:5070;lr").host_port().unwrap().ip(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(uri("sips:a@[::1]").host_port().unwrap().to_string(), "[::1]");
        assert_eq!(uri("SIP:192.0.2.1").host_port().unwrap().ip(), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(uri("sip:a@my_host?Subject=x@y").host_port().unwrap().host, Host::Name("my_host".into()));
        assert_eq!(HostPort::parse("::1").unwrap().to_string(), "[::1]");
        assert_eq!(HostPort::parse(" h : 5060 ").unwrap(), HostPort { host: Host::Name("h".into()), port: Some(5060) });
    }

    #[test]
    fn the_at_sign_that_ends_the_user_part() {
        assert_eq!(uri("sip:anna@home@box;x=a@b").user(), Some("anna@home"));
        assert_eq!(uri("sip:+1;phone-context=x@box").user(), Some("+1;phone-context=x"));
        assert_eq!(uri("sip:box;x=1").user(), None);
    }

    #[test]
    fn other_schemes() {
        let tel = uri("tel:+1-201-555-0123;phone-context=example.com");
        assert_eq!((tel.user(), tel.host_port()), (Some("+1-201-555-0123"), None));
        assert_eq!(tel.param("phone-context").unwrap(), "example.com");
        assert_eq!(uri("urn:service:sos").scheme(), &Scheme::Other("urn".into()));
    }

    #[test]
    fn what_is_no_uri() {
        for text in ["", "box", "7001@box", ":", "1a:b", "a b:c"] {
            assert!(matches!(Uri::parse(text.as_bytes()), Err(UriError::NoScheme(_))), "{text}");
        }
        for text in ["sip:", "sip:a@", "sip:a@[::1", "sip:a@[::1]x", "sip:a@b c", "sip:a@[1.2.3.4]"] {
            assert!(matches!(Uri::parse(text.as_bytes()), Err(UriError::Host(_))), "{text}");
        }
        assert_eq!(Uri::parse(b"sip:a@b:65536"), Err(UriError::Port("65536".into())));
    }

    #[test]
    fn bytes_stay_as_they_came() {
        let u = Uri::parse(b"sip:\xff@h;x=\xe9").unwrap();
        assert_eq!(u.as_bytes(), b"sip:\xff@h;x=\xe9");
        assert_eq!(u.to_string(), "sip:\u{fffd}@h;x=\u{fffd}");
    }
}
