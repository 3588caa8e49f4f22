//! The recording-warning tones of countries, from `assets/tones/record_tone_presets.csv`. Presets, not legal advice.

use std::fmt;

use serde::{Serialize, Serializer};

use super::plan::Rhythm;

const TABLE: &str = include_str!("../../assets/tones/record_tone_presets.csv");

/// The tone of a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Two letters, as in the table.
    pub country: &'static str,
    /// Frequency of the tone.
    pub frequency_hz: u32,
    /// Length of one tone.
    pub on_ms: u32,
    /// Silence between two tones.
    pub off_ms: u32,
}

impl Preset {
    /// All of them, in the order of the table.
    pub fn all() -> impl Iterator<Item = Preset> {
        TABLE.lines().filter_map(Preset::read)
    }

    /// The one of a country, in capitals or not.
    pub fn of(country: &str) -> Option<Preset> {
        Preset::all().find(|preset| preset.country.eq_ignore_ascii_case(country))
    }

    /// Tone and silence, in samples.
    pub fn rhythm(&self) -> Rhythm {
        Rhythm::from_ms(self.on_ms, self.off_ms)
    }

    fn read(line: &'static str) -> Option<Preset> {
        let mut fields = line.split(',').map(str::trim);
        let country = fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        Some(Preset { country, frequency_hz: number()?, on_ms: number()?, off_ms: number()? })
    }
}

/// The one that most countries have.
impl Default for Preset {
    fn default() -> Preset {
        Preset { country: "us", frequency_hz: 1_400, on_ms: 500, off_ms: 15_000 }
    }
}

/// By its country.
impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.country)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} Hz, {} ms every {} ms", self.country, self.frequency_hz, self.on_ms, self.on_ms + self.off_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_preset() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.starts_with("country,")).count();
        assert_eq!(Preset::all().count(), lines);
        assert_eq!(lines, 24);
        assert!(Preset::all().all(|p| (300..3_400).contains(&p.frequency_hz) && p.on_ms >= 80 && p.off_ms >= 10_000));
    }

    #[test]
    fn a_country_is_found_however_it_is_written() {
        let us = Preset::default();
        assert_eq!(Preset::of("US"), Some(us));
        assert_eq!(Preset::of("at").map(|p| (p.on_ms, p.off_ms)), Some((80, 14_920)));
        assert_eq!(Preset::of("country"), None);
        assert_eq!(us.to_string(), "us: 1400 Hz, 500 ms every 15500 ms");
        assert_eq!(us.rhythm(), Rhythm { on_samples: 4_000, off_samples: 120_000 });
    }
}
