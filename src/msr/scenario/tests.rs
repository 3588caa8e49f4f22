//! Runs in simulated time.

use crate::model::WallTime;
use crate::sip::{Method, Request};

use super::super::options::Pause;
use super::*;

const LOCAL: &str = "192.0.2.20:5060";

/// A recorder and a driver in one, on a clock that jumps from deadline to deadline.
struct World {
    scenario: Scenario,
    now: Now,
    /// The recorder's answer to an INVITE with that `dn`; 200 where nothing is said.
    refuse: HashMap<&'static str, u16>,
    silent: bool,
    next_port: u16,
    /// Streams under way: when they end, and whose they are.
    streams: BTreeMap<StreamNo, (MonoTime, CallNo, u64)>,
    log: Vec<(u64, String)>,
}

impl World {
    fn new(change: impl FnOnce(&mut Options)) -> World {
        let mut options = Options::new("sip:192.0.2.30".parse().unwrap());
        change(&mut options);
        assert_eq!(options.check(), Ok(()));
        let now = Now { mono: MonoTime(0), wall: WallTime(1_772_460_359_000_000) };
        let scenario = Scenario::new(now, options, LOCAL.parse().unwrap(), Rng::with_seed(1));
        let (streams, log) = (BTreeMap::new(), Vec::new());
        World { scenario, now, refuse: HashMap::new(), silent: false, next_port: 40_000, streams, log }
    }

    fn run(&mut self) -> Summary {
        self.run_until(u64::MAX);
        assert!(self.scenario.is_finished());
        assert_eq!(self.streams.len(), 0, "every stream was closed");
        self.scenario.summary(self.now)
    }

