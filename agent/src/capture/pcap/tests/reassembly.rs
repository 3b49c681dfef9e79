//! Streams: order, repeats, overlaps, holes.

use super::super::stream::Limits;
use super::super::tracker::Tracker;
use super::*;

/// Offset of the last number before 2^32 from the client's first byte.
const WRAP: u32 = u32::MAX - CLIENT_ISN;

#[test]
fn in_order_segments_keep_their_own_time() {
    let mut scene = Scene::new();
    scene.client_at(0, b"GET ").client_at(4, b"/ HTTP");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "GET / HTTP");
    let What::Data { seq, at, .. } = read.records[2].what else {
        panic!("{:?}", read.records);
    };
    assert_eq!((seq, at), (CLIENT_ISN + 1 + 4, 5000));
}

#[test]
fn packets_seen_twice_count_once() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.client_at(0, b"abc");
    }
    for _ in 0..2 {
        scene.client_at(3, b"def");
    }
    scene.client_at(0, b"abcdef");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "abcdef");
    assert_eq!(read.counters.retransmitted_bytes, 12);
}

#[test]
fn a_whole_connection_captured_on_two_interfaces() {
    let mut once = Scene::new();
    once.send(Side::Client, ACK, REQUEST);
    once.send(Side::Server, ACK, RESPONSE);
    let clock = &mut once.clock;
    once.talk.close(Side::Client, &mut once.out, clock).unwrap();
    let once = once.capture();
    let (header, mut rest) = once.split_at(24);
    let mut twice = header.to_vec();
    while let Some(length) = rest.get(8..12) {
        let length = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (packet, behind) = rest.split_at(length);
        twice.extend(packet.repeat(2));
        rest = behind;
    }
    for observe in [Observe::Server, Observe::Client, Observe::Both] {
        let (once, twice) = (read(&once, observe), read(&twice, observe));
        assert_eq!(once.records, twice.records);
        assert_eq!(twice.counters.connections, 1);
    }
}

#[test]
fn early_packets_wait_and_get_the_time_of_the_late_one() {
    let mut scene = Scene::new();
    scene
        .client_at(6, b"ghi")
        .client_at(3, b"def")
        .client_at(0, b"abc");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "abcdefghi");
    assert_eq!((read.counters.out_of_order, read.counters.holes), (2, 0));
    for record in &read.records[1..] {
        assert!(matches!(record.what, What::Data { at: 6000, .. }));
    }
}

#[test]
fn where_bytes_differ_the_first_count() {
    let mut scene = Scene::new();
    // Of 0..10: first 4..6, then 2..5, then 3..9, then everything.
    scene.client_at(4, b"AA").client_at(2, b"BBB");
    scene.client_at(3, b"CCCCCC").client_at(0, b"DDDDDDDDDD");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "DDBBAACCCD");
    assert_eq!(read.counters.retransmitted_bytes, 11);
    // Late copies of what went out do not change it either.
    let mut scene = Scene::new();
    scene.client_at(0, b"abc").client_at(1, b"XXX");
    assert_eq!(scene.server().bytes(Direction::In), "abcX");
}

#[test]
fn keep_alives_and_probes_are_nothing() {
    let mut scene = Scene::new();
    scene
        .client_at(0, b"abc")
        .client_at(2, b"")
        .client_at(2, b"\0");
    scene.client_at(3, b"def");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "abcdef");
    assert_eq!(
        (read.counters.retransmitted_bytes, read.counters.holes),
        (1, 0)
    );
}

#[test]
fn numbers_wrap() {
    for late in [false, true] {
        let mut scene = Scene::with_isns(u32::MAX - 3, u32::MAX);
        scene.open();
        scene.client_at(WRAP - 3, b"abc");
        if late {
            scene.client_at(WRAP + 4, b"hi").client_at(WRAP, b"defg");
        } else {
            scene.client_at(WRAP, b"defg").client_at(WRAP + 4, b"hi");
        }
        scene.client_at(WRAP - 3, b"abcdefghij");
        let read = scene.server();
        assert_eq!(read.bytes(Direction::In), "abcdefghij", "{late}");
        assert_eq!(read.counters.lost_bytes, 0);
    }
}

