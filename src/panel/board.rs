//! How a board's lights and button are connected: the tables `[panel]`, `[panel.lights.NAME]` and `[panel.button]` of `board/*.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The part of a board's file that the panel reads.
#[derive(Debug, Deserialize)]
pub struct Board {
    /// Name for people.
    pub name: String,
    /// Lights and button.
    #[serde(default)]
    pub panel: Wiring,
}

/// Lights and button.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wiring {
    /// What drives them.
    #[serde(default)]
    pub kind: Kind,
    /// `power`, `recording`, `wan`, `fault`; those that a board does not have are left out.
    #[serde(default)]
    pub lights: BTreeMap<Name, Halves>,
    /// The button, if there is one.
    pub button: Option<Contact>,
}

/// What drives lights and button.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Files in a folder, for emulation and tests.
    #[default]
    Simulated,
    /// The GPIO pins of a Raspberry Pi.
    Rppal,
    /// The kernel's LED class and its input events: any board whose device tree names them.
    LedClass,
}

/// A light's place on the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Is the box at work?
    Power,
    /// Are calls recorded?
    Recording,
    /// Does it arrive in the data centre?
    Wan,
    /// Is a person needed?
    Fault,
}

/// Where the halves of a light are: a BCM pin number, or a name of the LED class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halves {
    /// Its green half.
    pub green: Option<Place>,
    /// Its red half.
    pub red: Option<Place>,
    /// Lit when the level is low.
    #[serde(default)]
    pub active_low: bool,
}

/// A pin by its number, or an LED or input device by its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// BCM number.
    Pin(u8),
    /// Name of the LED class.
    Led(String),
}

/// The button: towards ground, with the pin's own pull-up; or an input device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// BCM number, or the device below /dev/input.
    pub place: Place,
}
