//! What a person should know of, and what to do about it, most urgent first. Pure.

use serde::Serialize;

use super::Status;

/// The clock of a processor goes slower from about here on.
const HOT_C: f64 = 80.0;

/// Less time than this until the disk is full is worth a person's attention.
const FEW_HOURS: u64 = 24;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Calls are not recorded, or will be lost.
    Critical,
    /// It works, and will not for ever.
    Warning,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub todo: String,
}

/// All alarms.
pub fn of(status: &Status) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    recording(status, &mut alarms);
    disk(status, &mut alarms);
    delivery(status, &mut alarms);
    tones(status, &mut alarms);
    others(status, &mut alarms);
    alarms.sort_by_key(|alarm| alarm.severity); // stable
    alarms
}

fn critical(what: impl Into<String>, todo: &str) -> Alarm {
    Alarm { severity: Severity::Critical, what: what.into(), todo: todo.into() }
}

fn warning(what: impl Into<String>, todo: &str) -> Alarm {
    Alarm { severity: Severity::Warning, what: what.into(), todo: todo.into() }
}

fn recording(status: &Status, alarms: &mut Vec<Alarm>) {
    if let Some(why) = &status.refusing {
        let todo = "Calls go to other recorders meanwhile, if the media server knows any. The log says more.";
        alarms.push(critical(format!("New calls are refused: {why}"), todo));
    }
}

fn disk(status: &Status, alarms: &mut Vec<Alarm>) {
    let disk = &status.disk;
    if let Some(what) = disk.medium.warning {
        let device = disk.medium.device.as_deref().unwrap_or("the medium");
        alarms.push(warning(format!("{device}: {what}"), "Have a new medium at hand, and change it at a quiet hour."));
    }
    if let Some(hours) = disk.lasts_hours.filter(|hours| *hours < FEW_HOURS) {
        let todo = "See that the targets take recordings; what is delivered makes room.";
        alarms.push(warning(format!("The disk is full in {hours} h if nothing is delivered"), todo));
    }
}

fn delivery(status: &Status, alarms: &mut Vec<Alarm>) {
    for (name, target) in &status.targets {
        if let Some(trouble) = &target.trouble {
            let what = format!("Target {name}: {trouble}");
            alarms.push(match target.refused {
                true => critical(what, "It will not work before somebody changes something: access, bucket, key, certificate."),
                false => warning(what, "It is tried again by itself. Recordings are safe on this box meanwhile."),
            });
        }
        if target.set_aside > 0 {
            let what = format!("Target {name}: {} recordings are set aside", target.set_aside);
            alarms.push(warning(what, "The list of them says why. They stay on this box until somebody has them tried again."));
        }
    }
}

fn tones(status: &Status, alarms: &mut Vec<Alarm>) {
    if let Some(count) = status.assurance.findings.get("tone").filter(|count| **count > 0) {
        let what = format!("Recording tone: {count} recordings of today do not hold it as they must");
        alarms.push(warning(what, "The log and the day's report name them. Look at the media server's tone settings."));
    }
    if let Some(source) = status.tone_source.as_ref().filter(|source| !source.usable) {
        let what = format!("Recording tone {} ({}): {}", source.uri, source.state, source.detail);
        alarms.push(warning(what, "No tone sounds in calls before this URI gives one again."));
    }
    if let Some(trouble) = status.tone_sidecar.as_ref().and_then(|sidecar| sidecar.trouble.as_ref()) {
        alarms.push(warning(format!("Tones: {trouble}"), "Recordings are not affected."));
    }
}

fn others(status: &Status, alarms: &mut Vec<Alarm>) {
    for (name, tserver) in status.tservers.iter().filter(|(_, tserver)| !tserver.up) {
        let known = match tserver.configuration_age_s {
            Some(age_s) => format!("the centre's configuration is {} h {} min old", age_s / 3_600, age_s / 60 % 60),
            None => "nothing is known of the centre's configuration".into(),
        };
        let what = format!("T-Server {name}: no link: {}; {known}", tserver.trouble.as_deref().unwrap_or("not yet"));
        alarms.push(warning(what, "Calls are recorded all the same; agents and attached data are missing meanwhile."));
    }
    for switch in &status.unmonitorable {
        let what = format!("Switch {switch} cannot be monitored: it has no SIP T-Server");
        alarms.push(warning(what, "Rules do not reach its calls; what its media servers send is recorded."));
    }
    if status.host.clock_synchronised == Some(false) {
        let todo = "Check the time servers, or the link to them: times of recordings are wrong by as much as the clock is.";
        alarms.push(warning("The clock is not set by a time server", todo));
    }
    if let Some(degrees) = status.host.temperature_c.filter(|degrees| *degrees >= HOT_C) {
        alarms.push(warning(
            format!("The processor is at {degrees:.0} °C"),
            "Give the box air; it slows down when it gets hotter.",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{TServer, Target, ToneSource};
    use super::*;

    #[test]
    fn a_healthy_box_has_none() {
        assert_eq!(of(&Status::default()), []);
    }

    #[test]
    fn the_age_of_what_is_known_of_the_centre_is_said_while_it_is_away() {
        let said = |up, configuration_age_s| {
            let mut status = Status::default();
            status.tservers.insert("hq".into(), TServer { up, configuration_age_s, ..TServer::default() });
            of(&status).iter().map(|alarm| alarm.what.clone()).collect::<String>()
        };
        assert_eq!(said(true, Some(0)), "");
        assert_eq!(said(false, Some(7_260)), "T-Server hq: no link: not yet; the centre's configuration is 2 h 1 min old");
        assert!(said(false, None).contains("nothing is known of the centre's configuration"));
    }

    #[test]
    fn each_trouble_is_said_with_what_to_do_and_the_worst_comes_first() {
        let mut status = Status::default();
        status.disk.medium.warning = Some("replace it soon");
        status.disk.lasts_hours = Some(7);
        status.targets.insert("dc".into(), Target { trouble: Some("no route".into()), set_aside: 2, ..Target::default() });
        status.targets.insert("s3".into(), Target { trouble: Some("403".into()), refused: true, ..Target::default() });
        status.assurance.findings.insert("tone", 3);
        status.tone_source = Some(ToneSource { state: "slow", ..ToneSource::default() });
        status.unmonitorable = vec!["old".into()];
        status.host.clock_synchronised = Some(false);
        status.host.temperature_c = Some(91.0);
        status.refusing = Some("the disk is full".into());
        let alarms = of(&status);
        assert_eq!(alarms.len(), 11);
        assert!(alarms.iter().all(|alarm| !alarm.todo.is_empty()));
        assert_eq!(alarms.iter().filter(|alarm| alarm.severity == Severity::Critical).count(), 2);
        assert_eq!(alarms[0].what, "New calls are refused: the disk is full");
        assert_eq!(alarms[1].what, "Target s3: 403");
        assert!(alarms.iter().any(|alarm| alarm.what.contains("3 recordings of today")));
    }
}
