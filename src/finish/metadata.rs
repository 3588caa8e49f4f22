//! Everything known about a call -> `recording.json`. Pure, and always the same bytes for the same recording.
//!
//! At the top the form that the data centre reads (Genesys Interaction Recording), everything else under `nearend`. Described
//! in docs/recording-json.md and docs/schema/recording.schema.json.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::align;
use super::encode::Encoded;
use super::gaps::{Gap, GapReason, place_of};
use crate::model::block::Law;
use crate::model::recording::{Dialect, FileFact};
use crate::model::{Channel, EndReason, Flag, Leg, LegNo, Mask, MaskKind, MediaTime, Recording, WallTime};

/// The form of the part under `nearend`; grows when a reader has to know.
const FORM: u32 = 1;

/// What the box knows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxFacts {
    /// Name of the site.
    pub site: String,
    /// Geo-location of the site, where configured.
    pub geo_location: Option<String>,
    /// Name of this box: its host name.
    pub box_name: String,
}

/// The content of `recording.json` for the finished `audio`.
pub fn render(facts: &BoxFacts, recording: &Recording, encoded: &Encoded, damaged: u64, audio: &FileFact) -> Vec<u8> {
    let start = encoded.span.start;
    let length = MediaTime(encoded.span.end.0.saturating_sub(start.0));
    let stop_time = Iso(recording.ended.unwrap_or(recording.started.plus_micros(length.0.saturating_mul(125))));
    let parameter = |name: &str| recording.parameters.get(name).map(String::as_str);
    let document = Document {
        id: &recording.id.0,
        region: facts.geo_location.as_deref(),
        caller_phone_number: parameter("ani"),
        dialed_phone_number: parameter("dnis"),
        start_time: Iso(recording.started),
        stop_time,
        media_files: [media_file(recording, audio, length, stop_time)],
        event_history: [],
        nearend: nearend(facts, recording, encoded, damaged, audio),
    };
    let mut json = serde_json::to_vec_pretty(&document).expect("all map keys are strings, and memory takes every write");
    json.push(b'\n');
    json
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
    partitions: [(); 0],
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

fn media_file<'a>(recording: &'a Recording, audio: &'a FileFact, length: MediaTime, stop_time: Iso) -> MediaFile<'a> {
    MediaFile {
        media_id: format!("{}_{}", recording.id, audio.name),
        media_uri: format!("{}/{}", recording.path(), audio.name),
        media_path: &audio.name,
        play_path: &audio.name,
        call_uuid: recording.call_uuid.as_ref().map(|uuid| &*uuid.0),
        media_type: "audio/wav",
        start_time: Iso(recording.started),
        stop_time,
        duration: length.as_millis().to_string(),
        size: audio.bytes.to_string(),
        tenant: &recording.tenant.0,
        partitions: [],
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Nearend<'a> {
    form: u32,
    recording_no: u64,
    site: &'a str,
    r#box: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo_location: Option<&'a str>,
    dialect: Dialect,
    couples: [Couple<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    flags: &'a [Flag],
    audio: Audio<'a>,
    channels: [ChannelEntry<'a>; 2],
    legs: Vec<LegEntry<'a>>,
    masks: Vec<MaskEntry>,
    gaps: Vec<GapEntry>,
    gaps_left_out: u64,
    damaged_pieces: u64,
    parameters: &'a BTreeMap<String, String>,
    headers: Vec<Header<'a>>,
    notes: Vec<NoteEntry<'a>>,
    files: [&'a FileFact; 1],
}

#[derive(Serialize)]
struct Couple<'a> {
    id: &'a str,
    #[serde(rename = "GEN_CFG_TENANT")]
    tenant: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Audio<'a> {
    file: &'a str,
    codec: Law,
    rate_hz: i64,
    samples: i64,
    bit_exact: bool,
    transcoded_samples: u64,
}

#[derive(Serialize)]
struct ChannelEntry<'a> {
    channel: u8,
    party: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dn: Option<&'a str>,
    legs: Vec<LegNo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MaskEntry {
    time: Iso,
    start_ms: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    leg: Option<LegNo>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GapEntry {
    channel: u8,
    start_ms: i64,
    length_ms: i64,
    reason: GapReason,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NoteEntry<'a> {
    time: Iso,
    method: &'a str,
    content_type: &'a str,
    body: &'a str,
}

fn nearend<'a>(
    facts: &'a BoxFacts,
    recording: &'a Recording,
    encoded: &Encoded,
    damaged: u64,
    audio: &'a FileFact,
) -> Nearend<'a> {
    let start = encoded.span.start;
    let note = |n: &'a crate::model::recording::Note| NoteEntry {
        time: Iso(n.time),
        method: &n.method,
        content_type: &n.content_type,
        body: &n.body,
    };
    Nearend {
        form: FORM,
        recording_no: recording.no.0,
        site: &facts.site,
        r#box: &facts.box_name,
        geo_location: facts.geo_location.as_deref(),
        dialect: recording.dialect,
        couples: [Couple { id: &recording.id.0, tenant: &recording.tenant.0 }],
        end_reason: recording.end_reason,
        flags: &recording.flags,
        audio: Audio {
            file: &audio.name,
            codec: encoded.law,
            rate_hz: MediaTime::RATE,
            samples: encoded.span.end.0.saturating_sub(start.0),
            bit_exact: encoded.transcoded == 0,
            transcoded_samples: encoded.transcoded,
        },
        channels: [channel(recording, Channel::Recorded), channel(recording, Channel::Other)],
        legs: leg_entries(recording, start),
        masks: recording.masks.iter().map(|mask| mask_entry(recording, mask, start)).collect(),
        gaps: encoded.gaps.gaps.iter().map(|gap| gap_entry(gap, start)).collect(),
        gaps_left_out: encoded.gaps.left_out,
        damaged_pieces: damaged,
        parameters: &recording.parameters,
        headers: recording.headers.iter().map(|(name, value)| Header { name, value }).collect(),
        notes: recording.notes.iter().map(note).collect(),
        files: [audio],
    }
}

fn channel(recording: &Recording, channel: Channel) -> ChannelEntry<'_> {
    let legs = || recording.legs.iter().filter(|leg| leg.channel == channel);
    ChannelEntry {
        channel: channel.number(),
        party: match channel {
            Channel::Recorded => "recorded",
            Channel::Other => "other",
        },
        dn: legs().find_map(|leg| leg.dn.as_deref()),
        legs: legs().map(|leg| leg.no).collect(),
    }
}

fn mask_entry(recording: &Recording, mask: &Mask, start: MediaTime) -> MaskEntry {
    let start_ms = millis_from(start, place_of(recording, mask.time));
    MaskEntry { time: Iso(mask.time), start_ms, kind: mask_type(mask.kind), leg: mask.leg }
}

/// As the data centre spells it.
fn mask_type(kind: MaskKind) -> &'static str {
    match kind {
        MaskKind::Paused => "paused",
        MaskKind::Resumed => "resume",
    }
}

