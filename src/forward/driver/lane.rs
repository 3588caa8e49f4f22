//! One lane of a target: delivers a recording at a time, with a runtime of its own where the target is in the network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Runtime};
use tracing::info;

use crate::files::System;
use crate::forward::pace::{Lane, Pace};
use crate::forward::target::http::{LinkError, Throttle};
use crate::forward::target::metadata::Metadata;
use crate::forward::target::s3::S3;
use crate::forward::target::webdav::WebDav;
use crate::forward::target::{Delivery, DeliveryError, Target, TargetKind, Verdict, dir};

/// Carries deliveries to one target.
pub(super) struct Courier {
    target: Target,
    finished_dir: PathBuf,
    box_name: String,
    throttle: Throttle,
    /// Made with the first delivery, so that a box without targets in the network has none.
    runtime: Option<Runtime>,
    /// The opened target. One that refuses is opened anew, because its keys may have been changed meanwhile.
    open: Option<Open>,
    /// The same of the archive that is told.
    archive: Option<Metadata>,
}

/// A target in the network.
enum Open {
    S3(S3),
    WebDav(WebDav),
}

impl Courier {
    pub(super) fn new(target: Target, finished_dir: PathBuf, box_name: String, lane: Lane, pace: Arc<Mutex<Pace>>) -> Courier {
        Courier { target, finished_dir, box_name, throttle: Throttle::new(pace, lane), runtime: None, open: None, archive: None }
    }

    /// Delivers all files and checks that they arrived; doing it again is harmless. When another box has delivered its copy of the call under that
    /// name before, this one goes beside it.
    pub(super) fn deliver(&mut self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let result = match self.deliver_as(delivery) {
            Err(DeliveryError::Conflict { path }) => {
                info!(recording = %delivery.id, target = self.target.name, path = %path.display(), "the name is taken by another copy");
                self.deliver_as(&delivery.beside(&self.box_name))
            }
            result => result,
        };
        if let Err(error) = &result {
            if error.is_congestion() {
                self.throttle.congested();
            }
            if error.verdict() == Verdict::Refused {
                (self.open, self.archive) = (None, None);
            }
        }
        result
    }

    fn deliver_as(&mut self, delivery: &Delivery) -> Result<(), DeliveryError> {
        if let TargetKind::Dir { path } = &self.target.kind {
            dir::deliver(&System, path, &self.finished_dir, delivery)?;
            if self.target.metadata.is_none() {
                return Ok(()); // nothing of it is in the network
            }
        }
        let runtime = match &mut self.runtime {
            Some(runtime) => runtime,
            none => none.insert(Builder::new_current_thread().enable_all().build().map_err(no_runtime)?),
        };
        let (target, throttle, finished_dir) = (&self.target, &self.throttle, &self.finished_dir);
        runtime.block_on(async {
            deliver_by_network(&mut self.open, &target.kind, throttle, finished_dir, delivery).await?;
            let Some(settings) = &target.metadata else { return Ok(()) };
            let archive = match &mut self.archive {
                Some(archive) => archive,
                none => none.insert(Metadata::open(settings, throttle.clone())?),
            };
            archive.tell(finished_dir, delivery).await
        })
    }
}

async fn deliver_by_network(
    open: &mut Option<Open>,
    kind: &TargetKind,
    throttle: &Throttle,
    finished_dir: &Path,
    delivery: &Delivery,
) -> Result<(), DeliveryError> {
    let open = match open {
        Some(open) => open,
        none => none.insert(match kind {
            TargetKind::Dir { .. } => return Ok(()), // its files are there already
            TargetKind::S3(settings) => Open::S3(S3::open(settings, throttle.clone())?),
            TargetKind::WebDav(settings) => Open::WebDav(WebDav::open(settings, throttle.clone())?),
        }),
    };
    match open {
        Open::S3(s3) => s3.deliver(finished_dir, delivery).await,
        Open::WebDav(webdav) => webdav.deliver(finished_dir, delivery).await,
    }
}

fn no_runtime(error: std::io::Error) -> DeliveryError {
    DeliveryError::Link { what: "the runtime of a target".into(), error: LinkError::broken(&error) }
}
