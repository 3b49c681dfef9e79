//! However the network treats a connection's packets, the streams are those
//! that were sent.

use proptest::prelude::*;

use super::super::write::FIN;
use super::*;

/// A byte that tells its place.
fn content(length: usize, salt: u8) -> Vec<u8> {
    (0..length)
        .map(|index| b'a' + ((index * 7 + index / 26 + usize::from(salt)) % 26) as u8)
        .collect()
}

/// Cuts a stream at these places, and some parts of it again.
fn segments(length: usize, cuts: &[usize], again: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (length + 1)).collect();
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut segments: Vec<(usize, usize)> = cuts.windows(2).map(|cut| (cut[0], cut[1])).collect();
    for (from, to) in again {
        let (from, to) = (from % (length + 1), to % (length + 1));
        let place = segments.len().min(from % (segments.len() + 1));
        segments.insert(place, (from.min(to), from.max(to)));
    }
    segments
}

/// What a receiver that got these segments acknowledges.
fn received(got: &[(usize, usize)]) -> usize {
    let mut got = got.to_vec();
    got.sort_unstable();
    got.iter().fold(
        0,
        |end, &(from, to)| if from <= end { end.max(to) } else { end },
    )
}

/// Each packet is delayed behind at most so many others.
fn displaced<T>(packets: Vec<T>, delays: &[usize]) -> Vec<T> {
    let mut packets: Vec<(usize, T)> = packets
        .into_iter()
        .enumerate()
        .map(|(index, packet)| {
            let delay = delays
                .get(index % delays.len().max(1))
                .copied()
                .unwrap_or(0);
            (index + delay, packet)
        })
        .collect();
    packets.sort_by_key(|(place, _)| *place);
    packets.into_iter().map(|(_, packet)| packet).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Of a capture at the receiver, whose acknowledgements say what it has:
    /// nothing is lost, doubled or out of place.
    #[test]
    fn any_order_gives_the_same_stream(
        length in 1_usize..400,
        isn in prop_oneof![any::<u32>(), (u32::MAX - 400)..=u32::MAX],
        cuts in prop::collection::vec(0_usize..400, 0..20),
        again in prop::collection::vec((0_usize..400, 0_usize..400), 0..8),
        delays in prop::collection::vec(0_usize..8, 1..30),
        acks in prop::collection::vec(any::<bool>(), 1..30),
        handshake in any::<bool>(),
    ) {
        let sent = content(length, 0);
        let mut scene = Scene::with_isns(isn, 9);
        let first = isn.wrapping_add(1);
        if handshake {
            scene.open();
        } else {
            // The stream's first bytes come first, or nobody could know them.
            let head = Tcp {
                source: client_address(),
                destination: server_address(),
                seq: first.wrapping_sub(5),
                ack: 10,
                flags: ACK,
                payload: b"GET /",
            };
            scene.raw(&head);
        }
        let mut got = Vec::new();
        let mut packets: Vec<_> = segments(length, &cuts, &again)
            .into_iter()
            .map(|segment| (segment, ACK))
            .collect();
        packets.push(((length, length), ACK | FIN));
        for (index, ((from, to), flags)) in displaced(packets, &delays).into_iter().enumerate() {
            let packet = Tcp {
                source: client_address(),
                destination: server_address(),
                seq: first.wrapping_add(from as u32),
                ack: 10,
                flags,
                payload: &sent[from..to],
            };
            scene.raw(&packet);
            got.push((from, to));
            if acks[index % acks.len()] {
                let ack = Tcp {
                    source: server_address(),
                    destination: client_address(),
                    seq: 10,
                    ack: first.wrapping_add(received(&got) as u32),
                    flags: ACK,
                    payload: b"",
                };
                scene.raw(&ack);
            }
        }
        let read = scene.server();
        let expected = String::from_utf8(sent).unwrap();
        let expected = if handshake { expected } else { format!("GET /{expected}") };
        prop_assert_eq!(read.bytes(Direction::In), expected);
        prop_assert!(read.story().ends_with('I'));
        prop_assert_eq!((read.counters.holes, read.counters.lost_bytes), (0, 0));
        if handshake {
            prop_assert_eq!(read.counters.midway, 0);
        }
    }

    /// Packets that the capture lacks lose their own bytes only, and what the
    /// server answered comes behind what it answers.
    #[test]
    fn missing_packets_lose_their_own_bytes(
        sizes in prop::collection::vec(1_usize..50, 1..20),
        lost in prop::collection::vec(any::<bool>(), 20),
    ) {
        let mut scene = Scene::new();
        let (mut offset, mut expected, mut missing) = (0_u32, Vec::new(), 0_u64);
        for (index, size) in sizes.iter().enumerate() {
            let sent = content(*size, index as u8);
            if lost[index] {
                missing += *size as u64;
            } else {
                scene.client_at(offset, &sent);
                expected.extend_from_slice(&sent);
            }
            offset += *size as u32;
        }
        // The answer and what is lost at the very end show in the next packet.
        let answer = scene.at(Side::Server, 0, offset, RESPONSE);
        scene.raw(&answer);
        scene.client_at(offset, b"!");
        let read = scene.server();
        let got = read.bytes(Direction::In).replace('|', "");
        prop_assert_eq!(got, String::from_utf8(expected).unwrap() + "!");
        prop_assert_eq!(read.counters.lost_bytes, missing);
    }
}
