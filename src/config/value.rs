//! Single values of the file: each is a string with a form of its own, read into a type, and shown in the same form again.
//!
//! A bare number is never a value: what unit `30` has, nobody can see.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::dialog::Transport;

/// A value that is written as a string. The error says what is wrong, what was expected and, where it can be known, what
/// was meant; it does not name the key.
pub(super) trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

/// Makes any [`Value`] readable from TOML.
pub(super) struct Text<V>(pub(super) V);

impl<'de, V: Value> Deserialize<'de> for Text<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<V>, D::Error> {
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

struct TextVisitor<V>(PhantomData<V>);

impl<V: Value> de::Visitor<'_> for TextVisitor<V> {
    type Value = Text<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string in \"quotes\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<V>, E> {
        V::read(text).map(Text).map_err(E::custom)
    }

    /// A number without quotes: the value's own error says more about it than "not a string".
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<V>, E> {
        match V::read(&number.to_string()) {
            Ok(_) => Err(E::custom(format!("{number} is a number; expected a string: write \"{number}\""))),
            Err(message) => Err(E::custom(message)),
        }
    }
}

// ---- text and paths

impl Value for String {
    fn read(text: &str) -> Result<String, String> {
        if text.trim().is_empty() {
            return Err("\"\" is empty; write a value, or leave the key out for its default".into());
        }
        if text.len() > 100 || text.chars().any(char::is_control) {
            return Err("too long or not printable; expected at most 100 bytes without control characters".into());
        }
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> Result<PathBuf, String> {
        let path = PathBuf::from(text);
        match path.is_absolute() && !text.contains('\0') {
            true => Ok(path),
            false => Err(format!("{text:?} is not absolute; expected a path that begins with \"/\"")),
        }
    }
}

// ---- durations and sizes

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `"250ms"`, `"30s"`, `"5m"`, `"36h"`, `"90d"`.
impl Value for Duration {
    fn read(text: &str) -> Result<Duration, String> {
        with_unit(text, "duration", &DURATION_UNITS, "s").map(Duration::from_millis)
    }
}

/// A number of bytes: `"64MiB"`, `"2GB"`.
pub(super) struct Size(pub(super) u64);

impl Value for Size {
    fn read(text: &str) -> Result<Size, String> {
        with_unit(text, "size", &SIZE_UNITS, "MiB").map(Size)
    }
}

pub(super) fn with_unit(text: &str, what: &str, units: &[(&str, u64)], usual: &str) -> Result<u64, String> {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let expected = format!("expected a {what} with its unit ({}), such as \"30{usual}\"", names.join(", "));
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if digits.is_empty() {
        return Err(format!("{text:?} is no {what}; {expected}"));
    }
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit; {expected}; did you mean \"{digits}{usual}\"?"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let meant = super::diagnostic::nearest(unit, &names).map(|u| format!("; did you mean \"{digits}{u}\"?"));
        return Err(format!("{text:?} has an unknown unit; {expected}{}", meant.unwrap_or_default()));
    };
    let number = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor));
    number.ok_or_else(|| format!("{text:?} is too large; {expected}"))
}

pub(super) fn show_duration<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&in_largest_unit(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS))
}

pub(super) fn show_duration_or_none<S: Serializer>(duration: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => show_duration(duration, s),
        None => s.serialize_none(),
    }
}

pub(super) fn show_size<S: Serializer>(bytes: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&in_largest_unit(*bytes, &SIZE_UNITS))
}

pub(super) fn show_size_or_none<S: Serializer>(bytes: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => show_size(bytes, s),
        None => s.serialize_none(),
    }
}

/// The largest unit in which the number is whole.
fn in_largest_unit(number: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().filter(|(_, factor)| number.is_multiple_of(*factor) && number >= *factor);
    match fits.max_by_key(|(_, factor)| *factor) {
        Some((name, factor)) => format!("{}{name}", number / factor),
        None => format!("{number}{}", units[0].0),
    }
}

// ---- addresses

impl Value for IpAddr {
    fn read(text: &str) -> Result<IpAddr, String> {
        let expected = "expected an IPv4 or IPv6 address such as \"10.1.2.3\"";
        let ip: IpAddr = text.parse().map_err(|_| format!("{text:?} is no IP address; {expected}"))?;
        if ip.is_unspecified() {
            return Err(format!("{text:?} is no address that a sender can reach; {expected}, or leave the key out"));
        }
        Ok(ip)
    }
}

impl Value for SocketAddr {
    fn read(text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| {
            format!("{text:?} is no address; expected \"ADDRESS:PORT\" such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
        })
    }
}

/// Where SIP is listened for: `"udp:0.0.0.0:5060"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// Address and port; port 0 lets the system choose one.
    pub address: SocketAddr,
}