fn gap_entry(gap: &Gap, start: MediaTime) -> GapEntry {
    let samples = gap.place.end.0 - gap.place.start.0;
    GapEntry {
        channel: gap.channel.number(),
        start_ms: millis_from(start, gap.place.start),
        length_ms: MediaTime(samples.saturating_add(4)).as_millis().max(1), // to the nearest, but never nothing
        reason: gap.reason,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LegEntry<'a> {
    no: LegNo,
    channel: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    dn: Option<&'a str>,
    call_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    codec: Law,
    local: std::net::SocketAddr,
    remote: std::net::SocketAddr,
    start_time: Iso,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_time: Option<Iso>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    ssrcs: &'a [u32],
    packets: u64,
    bytes: u64,
    lost: u64,
    late: u64,
    reordered: u64,
    duplicates: u64,
    wrong_source: u64,
    wrong_payload_type: u64,
    malformed: u64,
    masked: u64,
    overrun: u64,
    kernel_drops: u64,
    comfort_noise: u64,
    resyncs: u64,
    jitter_us: u64,
    aligned_by: &'static str,
    shift_samples: i64,
    digits: Vec<DigitEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DigitEntry {
    start_ms: i64,
    digit: char,
    duration_ms: u32,
}

fn leg_entries(recording: &Recording, start: MediaTime) -> Vec<LegEntry<'_>> {
    let shifts = align::shifts(&recording.legs);
    recording.legs.iter().map(|leg| leg_entry(leg, shifts.get(&leg.no).copied(), start)).collect()
}

fn leg_entry(leg: &Leg, shift: Option<i64>, start: MediaTime) -> LegEntry<'_> {
    let counters = &leg.counters;
    let shift_samples = shift.unwrap_or(0);
    let digit = |d: &crate::model::recording::Digit| DigitEntry {
        start_ms: millis_from(start, MediaTime(d.at.0.saturating_add(shift_samples))),
        digit: d.digit,
        duration_ms: d.duration_ms,
    };
    LegEntry {
        no: leg.no,
        channel: leg.channel.number(),
        dn: leg.dn.as_deref(),
        call_id: &leg.call_id,
        label: leg.label.as_deref(),
        codec: leg.law,
        local: leg.local,
        remote: leg.remote,
        start_time: Iso(leg.started),
        stop_time: leg.ended.map(Iso),
        end_reason: leg.end_reason,
        ssrcs: &leg.ssrcs,
        packets: counters.packets,
        bytes: counters.bytes,
        lost: counters.lost,
        late: counters.late,
        reordered: counters.reordered,
        duplicates: counters.duplicates,
        wrong_source: counters.wrong_source,
        wrong_payload_type: counters.wrong_payload_type,
        malformed: counters.malformed,
        masked: counters.masked,
        overrun: counters.overrun,
        kernel_drops: counters.kernel_drops,
        comfort_noise: counters.comfort_noise,
        resyncs: counters.resyncs,
        jitter_us: counters.jitter_us,
        aligned_by: if shift.is_some() { "sender-reports" } else { "arrival" },
        shift_samples,
        digits: leg.digits.iter().map(digit).collect(),
    }
}

/// Where a place lies in the file, in milliseconds; what lies before the file counts as its start.
fn millis_from(start: MediaTime, place: MediaTime) -> i64 {
    MediaTime(place.0.saturating_sub(start.0)).as_millis().max(0)
}

/// A wall time as people and the data centre read it.
#[derive(Clone, Copy)]
struct Iso(WallTime);

impl Serialize for Iso {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
