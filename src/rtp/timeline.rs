//! Where on the time line of the recording the samples of an RTP stream belong.
//!
//! The first packet lies where it arrived; from then on the RTP timestamps say how far apart packets lie, so that jitter,
//! reordering and loss move nothing. When the timestamps no longer agree with the time that really went by, the place is
//! taken anew from the arrival. The time line never goes back behind what has been placed. A clock that runs a little too slow or
//! too fast is set right in small steps ([`Drift`]).

use super::drift::Drift;
use crate::model::{MediaTime, MonoTime, RtpTime};

/// A gap that timestamps and arrival both show (silence suppression) may differ by this much: jitter.
const GAP_TOLERANCE: i64 = ms(200);

/// Timestamps that ran through a signalled pause may be off by this much.
const PAUSE_TOLERANCE: i64 = ms(60);

/// Timestamps may be this far from arrival all at once: a delay that grows.
const DRIFT_TOLERANCE: i64 = ms(1_000);

/// No packet lies further than this from its arrival.
const FARTHEST: i64 = ms(10_000);

/// A packet that was overtaken by those of the next source is late by this much at most.
const OVERTAKEN: i64 = ms(500);

const fn ms(ms: i64) -> i64 {
    ms * MediaTime::RATE / 1_000
}

/// Maps RTP timestamps to places.
#[derive(Debug)]
pub struct Timeline {
    /// Zero of the time line.
    origin: MonoTime,
    /// Something lies on it.
    begun: bool,
    anchor: Option<Anchor>,
    /// How it was before the place was last taken anew or corrected.
    former: Option<Box<Former>>,
    /// The source before this one, of which packets may still come.
    left: Option<Box<Left>>,
    /// What lies before is not its own.
    begins: i64,
    /// Where the next place may begin: the end of all that has been placed.
    end: i64,
    /// A pause has just ended.
    resumed: bool,
    /// A timestamp of the source that is about to begin, and its place.
    known: Option<(RtpTime, i64)>,
    /// Since when, by arrival and by timestamp, packets have come more than [`DRIFT_TOLERANCE`] late.
    late_since: Option<(MonoTime, RtpTime)>,
    drift: Drift,
}

/// The newest packet, from which the places of the others are counted. Places in samples.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    seq: u16,
    time: RtpTime,
    place: i64,
    samples: i64,
    arrival: i64,
    /// Place minus arrival when the place was last taken anew.
    offset: i64,
}

/// A mapping that no longer holds, for packets that were sent while it did and come now.
#[derive(Clone, Copy, Debug)]
struct Former {
    /// The last packet placed by it.
    anchor: Anchor,
    /// The first packet that is not, and where its samples lie.
    until: (u16, i64),
}

/// A source that is over.
#[derive(Clone, Copy, Debug)]
struct Left {
    /// Its newest packet.
    anchor: Anchor,
    /// Where the next source begins; none until that is known.
    until: Option<i64>,
}

/// Of a packet, what its place depends on.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it arrived.
    pub arrived: MonoTime,
    /// Its sequence number.
    pub seq: u16,
    /// Its timestamp.
    pub time: RtpTime,
    /// How many samples it holds.
    pub samples: usize,
}

/// The place of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Taken from its arrival, because nothing was there before.
    First(MediaTime),
    /// As its timestamp says.
    Known(MediaTime),
    /// The same, but for a clock that runs too slow or too fast.
    Corrected {
        /// Where what is left of the samples lies.
        at: MediaTime,
        /// Positive: so many samples of silence go before them. Negative: so many of them are left out at the beginning.
        by: i64,
    },
    /// Taken anew from its arrival.
    Anew(MediaTime),
    /// None: its timestamp contradicts its sequence number and its arrival.
    Nowhere,
}

impl Timeline {
    /// One on which nothing lies from `begins` on.
    pub fn new(origin: MonoTime, begins: MediaTime) -> Timeline {
        Timeline {
            origin,
            begun: false,
            anchor: None,
            former: None,
            left: None,
            begins: begins.0.max(0),
            end: begins.0.max(0),
            resumed: false,
            known: None,
            late_since: None,
            drift: Drift::default(),
        }
    }

