//! `[tone]`: which recording tone recordings are to hold, and where.

use std::path::PathBuf;

use serde::Serialize;

use super::value::{Value, one_of};
use super::{file, resolve::given};
use crate::model::ToneDemand;
use crate::tones::presets::Preset;
use crate::tones::protocol::SOCKET;
use crate::tones::source::Place;

/// What recordings are looked through for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tone {
    /// The tone of this country.
    pub preset: Preset,
    /// Where it must be.
    pub demand: ToneDemand,
    /// Where the media servers fetch it; the box looks whether it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiosrc: Option<Audiosrc>,
    /// The socket of `nearend-tone`.
    pub sidecar: PathBuf,
}

/// The URI of a tone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audiosrc(pub String);

impl Value for Audiosrc {
    fn read(text: &str) -> Result<Audiosrc, String> {
        match Place::read(text) {
            Ok(_) if text.len() <= 2_000 => Ok(Audiosrc(text.trim().to_owned())),
            Ok(_) => Err("is longer than 2000 bytes; expected the URI of a tone".into()),
            Err(error) => Err(format!("{text:?}: {error}")),
        }
    }
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
    Tone {
        preset: given(&file.preset).unwrap_or_default(),
        demand: given(&file.demand).unwrap_or_default(),
        audiosrc: given(&file.audiosrc),
        sidecar: given(&file.sidecar).unwrap_or_else(|| SOCKET.into()),
    }
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
        let default = Tone { preset: Preset::default(), demand: ToneDemand::None, audiosrc: None, sidecar: SOCKET.into() };
        assert_eq!(tone(&file::Tone::default()), default);
        assert!(Audiosrc::read("http://me:secret@host/a.wav").unwrap_err().contains("no user and password"));
    }
}
