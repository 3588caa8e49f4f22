//! Single values of the tables that say who is recorded.

use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::super::value::{Value, one_of};
use crate::model::{Direction, DnRange, DnType, Side};
use crate::rules::{Calendar, DateRange, Hours, Record};

/// Where a T-Server's link is: `"tcp:HOST:PORT"` or `"tls:HOST:PORT"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address; an IPv6 one without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Value for Link {
    fn read(text: &str) -> Result<Link, String> {
        const EXPECTED: &str = "expected \"tcp:HOST:PORT\" or \"tls:HOST:PORT\"";
        let (tls, rest) = match text.split_once(':') {
            Some(("tcp", rest)) => (false, rest),
            Some(("tls", rest)) => (true, rest),
            _ => return Err(format!("{text:?} names no transport; {EXPECTED}; did you mean \"tcp:{text}\"?")),
        };
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok().then_some(v6),
            None => is_host(host).then_some(host),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        match (host, port) {
            (Some(host), Some(port)) => Ok(Link { tls, host: host.to_owned(), port }),
            (None, _) => {
                Err(format!("{text:?} has no host; {EXPECTED}, such as \"tcp:10.1.2.3:7002\" or \"tls:[fd00::5]:7002\""))
            }
            (_, None) => Err(format!("{text:?} has no port from 1 to 65535; {EXPECTED}, such as \"tcp:10.1.2.3:7002\"")),
        }
    }
}

/// Where a box may send a call on: `"sip:HOST:PORT"`, parameters behind it as they are.
#[derive(Clone)]
pub(super) struct SipUri(pub(super) String);

impl Value for SipUri {
    fn read(text: &str) -> Result<SipUri, String> {
        const EXPECTED: &str = "expected a SIP URI such as \"sip:10.1.2.3:5060\" or \"sip:box-2.example.com;transport=tcp\"";
        let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")).unwrap_or_default();
        let is_written = text.len() <= 255 && text.bytes().all(|c| c.is_ascii_graphic() && !b"<>\",".contains(&c));
        let host = rest.split(';').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        match !host.is_empty() && is_written {
            true => Ok(SipUri(text.to_owned())),
            false => Err(format!("{text:?} is no SIP URI; {EXPECTED}")),
        }
    }
}

/// RFC 1123 §2.1, or an IPv4 address.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.tls { "tls" } else { "tcp" };
        match self.host.contains(':') {
            true => write!(f, "{transport}:[{}]:{}", self.host, self.port),
            false => write!(f, "{transport}:{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Value for DnRange {
    fn read(text: &str) -> Result<DnRange, String> {
        DnRange::parse(text)
    }
}

impl Value for DnType {
    fn read(text: &str) -> Result<DnType, String> {
        let known = DnType::ALL.into_iter().find(|kind| kind.name() == text);
        known.ok_or_else(|| format!("{}; other types of DN cannot be monitored", one_of(text, &DnType::ALL.map(DnType::name))))
    }
}

impl Value for Direction {
    fn read(text: &str) -> Result<Direction, String> {
        let known = Direction::ALL.into_iter().find(|direction| direction.name() == text);
        known.ok_or_else(|| one_of(text, &Direction::ALL.map(Direction::name)))
    }
}

impl Value for Record {
    fn read(text: &str) -> Result<Record, String> {
        if matches!(text, "screen" | "both") {
            return Err(format!("{text:?}: this version captures no screens; expected \"audio\" or \"none\""));
        }
        let known = Record::ALL.into_iter().find(|record| record.name() == text);
        known.ok_or_else(|| one_of(text, &Record::ALL.map(Record::name)))
    }
}

impl Value for Side {
    fn read(text: &str) -> Result<Side, String> {
        let known = Side::ALL.into_iter().find(|side| side.name() == text);
        known.ok_or_else(|| one_of(text, &Side::ALL.map(Side::name)))
    }
}

impl Value for Hours {
    fn read(text: &str) -> Result<Hours, String> {
        Hours::parse(text)
    }
}

impl Value for DateRange {
    fn read(text: &str) -> Result<DateRange, String> {
        DateRange::parse(text)
    }
}

impl Value for TimeZone {
    fn read(text: &str) -> Result<TimeZone, String> {
        TimeZone::get(text).map_err(|_| {
            format!("{text:?} is no time zone; expected a name of the IANA database such as \"Europe/Berlin\" or \"UTC\"")
        })
    }
}

/// A day of the week, or several in a row: `"sat"`, `"mon-fri"`, `"fri-mon"`.
#[derive(Clone)]
pub(super) struct Days(pub(super) Vec<Weekday>);

impl Value for Days {
    fn read(text: &str) -> Result<Days, String> {
        let names = Calendar::DAYS.map(|(name, _)| name);
        let position = |name: &str| names.iter().position(|known| *known == name);
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (Some(from), Some(to)) = (position(from), position(to)) else {
            let list = names.join(", ");
            return Err(format!("{text:?} is no day of the week; expected one of {list}, or a range such as \"mon-fri\""));
        };
        let count = (to + names.len() - from) % names.len() + 1;
        Ok(Days(Calendar::DAYS.iter().cycle().skip(from).take(count).map(|(_, day)| *day).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<V: Value>(text: &str) -> String {
        V::read(text).err().unwrap_or_else(|| panic!("{text:?} was accepted"))
    }

    #[test]
    fn links_name_transport_host_and_port() {
        for text in ["tcp:10.1.2.3:7002", "tls:sip-hq.example.com:7002", "tcp:[fd00::5]:7002"] {
            assert_eq!(Link::read(text).unwrap().to_string(), text);
        }
        assert!(error::<Link>("10.1.2.3:7002").ends_with("did you mean \"tcp:10.1.2.3:7002\"?"));
        assert!(error::<Link>("tcp:10.1.2.3").contains("has no port"));
        assert!(error::<Link>("tcp::7002").contains("has no host"));
        assert!(error::<Link>("tcp:fd00::5:7002").contains("has no host"), "IPv6 without brackets");
        assert!(error::<Link>("tcp:host:0").contains("has no port"));
    }

    #[test]
    fn uris_are_of_sip() {
        for text in ["sip:10.1.2.3:5060", "sips:box-2.example.com", "sip:rec@[fd00::5]:5060;transport=tcp"] {
            assert_eq!(SipUri::read(text).map(|uri| uri.0).as_deref(), Ok(text));
        }
        for text in ["10.1.2.3", "sip:", "sip:a b", "sip:a>\r\nX: y", "tel:123", "sip:;transport=tcp"] {
            assert!(error::<SipUri>(text).contains("is no SIP URI"), "{text:?}");
        }
    }

    #[test]
    fn days_run_around_the_week() {
        let count = |text: &str| Days::read(text).unwrap().0.len();
        assert_eq!((count("sat"), count("mon-fri"), count("fri-mon"), count("sun-sun")), (1, 5, 4, 1));
        assert!(error::<Days>("monday").contains("no day of the week"));
    }

    #[test]
    fn choices_name_the_nearest() {
        assert!(error::<DnType>("extention").contains("did you mean \"extension\"?"));
        assert!(error::<DnType>("routing-point").ends_with("other types of DN cannot be monitored"));
        assert!(error::<Direction>("inbund").ends_with("did you mean \"inbound\"?"));
        assert!(error::<Record>("nothing").contains("\"none\""));
        assert!(error::<Record>("both").contains("this version captures no screens"));
        assert!(error::<TimeZone>("Europe/Entenhausen").contains("no time zone"));
    }
}
