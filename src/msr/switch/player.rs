//! Plays a scenario: which event when, what the box asks and what it is answered, and the calls as a snapshot shows them. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cti::lines::{Line, Lines};
use crate::model::{MonoTime, WallTime};

use super::script::{Answer, CallLine, EventLine, RecordLine, RecordingName, Script, Step};

/// How a scenario shall be played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Events come so much later than written.
    pub cti_delay: Duration,
    /// Recordings begin so much later than written.
    pub media_delay: Duration,
    /// Steps `cut` cut the link.
    pub cut: bool,
}

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send to the box.
    Send(Vec<u8>),
    /// Drop the connection, and take none for so long.
    Cut(Duration),
    /// Place a recording.
    Record(Box<Recording>),
}

/// A recording to place.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// As the scenario says.
    pub line: RecordLine,
    /// Its call.
    pub call: CallLine,
    /// Recording id; none: the media server makes it up.
    pub id: Option<String>,
    /// The agent at the recorded DN.
    pub agent: Option<String>,
}

/// A scenario under way.
#[derive(Debug)]
pub struct Player {
    script: Script,
    /// What is left, in order; times without what was waited for.
    steps: VecDeque<(Duration, Step)>,
    /// Zero of the scenario; none until the box monitors all DNs.
    zero: Option<MonoTime>,
    registered: Vec<String>,
    lines: Lines,
    is_connected: bool,
    seq: u64,
    /// What a snapshot shows of each call at each DN.
    views: BTreeMap<(String, String), Map<String, Value>>,
    data: BTreeMap<String, BTreeMap<String, String>>,
    answers: VecDeque<Answer>,
    /// Services that the box asked for and no step has awaited.
    asked: Vec<u64>,
    request_id: Option<String>,
    actions: VecDeque<Action>,
    /// Lines of the box that were no message; a test wants none.
    garbage: u64,
}

impl Player {
    /// A scenario that begins when the box monitors all its DNs.
    pub fn new(script: Script, pace: Pace) -> Player {
        let delayed = |(at, step): &(Duration, Step)| match step {
            Step::Cut(_) if !pace.cut => None,
            Step::Record(_) => Some((*at + pace.media_delay, step.clone())),
            Step::Event(_) | Step::Await(_) | Step::Cut(_) => Some((*at + pace.cti_delay, step.clone())),
        };
        let mut steps: Vec<_> = script.steps.iter().filter_map(delayed).collect();
        steps.sort_by_key(|(at, _)| *at);
        Player {
            steps: steps.into(),
            zero: None,
            registered: Vec::new(),
            lines: Lines::default(),
            is_connected: false,
            seq: 0,
            views: BTreeMap::new(),
            data: BTreeMap::new(),
            answers: script.answers.clone().into(),
            asked: Vec::new(),
            request_id: None,
            actions: VecDeque::new(),
            garbage: 0,
            script,
        }
    }

    /// The box is there.
    pub fn connected(&mut self) {
        (self.is_connected, self.seq, self.lines) = (true, 0, Lines::default());
    }

    /// The box is gone.
    pub fn disconnected(&mut self) {
        self.is_connected = false;
    }

    /// Bytes of the box.
    pub fn handle_bytes(&mut self, now: MonoTime, bytes: &[u8]) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(bytes, |line| {
            let message = if let Line::Whole(line) = line { serde_json::from_slice(line).ok() } else { None };
            match message {
                Some(message) => self.answer(now, &message),
                None => self.garbage += 1,
            }
        });
        self.lines = lines;
    }

    /// Plays what is due.
    pub fn handle_timeout(&mut self, now: MonoTime, wall: WallTime) {
        while let Some(zero) = self.zero
            && let Some((at, step)) = self.steps.front().cloned()
            && zero.after(at) <= now
        {
            if let Step::Await(service) = step {
                let Some(found) = self.asked.iter().position(|asked| *asked == service) else { return };
                self.asked.remove(found);
                self.zero = Some(MonoTime(now.0.saturating_sub(u64::try_from(at.as_micros()).unwrap_or(0))));
            }
            self.steps.pop_front();
            match step {
                Step::Event(event) => self.event(&event, wall),
                Step::Record(line) => self.record(line),
                Step::Cut(length) => self.actions.push_back(Action::Cut(length)),
                Step::Await(_) => {}
            }
        }
    }

    /// When [`Player::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let (at, step) = self.steps.front()?;
        let waits = matches!(step, Step::Await(service) if !self.asked.contains(service));
        self.zero.filter(|_| !waits).map(|zero| zero.after(*at))
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether every step has been played.
    pub fn is_finished(&self) -> bool {
        self.steps.is_empty()
    }

    /// What the scenario still waits for; none: for nothing but time.
    pub fn waits_for(&self) -> Option<String> {
        if self.zero.is_none() {
            let missing: Vec<&str> =
                self.script.monitored().into_iter().filter(|dn| !self.registered.iter().any(|r| r == dn)).collect();
            return Some(format!("the box to monitor {}", missing.join(", ")));
        }
        match self.steps.front() {
            Some((_, Step::Await(service))) => Some(format!("the box to ask for service {service}")),
            _ => None,
        }
    }
}

