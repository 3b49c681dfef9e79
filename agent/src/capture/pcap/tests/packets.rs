//! Packets: link types, IP variants, what is refused and why.

use super::*;

const LITTLE: Order = Order::Little;
const V4: (&str, &str) = ("10.0.0.9:40000", "10.0.0.1:80");
const V6: (&str, &str) = ("[fd00::9]:40000", "[fd00::1]:80");

/// Reads IP packets, each behind a link header.
fn linked(number: u32, header: &[u8], (client, server): (&str, &str)) -> Read {
    let packets: Vec<Vec<u8>> = ip_packets(client, server)
        .into_iter()
        .map(|packet| [header, &packet].concat())
        .collect();
    read(
        &classic(LITTLE, 0xa1b2_c3d4, number, &packets),
        Observe::Server,
    )
}

/// Reads raw IP packets.
fn raw(packets: &[Vec<u8>]) -> Read {
    read(&classic(LITTLE, 0xa1b2_c3d4, 101, packets), Observe::Server)
}

#[track_caller]
fn assert_whole(read: &Read) {
    assert_eq!(
        read.bytes(Direction::In).as_bytes(),
        REQUEST,
        "{:?}",
        read.counters
    );
    assert_eq!(read.bytes(Direction::Out).as_bytes(), RESPONSE);
}

#[test]
fn link_types() {
    let ethernet = |kinds: &[u8]| [&[0; 12][..], kinds].concat();
    let cooked = |kind: &[u8]| [&[0; 14][..], kind].concat();
    let cooked_v2 = |kind: &[u8], tag: &[u8]| [kind, &[0; 18], tag].concat();
    let cases: Vec<(u32, Vec<u8>, (&str, &str))> = vec![
        (1, ethernet(&[8, 0]), V4),
        (1, ethernet(&[0x86, 0xdd]), V6),
        (1, ethernet(&[0x81, 0, 0, 5, 8, 0]), V4),
        (
            1,
            ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd]),
            V6,
        ),
        (1, ethernet(&[0x91, 0, 0, 5, 0x81, 0, 0, 6, 8, 0]), V4),
        (113, cooked(&[8, 0]), V4),
        (113, cooked(&[0x86, 0xdd]), V6),
        (113, cooked(&[0x81, 0, 0, 5, 8, 0]), V4),
        (276, cooked_v2(&[8, 0], &[]), V4),
        (276, cooked_v2(&[0x86, 0xdd], &[]), V6),
        (276, cooked_v2(&[0x81, 0], &[0, 5, 8, 0]), V4),
        (101, vec![], V4),
        (101, vec![], V6),
        (12, vec![], V4),
        (14, vec![], V6),
        (228, vec![], V4),
        (229, vec![], V6),
        (0, vec![2, 0, 0, 0], V4),
        (0, vec![0, 0, 0, 2], V4),
        (0, vec![30, 0, 0, 0], V6),
        (108, vec![0, 0, 0, 24], V6),
    ];
    for (number, header, addresses) in cases {
        let read = linked(number, &header, addresses);
        assert_whole(&read);
        let What::Opened(local, peer) = read.records[0].what else {
            panic!("{:?}", read.records);
        };
        assert_eq!(
            (local.to_string().as_str(), peer.to_string().as_str()),
            (addresses.1, addresses.0)
        );
    }
}

#[test]
fn what_is_not_ip_or_not_tcp_is_counted() {
    let udp = |mut packet: Vec<u8>, protocol_at: usize| {
        packet[protocol_at] = 17;
        packet
    };
    let [v4, v6] = [V4, V6].map(|(client, server)| ip_packets(client, server).remove(0));
    let read = raw(&[udp(v4, 9), udp(v6, 6)]);
    assert_eq!(read.counters.non_tcp, 2);
    for (number, header) in [(1, [&[0; 12][..], &[8, 6]].concat()), (0, vec![7, 0, 0, 0])] {
        assert_eq!(linked(number, &header, V4).counters.non_ip, 2);
    }
    let tags: Vec<u8> = [&[0; 12][..], &[0x81, 0, 0, 1].repeat(20)].concat();
    assert_eq!(linked(1, &tags, V4).counters.non_ip, 2);
}

#[test]
fn ipv4_options_and_padding() {
    let packets: Vec<Vec<u8>> = ip_packets(V4.0, V4.1)
        .into_iter()
        .map(|mut packet| {
            packet[0] = 0x47;
            let total = packet.len() as u16 + 8;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet.splice(20..20, [1; 8]);
            // What Ethernet fills short frames with.
            packet.extend([0; 9]);
            packet
        })
        .collect();
    assert_whole(&raw(&packets));
}

