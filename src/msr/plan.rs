//! Who speaks in a call and what everything in it is called, before anything is sent.

use std::fmt::Write;

use fastrand::Rng;

use crate::model::{Channel, WallTime};

use super::options::{Mode, Options, SecondLeg};

/// One call that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPlan {
    /// `<CallUUID>_<date>_<time>`, or the id asked for. With SIPREC only a name for our own files: nothing carries it.
    pub recording_id: String,
    /// 32 characters of `[0-9A-V]`.
    pub call_uuid: String,
    /// `2026-03-02T14:05:59Z`.
    pub datetime: String,
    /// DN of the recorded party, an agent.
    pub recorded_dn: String,
    /// DN of the other party, a customer's number.
    pub other_dn: String,
    /// Caller's number.
    pub ani: String,
    /// Login of the agent.
    pub agent_id: String,
    /// Number that the customer dialled.
    pub dnis: String,
    /// T-Server's ConnID, 16 hexadecimal digits.
    pub conn_id: String,
    /// GVP's session id, a GUID in upper case.
    pub gvp_session: String,
    /// Its recording sessions, in the order in which they are placed.
    pub sessions: Vec<SessionPlan>,
}

/// One recording session: a dialog of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Call-ID without the host.
    pub call_id: String,
    /// Our tag.
    pub tag: String,
    /// The party on each m-line.
    pub channels: Vec<Channel>,
}

impl CallPlan {
    /// Call `number` (from 0) of a run, placed at `wall`. `ids` must not repeat between runs.
    pub fn new(options: &Options, number: u32, wall: WallTime, ids: &mut Rng) -> CallPlan {
        let stamp = wall.to_string(); // 2026-03-02T14:05:59.120Z
        let (date, time) = (stamp.get(..10).unwrap_or_default(), stamp.get(11..19).unwrap_or_default());
        let known = options.parties.as_ref();
        let call_uuid = match known.map(|parties| &*parties.call_uuid).or(options.recording_id.as_deref().and_then(call_uuid_of))
        {
            Some(known) => known.to_owned(),
            None => match options.call_uuids {
                Some(run) => self::call_uuid(run, number),
                None => text(ids, 32, b"0123456789ABCDEFGHIJKLMNOPQRSTUV"),
            },
        };
        let customer = || format!("555{:04}", 100 + number % 9_900);
        let new_id = || format!("{call_uuid}_{date}_{}", time.replace(':', "-"));
        CallPlan {
            recording_id: options.recording_id.clone().unwrap_or_else(new_id),
            call_uuid: call_uuid.clone(),
            datetime: format!("{date}T{time}Z"),
            recorded_dn: known.map_or_else(|| (7_001 + number % 1_000).to_string(), |known| known.recorded_dn.clone()),
            other_dn: known.map_or_else(customer, |known| known.other_dn.clone()),
            ani: known.map_or_else(customer, |known| known.ani.clone()),
            agent_id: known.map_or_else(|| format!("agent_{}", 1 + number % 1_000), |known| known.agent_id.clone()),
            dnis: known.map_or_else(|| "8005550199".to_owned(), |known| known.dnis.clone()),
            conn_id: known.map_or_else(|| format!("{:016x}", ids.u64(..)), |known| known.conn_id.clone()),
            gvp_session: guid(ids).to_ascii_uppercase(),
            sessions: session_channels(options).into_iter().map(|channels| SessionPlan::new(ids, channels)).collect(),
        }
    }
}

impl SessionPlan {
    fn new(ids: &mut Rng, channels: Vec<Channel>) -> SessionPlan {
        SessionPlan { call_id: guid(ids), tag: format!("{:016X}", ids.u64(..)), channels }
    }
}

/// The CallUUID of a call, from 0, where others have to name the same calls.
pub fn call_uuid(run: u64, number: u32) -> String {
    format!("{run:016X}{number:016X}")
}

/// The CallUUID in a recording id of the media server's own making.
fn call_uuid_of(recording_id: &str) -> Option<&str> {
    let (uuid, _date_and_time) = recording_id.split_once('_')?;
    let valid = uuid.len() == 32 && uuid.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'V').contains(&b));
    valid.then_some(uuid)
}

