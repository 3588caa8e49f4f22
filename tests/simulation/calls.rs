//! The other side: calls whose sessions come, pause, fail over, end or vanish, and a network that loses, doubles, delays and so
//! reorders their packets.
//!
//! What a packet holds follows from who sends it and when: sixteen bytes every two milliseconds say "voice 17, frame
//! 4,711", so the judge sees of every sample of a file whether it is in its place.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fastrand::Rng;
use nearend::clock::Now;
use nearend::model::block::Law;
use nearend::model::recording::Dialect;
use nearend::model::{Channel, EndReason, Line, MonoTime, Payload, RecordingId, StreamKey};
use nearend::recording::SessionKey;
use nearend::rtp::StreamChange;
use nearend::session::{Party, Session};

use crate::machine::{Asked, Datagram, Machine};

/// Samples of a frame, and of a packet.
pub(crate) const FRAME: usize = 16;
const PACKET: usize = 160;
const PACKET_US: u64 = 20_000;
const MARK: u8 = 0x7E;

/// How long a peer repeats a BYE that nobody answers (RFC 3261 §17.1.2.2).
const BYE_TRIES_US: u64 = 32_000_000;

/// Where all peers are.
pub(crate) fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], 30_000))
}

/// What the network does at present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) lost_percent: u32,
    pub(crate) doubled_percent: u32,
    pub(crate) jitter_us: u64,
}

impl Weather {
    pub(crate) const FAIR: Weather = Weather { lost_percent: 0, doubled_percent: 0, jitter_us: 5_000 };
    pub(crate) const FOUL: Weather = Weather { lost_percent: 10, doubled_percent: 10, jitter_us: 200_000 };
}

/// One direction of speech.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) call: usize,
    pub(crate) channel: Channel,
    /// When its first sample was spoken.
    pub(crate) began_us: u64,
    until_us: u64,
    stream: StreamKey,
    port: u16,
    law: Law,
    sent: u64,
    first_seq: u16,
    first_time: u32,
    /// At this packet another source goes on.
    changes_at: u64,
    delay_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Up,
    Over,
}

#[derive(Debug)]
struct Dialog {
    call: usize,
    channels: Vec<Channel>,
    begins_us: u64,
    ends_us: u64,
    says_bye: bool,
    pause_us: Option<(u64, u64)>,
    is_paused: bool,
    state: State,
    next_try_us: u64,
    voices: Vec<usize>,
}

/// A call as its sender knows it.
#[derive(Debug)]
pub(crate) struct Call {
    /// None: the sender gives no id.
    pub(crate) id: Option<String>,
    law: Law,
}

