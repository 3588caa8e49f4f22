//! A busy switch: so many calls in progress, one event after the other as fast as they are asked for. For measurements; what a
//! call is like in all its turns is in the scenarios. Pure.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::model::WallTime;
use crate::msr::plan;

/// The DN of the first call; the others follow.
pub const FIRST_DN: u32 = 7_001;

/// Keys of attached data that each call has.
const KEYS: u32 = 10;

/// The switch.
#[derive(Debug)]
pub struct Crowd {
    run: u64,
    rng: Rng,
    seq: u64,
    calls: Vec<Crowded>,
}

#[derive(Debug)]
struct Crowded {
    data: Map<String, Value>,
    is_held: bool,
}

impl Crowd {
    /// A switch with this many calls to come. Their CallUUIDs are those of [`plan::call_uuid`] for `run`.
    pub fn new(run: u64, calls: u32) -> Crowd {
        let call = |n: u32| {
            let value = |key: u32| (format!("Key{key}"), Value::from(format!("value {key} of call {n}")));
            Crowded { data: (0..KEYS).map(value).collect(), is_held: false }
        };
        Crowd { run, rng: Rng::with_seed(run), seq: 0, calls: (0..calls).map(call).collect() }
    }

    /// What the box is answered.
    pub fn answer(&self, message: &Value) -> Option<Vec<u8>> {
        let (reference, dn, dn_type) = (&message["ref"], &message["dn"], &message["dnType"]);
        let answer = match message["msg"].as_str()? {
            "RegisterAddress" => json!({"msg": "EventRegistered", "ref": reference, "dn": dn, "dnType": dn_type, "calls": []}),
            "RequestSnapshot" => json!({"msg": "ConfigSnapshot", "ref": reference}),
            "KeepAlive" | "RequestPrivateService" => json!({"msg": "EventACK", "ref": reference}),
            _ => return None,
        };
        Some(line(&answer))
    }

    /// The events with which call `n` begins.
    pub fn begin(&mut self, n: u32, wall: WallTime) -> Option<[Vec<u8>; 2]> {
        let data = self.calls.get(n as usize)?.data.clone();
        let ringing = self.event("EventRinging", n, wall, Some(data));
        Some([ringing, self.event("EventEstablished", n, wall, None)])
    }

    /// The next event of one of the calls: mostly a change of attached data, sometimes hold and retrieve.
    pub fn next(&mut self, wall: WallTime) -> Option<Vec<u8>> {
        let n = self.rng.u32(..u32::try_from(self.calls.len()).ok().filter(|n| *n > 0)?);
        let (key, value, is_change) = (self.rng.u32(..KEYS), self.rng.u32(..), self.rng.u32(..10) < 7);
        let call = self.calls.get_mut(n as usize)?;
        if is_change {
            call.data.insert(format!("Key{key}"), format!("value {value:08x}").into());
            let data = call.data.clone();
            return Some(self.event("EventAttachedDataChanged", n, wall, Some(data)));
        }
        call.is_held = !call.is_held;
        let name = if call.is_held { "EventHeld" } else { "EventRetrieved" };
        Some(self.event(name, n, wall, None))
    }

    /// Events so far.
    pub fn sent(&self) -> u64 {
        self.seq
    }

    fn event(&mut self, name: &str, n: u32, wall: WallTime, data: Option<Map<String, Value>>) -> Vec<u8> {
        self.seq += 1;
        let mut event = json!({
            "msg": name, "seq": self.seq, "time": wall.to_string(), "connId": format!("{n:016x}"),
            "callUuid": plan::call_uuid(self.run, n), "callType": "Inbound", "thisDn": (FIRST_DN + n).to_string(),
            "otherDn": format!("555{n:04}"), "ani": format!("555{n:04}"), "dnis": "8005550199", "agentId": format!("agent_{n}"),
        });
        if let (Some(data), Some(event)) = (data, event.as_object_mut()) {
            event.insert("userData".into(), data.into());
        }
        line(&event)
    }
}

fn line(message: &Value) -> Vec<u8> {
    format!("{message}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cti::message::{Body, parse};

    #[test]
    fn what_it_says_is_understood_and_numbered() {
        let mut crowd = Crowd::new(7, 3);
        let mut lines: Vec<Vec<u8>> = (0..3).flat_map(|n| crowd.begin(n, WallTime(0)).unwrap()).collect();
        lines.extend((0..200).map(|_| crowd.next(WallTime(0)).unwrap()));
        for (n, line) in lines.iter().enumerate() {
            let incoming = parse(line).unwrap();
            assert_eq!(incoming.seq, Some(n as u64 + 1));
            let Body::Call(event) = incoming.body else { panic!("{incoming:?}") };
            assert!(event.call_uuid.unwrap().0.starts_with("0000000000000007"));
        }
        assert_eq!((crowd.sent(), crowd.begin(3, WallTime(0))), (206, None));
        let answer = crowd.answer(&json!({"msg": "RegisterAddress", "ref": 4, "dn": "7001", "dnType": "Extension"})).unwrap();
        assert!(matches!(parse(&answer).unwrap().body, Body::Registered(_)));
        assert!(matches!(
            parse(&crowd.answer(&json!({"msg": "RequestSnapshot", "ref": 5})).unwrap()).unwrap().body,
            Body::Config(_)
        ));
    }
}
