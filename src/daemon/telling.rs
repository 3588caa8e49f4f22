//! What the data centre is told over MQTT: each recording that is delivered, each alarm, and the state of the box.

use std::io;

use crate::clock::Now;
use crate::config::{Config, Secret};
use crate::events::alarms::{Alarms, Reasons};
use crate::events::driver::Broker;
use crate::events::message::{Alarm, Arrived, Details, Event, Kind, Sender, Status, TargetState};
use crate::events::{self, Events};
use crate::model::{MonoTime, Recording};
use crate::web;

use super::host_name;

/// The one who tells.
pub(super) struct Teller {
    events: Events,
    sender: Sender,
    alarms: Alarms,
    status_every: std::time::Duration,
    /// The status that was told last, and when.
    told: Option<(Details, MonoTime)>,
}

impl Teller {
    pub(super) fn start(config: &Config) -> io::Result<Teller> {
        let box_name = format!("{}.{}", config.site.name, host_name());
        let sender = Sender { site: config.site.name.clone(), box_name: box_name.clone() };
        let settings = &config.events;
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(std::path::PathBuf::from);
        let file = |secret: &Secret| secret.path(credentials.as_deref());
        let broker = settings.broker.as_ref().map(|broker| Broker {
            host: broker.host.clone(),
            port: broker.port,
            tls: broker.tls,
            ca_file: settings.ca_file.as_ref().map(file),
            identity: settings.cert_file.as_ref().map(file).zip(settings.key_file.as_ref().map(file)),
            login: settings.user.clone().zip(settings.password_file.as_ref().map(file)),
            client_id: format!("nearend-{box_name}"),
        });
        let folder = config.site.data_dir.join("events");
        let started = events::Config { broker, topic: settings.topic.clone(), sender: sender.clone(), folder };
        let events = Events::start(started)?;
        Ok(Teller { events, sender, alarms: Alarms::default(), status_every: settings.status_every, told: None })
    }

    /// A recording is delivered. It may be told again after a power cut, with the same id.
    pub(super) fn delivered(&mut self, now: Now, recording: &Recording) {
        if self.events.is_on() {
            let id = format!("{}/{}", self.sender.box_name, recording.no);
            self.events.tell(Kind::Recording, Event::payload(&self.sender, now.wall, id, Arrived::from(recording)));
        }
    }

    /// The state of the box, once a second.
    pub(super) fn look(&mut self, now: Now, status: &web::Status) {
        if !self.events.is_on() {
            return;
        }
        for change in self.alarms.update(now.mono, reasons(status, self.events.standing().lost)) {
            let id = format!("{}/{:032x}", self.sender.box_name, fastrand::u128(..));
            self.events.tell(Kind::Alarm, Event::payload(&self.sender, now.wall, id, change));
        }
        let details = self.details(now, status);
        let is_due = self.told.as_ref().is_none_or(|(told, at)| {
            let changed = (told.accepting, &told.alarms) != (details.accepting, &details.alarms);
            changed || now.mono.since(*at) >= self.status_every
        });
        if is_due {
            let status = Status { sender: self.sender.clone(), online: true, rest: Some(details.clone()) };
            self.events.status(&status);
            self.told = Some((details, now.mono));
        }
    }

    fn details(&self, now: Now, status: &web::Status) -> Details {
        let standing = self.events.standing();
        let target = |(name, target): (&String, &web::status::Target)| {
            let (waiting, waiting_bytes, set_aside) = (target.waiting, target.waiting_bytes, target.set_aside);
            (name.clone(), TargetState { waiting, waiting_bytes, set_aside, down: target.trouble.is_some() })
        };
        Details {
            time: now.wall,
            version: status.version.into(),
            accepting: status.refusing.is_none(),
            running: status.running,
            waiting: status.waiting,
            disk_free_bytes: status.disk.free_bytes,
            targets: status.targets.iter().map(target).collect(),
            alarms: self.alarms.raised().cloned().collect(),
            events_waiting: standing.waiting,
            events_lost: standing.lost,
        }
    }

    pub(super) fn stop(self) {
        self.events.stop();
    }
}

/// What is wrong with a box, in its state.
fn reasons(status: &web::Status, events_lost: u64) -> Reasons {
    let mut reasons = Reasons::new();
    let mut add = |alarm: &'static str, subject: &str, detail: String| {
        reasons.insert(Alarm { alarm, subject: subject.into() }, detail);
    };
    if let Some(why) = &status.refusing {
        add("not-accepting", "", why.clone());
    }
    for (name, target) in &status.targets {
        if let Some(trouble) = &target.trouble {
            add(if target.refused { "target-refused" } else { "target-down" }, name, trouble.clone());
        }
        if target.set_aside > 0 {
            add("set-aside", name, format!("{} recordings that it will not take; see the log of the box", target.set_aside));
        }
    }
    for (name, _) in status.tservers.iter().filter(|(_, tserver)| !tserver.up) {
        add("cti-down", name, "the link to the T-Server is down".into());
    }
    let medium = &status.disk.medium;
    if let Some(warning) = medium.warning {
        add("medium", medium.device.as_deref().unwrap_or_default(), warning.into());
    }
    if events_lost > 0 {
        add("events-lost", "", format!("{events_lost} events were dropped since the start"));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::status::{TServer, Target};

    #[test]
    fn everything_that_a_person_must_look_at_is_an_alarm() {
        let mut status = web::Status::default();
        assert!(reasons(&status, 0).is_empty());
        let target = |trouble: Option<&str>, refused, set_aside| Target {
            trouble: trouble.map(str::to_owned),
            refused,
            set_aside,
            ..Target::default()
        };
        status.refusing = Some("full".into());
        status.targets.insert("a".into(), target(Some("no answer"), false, 0));
        status.targets.insert("b".into(), target(Some("403"), true, 2));
        status.targets.insert("c".into(), target(None, false, 0));
        status.tservers.insert("hq".into(), TServer::default());
        status.disk.medium.warning = Some("worn out");
        let found: Vec<(&str, String)> = reasons(&status, 1).into_keys().map(|alarm| (alarm.alarm, alarm.subject)).collect();
        let expected = [
            ("cti-down", "hq"),
            ("events-lost", ""),
            ("medium", ""),
            ("not-accepting", ""),
            ("set-aside", "b"),
            ("target-down", "a"),
            ("target-refused", "b"),
        ];
        assert_eq!(found, expected.map(|(alarm, subject)| (alarm, subject.to_owned())));
    }
}
