//! The media thread with real sockets on loopback.

use rtcp_types::prelude::*;
use rtcp_types::{ReportBlock, SenderReport};

use super::*;
use crate::model::block::Law;
use crate::model::{LegNo, WallTime};
use crate::rtp::stream::Remote;
use crate::rtp::tests::{datagram, lay_out, spec};

/// The thread, its reports, and what the spool got.
struct World {
    media: Media,
    reports: tokio_mpsc::Receiver<Vec<StreamReport>>,
    blocks: mpsc::Receiver<Vec<Block>>,
}

fn config(ports: RangeInclusive<u16>) -> Config {
    Config { address: [127, 0, 0, 1].into(), ports, manner: Manner::default(), pool_blocks: 100 }
}

/// A box whose spool refuses everything `refusals` times.
fn start(ports: RangeInclusive<u16>, mut refusals: u32) -> World {
    let (spooled, blocks) = mpsc::channel();
    let sink = move |sealed: Vec<Block>| {
        if refusals > 0 {
            refusals -= 1;
            return Err(sealed);
        }
        spooled.send(sealed).map_err(|error| error.0)
    };
    let (media, reports) = Media::start(config(ports), Box::new(sink), mpsc::channel().1).unwrap();
    World { media, reports, blocks }
}

impl World {
    /// The origin of a recording that begins now.
    fn origin() -> MonoTime {
        last_grid(Now::read().mono, BLOCK)
    }

    fn open(&mut self, leg: u8, remote: SocketAddr) -> (StreamKey, SocketAddr) {
        let mut spec = StreamSpec { origin: World::origin(), ..spec(remote) };
        spec.key.leg = LegNo(leg);
        (spec.key, self.media.open(&spec).unwrap())
    }

