//! The part of `recording.json` under `nearend`: all that the form of the data centre has no place for. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::conversation::{self, ConversationPart, Couple};
use super::{BoxFacts, Iso, Made, Sealed, Signature, mask_type};
use crate::finish::align;
use crate::finish::gaps::{Gap, GapReason, place_of};
use crate::model::block::Law;
use crate::model::recording::{Dialect, Digit, FileFact, Note};
use crate::model::{AudioFormat, Channel, EndReason, Flag, Leg, LegNo, Mask, MediaTime, Recording, ToneFindings};

/// The version of this part; it grows when a reader has to know.
const FORM: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Nearend<'a> {
    form: u32,
    recording_no: u64,
    site: &'a str,
    r#box: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geo_location: Option<&'a str>,
    dialect: Dialect,
    couples: Vec<Couple<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<ConversationPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_class: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<EndReason>,
    flags: &'a [Flag],
    audio: Audio<'a>,
    channels: [ChannelEntry<'a>; 2],
    legs: Vec<LegEntry<'a>>,
    masks: Vec<MaskEntry>,
    gaps: Vec<GapEntry>,
    gaps_left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tones: Option<&'a ToneFindings>,
    damaged_pieces: u64,
    parameters: &'a BTreeMap<String, String>,
    headers: Vec<Header<'a>>,
    notes: Vec<NoteEntry<'a>>,
    files: Vec<&'a FileFact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<SealedEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

impl<'a> Nearend<'a> {
    /// Gathers it.
    pub(super) fn new(facts: &'a BoxFacts, recording: &'a Recording, made: &Made<'a>) -> Nearend<'a> {
        let (encoded, audio) = (made.encoded, made.audio);
        let start = encoded.span.start;
        let note = |n: &'a Note| NoteEntry { time: Iso(n.time), method: &n.method, content_type: &n.content_type, body: &n.body };
        Nearend {
            form: FORM,
            recording_no: recording.no.0,
            site: &facts.site,
            r#box: &facts.box_name,
            geo_location: facts.geo_location.as_deref(),
            dialect: recording.dialect,
            couples: conversation::couples(recording),
            conversation: recording.conversation.as_deref().map(ConversationPart::new),
            rule: recording.ruling.as_ref().map(|ruling| ruling.rule.as_str()),
            retention_class: recording.ruling.as_ref().and_then(|ruling| ruling.retention_class.as_deref()),
            tone: recording.ruling.as_ref().and_then(|ruling| ruling.tone.as_deref()),
            end_reason: recording.end_reason,
            flags: &recording.flags,
            audio: audio_entry(recording, made),
            channels: [channel(recording, Channel::Recorded), channel(recording, Channel::Other)],
            legs: leg_entries(recording, start),
            masks: mask_entries(recording, start),
            gaps: encoded.gaps.gaps.iter().map(|gap| gap_entry(gap, start)).collect(),
            gaps_left_out: encoded.gaps.left_out,
            tones: recording.tones.as_deref(),
            damaged_pieces: encoded.damaged,
            parameters: &recording.parameters,
            headers: recording.headers.iter().map(|(name, value)| Header { name, value }).collect(),
            notes: recording.notes.iter().map(note).collect(),
            files: std::iter::once(audio).chain(made.sealed.and_then(|sealed| sealed.details)).collect(),
            sealed: made
                .sealed
                .map(|Sealed { recipients, details }| SealedEntry { recipients, details: details.map(|file| &*file.name) }),
            signature: None,
        }
    }

    /// Puts the signature over everything else in its place.
    pub(super) fn sign(&mut self, signature: Signature) {
        self.signature = Some(signature);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Audio<'a> {
    file: &'a str,
    codec: &'static str,
    rate_hz: i64,
    samples: i64,
    bit_exact: bool,
    transcoded_samples: u64,
}

#[derive(Serialize)]
struct SealedEntry<'a> {
    recipients: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
}

fn audio_entry<'a>(recording: &Recording, made: &Made<'a>) -> Audio<'a> {
    let (span, transcoded) = (&made.encoded.span, made.encoded.transcoded);
    let is_undrifted = recording.legs.iter().all(|leg| leg.counters.is_undrifted());
    let (codec, is_g711) = match (made.format, made.encoded.law) {
        (AudioFormat::Opus, _) => ("OPUS", false),
        (AudioFormat::Wav, Law::Pcmu) => ("PCMU", true),
        (AudioFormat::Wav, Law::Pcma) => ("PCMA", true),
    };
    Audio {
        file: &made.audio.name,
        codec,
        rate_hz: MediaTime::RATE,
        samples: span.end.0.saturating_sub(span.start.0),
        bit_exact: is_g711 && transcoded == 0 && is_undrifted,
        transcoded_samples: transcoded,
    }
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

fn mask_entries(recording: &Recording, start: MediaTime) -> Vec<MaskEntry> {
    let shifts = align::shifts(&recording.legs);
    let entry = |mask: &Mask| {
        let shift = align::shift_of_mask(mask, &recording.legs, &shifts);
        let start_ms = millis_from(start, MediaTime(place_of(recording, mask.time).0.saturating_add(shift)));
        MaskEntry { time: Iso(mask.time), start_ms, kind: mask_type(mask.kind), leg: mask.leg }
    };
    recording.masks.iter().map(entry).collect()
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
    local: SocketAddr,
    remote: SocketAddr,
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
    drift_inserted_samples: u64,
    drift_left_out_samples: u64,
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
    let digit = |d: &Digit| DigitEntry {
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
        drift_inserted_samples: counters.drift_inserted,
        drift_left_out_samples: counters.drift_left_out,
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
