//! Between the recordings and the switch's side: what runs is told there, what is known there goes into the descriptions.

use crate::clock::Now;
use crate::config::Config;
use crate::cti::{Address, Command, Event, RecordingFacts, TServer};
use crate::model::{Channel, Recording, Stage};

use super::Daemon;

impl Daemon {
    /// A description that is to be written: what of it matters to the switch's side.
    pub(super) fn tell_cti(&self, recording: &Recording) {
        self.cti.tell(match recording.stage {
            Stage::Recording => Command::Recording(facts(recording)),
            _ => Command::Over(recording.no),
        });
    }

    pub(super) fn on_cti(&mut self, now: Now, event: Event) {
        match event {
            Event::Told { no, conversation } => self.calls.told(now, no, conversation),
        }
    }
}

fn facts(recording: &Recording) -> RecordingFacts {
    let recorded = recording.legs.iter().find(|leg| leg.channel == Channel::Recorded).and_then(|leg| leg.dn.clone());
    RecordingFacts {
        no: recording.no,
        id: recording.id.clone(),
        call_uuid: recording.call_uuid.clone(),
        recorded_dn: recorded.or_else(|| recording.parameters.get("recorddn").cloned()),
        started: recording.started,
        ended: recording
            .legs
            .iter()
            .all(|leg| leg.ended.is_some())
            .then(|| recording.legs.iter().filter_map(|leg| leg.ended).max())
            .flatten(),
    }
}

/// The T-Servers of the configuration.
pub(super) fn tservers(config: &Config) -> Vec<TServer> {
    let address = |link: &crate::config::Link| Address { host: link.host.clone(), port: link.port, tls: link.tls };
    let tserver = |tserver: &crate::config::TServer| TServer {
        name: tserver.name.clone(),
        switch: tserver.switch.clone(),
        addresses: std::iter::once(&tserver.primary).chain(&tserver.backup).map(address).collect(),
        dns: tserver.dns.iter().flat_map(|row| row.dn.dns().map(|dn| (dn.into(), row.dn_type))).collect(),
    };
    config.tservers.iter().map(tserver).collect()
}
