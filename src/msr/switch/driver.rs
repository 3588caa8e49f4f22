//! The socket and the clock of the simulated SIP Server. Each recording of a scenario is a run of the media server on a thread
//! of its own.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use crate::clock::Now;
use crate::model::MonoTime;
use crate::msr::options::{Options, Parties, Pause};
use crate::msr::{self, Summary};

use super::player::{Action, Pace, Player, Recording};
use super::script::Script;

/// How often the socket is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What to play, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the box finds the T-Server; none other than the last is taken after a cut of the link.
    pub listen: SocketAddr,
    /// Delays and cuts.
    pub pace: Pace,
    /// What every recording shall be like.
    pub options: Options,
    /// How long the box may take to do what the scenario waits for.
    pub patience: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// Of each recording, in the order of the scenario.
    pub recordings: Vec<Summary>,
}

/// Why a scenario was not played to its end.
#[derive(Debug, Error)]
pub enum Failure {
    /// No socket for the T-Server.
    #[error("the T-Server cannot listen on {listen}: {source}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The box did not do its part.
    #[error("waited in vain for {0}")]
    Waited(String),
    /// A recording could not be placed.
    #[error(transparent)]
    Media(#[from] msr::Error),
    /// A recording's thread ended badly.
    #[error("the media server's thread panicked")]
    Panicked,
}

/// Plays a scenario to its end.
///
/// # Errors
/// See [`Failure`].
pub fn play(script: Script, settings: &Settings) -> Result<Played, Failure> {
    let listener = listen(settings.listen)?;
    let theatre = Theatre {
        player: Player::new(script, settings.pace),
        settings,
        listener: Some(listener),
        box_link: None,
        closed_until: None,
        recordings: Vec::new(),
        waiting_since: Now::read().mono,
    };
    theatre.play()
}

struct Theatre<'a> {
    player: Player,
    settings: &'a Settings,
    /// None while the link is cut.
    listener: Option<TcpListener>,
    box_link: Option<BoxLink>,
    closed_until: Option<MonoTime>,
    recordings: Vec<JoinHandle<Result<Summary, msr::Error>>>,
    waiting_since: MonoTime,
}

struct BoxLink {
    stream: TcpStream,
    unsent: VecDeque<u8>,
}

impl Theatre<'_> {
    fn play(mut self) -> Result<Played, Failure> {
        while !self.player.is_finished() {
            let now = Now::read();
            self.hear(now.mono)?;
            self.player.handle_timeout(now.mono, now.wall);
            self.carry_out(now.mono);
            match self.player.waits_for() {
                Some(what) if now.mono.since(self.waiting_since) > self.settings.patience => return Err(Failure::Waited(what)),
                Some(_) => {}
                None => self.waiting_since = now.mono,
            }
            thread::sleep(LOOK_EVERY);
        }
        let mut played = Played::default();
        while !self.recordings.iter().all(JoinHandle::is_finished) || self.has_unsent() {
            self.hear(Now::read().mono)?;
            self.carry_out(Now::read().mono);
            thread::sleep(LOOK_EVERY);
        }
        for recording in self.recordings {
            played.recordings.push(recording.join().map_err(|_| Failure::Panicked)??);
        }
        Ok(played)
    }

    fn has_unsent(&self) -> bool {
        self.box_link.as_ref().is_some_and(|link| !link.unsent.is_empty())
    }

    /// Takes a connection, or what has come over it.
    fn hear(&mut self, now: MonoTime) -> Result<(), Failure> {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            self.listener = Some(listen(self.settings.listen)?);
        }
        if let Some(Ok((stream, _))) = self.listener.as_ref().map(TcpListener::accept)
            && stream.set_nonblocking(true).is_ok()
        {
            self.box_link = Some(BoxLink { stream, unsent: VecDeque::new() });
            self.player.connected();
        }
        let mut chunk = [0; 16_384];
        while let Some(link) = &mut self.box_link {
            match link.stream.read(&mut chunk) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Ok(0) | Err(_) => {
                    self.box_link = None;
                    self.player.disconnected();
                }
                Ok(length) => self.player.handle_bytes(now, &chunk[..length]),
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, now: MonoTime) {
        while let Some(action) = self.player.poll_action() {
            match action {
                Action::Send(line) => {
                    if let Some(link) = &mut self.box_link {
                        link.unsent.extend(line);
                    }
                }
                Action::Cut(length) => {
                    self.flush();
                    (self.box_link, self.listener, self.closed_until) = (None, None, Some(now.after(length)));
                    self.player.disconnected();
                }
                Action::Record(recording) => {
                    let options = options(&self.settings.options, *recording);
                    self.recordings.push(thread::spawn(move || msr::run(&options, &mut |_| ControlFlow::Continue(()))));
                }
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Some(link) = &mut self.box_link else { return };
        while !link.unsent.is_empty() {
            match link.stream.write(link.unsent.make_contiguous()) {
                Ok(length) => drop(link.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return, // full, or gone: reading finds out
            }
        }
    }
}

fn listen(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(listen).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|source| Failure::Listen { listen, source })
}

fn options(common: &Options, recording: Recording) -> Options {
    let Recording { line, call, id, agent } = recording;
    Options {
        duration: line.length,
        pause: line.pause.map(|(at, length)| Pause { at, length }),
        recording_id: id,
        parties: Some(Parties {
            call_uuid: call.uuid,
            conn_id: call.conn,
            recorded_dn: line.dn,
            ani: call.ani.unwrap_or_else(|| line.other.clone()),
            other_dn: line.other,
            agent_id: agent.unwrap_or_default(),
            dnis: call.dnis.unwrap_or_default(),
        }),
        ..common.clone()
    }
}