#[test]
fn ipv6_extension_headers() {
    let mut extensions = vec![60, 0];
    extensions.extend([0; 6]);
    extensions.extend([43, 1]);
    extensions.extend([0; 14]);
    extensions.extend([51, 0]);
    extensions.extend([0; 6]);
    extensions.extend([6, 1]);
    extensions.extend([0; 10]);
    let packets: Vec<Vec<u8>> = ip_packets(V6.0, V6.1)
        .into_iter()
        .map(|mut packet| {
            packet[6] = 0;
            let length = (packet.len() - 40 + extensions.len()) as u16;
            packet[4..6].copy_from_slice(&length.to_be_bytes());
            packet.splice(40..40, extensions.iter().copied());
            packet
        })
        .collect();
    assert_whole(&raw(&packets));
}

#[test]
fn offloaded_packets_have_no_length() {
    for (addresses, length_at) in [(V4, 2), (V6, 4)] {
        let packets: Vec<Vec<u8>> = ip_packets(addresses.0, addresses.1)
            .into_iter()
            .map(|mut packet| {
                packet[length_at..length_at + 2].fill(0);
                packet
            })
            .collect();
        assert_whole(&raw(&packets));
    }
    // And really are too long for it.
    let body = [REQUEST, &vec![b'x'; 200_000]].concat();
    let mut scene = Scene::new();
    scene.send(Side::Client, ACK, &body);
    let read = scene.server();
    assert_eq!(read.bytes(Direction::In).as_bytes(), body);
}

#[test]
fn only_first_fragments_are_read() {
    // The first has 12 bytes of payload; the rest of the packet is missing
    // until the server's acknowledgement shows that it had it.
    let [request, response] = [0, 1].map(|index| ip_packets(V4.0, V4.1).remove(index));
    let fragment = |from: usize, to: usize, field: u16| {
        let mut packet = [&request[..20], &request[from..to]].concat();
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet
    };
    let (first, second) = (
        fragment(20, 20 + 32 + 16, 0x2000),
        fragment(20 + 48, request.len(), 6),
    );
    let read = raw(&[first, second, response]);
    assert_eq!(read.bytes(Direction::In), "GET / HTTP/1.1\r\n");
    assert_eq!(
        (read.counters.fragments, read.counters.first_fragments),
        (1, 1)
    );

    let [request, _] = [0, 1].map(|index| ip_packets(V6.0, V6.1).remove(index));
    let fragment = |from: usize, to: usize, field: u16| {
        let mut packet = request[..40].to_vec();
        packet[6] = 44;
        packet.extend([6, 0]);
        packet.extend(field.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(&request[from..to]);
        let length = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let read = raw(&[
        fragment(40, 40 + 48, 1),
        fragment(40 + 48, request.len(), 48),
    ]);
    assert_eq!(read.bytes(Direction::In), "GET / HTTP/1.1\r\n");
    assert_eq!(
        (read.counters.fragments, read.counters.first_fragments),
        (1, 1)
    );
}

#[test]
fn a_short_snap_length_keeps_lengths() {
    for kept in 0..=14 + 20 + 32 + REQUEST.len() {
        let mut scene = Scene::new();
        let packet = scene.talk.packet(Side::Client, ACK | PSH, REQUEST);
        scene.out.cut_frame(9, &packet.ethernet(), kept).unwrap();
        let packet = scene.talk.packet(Side::Server, ACK | PSH, RESPONSE);
        scene.out.frame(10, &packet.ethernet()).unwrap();
        let read = scene.server();
        let (request, counters) = (read.bytes(Direction::In), read.counters);
        if kept < 14 + 20 + 20 {
            assert_eq!((counters.cut, request.as_str()), (1, ""), "{kept}");
        } else {
            let known = kept.saturating_sub(14 + 20 + 32);
            let text = String::from_utf8(REQUEST.to_vec()).unwrap();
            let unknown = ".".repeat(REQUEST.len() - known);
            assert_eq!(request, format!("{}{unknown}", &text[..known]));
            assert_eq!(counters.truncated, u64::from(known < REQUEST.len()));
        }
        assert_eq!(read.bytes(Direction::Out).as_bytes(), RESPONSE);
    }
}

#[test]
fn headers_that_contradict_themselves_are_counted() {
    let good = ip_packets(V4.0, V4.1).remove(0);
    let patched = |patches: &[(usize, u8)]| {
        let mut packet = good.clone();
        for &(at, value) in patches {
            packet[at] = value;
        }
        packet
    };
    let read = raw(&[
        // A header of 4 words; a packet shorter than its headers; a TCP header
        // of 4 words; one longer than the packet.
        patched(&[(0, 0x44)]),
        patched(&[(2, 0), (3, 19)]),
        patched(&[(2, 0), (3, 39)]),
        patched(&[(32, 0x40)]),
        patched(&[(3, 41), (2, 0)]),
    ]);
    assert_eq!(read.counters.malformed, 5);
    assert!(read.records.is_empty());
}

#[test]
fn mapped_addresses_are_ipv4() {
    let read = raw(&ip_packets(
        "[::ffff:10.0.0.9]:40000",
        "[::ffff:10.0.0.1]:80",
    ));
    let What::Opened(local, peer) = read.records[0].what else {
        panic!("{:?}", read.records);
    };
    assert_eq!(
        (local.to_string(), peer.to_string()),
        (V4.1.into(), V4.0.into())
    );
}
