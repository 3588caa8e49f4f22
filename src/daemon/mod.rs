//! Builds and joins all stations: the only place that sees them all.
//!
//! The main thread runs SIP, the recordings, the page, and the messages between the other threads:
//!
//! ```text
//!              ┌────────────── main (tokio, current thread) ──────────────┐
//!   SIP ◄────► │ sip ─► session ─► recording                        web   │ ◄── HTTP
//!              └──┬────────▲─────────┬────────▲───────┬──────▲─────┬───▲──┘
//!           open, │ reports│ describe│ durable│    job│ done │  job│   │ done
//!         close   ▼        │         ▼        │       ▼      │     ▼   │
//!              media ───blocks────► spool           finish        forward
//!                 ◄───────empty blocks┘   ◄──blocks───┘
//! ```
//!
//! | file | responsible for |
//! |---|---|
//! | `signalling` | SIP dialogs -> recordings, streams, answers |
//! | `assuring` | every recording that is over is checked; the day's report |
//! | `centre` | the centre's configuration as the T-Servers told it last, kept over a restart |
//! | `judging` | whose a call is and which rule counts; reload of the rules |
//! | `cti` | what the switch's side knows -> recordings |
//! | `pipeline` | descriptions -> spool -> finish -> forward -> released |
//! | `keeping` | what leaves the box again, and when |
//! | `page` | the server of page and API, and who may use it |
//! | `recorded` | recordings and their audio, for the API |
//! | `telling` | what the data centre is told over MQTT |
//! | `publish` | the state of the box for page and metrics; whether calls are taken |
//! | `wan` | what the forwarder goes by |

mod assuring;
mod centre;
mod cti;
mod judging;
mod keeping;
mod page;
mod pipeline;
mod publish;
mod recorded;
mod signalling;
mod telling;
mod wan;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::access::Access;
use crate::clock::{JumpWatch, Now};
use crate::config::{self, Config, Listen, Loaded, Source};
use crate::cti::Cti;
use crate::finish::BoxFacts;
use crate::finish::Finisher;
use crate::forward::Forwarder;
use crate::model::{MonoTime, Recording, RecordingNo, StreamReport};
use crate::recording::{Calls, SessionKey};
use crate::sip::session_timer::SessionTimerPolicy;
use crate::sip::{Listener, SipDriver};
use crate::spool::{Reader, Spool};
use crate::web::Status;
use crate::{finish, forward, panel, recording, rtp, sip, spool, tones, wear, web};

/// Where the daemon can be reached.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The sockets of SIP, with the ports they really have.
    pub sip: Vec<Listener>,
    /// The status page.
    pub web: SocketAddr,
    /// Whether that is encrypted.
    pub tls: bool,
    /// The code that makes the first administrator; none: there is one.
    pub first_use: Option<String>,
}