impl Value for Listen {
    fn read(text: &str) -> Result<Listen, String> {
        const EXPECTED: &str = "expected \"udp:ADDRESS:PORT\", or the same with \"tcp\" or \"tls\"";
        let named = |name| Transport::ALL.into_iter().find(|transport| transport.name() == name);
        let parts = text.split_once(':').and_then(|(name, address)| Some((named(name)?, address)));
        let Some((transport, address)) = parts else {
            return Err(format!("{text:?} names no transport; {EXPECTED}{}", meant_listen(text)));
        };
        match address.parse() {
            Ok(address) => Ok(Listen { transport, address }),
            Err(_) => {
                Err(format!("{text:?} has no address and port; {EXPECTED}, such as \"udp:0.0.0.0:5060\" or \"tcp:[::]:5060\""))
            }
        }
    }
}

fn meant_listen(text: &str) -> String {
    match (text.parse::<SocketAddr>(), text.parse::<IpAddr>(), text.split_once(':')) {
        (Ok(address), _, _) => format!("; did you mean \"udp:{address}\"?"),
        (_, Ok(ip), _) => format!("; did you mean \"udp:{}\"?", SocketAddr::new(ip, 5060)),
        (_, _, Some((transport, rest))) if Transport::ALL.iter().any(|known| known.name() == transport.to_lowercase()) => {
            format!("; did you mean \"{}:{rest}\"?", transport.to_lowercase())
        }
        _ => String::new(),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.transport.name(), self.address)
    }
}

/// An IP network in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3): `"10.0.0.0/8"`; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address is in it. An IPv4 address mapped into IPv6, as a dual-stack socket reports it, is an IPv4 one.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.address.is_ipv4() && first_of(ip, self.prefix) == self.address
    }
}

impl Value for Network {
    fn read(text: &str) -> Result<Network, String> {
        const EXPECTED: &str = "expected a network such as \"10.0.0.0/8\" or \"fd00::/8\"";
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| format!("{text:?} is no network; {EXPECTED}"))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.map(str::parse::<u8>) {
            None => bits,
            Some(Ok(prefix)) if prefix <= bits => prefix,
            Some(_) => return Err(format!("{text:?} has no prefix length from 0 to {bits}; {EXPECTED}")),
        };
        let first = first_of(address, prefix);
        if first != address {
            return Err(format!("{text:?} has bits set behind its prefix; {EXPECTED}; did you mean \"{first}/{prefix}\"?"));
        }
        Ok(Network { address, prefix })
    }
}

/// The first address of the network of `prefix` bits that `ip` is in.
fn first_of(ip: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0)).into()),
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

// ---- ports and choices

/// UDP ports for RTP and RTCP: `"20000-29999"`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

impl PortRange {
    /// How many streams fit: each takes an even port for RTP and the odd one above it for RTCP (RFC 3550 §11).
    pub fn pairs(&self) -> u32 {
        let first_even = u32::from(*self.0.start()).next_multiple_of(2);
        (u32::from(*self.0.end()) + 1).saturating_sub(first_even) / 2
    }
}

impl Value for PortRange {
    fn read(text: &str) -> Result<PortRange, String> {
        const EXPECTED: &str = "expected \"LOW-HIGH\" with LOW < HIGH";
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let (low, high) = match text.split_once('-') {
            None => return Err(format!("{text:?} is no range; {EXPECTED}, such as \"20000-29999\"")),
            Some((low, high)) => match (port(low), port(high)) {
                (Some(low), Some(high)) => (low, high),
                _ => return Err(format!("{text:?} is no range of ports (1024 to 65535); {EXPECTED}, such as \"20000-29999\"")),
            },
        };
        if low > high {
            return Err(format!("{text:?} runs backwards; {EXPECTED}; did you mean \"{high}-{low}\"?"));
        }
        if low < 1024 {
            return Err(format!("{text:?} reaches into the system's ports; {EXPECTED} and LOW at least 1024"));
        }
        Ok(PortRange(low..=high))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// Whose packets count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Only those from the address that the SDP named.
    Negotiated,
    /// Those from the address that is heard first: for senders behind a NAT.
    Latch,
}

impl Value for Source {
    fn read(text: &str) -> Result<Source, String> {
        match text {
            "negotiated" => Ok(Source::Negotiated),
            "latch" => Ok(Source::Latch),
            _ => Err(one_of(text, &["negotiated", "latch"])),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Negotiated => "negotiated",
            Source::Latch => "latch",
        })
    }
}

pub(super) fn one_of(text: &str, known: &[&str]) -> String {
    let list = known.iter().map(|k| format!("\"{k}\"")).collect::<Vec<_>>().join(" or ");
    let meant = super::diagnostic::nearest(text, known).map(|k| format!("; did you mean \"{k}\"?"));
    format!("{text:?} is not known; expected {list}{}", meant.unwrap_or_default())
}

