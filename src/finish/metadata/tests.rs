//! `recording.json` against its published schema, and field by field for a call that has everything.

use serde_json::{Value, json};

use super::*;
use crate::finish::gaps::{Gap, GapList, GapReason};
use crate::finish::identity::SignatureVerdict;
use crate::finish::testing::{ORIGIN, leg, recording};
use crate::model::block::Law;
use crate::model::conversation::{AgentFact, CallFact};
use crate::model::recording::{ClockPoint, Digit, Note};
use crate::model::{Channel, Conversation, EndReason, Flag, LegNo, Mask, SwitchId};

const SCHEMA: &str = include_str!("../../../docs/schema/recording.schema.json");

fn facts() -> BoxFacts {
    BoxFacts { site: "branch-17".into(), geo_location: Some("dallas".into()), box_name: "box-17".into() }
}

fn audio() -> FileFact {
    FileFact { name: "audio.wav".into(), bytes: 58 + 32_000, sha256: "0f".repeat(32) }
}

fn encoded(gaps: Vec<Gap>) -> Encoded {
    let gaps = GapList { gaps, left_out: 0 };
    let span = MediaTime(80)..MediaTime(16_080);
    Encoded { law: Law::Pcmu, span, transcoded: 0, misplaced: 0, damaged: 0, first_damage: None, gaps }
}

fn json_of(recording: &Recording, encoded: &Encoded) -> Value {
    let json: Value = serde_json::from_slice(&rendered(recording, encoded)).unwrap();
    assert_valid(&json);
    json
}

fn rendered(recording: &Recording, encoded: &Encoded) -> Vec<u8> {
    let audio = audio();
    render(&facts(), recording, &Made { encoded, format: AudioFormat::Wav, audio: &audio, sealed: None }, None)
}

