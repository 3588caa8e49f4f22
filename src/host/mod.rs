//! Station `host`: the machine that the box runs on: temperature, clock, network links, last start. A side door: nothing waits for it.
//!
//! In: files of the kernel and of systemd-timesyncd. Out: [`Host`]. What is not known is left out.
//!
//! | file | responsible for |
//! |---|---|
//! | here | what the kernel's files say |
//! | [`driver`] | reading them every 10 s |

use serde::Serialize;

use crate::model::WallTime;

pub mod driver;

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// The hottest sensor.
    pub temperature_c: Option<f64>,
    /// Whether something sets the clock by others; none: not known.
    pub clock_synchronised: Option<bool>,
    /// When the machine started.
    #[serde(serialize_with = "iso_8601")]
    pub booted: Option<WallTime>,
    /// Its network links.
    pub links: Vec<Link>,
}

/// A network link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// As the kernel calls it.
    pub name: String,
    /// Whether a cable with somebody at its other end is in it.
    pub up: bool,
    /// How fast it is.
    pub mbit_per_s: Option<u32>,
}

/// `/sys/class/thermal/thermal_zone*/temp`: thousandths of a degree. What no processor survives is no temperature.
pub fn temperature(millidegrees: &str) -> Option<f64> {
    let value = f64::from(millidegrees.trim().parse::<i32>().ok()?) / 1_000.0;
    (-40.0..150.0).contains(&value).then_some(value)
}

/// The line `btime` of `/proc/stat`: seconds since 1970.
pub fn boot_time(stat: &str) -> Option<WallTime> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<i64>().ok()?;
    seconds.checked_mul(1_000_000).map(WallTime)
}

/// `/sys/class/net/NAME/operstate` and `speed`, which is -1 or cannot be read where there is none.
pub fn link(name: &str, state: &str, speed: Option<&str>) -> Link {
    let mbit_per_s = speed.and_then(|speed| speed.trim().parse().ok()).filter(|speed| *speed > 0);
    Link { name: name.to_owned(), up: state.trim() == "up", mbit_per_s }
}

fn iso_8601<S: serde::Serializer>(time: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_and_nonsense_is_not_known() {
        assert_eq!(temperature("48312\n"), Some(48.312));
        assert_eq!((temperature("999000"), temperature("hot"), temperature("")), (None, None, None));
        assert_eq!(boot_time("cpu 1 2\nbtime 1772460359\n"), Some(WallTime(1_772_460_359_000_000)));
        assert_eq!((boot_time("cpu 1"), boot_time("btime 9223372036854775807")), (None, None));
        assert_eq!(link("eth0", "up\n", Some("1000\n")), Link { name: "eth0".into(), up: true, mbit_per_s: Some(1_000) });
        assert_eq!(link("eth1", "down\n", Some("-1\n")), Link { name: "eth1".into(), up: false, mbit_per_s: None });
        assert_eq!(serde_json::to_value(Host::default()).unwrap()["booted"], serde_json::Value::Null);
    }
}
