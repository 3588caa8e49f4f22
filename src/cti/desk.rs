//! Requests between box and switch: the box asks to have a call recorded because a rule says so, passes on what people ask of it
//! (pause, resume, stop), and hears what others ask. Pure.
//!
//! | trigger | how it comes | what happens |
//! |---|---|---|
//! | the SIP Server records by itself | a recording session, without anything here | nothing to do |
//! | our rule | EventEstablished of a DN that is not being recorded | RequestPrivateService, again when it fails |
//! | a third party | EventPrivateInfo | heard: pause, resume, stop are done here, too |
//! | a routing strategy | extension `record` of an event | no request of our own |

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::model::{MonoTime, RecordingId, RecordingNo};

use super::board::LinkNo;
use super::link::Request;
use super::message::{CallEvent, Pairs};

/// A refused request is made again after so long: the switch may have been in the middle of something.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often a recording is asked for.
const TRIES: u32 = 3;

/// How long the echo of a request of ours may take.
const ECHO_WITHIN: Duration = Duration::from_secs(10);

/// More places at once are not remembered: a T-Server that makes up calls must not fill the memory.
const MOST_ASKED: usize = 20_000;

/// The switch's numbers of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    /// GSIP_RECORD_START
    pub start: u64,
    /// GSIP_RECORD_STOP
    pub stop: u64,
    /// GSIP_RECORD_PAUSE
    pub pause: u64,
    /// GSIP_RECORD_RESUME
    pub resume: u64,
}

/// What somebody asks of a running recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wish {
    /// Keep nothing for a while.
    Pause,
    /// Keep audio again.
    Resume,
    /// End it.
    Stop,
}

/// What somebody else asked of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overheard {
    /// To begin a recording.
    Start,
    /// Something of a running one.
    Wish(Wish),
}

/// A party at a switch: the place where requests are made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which T-Server.
    pub link: LinkNo,
    /// Which call.
    pub conn_id: Arc<str>,
    /// Which DN.
    pub dn: Arc<str>,
}

/// A request under way, or waiting for its next try.
#[derive(Debug)]
struct Job {
    place: Place,
    service_id: u64,
    extensions: Pairs,
    reasons: Pairs,
    tries: u32,
    /// When it is made again; none: it is out.
    again_at: Option<MonoTime>,
    /// Whose state it changes; none: it asks for a recording.
    recording: Option<RecordingNo>,
}

/// All requests.
#[derive(Debug)]
pub struct Desk {
    services: Services,
    next_ticket: u64,
    jobs: BTreeMap<u64, Job>,
    /// What was asked last of a recording while a request for it was out.
    next_wish: BTreeMap<RecordingNo, (Place, Wish)>,
    /// Where a recording has been asked for, by whomever.
    asked: HashSet<Place>,
    /// Requests of ours that others hear of as EventPrivateInfo: until when that is expected.
    echoes: HashMap<(Place, u64), MonoTime>,
    requests: VecDeque<(LinkNo, Request)>,
    failed: u64,
}

impl Desk {
    /// Nothing asked yet.
    pub fn new(services: Services) -> Desk {
        Desk {
            services,
            next_ticket: 1,
            jobs: BTreeMap::new(),
            next_wish: BTreeMap::new(),
            asked: HashSet::new(),
            echoes: HashMap::new(),
            requests: VecDeque::new(),
            failed: 0,
        }
    }

    /// Whether a recording has been asked for at this place.
    pub fn is_asked(&self, place: &Place) -> bool {
        self.asked.contains(place)
    }

    /// Somebody else sees to the recording at this place.
    pub fn leave_to_others(&mut self, place: Place) {
        if self.asked.len() < MOST_ASKED {
            self.asked.insert(place);
        }
    }

    /// Requests that came to nothing.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// A rule wants this party recorded.
    pub fn ask_to_record(&mut self, now: Now, place: Place, id: &RecordingId, side: &str, rule: &str) {
        if !self.asked.insert(place.clone()) {
            return;
        }
        let extensions = Pairs::from([("record".into(), side.into()), ("id".into(), id.to_string())]);
        let reasons = Pairs::from([("rule".into(), rule.into())]);
        tracing::info!(dn = %place.dn, conn_id = %place.conn_id, recording = %id, rule, "the switch is asked to have this call recorded");
        self.submit(now, place, self.services.start, extensions, reasons, None);
    }

