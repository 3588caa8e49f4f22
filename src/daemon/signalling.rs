//! From SIP to recordings: what a dialog asks for becomes legs of a recording, streams of the media thread and an answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::config::Peer;
use crate::cti::{Cti, Wish};
use crate::model::recording::Note;
use crate::model::{EndReason, Json, Line, MediaTime, Recording, RecordingId, SavedDialog, SavedSession, StreamKey};
use crate::recording::{Action, Admission, Calls, Declined, Opening, Placement, Refusal, SessionKey, Surroundings};
use crate::rtp::{Media, PayloadMap, Remote, StreamChange, StreamSpec};
use crate::session::Session;
use crate::session::lines::lines;
use crate::session::multipart::{Part, parts};
use crate::session::siprec::{self, Metadata};
use crate::sip::message::Request;
use crate::sip::sdp::{LocalDescription, SessionDescription};
use crate::sip::{DialogId, Event, Flow, Headers, Method, NothingPending, RestoreError, SipDriver, StatusCode};
use crate::spool::Reader;

use super::Daemon;
use super::judging::Judge;

/// What the ledger keeps of a dialog, so that it goes on after a restart.
#[derive(Serialize, Deserialize)]
struct Saved {
    dialog: SavedDialog,
    local: LocalDescription,
}

/// What the daemon keeps of a dialog.
pub(super) struct Dialog {
    flow: Flow,
    local: LocalDescription,
    /// False until the answer to the delayed offer of the first INVITE has come.
    is_settled: bool,
}

const SDP: &str = "application/sdp";

/// A refusal as it goes to the peer.
struct No {
    status: u16,
    reason: String,
    /// `Warning` or `Retry-After`.
    header: Option<(&'static str, String)>,
}

impl No {
    fn new(status: u16, reason: impl Into<String>) -> No {
        No { status, reason: reason.into(), header: None }
    }

    /// 488 with what cannot be taken (RFC 3261 §20.43: 305 incompatible media format).
    fn not_acceptable(why: &str) -> No {
        let warning = format!("305 nearend \"{}\"", why.replace(['"', '\\', '\r', '\n'], " "));
        No { status: 488, reason: "Not Acceptable Here".into(), header: Some(("Warning", warning)) }
    }

    /// 302 with where the call may be recorded instead, the best first (RFC 3261 §20.10).
    fn elsewhere(peers: &[&Peer]) -> No {
        let contact = |(n, peer): (usize, &&Peer)| format!("<{}>;q={:.1}", peer.uri, 1.0 - 0.1 * n.min(9) as f32);
        let contacts: Vec<String> = peers.iter().enumerate().map(contact).collect();
        No { status: 302, reason: "Moved Temporarily".into(), header: Some(("Contact", contacts.join(", "))) }
    }

    fn unavailable(why: impl Into<String>) -> No {
        No { status: 503, reason: why.into(), header: Some(("Retry-After", RETRY_AFTER_S.to_string())) }
    }
}

/// After how long a sender may try a box again that could not take its call.
pub(super) const RETRY_AFTER_S: u32 = 30;

/// A request's body in its parts.
struct Body<'a> {
    sdp: Option<&'a [u8]>,
    metadata: Option<Metadata>,
    /// The metadata document, and anything else that is no SDP.
    others: Vec<Part<'a>>,
}

impl<'a> Body<'a> {
    fn read(request: &'a Request) -> Body<'a> {
        let content_type = request.content_type().unwrap_or_default();
        let (sdp, others): (Vec<_>, Vec<_>) = parts(&content_type, &request.body).into_iter().partition(|p| p.media_type == SDP);
        let metadata = others.iter().find(|part| part.media_type.starts_with("application/rs-metadata"));
        Body { sdp: sdp.first().map(|part| part.body), metadata: metadata.map(|part| siprec::read(part.body)), others }
    }
}

impl Daemon {
    pub(super) fn on_sip(&mut self, now: Now, event: Event) {
        match event {
            Event::Invite { dialog, request } => self.on_invite(now, dialog, &request),
            Event::Reinvite { dialog, request } => self.on_reinvite(now, dialog, &request),
            Event::Answered { dialog, request } => self.on_answered(now, dialog, &request),
            Event::Info { dialog, request } => self.keep_notes(now, dialog, &request),
            Event::Cancelled { dialog } => self.on_ended(now, dialog, EndReason::Cancelled),
            Event::Ended { dialog, reason } => self.on_ended(now, dialog, reason),
        }
    }

