//! The station against the simulated SIP Server, in one process and by a clock that is a number: every scenario of
//! tests/data/scenarios, in every order, with the link cut anywhere.

use fastrand::Rng;
use serde_json::{Value, json};

use super::board::{LinkNo, RecordingFacts};
use super::desk::Services;
use super::hub::{Command, Event, Hub, Settings, TServer};
use super::link::Action;
use crate::clock::Now;
use crate::model::{Conversation, DnType, MonoTime, RecordingId, RecordingNo, SwitchId, TenantId, WallTime};
use crate::msr::switch::player::{Action as Play, Pace, Player};
use crate::msr::switch::script::Script;
use crate::rules::Rules;

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
        let services = Services { start: 3_013, stop: 3_014, pause: 3_015, resume: 3_016 };
        let settings = Settings { services, rules: Rules::default() };
        let script = Script::parse(name, &file(name, "scenario")).unwrap();
        World {
            hub: Hub::new(at(0), &[tserver], settings, &mut Rng::with_seed(1)),
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