    /// Somebody asked the box; the switch is told, so that its tones and marks agree. What is kept does not depend on it.
    pub fn pass_on(&mut self, now: Now, place: Place, recording: RecordingNo, wish: Wish) {
        if self.jobs.values().any(|job| job.recording == Some(recording)) {
            self.next_wish.insert(recording, (place, wish));
            return;
        }
        self.submit(now, place, self.service(wish), Pairs::new(), Pairs::new(), Some(recording));
    }

    /// EventPrivateInfo: what somebody else asked of the switch; none: nothing of ours, or our own request.
    pub fn overheard(&mut self, now: Now, link: LinkNo, event: &CallEvent) -> Option<Overheard> {
        let service = event.private_msg_id?;
        let place = Place { link, conn_id: event.conn_id.clone(), dn: event.this_dn.clone() };
        if self.echoes.remove(&(place.clone(), service)).is_some_and(|until| now.mono <= until) {
            return None;
        }
        if service == self.services.start {
            self.leave_to_others(place);
            return Some(Overheard::Start);
        }
        [Wish::Pause, Wish::Resume, Wish::Stop].into_iter().find(|wish| self.service(*wish) == service).map(Overheard::Wish)
    }

    /// A request was answered.
    pub fn answered(&mut self, now: Now, ticket: u64, result: &Result<(), String>) {
        let Some(mut job) = self.jobs.remove(&ticket) else { return };
        if let Err(why) = result {
            let again = job.recording.is_none() && job.tries < TRIES && self.asked.contains(&job.place);
            let then = if again { "tried again" } else { "given up" };
            tracing::warn!(dn = %job.place.dn, conn_id = %job.place.conn_id, service = job.service_id, "the switch did not do what it was asked: {why}; {then}");
            if again {
                job.again_at = Some(now.mono.after(AGAIN_AFTER));
                self.jobs.insert(ticket, job);
                return;
            }
            self.failed += 1;
            self.echoes.remove(&(job.place.clone(), job.service_id));
        }
        let Some(recording) = job.recording else { return };
        if let Some((place, wish)) = self.next_wish.remove(&recording)
            && self.service(wish) != job.service_id
        {
            self.pass_on(now, place, recording, wish);
        }
    }

    /// A party has left: nothing more is asked for it.
    pub fn left(&mut self, place: &Place) {
        self.asked.remove(place);
        self.jobs.retain(|_, job| job.again_at.is_none() || job.place != *place);
    }