    fn on_invite(&mut self, now: Now, dialog: DialogId, request: &Request) {
        let Some(flow) = self.sip.endpoint().flow(dialog) else { return };
        match self.take(now, dialog, flow, request) {
            Ok(sdp) => {
                let accepted = self.sip.endpoint().accept(now.mono, dialog, SDP, sdp);
                log_gone(accepted, request);
                self.keep_notes(now, dialog, request);
                self.settle_dialog(now, dialog);
            }
            Err(no) => self.refuse(now, dialog, request, no),
        }
    }

    /// Takes a session, or says why not; gives the SDP of the answer.
    fn take(&mut self, now: Now, dialog: DialogId, flow: Flow, request: &Request) -> Result<Vec<u8>, No> {
        let body = Body::read(request);
        let offer = body.sdp.map(SessionDescription::parse).transpose().map_err(|e| No::new(400, e.to_string()))?;
        let offered =
            offer.as_ref().map(|sdp| lines(sdp, flow.remote.ip())).transpose().map_err(|why| No::not_acceptable(&why))?;
        let read = |audio_lines| Session::read(request, body.metadata.as_ref(), audio_lines);
        let audio_lines = offered.as_ref().map_or_else(|| read(1).lines_to_offer(), |lines| lines.iter().flatten().count());
        let session = read(audio_lines);
        if !self.calls.would_join(&session) {
            self.check_place(request)?;
        }
        let lines = offered.unwrap_or_else(|| vec![Some(Line::offered()); audio_lines]);
        let own = own_address(&self.config, &flow);
        let (calls, mut outside) = self.outside(now, own);
        let admission = calls.admit(now, key(dialog), &session, &lines, &mut outside).map_err(no)?;
        let delayed = if offer.is_none() { ", delayed offer" } else { "" };
        tracing::info!(recording = %admission.id, call_id = %request.call_id, from = %flow.remote, "session accepted{delayed}");
        self.ledger.totals.recordings += u64::from(admission.is_new);
        let mut local = LocalDescription::new(dialog.0.wrapping_add(now.wall.0.unsigned_abs()));
        let sdp = describe(&mut local, offer.as_ref(), &admission, own);
        self.dialogs.insert(key(dialog), Dialog { flow, local, is_settled: offer.is_some() });
        Ok(sdp)
    }

    /// Whether a new call is to be recorded here: not while the box takes none, and not when it belongs to another location that
    /// has a box.
    fn check_place(&self, request: &Request) -> Result<(), No> {
        let own = self.config.site.geo_location.as_deref();
        if let Some(why) = self.refusing() {
            let peers = peers(&self.config.peers, own);
            return Err(if peers.is_empty() { No::unavailable(why) } else { No::elsewhere(&peers) });
        }
        let Some(wanted) = request.headers.text("X-Genesys-geo-location") else { return Ok(()) };
        let wanted = wanted.trim();
        let there: Vec<&Peer> = self.config.peers.iter().filter(|peer| peer.geo_location.as_deref() == Some(wanted)).collect();
        match own == Some(wanted) || there.is_empty() {
            true => Ok(()), // better recorded here than not at all
            false => Err(No::elsewhere(&there)),
        }
    }

    fn on_reinvite(&mut self, now: Now, dialog: DialogId, request: &Request) {
        let accepted = match self.renegotiate(now, dialog, request) {
            Ok(Some(sdp)) => self.sip.endpoint().accept(now.mono, dialog, SDP, sdp),
            Ok(None) => self.sip.endpoint().accept(now.mono, dialog, "", Vec::new()),
            Err(no) => return self.refuse(now, dialog, request, no),
        };
        log_gone(accepted, request);
        self.keep_notes(now, dialog, request);
        self.settle_dialog(now, dialog);
    }