/// All calls, and what is on the wire.
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    dialogs: Vec<Dialog>,
    pub(crate) voices: Vec<Voice>,
    wire: BTreeMap<(u64, u64), (u16, Vec<u8>)>,
    on_wire: u64,
    pub(crate) weather: Weather,
    rng: Rng,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Calls {
    /// Calls that begin within `span_us`.
    pub(crate) fn new(mut rng: Rng, span_us: u64) -> Calls {
        let mut calls = Calls {
            calls: Vec::new(),
            dialogs: Vec::new(),
            voices: Vec::new(),
            wire: BTreeMap::new(),
            on_wire: 0,
            weather: Weather::FAIR,
            counts: BTreeMap::new(),
            rng: rng.fork(),
        };
        for nth in 0..rng.usize(3..9) {
            let again = (nth > 0 && rng.u32(..8) == 0).then(|| rng.usize(..nth)).and_then(|old| calls.calls[old].id.clone());
            let id = again.or_else(|| (rng.u32(..10) > 0).then(|| format!("call-{nth:02}")));
            let law = if rng.u32(..4) == 0 { Law::Pcma } else { Law::Pcmu };
            let same = calls.calls.iter().find(|call| id.is_some() && call.id == id);
            let law = same.map_or(law, |call| call.law); // another one would be converted
            calls.calls.push(Call { id, law });
            calls.add_dialogs(nth, &mut rng, span_us);
        }
        calls
    }

    fn add_dialogs(&mut self, call: usize, rng: &mut Rng, span_us: u64) {
        use Channel::{Other, Recorded};
        let begins_us = rng.u64(100_000..span_us);
        let ends_us = begins_us + rng.u64(1_000_000..40_000_000);
        let mut add = |channels: &[Channel], begins_us: u64, rng: &mut Rng| {
            let length_us = ends_us.saturating_sub(begins_us);
            let pause_us = (rng.u32(..5) == 0).then(|| {
                let from = begins_us + rng.u64(..length_us.max(1));
                (from, from + rng.u64(100_000..8_000_000))
            });
            let says_bye = rng.u32(..6) > 0;
            let ends_us = ends_us + rng.u64(..300_000);
            let channels = channels.to_vec();
            self.dialogs.push(Dialog {
                call,
                channels,
                begins_us,
                ends_us,
                says_bye,
                pause_us,
                is_paused: false,
                state: State::Waiting,
                next_try_us: 0,
                voices: Vec::new(),
            });
        };
        if self.calls[call].id.is_none() || rng.u32(..3) == 0 {
            add(&[Recorded, Other], begins_us, rng);
        } else {
            add(&[Recorded], begins_us, rng);
            let after_us = rng.u64(..2_000_000);
            add(&[Other], begins_us + after_us, rng);
            if rng.u32(..3) == 0 {
                let failover_us = begins_us + rng.u64(1_000_000..10_000_000);
                add(&[Recorded], failover_us, rng);
            }
        }
    }

    /// What happens up to now: packets leave and arrive, sessions begin, change and end.
    pub(crate) fn tick(&mut self, true_us: u64, now: Now, mut machine: Option<&mut Machine>) {
        self.speak(true_us);
        self.carry(true_us, now, machine.as_deref_mut());
        if let Some(machine) = machine {
            for asked in std::mem::take(&mut machine.asked) {
                self.answer(asked, now, machine);
            }
            for nth in 0..self.dialogs.len() {
                self.advance(nth, true_us, now, machine);
            }
        }
        for nth in 0..self.dialogs.len() {
            let dialog = &self.dialogs[nth];
            let gives_up_us = dialog.ends_us + if dialog.says_bye { BYE_TRIES_US } else { 0 };
            if true_us >= gives_up_us && dialog.state != State::Over {
                self.end(nth, true_us);
            }
        }
    }

    pub(crate) fn are_over(&self) -> bool {
        self.wire.is_empty() && self.dialogs.iter().all(|dialog| dialog.state == State::Over)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Sends what is due.
    fn speak(&mut self, true_us: u64) {
        for nth in 0..self.voices.len() {
            loop {
                let voice = &mut self.voices[nth];
                let at_us = voice.began_us + voice.sent * PACKET_US + PACKET_US; // spoken, then sent
                if at_us > true_us || at_us > voice.until_us {
                    break;
                }
                let packet = packet(u16::try_from(nth).expect("some dozens"), voice);
                voice.sent += 1;
                let (port, delay_us) = (voice.port, voice.delay_us);
                self.send(at_us + delay_us, port, packet);
            }
        }
    }

    fn send(&mut self, at_us: u64, port: u16, packet: Vec<u8>) {
        self.count("packets sent");
        if self.rng.u32(..100) < self.weather.lost_percent {
            return self.count("packets lost");
        }
        if self.rng.u32(..100) < self.weather.doubled_percent {
            self.count("packets doubled");
            self.put_on_wire(at_us, port, packet.clone());
        }
        self.put_on_wire(at_us, port, packet);
    }

    fn put_on_wire(&mut self, at_us: u64, port: u16, packet: Vec<u8>) {
        let arrives_us = at_us + self.rng.u64(..self.weather.jitter_us.max(1));
        self.on_wire += 1;
        self.wire.insert((arrives_us, self.on_wire), (port, packet));
    }

    /// Brings what has arrived into the box's sockets.
    fn carry(&mut self, true_us: u64, now: Now, mut machine: Option<&mut Machine>) {
        while let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= true_us) {
            let ((arrives_us, _), (port, bytes)) = first.remove_entry();
            let arrived = MonoTime(now.mono.0.saturating_sub(true_us - arrives_us));
            let heard = machine.as_deref_mut().is_some_and(|machine| machine.receive(port, Datagram { arrived, bytes }));
            self.count(if heard { "packets received" } else { "packets for nobody" });
        }
    }

    fn answer(&mut self, asked: Asked, now: Now, machine: &mut Machine) {
        let (Asked::Bye(key) | Asked::Probe(key)) = asked;
        let nth = usize::try_from(key.0).expect("an index");
        match asked {
            Asked::Bye(_) => self.end(nth, 0),
            Asked::Probe(_) if self.dialogs[nth].state == State::Over => {
                self.count("sessions found vanished");
                machine.calls(now).0.end(now, key, EndReason::PeerVanished);
            }
            Asked::Probe(_) => {}
        }
    }

    fn end(&mut self, nth: usize, _true_us: u64) {
        self.dialogs[nth].state = State::Over;
        for voice in self.dialogs[nth].voices.clone() {
            let voice = &mut self.voices[voice];
            voice.until_us = voice.until_us.min(voice.began_us + voice.sent * PACKET_US);
        }
    }

    fn advance(&mut self, nth: usize, true_us: u64, now: Now, machine: &mut Machine) {
        let dialog = &self.dialogs[nth];
        match dialog.state {
            State::Waiting if true_us >= dialog.ends_us => self.dialogs[nth].state = State::Over,
            State::Waiting if true_us >= dialog.begins_us.max(dialog.next_try_us) => self.begin(nth, true_us, now, machine),
            State::Up if true_us >= dialog.ends_us && dialog.says_bye => {
                machine.calls(now).0.end(now, key(nth), EndReason::Bye);
                self.count("sessions ended");
                self.end(nth, true_us);
            }
            State::Up => self.pause(nth, true_us, now, machine),
            _ => {}
        }
    }

    fn begin(&mut self, nth: usize, true_us: u64, now: Now, machine: &mut Machine) {
        let (session, lines) = (self.session(nth), self.lines(nth, true));
        let is_taken = machine.takes_calls() || machine.calls.would_join(&session);
        let (calls, mut outside) = machine.calls(now);
        let admitted = is_taken.then(|| calls.admit(now, key(nth), &session, &lines, &mut outside));
        let Some(Ok(admission)) = admitted else {
            self.dialogs[nth].next_try_us = true_us + 1_000_000;
            return self.count("sessions refused");
        };
        calls.settled(now, key(nth), serde_json::json!(nth));
        self.count("sessions accepted");
        let dialog = &mut self.dialogs[nth];
        dialog.state = State::Up;
        for (channel, (stream, address)) in dialog.channels.iter().zip(admission.lines.into_iter().flatten()) {
            let law = self.calls[dialog.call].law;
            dialog.voices.push(self.voices.len());
            self.voices.push(Voice {
                call: dialog.call,
                channel: *channel,
                began_us: true_us + self.rng.u64(..200_000),
                until_us: dialog.ends_us,
                stream,
                port: address.port(),
                law,
                sent: 0,
                first_seq: self.rng.u16(..),
                first_time: self.rng.u32(..),
                changes_at: if self.rng.u32(..6) == 0 { self.rng.u64(50..1_000) } else { u64::MAX },
                delay_us: self.rng.u64(1_000..60_000),
            });
        }
    }

    fn pause(&mut self, nth: usize, true_us: u64, now: Now, machine: &mut Machine) {
        let dialog = &self.dialogs[nth];
        let wants = dialog.pause_us.is_some_and(|(from, to)| (from..to).contains(&true_us));
        if wants == dialog.is_paused {
            return;
        }
        let (session, lines) = (self.session(nth), self.lines(nth, !wants));
        let (calls, mut outside) = machine.calls(now);
        if calls.renegotiate(now, key(nth), &session, &lines, &mut outside).is_err() {
            return; // the box does not know the session any more
        }
        calls.settled(now, key(nth), serde_json::json!(nth));
        self.count("pauses and their ends");
        self.dialogs[nth].is_paused = wants;
        for voice in &self.dialogs[nth].voices {
            let change = StreamChange { paused: Some(wants), ..StreamChange::default() };
            machine.change(self.voices[*voice].stream, now.mono, change);
        }
    }

    fn session(&self, nth: usize) -> Session {
        let dialog = &self.dialogs[nth];
        let party = |channel: &Channel| Party { channel: Some(*channel), dn: Some("7001".into()), label: None };
        Session {
            dialect: Dialect::Msr,
            call_id: format!("{nth}@mcp"),
            recording_id: self.calls[dialog.call].id.as_deref().map(|id| RecordingId(id.into())),
            call_uuid: None,
            tenant_hints: Vec::new(),
            parties: dialog.channels.iter().map(party).collect(),
            parameters: BTreeMap::new(),
            headers: Vec::new(),
            metadata_incomplete: false,
        }
    }

    fn lines(&self, nth: usize, active: bool) -> Vec<Option<Line>> {
        let law = self.calls[self.dialogs[nth].call].law;
        let payloads = vec![(payload_type(law), Payload::Audio(law))];
        let line = Line { law, remote: peer(), remote_rtcp: None, rtcp_mux: false, active, label: None, payloads };
        vec![Some(line); self.dialogs[nth].channels.len()]
    }
}

