//! Single values of what stands at the other end of the WAN: addresses of servers, secrets, rates, times of the week.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::value::{Value, one_of, with_unit, written_as_shown};

/// What sort of place a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dir,
    S3,
    WebDav,
}

impl Value for Kind {
    fn read(text: &str) -> Result<Kind, String> {
        match text {
            "dir" => Ok(Kind::Dir),
            "s3" => Ok(Kind::S3),
            "webdav" => Ok(Kind::WebDav),
            _ => Err(one_of(text, &["dir", "s3", "webdav"])),
        }
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$each])* $variant),* }

        impl Value for $name {
            fn read(text: &str) -> Result<$name, String> {
                match text {
                    $($text => Ok($name::$variant),)*
                    _ => Err(one_of(text, &[$($text),*])),
                }
            }
        }
    };
}

choice! {
    /// When a recording counts as delivered.
    Policy {
        /// When every target has it.
        #[default]
        All = "all",
        /// When one has it: the first of the file that works.
        First = "first"
    }
}

choice! {
    /// Where the bucket's name stands in an address.
    Addressing {
        /// `https://server/bucket/name`
        #[default]
        Path = "path",
        /// `https://bucket.server/name`
        VirtualHost = "virtual-host"
    }
}

choice! {
    /// Whose recordings are sent before whose.
    Priority {
        /// In a lane of their own, before all others and also while a window is closed.
        Immediate = "immediate",
        /// Before the others.
        High = "high",
        /// As most.
        #[default]
        Normal = "normal",
        /// When nothing else waits.
        Low = "low"
    }
}

/// The address of a server: `https://s3.example.com:9000/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http`, `https`
    pub scheme: String,
    /// Name or address, and the port where one is given.
    pub host: String,
    /// Empty, or with a `/` in front and none behind.
    pub path: String,
}

impl Url {
    /// Whether everybody on the way can read what is sent there.
    pub fn is_open(&self) -> bool {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        self.scheme == "http" && name != "localhost" && !name.starts_with("127.") && name != "[::1]"
    }
}

impl Value for Url {
    fn read(text: &str) -> Result<Url, String> {
        const EXPECTED: &str = "expected an address such as \"https://s3.example.com\"";
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} names no scheme; {EXPECTED}; did you mean \"https://{text}\"?"));
        };
        if !["http", "https"].contains(&scheme) {
            return Err(format!("{text:?} has an unknown scheme; {EXPECTED}"));
        }
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if host.contains('@') {
            return Err(format!("the address holds a name or password; {EXPECTED}, and keys of their own for these"));
        }
        let name = host.trim_start_matches('[');
        let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"-._~:[]".contains(c);
        if name.is_empty() || name.starts_with(':') || host.contains(is_odd) || path.contains(['?', '#', ' ']) {
            return Err(format!("{text:?} is no address of a server; {EXPECTED}"));
        }
        Ok(Url { scheme: scheme.into(), host: host.into(), path: path.trim_end_matches('/').into() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)
    }
}

/// The address of an MQTT broker: `mqtts://broker.example.com:8883`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port; 8883 with TLS, 1883 without, where none is given.
    pub port: u16,
}

impl BrokerUrl {
    /// Whether everybody on the way can read what is sent there.
    pub fn is_open(&self) -> bool {
        !self.tls && self.host != "localhost" && !self.host.starts_with("127.")
    }
}

impl Value for BrokerUrl {
    fn read(text: &str) -> Result<BrokerUrl, String> {
        const EXPECTED: &str = "expected an address such as \"mqtts://broker.example.com:8883\"";
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtts", rest)) => (true, rest),
            Some(("mqtt", rest)) => (false, rest),
            Some(_) => return Err(format!("{text:?} has an unknown scheme; {EXPECTED}")),
            None => return Err(format!("{text:?} names no scheme; {EXPECTED}; did you mean \"mqtts://{text}\"?")),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
            None => (rest, Some(if tls { 8_883 } else { 1_883 })),
        };
        let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c);
        match port {
            Some(port) if !host.is_empty() && !host.contains(is_odd) => Ok(BrokerUrl { tls, host: host.into(), port }),
            _ => Err(format!("{text:?} is no address of a broker; {EXPECTED}")),
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "mqtts" } else { "mqtt" }, self.host, self.port)
    }
}