    /// Makes again what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let due: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.again_at.is_some_and(|at| at <= now.mono))
            .map(|(ticket, _)| *ticket)
            .collect();
        due.into_iter().for_each(|ticket| self.make(now, ticket));
        self.echoes.retain(|_, until| now.mono <= *until);
    }

    /// What to ask the switch.
    pub fn poll_request(&mut self) -> Option<(LinkNo, Request)> {
        self.requests.pop_front()
    }

    fn service(&self, wish: Wish) -> u64 {
        match wish {
            Wish::Pause => self.services.pause,
            Wish::Resume => self.services.resume,
            Wish::Stop => self.services.stop,
        }
    }

    fn submit(
        &mut self,
        now: Now,
        place: Place,
        service_id: u64,
        extensions: Pairs,
        reasons: Pairs,
        recording: Option<RecordingNo>,
    ) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.jobs.insert(ticket, Job { place, service_id, extensions, reasons, tries: 0, again_at: None, recording });
        self.make(now, ticket);
    }

    fn make(&mut self, now: Now, ticket: u64) {
        let Some(job) = self.jobs.get_mut(&ticket) else { return };
        job.tries += 1;
        job.again_at = None;
        self.echoes.insert((job.place.clone(), job.service_id), now.mono.after(ECHO_WITHIN));
        let Place { link, conn_id, dn } = job.place.clone();
        let (extensions, reasons) = (job.extensions.clone(), job.reasons.clone());
        self.requests
            .push_back((link, Request { ticket, service_id: job.service_id, this_dn: dn, conn_id, extensions, reasons }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cti::message::{Body, parse};
    use crate::model::WallTime;

    const SERVICES: Services = Services { start: 3_013, stop: 3_014, pause: 3_015, resume: 3_016 };

    fn at(ms: u64) -> Now {
        Now { mono: MonoTime(ms * 1_000), wall: WallTime(0) }
    }

    fn place() -> Place {
        Place { link: LinkNo(0), conn_id: "c1".into(), dn: "7001".into() }
    }

    fn info(service: u64) -> CallEvent {
        let line = format!(r#"{{"msg":"EventPrivateInfo","connId":"c1","thisDn":"7001","privateMsgId":{service}}}"#);
        match parse(line.as_bytes()).unwrap().body {
            Body::Call(event) => *event,
            other => panic!("{other:?}"),
        }
    }

    fn services(desk: &mut Desk) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| desk.poll_request()).map(|(_, request)| (request.ticket, request.service_id)).collect()
    }

    #[test]
    fn a_recording_is_asked_for_once_and_again_when_refused() {
        let mut desk = Desk::new(SERVICES);
        for _ in 0..2 {
            desk.ask_to_record(at(0), place(), &RecordingId("r".into()), "source", "all");
        }
        assert_eq!(services(&mut desk), [(1, 3_013)]);
        for ms in [0, 2_000, 4_000] {
            desk.answered(at(ms), 1, &Err("busy".into()));
            desk.handle_timeout(at(ms + 1_999));
            assert_eq!(services(&mut desk), []);
            desk.handle_timeout(at(ms + 2_000));
            assert_eq!(services(&mut desk).len(), usize::from(ms < 4_000), "three tries");
        }
        assert_eq!(desk.failed(), 1);
    }

    #[test]
    fn a_party_that_has_left_is_not_asked_for_again() {
        let mut desk = Desk::new(SERVICES);
        desk.ask_to_record(at(0), place(), &RecordingId("r".into()), "source", "all");
        assert_eq!(services(&mut desk).len(), 1);
        desk.answered(at(0), 1, &Err("busy".into()));
        desk.left(&place());
        desk.handle_timeout(at(5_000));
        assert_eq!(services(&mut desk), []);
    }

    #[test]
    fn requests_that_cross_end_with_the_last_wish() {
        let mut desk = Desk::new(SERVICES);
        let no = RecordingNo(1);
        for wish in [Wish::Pause, Wish::Resume, Wish::Pause, Wish::Resume] {
            desk.pass_on(at(0), place(), no, wish);
        }
        assert_eq!(services(&mut desk), [(1, 3_015)], "one at a time");
        desk.answered(at(1), 1, &Err("no".into()));
        assert_eq!(services(&mut desk), [(2, 3_016)]);
        desk.answered(at(2), 2, &Ok(()));
        assert_eq!(services(&mut desk), []);
    }

    #[test]
    fn our_own_requests_are_not_taken_for_others() {
        let mut desk = Desk::new(SERVICES);
        assert_eq!(desk.overheard(at(0), LinkNo(0), &info(3_015)), Some(Overheard::Wish(Wish::Pause)));
        desk.pass_on(at(0), place(), RecordingNo(1), Wish::Pause);
        assert_eq!(desk.overheard(at(5), LinkNo(0), &info(3_015)), None, "the echo");
        assert_eq!(
            desk.overheard(at(6), LinkNo(0), &info(3_015)),
            Some(Overheard::Wish(Wish::Pause)),
            "a further one is another's"
        );
        assert_eq!(desk.overheard(at(6), LinkNo(0), &info(3_014)), Some(Overheard::Wish(Wish::Stop)));
        assert_eq!(desk.overheard(at(6), LinkNo(0), &info(9)), None);
    }

    #[test]
    fn who_has_it_recorded_already_is_left_to_it() {
        let mut desk = Desk::new(SERVICES);
        assert_eq!(desk.overheard(at(0), LinkNo(0), &info(3_013)), Some(Overheard::Start));
        desk.ask_to_record(at(0), place(), &RecordingId("r".into()), "source", "all");
        assert_eq!(services(&mut desk), []);
    }
}