    /// A re-INVITE or UPDATE. Without SDP a re-INVITE asks for our offer, and an UPDATE only refreshes the session.
    fn renegotiate(&mut self, now: Now, dialog: DialogId, request: &Request) -> Result<Option<Vec<u8>>, No> {
        let body = Body::read(request);
        let Some(known) = self.dialogs.get_mut(&key(dialog)) else { return Err(No::new(481, "no such session")) };
        let own = own_address(&self.config, &known.flow);
        let Some(sdp) = body.sdp else {
            return Ok(if request.method == Method::Invite { known.local.offer_again(own) } else { None });
        };
        let offer = SessionDescription::parse(sdp).map_err(|e| No::new(400, e.to_string()))?;
        // A line that cannot be used is a pause; only one that wants an unknown codec is refused.
        let taken = match lines(&offer, known.flow.remote.ip()) {
            Ok(taken) => taken,
            Err(_) if offer.media.iter().all(|media| media.port == 0) => vec![None; offer.media.len()],
            Err(why) => return Err(No::not_acceptable(&why)),
        };
        let admission = self.change(now, dialog, request, &taken)?;
        let Some(known) = self.dialogs.get_mut(&key(dialog)) else { return Err(No::new(481, "no such session")) };
        Ok(Some(describe(&mut known.local, Some(&offer), &admission, own)))
    }

    /// Brings recording and streams to the new state of a session's lines.
    fn change(&mut self, now: Now, dialog: DialogId, request: &Request, lines: &[Option<Line>]) -> Result<Admission, No> {
        let Some(known) = self.dialogs.get(&key(dialog)) else { return Err(No::new(481, "no such session")) };
        let own = own_address(&self.config, &known.flow);
        let metadata = Body::read(request).metadata;
        let session = Session::read(request, metadata.as_ref(), lines.iter().flatten().count());
        let (calls, mut outside) = self.outside(now, own);
        let admission = calls.renegotiate(now, key(dialog), &session, lines, &mut outside).map_err(no)?;
        let active = lines.iter().flatten().filter(|line| line.active).count();
        tracing::info!(recording = %admission.id, method = %request.method, active, "session renegotiated");
        let streams: Vec<_> = admission.lines.iter().map(|line| line.map(|(stream, _)| stream)).collect();
        self.apply(now, &streams, lines);
        Ok(admission)
    }

    /// The ACK of a delayed offer brings the answer.
    fn on_answered(&mut self, now: Now, dialog: DialogId, request: &Request) {
        let Some(known) = self.dialogs.get_mut(&key(dialog)) else { return };
        let was_settled = std::mem::replace(&mut known.is_settled, true);
        let peer = known.flow.remote.ip();
        let answer = Body::read(request).sdp.map(SessionDescription::parse);
        let answered = match answer {
            Some(Ok(sdp)) => lines(&sdp, peer),
            Some(Err(fault)) => Err(fault.to_string()),
            None => Err("the ACK has no session description".into()),
        };
        match answered {
            Ok(lines) if was_settled => {
                if let Err(no) = self.change(now, dialog, request, &lines) {
                    tracing::warn!(call_id = %request.call_id, "the answer to our offer changes nothing: {}", no.reason);
                }
            }
            Ok(lines) => {
                let streams = self.calls.answered(now, key(dialog), &lines);
                self.apply(now, &streams, &lines);
                self.settle_dialog(now, dialog);
            }
            Err(why) => {
                tracing::warn!(call_id = %request.call_id, "the answer to our offer cannot be used: {why}; the session is ended");
                self.sip.endpoint().bye(now.mono, dialog, "unusable answer");
                self.on_ended(now, dialog, EndReason::Bye);
            }
        }
    }

