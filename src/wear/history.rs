//! What is known of a medium over months, and the projection of its life from that. Pure; kept in a small file.
//!
//! Counters of the kernel begin anew with each boot, and the registers of an eMMC move once in a tenth of its life. So the history
//! adds up over boots, and remembers how far the medium was when it was first seen.

use serde::{Deserialize, Serialize};

use super::medium::Health;

/// The figures to show; none: unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Name of the block device, such as `mmcblk0`.
    pub device: Option<String>,
    /// Bytes written to it per hour: in the last hour; at first since boot.
    pub bytes_per_hour: Option<u64>,
    /// Bytes written to it since it was first seen in this box.
    pub written_bytes: Option<u64>,
    /// How much of its rated life is used up, in percent.
    pub used_percent: Option<u8>,
    /// Hours until its rated life is over, if it goes on as up to now.
    pub left_hours: Option<u64>,
    /// What it says is wrong with it.
    pub warning: Option<&'static str>,
}

/// All that is read at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Name of the block device.
    pub device: String,
    /// Its serial number, if it has one.
    pub serial: String,
    /// What tells this boot from others.
    pub boot: String,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Bytes written since boot.
    pub written_bytes: u64,
    /// What the medium says.
    pub health: Health,
}

/// What is remembered of a medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The latest reading.
    device: String,
    serial: String,
    boot: String,
    boot_uptime_s: u64,
    boot_written_bytes: u64,
    /// Since the medium was first seen.
    service_s: u64,
    written_bytes: u64,
    first_used_percent: Option<u8>,
}

impl History {
    /// Takes a reading in, and gives the figures as they are now.
    pub fn add(&mut self, reading: &Reading) -> Wear {
        if (&self.device, &self.serial) != (&reading.device, &reading.serial) {
            let (device, serial) = (reading.device.clone(), reading.serial.clone());
            *self = History { device, serial, first_used_percent: reading.health.used_percent, ..History::default() };
        }
        if self.boot != reading.boot || self.boot_written_bytes > reading.written_bytes {
            (self.boot, self.boot_uptime_s, self.boot_written_bytes) = (reading.boot.clone(), 0, 0);
        }
        let went_by_s = reading.uptime_s.saturating_sub(self.boot_uptime_s);
        let written = reading.written_bytes - self.boot_written_bytes;
        (self.boot_uptime_s, self.boot_written_bytes) = (reading.uptime_s, reading.written_bytes);
        self.service_s = self.service_s.saturating_add(went_by_s);
        self.written_bytes = self.written_bytes.saturating_add(written);
        self.first_used_percent = self.first_used_percent.or(reading.health.used_percent);
        Wear {
            device: Some(reading.device.clone()),
            bytes_per_hour: written.saturating_mul(3_600).checked_div(went_by_s),
            written_bytes: Some(self.written_bytes),
            used_percent: reading.health.used_percent,
            left_hours: self.left_hours(&reading.health),
            warning: reading.health.warning,
        }
    }

    /// By all its life where the medium counts its hours, or else by what was used up since it was first seen; unknown until
    /// that is anything.
    fn left_hours(&self, health: &Health) -> Option<u64> {
        let used = u64::from(health.used_percent?);
        let left = 100_u64.saturating_sub(used);
        match health.power_on_hours {
            Some(hours) => hours.saturating_mul(left).checked_div(used),
            None => {
                let used_here = used.saturating_sub(self.first_used_percent?.into());
                (self.service_s / 3_600).saturating_mul(left).checked_div(used_here)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boot: &str, hours: u64, gigabytes: u64, used_percent: Option<u8>) -> Reading {
        Reading {
            device: "mmcblk0".into(),
            serial: "0x1234".into(),
            boot: boot.into(),
            uptime_s: hours * 3_600,
            written_bytes: gigabytes * 1_000_000_000,
            health: Health { used_percent, ..Health::default() },
        }
    }

    #[test]
    fn it_adds_up_over_boots_and_restarts() {
        let mut history = History::default();
        let first = history.add(&reading("a", 2, 10, None));
        assert_eq!((first.bytes_per_hour, first.written_bytes), (Some(5_000_000_000), Some(10_000_000_000)));
        assert_eq!(history.add(&reading("a", 3, 11, None)).bytes_per_hour, Some(1_000_000_000));
        let mut again: History = serde_json::from_slice(&serde_json::to_vec(&history).unwrap()).unwrap();
        assert_eq!(again.add(&reading("a", 4, 14, None)).written_bytes, Some(14_000_000_000));
        let booted = again.add(&reading("b", 1, 2, None));
        assert_eq!((booted.bytes_per_hour, booted.written_bytes), (Some(2_000_000_000), Some(16_000_000_000)));
        assert_eq!((booted.used_percent, booted.left_hours), (None, None), "a card that says nothing");
        assert_eq!(again.add(&reading("b", 1, 2, None)).bytes_per_hour, None);
    }

    #[test]
    fn a_life_is_projected_from_what_was_used_up_here() {
        let mut history = History::default();
        assert_eq!(history.add(&reading("a", 1_000, 1, Some(20))).left_hours, None, "nothing is known of before");
        assert_eq!(history.add(&reading("a", 2_000, 2, Some(20))).left_hours, None);
        assert_eq!(history.add(&reading("a", 3_000, 3, Some(30))).left_hours, Some(3_000 * 70 / 10));
        assert_eq!(history.add(&reading("a", 4_000, 4, Some(110))).left_hours, Some(0));
    }

    #[test]
    fn a_medium_that_counts_its_hours_is_taken_at_its_word() {
        let mut reading = reading("a", 1, 1, Some(5));
        reading.health.power_on_hours = Some(1_000);
        assert_eq!(History::default().add(&reading).left_hours, Some(19_000));
        reading.health.used_percent = Some(0);
        assert_eq!(History::default().add(&reading).left_hours, None);
    }

    #[test]
    fn another_medium_begins_anew() {
        let mut history = History::default();
        history.add(&reading("a", 1_000, 90, Some(10)));
        let other = Reading { serial: "0x9".into(), ..reading("b", 1, 1, Some(10)) };
        assert_eq!(history.add(&other).written_bytes, Some(1_000_000_000));
    }
}