/// Why the daemon could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime, a signal handler or a thread could not be set up.
    #[error("the daemon cannot start: {0}")]
    Runtime(#[source] std::io::Error),
    /// A folder could not be made.
    #[error("{path}: {source}; make it, or let the daemon's user write to its parent", path = .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A SIP listener could not be opened.
    #[error(transparent)]
    Sip(#[from] sip::driver::BindError),
    /// SIP over TLS could not be set up.
    #[error(transparent)]
    SipTls(#[from] sip::driver::tls::TlsError),
    /// The page's listener could not be opened.
    #[error("[web] listen {address}: {source}")]
    Web {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Accounts and audit log could not be opened.
    #[error("{dir}: {source}; let the daemon's user read and write there", dir = .dir.display())]
    Access {
        /// Where they stand.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The spool could not be opened.
    #[error(transparent)]
    Spool(#[from] spool::driver::OpenError),
    /// The box's identity could not be read or made.
    #[error("the box's identity in {dir}: {source}; let the daemon's user read and write there", dir = .dir.display())]
    Identity {
        /// Where it stands.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Listening {
    /// What to type into a browser.
    pub fn page(&self) -> String {
        format!("{}://{}/", if self.tls { "https" } else { "http" }, self.web)
    }
}

/// Runs until `stop` is done and every call is safe. `ready` is called once calls are taken. What comes through `reloads` was
/// read anew and is right.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    config: Config,
    reloads: mpsc::Receiver<Loaded>,
    ready: impl FnOnce(&Listening),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut daemon = Daemon::build(config).await?;
    ready(&daemon.listening());
    daemon.serve(reloads, stop).await;
    daemon.close();
    Ok(())
}

/// How many streams' worth of blocks may be in memory: two open, and what comes up in ten seconds of a disk that hangs.
const BLOCKS_PER_STREAM: usize = 2 + 20;

/// How long the last reports of the streams are awaited when the daemon stops.
const LAST_REPORTS: Duration = Duration::from_secs(2);

/// How often page and metrics are renewed.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// Messages from a thread that may wait for the main thread; a full queue makes the thread wait.
const QUEUE: usize = 64;

struct Daemon {
    config: Config,
    sip: SipDriver,
    calls: Calls,
    judge: judging::Judge,
    centre: centre::Centre,
    assurer: assuring::Assurer,
    dialogs: HashMap<SessionKey, signalling::Dialog>,
    media: rtp::Media,
    reports: mpsc::Receiver<Vec<StreamReport>>,
    spool: Spool,
    /// Descriptions that the spool's queue has no room for yet; of each recording only the newest.
    outbox: BTreeMap<RecordingNo, Box<Recording>>,
    /// Descriptions that the forwarder's side has changed, until they are durable: the ledger knows an older one so long.
    amended: BTreeMap<RecordingNo, Box<Recording>>,
    spool_events: mpsc::UnboundedReceiver<spool::Event>,
    reader: Reader,
    finisher: Finisher,
    finishing: pipeline::Finishing,
    finish_events: mpsc::Receiver<finish::Event>,
    forwarder: Forwarder,
    forward_events: mpsc::Receiver<forward::Event>,
    web: SocketAddr,
    access: Access,
    status: watch::Sender<Status>,
    ledger: publish::Ledger,
    keeper: keeping::Keeper,
    clock: JumpWatch,
    wear: wear::driver::Watch,
    cti: Cti,
    cti_events: mpsc::Receiver<crate::cti::Event>,
    teller: telling::Teller,
    asked: mpsc::Receiver<web::driver::Ask>,
    /// The machine.
    host: watch::Receiver<crate::host::Host>,
    /// The last day, for the page.
    history: Arc<web::history::History>,
    /// The process that plays on the loudspeaker.
    tone_sidecar: watch::Receiver<tones::driver::sidecar::Sidecar>,
    panel: panel::driver::Mouth,
    /// What became of `[tone] audiosrc`; none: there is no such key.
    tone_source: Option<watch::Receiver<Option<tones::driver::Outcome>>>,
    started: Now,
    /// systemd waits for signs of life.
    watched: bool,
}

impl Daemon {
    async fn build(config: Config) -> Result<Daemon, Error> {
        let started = Now::read();
        let finished_dir = make_folder(config.site.data_dir.join("finished"))?;
        make_folder(config.spool.path.clone())?;
        let (recycle, recycled) = std::sync::mpsc::channel();
        let (spool_news, spool_events) = mpsc::unbounded_channel();
        let (spool, recovered) = Spool::open(&spool_config(&config), recycle, spool_news)?;
        let (media, reports) = start_media(&config, &spool, recycled)?;
        let (finisher, finish_events) = start_finisher(&config, finished_dir.clone(), spool.reader())?;
        let (forwarder, forward_events) = wan::start_forwarder(&config, finished_dir, spool.reader())?;
        let sip = start_sip(&config)?;
        let wear = wear::start(config.site.data_dir.clone()).map_err(Error::Runtime)?;
        let (cti, cti_events) = Cti::start(cti::tservers(&config), cti::settings(&config));
        let teller = telling::Teller::start(&config).map_err(Error::Runtime)?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let (status, watched) = watch::channel(Status::default());
        let access = page::open_access(&config)?;
        let web = page::start(&config, watched, asks, access.clone()).await?;
        let tone_source =
            config.tone.audiosrc.as_ref().map(|uri| tones::driver::watch_over(uri.0.clone(), config.site.data_dir.join("tones")));
        let tone_sidecar = tones::driver::sidecar::watch_over(config.tone.sidecar.clone());
        let mut daemon = Daemon {
            calls: Calls::new(recording_config(&config), recovered.next_no),
            judge: judging::Judge::new(&config),
            centre: centre::Centre::restore(&spool.reader(), &config),
            assurer: assuring::Assurer::open(config.site.data_dir.join("reports"), started),
            dialogs: HashMap::new(),
            reader: spool.reader(),
            ledger: publish::Ledger::new(config.targets.iter().map(|target| target.name.clone())),
            outbox: BTreeMap::new(),
            amended: BTreeMap::new(),
            config,
            sip,
            media,
            reports,
            spool,
            spool_events,
            finisher,
            finishing: pipeline::Finishing::default(),
            finish_events,
            forwarder,
            forward_events,
            web,
            access,
            status,
            keeper: keeping::Keeper::new(),
            clock: JumpWatch::new(started),
            wear,
            cti,
            cti_events,
            teller,
            asked,
            tone_source,
            tone_sidecar,
            panel: panel::driver::Mouth::new(panel::SOCKET.into()),
            host: crate::host::driver::watch_over(),
            history: Arc::default(),
            started,
            watched: sd_notify::watchdog_enabled().is_some(),
        };
        daemon.judge.learn(&daemon.config, &daemon.centre);
        daemon.take_up(Now::read(), recovered.recordings, &recovered.kept);
        daemon.publish(started);
        Ok(daemon)
    }
}

impl Daemon {
    fn listening(&self) -> Listening {
        let tls = self.config.web.tls != config::PageTls::None;
        Listening { sip: self.sip.listeners().to_vec(), web: self.web, tls, first_use: self.access.first_use() }
    }

    /// Serves until `stop`, then closes all streams and goes on until nothing is left to be written. Nobody is told: the
    /// sessions go on when the box is back, which after an update is a moment later.
    async fn serve(&mut self, mut reloads: mpsc::Receiver<Loaded>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut publish = tokio::time::interval(PUBLISH_EVERY);
        let mut end = None;
        loop {
            let wake = self.calls.poll_timeout();
            tokio::select! {
                event = self.sip.next() => self.on_sip(Now::read(), event),
                Some(reports) = self.reports.recv() => self.on_reports(Now::read(), reports),
                Some(event) = self.spool_events.recv() => self.on_spool(Now::read(), event),
                Some(event) = self.finish_events.recv() => self.on_finish(Now::read(), event),
                Some(event) = self.forward_events.recv() => self.on_forward(event),
                Some(ask) = self.asked.recv() => self.on_ask(Now::read(), ask),
                Some(loaded) = reloads.recv() => self.reload(loaded),
                Some(event) = self.cti_events.recv() => self.on_cti(Now::read(), event),
                Some(recording) = self.keeper.released() => self.on_released(recording),
                () = until(wake) => self.calls.handle_timeout(Now::read()),
                _ = publish.tick() => self.tick(Now::read()),
                () = &mut stop, if end.is_none() => end = Some(self.begin_to_stop(Now::read())),
            }
            self.settle(Now::read());
            if end.is_some_and(|end| self.calls.is_quiet() || end <= Now::read().mono) {
                return;
            }
        }
    }

    fn tick(&mut self, now: Now) {
        if let Some(jump_us) = self.clock.jump_us(now) {
            tracing::warn!(jump_us, "the clock was set; running calls keep their own time and are flagged");
            self.calls.clock_set();
        }
        self.publish(now);
        self.keep_house(now);
        self.keep_report(now);
        self.keep_centre(now, false);
    }

    /// Carries out what the recordings ask for, which may bring up more of it.
    fn settle(&mut self, now: Now) {
        loop {
            let actions = self.calls.poll();
            if actions.is_empty() {
                break;
            }
            actions.into_iter().for_each(|action| self.carry_out(now, action));
        }
        self.hand_over();
        self.announce();
        self.sip.flush();
    }

    fn begin_to_stop(&mut self, now: Now) -> MonoTime {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]); // without systemd there is nobody to tell
        tracing::info!(calls = self.calls.running(), "stopping: calls go on when the box is back");
        self.ledger.stopping = true;
        self.calls.suspend(now);
        self.keep_centre(now, true);
        now.mono.after(LAST_REPORTS)
    }

    fn on_reports(&mut self, now: Now, reports: Vec<StreamReport>) {
        for report in reports {
            self.ledger.count(&report);
            self.calls.report(now, report);
        }
    }

    /// Ends the threads in the order of the data's way, so that nothing under way is lost.
    fn close(self) {
        self.media.stop();
        for (_, recording) in self.outbox {
            let _ = self.spool.sender().send(spool::Command::Describe(recording)); // fails only when the thread has ended
        }
        if let Err(failure) = self.spool.stop() {
            tracing::error!("the last commit failed: {failure}; what was acknowledged before is safe");
        }
        drop((self.finish_events, self.forward_events));
        self.finisher.stop();
        self.forwarder.stop();
        self.assurer.close();
        self.teller.stop();
        tracing::info!("stopped");
    }
}

fn spool_config(config: &Config) -> spool::Config {
    spool::Config {
        dir: config.spool.path.clone(),
        segment_bytes: spool::Config::SEGMENT_BYTES,
        floor_bytes: config.spool.floor_bytes,
        backlog_blocks: spool::Config::BACKLOG_BLOCKS,
    }
}

fn start_media(
    config: &Config,
    spool: &Spool,
    recycled: std::sync::mpsc::Receiver<crate::model::Samples>,
) -> Result<(rtp::Media, mpsc::Receiver<Vec<StreamReport>>), Error> {
    let settings = rtp::Config {
        address: config.rtp.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        ports: config.rtp.ports.0.clone(),
        manner: rtp::Manner { latch: config.rtp.source == Source::Latch, mask_digits: config.control.mask_digits },
        pool_blocks: 2 * max_recordings(config) * BLOCKS_PER_STREAM,
    };
    let spool = spool.sender();
    let sink = move |blocks| match spool.try_send(spool::Command::Blocks(blocks)) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(spool::Command::Blocks(blocks)) | TrySendError::Disconnected(spool::Command::Blocks(blocks))) => {
            Err(blocks)
        }
        Err(_) => Ok(()), // not reached: what comes back is what was sent
    };
    rtp::Media::start(settings, Box::new(sink), recycled).map_err(Error::Runtime)
}

/// What accepts SIP over TLS, from the files as they are now.
fn sip_tls(tls: &config::SipTls) -> Result<tokio_rustls::TlsAcceptor, sip::driver::tls::TlsError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let file = |secret: &config::Secret| secret.path(credentials.as_deref());
    sip::driver::tls::acceptor(&sip::driver::tls::Files {
        cert_file: file(&tls.cert_file),
        key_file: file(&tls.key_file),
        client_ca_file: tls.client_ca_file.as_ref().map(file),
    })
}

