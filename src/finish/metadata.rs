//! Everything known about a call -> `recording.json`. Pure, and always the same bytes for the same recording.
//!
//! At the top the form that the data centre reads (Genesys Interaction Recording), everything else under `nearend`. Described
//! in docs/recording-json.md and docs/schema/recording.schema.json.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::encode::Encoded;
use super::identity::{Identity, Signature};
use crate::model::recording::FileFact;
use crate::model::{AudioFormat, MaskKind, MediaTime, Recording, WallTime};

mod conversation;
mod nearend;
#[cfg(test)]
mod tests;
mod withheld;

use nearend::Nearend;
pub use withheld::without_personal;

/// What the box knows about itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BoxFacts {
    /// Name of the site.
    pub site: String,
    /// Geo-location of the site, where configured.
    pub geo_location: Option<String>,
    /// Name of this box: its host name.
    pub box_name: String,
}

/// The files that the finisher has made of a recording.
pub struct Made<'a> {
    /// What is in the audio file.
    pub encoded: &'a Encoded,
    /// The format of the audio file.
    pub format: AudioFormat,
    /// The audio file.
    pub audio: &'a FileFact,
    /// For whom the files are sealed; none: they are not.
    pub sealed: Option<Sealed<'a>>,
}

/// What a sealed recording says about that.
#[derive(Clone, Copy)]
pub struct Sealed<'a> {
    /// Public keys, age recipients.
    pub recipients: &'a [String],
    /// The file with what is not for everyone's eyes; none: within that file itself.
    pub details: Option<&'a FileFact>,
}

/// The content of `recording.json`, signed if the box has an identity.
pub fn render(facts: &BoxFacts, recording: &Recording, made: &Made<'_>, identity: Option<&Identity>) -> Vec<u8> {
    let mut document = document(facts, recording, made);
    if let Some(identity) = identity {
        let unsigned = serde_json::to_value(&document).expect("all map keys are strings");
        document.nearend.sign(identity.sign(&unsigned));
    }
    let mut json = serde_json::to_vec_pretty(&document).expect("all map keys are strings, and memory takes every write");
    json.push(b'\n');
    json
}

fn document<'a>(facts: &'a BoxFacts, recording: &'a Recording, made: &Made<'a>) -> Document<'a> {
    let span = &made.encoded.span;
    let length = MediaTime(span.end.0.saturating_sub(span.start.0));
    let stop_time = Iso(recording.ended.unwrap_or(recording.started.plus_micros(length.0.saturating_mul(125))));
    let parameter = |name: &str| recording.parameters.get(name).map(String::as_str);
    Document {
        id: &recording.id.0,
        region: facts.geo_location.as_deref(),
        caller_phone_number: parameter("ani"),
        dialed_phone_number: parameter("dnis"),
        start_time: Iso(recording.started),
        stop_time,
        media_files: [media_file(recording, made, length, stop_time)],
        event_history: [],
        nearend: Nearend::new(facts, recording, made),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialed_phone_number: Option<&'a str>,
    start_time: Iso,
    stop_time: Iso,
    media_files: [MediaFile<'a>; 1],
    event_history: [(); 0],
    nearend: Nearend<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaFile<'a> {
    media_id: String,
    media_uri: String,
    media_path: &'a str,
    play_path: &'a str,
    #[serde(rename = "callUUID", skip_serializing_if = "Option::is_none")]
    call_uuid: Option<&'a str>,
    #[serde(rename = "type")]
    media_type: &'a str,
    start_time: Iso,
    stop_time: Iso,
    /// Milliseconds, as a string like in the samples of this form.
    duration: String,
    /// Bytes.
    size: String,
    tenant: &'a str,
    partitions: &'a [String],
    accessgroups: [(); 0],
    masks: Vec<GirMask>,
    cert_alias: [(); 0],
    parameters: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct GirMask {
    time: Iso,
    #[serde(rename = "type")]
    kind: &'static str,
}

fn media_file<'a>(recording: &'a Recording, made: &Made<'a>, length: MediaTime, stop_time: Iso) -> MediaFile<'a> {
    let audio = made.audio;
    MediaFile {
        media_id: format!("{}_{}", recording.id, audio.name),
        media_uri: format!("{}/{}", recording.path(), audio.name),
        media_path: &audio.name,
        play_path: &audio.name,
        call_uuid: recording.call_uuid.as_ref().map(|uuid| &*uuid.0),
        media_type: made.format.media_type(),
        start_time: Iso(recording.started),
        stop_time,
        duration: length.as_millis().to_string(),
        size: audio.bytes.to_string(),
        tenant: &recording.tenant.0,
        partitions: recording.ruling.as_ref().map_or(&[], |ruling| &ruling.partitions),
        accessgroups: [],
        masks: recording.masks.iter().map(|mask| GirMask { time: Iso(mask.time), kind: mask_type(mask.kind) }).collect(),
        cert_alias: [],
        parameters: gir_parameters(recording),
    }
}

/// The request-URI's parameters in the spelling of the form; names it does not know stay as they are.
fn gir_parameters(recording: &Recording) -> BTreeMap<&str, &str> {
    let spelled = |name| match name {
        "agentid" => "agentId",
        "calluuid" => "callUuid",
        "connid" => "connId",
        "datetime" => "dateTime",
        "recorddn" => "recordDN",
        "sipsappname" => "sipsAppName",
        other => other,
    };
    let mut parameters: BTreeMap<_, _> = recording.parameters.iter().map(|(k, v)| (spelled(k), v.as_str())).collect();
    parameters.insert("id", &recording.id.0);
    if let Some(uuid) = &recording.call_uuid {
        parameters.insert("callUuid", &uuid.0);
    }
    parameters
}

/// As the data centre spells it.
fn mask_type(kind: MaskKind) -> &'static str {
    match kind {
        MaskKind::Paused => "paused",
        MaskKind::Resumed => "resume",
    }
}

/// A wall time as people and the data centre read it.
#[derive(Clone, Copy)]
struct Iso(WallTime);

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
