//! What page, metrics and health are made of: one value, published by the daemon, read by all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::alarms::Alarm;
use super::history::History;
use super::view::RecordingView;
use crate::host::Host;
use crate::model::WallTime;
use crate::model::access::Scope;
use crate::model::recording::LegCounters;

/// The state of the box at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `[site] name`.
    pub site: String,
    /// Version of this program.
    pub version: &'static str,
    /// When this was true.
    #[serde(serialize_with = "iso_8601")]
    pub time: WallTime,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Why no new call is taken; none: they are.
    pub refusing: Option<String>,
    /// Recordings with a session.
    pub running: usize,
    /// Recordings that are over and not yet confirmed by every target.
    pub waiting: usize,
    /// What a person should know of, most urgent first.
    pub alarms: Vec<Alarm>,
    /// All that runs.
    pub calls: Vec<RecordingView>,
    /// The latest that are over, newest first.
    pub recent: Vec<RecordingView>,
    /// The machine.
    pub host: Host,
    /// The last day.
    #[serde(skip)]
    pub history: Arc<History>,
    /// What targets will not take, the newest first.
    pub aside: Vec<Aside>,
    /// Today's recordings against what they should be.
    pub assurance: Assurance,
    /// The tone that the media servers are configured with; none: the box is not told which.
    pub tone_source: Option<ToneSource>,
    /// The loudspeaker; none: nothing to play on it is installed.
    pub tone_sidecar: Option<ToneSidecar>,
    /// Requests refused over HTTP, by reason.
    pub web_refused: BTreeMap<&'static str, u64>,
    /// Totals since start.
    pub totals: Totals,
    /// The disk.
    pub disk: Disk,
    /// Each target by name.
    pub targets: BTreeMap<String, Target>,
    /// Switches without a SIP T-Server: nobody tells of their calls, so no rule can have them recorded.
    pub unmonitorable: Vec<String>,
    /// Each T-Server by name.
    pub tservers: BTreeMap<String, TServer>,
}

/// Calls and recordings that a page shows; there are lists of all.
pub const SHOWN: usize = 20;

impl Status {
    /// What somebody sees who may know of the calls of these tenants: how the box is, and their own calls.
    pub fn seen_by(&self, scope: &Scope) -> Status {
        let mut seen = self.clone();
        for views in [&mut seen.calls, &mut seen.recent] {
            views.retain(|view| scope.sees(&view.tenant));
            views.truncate(SHOWN);
        }
        seen.aside.retain(|aside| scope.sees(&aside.tenant));
        seen
    }
}

/// A recording that a target will not take.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aside {
    /// Its id.
    pub recording: String,
    /// Whose it is.
    pub tenant: String,
    /// Name of the target.
    pub target: String,
    /// Since when.
    #[serde(serialize_with = "iso_8601")]
    pub since: WallTime,
    /// What it says, and what to do.
    pub why: String,
}

/// Today's recordings (UTC) against what they should be.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assurance {
    /// Recordings that were checked.
    pub checked: u64,
    /// How often each thing was wrong.
    pub findings: BTreeMap<&'static str, u64>,
    /// All of it in words.
    pub summary: String,
}

/// Counts since the daemon started.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Recordings begun.
    pub recordings: u64,
    /// Sessions refused, by SIP status code.
    pub refused: BTreeMap<u16, u64>,
    /// SIP requests by method.
    pub sip_requests: BTreeMap<String, u64>,
    /// What arrived that was no SIP.
    pub sip_dropped: u64,
    /// The counters of all legs together.
    pub media: LegCounters,
    /// Blocks written and acknowledged.
    pub blocks: u64,
    /// Blocks dropped because the disk could not keep up.
    pub blocks_dropped: u64,
    /// Bytes written to the spool.
    pub spool_bytes: u64,
    /// Times the spool was flushed to the medium.
    pub fsyncs: u64,
    /// Recordings finished.
    pub finished: u64,
    /// Tries to finish that failed.
    pub finish_failures: u64,
    /// Recordings confirmed by every target.
    pub delivered: u64,
    /// Recording tones of finished recordings.
    pub tones: Tones,
}

/// Whether a configured tone can be had.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToneSource {
    /// Where it should be.
    pub uri: String,
    /// In a word: `usable`, `not-found`, `slow` …
    pub state: &'static str,
    /// Whether it gives a tone.
    pub usable: bool,
    /// In words.
    pub detail: String,
}

/// `nearend-tone`, which plays on the loudspeaker.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToneSidecar {
    /// In a word: `silent`, `stopped`, `playing`, `paused`, `no-device`.
    pub state: &'static str,
    /// The ALSA device.
    pub device: String,
    /// What is wrong; none: nothing.
    pub trouble: Option<String>,
    /// How often the device ran dry since play.
    pub underruns: u64,
    /// How often it went away or could not be opened since play.
    pub device_losses: u64,
}

/// Recording tones of finished recordings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tones {
    /// Tones found.
    pub found: u64,
    /// Tones that should have been there and were not.
    pub missing: u64,
    /// Recordings that must hold the tone.
    pub demanded: u64,
    /// Those of them that do not, or not as they should.
    pub failed: u64,
}

/// Room on the data disk.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Below this no new call is taken.
    pub floor_bytes: u64,
    /// Bytes that the spool takes; the finished files are not in it.
    pub spool_bytes: u64,
    /// Hours until that is so, if nothing is delivered and calls go on as in the last day; none: not known, or very long.
    pub lasts_hours: Option<u64>,
    /// What is wrong with the spool; none: nothing.
    pub trouble: Option<String>,
    /// The medium that it is on.
    pub medium: Medium,
}

/// The wear of the medium; what is none is not known.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Medium {
    /// Name of the block device.
    pub device: Option<String>,
    /// Bytes written to it per hour, by anyone on this box.
    pub bytes_per_hour: Option<u64>,
    /// Bytes written to it since it was first seen in this box.
    pub written_bytes: Option<u64>,
    /// How much of its rated life is used up, in percent.
    pub used_percent: Option<u8>,
    /// Hours until its rated life is over, if it goes on as up to now.
    pub left_hours: Option<u64>,
    /// What is wrong with it.
    pub warning: Option<&'static str>,
}

/// The link to a T-Server.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TServer {
    /// Whether the link is there.
    pub up: bool,
    /// Why it is not.
    pub trouble: Option<String>,
    /// How long ago the centre's configuration that it told was last known to be so; 0 while the link is there. None: it told none.
    pub configuration_age_s: Option<u64>,
    /// Messages understood.
    pub messages: u64,
    /// Lines that were none.
    pub bad_lines: u64,
    /// Events that never came.
    pub lost: u64,
    /// Events that came twice.
    pub duplicates: u64,
    /// Times the link came up.
    pub connections: u64,
}

/// A target of forwarding.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Recordings it will never take as they are; a person must look.
    pub set_aside: usize,
    /// Recordings that it has not confirmed.
    pub waiting: usize,
    /// What they weigh.
    pub waiting_bytes: u64,
    /// Its latest trouble; none: the last try went well.
    pub trouble: Option<String>,
    /// It will not work before somebody has changed something there or here.
    pub refused: bool,
}

fn iso_8601<S: serde::Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
