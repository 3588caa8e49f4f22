//! What the forwarder goes by: targets, order and pace out of the configuration.

use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use crate::config::{self, Addressing, Config, Place, Priority};
use crate::forward::pace::{Schedule, Window};
use crate::forward::queue::{Policy, Precedence, Settings};
use crate::forward::target::{http, login, s3};
use crate::forward::{self, Forwarder, Target, TargetKind};
use crate::model::id::path_component;
use crate::spool::Reader;

use super::{Error, QUEUE, host_name};

pub(super) fn start_forwarder(
    config: &Config,
    finished_dir: PathBuf,
    reader: Reader,
) -> Result<(Forwarder, mpsc::Receiver<forward::Event>), Error> {
    let (news, events) = mpsc::channel(QUEUE);
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let settings = forward::Config {
        finished_dir,
        targets: config.targets.iter().map(|target| self::target(target, config, credentials.as_deref())).collect(),
        queue: order(config),
        schedule: schedule(&config.forward)?,
        box_name: format!("{}.{}", config.site.name, host_name()),
    };
    let lookup = Box::new(move |no| reader.recording(no));
    let forwarder = Forwarder::start(settings, lookup, news).map_err(Error::Runtime)?;
    Ok((forwarder, events))
}

fn target(target: &config::Target, config: &Config, credentials: Option<&Path>) -> Target {
    let kind = match &target.place {
        Place::Dir { path } => TargetKind::Dir { path: path.clone() },
        Place::S3(s3) => TargetKind::S3(s3::Settings {
            endpoint: s3.endpoint.to_string(),
            bucket: s3.bucket.clone(),
            region: s3.region.clone(),
            prefix: s3.prefix.as_ref().map_or_else(String::new, |prefix| format!("{prefix}/")),
            virtual_host: s3.addressing == Addressing::VirtualHost,
            access_key_file: s3.access_key_file.path(credentials),
            secret_key_file: s3.secret_key_file.path(credentials),
            part_bytes: s3.part_bytes,
            access: access(&s3.access, credentials),
            uploads_dir: config.site.data_dir.join("uploads").join(path_component(&target.name)),
        }),
        Place::WebDav(webdav) => TargetKind::WebDav(login::Settings {
            url: webdav.url.to_string(),
            login: webdav.user.clone().zip(webdav.password_file.as_ref().map(|file| file.path(credentials))),
            access: access(&webdav.access, credentials),
        }),
    };
    let metadata = target.metadata.as_ref().map(|metadata| login::Settings {
        url: metadata.url.to_string(),
        login: metadata.user.clone().zip(metadata.password_file.as_ref().map(|file| file.path(credentials))),
        access: access(&metadata.access, credentials),
    });
    Target { name: target.name.clone(), kind, metadata }
}

fn access(access: &config::Access, credentials: Option<&Path>) -> http::Access {
    http::Access { ca_file: access.ca_file.as_ref().map(|file| file.path(credentials)), timeout: access.timeout }
}

fn order(config: &Config) -> Settings {
    let precedence = |tenant: &config::Tenant| Precedence {
        class: match tenant.priority {
            Priority::Immediate => None,
            Priority::High => Some(0),
            Priority::Normal => Some(1),
            Priority::Low => Some(2),
        },
        share: tenant.share,
    };
    let policy = match config.forward.deliver {
        config::Policy::All => Policy::All,
        config::Policy::First => Policy::First,
    };
    let tenants = config.tenants.iter().map(|tenant| (tenant.id.clone(), precedence(tenant))).collect();
    Settings { targets: config.targets.len(), policy, tenants }
}

fn schedule(forward: &config::Forward) -> Result<Schedule, Error> {
    let zone = match &forward.time_zone {
        None => None,
        Some(config::Zone(name)) => Some(TimeZone::get(name).map_err(|error| {
            Error::Runtime(io::Error::other(format!("[forward] time_zone {name:?}: {error}; install tzdata or correct the name")))
        })?),
    };
    let window = |window: &config::Window| Window {
        days: window.days,
        from_min: window.from_min,
        to_min: window.to_min,
        rate: window.rate.map_or(0, config::Rate::bytes_per_second),
    };
    let rate = forward.rate.map(config::Rate::bytes_per_second);
    Ok(Schedule { rate, windows: forward.windows.iter().map(window).collect(), zone })
}
