//! `[tone]`: which recording tone recordings are to hold, and where.

use serde::Serialize;

use super::value::{Value, one_of};
use super::{file, resolve::given};
use crate::model::ToneDemand;
use crate::tones::presets::Preset;

/// What recordings are looked through for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tone {
    /// The tone of this country.
    pub preset: Preset,
    /// Where it must be.
    pub demand: ToneDemand,
}

impl Value for Preset {
    fn read(text: &str) -> Result<Preset, String> {
        let known: Vec<&str> = Preset::all().map(|preset| preset.country).collect();
        Preset::of(text).ok_or_else(|| one_of(text, &known))
    }
}

impl Value for ToneDemand {
    fn read(text: &str) -> Result<ToneDemand, String> {
        let known = ToneDemand::ALL.map(ToneDemand::name);
        ToneDemand::ALL.into_iter().find(|demand| demand.name() == text).ok_or_else(|| one_of(text, &known))
    }
}

pub(super) fn tone(file: &file::Tone) -> Tone {
    Tone { preset: given(&file.preset).unwrap_or_default(), demand: given(&file.demand).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_demands_are_known_by_their_names() {
        assert_eq!(Preset::read("AU").unwrap().country, "au");
        assert!(Preset::read("xx").unwrap_err().starts_with("\"xx\" is not known; expected \"us\" or \"be\""));
        assert_eq!(ToneDemand::read("channel-2"), Ok(ToneDemand::Channel2));
        assert!(ToneDemand::read("channel-3").unwrap_err().contains("did you mean \"channel-"));
        for demand in ToneDemand::ALL {
            assert_eq!(serde_json::to_value(demand).unwrap(), demand.name(), "written as it is read");
        }
        assert_eq!(tone(&file::Tone::default()), Tone { preset: Preset::default(), demand: ToneDemand::None });
    }
}