#[test]
fn what_the_receiver_has_is_given_up() {
    let mut scene = Scene::new();
    scene
        .client_at(0, b"abc")
        .client_at(6, b"ghi")
        .client_at(12, b"mno");
    // Not yet, not quite, the first hole, the second.
    scene.server_has(3).server_has(5);
    scene.server_has(6);
    let first = scene.clock;
    scene.client_at(9, b"jkl");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "abc|ghijklmno");
    assert_eq!((read.counters.holes, read.counters.lost_bytes), (1, 3));
    let times: Vec<u64> = read.records[1..]
        .iter()
        .map(|record| match record.what {
            What::Data { at, .. } => at,
            _ => 0,
        })
        .collect();
    // The receiver had `ghi` when it came, and `mno` when `jkl` had come.
    assert_eq!(times, [4000, 5000, first + 1000, first + 1000]);
}

#[test]
fn a_request_with_a_hole_comes_before_its_response() {
    let mut scene = Scene::new();
    scene.client_at(0, b"GET").client_at(6, b"...");
    let response = scene.at(Side::Server, 0, 9, RESPONSE);
    scene.raw(&response);
    assert_eq!(scene.server().story(), "Oiio");
}

#[test]
fn the_end_of_the_capture_gives_up_what_is_missing() {
    let mut scene = Scene::new();
    scene
        .client_at(0, b"abc")
        .client_at(6, b"ghi")
        .client_at(12, b"mno");
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In), "abc|ghi|mno");
    assert_eq!((read.counters.holes, read.story().as_str()), (2, "Oiii"));
}

/// Reads a capture packet by packet under narrow limits; says how much waited
/// at most.
fn narrow(capture: &[u8], stream: usize, total: usize) -> (Counters, usize) {
    let limits = Limits {
        stream,
        total,
        ..Limits::default()
    };
    let mut source = PcapSource::from_reader(capture, Observe::Server).unwrap();
    source.tracker = Tracker::with_limits(Observe::Server, limits);
    let mut most = 0;
    while source.drain(1, &mut |_| {}).unwrap() == Drained::More {
        most = most.max(source.tracker.waiting());
    }
    assert_eq!(source.tracker.waiting(), 0);
    (source.counters(), most)
}

#[test]
fn too_much_behind_a_hole_gives_it_up() {
    let mut scene = Scene::new();
    scene.client_at(0, b"abc");
    for number in 0..80 {
        scene.client_at(4 + number * 1000, &[b'x'; 1000]);
    }
    let (counters, most) = narrow(&scene.capture(), 50_000, 1 << 20);
    assert!((48_000..50_000).contains(&most), "{most}");
    assert_eq!((counters.overflows, counters.lost_bytes), (1, 1));
    assert_eq!(counters.delivered_bytes, 3 + 80 * 1000);
}

#[test]
fn the_limit_of_all_connections_together() {
    let mut scene = Scene::new();
    for port in 0..40 {
        let address = ([10, 0, 0, 2], 10_000 + port).into();
        scene.talk = Conversation::new(address, server_address(), 0, 0);
        scene.open();
        for number in 0..30 {
            scene.raw(&Tcp {
                source: address,
                destination: server_address(),
                seq: 2 + number * 1000,
                ack: 1,
                flags: ACK,
                payload: &[b'x'; 1000],
            });
        }
    }
    let (counters, most) = narrow(&scene.capture(), 50_000, 500_000);
    assert!((498_000..=500_000).contains(&most), "{most}");
    assert!(counters.overflows > 0);
    assert_eq!(counters.delivered_bytes, 40 * 30 * 1000);
}
