//! [`Status`] in the Prometheus text format (OpenMetrics 1.0).

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Status;

/// Content-Type of what [`text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the box.
pub fn text(status: Status) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("nearend");
    registry.register_collector(Box::new(Snapshot(status)));
    let mut out = String::new();
    encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Snapshot(Status);

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Snapshot(status) = self;
        let totals = &status.totals;
        gauge(&mut to, "accepting", "1 while new calls are taken", u64::from(status.refusing.is_none()))?;
        gauge(&mut to, "uptime_seconds", "Time since the daemon started", status.uptime_s)?;
        gauge(&mut to, "recordings_running", "Recordings with a session", as_u64(status.running))?;
        gauge(
            &mut to,
            "recordings_waiting",
            "Recordings that are over and not yet confirmed by every target",
            as_u64(status.waiting),
        )?;
        counter(&mut to, "recordings", "Recordings begun", totals.recordings)?;
        counter(&mut to, "recordings_finished", "Recordings whose file stands on the box", totals.finished)?;
        counter(&mut to, "finish_failures", "Tries to finish a recording that failed", totals.finish_failures)?;
        counter(&mut to, "recordings_delivered", "Recordings confirmed by every target", totals.delivered)?;
        let refused = totals.refused.iter().map(|(code, n)| (("status", code.to_string()), *n));
        counters(&mut to, "sessions_refused", "Sessions refused, by SIP status", refused)?;
        let requests = totals.sip_requests.iter().map(|(method, n)| (("method", method.clone()), *n));
        counters(&mut to, "sip_requests", "SIP requests received", requests)?;
        let refused = status.web_refused.iter().map(|(why, n)| (("reason", (*why).to_owned()), *n));
        counters(&mut to, "web_refused", "Requests refused over HTTP, by reason", refused)?;
        counter(&mut to, "sip_dropped", "Messages received that were no SIP", totals.sip_dropped)?;
        gauge(&mut to, "calls_checked_today", "Recordings of this day (UTC) that were checked", status.assurance.checked)?;
        let findings = status.assurance.findings.iter().map(|(kind, n)| (("finding", (*kind).to_owned()), *n));
        gauges(&mut to, "call_findings_today", "Recordings of this day that are not as they should be, by finding", findings)?;
        self.tones(&mut to)?;
        self.media(&mut to)?;
        counter(&mut to, "spool_blocks", "Blocks acknowledged by the spool", totals.blocks)?;
        counter(&mut to, "spool_blocks_dropped", "Blocks lost because the disk did not keep up", totals.blocks_dropped)?;
        counter(&mut to, "spool_written_bytes", "Bytes written to the spool", totals.spool_bytes)?;
        counter(&mut to, "spool_fsyncs", "Flushes of the spool to the medium", totals.fsyncs)?;
        gauge(&mut to, "disk_free_bytes", "Room on the data disk", status.disk.free_bytes)?;
        gauge(&mut to, "disk_floor_bytes", "Below this no new call is taken", status.disk.floor_bytes)?;
        gauge(&mut to, "spool_used_bytes", "Bytes that the spool takes", status.disk.spool_bytes)?;
        gauge(&mut to, "spool_trouble", "1 while the spool cannot write", u64::from(status.disk.trouble.is_some()))?;
        self.medium(&mut to)?;
        self.targets(&mut to)?;
        self.tservers(&mut to)
    }
}

impl Snapshot {
    fn tones(&self, to: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let tones = &self.0.totals.tones;
        if let Some(source) = &self.0.tone_source {
            let state = std::iter::once((("state", source.state.to_owned()), 1));
            gauges(to, "tone_source", "1 for the state that [tone] audiosrc is in", state)?;
        }
        if let Some(sidecar) = &self.0.tone_sidecar {
            let state = std::iter::once((("state", sidecar.state.to_owned()), 1));
            gauges(to, "tone_sidecar", "1 for the state that nearend-tone is in", state)?;
            gauge(
                to,
                "tone_sidecar_trouble",
                "1 while nearend-tone does not answer or has no device",
                u64::from(sidecar.trouble.is_some()),
            )?;
            gauge(to, "tone_underruns", "Times the loudspeaker ran dry in what plays", sidecar.underruns)?;
            gauge(to, "tone_device_losses", "Times the loudspeaker was not there in what plays", sidecar.device_losses)?;
        }
        counter(to, "tones_found", "Recording tones in finished recordings", tones.found)?;
        counter(to, "tones_missing", "Recording tones that should have been there", tones.missing)?;
        counter(to, "tone_recordings_demanded", "Finished recordings that must hold the tone", tones.demanded)?;
        counter(to, "tone_recordings_failed", "Those of them that do not, or not as they should", tones.failed)
    }

    fn media(&self, to: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let media = &self.0.totals.media;
        counter(to, "rtp_packets", "RTP packets placed", media.packets)?;
        counter(to, "rtp_payload_bytes", "Bytes of RTP payload placed", media.bytes)?;
        counter(to, "rtp_lost", "RTP packets that never came", media.lost)?;
        counter(to, "rtp_late", "RTP packets that came after their block was written", media.late)?;
        counter(to, "rtp_reordered", "RTP packets out of order", media.reordered)?;
        let dropped = [
            ("duplicate", media.duplicates),
            ("wrong_source", media.wrong_source),
            ("wrong_payload_type", media.wrong_payload_type),
            ("malformed", media.malformed),
            ("masked", media.masked),
            ("overrun", media.overrun),
            ("kernel", media.kernel_drops),
        ];
        let dropped = dropped.into_iter().map(|(why, n)| (("reason", why.to_owned()), n));
        counters(to, "rtp_dropped", "RTP packets dropped, by reason", dropped)?;
        counter(to, "rtp_comfort_noise", "Comfort-noise packets", media.comfort_noise)?;
        counter(to, "rtp_resyncs", "Places taken anew from the arrival time", media.resyncs)
    }