    /// Goes on with a recording that was running when the box stopped, and whose audio reaches to `kept`.
    pub(super) fn restore(&mut self, now: Now, recording: Recording, kept: MediaTime) {
        let (calls, mut outside) = self.outside(now, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        calls.restore(now, recording, kept, &mut outside);
    }

    /// The recordings, and all that they need to decide.
    fn outside(&mut self, now: Now, own: IpAddr) -> (&mut Calls, Outside<'_>) {
        let (media, reader, sip, dialogs) = (&mut self.media, &self.reader, &mut self.sip, &mut self.dialogs);
        (&mut self.calls, Outside { media, reader, now, sip, dialogs, judge: &mut self.judge, cti: &self.cti, own })
    }

    /// Writes down what is needed to go on with a dialog after a restart.
    fn settle_dialog(&mut self, now: Now, dialog: DialogId) {
        let (Some(known), Some(saved)) = (self.dialogs.get(&key(dialog)), self.sip.endpoint().save(dialog)) else { return };
        if !known.is_settled {
            return; // the answer to our offer would come while we are away: nothing could be gone on with
        }
        let saved = Saved { dialog: saved, local: known.local.clone() };
        match Json::of(&saved) {
            Ok(saved) => self.calls.settled(now, key(dialog), saved),
            Err(error) => tracing::error!("a dialog cannot be saved: {error}"),
        }
    }

    fn on_ended(&mut self, now: Now, dialog: DialogId, reason: EndReason) {
        self.dialogs.remove(&key(dialog));
        self.calls.end(now, key(dialog), reason);
    }

    /// Keeps what a request says beside SDP.
    fn keep_notes(&mut self, now: Now, dialog: DialogId, request: &Request) {
        for part in Body::read(request).others {
            let body = String::from_utf8_lossy(part.body).into_owned();
            let note = Note { time: now.wall, method: request.method.to_string(), content_type: part.media_type, body };
            self.calls.note(now, key(dialog), note);
        }
    }

    fn refuse(&mut self, now: Now, dialog: DialogId, request: &Request, no: No) {
        let id = crate::session::msr::recording_id(request);
        let recording = id.as_ref().map_or("-", |id| &id.0);
        tracing::warn!(recording, call_id = %request.call_id, status = no.status, "{} refused: {} {}", request.method, no.reason, no.header.as_ref().map_or("", |(_, value)| value));
        *self.ledger.totals.refused.entry(no.status).or_default() += 1;
        let mut headers = Headers::default();
        if let Some((name, value)) = no.header {
            headers.push(name, value);
        }
        let rejected = self.sip.endpoint().reject(now.mono, dialog, StatusCode::from(no.status), &no.reason, headers);
        log_gone(rejected, request);
    }

    /// Tells the media thread what has been negotiated.
    fn apply(&self, now: Now, streams: &[Option<StreamKey>], lines: &[Option<Line>]) {
        for (n, stream) in streams.iter().enumerate().filter_map(|(n, stream)| stream.map(|stream| (n, stream))) {
            let change = match lines.get(n).and_then(Option::as_ref) {
                Some(line) => StreamChange {
                    remote: Some(remote(line)),
                    payloads: Some(payloads(line)),
                    paused: Some(self.calls.is_paused(stream)),
                    kept_from: None,
                },
                None => StreamChange { paused: Some(true), ..StreamChange::default() },
            };
            self.media.change(stream, now.mono, change);
        }
    }
}

impl Daemon {
    /// Carries out what the recordings ask of SIP, media and spool.
    pub(super) fn carry_out(&mut self, now: Now, action: Action) {
        match action {
            Action::Describe(recording) => {
                self.tell_cti(&recording);
                self.describe(recording);
            }
            Action::Close(stream) => self.media.close(stream),
            Action::PauseOver(no) => self.cti.tell(crate::cti::Command::Asked(no, Wish::Resume)),
            Action::Mask(stream, at, paused) => {
                let kept_from = (!paused).then_some(at);
                self.media.change(stream, at, StreamChange { paused: Some(paused), kept_from, ..StreamChange::default() });
            }
            Action::Probe(session) => self.sip.endpoint().probe(now.mono, DialogId(session.0)),
            Action::Bye(session) => {
                self.dialogs.remove(&session);
                self.sip.endpoint().bye(now.mono, DialogId(session.0), "recording ended by the recorder");
            }
        }
    }
}

/// What recordings need of the media thread and the ledger while they decide.
struct Outside<'a> {
    media: &'a mut Media,
    reader: &'a Reader,
    now: Now,
    sip: &'a mut SipDriver,
    dialogs: &'a mut HashMap<SessionKey, Dialog>,
    judge: &'a mut Judge,
    cti: &'a Cti,
    /// Address for the SDP.
    own: IpAddr,
}

impl Surroundings for Outside<'_> {
    fn open(&mut self, opening: &Opening<'_>) -> Result<SocketAddr, String> {
        let spec = StreamSpec {
            key: opening.key,
            recording_id: opening.recording_id.clone(),
            origin: opening.origin,
            local: Some(opening.local.map_or(self.own, |local| local.ip())),
            port: opening.local.map(|local| local.port()),
            remote: remote(opening.line),
            payloads: payloads(opening.line),
            paused: opening.paused,
            anchor: opening.anchor,
            begins: opening.begins,
        };
        self.media.open(&spec).map_err(|e| e.to_string())
    }

