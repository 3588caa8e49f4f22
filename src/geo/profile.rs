//! Which profile of a tenant is used for a recording: the one whose geo-location matches; else the only one; else the one that is
//! named `record`; else the default.

use serde::Serialize;

/// A profile of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its geo-location.
    pub geo_location: Option<String>,
    /// It is the tenant's default.
    pub is_default: bool,
}

/// Why a profile was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Its geo-location is the call's.
    Location,
    /// There is no other.
    Only,
    /// It is named `record`.
    NamedRecord,
    /// It is the default.
    Default,
}

/// The name that counts when no location matches.
const RECORD: &str = "record";

/// The profile for a call at `location`; none when nothing says which.
pub fn choose<'a>(profiles: &'a [Profile], location: Option<&str>) -> Option<(&'a Profile, Choice)> {
    let at = |profile: &&Profile| location.is_some() && profile.geo_location.as_deref() == location;
    let only = || profiles.first().filter(|_| profiles.len() == 1);
    let by_location = profiles.iter().find(at).map(|p| (p, Choice::Location));
    by_location
        .or_else(|| only().map(|p| (p, Choice::Only)))
        .or_else(|| profiles.iter().find(|p| p.name == RECORD).map(|p| (p, Choice::NamedRecord)))
        .or_else(|| profiles.iter().find(|p| p.is_default).map(|p| (p, Choice::Default)))
}
