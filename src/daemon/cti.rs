//! Between the recordings and who controls them: what runs is told to the switch's side, what is known there goes into the
//! descriptions; what people ask, there or over HTTP, is done.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::clock::Now;
use crate::config::Config;
use crate::cti::hub::Tls;
use crate::cti::{Address, Command, Event, RecordingFacts, Services, Settings, TServer, Whose, Wish};
use crate::model::{Channel, Recording, RecordingNo, Stage, TenantId};
use crate::web::driver::Ask;
use crate::web::driver::calls::{self, Asked, Outcome};
use crate::web::driver::explain::{self, About};
use crate::web::driver::tones as speaker;
use crate::web::view::RecordingView;

use crate::{geo, rules, tones};

use super::Daemon;

impl Daemon {
    /// A description that is to be written: what of it matters to the switch's side.
    pub(super) fn tell_cti(&self, recording: &Recording) {
        self.cti.tell(match recording.stage {
            Stage::Recording => Command::Recording(facts(recording, self.judge.whose(&recording.tenant))),
            _ => Command::Over(recording.no),
        });
    }

    pub(super) fn on_cti(&mut self, now: Now, event: Event) {
        match event {
            Event::Told { no, tenant, conversation } => self.calls.told(now, no, tenant, conversation),
            Event::Asked(no, wish) => drop(self.obey(now, no, wish, None)),
            Event::Missed { by, tenant, detail } => self.miss(now, by, &tenant, detail),
            Event::Configured { tserver, data } => self.on_configured(now, tserver, &data),
            Event::Connected { place, facts } => {
                if let Some((side, rule)) = self.judge.wants(&facts) {
                    self.cti.tell(Command::Ask { place, side, rule });
                }
            }
        }
    }

    /// Somebody asks over HTTP.
    pub(super) fn on_ask(&mut self, now: Now, ask: Ask) {
        match ask {
            Ask::Calls(answer) => {
                let running = self.calls.recordings().filter(|call| call.ended.is_none());
                let _ = answer.send(running.map(RecordingView::from).collect()); // who asked may have gone
            }
            Ask::Call(ask) => self.on_call_asked(now, ask),
            Ask::Recorded(ask) => self.on_recorded_asked(ask),
            Ask::Recording(ask) => self.on_recording_asked(ask),
            Ask::Speaker(speaker::Ask { request, answer }) => {
                let socket = self.config.tone.sidecar.clone();
                tokio::spawn(async move {
                    let _ = answer.send(tones::driver::sidecar::order(&socket, &request).await); // who asked may have gone
                });
            }
            Ask::Explain(explain::Ask { about, pairs, answer }) => {
                let said = match about {
                    About::Geo => geo::Question::read(pairs).and_then(|question| question.answer()).map(|answer| answer.json),
                    About::Rules => rules::Question::read(pairs).map(|question| json!(self.judge.explain(now, question))),
                };
                let _ = answer.send(said); // who asked may have gone
            }
        }
    }

    fn on_call_asked(&mut self, now: Now, ask: calls::Ask) {
        let wish = match ask.asked {
            Asked::Pause { .. } => Wish::Pause,
            Asked::Resume => Wish::Resume,
            Asked::Stop => Wish::Stop,
        };
        let limit = if let Asked::Pause { limit } = ask.asked { limit } else { None };
        let meant =
            self.calls.recordings().find(|call| *call.id.0 == *ask.id && ask.scope.sees(&call.tenant.0)).map(|call| call.no);
        let done = meant.filter(|no| self.obey(now, *no, wish, limit));
        if let Some(no) = done {
            self.cti.tell(Command::Asked(no, wish));
        }
        let outcome = done.map(|_| match wish {
            Wish::Pause => Outcome::Paused,
            Wish::Resume => Outcome::Recording,
            Wish::Stop => Outcome::Stopped,
        });
        let _ = ask.answer.send(outcome); // who asked may have gone
    }

    fn obey(&mut self, now: Now, no: RecordingNo, wish: Wish, limit: Option<Duration>) -> bool {
        match wish {
            Wish::Pause => self.calls.pause(now, no, limit.or(self.config.control.pause_limit)),
            Wish::Resume => self.calls.resume(now, no),
            Wish::Stop => self.calls.stop(now, no),
        }
    }
}

fn facts(recording: &Recording, whose: Whose) -> RecordingFacts {
    let recorded = recording.legs.iter().find(|leg| leg.channel == Channel::Recorded).and_then(|leg| leg.dn.clone());
    let is_over = !recording.legs.is_empty() && recording.legs.iter().all(|leg| leg.ended.is_some());
    RecordingFacts {
        no: recording.no,
        id: recording.id.clone(),
        call_uuid: recording.call_uuid.clone(),
        whose,
        recorded_dn: recorded.or_else(|| recording.parameters.get("recorddn").cloned()),
        started: recording.started,
        ended: recording.legs.iter().filter_map(|leg| leg.ended).max().filter(|_| is_over),
    }
}

/// The T-Servers of the configuration.
pub(super) fn tservers(config: &Config) -> Vec<TServer> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let tls = |tserver: &crate::config::TServer| {
        let ca_file = tserver.ca_file.as_ref()?.path(credentials.as_deref());
        Some(Tls { ca_file, name: tserver.tls_name.clone() })
    };
    let address = |tserver: &crate::config::TServer, link: &crate::config::Link| {
        let tls = tls(tserver).filter(|_| link.tls);
        Address { host: link.host.clone(), port: link.port, tls }
    };
    let tserver = |tserver: &crate::config::TServer| TServer {
        name: tserver.name.clone(),
        switch: tserver.switch.clone(),
        tenant: owner(config, tserver),
        addresses: std::iter::once(&tserver.primary).chain(&tserver.backup).map(|link| address(tserver, link)).collect(),
        dns: tserver.dns.iter().flat_map(|row| row.dn.dns().map(|dn| (dn.into(), row.dn_type))).collect(),
    };
    config.tservers.iter().map(tserver).collect()
}

fn owner(config: &Config, tserver: &crate::config::TServer) -> TenantId {
    let owner = config.tenants.iter().find(|tenant| tenant.switches.contains(&tserver.switch));
    owner.map_or_else(TenantId::default_tenant, |tenant| tenant.id.clone())
}

/// How the switch is asked, and when what it was asked for is missing.
pub(super) fn settings(config: &Config) -> Settings {
    let control = &config.control;
    let services = Services {
        start: control.start_service,
        stop: control.stop_service,
        pause: control.pause_service,
        resume: control.resume_service,
    };
    Settings { services, missing_after: control.missing_after }
}
