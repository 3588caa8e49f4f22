//! What came of a run, for people and, as JSON, for programs (docs/nearend-msr.md).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::stream::Counters;

/// A run's result.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Seed of the impairments.
    pub seed: u64,
    /// From start to end.
    pub elapsed_ms: u64,
    /// Whether the run was stopped before all calls were over.
    pub stopped: bool,
    /// Calls by outcome.
    pub calls: Calls,
    /// RTP.
    pub packets: Packets,
    /// RTCP.
    pub rtcp: Rtcp,
    /// From INVITE to 2xx, each session.
    pub setup_ms: Option<Percentiles>,
    /// Every call, in the order in which they ended.
    pub list: Vec<CallResult>,
}

/// Calls by outcome; each call has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Whose first INVITE was sent.
    pub placed: u32,
    /// All of whose sessions were accepted, however they ended.
    pub accepted: u32,
    /// Accepted and ended as they should.
    pub completed: u32,
    /// Refused, by status code.
    pub refused: BTreeMap<u16, u32>,
    /// Neither completed nor refused.
    pub failed: u32,
}

/// RTP packets of all streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// Handed to the network.
    pub sent: u64,
    /// Held back as if lost.
    pub lost: u64,
    /// Sent behind their successor.
    pub reordered: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Sent more than 5 ms behind their time: this machine is too slow.
    pub late: u64,
    /// That the system would not send (its error: nobody listens there, no buffer).
    pub unsent: u64,
}

/// RTCP from the recorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rtcp {
    /// Datagrams received.
    pub received: u64,
    /// Lost packets by the recorder's last report on each stream.
    pub reported_lost: u64,
}

/// A distribution in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: f64,
    /// 90 % are.
    pub p90: f64,
    /// 99 % are.
    pub p99: f64,
    /// All are.
    pub max: f64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallResult {
    /// Its recording id; with SIPREC only the name of its dump files.
    pub recording_id: String,
    /// Call-ID of each of its sessions.
    pub call_ids: Vec<String>,
    /// Whether all its sessions were accepted.
    pub accepted: bool,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Audio to the end, and BYE was answered with 2xx.
    Completed,
    /// Audio to the end, then nothing more, as asked for.
    Vanished,
    /// A session was refused.
    Refused {
        /// With this code.
        status: u16,
    },
    /// No answer to INVITE.
    Unanswered,
    /// Accepted, but without media that we can send.
    Unusable {
        /// What was wrong.
        reason: String,
    },
    /// A re-INVITE was refused, or not answered (408).
    ChangeRefused {
        /// With this code.
        status: u16,
    },
    /// The recorder sent BYE before the end.
    EndedByRecorder,
    /// BYE was not answered with 2xx.
    HangUpUnconfirmed,
    /// The run was stopped.
    Stopped,
}

impl Summary {
    /// Whether every call that was asked for was accepted and ended as it should.
    pub fn is_success(&self) -> bool {
        !self.stopped && self.calls.completed == self.calls.placed
    }

    /// Adds a finished stream.
    pub fn add_stream(&mut self, counters: Counters) {
        self.packets.sent += counters.sent;
        self.packets.lost += counters.lost;
        self.packets.reordered += counters.reordered;
        self.packets.duplicated += counters.duplicated;
    }

    /// Adds a call that is over.
    pub fn add_call(&mut self, call: CallResult) {
        self.calls.accepted += u32::from(call.accepted);
        match call.outcome {
            Outcome::Completed | Outcome::Vanished => self.calls.completed += 1,
            Outcome::Refused { status } => *self.calls.refused.entry(status).or_default() += 1,
            _ => self.calls.failed += 1,
        }
        self.list.push(call);
    }
}

impl Percentiles {
    /// Of `times`, which are sorted here; none when there are none.
    pub fn of(times: &mut [Duration]) -> Option<Percentiles> {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1); // nearest rank
            times.get(rank - 1).map(|time| (time.as_secs_f64() * 1e4).round() / 10.0)
        };
        Some(Percentiles { p50: at(50)?, p90: at(90)?, p99: at(99)?, max: at(100)? })
    }
}

