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

/// A call from its INVITE until nothing is left to be done, with a restart of the box in between.
struct Course {
    world: World,
    network: Network,
    fates: Vec<Fate>,
    caller: Caller,
    restart_at: Option<MonoTime>,
    /// Calls told to the application, and those of them that ended.
    started: usize,
    ended: usize,
}

impl Course {
    fn new(fates: Vec<Fate>, restart_at: Option<MonoTime>) -> Course {
        let (world, mut network) = (World::new(), Network::default());
        let caller = Caller::new(world.now);
        network.carry(&fates, world.now, invite().text().as_bytes(), true);
        Course { world, network, fates, caller, restart_at, started: 0, ended: 0 }
    }

    fn run(&mut self) {
        while let Some(next) = self.next().filter(|at| *at < MonoTime(8_000_000_000)) {
            self.world.now = self.world.now.max(next);
            if self.restart_at.take_if(|at| *at <= next).is_some() {
                self.restart();
            }
            self.deliver();
            self.world.endpoint.handle_timeout(self.world.now);
            match self.caller.transaction.handle_timeout(self.world.now) {
                Some(Due::Send(bytes)) => self.network.carry(&self.fates, self.world.now, &bytes, true),
                Some(Due::Done | Due::TimedOut) => self.caller.done = true,
                None => {}
            }
            self.decide();
            while let Some(transmit) = self.world.endpoint.poll_transmit() {
                self.network.carry(&self.fates, self.world.now, &transmit.bytes, false);
            }
        }
    }

    fn next(&self) -> Option<MonoTime> {
        let deadlines = [
            self.network.to_box.keys().next().map(|(at, _)| *at),
            self.network.to_caller.keys().next().map(|(at, _)| *at),
            self.world.endpoint.poll_timeout(),
            (!self.caller.done).then(|| self.caller.transaction.deadline()),
            self.restart_at,
        ];
        deadlines.into_iter().flatten().min()
    }

    fn deliver(&mut self) {
        let now = self.world.now;
        while let Some(entry) = self.network.to_box.first_entry().filter(|entry| entry.key().0 <= now) {
            let bytes = entry.remove();
            self.world.endpoint.handle_message(now, self.world.flow, &bytes);
        }
        while let Some(entry) = self.network.to_caller.first_entry().filter(|entry| entry.key().0 <= now) {
            let bytes = entry.remove();
            for text in self.caller.hear(now, &bytes) {
                self.network.carry(&self.fates, now, text.as_bytes(), true);
            }
        }
    }

    /// The application takes every call.
    fn decide(&mut self) {
        while let Some(event) = self.world.endpoint.poll_event() {
            match event {
                Event::Invite { dialog, .. } => {
                    self.started += 1;
                    self.world.endpoint.accept(self.world.now, dialog, SDP, ANSWER.into()).unwrap();
                }
                Event::Ended { .. } => self.ended += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn restart(&mut self) {
        let next = Endpoint::new(Config::default(), [2; 32]);
        let before = std::mem::replace(&mut self.world.endpoint, next);
        for saved in before.dialogs.keys().filter_map(|id| before.save(*id)) {
            self.world.endpoint.restore(self.world.now, saved).unwrap();
        }
    }

    fn is_forgotten(&self) -> bool {
        let endpoint = &self.world.endpoint;
        (endpoint.dialog_count(), endpoint.served.len(), endpoint.placed.len()) == (0, 0, 0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// However the network behaves, a call is told to the application once and ended once (if its BYE gets lost for good, by
    /// the session timer), and nothing is left of it.
    #[test]
    fn a_call_over_a_bad_network(fates in fates()) {
        let mut course = Course::new(fates, None);
        course.run();
        prop_assert!(course.caller.done && course.is_forgotten());
        prop_assert_eq!((course.started, course.ended), (course.started.min(1), course.started));
    }

    /// Nor does a restart leave anything behind. A caller that never heard the 200 may have its INVITE taken for a new call; the
    /// one it does not know of is ended by the session timer.
    #[test]
    fn a_call_over_a_bad_network_and_a_restart(fates in fates(), restart_ms in 1..4_000_u64) {
        let mut course = Course::new(fates, Some(MonoTime(restart_ms * 1_000)));
        course.run();
        prop_assert!(course.caller.done && course.is_forgotten());
        prop_assert!(course.started <= 2);
        prop_assert_eq!(course.ended, course.started);
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