/// Where a secret stands: in a file, or in one of systemd's credentials (`LoadCredential=`), which are files, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An absolute path.
    File(PathBuf),
    /// `"credential:NAME"`
    Credential(String),
}

impl Secret {
    /// The file; `credentials` is what systemd has put into `CREDENTIALS_DIRECTORY`.
    pub fn path(&self, credentials: Option<&Path>) -> PathBuf {
        match self {
            Secret::File(path) => path.clone(),
            // Without systemd there is no such folder; the error of reading then names the credential.
            Secret::Credential(name) => credentials.unwrap_or(Path::new("/run/credentials")).join(name),
        }
    }
}

impl Value for Secret {
    fn read(text: &str) -> Result<Secret, String> {
        const EXPECTED: &str = "expected a file (\"/etc/nearend/…\") or \"credential:NAME\" for LoadCredential=NAME of systemd";
        match text.strip_prefix("credential:") {
            Some(name) if !name.is_empty() && name != ".." && !name.contains('/') => Ok(Secret::Credential(name.into())),
            Some(_) => Err(format!("{text:?} names no credential; {EXPECTED}")),
            None => PathBuf::read(text).map(Secret::File).map_err(|_| format!("{text:?} names no file; {EXPECTED}")),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => path.display().fmt(f),
            Secret::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Bits per second: `"512kbit"`, `"2Mbit"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

const RATE_UNITS: [(&str, u64); 4] = [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];
/// With less a call would take an hour.
const LEAST_RATE: u64 = 8_000;

impl Rate {
    /// The same in bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl Value for Rate {
    fn read(text: &str) -> Result<Rate, String> {
        let rate = with_unit(text.strip_suffix("/s").unwrap_or(text), "rate", &RATE_UNITS, "Mbit")?;
        match rate < LEAST_RATE {
            true => Err(format!("{text:?} is too slow; expected at least \"8kbit\"")),
            false => Ok(Rate(rate)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = RATE_UNITS.iter().filter(|(_, factor)| self.0.is_multiple_of(*factor) && self.0 >= *factor);
        let (name, factor) = fits.max_by_key(|(_, factor)| *factor).unwrap_or(&RATE_UNITS[0]);
        write!(f, "{}{name}", self.0 / factor)
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A time of the week and what may flow in it: `"mon-fri 08:00-18:00 512kbit"`, `"daily 22:00-06:00 closed"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// Days on which it begins: bit 0 is Monday.
    pub days: u8,
    /// Minute of the day at which it begins.
    pub from_min: u16,
    /// Minute of the day at which it ends; at or before `from_min`: on the next day.
    pub to_min: u16,
    /// None: closed.
    pub rate: Option<Rate>,
}

impl Value for Window {
    fn read(text: &str) -> Result<Window, String> {
        const EXPECTED: &str =
            "expected days, hours and a rate, such as \"mon-fri 08:00-18:00 512kbit\" or \"daily 22:00-06:00 closed\"";
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, hours, rate] = words[..] else { return Err(format!("{text:?} has no three words; {EXPECTED}")) };
        let days = days_of(days).ok_or_else(|| format!("{days:?} are no days (mon, tue, … or daily); {EXPECTED}"))?;
        let hours = hours.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        let (from_min, to_min) = hours.ok_or_else(|| format!("{text:?} has no hours; {EXPECTED}"))?;
        let rate = if rate == "closed" { None } else { Some(Rate::read(rate)?) };
        Ok(Window { text: words.join(" "), days, from_min, to_min: to_min % (24 * 60), rate })
    }
}

/// `mon`, `mon-fri`, `sat,sun`, `daily`.
fn days_of(text: &str) -> Option<u8> {
    if text == "daily" {
        return Some(0x7F);
    }
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    text.split(',').try_fold(0, |days, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let many = (last + 7 - first) % 7;
        Some((0..=many).fold(days, |days, n| days | 1 << ((first + n) % 7)))
    })
}

