//! Consent tones: when a recording tone sounds, whether it did, and a bench to hear and measure it.
//!
//! | file | what it does |
//! |---|---|
//! | [`plan`] | when a tone sounds, who hears it, what each channel holds (rules of Genesys media servers) |
//! | [`presets`] | the tones of countries |
//! | [`mod@bench`] | a simulated call as an engineer sets it |
//! | [`synth`] | tones, and the four signals of a call |
//! | [`picture`] | waveform and spectrogram |
//! | [`audio`], [`resample`] | WAV and MP3 of any rate -> samples of 8 kHz |
//! | [`source`], [`driver`] | custom tones: where an `audiosrc` leads, and fetching it |
//! | `lines`, [`detect`] | samples -> candidates: places where something steady sounds near a frequency |
//! | [`chain`], `refine` | candidates -> the tones, by their rhythm |
//! | `fold` | a tone too faint for candidates, by its rhythm alone |
//! | [`player`], [`protocol`] | what the sidecar `nearend-tone` plays, and what is said on its socket |
//! | [`survey`] | which tone a file holds when nobody says |
//! | [`proof`] | what every finished recording says of its tones |
//! | [`verdict`] | what was found against what should be there |

pub mod audio;
pub mod bench;
pub mod chain;
pub mod detect;
pub mod driver;
mod fold;
mod lines;
pub mod picture;
pub mod plan;
pub mod player;
pub mod presets;
pub mod proof;
pub mod protocol;
mod refine;
pub mod resample;
pub mod source;
pub mod survey;
pub mod synth;
pub mod verdict;