fn key(nth: usize) -> SessionKey {
    SessionKey(nth as u64)
}

fn payload_type(law: Law) -> u8 {
    if law == Law::Pcmu { 0 } else { 8 }
}

/// The next packet of a voice (RFC 3550 §5.1).
fn packet(nth: u16, voice: &Voice) -> Vec<u8> {
    let changed = u32::from(voice.sent >= voice.changes_at);
    let seq = voice.first_seq.wrapping_add(voice.sent as u16).wrapping_add(changed as u16 * 7_000);
    let time = voice.first_time.wrapping_add(voice.sent as u32 * PACKET as u32).wrapping_add(changed * 0x3000_0000);
    let ssrc = u32::from(nth) * 2 + changed + 1;
    let mut out = vec![0x80, payload_type(voice.law)];
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&time.to_be_bytes());
    out.extend_from_slice(&ssrc.to_be_bytes());
    let first = voice.sent as u32 * (PACKET / FRAME) as u32;
    (0..(PACKET / FRAME) as u32).for_each(|n| out.extend_from_slice(&frame(nth, first + n)));
    out
}

/// What a voice says in two milliseconds: only bytes below 64 behind a mark, so never silence.
fn frame(voice: u16, number: u32) -> [u8; FRAME] {
    let digit = |value: u32, nth: u32| (value >> (6 * nth) & 0x3F) as u8;
    let check = (u32::from(voice) * 40_503 + 12_345).wrapping_mul(number.wrapping_mul(2_654_435_761) | 1);
    let v = u32::from(voice);
    let mut out =
        [MARK, digit(v, 0), digit(v, 1), digit(number, 0), digit(number, 1), digit(number, 2), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    (0..10).for_each(|n| out[6 + n] = digit(check.rotate_left(3 * n as u32), n as u32 % 5));
    out
}

/// The voice and number of a frame.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<(u16, u32)> {
    let &[MARK, v0, v1, n0, n1, n2, ..] = bytes.first_chunk::<FRAME>()? else { return None };
    let voice = u16::from(v0) | u16::from(v1) << 6;
    let number = u32::from(n0) | u32::from(n1) << 6 | u32::from(n2) << 12;
    (frame(voice, number) == bytes[..FRAME]).then_some((voice, number))
}