impl Player {
    /// A message of the box.
    fn answer(&mut self, now: MonoTime, message: &Value) {
        let reference = message["ref"].clone();
        match message["msg"].as_str() {
            Some("RegisterAddress") => self.register(now, message),
            Some("RequestSnapshot") => {
                let agents = self.agents();
                self.send(&json!({"msg": "ConfigSnapshot", "ref": reference, "tenants": [], "switches": [], "tservers": [], "dns": [], "agents": agents}));
            }
            Some("KeepAlive") => self.send(&json!({"msg": "EventACK", "ref": reference})),
            Some("RequestPrivateService") => {
                if let Some(id) = message["extensions"]["id"].as_str() {
                    self.request_id = Some(id.to_owned());
                }
                match self.answers.pop_front().unwrap_or(Answer::Ack) {
                    Answer::Ack => {
                        self.send(&json!({"msg": "EventACK", "ref": reference}));
                        self.asked.extend(message["serviceId"].as_u64());
                    }
                    Answer::Error => self.send(&json!({"msg": "EventError", "ref": reference, "error": "as the scenario says"})),
                    Answer::Nothing => {}
                }
            }
            _ => {}
        }
    }

    fn register(&mut self, now: MonoTime, message: &Value) {
        let Some(dn) = message["dn"].as_str() else { return };
        let dn_type =
            self.script.dn_types.get(dn).cloned().unwrap_or_else(|| message["dnType"].as_str().unwrap_or_default().to_owned());
        let calls: Vec<Value> =
            self.views.iter().filter(|((at, _), _)| at == dn).map(|(_, view)| Value::Object(view.clone())).collect();
        self.send(&json!({"msg": "EventRegistered", "ref": message["ref"], "dn": dn, "dnType": dn_type, "calls": calls}));
        if !self.registered.iter().any(|known| known == dn) {
            self.registered.push(dn.to_owned());
        }
        if self.zero.is_none() && self.script.monitored().iter().all(|dn| self.registered.iter().any(|known| known == dn)) {
            self.zero = Some(now);
        }
    }

    fn agents(&self) -> Vec<Value> {
        let agent = |(_, step): &(Duration, Step)| match step {
            Step::Event(EventLine { this, agent: Some(agent), .. }) => Some(json!({"agentId": agent, "dn": this})),
            _ => None,
        };
        let mut agents: Vec<Value> = self.script.steps.iter().filter_map(agent).collect();
        agents.dedup();
        agents
    }

    /// Sends an event, and keeps what a snapshot says after it.
    fn event(&mut self, event: &EventLine, wall: WallTime) {
        let data = self.data.entry(event.call.clone()).or_default();
        for (key, value) in &event.data {
            match value {
                Some(value) => drop(data.insert(key.clone(), value.clone())),
                None => drop(data.remove(key)),
            }
        }
        let view = self.view(event);
        let mut message = view.clone();
        message.insert("msg".into(), event.name.clone().into());
        message.insert("time".into(), wall.to_string().into());
        if !event.extensions.is_empty() {
            message.insert("extensions".into(), json!(event.extensions));
        }
        if let Some(private) = event.private {
            message.insert("privateMsgId".into(), private.into());
        }
        self.remember(event, view);
        if self.is_connected {
            self.seq += 1;
            message.insert("seq".into(), self.seq.into());
            self.send(&Value::Object(message));
        }
    }

    /// The call as the event's DN sees it.
    fn view(&self, event: &EventLine) -> Map<String, Value> {
        let mut view = Map::new();
        let Some(call) = self.script.calls.get(&event.call) else { return view };
        let conn = |name: &String| self.script.calls.get(name).map(|call| call.conn.clone());
        let fields = [
            ("connId", Some(call.conn.clone())),
            ("callUuid", Some(call.uuid.clone())),
            ("callType", Some(call.call_type.clone())),
            ("ani", call.ani.clone()),
            ("dnis", call.dnis.clone()),
            ("thisDn", Some(event.this.clone())),
            ("otherDn", event.other.clone()),
            ("agentId", event.agent.clone()),
            ("previousConnId", event.previous.as_ref().and_then(conn)),
            ("transferConnId", event.transfer.as_ref().and_then(conn)),
        ];
        let known = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))));
        view.extend(known);
        view.insert("userData".into(), json!(self.data.get(&event.call)));
        view
    }

    fn remember(&mut self, event: &EventLine, mut view: Map<String, Value>) {
        let key = (event.this.clone(), event.call.clone());
        if let Some(previous) = &event.previous {
            self.views.remove(&(event.this.clone(), previous.clone()));
        }
        let state = match event.name.as_str() {
            "EventReleased" | "EventAbandoned" => return drop(self.views.remove(&key)),
            "EventRinging" => "Ringing",
            "EventDialing" => "Dialing",
            "EventHeld" => "Held",
            "EventEstablished" | "EventRetrieved" | "EventPartyChanged" | "EventPartyAdded" => "Established",
            _ => {
                let data = view.remove("userData");
                let of_call = self.views.iter_mut().filter(|((_, call), _)| *call == event.call);
                of_call.for_each(|(_, view)| drop(view.insert("userData".into(), data.clone().unwrap_or_default())));
                return;
            }
        };
        view.insert("state".into(), state.into());
        self.views.insert(key, view);
    }

    fn record(&mut self, line: RecordLine) {
        let Some(call) = self.script.calls.get(&line.call).cloned() else { return };
        let id = match &line.id {
            RecordingName::MadeUp => None,
            RecordingName::OfRequest => self.request_id.clone(),
            RecordingName::Given(id) => Some(id.clone()),
        };
        let agent = self.script.steps.iter().find_map(|(_, step)| match step {
            Step::Event(event) if event.this == line.dn => event.agent.clone(),
            _ => None,
        });
        self.actions.push_back(Action::Record(Box::new(Recording { line, call, id, agent })));
    }

    fn send(&mut self, message: &Value) {
        if self.is_connected {
            self.actions.push_back(Action::Send(format!("{message}\n").into_bytes()));
        }
    }
}