/// `08:00` up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':').filter(|(_, minute)| minute.len() == 2)?;
    let minutes = hour.parse::<u16>().ok()?.checked_mul(60)?.checked_add(minute.parse().ok().filter(|m| *m < 60)?)?;
    (minutes <= 24 * 60).then_some(minutes)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time zone by its name: `"America/Chicago"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub String);

impl Value for Zone {
    fn read(text: &str) -> Result<Zone, String> {
        let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c)) && !text.contains("..");
        match is_name && !text.is_empty() && !text.starts_with('/') {
            true => Ok(Zone(text.into())),
            false => Err(format!("{text:?} is no time zone; expected a name such as \"America/Chicago\" or \"UTC\"")),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_shown!(Url, BrokerUrl, Secret, Rate, Window, Zone);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_shown() {
        let window = Window::read("mon-fri  08:00-18:30 512kbit").unwrap();
        assert_eq!((window.days, window.from_min, window.to_min, window.rate), (0b1_1111, 480, 1_110, Some(Rate(512_000))));
        assert_eq!(window.to_string(), "mon-fri 08:00-18:30 512kbit");
        assert_eq!(Window::read("fri-mon 22:00-24:00 closed").unwrap().days, 0b111_0001);
        assert_eq!(Window::read("sat,sun 0:00-24:00 2Mbit").unwrap().to_min, 0, "until midnight");
        for (text, fault) in [
            ("mon-fri 512kbit", "no three words"),
            ("mon-fry 08:00-18:00 closed", "are no days"),
            ("daily 8-18 closed", "has no hours"),
            ("daily 08:00-24:01 closed", "has no hours"),
            ("daily 08:00-18:00 512", "has no unit"),
        ] {
            assert!(Window::read(text).unwrap_err().contains(fault), "{text}: {:?}", Window::read(text));
        }
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(Rate::read("2Mbit").unwrap().bytes_per_second(), 250_000);
        assert_eq!(Rate::read("64kbit/s").unwrap().to_string(), "64kbit");
        assert!(Rate::read("64").unwrap_err().contains("did you mean \"64Mbit\""));
        assert!(Rate::read("64kB").unwrap_err().contains("unknown unit"));
        assert!(Rate::read("1bit").unwrap_err().contains("too slow"));
    }

    #[test]
    fn addresses_hold_no_secrets() {
        let url = Url::read("https://s3.example.com:9000/base/").unwrap();
        assert_eq!((url.host.as_str(), url.path.as_str()), ("s3.example.com:9000", "/base"));
        assert!(!url.is_open() && Url::read("http://10.0.0.1").unwrap().is_open());
        assert!(!Url::read("http://127.0.0.1:9000").unwrap().is_open());
        assert!(Url::read("s3.example.com").unwrap_err().contains("did you mean \"https://s3.example.com\""));
        assert!(Url::read("https://me:secret@host").unwrap_err().contains("keys of their own"));
        for text in ["ftp://host", "https://", "https://:80", "https://a b", "https://host/?x"] {
            assert!(Url::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn brokers_have_the_usual_ports() {
        for (text, shown) in [
            ("mqtts://b.example.com", "mqtts://b.example.com:8883"),
            ("mqtt://127.0.0.1/", "mqtt://127.0.0.1:1883"),
            ("mqtt://10.0.0.1:1884", "mqtt://10.0.0.1:1884"),
        ] {
            assert_eq!(BrokerUrl::read(text).unwrap().to_string(), shown);
        }
        assert!(BrokerUrl::read("mqtt://10.0.0.1").unwrap().is_open());
        for text in ["b.example.com", "http://b", "mqtt://", "mqtt://b:0", "mqtt://b:x", "mqtt://me@b", "mqtt://b/path"] {
            assert!(BrokerUrl::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_files_or_credentials() {
        let credential = Secret::read("credential:s3-key").unwrap();
        assert_eq!(credential.path(Some(Path::new("/run/c"))), Path::new("/run/c/s3-key"));
        assert_eq!(credential.to_string(), "credential:s3-key");
        assert_eq!(Secret::read("/etc/key").unwrap().path(None), Path::new("/etc/key"));
        for text in ["key", "credential:", "credential:../x", "credential:.."] {
            assert!(Secret::read(text).is_err(), "{text}");
        }
    }
}
