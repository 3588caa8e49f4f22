//! The endpoint against a caller over a network that loses, repeats and delays, and against nonsense.

use proptest::prelude::*;

use super::*;
use crate::sip::transaction::{ClientTransaction, Due, Heard, Timing};

/// What the network does to a message: lose it, or deliver it so many times, each after a delay.
#[derive(Clone, Debug)]
struct Fate {
    delays_ms: Vec<u64>,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop::collection::vec(1..900u64, 0..3).prop_map(|delays_ms| Fate { delays_ms });
    prop::collection::vec(fate, 60)
}

/// A caller that places one call and ends it: INVITE, ACK to every 200, BYE, each repeated as RFC 3261 §17.1 says.
struct Caller {
    transaction: ClientTransaction,
    tag: Option<String>,
    done: bool,
}

impl Caller {
    fn new(now: MonoTime) -> Caller {
        let request = invite().text().into_bytes();
        Caller { transaction: ClientTransaction::new(now, Timing::default(), true, false, request), tag: None, done: false }
    }

    /// What the caller sends on hearing `bytes`.
    fn hear(&mut self, now: MonoTime, bytes: &[u8]) -> Vec<String> {
        let Ok(Message::Response(response)) = Message::parse(bytes) else { return Vec::new() };
        let heard = match (response.cseq.method, &self.tag) {
            (Method::Invite, Some(_)) if response.is_success() => Heard::AckAgain,
            (Method::Invite, Some(_)) => Heard::Nothing,
            _ => self.transaction.response(now, response.status.code()),
        };
        let tag = response.to.tag().unwrap_or_default().to_owned();
        match (response.cseq.method, heard) {
            (Method::Invite, Heard::Final) => {
                let bye = ask("BYE").cseq(2).to(&tag).text();
                self.transaction = ClientTransaction::new(now, Timing::default(), false, false, bye.clone().into_bytes());
                self.tag = Some(tag.clone());
                vec![ask("ACK").to(&tag).text(), bye]
            }
            (Method::Invite, Heard::AckAgain) => vec![ask("ACK").to(&tag).text()],
            (Method::Bye, Heard::Final) => {
                self.done = true;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

/// Messages on their way, in both directions.
#[derive(Default)]
struct Network {
    to_box: BTreeMap<(MonoTime, usize), Vec<u8>>,
    to_caller: BTreeMap<(MonoTime, usize), Vec<u8>>,
    carried: usize,
}

impl Network {
    fn fate<'a>(&mut self, fates: &'a [Fate]) -> &'a [u64] {
        self.carried += 1;
        fates.get(self.carried - 1).map_or(&[5], |fate| &fate.delays_ms) // the network recovers in the end
    }

    fn carry(&mut self, fates: &[Fate], now: MonoTime, bytes: &[u8], to_box: bool) {
        for (copy, delay_ms) in self.fate(fates).iter().enumerate() {
            let key = (now.after(Duration::from_millis(*delay_ms)), self.carried * 10 + copy);
            let way = if to_box { &mut self.to_box } else { &mut self.to_caller };
            way.insert(key, bytes.to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// However the network behaves, a call is told to the application once and ended once (if its BYE gets lost for good, by
    /// the session timer), and nothing is left of it.
    #[test]
    fn a_call_over_a_bad_network(fates in fates()) {
        let mut world = World::new();
        let mut network = Network::default();
        let mut caller = Caller::new(world.now);
        network.carry(&fates, world.now, invite().text().as_bytes(), true);
        let (mut started, mut ended) = (0, 0);
        while let Some(next) = [
            network.to_box.keys().next().map(|(at, _)| *at),
            network.to_caller.keys().next().map(|(at, _)| *at),
            world.endpoint.poll_timeout(),
            (!caller.done).then(|| caller.transaction.deadline()),
        ].into_iter().flatten().min().filter(|at| *at < MonoTime(4_000_000_000)) {
            world.now = world.now.max(next);
            while let Some(entry) = network.to_box.first_entry().filter(|entry| entry.key().0 <= world.now) {
                let bytes = entry.remove();
                world.endpoint.handle_message(world.now, world.flow, &bytes);
            }
            while let Some(entry) = network.to_caller.first_entry().filter(|entry| entry.key().0 <= world.now) {
                let bytes = entry.remove();
                for text in caller.hear(world.now, &bytes) {
                    network.carry(&fates, world.now, text.as_bytes(), true);
                }
            }
            world.endpoint.handle_timeout(world.now);
            match caller.transaction.handle_timeout(world.now) {
                Some(Due::Send(bytes)) => network.carry(&fates, world.now, &bytes, true),
                Some(Due::Done | Due::TimedOut) => caller.done = true,
                None => {}
            }
            while let Some(event) = world.endpoint.poll_event() {
                match event {
                    Event::Invite { dialog, .. } => {
                        started += 1;
                        world.endpoint.accept(world.now, dialog, SDP, ANSWER.into()).unwrap();
                    }
                    Event::Ended { .. } => ended += 1,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            while let Some(transmit) = world.endpoint.poll_transmit() {
                network.carry(&fates, world.now, &transmit.bytes, false);
            }
        }
        prop_assert!(caller.done);
        prop_assert_eq!((started, ended), (started.min(1), started));
        prop_assert_eq!((world.endpoint.dialog_count(), world.endpoint.served.len(), world.endpoint.placed.len()), (0, 0, 0));
    }

    /// Nonsense between real requests never panics, and is all forgotten in time.
    #[test]
    fn nonsense_is_survived(
        asks in prop::collection::vec((0..8usize, 1..4u32, any::<bool>(), prop::collection::vec((any::<u16>(), any::<u8>()), 0..4)), 1..30),
        decisions in prop::collection::vec(0..4u8, 30),
    ) {
        const METHODS: [&str; 8] = ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "INFO", "REGISTER"];
        let mut world = World::new();
        let mut tag = String::new();
        let mut decisions = decisions.into_iter();
        for (method, cseq, in_dialog, edits) in asks {
            let mut ask = ask(METHODS[method]).cseq(cseq).body(if method == 0 { OFFER } else { "" });
            if in_dialog {
                ask = ask.to(&tag);
            }
            let mut bytes = ask.text().into_bytes();
            for (at, value) in edits {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
            world.receive(bytes);
            while let Some(event) = world.endpoint.poll_event() {
                let (Event::Invite { dialog, .. } | Event::Reinvite { dialog, .. }) = event else { continue };
                match decisions.next().unwrap_or(0) {
                    0 | 1 => drop(world.endpoint.accept(world.now, dialog, SDP, ANSWER.into())),
                    2 => drop(world.endpoint.reject(world.now, dialog, StatusCode::BusyHere, "", Headers::default())),
                    _ => world.endpoint.bye(world.now, dialog, "x"),
                }
            }
            world.collect();
            for sent in &world.sent {
                if let Ok(Message::Response(response)) = Message::parse(&sent.bytes) {
                    tag = response.to.tag().unwrap_or_default().to_owned();
                }
            }
            world.sent.clear();
            world.pass(Duration::from_millis(300));
        }
        world.pass_s(4_000);
        prop_assert_eq!((world.endpoint.dialog_count(), world.endpoint.served.len(), world.endpoint.placed.len()), (0, 0, 0));
        prop_assert_eq!(world.endpoint.poll_timeout(), None);
    }
}
