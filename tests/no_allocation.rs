//! A packet costs no allocation: the allocator counts while a stream takes ten minutes of packets.
#![expect(
    unsafe_code,
    reason = "GlobalAlloc, which counts the allocations, is an unsafe trait; the product itself forbids unsafe"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use nearend::model::block::Law;
use nearend::model::{LegNo, MediaTime, MonoTime, Payload, RecordingId, RecordingNo, StreamKey};
use nearend::rtp::blocks::Pool;
use nearend::rtp::stream::Stream;
use nearend::rtp::{Manner, PayloadMap, Remote, StreamSpec};

/// Passes everything on to the system's allocator and counts per thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work; counting in a constant thread-local without destructor allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn spec(remote: SocketAddr) -> StreamSpec {
    StreamSpec {
        key: StreamKey { recording: RecordingNo(1), leg: LegNo(0) },
        recording_id: RecordingId("test".into()),
        origin: MonoTime(0),
        local: None,
        port: None,
        remote: Remote { rtp: remote, rtcp: None, mux: false },
        payloads: PayloadMap::new([(0, Payload::Audio(Law::Pcmu))]),
        paused: false,
        anchor: None,
        begins: MediaTime(0),
    }
}

/// Packet `n`; every 10th is lost, every 10th doubled, every 10th swapped with the next, every 500th of another SSRC.
fn deliver(n: u32, from: SocketAddr, stream: &mut Stream, pool: &mut Pool) {
    let arrived = MonoTime(u64::from(n) * 20_000);
    let mut send = |n: u32, ssrc: u32| {
        let mut datagram = [0xA5; 172];
        datagram[..2].copy_from_slice(&[0x80, 0]);
        datagram[2..4].copy_from_slice(&(n as u16).to_be_bytes());
        datagram[4..8].copy_from_slice(&n.wrapping_mul(160).to_be_bytes());
        datagram[8..12].copy_from_slice(&ssrc.to_be_bytes());
        stream.rtp(arrived, from, &datagram, pool);
    };
    match n % 10 {
        3 => {}
        5 => (0..2).for_each(|_| send(n, 1)),
        7 => send(n + 1, 1),
        8 => send(n - 1, 1),
        _ => send(n, 1),
    }
    if n.is_multiple_of(500) {
        send(n, 2);
    }
}

#[test]
fn a_packet_costs_no_allocation() {
    let from: SocketAddr = "10.0.0.1:4000".parse().unwrap();
    let mut pool = Pool::new(8);
    let mut stream = Stream::new(&spec(from), Manner::default());
    let mut in_packets = 0;
    for n in 0..30_000_u32 {
        let before = ALLOCATIONS.get();
        deliver(n, from, &mut stream, &mut pool);
        if n >= 1_000 {
            in_packets += ALLOCATIONS.get() - before; // by now the pool has grown to what the stream needs
        }
        if n % 25 == 24 {
            stream.seal_until(MonoTime(u64::from(n) * 20_000), &mut pool);
            for block in pool.take_sealed() {
                pool.give(block.samples);
            }
        }
    }
    let counters = stream.report(true).counters;
    assert_eq!(counters.packets, 27_000);
    assert!(counters.lost == 3_000 && counters.duplicates > 0 && counters.reordered > 0 && counters.wrong_source > 0);
    assert_eq!(in_packets, 0);
}