    fn run_until(&mut self, end_ms: u64) {
        while !self.scenario.is_finished() {
            let ends = self.streams.values().map(|(at, ..)| *at).min();
            let Some(due) = ends.into_iter().chain(self.scenario.poll_timeout()).min().filter(|due| due.0 / 1_000 <= end_ms)
            else {
                return;
            };
            self.now.mono = due.max(self.now.mono);
            self.scenario.handle_timeout(self.now);
            let ended: Vec<_> = self.streams.iter().filter(|(_, (at, ..))| *at <= due).map(|(no, s)| (*no, s.1)).collect();
            for (no, call) in ended {
                self.streams.insert(no, (MonoTime(u64::MAX), call, 0)); // silent until it is closed
                self.scenario.stream_finished(self.now, call, Counters::default());
            }
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.scenario.poll_action() {
            let line = match action {
                Action::Send(bytes) => self.answer(&bytes),
                Action::OpenPorts { session, streams } => {
                    let ports = streams.iter().map(|stream| 40_000 + 2 * stream.0 as u16).collect();
                    self.scenario.ports_open(self.now, session, ports);
                    continue;
                }
                Action::Start(start) => {
                    let end = self.now.mono.after(Duration::from_millis(20 * start.end));
                    self.streams.insert(start.stream, (end, start.call, start.end));
                    format!("start {} to {}", start.dump_name.split_once('.').unwrap().1, start.remote.port())
                }
                Action::Close(stream) => match self.streams.remove(&stream) {
                    Some((at, call, _)) if at != MonoTime(u64::MAX) => {
                        self.scenario.stream_finished(self.now, call, Counters::default());
                        "cut".to_owned()
                    }
                    _ => continue,
                },
                Action::Pause(stream) => format!("pause {}", stream.0),
                Action::Resume(stream) => format!("resume {}", stream.0),
                Action::Move(stream, to) => format!("move {} to {}", stream.0, to.port()),
            };
            self.log.push((self.now.mono.0 / 1_000, line));
        }
    }

    /// What the recorder does with a message.
    fn answer(&mut self, bytes: &[u8]) -> String {
        let Ok(Message::Request(request)) = Message::parse(bytes) else { return "answer".into() };
        let dn = request.uri.param("dn").unwrap_or_default().into_owned();
        if self.silent || request.method == Method::Ack {
            return format!("{} {dn}", request.method);
        }
        let status = if request.method == Method::Invite { self.refuse.get(dn.as_str()).copied().unwrap_or(200) } else { 200 };
        if request.method == Method::Invite && request.to.tag().is_none() {
            self.next_port += 2;
        }
        let response = response(&request, status, self.next_port);
        self.scenario.handle_message(self.now, &response);
        format!("{} {dn}", request.method)
    }

    fn lines(&self) -> Vec<String> {
        self.log.iter().map(|(at, line)| format!("{at} {}", line.trim_end())).collect()
    }
}

fn response(request: &Request, status: u16, port: u16) -> Message {
    let header = |name: &str| request.headers.text(name).unwrap().into_owned();
    let lines = String::from_utf8_lossy(&request.body).matches("m=audio").count().max(1) as u16;
    let media: Vec<_> = (0..lines).map(|line| format!("m=audio {} RTP/AVP 0\r\n", port + 2_000 * line)).collect();
    let sdp = format!("v=0\r\nc=IN IP4 192.0.2.30\r\n{}", media.concat());
    let tag = if request.to.tag().is_some() { "" } else { ";tag=r" };
    let text = format!(
        "SIP/2.0 {status} x\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:192.0.2.30>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        header("Via"),
        header("From"),
        header("To"),
        request.call_id,
        request.cseq,
        sdp.len()
    );
    Message::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_call_from_invite_to_bye() {
    let mut world = World::new(|_| {});
    let summary = world.run();
    assert_eq!(
        world.lines(),
        [
            "0 INVITE 7001",
            "0 INVITE 5550100",
            "0 ACK",
            "0 start channel-1.ulaw to 40002",
            "0 ACK",
            "0 start channel-2.ulaw to 40004",
            "10000 BYE",
            "10000 BYE",
        ]
    );
    assert!(summary.is_success());
    assert_eq!((summary.calls.placed, summary.calls.accepted, summary.calls.completed), (1, 1, 1));
    assert_eq!((summary.elapsed_ms, summary.list[0].call_ids.len()), (10_000, 2));
    assert_eq!(summary.list[0].outcome, Outcome::Completed);
}

#[test]
fn one_session_and_siprec_have_both_parties_in_one_dialog() {
    for mode in [Mode::OneSession, Mode::Siprec] {
        let mut world = World::new(|options| options.mode = mode);
        assert!(world.run().is_success());
        let starts: Vec<_> = world.lines().into_iter().filter(|line| line.contains("start")).collect();
        assert_eq!(starts, ["0 start channel-1.ulaw to 40002", "0 start channel-2.ulaw to 42002"]);
        assert_eq!(world.lines().iter().filter(|line| line.contains("INVITE")).count(), 1);
    }
}

#[test]
fn calls_come_at_their_rate() {
    let mut world = World::new(|options| (options.calls, options.rate) = (5, 20.0));
    assert!(world.run().is_success());
    let times: Vec<_> = world.log.iter().filter(|(_, line)| line == "INVITE 7001" || line == "INVITE 7003").collect();
    assert_eq!(times.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 100]);
    assert_eq!(world.scenario.progress(), Progress { placed: 5, of: 5, active: 0, completed: 5, unsuccessful: 0 });
}

#[test]
fn the_second_leg_comes_later_or_never() {
    let mut world = World::new(|options| options.second_leg = SecondLeg::After(Duration::from_secs(3)));
    assert!(world.run().is_success());
    assert!(world.lines().contains(&"3000 INVITE 5550100".to_owned()));
    let mut world = World::new(|options| options.second_leg = SecondLeg::Never);
    assert!(world.run().is_success());
    assert!(!world.lines().iter().any(|line| line.contains("5550100")));
}

#[test]
fn a_refused_leg_ends_the_call() {
    let mut world = World::new(|_| {});
    world.refuse.insert("5550100", 503);
    let summary = world.run();
    assert_eq!(summary.calls.refused, BTreeMap::from([(503, 1)]));
    assert_eq!((summary.is_success(), summary.list[0].accepted), (false, false));
    assert_eq!(world.lines().last().unwrap(), "0 BYE", "the accepted leg is hung up at once");
    assert!(world.lines().contains(&"0 cut".to_owned()));
}

#[test]
fn a_recorder_that_says_nothing() {
    let mut world = World::new(|_| {});
    world.silent = true;
    let summary = world.run();
    assert_eq!(summary.list[0].outcome, Outcome::Unanswered);
    assert_eq!((summary.elapsed_ms, summary.setup_ms), (32_000, None));
}

#[test]
fn a_bye_that_is_not_answered_is_no_success() {
    let mut world = World::new(|_| {});
    world.run_until(9_000);
    world.silent = true;
    let summary = world.run();
    assert_eq!(summary.list[0].outcome, Outcome::HangUpUnconfirmed);
    assert!(summary.list[0].accepted);
}

#[test]
fn a_pause_is_quiet_before_it_is_told_and_until_its_end_is_agreed() {
    let pause = Pause { at: Duration::from_secs(2), length: Duration::from_secs(3) };
    let mut world = World::new(|options| (options.pause, options.mode) = (Some(pause), Mode::OneSession));
    assert!(world.run().is_success());
    let lines = world.lines();
    let from = lines.iter().position(|line| line.starts_with("2000")).unwrap();
    assert_eq!(
        lines[from..from + 8],
        ["2000 pause 0", "2000 pause 1", "2000 INVITE", "2000 ACK", "5000 INVITE", "5000 ACK", "5000 resume 0", "5000 resume 1"]
    );
}

#[test]
fn who_vanishes_sends_nothing_more() {
    let mut world = World::new(|options| options.vanish = true);
    let summary = world.run();
    assert_eq!(summary.list[0].outcome, Outcome::Vanished);
    assert!(summary.is_success());
    assert!(!world.lines().iter().any(|line| line.contains("BYE")));
}

#[test]
fn the_recorder_may_hang_up_and_move() {
    let mut world = World::new(|options| options.second_leg = SecondLeg::Never);
    world.run_until(1_000);
    let call_id = world.scenario.sessions.values().next().unwrap().dialog.as_ref().unwrap().call_id().to_owned();
    let ask = |world: &mut World, method: &str, cseq: u32, body: &str| {
        let text = format!(
            "{method} sip:Genesys@{LOCAL} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.30;branch=z9hG4bK{cseq}\r\nFrom: <sip:r@r>;tag=r\r\n\
             To: <sip:g@g>;tag=g\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        world.scenario.handle_message(world.now, &Message::parse(text.as_bytes()).unwrap());
        world.act();
    };
    ask(&mut world, "INVITE", 1, "v=0\r\nc=IN IP4 192.0.2.30\r\nm=audio 50000 RTP/AVP 0\r\n");
    assert!(world.lines().contains(&"0 move 0 to 50000".to_owned()));
    ask(&mut world, "BYE", 2, "");
    let summary = world.run();
    assert_eq!(summary.list[0].outcome, Outcome::EndedByRecorder);
}

#[test]
fn stopping_hangs_up_all_calls() {
    let mut world = World::new(|options| (options.calls, options.rate) = (10, 1.0));
    world.run_until(3_500);
    world.scenario.stop(world.now);
    world.act();
    let summary = world.run();
    assert_eq!((summary.calls.placed, summary.list.len(), summary.is_success()), (4, 4, false));
    assert_eq!(world.log.iter().filter(|(_, line)| line.starts_with("BYE")).count(), 8);
}

#[test]
fn a_stopped_run_does_not_wait_long_for_a_dead_recorder() {
    let mut world = World::new(|_| {});
    world.silent = true;
    world.run_until(1_000);
    world.scenario.stop(world.now);
    world.act();
    let summary = world.run();
    assert_eq!((summary.list[0].outcome.clone(), summary.elapsed_ms), (Outcome::Stopped, 2_500));
}