    /// The place that belongs to an instant.
    pub fn at(&self, t: MonoTime) -> MediaTime {
        let since_origin = i128::from(t.0) - i128::from(self.origin.0);
        MediaTime::from_micros(i64::try_from(since_origin).unwrap_or(i64::MAX))
    }

    /// The place of a timestamp by the present mapping; none when there is none, or when that is far from `arrived`.
    pub fn of(&self, time: RtpTime, arrived: MonoTime) -> Option<MediaTime> {
        let anchor = self.anchor?;
        let place = anchor.place + time.ticks_since(anchor.time);
        ((place - self.at(arrived).0).abs() <= FARTHEST).then_some(MediaTime(place))
    }

    /// Where the newest packet lies.
    pub fn newest(&self) -> Option<(RtpTime, MediaTime)> {
        self.anchor.map(|anchor| (anchor.time, MediaTime(anchor.place)))
    }

    /// The source about to begin is known from before a restart of the box: its first packet lies where its timestamp says,
    /// if that agrees with its arrival.
    pub fn go_on_from(&mut self, time: RtpTime, place: MediaTime) {
        self.known = Some((time, place.0));
    }

    /// Another source begins: its timestamps have nothing to do with those before.
    pub fn forget_source(&mut self) {
        self.left = self.anchor.take().map(|anchor| Box::new(Left { anchor, until: None }));
        self.former = None;
        self.late_since = None;
    }

    /// Where a packet of the source before belongs that was overtaken by the present one: nowhere, if there lies what the present one
    /// said. None when it is not that, but may be the beginning of the source's return.
    pub fn place_of_left(&mut self, packet: Timing) -> Option<Place> {
        let arrival = self.at(packet.arrived).0;
        let (left, newest) = (self.left.as_mut()?, self.anchor?);
        let place = left.anchor.place_of(packet);
        if place >= newest.place || (place - arrival).abs() > OVERTAKEN {
            return None;
        }
        let fits = place >= self.begins && left.until.is_some_and(|until| place + packet.len() <= until);
        if !fits {
            return Some(Place::Nowhere);
        }
        left.anchor = left.anchor.or_newer(packet, place);
        Some(Place::Known(MediaTime(place)))
    }

    /// A signalled pause is over; the sender's clock may have stood still meanwhile.
    pub fn resume(&mut self) {
        self.resumed = true;
    }

    /// The place of a packet, all of whose samples will be put there. `is_quiet` is asked only when it matters.
    pub fn place(&mut self, packet: Timing, is_quiet: impl FnOnce() -> bool) -> Place {
        let arrival = self.at(packet.arrived).0.max(0);
        let Some(anchor) = self.anchor else { return self.take_anew(packet, arrival) };
        let place = anchor.place_of(packet);
        let is_newer = packet.seq.wrapping_sub(anchor.seq).cast_signed() > 0;
        if is_newer && self.must_take_anew(anchor, packet, place, arrival) {
            return self.take_anew(packet, arrival);
        }
        let place = if is_newer { Some(place) } else { self.place_of_older(anchor, packet) };
        let Some(place) = place.filter(|place| *place >= self.begins && (place - arrival).abs() <= FARTHEST) else {
            return Place::Nowhere;
        };
        if !is_newer {
            return Place::Known(MediaTime(place));
        }
        let by =
            if anchor.is_followed_by(packet) { self.drift.correction(anchor.samples.min(packet.len()), is_quiet) } else { 0 };
        self.advance(packet, place + by, arrival, anchor.offset);
        if by != 0 {
            self.former = Some(Box::new(Former { anchor, until: (packet.seq, place + by.max(0)) }));
        }
        if by == 0 { Place::Known(MediaTime(place)) } else { Place::Corrected { at: MediaTime(place + by.max(0)), by } }
    }

    /// The place of a packet that was sent before the newest one: by the mapping of its time, and never among what another one
    /// placed.
    fn place_of_older(&mut self, anchor: Anchor, packet: Timing) -> Option<i64> {
        let now = anchor.place_of(packet);
        if let Some(former) = self.former.as_mut().filter(|former| packet.is_before(former.until.0)) {
            let (end, until) = (former.anchor.end(), former.until.1 - packet.len());
            let before = former.anchor.place_of(packet);
            if before <= until {
                former.anchor = former.anchor.or_newer(packet, before);
                return Some(before);
            }
            // Sent between the last packet of the one and the first of the other, it may be of either.
            former.until = if (end..=until).contains(&now) { (packet.seq, now) } else { return None };
        } else if let Some(left) = &mut self.left {
            if now < left.anchor.end() {
                return None;
            }
            left.until = left.until.map(|until| until.min(now));
        }
        Some(now)
    }