    /// What is not known has no line.
    fn medium(&self, to: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let medium = &self.0.disk.medium;
        gauge(
            to,
            "medium_warning",
            "1 while the medium says that something is wrong with it",
            u64::from(medium.warning.is_some()),
        )?;
        if let Some(bytes) = medium.written_bytes {
            counter(to, "medium_written_bytes", "Bytes written to the medium since it was first seen in this box", bytes)?;
        }
        for (name, help, value) in [
            ("medium_written_bytes_per_hour", "Bytes written to the medium per hour", medium.bytes_per_hour),
            ("medium_life_used_percent", "Rated life of the medium that is used up", medium.used_percent.map(u64::from)),
            ("medium_life_left_hours", "Hours until the rated life of the medium is over", medium.left_hours),
        ] {
            if let Some(value) = value {
                gauge(to, name, help, value)?;
            }
        }
        Ok(())
    }

    fn tservers(&self, to: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let tservers = &self.0.tservers;
        if tservers.is_empty() {
            return Ok(());
        }
        let each = |value: fn(&super::status::TServer) -> u64| {
            tservers.iter().map(move |(name, t)| (("tserver", name.clone()), value(t)))
        };
        gauges(to, "cti_link_up", "1 while the link to the T-Server is there", each(|t| u64::from(t.up)))?;
        let ages = tservers.iter().filter_map(|(name, t)| Some((("tserver", name.clone()), t.configuration_age_s?)));
        gauges(to, "cti_configuration_age_seconds", "Age of what the T-Server told of the centre's configuration", ages)?;
        counters(to, "cti_messages", "Messages of the T-Server", each(|t| t.messages))?;
        counters(to, "cti_bad_lines", "Lines of the T-Server that were no message", each(|t| t.bad_lines))?;
        counters(to, "cti_lost", "Events of the T-Server that never came", each(|t| t.lost))?;
        counters(to, "cti_duplicates", "Events of the T-Server that came twice", each(|t| t.duplicates))?;
        counters(to, "cti_connections", "Times the link to the T-Server came up", each(|t| t.connections))
    }

    fn targets(&self, to: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let each = |value: fn(&super::status::Target) -> u64| {
            self.0.targets.iter().map(move |(name, target)| (("target", name.clone()), value(target)))
        };
        gauges(to, "target_set_aside", "Recordings a target will not take", each(|t| as_u64(t.set_aside)))?;
        gauges(to, "target_waiting", "Recordings a target has not confirmed", each(|t| as_u64(t.waiting)))?;
        gauges(to, "target_waiting_bytes", "What they weigh", each(|t| t.waiting_bytes))?;
        gauges(to, "target_refused", "1 while a target needs a person", each(|t| u64::from(t.refused)))?;
        gauges(to, "target_trouble", "1 while the last try failed", each(|t| u64::from(t.trouble.is_some())))
    }
}

type Labelled = ((&'static str, String), u64);

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> std::fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counters(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: impl Iterator<Item = Labelled>) -> std::fmt::Result {
    family(to, name, help, values, ConstCounter::new)
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> std::fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauges(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: impl Iterator<Item = Labelled>) -> std::fmt::Result {
    family(to, name, help, values, ConstGauge::new)
}

fn family<M: EncodeMetric>(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = Labelled>,
    metric: fn(u64) -> M,
) -> std::fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, metric(0).metric_type())?;
    for (label, value) in values {
        metric(value).encode(family.encode_family(&Label([label]))?)?;
    }
    Ok(())
}

struct Label([(&'static str, String); 1]);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> std::fmt::Result {
        self.0.encode(encoder)
    }
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::status::Target;
    use super::*;

    #[test]
    fn every_value_has_its_line() {
        let mut status = Status { running: 3, ..Status::default() };
        status.totals.refused.insert(503, 7);
        status.totals.media.duplicates = 5;
        status.disk.medium.left_hours = Some(9_000);
        status.targets.insert("dc".into(), Target { set_aside: 2, ..Target::default() });
        let text = text(status).unwrap();
        for line in [
            "nearend_accepting 1",
            "nearend_recordings_running 3",
            "nearend_sessions_refused_total{status=\"503\"} 7",
            "nearend_rtp_dropped_total{reason=\"duplicate\"} 5",
            "nearend_medium_life_left_hours 9000",
            "nearend_target_set_aside{target=\"dc\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("medium_life_used_percent"), "what is not known has no line");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_metric_is_documented() {
        let documents = include_str!("../../docs/http.md");
        for line in text(Status::default()).unwrap().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let has_row = |row: &str| row.starts_with(&format!("| `{name}")) && row.contains(&format!("| {kind} |"));
            assert!(documents.lines().any(has_row), "docs/http.md has no row for the {kind} {name}");
        }
    }
}