fn start_sip(config: &Config) -> Result<SipDriver, Error> {
    let listener = |listen: &Listen| Listener { transport: listen.transport, address: listen.address };
    let trusted = config.sip.clone();
    let endpoint = sip::endpoint::Config {
        advertise: config.sip.advertise,
        session_timer: SessionTimerPolicy {
            min_se_s: seconds(config.sip.min_se),
            session_expires_s: seconds(config.sip.session_expires),
        },
        max_dialogs: 4 * max_recordings(config),
        ..sip::endpoint::Config::default()
    };
    let settings = sip::driver::Config {
        listen: config.sip.listen.iter().map(listener).collect(),
        trusts: Box::new(move |ip| trusted.trusts(ip)),
        tls: config.sip.tls.as_ref().map(sip_tls).transpose()?,
        endpoint,
        ..sip::driver::Config::default()
    };
    let mut seed = [0; 32];
    fastrand::fill(&mut seed);
    Ok(SipDriver::bind(settings, seed)?)
}

fn start_finisher(
    config: &Config,
    finished_dir: PathBuf,
    reader: Reader,
) -> Result<(Finisher, mpsc::Receiver<finish::Event>), Error> {
    let (news, events) = mpsc::channel(QUEUE);
    let facts =
        BoxFacts { site: config.site.name.clone(), geo_location: config.site.geo_location.clone(), box_name: host_name() };
    let dir = &config.spool.path;
    let identity = finish::open_identity(dir).map_err(|source| Error::Identity { dir: dir.clone(), source })?;
    let tenants = config.tenants.iter().map(|tenant| (tenant.id.clone(), making(tenant))).collect();
    let settings = finish::Config {
        finished_dir,
        facts,
        tenants,
        tones: Some(Arc::new(tone_policy(config))),
        identity: Some(Arc::new(identity)),
    };
    let finisher = Finisher::start(settings, Box::new(reader), news).map_err(Error::Runtime)?;
    Ok((finisher, events))
}