    fn must_take_anew(&mut self, anchor: Anchor, packet: Timing, place: i64, arrival: i64) -> bool {
        let drift = place - arrival - anchor.offset;
        let jumped = jumped(anchor, packet, arrival);
        let frozen = self.stays_late(drift, packet);
        let paused = std::mem::take(&mut self.resumed) && drift.abs() > PAUSE_TOLERANCE;
        jumped || frozen || paused || drift > DRIFT_TOLERANCE || drift.abs() > FARTHEST
    }

    /// Whether packets come too late and will go on doing so. After a stall of the network they come in a burst and have
    /// soon caught up: their places are right. After a sender has stopped and its timestamps with it, they come at the pace
    /// of speech: at the second such packet the place is taken anew.
    fn stays_late(&mut self, drift: i64, packet: Timing) -> bool {
        if drift >= -DRIFT_TOLERANCE {
            self.late_since = None;
            return false;
        }
        let Some((arrived, time)) = self.late_since else {
            self.late_since = Some((packet.arrived, packet.time));
            return false;
        };
        let went_by = MediaTime::from_micros(i64::try_from(packet.arrived.since(arrived).as_micros()).unwrap_or(i64::MAX)).0;
        went_by.saturating_mul(2) >= packet.time.ticks_since(time)
    }

    fn take_anew(&mut self, packet: Timing, arrival: i64) -> Place {
        let known = self.known.take().map(|(time, place)| place.saturating_add(packet.time.ticks_since(time)));
        let place = known.filter(|place| (place - arrival).abs() <= DRIFT_TOLERANCE).unwrap_or(arrival).max(self.end);
        if place - arrival > FARTHEST {
            return Place::Nowhere;
        }
        self.late_since = None;
        self.resumed = false;
        self.drift.placed_anew();
        self.former = self.anchor.map(|anchor| Box::new(Former { anchor, until: (packet.seq, place) }));
        if let Some(left) = &mut self.left {
            left.until.get_or_insert(place);
        }
        let is_first = !std::mem::replace(&mut self.begun, true);
        self.advance(packet, place, arrival, place - arrival);
        if is_first { Place::First(MediaTime(place)) } else { Place::Anew(MediaTime(place)) }
    }

    fn advance(&mut self, packet: Timing, place: i64, arrival: i64, offset: i64) {
        let samples = packet.len();
        self.anchor = Some(Anchor { seq: packet.seq, time: packet.time, place, samples, arrival, offset });
        self.end = self.end.max(place + samples);
        self.drift.packet(place, arrival);
    }
}

impl Timing {
    fn is_before(&self, seq: u16) -> bool {
        self.seq.wrapping_sub(seq).cast_signed() < 0
    }

    fn len(&self) -> i64 {
        i64::try_from(self.samples).unwrap_or(0) // a datagram's, so at most 65,507
    }
}

impl Anchor {
    fn place_of(&self, packet: Timing) -> i64 {
        self.place + packet.time.ticks_since(self.time)
    }

    fn end(&self) -> i64 {
        self.place + self.samples
    }

    /// The same mapping, counted from a packet at `place` if that is newer.
    fn or_newer(self, packet: Timing, place: i64) -> Anchor {
        if packet.is_before(self.seq) {
            return self;
        }
        Anchor { seq: packet.seq, time: packet.time, place, samples: packet.len(), ..self }
    }

    /// Whether the packet is the next one, and its samples follow at once.
    fn is_followed_by(&self, packet: Timing) -> bool {
        packet.seq == self.seq.wrapping_add(1) && packet.time.ticks_since(self.time) == self.samples && self.samples > 0
    }
}

