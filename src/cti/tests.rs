//! The station against the simulated SIP Server, in one process and by a clock that is a number: every scenario of
//! tests/data/scenarios, in every order, with the link cut anywhere.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::board::{LinkNo, RecordingFacts, SessionFacts, Whose};
use super::desk::Services;
use super::hub::{Command, Event, Hub, Settings, TServer};
use super::link::Action;
use super::wanted::By;
use crate::clock::Now;
use crate::model::{
    CallFacts, CallUuid, Conversation, DnType, MonoTime, RecordingId, RecordingNo, Side, SwitchId, TenantId, WallTime,
};
use crate::msr::switch::player::{Action as Play, Pace, Player};
use crate::msr::switch::script::Script;

const SCENARIOS: [&str; 10] = [
    "inbound",
    "outbound",
    "internal",
    "hold",
    "consult",
    "two-step-transfer",
    "single-step-transfer",
    "conference",
    "queue",
    "multi-site",
];

/// How often the world turns.
const STEP_MS: u64 = 20;

fn at(ms: u64) -> Now {
    let us = ms * 1_000;
    Now { mono: MonoTime(1_000_000_000 + us), wall: WallTime(1_772_460_359_000_000 + us.cast_signed()) }
}

fn file(name: &str, ending: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/scenarios/{name}.{ending}"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

struct World {
    hub: Hub,
    player: Player,
    is_connected: bool,
    closed_until_ms: u64,
    /// Running recordings and when they end.
    running: Vec<(u64, RecordingFacts)>,
    told: Vec<(RecordingFacts, Option<Conversation>)>,
}

const SETTINGS: Settings = Settings {
    services: Services { start: 3_013, stop: 3_014, pause: 3_015, resume: 3_016 },
    missing_after: Duration::from_secs(20),
};

impl World {
    fn new(name: &str, pace: Pace) -> World {
        let dns = (7_001..=7_009).map(|dn: u32| (dn.to_string().into(), DnType::Extension));
        let ports = [("8001".into(), DnType::VoiceTreatmentPort)];
        let tserver = TServer {
            name: name.into(),
            switch: SwitchId(name.into()),
            tenant: TenantId::default_tenant(),
            addresses: vec![super::Address { host: "switch".into(), port: 1, tls: None }],
            dns: dns.chain(ports).collect(),
        };
        let script = Script::parse(name, &file(name, "scenario")).unwrap();
        World {
            hub: Hub::new(at(0), &[tserver], SETTINGS, &mut Rng::with_seed(1)),
            player: Player::new(script, pace),
            is_connected: false,
            closed_until_ms: 0,
            running: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Plays it, with the link cut at `cut_ms` for 400 ms; what is known of each recording at its end.
    fn play(name: &str, pace: Pace, cut_ms: Option<u64>) -> Vec<Value> {
        let mut world = World::new(name, pace);
        let mut quiet_ms = 0;
        for ms in (0..120_000).step_by(STEP_MS as usize) {
            if cut_ms.is_some_and(|cut| (cut..cut + STEP_MS).contains(&ms)) {
                world.cut(ms, 400);
            }
            world.turn(ms);
            quiet_ms = if world.player.is_finished() && world.running.is_empty() { quiet_ms + STEP_MS } else { 0 };
            if quiet_ms > 2_900 {
                break; // what the box waits for after the last session
            }
        }
        assert!(world.player.is_finished(), "{name} waits for {:?}", world.player.waits_for());
        let mut told: Vec<Value> = world.told.iter().map(|(facts, told)| essence(facts, told.as_ref())).collect();
        told.sort_by_key(Value::to_string);
        told
    }

    fn turn(&mut self, ms: u64) {
        let now = at(ms);
        self.player.handle_timeout(now.mono, now.wall);
        while let Some(action) = self.player.poll_action() {
            match action {
                Play::Send(line) => self.hub.handle_bytes(now, LinkNo(0), &line),
                Play::Cut(length) => self.cut(ms, length.as_millis() as u64),
                Play::Record(recording) => {
                    let no = RecordingNo(self.told.len() as u64);
                    let facts = RecordingFacts {
                        no,
                        whose: Whose::unknown(),
                        id: RecordingId(
                            recording.id.unwrap_or_else(|| format!("{}_2026-03-02_{no}", recording.call.uuid)).into(),
                        ),
                        call_uuid: Some(crate::model::CallUuid(recording.call.uuid.into())),
                        recorded_dn: Some(recording.line.dn.clone()),
                        started: now.wall,
                        ended: None,
                    };
                    self.hub.handle_command(now, Command::Recording(facts.clone()));
                    self.running.push((ms + recording.line.length.as_millis() as u64, facts.clone()));
                    self.told.push((facts, None));
                }
            }
        }
        for (_, facts) in self.running.extract_if(.., |(end, _)| *end <= ms) {
            self.hub.handle_command(now, Command::Recording(RecordingFacts { ended: Some(now.wall), ..facts }));
        }
        self.hub.handle_timeout(now);
        while let Some((_, action)) = self.hub.poll_action() {
            match action {
                Action::Connect(_) if ms < self.closed_until_ms => self.hub.lost(now, LinkNo(0), "refused"),
                Action::Connect(_) => {
                    self.is_connected = true;
                    self.player.connected();
                    self.hub.connected(now, LinkNo(0));
                }
                Action::Send(line) if self.is_connected => self.player.handle_bytes(now.mono, &line),
                Action::Send(_) => {}
                Action::Close => panic!("the link gave the switch up"),
            }
        }
        while let Some(event) = self.hub.poll_event() {
            if let Event::Told { no, conversation, .. } = event {
                self.told[no.0 as usize].1 = Some(*conversation);
            }
        }
    }

    fn cut(&mut self, ms: u64, length_ms: u64) {
        if std::mem::replace(&mut self.is_connected, false) {
            self.player.disconnected();
            self.hub.lost(at(ms), LinkNo(0), "cut");
        }
        self.closed_until_ms = ms + length_ms;
    }
}

/// What must be the same each time.
fn essence(facts: &RecordingFacts, told: Option<&Conversation>) -> Value {
    let Some(told) = told else { panic!("nothing is known of {}", facts.id) };
    let couples: Vec<Value> = told.couples.iter().map(|couple| json!([couple.recorded_dn, couple.other_dns])).collect();
    let agents: Vec<Value> = told.agents.iter().map(|agent| json!([agent.agent_id, agent.dn])).collect();
    json!({"conversation": told.id, "couples": couples, "agents": agents, "attachedData": told.attached_data})
}

/// The same of the snapshots that the whole system is held against.
fn expected(name: &str) -> Vec<Value> {
    let mut expected: Vec<Value> = serde_json::from_str(&file(name, "expected.json")).unwrap();
    for recording in &mut expected {
        let couples: Vec<Value> =
            recording["couples"].as_array().unwrap().iter().map(|couple| json!([couple[2], couple[3]])).collect();
        *recording = json!({
            "conversation": recording["conversation"], "couples": couples, "agents": recording["agents"],
            "attachedData": recording["attachedData"],
        });
    }
    expected.sort_by_key(Value::to_string);
    expected
}

#[test]
fn every_scenario_in_every_order() {
    let ms = std::time::Duration::from_millis;
    for name in SCENARIOS {
        for (cti, media) in [(0, 0), (700, 0), (0, 700)] {
            let pace = Pace { cti_delay: ms(cti), media_delay: ms(media), cut: false };
            assert_eq!(World::play(name, pace, None), expected(name), "{name}, events {cti} ms later, media {media} ms later");
        }
        assert_eq!(World::play(name, Pace { cut: true, ..Pace::default() }, None), expected(name), "{name}, link cut");
    }
}

/// A cut anywhere may cost a step of the history, but what is attached and to which conversation it belongs is right again.
#[test]
fn a_link_cut_anywhere_recovers() {
    for name in ["inbound", "outbound", "internal", "hold", "queue"] {
        let whole = World::play(name, Pace::default(), None);
        for cut_ms in (100..3_000).step_by(260) {
            let cut = World::play(name, Pace::default(), Some(cut_ms));
            let of = |told: &[Value]| told.iter().map(|t| json!([t["conversation"], t["attachedData"]])).collect::<Vec<_>>();
            assert_eq!(of(&cut), of(&whole), "{name}, cut at {cut_ms} ms");
        }
    }
}

/// Two T-Servers that number their calls alike, each its own tenant's.
fn neighbours() -> Hub {
    let tserver = |name: &str| TServer {
        name: name.into(),
        switch: SwitchId(name.into()),
        tenant: TenantId(name.into()),
        addresses: vec![super::Address { host: name.into(), port: 1, tls: None }],
        dns: vec![("7001".into(), DnType::Extension)],
    };
    let mut hub = Hub::new(at(0), &[tserver("acme"), tserver("globex")], SETTINGS, &mut Rng::with_seed(1));
    hub.handle_timeout(at(0));
    for (no, secret) in [(LinkNo(0), "of acme"), (LinkNo(1), "of globex")] {
        hub.connected(at(0), no);
        let event = json!({
            "msg": "EventEstablished", "connId": "c1", "callUuid": "01ABCDEFGHIJKLMNOPQRSTUV00000001", "thisDn": "7001",
            "otherDn": "555", "previousConnId": "c1", "userData": {"Secret": secret}
        });
        hub.handle_bytes(at(1), no, format!("{event}\n").as_bytes());
    }
    hub
}

fn of(tenant: Option<&str>) -> Whose {
    tenant.map_or_else(Whose::unknown, |tenant| Whose::of(TenantId(tenant.into()), []))
}

#[test]
fn a_tenant_never_hears_of_the_calls_of_another() {
    let uuid = CallUuid("01ABCDEFGHIJKLMNOPQRSTUV00000001".into());
    let asked = |hub: &Hub, tenant: Option<&str>| {
        let session = SessionFacts { id: None, call_uuid: Some(&uuid), dn: Some("7001"), whose: of(tenant) };
        hub.facts_of_session(at(2), &session).map(|facts| facts.attached["Secret"].clone())
    };
    let mut hub = neighbours();
    assert_eq!(hub.board().calls_in_progress(), 2, "the same ConnID, and two calls");
    assert_eq!(asked(&hub, Some("acme")).as_deref(), Some("of acme"));
    assert_eq!(asked(&hub, Some("globex")).as_deref(), Some("of globex"));
    assert_eq!(asked(&hub, Some("initech")), None);

    for (no, tenant) in ["acme", "globex", "initech"].into_iter().enumerate() {
        let facts = RecordingFacts {
            no: RecordingNo(no as u64),
            id: RecordingId(format!("{tenant}_1").into()),
            call_uuid: Some(uuid.clone()),
            whose: of(Some(tenant)),
            recorded_dn: Some("7001".into()),
            started: at(1).wall,
            ended: None,
        };
        hub.handle_command(at(3), Command::Recording(facts));
    }
    hub.handle_timeout(at(4));
    let mut told = Vec::new();
    while let Some(event) = hub.poll_event() {
        if let Event::Told { no, tenant, conversation } = event {
            let ids: Vec<String> = conversation.recordings.iter().map(ToString::to_string).collect();
            told.push((no.0, tenant.to_string(), conversation.attached_data["Secret"].clone(), ids.join(" ")));
        }
    }
    let row = |no, tenant: &str| (no, tenant.to_owned(), format!("of {tenant}"), format!("{tenant}_1"));
    assert_eq!(told, [row(0, "acme"), row(1, "globex")]);

    // A request that is seen at one switch pauses nothing of the other's.
    let pause = json!({"msg": "EventPrivateInfo", "connId": "c1", "thisDn": "7001", "privateMsgId": 3_015});
    hub.handle_bytes(at(5), LinkNo(1), format!("{pause}\n").as_bytes());
    let paused: Vec<Event> = std::iter::from_fn(|| hub.poll_event()).filter(|e| matches!(e, Event::Asked(..))).collect();
    assert_eq!(paused, [Event::Asked(RecordingNo(1), super::Wish::Pause)]);
}

#[test]
fn a_recording_that_does_not_come_is_missed_while_the_call_is_on() {
    let mut hub = neighbours();
    let connected = |hub: &mut Hub| {
        let events = std::iter::from_fn(|| hub.poll_event());
        events
            .filter_map(|event| if let Event::Connected { place, facts } = event { Some((place, facts)) } else { None })
            .collect()
    };
    let places: Vec<(super::desk::Place, Box<CallFacts>)> = connected(&mut hub);
    assert_eq!(places.len(), 2);
    assert_eq!(places[1].1.attached["Secret"], "of globex");
    for (place, _) in places {
        hub.handle_command(at(10), Command::Ask { place, side: Side::Source, rule: "all".into() });
    }
    let facts = RecordingFacts {
        no: RecordingNo(7),
        id: RecordingId("x".into()),
        call_uuid: Some(CallUuid("01ABCDEFGHIJKLMNOPQRSTUV00000001".into())),
        whose: of(Some("acme")),
        recorded_dn: Some("7001".into()),
        started: at(20).wall,
        ended: None,
    };
    hub.handle_command(at(20), Command::Recording(facts));
    for ms in (20..60_000).step_by(200) {
        hub.handle_timeout(at(ms));
    }
    let missed: Vec<Event> = std::iter::from_fn(|| hub.poll_event()).filter(|e| matches!(e, Event::Missed { .. })).collect();
    let detail = "DN 7001 of switch globex in call c1, connected for 20 s".to_owned();
    assert_eq!(missed, [Event::Missed { by: By::Rule("all".into()), tenant: TenantId("globex".into()), detail }]);
}

/// What is missed within a minute of one call for which a strategy and a third party want a recording, one of each switch.
fn missed_of_others(recorded_at_acme: bool) -> Vec<(By, String)> {
    let mut hub = neighbours();
    let start = json!({"msg": "EventPrivateInfo", "connId": "c1", "thisDn": "9999", "privateMsgId": 3_013});
    hub.handle_bytes(at(5), LinkNo(0), format!("{start}\n").as_bytes());
    for (conn, side) in [("c2", "source"), ("c3", "disable_destination")] {
        let event = json!({
            "msg": "EventEstablished", "connId": conn, "thisDn": "7001", "otherDn": "556", "extensions": {"record": side}
        });
        hub.handle_bytes(at(5), LinkNo(1), format!("{event}\n").as_bytes());
    }
    if recorded_at_acme {
        let facts = RecordingFacts {
            no: RecordingNo(7),
            id: RecordingId("x".into()),
            call_uuid: Some(CallUuid("01ABCDEFGHIJKLMNOPQRSTUV00000001".into())),
            whose: of(Some("acme")),
            recorded_dn: Some("555".into()),
            started: at(20).wall,
            ended: None,
        };
        hub.handle_command(at(20), Command::Recording(facts));
    }
    (20..60_000).step_by(200).for_each(|ms| hub.handle_timeout(at(ms)));
    let events = std::iter::from_fn(|| hub.poll_event());
    events.filter_map(|e| if let Event::Missed { by, detail, .. } = e { Some((by, detail)) } else { None }).collect()
}

#[test]
fn what_a_strategy_or_a_third_party_wants_is_missed_as_well() {
    let of = |by, dn, switch, call| (by, format!("DN {dn} of switch {switch} in call {call}, connected for 20 s"));
    let strategy = || of(By::Strategy, "7001", "globex", "c2");
    assert_eq!(missed_of_others(false), [of(By::ThirdParty, "9999", "acme", "c1"), strategy()]);
    assert_eq!(missed_of_others(true), [strategy()], "the far side of it is recorded, which may be what was asked for");
}