macro_rules! written_as_shown {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
pub(super) use written_as_shown;
written_as_shown!(Listen, Network, PortRange, Source);

#[cfg(test)]
mod tests {
    use super::*;

    fn error<V: Value>(text: &str) -> String {
        V::read(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"))
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(Duration::read("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Duration::read("36 h"), Ok(Duration::from_secs(36 * 3_600)));
        assert_eq!(Duration::read("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(Size::read("64MiB").map(|s| s.0), Ok(64 << 20));
        assert_eq!(Size::read("2GB").map(|s| s.0), Ok(2_000_000_000));
        assert!(error::<Duration>("30").contains("has no unit; expected a duration with its unit (ms, s, m, h, d)"));
        assert!(error::<Duration>("30").ends_with("did you mean \"30s\"?"));
        assert!(error::<Size>("64mib").ends_with("did you mean \"64MiB\"?"));
        assert!(error::<Size>("64 flops").contains("unknown unit"));
        assert!(error::<Duration>("-5s").contains("is no duration"));
        assert!(error::<Duration>("").contains("is no duration"));
        assert!(error::<Size>("99999999TiB").contains("too large"));
        assert!(error::<Size>("99999999999999999999999B").contains("too large"));
        assert!(error::<Duration>("5µs").contains("unknown unit"));
    }

    #[test]
    fn durations_and_sizes_are_shown_in_the_largest_whole_unit() {
        assert_eq!(in_largest_unit(1_800_000, &DURATION_UNITS), "30m");
        assert_eq!(in_largest_unit(90_000, &DURATION_UNITS), "90s");
        assert_eq!(in_largest_unit(0, &DURATION_UNITS), "0ms");
        assert_eq!(in_largest_unit(512 << 20, &SIZE_UNITS), "512MiB");
        assert_eq!(in_largest_unit(3_000_000, &SIZE_UNITS), "3MB");
        assert_eq!(in_largest_unit(1_001, &SIZE_UNITS), "1001B");
    }

    #[test]
    fn port_ranges_run_forwards() {
        assert_eq!(
            error::<PortRange>("30000-20000"),
            r#""30000-20000" runs backwards; expected "LOW-HIGH" with LOW < HIGH; did you mean "20000-30000"?"#
        );
        assert!(error::<PortRange>("20000").contains("is no range"));
        assert!(error::<PortRange>("20000-70000").contains("1024 to 65535"));
        assert!(error::<PortRange>("80-5000").contains("system's ports"));
    }

    #[test]
    fn streams_take_an_even_port_and_the_odd_one_above() {
        let pairs = |text: &str| PortRange::read(text).unwrap().pairs();
        assert_eq!(pairs("20000-29999"), 5_000);
        assert_eq!(pairs("20000-20001"), 1);
        assert_eq!(pairs("20001-20002"), 0);
        assert_eq!(pairs("20001-20004"), 1);
        assert_eq!(pairs("65534-65535"), 1);
        assert_eq!(pairs("65535-65535"), 0);
    }

    #[test]
    fn networks_know_their_addresses() {
        let network = |text: &str| Network::read(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(!network("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(network("10.0.0.0/8").contains(ip("::ffff:10.1.2.3")), "as a dual-stack socket reports it");
        assert!(network("0.0.0.0/0").contains(ip("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(ip("2001:db8::1")));
        assert!(network("::/0").contains(ip("2001:db8::1")));
        assert!(network("fd00::/8").contains(ip("fdff::1")));
        assert_eq!(network("10.1.2.3").to_string(), "10.1.2.3/32");
        assert!(error::<Network>("10.1.2.3/8").ends_with("did you mean \"10.0.0.0/8\"?"));
        assert!(error::<Network>("10.0.0.0/33").contains("from 0 to 32"));
        assert!(error::<Network>("branch.example").contains("is no network"));
    }

    #[test]
    fn listeners_name_transport_address_and_port() {
        assert_eq!(Listen::read("tcp:[::]:5060").unwrap().to_string(), "tcp:[::]:5060");
        assert!(error::<Listen>("0.0.0.0:5060").ends_with("did you mean \"udp:0.0.0.0:5060\"?"));
        assert!(error::<Listen>("10.1.2.3").ends_with("did you mean \"udp:10.1.2.3:5060\"?"));
        assert!(error::<Listen>("UDP:0.0.0.0:5060").ends_with("did you mean \"udp:0.0.0.0:5060\"?"));
        assert!(error::<Listen>("udp:0.0.0.0").contains("has no address and port"));
        assert_eq!(Listen::read("tls:0.0.0.0:5061").unwrap().transport, Transport::Tls);
        assert!(error::<Listen>("TLS:0.0.0.0:5061").ends_with("did you mean \"tls:0.0.0.0:5061\"?"));
    }

    #[test]
    fn choices_name_the_nearest() {
        assert!(error::<Source>("latched").ends_with("did you mean \"latch\"?"));
    }
}
