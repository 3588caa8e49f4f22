//! Resolves `[events]`: who is told what happens on the box.

use std::time::Duration;

use super::diagnostic::Findings;
use super::file;
use super::resolve::{given, span_of};
use super::typed::Events;

const TOPIC: &str = "nearend";
const STATUS_EVERY: Duration = Duration::from_secs(60);

pub(super) fn events(file: &file::Events, findings: &mut Findings) -> Events {
    let events = Events {
        broker: given(&file.broker),
        topic: given(&file.topic).unwrap_or_else(|| TOPIC.into()),
        user: given(&file.user),
        password_file: given(&file.password_file),
        ca_file: given(&file.ca_file),
        cert_file: given(&file.cert_file),
        key_file: given(&file.key_file),
        status_every: given(&file.status_every).unwrap_or(STATUS_EVERY),
    };
    check_broker(&events, file, findings);
    let is_level = |level: &str| !level.is_empty() && !level.contains(['+', '#', '\0']);
    if !events.topic.split('/').all(is_level) || events.topic.starts_with('$') {
        let message = format!(
            "{:?} is no beginning of a topic; expected names with \"/\" between them, without \"+\", \"#\" and a leading \"$\"",
            events.topic
        );
        findings.error(span_of(&file.topic).unwrap_or_default(), "[events] topic", message);
    }
    if events.status_every < Duration::from_secs(1) {
        let span = span_of(&file.status_every).unwrap_or_default();
        findings.error(span, "[events] status_every", "is too short; expected at least \"1s\"");
    }
    events
}

fn check_broker(events: &Events, file: &file::Events, findings: &mut Findings) {
    let keys = [span_of(&file.cert_file), span_of(&file.key_file)];
    let others = [span_of(&file.user), span_of(&file.password_file), span_of(&file.ca_file)].into_iter().chain(keys.clone());
    match &events.broker {
        None => {
            if let Some(span) = others.flatten().min_by_key(|span| span.start) {
                findings.error(span, "[events]", "has no broker; expected broker = \"mqtts://…\", or no other key");
            }
        }
        Some(broker) if broker.is_open() => {
            let message = "is not encrypted: everybody on the way can read what is told; expected \"mqtts://…\"";
            findings.warning(span_of(&file.broker).unwrap_or_default(), "[events] broker", message);
        }
        Some(_) => {}
    }
    if events.user.is_some() != events.password_file.is_some() {
        let span = span_of(&file.user).or_else(|| span_of(&file.password_file)).unwrap_or_default();
        findings.error(span, "[events]", "has only one of user and password_file; expected both, or none");
    }
    if events.cert_file.is_some() != events.key_file.is_some() {
        let span = keys.into_iter().flatten().next().unwrap_or_default();
        findings.error(span, "[events]", "has only one of cert_file and key_file; expected both, or none");
    }
}
