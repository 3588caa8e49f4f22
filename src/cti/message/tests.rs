//! Lines of a T-Server, good and bad.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn body(line: &str) -> Body {
    parse(line.as_bytes()).unwrap().body
}

#[test]
fn an_event_keeps_all_that_it_says() {
    let line = json!({
        "msg": "EventEstablished", "seq": 7, "time": "2026-03-02T14:05:59.120Z", "connId": "0192037900000a7c",
        "previousConnId": "1", "transferConnId": "2", "callUuid": "U", "thisDn": "7001", "thisDnRole": "Destination",
        "otherDn": "5550100", "dnis": "800", "ani": "5550100", "agentId": "anna", "callType": "Inbound",
        "userData": {"a": "b", "n": 1, "list": {"x": "y"}}, "extensions": {"record": "source"}, "privateMsgId": 3013,
        "somethingNew": [1, 2],
    });
    let incoming = parse(line.to_string().as_bytes()).unwrap();
    assert_eq!((incoming.seq, incoming.reference), (Some(7), None));
    let Body::Call(event) = incoming.body else { panic!("no event of a call") };
    assert_eq!(event.kind, EventKind::Established);
    assert_eq!((&*event.conn_id, &*event.this_dn, event.other_dn.as_deref()), ("0192037900000a7c", "7001", Some("5550100")));
    assert_eq!((event.previous_conn_id.as_deref(), event.transfer_conn_id.as_deref()), (Some("1"), Some("2")));
    assert_eq!(
        (event.direction, event.agent.as_deref(), event.private_msg_id),
        (Some(Direction::Inbound), Some("anna"), Some(3_013))
    );
    let data = event.user_data.unwrap();
    assert_eq!((&*data["a"], &*data["n"], &*data["list"]), ("b", "1", r#"{"x":"y"}"#));
    assert_eq!(event.extensions["record"], "source");
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_reason() {
    for (line, reason) in [
        ("{", "no message: EOF"),
        ("\"EventRinging\"", "no message"),
        (r#"{"msg":"EventRinging","thisDn":"1"}"#, "without connId"),
        (r#"{"msg":"EventRinging","connId":"1"}"#, "without thisDn"),
        (r#"{"msg":"EventRinging","connId":"1","thisDn":"1","callType":"Odd"}"#, "callType \"Odd\""),
        (r#"{"msg":"EventRinging","connId":1,"thisDn":"1"}"#, "invalid type"),
        (r#"{"msg":"EventRegistered"}"#, "without dn"),
        (r#"{"msg":"EventRegistered","dn":"1","calls":[{"connId":"1","state":"Odd"}]}"#, "unknown state"),
    ] {
        let error = parse(line.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{line}: {error}");
    }
    let long = format!(r#"{{"msg":"EventRinging","connId":"1","thisDn":"{}"}}"#, "7".repeat(257));
    assert!(parse(long.as_bytes()).unwrap_err().contains("257 bytes"));
    assert!(parse(&[b'['; 100_000]).is_err(), "deep nesting is no way to our stack");
}

#[test]
fn unknown_messages_are_no_fault() {
    assert_eq!(body(r#"{"msg":"EventNetworkReached","seq":1}"#), Body::Unknown("EventNetworkReached".into()));
}

#[test]
fn only_four_types_of_dn_can_be_monitored() {
    for (text, known) in [
        ("Extension", DnType::Extension),
        ("ACD Position", DnType::AcdPosition),
        ("ACDPosition", DnType::AcdPosition),
        ("voice-treatment-port", DnType::VoiceTreatmentPort),
        ("Trunk Group", DnType::TrunkGroup),
    ] {
        assert_eq!(dn_type(text), Ok(known));
        assert_eq!(dn_type(dn_type_name(known)), Ok(known));
    }
    assert!(dn_type("Routing Point").unwrap_err().contains("\"Routing Point\" has no audio of its own"));
}

#[test]
fn a_registration_tells_the_calls_on_the_dn() {
    let text = r#"{"msg":"EventRegistered","ref":3,"dn":"7001","dnType":"Extension",
        "calls":[{"connId":"1","state":"Held","otherDn":"7002"},{"connId":"2","state":"Ringing"}]}"#;
    let Body::Registered(registered) = body(&text.replace('\n', " ")) else { panic!("no registration") };
    let calls = registered.calls.unwrap();
    assert_eq!((calls[0].kind, &*calls[0].this_dn, calls[1].kind), (EventKind::Held, "7001", EventKind::Ringing));
}

#[test]
fn too_much_data_is_refused_and_long_values_are_cut() {
    let event = |data: Value| json!({"msg": "EventRinging", "connId": "1", "thisDn": "1", "userData": data}).to_string();
    let keys: Map = (0..257).map(|n| (n.to_string(), "x".into())).collect();
    assert!(parse(event(Value::Object(keys)).as_bytes()).unwrap_err().contains("257 pairs"));
    let big: Map = (0..20).map(|n| (n.to_string(), "x".repeat(4_000).into())).collect();
    assert!(parse(event(Value::Object(big)).as_bytes()).unwrap_err().contains("bytes of data"));
    let Body::Call(event) = body(&event(json!({"k": "ä".repeat(4_000)}))) else { panic!("no event") };
    assert_eq!(event.user_data.unwrap()["k"], "ä".repeat(2_048));
}

type Map = serde_json::Map<String, Value>;

#[test]
fn every_message_follows_the_published_schemas() {
    let validator = |schema: &str| jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let to_box = validator(include_str!("../../../docs/schema/cti-to-box.schema.json"));
    let from_box = validator(include_str!("../../../docs/schema/cti-from-box.schema.json"));
    let docs = include_str!("../../../docs/cti.md");
    let mut seen = [0, 0];
    for line in docs.lines().map(str::trim).filter(|line| line.starts_with("{\"msg\"")) {
        let value: Value = serde_json::from_str(line).unwrap();
        let is_event = line.contains("\"Event") || line.contains("\"Config");
        let schema = if is_event { &to_box } else { &from_box };
        let faults: Vec<String> = schema.iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!(faults, Vec::<String>::new(), "{line}");
        if is_event {
            assert!(!matches!(parse(line.as_bytes()).unwrap().body, Body::Unknown(_)), "{line}");
        }
        seen[usize::from(is_event)] += 1;
    }
    assert!(seen[0] >= 3 && seen[1] >= 6, "the page has examples: {seen:?}");
    let (extensions, reasons) = (Pairs::from([("record".into(), "source".into())]), Pairs::new());
    let outgoing = [
        Outgoing::RegisterAddress { r#ref: 1, dn: "7001", dn_type: dn_type_name(DnType::AcdPosition) },
        Outgoing::RequestSnapshot { r#ref: 2 },
        Outgoing::RequestPrivateService {
            r#ref: 3,
            service_id: 3_013,
            this_dn: "7001",
            conn_id: "1",
            extensions: &extensions,
            reasons: &reasons,
        },
        Outgoing::KeepAlive { r#ref: 4 },
    ];
    for message in outgoing {
        let value: Value = serde_json::from_slice(&message.line()).unwrap();
        let faults: Vec<String> = from_box.iter_errors(&value).map(|e| e.to_string()).collect();
        assert_eq!(faults, Vec::<String>::new(), "{value}");
    }
    assert!(!to_box.is_valid(&json!({"msg": "EventRinging", "thisDn": "1"})) && !from_box.is_valid(&json!({"msg": "KeepAlive"})));
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200), text in "\\{\"msg\":\"Event(Ringing|Registered|Error)\",\"[a-zA-Z]{2,9}\":[\\[\\]{}0-9\",:]{0,20}\\}") {
        let _ = parse(&line);
        let _ = parse(text.as_bytes());
    }
}