fn session_channels(options: &Options) -> Vec<Vec<Channel>> {
    match (options.mode, options.second_leg) {
        (Mode::TwoSession, SecondLeg::Never) => vec![vec![Channel::Recorded]],
        (Mode::TwoSession, _) => vec![vec![Channel::Recorded], vec![Channel::Other]],
        (Mode::OneSession | Mode::Siprec, _) => vec![vec![Channel::Recorded, Channel::Other]],
    }
}

/// A random UUID (RFC 9562 §5.4) in lower case.
pub(super) fn guid(ids: &mut Rng) -> String {
    let bits = ids.u128(..) & !(0xF << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{bits:032x}");
    let mut guid = String::with_capacity(36);
    for (i, digit) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            guid.push('-');
        }
        let _ = guid.write_char(digit); // writing to a String cannot fail
    }
    guid
}

/// `length` random characters of `alphabet`, which is not empty.
pub(super) fn text(ids: &mut Rng, length: usize, alphabet: &[u8]) -> String {
    std::iter::repeat_with(|| char::from(alphabet[ids.usize(..alphabet.len())])).take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: WallTime = WallTime(1_772_460_359_120_000); // 2026-03-02T14:05:59.120Z

    fn options() -> Options {
        Options::new("sip:192.0.2.30".parse().unwrap())
    }

    #[test]
    fn names_have_the_media_servers_form() {
        let plan = CallPlan::new(&options(), 0, WALL, &mut Rng::with_seed(1));
        assert_eq!(plan.recording_id, format!("{}_2026-03-02_14-05-59", plan.call_uuid));
        assert_eq!(call_uuid_of(&plan.recording_id), Some(plan.call_uuid.as_str()));
        assert_eq!(plan.datetime, "2026-03-02T14:05:59Z");
        assert_eq!((plan.conn_id.len(), plan.gvp_session.len()), (16, 36));
        assert_eq!((plan.recorded_dn.as_str(), plan.other_dn.as_str()), ("7001", "5550100"));
    }

    #[test]
    fn no_two_calls_share_a_name() {
        let mut ids = Rng::with_seed(1);
        let plans: Vec<_> = (0..1_000).map(|n| CallPlan::new(&options(), n, WALL, &mut ids)).collect();
        let distinct = |name: fn(&CallPlan) -> &str| plans.iter().map(name).collect::<std::collections::HashSet<_>>().len();
        assert_eq!(distinct(|p| &p.recording_id), 1_000);
        assert_eq!(distinct(|p| &p.sessions[0].call_id), 1_000);
        assert_eq!(distinct(|p| &p.sessions[1].call_id), 1_000);
    }

    #[test]
    fn a_recording_is_continued_under_its_own_names() {
        let first = CallPlan::new(&options(), 0, WALL, &mut Rng::with_seed(1));
        let again = Options { recording_id: Some(first.recording_id.clone()), ..options() };
        let second = CallPlan::new(&again, 0, WALL.plus_micros(60_000_000), &mut Rng::with_seed(2));
        assert_eq!((&second.recording_id, &second.call_uuid), (&first.recording_id, &first.call_uuid));
        assert_ne!(second.sessions[0].call_id, first.sessions[0].call_id);
        let named = Options { recording_id: Some("agent-desk-17".into()), ..options() };
        let third = CallPlan::new(&named, 0, WALL, &mut Rng::with_seed(1));
        assert_eq!((third.recording_id.as_str(), third.call_uuid.len()), ("agent-desk-17", 32));
    }

    #[test]
    fn each_mode_has_its_sessions() {
        let sessions = |options: Options| CallPlan::new(&options, 0, WALL, &mut Rng::with_seed(1)).sessions.len();
        assert_eq!(sessions(options()), 2);
        assert_eq!(sessions(Options { second_leg: SecondLeg::Never, ..options() }), 1);
        assert_eq!(sessions(Options { mode: Mode::OneSession, ..options() }), 1);
        assert_eq!(guid(&mut Rng::with_seed(3)).as_bytes()[14], b'4');
    }
}