/// Whether the timestamp of a newer packet went backwards, or forwards without lost packets or time gone by to explain it.
fn jumped(anchor: Anchor, packet: Timing, arrival: i64) -> bool {
    let advance = packet.time.ticks_since(anchor.time);
    let steps = i64::from(packet.seq.wrapping_sub(anchor.seq));
    let backwards = advance < 0 || (advance == 0 && anchor.samples > 0);
    let gap = advance > steps * anchor.samples;
    backwards || gap && (advance - (arrival - anchor.arrival)).abs() > GAP_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 20 ms; `n` counts them, `late_ms` is how late one arrives.
    struct Sender {
        line: Timeline,
        first_seq: u16,
        first_time: u32,
    }

    const ORIGIN: u64 = 7_000_000;

    impl Sender {
        fn new() -> Sender {
            Sender { line: Timeline::new(MonoTime(ORIGIN), MediaTime(0)), first_seq: 65_530, first_time: u32::MAX - 500 }
        }

        fn send(&mut self, n: u32, arrives_ms: u64) -> Place {
            self.send_with(n, n * 160, arrives_ms)
        }

        fn send_with(&mut self, n: u32, ticks: u32, arrives_ms: u64) -> Place {
            self.line.place(
                Timing {
                    arrived: MonoTime(ORIGIN + arrives_ms * 1_000),
                    seq: self.first_seq.wrapping_add(n as u16),
                    time: RtpTime(self.first_time.wrapping_add(ticks)),
                    samples: 160,
                },
                || false,
            )
        }
    }

    fn known(ms: i64) -> Place {
        Place::Known(MediaTime(ms * 8))
    }

    fn anew(ms: i64) -> Place {
        Place::Anew(MediaTime(ms * 8))
    }

    #[test]
    fn jitter_reordering_and_loss_move_nothing() {
        let mut sender = Sender::new();
        assert_eq!(sender.send(0, 300), Place::First(MediaTime(2_400)));
        assert_eq!(sender.send(1, 390), known(320));
        assert_eq!(sender.send(3, 391), known(360));
        assert_eq!(sender.send(2, 392), known(340));
        assert_eq!(sender.send(60, 1_500), known(1_500));
    }

    #[test]
    fn silence_suppression_keeps_the_timestamps() {
        let mut sender = Sender::new();
        sender.send(0, 0);
        assert_eq!(sender.send_with(1, 8 * 5_000, 5_150), known(5_000));
    }

    #[test]
    fn a_jump_takes_the_place_from_the_arrival() {
        let mut sender = Sender::new();
        sender.send(0, 100);
        assert_eq!(sender.send_with(1, 8 * 500, 125), anew(125), "forwards without time gone by");
        assert_eq!(sender.send_with(2, 8 * 520, 140), known(145), "and goes on from there");
        assert_eq!(sender.send_with(3, 77, 160), anew(165), "backwards, but never into what is there");
        assert_eq!(sender.send_with(4, 0x8000_0000, 300), anew(300));
    }

    #[test]
    fn an_old_packet_from_nowhere_is_not_placed() {
        let mut sender = Sender::new();
        for n in 0..10 {
            sender.send(n, u64::from(n) * 20);
        }
        assert_eq!(sender.send_with(5, 8 * 11_000, 200), Place::Nowhere);
        assert_eq!(sender.send_with(5, 0_u32.wrapping_sub(160), 200), Place::Nowhere, "before the origin");
    }

    #[test]
    fn what_was_sent_before_the_place_was_taken_anew_lies_where_it_was() {
        let mut sender = Sender::new();
        sender.send(0, 100);
        assert_eq!(sender.send(3, 160), known(160));
        assert_eq!(sender.send_with(5, 8 * 900, 240), anew(240));
        assert_eq!(sender.send(2, 250), known(140), "by the mapping of its time");
        assert_eq!(sender.send(4, 260), known(180), "where there is room before what was taken anew");
        assert_eq!(sender.send_with(6, 8 * 920, 270), known(260));
    }

    #[test]
    fn what_the_next_source_overtook_has_room_before_it_or_none() {
        let mut sender = Sender::new();
        sender.send(0, 100);
        sender.line.forget_source();
        let of_next = |n: u32, arrives_ms: u64| Timing {
            arrived: MonoTime(ORIGIN + arrives_ms * 1_000),
            seq: 10 + n as u16,
            time: RtpTime(5_000 + n * 160),
            samples: 160,
        };
        assert_eq!(sender.line.place(of_next(1, 150), || false), anew(150));
        let overtaken = |n: u32, arrives_ms: u64| Timing {
            arrived: MonoTime(ORIGIN + arrives_ms * 1_000),
            seq: sender.first_seq.wrapping_add(n as u16),
            time: RtpTime(sender.first_time.wrapping_add(n * 160)),
            samples: 160,
        };
        let (fits, reaches, returns) = (overtaken(1, 160), overtaken(2, 161), overtaken(3, 162));
        assert_eq!(sender.line.place_of_left(fits), Some(known(120)));
        assert_eq!(sender.line.place_of_left(reaches), Some(Place::Nowhere), "140 to 160, and the next begins at 150");
        assert_eq!(sender.line.place_of_left(returns), None, "said after the newest of the other");
        assert_eq!(sender.line.place(of_next(0, 163), || false), Place::Nowhere, "130, where the source before still spoke");
    }

    #[test]
    fn after_a_pause_a_clock_that_stood_still_is_set_anew() {
        let mut sender = Sender::new();
        sender.send(0, 0);
        sender.line.resume();
        assert_eq!(sender.send(1, 600), anew(600), "stood still");
        sender.line.resume();
        assert_eq!(sender.send(30, 1_190), known(1_180), "went on");
        assert_eq!(sender.send(31, 1_290), known(1_200), "only the first packet counts");
    }

    #[test]
    fn a_burst_after_a_stall_stays_in_its_place() {
        let mut sender = Sender::new();
        sender.send(0, 0);
        for n in 1..150 {
            assert_eq!(sender.send(n, 3_000 + u64::from(n) / 20), known(i64::from(n) * 20));
        }
        assert_eq!(sender.send(151, 3_020), known(3_020));
    }

    #[test]
    fn a_sender_that_stopped_without_a_word_is_set_anew() {
        let mut sender = Sender::new();
        sender.send(0, 0);
        assert_eq!(sender.send(1, 5_000), known(20), "may still be a burst");
        assert_eq!(sender.send(2, 5_021), anew(5_021));
        assert_eq!(sender.send(3, 5_040), known(5_041));
        assert_eq!(sender.send(4, 16_000), anew(16_000), "further than anything may lie from its arrival");
    }

    #[test]
    fn clocks_may_differ_and_are_set_right_in_small_steps() {
        let mut sender = Sender::new();
        sender.send(0, 10);
        let mut corrections = Vec::new();
        for n in 1..40_000_u32 {
            let arrives_ms = 10 + u64::from(n) * 20_001 / 1_000; // 50 ppm slow
            let at = match sender.send(n, arrives_ms) {
                Place::Known(at) => at,
                Place::Corrected { at, by } => {
                    corrections.push(by);
                    at
                }
                other => panic!("{other:?} at packet {n}"),
            };
            assert!((at.0 - arrives_ms as i64 * 8).abs() <= ms(10), "packet {n} lies at {at:?}");
        }
        assert!(
            corrections.iter().all(|by| (48..64).contains(by)) && (5..=6).contains(&corrections.len()),
            "40 ms in 800 s: {corrections:?}"
        );
    }

    #[test]
    fn a_sender_that_runs_ahead_stops_at_the_farthest_place() {
        let mut sender = Sender::new();
        let places: Vec<Place> = (0..1_000).map(|n| sender.send(n, 0)).collect();
        let placed = places.iter().filter(|place| **place != Place::Nowhere).count();
        assert_eq!(placed, 501);
        assert_eq!(sender.send(1_001, 20_020), known(20_020));
    }

    #[test]
    fn another_source_begins_where_it_arrives_and_not_before_the_end() {
        let mut sender = Sender::new();
        sender.send(0, 100);
        sender.line.forget_source();
        assert_eq!(sender.send_with(999, 5, 110), anew(120));
        assert_eq!(sender.line.of(RtpTime(sender.first_time.wrapping_add(5 + 80)), MonoTime(ORIGIN)), Some(MediaTime(8 * 130)));
        assert_eq!(sender.line.of(RtpTime(sender.first_time ^ 0x4000_0000), MonoTime(ORIGIN)), None);
    }
}