/// For people.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Calls { placed, accepted, completed, refused, failed } = &self.calls;
        writeln!(f, "calls    {placed} placed, {accepted} accepted, {completed} completed as they should")?;
        for (status, count) in refused {
            writeln!(f, "         {count} refused with {status}")?;
        }
        if *failed > 0 {
            writeln!(f, "         {failed} failed otherwise:")?;
            self.failures().iter().try_for_each(|(what, count)| writeln!(f, "           {count} {what}"))?;
        }
        let Packets { sent, lost, reordered, duplicated, late, unsent } = self.packets;
        writeln!(f, "packets  {sent} sent, {late} of them late; not sent: {lost} as simulated loss, {unsent} by errors")?;
        if reordered + duplicated > 0 {
            writeln!(f, "         {reordered} reordered, {duplicated} duplicated")?;
        }
        writeln!(f, "rtcp     {} received, which report {} packets lost", self.rtcp.received, self.rtcp.reported_lost)?;
        if let Some(Percentiles { p50, p90, p99, max }) = self.setup_ms {
            writeln!(f, "set-up   {p50} ms median, {p90} ms 90 %, {p99} ms 99 %, {max} ms at most")?;
        }
        write!(f, "time     {:.1} s, seed {}", self.elapsed_ms as f64 / 1e3, self.seed)
    }
}

impl Summary {
    /// Calls neither completed nor refused, by what happened.
    fn failures(&self) -> BTreeMap<String, u32> {
        let mut failures = BTreeMap::new();
        for call in &self.list {
            let what = match &call.outcome {
                Outcome::Completed | Outcome::Vanished | Outcome::Refused { .. } => continue,
                Outcome::Unanswered => "without an answer to INVITE".to_owned(),
                Outcome::Unusable { reason } => format!("accepted with {reason}"),
                Outcome::ChangeRefused { status } => format!("whose re-INVITE got {status}"),
                Outcome::EndedByRecorder => "ended by the recorder".to_owned(),
                Outcome::HangUpUnconfirmed => "whose BYE was not answered with 200".to_owned(),
                Outcome::Stopped => "stopped".to_owned(),
            };
            *failures.entry(what).or_default() += 1;
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(outcome: Outcome, accepted: bool) -> CallResult {
        CallResult { recording_id: "r".into(), call_ids: vec!["c".into()], accepted, outcome }
    }

    #[test]
    fn success_is_every_call_completed() {
        let mut summary = Summary { calls: Calls { placed: 2, ..Calls::default() }, ..Summary::default() };
        summary.add_call(call(Outcome::Completed, true));
        assert!(!summary.is_success());
        summary.add_call(call(Outcome::Vanished, true));
        assert!(summary.is_success());
        assert!(!Summary { stopped: true, ..summary }.is_success());
    }

    #[test]
    fn failures_are_named_for_people_and_programs() {
        let mut summary = Summary { calls: Calls { placed: 3, ..Calls::default() }, ..Summary::default() };
        summary.add_call(call(Outcome::Refused { status: 503 }, false));
        summary.add_call(call(Outcome::HangUpUnconfirmed, true));
        summary.add_call(call(Outcome::Unusable { reason: "nothing".into() }, false));
        let text = summary.to_string();
        assert!(text.contains("1 refused with 503") && text.contains("1 accepted with nothing"), "{text}");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["calls"]["refused"]["503"], 1);
        assert_eq!(json["list"][0]["outcome"], "refused");
        assert_eq!(json["list"][0]["status"], 503);
        assert_eq!(json["list"][1]["outcome"], "hang-up-unconfirmed");
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Percentiles { p50: 100.0, p90: 180.0, p99: 198.0, max: 200.0 };
        assert_eq!(Percentiles::of(&mut times), Some(expected));
        let one = Percentiles::of(&mut [Duration::from_micros(1_260)]).unwrap();
        assert_eq!((one.p50, one.max), (1.3, 1.3));
        assert_eq!(Percentiles::of(&mut []), None);
    }
}