    fn last_report(&mut self) -> StreamReport {
        loop {
            let reports = self.reports.blocking_recv().unwrap();
            if let Some(report) = reports.into_iter().find(|report| report.closed) {
                return report;
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let blocks: Vec<Block> = self.blocks.try_iter().flatten().collect();
        lay_out(&blocks).into_values().map(|(law, byte)| (law == Law::Pcmu).then_some(byte).unwrap()).collect()
    }
}

fn peer() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Sends packets of 20 ms, all at once: fewer than the second that the sender may be ahead.
fn speak(from: &UdpSocket, to: SocketAddr, packets: u8) -> Vec<u8> {
    for n in 0..packets {
        from.send_to(&datagram(1, n.into(), u32::from(n) * 160, 0, &[n; 160]), to).unwrap();
    }
    (0..packets).flat_map(|n| [n; 160]).collect()
}

#[test]
fn what_was_sent_before_the_close_is_spooled_before_the_last_report() {
    let mut world = start(30_000..=30_999, 0);
    let (caller, caller_at) = peer();
    let (stranger, _) = peer();
    let (key, local) = world.open(0, caller_at);
    assert_eq!(local.port() % 2, 0);
    let sent = speak(&caller, local, 40);
    caller.send_to(b"no RTP", local).unwrap();
    stranger.send_to(&datagram(1, 40, 6_400, 0, &[9; 160]), local).unwrap();
    world.media.close(key);
    let report = world.last_report();
    assert_eq!(world.bytes(), sent);
    assert_eq!((report.key, report.counters.packets, report.counters.lost), (key, 40, 0));
    assert_eq!((report.counters.malformed, report.counters.wrong_source), (1, 1));
    assert!(report.last_packet.is_some());
    let sweeps = world.media.sweeps();
    assert!(world.media.stop());
    assert!(sweeps.load(Ordering::Relaxed) > 0);
}

#[test]
fn more_than_one_read_takes_everything() {
    let mut world = start(31_000..=31_999, 0);
    let (caller, caller_at) = peer();
    let (key, local) = world.open(0, caller_at);
    for n in 0..150_u16 {
        caller.send_to(&datagram(1, n, u32::from(n) * 8, 0, &[n as u8; 8]), local).unwrap();
    }
    world.media.close(key);
    let counters = world.last_report().counters;
    assert_eq!((counters.packets + counters.kernel_drops, world.bytes().len() as u64), (150, counters.bytes));
}

#[test]
fn what_the_spool_refuses_waits_and_so_does_the_last_report() {
    let mut world = start(32_000..=32_999, 2);
    let (caller, caller_at) = peer();
    let (key, local) = world.open(0, caller_at);
    let sent = speak(&caller, local, 10);
    world.media.close(key);
    let report = world.last_report();
    assert_eq!((report.counters.packets, report.counters.overrun), (10, 0));
    assert_eq!(world.bytes(), sent);
}

#[test]
fn stopping_hands_everything_over() {
    let mut world = start(33_000..=33_999, 1);
    let (caller, caller_at) = peer();
    let (_, local) = world.open(0, caller_at);
    let sent = speak(&caller, local, 10);
    assert!(world.media.stop());
    let blocks: Vec<Block> = world.blocks.try_iter().flatten().collect();
    assert_eq!(lay_out(&blocks).into_values().map(|(_, byte)| byte).collect::<Vec<_>>(), sent);
    assert!(std::iter::from_fn(|| world.reports.blocking_recv()).flatten().any(|report| report.closed));
}

#[test]
fn a_pause_applies_to_what_arrives_from_then_on() {
    let mut world = start(34_000..=34_999, 0);
    let (caller, caller_at) = peer();
    let (key, local) = world.open(0, caller_at);
    let change = |paused| StreamChange { paused: Some(paused), ..StreamChange::default() };
    world.media.change(key, Now::read().mono, change(true));
    speak(&caller, local, 10);
    world.media.change(key, Now::read().mono.after(Duration::from_secs(3_600)), change(false));
    world.media.close(key);
    let counters = world.last_report().counters;
    assert_eq!((counters.packets, counters.masked), (0, 10));
    assert!(world.bytes().is_empty());
}

#[test]
fn reports_go_both_ways() {
    let (media, mut reports) = tokio_mpsc::channel(8);
    let (_recycle, recycled) = mpsc::channel();
    let mut sweeper = Sweeper::new(&config(0..=0), Box::new(|_| Ok(())), recycled, media).unwrap();
    let mut reader = Reader::new();
    let (caller, caller_at) = peer();
    let (caller_rtcp, caller_rtcp_at) = peer();
    let remote = Remote { rtp: caller_at, rtcp: Some(caller_rtcp_at), mux: false };
    let start = Now::read();
    let spec = StreamSpec { origin: last_grid(start.mono, BLOCK), remote, ..spec(caller_at) };
    let (rtp, rtcp) = (38_000..39_000).step_by(2).find_map(|port| bind_pair([127, 0, 0, 1].into(), port).ok()).unwrap();
    let (rtp_at, rtcp_at) = (rtp.local_addr().unwrap(), rtcp.local_addr().unwrap());
    let due = start.mono.after(REPORT_EVERY);
    let stream = Stream::new(&spec, Manner::default());
    let open = OpenStream { stream, rtp, rtcp, ssrc: 9, last_read: start.mono, closing: false, next_report: due, next_rtcp: due };
    sweeper.command(Command::Open(Box::new(open)));

    speak(&caller, rtp_at, 2);
    let sender_report = SenderReport::builder(1).ntp_timestamp(7 << 32).rtp_timestamp(160);
    let mut bytes = [0; 28];
    sender_report.write_into(&mut bytes).unwrap();
    caller_rtcp.send_to(&bytes, rtcp_at).unwrap();
    let after = |time: Duration| Now { mono: start.mono.after(time), wall: start.wall.plus_micros(time.as_micros() as i64) };
    sweeper.sweep(&mut reader, after(RTCP_SWEEP_EVERY));
    sweeper.sweep(&mut reader, after(REPORT_EVERY));

    let report = reports.try_recv().unwrap().remove(0);
    assert_eq!((report.counters.packets, report.clock.len(), report.closed), (2, 1, false));
    let mut answer = [0; 128];
    caller_rtcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (_, from) = caller_rtcp.recv_from(&mut answer).unwrap();
    assert_eq!((from, &answer[..2]), (rtcp_at, &[0x81, 201][..]));
    assert_eq!(ReportBlock::parse(&answer[8..32]).unwrap().last_sender_report_timestamp(), 7 << 16);
}

#[test]
fn ports_are_even_busy_ones_are_skipped_and_closed_ones_rest() {
    let busy = (35_000..36_000_u16).step_by(2).find_map(|port| UdpSocket::bind(("127.0.0.1", port + 1)).ok()).unwrap();
    let first = busy.local_addr().unwrap().port() - 1;
    let mut world = start(first..=first + 5, 0);
    let (_, peer_at) = peer();
    let (key, a) = world.open(0, peer_at);
    let (_, b) = world.open(1, peer_at);
    assert_eq!([a.port(), b.port()], [first + 2, first + 4]);
    world.media.close(key);
    let third = StreamSpec { key: StreamKey { leg: LegNo(2), ..key }, ..spec(peer_at) };
    let error = world.media.open(&third).unwrap_err();
    assert_eq!(error.to_string(), "all 3 port pairs of [rtp] ports are in use; widen the range");
    let again = StreamSpec { key: StreamKey { leg: LegNo(1), ..key }, ..spec(peer_at) };
    assert!(matches!(world.media.open(&again), Err(OpenError::Exists(_))));
}

#[test]
fn a_stream_from_before_a_restart_gets_its_port_again() {
    let mut before = start(28_000..=28_999, 0);
    let (caller, caller_at) = peer();
    let (key, local) = before.open(0, caller_at);
    let again = StreamSpec { key, port: Some(local.port()), origin: World::origin(), ..spec(caller_at) };

    let mut world = start(28_000..=28_999, 0);
    let error = world.media.open(&again).unwrap_err(); // the process before still runs
    assert!(matches!(error, OpenError::Taken { address } if address == local));
    assert!(error.to_string().contains(&format!("{local} again")), "{error}");
    assert!(before.media.stop());
    assert_eq!(world.media.open(&again).unwrap(), local);
    let sent = speak(&caller, local, 10);
    world.media.close(key);
    world.last_report();
    assert_eq!(world.bytes(), sent);
}

#[test]
fn a_port_that_is_held_by_another_stream_or_cannot_be_had_is_refused() {
    let mut world = start(29_000..=29_999, 0);
    let (_, peer_at) = peer();
    let (key, local) = world.open(0, peer_at);
    let other = |port| StreamSpec { key: StreamKey { leg: LegNo(1), ..key }, port: Some(port), ..spec(peer_at) };
    for port in [local.port(), local.port() + 1, 0, u16::MAX] {
        assert!(matches!(world.media.open(&other(port)), Err(OpenError::Taken { .. })), "{port}");
    }
    let elsewhere = StreamSpec { local: Some([192, 0, 2, 1].into()), ..other(29_800) };
    assert!(matches!(world.media.open(&elsewhere), Err(OpenError::Bind { .. })));
    assert_eq!(world.media.open(&other(29_800)).unwrap().port(), 29_800, "a failed attempt gives the port back");
}

#[test]
fn an_address_of_another_host_is_refused_with_a_remedy() {
    let mut world = start(37_000..=37_009, 0);
    let elsewhere = StreamSpec { local: Some([192, 0, 2, 1].into()), ..spec(peer().1) };
    let error = world.media.open(&elsewhere).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:37000") && error.contains("[rtp] address"), "{error}");
}

#[test]
fn sweeps_lie_on_the_grid() {
    let ms = |ms: u64| MonoTime(ms * 1_000);
    assert_eq!(next_sweep(ms(10_000)), ms(10_100));
    assert_eq!(next_sweep(ms(10_099)), ms(10_100));
    assert_eq!(next_sweep(ms(10_100)), ms(10_350));
    assert_eq!(next_sweep(ms(10_349)), ms(10_350));
    assert_eq!(seal_boundary(ms(10_100)), ms(10_000));
    assert_eq!(seal_boundary(ms(10_349)), ms(10_000));
    assert_eq!(seal_boundary(ms(10_350)), ms(10_250));
    assert_eq!(seal_boundary(ms(10_599)), ms(10_250));
    assert_eq!(seal_boundary(ms(10_600)), ms(10_500));
    assert_eq!(seal_boundary(ms(3)), ms(0));
}

#[test]
fn arrival_times_survive_a_step_of_the_wall_clock() {
    let now = Now { mono: MonoTime(50_000_000), wall: WallTime(1_772_460_359_000_000) };
    let arrival = Arrival { now, earliest: MonoTime(49_750_000) };
    let stamp = |us: i64| Some(TimeSpec::new((now.wall.0 + us) / 1_000_000, (now.wall.0 + us) % 1_000_000 * 1_000));
    assert_eq!(arrival.of(stamp(-100_000)), MonoTime(49_900_000));
    assert_eq!(arrival.of(stamp(-3_600_000_000)), MonoTime(49_750_000));
    assert_eq!(arrival.of(stamp(3_600_000_000)), MonoTime(50_000_000));
    assert_eq!(arrival.of(None), MonoTime(50_000_000));
}