fn errors(json: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::options().build(&schema).unwrap();
    validator.iter_errors(json).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn assert_valid(json: &Value) {
    assert_eq!(errors(json), Vec::<String>::new(), "{json:#}");
}

/// Two seconds from 10 ms after the origin, with every field in use.
fn full() -> Recording {
    let mut call = recording(7, "01AB_2026-03-02_14-05-59", 0);
    call.started = ORIGIN.plus_micros(10_000);
    call.ended = Some(ORIGIN.plus_micros(2_010_000));
    for (name, value) in [("ani", "5551"), ("dnis", "5552"), ("recorddn", "7000"), ("connid", "006a"), ("media-id", "x")] {
        call.parameters.insert(name.into(), value.into());
    }
    call.headers.push(("X-Genesys-GVP-Session-ID".into(), "F00;gvp.rm.datanodes=2|1".into()));
    let info = ("INFO".into(), "text/plain".into(), "hällo\u{FFFD}\0".into());
    call.notes.push(Note { time: ORIGIN, method: info.0, content_type: info.1, body: info.2 });
    let mask = |ms: i64, kind, leg| Mask { time: ORIGIN.plus_micros(ms * 1_000), kind, leg };
    call.masks = vec![mask(510, MaskKind::Paused, Some(LegNo(0))), mask(1_010, MaskKind::Resumed, None)];
    call.flags = vec![Flag::Continued, Flag::ChannelsByOrder];
    let first = &mut call.legs[0];
    first.label = Some("1".into());
    first.ended = call.ended;
    first.end_reason = Some(EndReason::Replaced);
    first.ssrcs = vec![u32::MAX, 1];
    first.digits = vec![Digit { at: MediaTime(880), digit: '#', duration_ms: 80 }];
    for (leg, at) in call.legs.iter_mut().zip([0, 40]) {
        leg.clock = vec![ClockPoint { ssrc: 1, ntp: 1 << 60, at: MediaTime(at), arrived: MediaTime(at) }];
    }
    call.legs.push(leg(2, Channel::Recorded));
    call
}

#[test]
fn the_form_that_the_data_centre_reads() {
    let json = json_of(&full(), &encoded(Vec::new()));
    let media = json!({
        "mediaId": "01AB_2026-03-02_14-05-59_audio.wav",
        "mediaUri": "101/2026-03-02/01AB_2026-03-02_14-05-59/audio.wav",
        "mediaPath": "audio.wav",
        "playPath": "audio.wav",
        "callUUID": "01ABCDEFGHIJKLMNOPQRSTUV01234567",
        "type": "audio/wav",
        "startTime": "2026-03-02T14:05:59.510Z",
        "stopTime": "2026-03-02T14:06:01.510Z",
        "duration": "2000",
        "size": "32058",
        "tenant": "101",
        "partitions": [],
        "accessgroups": [],
        "masks": [
            {"time": "2026-03-02T14:06:00.010Z", "type": "paused"},
            {"time": "2026-03-02T14:06:00.510Z", "type": "resume"},
        ],
        "certAlias": [],
        "parameters": {
            "id": "01AB_2026-03-02_14-05-59", "callUuid": "01ABCDEFGHIJKLMNOPQRSTUV01234567",
            "ani": "5551", "dnis": "5552", "recordDN": "7000", "connId": "006a", "media-id": "x",
        },
    });
    assert_eq!(json["mediaFiles"], json!([media]));
    assert_eq!((&json["id"], &json["region"]), (&json!("01AB_2026-03-02_14-05-59"), &json!("dallas")));
    assert_eq!((&json["callerPhoneNumber"], &json["dialedPhoneNumber"]), (&json!("5551"), &json!("5552")));
    assert_eq!(json["startTime"], "2026-03-02T14:05:59.510Z");
}

#[test]
fn everything_else_stands_under_nearend() {
    let gap = |start, end, reason| Gap { channel: Channel::Other, place: MediaTime(start)..MediaTime(end), reason };
    let gaps = vec![gap(80, 240, GapReason::NotStarted), gap(1_680, 1_681, GapReason::Loss)];
    let json = json_of(&full(), &encoded(gaps));
    let nearend = &json["nearend"];
    assert_eq!(
        nearend["gaps"],
        json!([
            {"channel": 2, "startMs": 0, "lengthMs": 20, "reason": "not-started"},
            {"channel": 2, "startMs": 200, "lengthMs": 1, "reason": "loss"},
        ])
    );
    assert_eq!(
        nearend["channels"],
        json!([
            {"channel": 1, "party": "recorded", "dn": "7000", "legs": [0, 2]},
            {"channel": 2, "party": "other", "dn": "7001", "legs": [1]},
        ])
    );
    assert_eq!(nearend["masks"][0]["startMs"], 505);
    assert_eq!(nearend["masks"][0]["leg"], 0);
    assert_eq!(nearend["couples"], json!([{"id": "01AB_2026-03-02_14-05-59", "GEN_CFG_TENANT": "101"}]));
    assert_eq!(nearend["flags"], json!(["continued", "channels-by-order"]));
    assert_eq!(nearend["files"], json!([{"name": "audio.wav", "bytes": 32_058, "sha256": "0f".repeat(32)}]));
    assert_eq!(nearend["notes"][0]["body"], "hällo\u{FFFD}\0");
    let first = &nearend["legs"][0];
    assert_eq!((&first["alignedBy"], &first["shiftSamples"]), (&json!("sender-reports"), &json!(40)));
    assert_eq!(first["digits"], json!([{"startMs": 105, "digit": "#", "durationMs": 80}]));
    assert_eq!(nearend["legs"][2]["alignedBy"], "arrival");
}

#[test]
fn a_call_of_which_next_to_nothing_is_known_is_valid_too() {
    let mut call = recording(1, "", 0);
    call.call_uuid = None;
    call.ended = None;
    call.end_reason = None;
    call.legs.clear();
    let nothing = BoxFacts { site: String::new(), geo_location: None, box_name: String::new() };
    let (encoded, audio) = (Encoded { damaged: 3, ..encoded(Vec::new()) }, audio());
    let made = Made { encoded: &encoded, format: AudioFormat::Wav, audio: &audio, sealed: None };
    let json: Value = serde_json::from_slice(&render(&nothing, &call, &made, None)).unwrap();
    assert_valid(&json);
    assert_eq!(json["stopTime"], "2026-03-02T14:06:01.500Z", "from the length of the audio");
    assert_eq!(json["nearend"]["damagedPieces"], 3);
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    let render = || rendered(&full(), &encoded(Vec::new()));
    assert_eq!(render(), render());
}

/// Everything personal that [`full`] has, with a conversation.
const PERSONAL: [&str; 8] = ["5551", "5552", "7000", "7001", "F00;gvp", "hällo", "anna", "4711"];

#[test]
fn what_is_sealed_says_nothing_about_anyone_and_is_signed() {
    let (encoded, identity, recipients) = (encoded(Vec::new()), Identity::new(&[7; 32]), ["age1abc".to_owned()]);
    let audio = FileFact { name: "audio.opus.age".into(), ..audio() };
    let details = FileFact { name: "details.json.age".into(), ..audio.clone() };
    let sealed = Some(Sealed { recipients: &recipients, details: Some(&details) });
    let made = Made { encoded: &encoded, format: AudioFormat::Opus, audio: &audio, sealed };
    let mut call = full();
    call.conversation = Some(Box::new(Conversation {
        id: "conversation-1".into(),
        calls: vec![CallFact {
            call_uuid: None,
            conn_id: "006a".into(),
            switch: SwitchId("hq".into()),
            direction: None,
            ani: Some("5551".into()),
            dnis: Some("5552".into()),
            consult_of: None,
            started: ORIGIN,
            ended: None,
        }],
        agents: vec![AgentFact { agent_id: "anna".into(), dn: "7000".into(), started: ORIGIN, ended: None }],
        attached_data: [("account".to_owned(), "4711".to_owned())].into(),
        ..Conversation::default()
    }));
    let text = String::from_utf8(render(&facts(), &without_personal(&call), &made, Some(&identity))).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_valid(&json);
    assert_eq!(PERSONAL.iter().filter(|personal| text.contains(**personal)).count(), 0, "{text}");
    assert!(PERSONAL.iter().all(|personal| String::from_utf8(rendered(&call, &encoded)).unwrap().contains(personal)));
    assert_eq!(json["nearend"]["conversation"]["id"], "conversation-1");
    assert_eq!(json["mediaFiles"][0]["parameters"]["connId"], "006a");
    assert_eq!(json["nearend"]["legs"][0]["digits"], json!([]));
    assert_eq!(json["nearend"]["sealed"], json!({"recipients": ["age1abc"], "details": "details.json.age"}));
    assert_eq!(json["nearend"]["files"][1]["name"], "details.json.age");
    assert_eq!((&json["mediaFiles"][0]["type"], &json["nearend"]["audio"]["codec"]), (&json!("audio/ogg"), &json!("OPUS")));
    assert_eq!(json["nearend"]["audio"]["bitExact"], false);
    assert_eq!(identity.public_key().check(&json), SignatureVerdict::Right);
}

#[test]
fn a_clock_that_was_set_right_is_told() {
    let mut call = full();
    call.legs[1].counters.drift_inserted = 48;
    let json = json_of(&call, &encoded(Vec::new()));
    assert_eq!(
        (&json["nearend"]["audio"]["bitExact"], &json["nearend"]["legs"][1]["driftInsertedSamples"]),
        (&json!(false), &json!(48))
    );
    assert_eq!(json_of(&full(), &encoded(Vec::new()))["nearend"]["audio"]["bitExact"], true);
}

#[test]
fn the_schema_refuses_what_it_does_not_describe() {
    let good = json_of(&full(), &encoded(Vec::new()));
    let broken: [fn(&mut Value); 5] = [
        |json| json["nearend"]["surprise"] = json!(1),
        |json| json["nearend"]["legs"][0]["lost"] = json!(-1),
        |json| json["mediaFiles"][0]["duration"] = json!(2_000),
        |json| json["nearend"]["files"][0]["name"] = json!("../audio.wav"),
        |json| json["startTime"] = json!("yesterday"),
    ];
    for breaking in broken {
        let mut json = good.clone();
        breaking(&mut json);
        assert_eq!(errors(&json).len(), 1);
    }
}
