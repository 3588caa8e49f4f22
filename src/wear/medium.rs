//! What kernel, eMMC and smartctl say of a medium. Text in, numbers out; anything unexpected is unknown.

use serde_json::Value;

/// What a medium says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// How much of its rated life is used up, in percent; over 100 when it lives on.
    pub used_percent: Option<u8>,
    /// For how many hours it was on in all its life.
    pub power_on_hours: Option<u64>,
    /// What is wrong with it.
    pub warning: Option<&'static str>,
}

/// Bytes written to a block device since boot, from `/sys/block/DEVICE/stat` (Documentation/block/stat.rst: the seventh number,
/// in sectors of 512 bytes whatever the device has).
pub fn written_bytes(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(6)?.parse::<u64>().ok()?.checked_mul(512)
}

/// Seconds since boot, from `/proc/uptime`.
pub fn uptime_s(uptime: &str) -> Option<u64> {
    uptime.split(['.', ' ']).next()?.parse().ok()
}

/// An eMMC's registers as the kernel shows them: `life_time` (two types of cells, in steps of 10 %: `0x01` is up to 10 %, `0x0b`
/// over 100 %), `pre_eol_info` (reserved blocks: `0x01` normal, `0x02` 80 % used, `0x03` 90 %).
pub fn emmc(life_time: &str, pre_eol_info: &str) -> Health {
    let register = |text: &str| u8::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    let steps = life_time.split_whitespace().filter_map(register).filter(|step| (0x01..=0x0B).contains(step)).max();
    let warning = match register(pre_eol_info) {
        Some(0x02) => Some("80 % of its reserved blocks are used up; replace it soon"),
        Some(0x03) => Some("its reserved blocks are all but used up; replace it now"),
        _ => None,
    };
    Health {
        used_percent: steps.map(|step| step * 10),
        power_on_hours: None,
        warning: warning.or(past_life(steps == Some(0x0B))),
    }
}

/// What `smartctl --json` prints.
pub fn smart(json: &[u8]) -> Health {
    let Ok(said) = serde_json::from_slice::<Value>(json) else { return Health::default() };
    let number = |pointer: &str| said.pointer(pointer).and_then(Value::as_u64);
    let used = number("/endurance_used/current_percent")
        .or_else(|| number("/nvme_smart_health_information_log/percentage_used"))
        .or_else(|| ata_used_percent(&said));
    let fails = said.pointer("/smart_status/passed") == Some(&Value::Bool(false));
    Health {
        used_percent: used.map(|percent| u8::try_from(percent).unwrap_or(u8::MAX)),
        power_on_hours: number("/power_on_time/hours"),
        warning: fails.then_some("its own test says that it fails; replace it now").or(past_life(used > Some(100))),
    }
}

fn past_life(is_past: bool) -> Option<&'static str> {
    is_past.then_some("it is past its rated life; replace it soon")
}

/// ATA attributes whose normalised value is the percentage of life that is left, by smartctl's names.
const LIFE_LEFT: [&str; 4] = ["SSD_Life_Left", "Percent_Lifetime_Remain", "Media_Wearout_Indicator", "Wear_Leveling_Count"];

fn ata_used_percent(said: &Value) -> Option<u64> {
    let table = said.pointer("/ata_smart_attributes/table")?.as_array()?;
    let value = |name: &&str| table.iter().find(|row| row["name"] == **name)?["value"].as_u64().filter(|left| *left <= 100);
    LIFE_LEFT.iter().find_map(value).map(|left| 100 - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        let stat = " 1271321    53116 87958202  1685814  1265538   212467 122308920   525725        0   197428  2286776";
        assert_eq!(written_bytes(stat), Some(122_308_920 * 512));
        assert_eq!(uptime_s("350735.47 234388.90\n"), Some(350_735));
        assert_eq!((written_bytes("1 2 3"), uptime_s("soon")), (None, None));
    }

    #[test]
    fn an_emmc_counts_in_tenths_of_its_life() {
        let health = emmc("0x02 0x01\n", "0x01\n");
        assert_eq!(health, Health { used_percent: Some(20), ..Health::default() });
        assert!(emmc("0x03 0x0b", "0x01").warning.unwrap().contains("past its rated life"));
        assert!(emmc("0x09 0x09", "0x02").warning.unwrap().contains("80 %"));
        assert_eq!(emmc("0x00 0x00", "0x00"), Health::default(), "not defined by the maker");
        assert_eq!(emmc("", "nonsense"), Health::default());
    }

    #[test]
    fn smart_is_read_from_nvme_and_ata() {
        let nvme = br#"{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"percentage_used":7},"power_on_time":{"hours":9000}}"#;
        assert_eq!(smart(nvme), Health { used_percent: Some(7), power_on_hours: Some(9_000), warning: None });
        let ata = br#"{"smart_status":{"passed":false},"ata_smart_attributes":{"table":[{"id":5,"name":"Reallocated_Sector_Ct","value":100},
            {"id":177,"name":"Wear_Leveling_Count","value":88}]}}"#;
        let health = smart(ata);
        assert_eq!((health.used_percent, health.power_on_hours), (Some(12), None));
        assert!(health.warning.unwrap().contains("fails"));
        assert!(smart(br#"{"endurance_used":{"current_percent":130}}"#).warning.is_some());
        assert_eq!((smart(b"{}"), smart(b"smartctl: not found")), (Health::default(), Health::default()));
    }
}