    fn close(&mut self, key: StreamKey) {
        self.media.close(key);
    }

    fn resume(&mut self, session: &SavedSession) -> Option<SessionKey> {
        let saved: Saved = session.dialog.read().ok()?;
        let restored = self.sip.endpoint().restore(self.now.mono, saved.dialog);
        let warn = |error: &RestoreError| tracing::error!(call_id = %session.call_id, "the session cannot go on after the restart: {error}");
        let dialog = restored.inspect_err(warn).ok()?;
        let flow = self.sip.endpoint().flow(dialog)?;
        self.dialogs.insert(key(dialog), Dialog { flow, local: saved.local, is_settled: true });
        Some(key(dialog))
    }

    fn judge(&mut self, session: &Session) -> Result<Placement, Declined> {
        self.judge.judge(self.now, session, self.cti)
    }

    /// While the ledger cannot be read, an id counts as new: should it not be, the finisher refuses to overwrite.
    fn is_known(&self, id: &RecordingId) -> bool {
        self.reader.find(id).is_ok_and(|known| known.is_some())
    }
}

fn remote(line: &Line) -> Remote {
    Remote { rtp: line.remote, rtcp: line.remote_rtcp, mux: line.rtcp_mux }
}

fn payloads(line: &Line) -> PayloadMap {
    PayloadMap::new(line.payloads.iter().copied())
}

fn key(dialog: DialogId) -> SessionKey {
    SessionKey(dialog.0)
}

/// A request may be gone when its answer is ready: cancelled, or its connection closed. Its end comes as an event.
fn log_gone(answered: Result<(), NothingPending>, request: &Request) {
    if let Err(gone) = answered {
        tracing::info!(call_id = %request.call_id, method = %request.method, "not answered: {gone}");
    }
}

fn no(refusal: Refusal) -> No {
    match refusal {
        Refusal::Full(_) | Refusal::NoStream(_) => No::unavailable(refusal.to_string()),
        // 603 is for good and from everywhere (RFC 3261 §21.6.2): no other recorder is to be asked.
        Refusal::Declined(_) => No::new(603, refusal.to_string()),
        Refusal::UnknownSession => No::new(481, refusal.to_string()),
    }
}

/// Our half of the SDP for what has been admitted.
fn describe(local: &mut LocalDescription, offer: Option<&SessionDescription>, admission: &Admission, own: IpAddr) -> Vec<u8> {
    let ports: Vec<Option<SocketAddr>> = admission.lines.iter().map(|line| line.map(|(_, address)| address)).collect();
    match offer {
        Some(offer) => local.answer(offer, &ports, own),
        None => local.offer(&ports.into_iter().flatten().collect::<Vec<_>>(), own),
    }
}

/// All peers, those at `own` first.
fn peers<'a>(peers: &'a [Peer], own: Option<&str>) -> Vec<&'a Peer> {
    let (near, far): (Vec<&Peer>, Vec<&Peer>) = peers.iter().partition(|p| own.is_some() && p.geo_location.as_deref() == own);
    near.into_iter().chain(far).collect()
}

/// `[rtp] address`, else the address the session came in on.
fn own_address(config: &crate::config::Config, flow: &Flow) -> IpAddr {
    config.rtp.address.unwrap_or_else(|| flow.local.ip())
}