/// How a tenant's files are made.
pub fn making(tenant: &config::Tenant) -> finish::Making {
    let recipients = tenant.recipients.iter().map(|recipient| recipient.0.clone()).collect();
    finish::Making { format: tenant.format, sealing: finish::Sealing::to(recipients) }
}

/// Who listens for recording tones.
pub fn tone_policy(config: &Config) -> tones::proof::Policy {
    tones::proof::Policy { preset: config.tone.preset, demand: config.tone.demand }
}

fn recording_config(config: &Config) -> recording::Config {
    recording::Config {
        max_recordings: max_recordings(config),
        linger: Duration::from_secs(3),
        linger_lost: Duration::from_secs(30),
        media_timeout: config.rtp.silence_timeout,
    }
}

fn max_recordings(config: &Config) -> usize {
    usize::try_from(config.sip.max_recordings).unwrap_or(usize::MAX)
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "nearend".into())
}

/// Sleeps until a time of the monotonic clock; for ever without one.
async fn until(wake: Option<MonoTime>) {
    match wake {
        Some(at) => tokio::time::sleep(at.since(Now::read().mono)).await,
        None => std::future::pending().await,
    }
}

fn make_folder(path: PathBuf) -> Result<PathBuf, Error> {
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Folder { path, source }),
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
