//! Connections: whose is what, how they begin and how they end.

use super::super::stream::Limits;
use super::super::tracker::Tracker;
use super::super::write::{FIN, RST};
use super::*;
use crate::units::TcpSeq;

/// Who sends what.
type Sent<'a> = (Side, &'a [u8]);

fn exchange(mut scene: Scene) -> Scene {
    scene.send(Side::Client, ACK | PSH, REQUEST);
    scene.send(Side::Server, ACK, b"");
    scene.send(Side::Server, ACK | PSH, RESPONSE);
    scene.send(Side::Client, ACK, b"");
    scene
}

fn opened(read: &Read) -> Vec<(String, String)> {
    read.records
        .iter()
        .filter_map(|record| match record.what {
            What::Opened(local, peer) => Some((local.to_string(), peer.to_string())),
            _ => None,
        })
        .collect()
}

#[test]
fn the_observed_end_is_local() {
    let capture = exchange(Scene::new()).capture();
    let server = read(&capture, Observe::Server);
    let client = read(&capture, Observe::Client);
    let both = read(&capture, Observe::Both);
    let ends = (server_address().to_string(), client_address().to_string());
    assert_eq!(opened(&server), std::slice::from_ref(&ends));
    assert_eq!(opened(&client), [(ends.1, ends.0)]);
    assert_eq!(
        (server.story(), client.story()),
        ("Oio".into(), "Ooi".into())
    );
    // The sender before the receiver; the client's socket opens first.
    assert_eq!(both.story(), "OOoioi");
    let origins = |local, peer| Origins {
        local: TcpSeq(local + 1),
        peer: TcpSeq(peer + 1),
        exact: true,
        known: true,
    };
    for (read, local, peer) in [
        (&server, SERVER_ISN, CLIENT_ISN),
        (&client, CLIENT_ISN, SERVER_ISN),
    ] {
        for record in &read.records {
            assert_eq!(record.origins, origins(local, peer));
            assert_eq!(record.socket, read.records[0].socket);
            assert!(both.records.iter().any(|other| {
                (other.socket, other.origins, &other.what)
                    == (record.socket, record.origins, &record.what)
            }));
        }
    }
    assert_ne!(server.records[0].socket, client.records[0].socket);
}

#[test]
fn owners_are_addresses() {
    let mut scene = exchange(Scene::new());
    for (client, server) in [
        ("10.0.0.9:2", "10.0.0.2:80"),
        ("10.0.0.8:3", "10.0.0.1:80"),
        ("[::ffff:10.0.0.8]:4", "[::ffff:10.0.0.1]:81"),
    ] {
        scene.talk = Conversation::new(client.parse().unwrap(), server.parse().unwrap(), 5, 6);
        scene.open();
        scene = exchange(scene);
    }
    let capture = scene.capture();
    let mut owners = Vec::new();
    let mut source = PcapSource::from_reader(&capture[..], Observe::Server).unwrap();
    let mut sink = |record: Record<'_>| {
        if matches!(record.event, Event::Opened { .. }) {
            owners.push(record.owner);
        }
    };
    source.drain(100, &mut sink).unwrap();
    let addresses: Vec<String> = owners
        .iter()
        .map(|owner| source.owner_address(*owner).unwrap().to_string())
        .collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1"]);
    assert_eq!((owners[0], owners[0]), (owners[2], owners[3]));
    let unknown = crate::units::OwnerId(u64::MAX);
    assert_eq!(source.owner_address(unknown), None);
}

#[test]
fn orderly_ends() {
    for (first, server, client) in [
        (Side::Client, "OioIUC", "OoiUIC"),
        (Side::Server, "OioUIC", "OoiIUC"),
    ] {
        let mut scene = exchange(Scene::new());
        scene
            .talk
            .close(first, &mut scene.out, &mut scene.clock)
            .unwrap();
        let capture = scene.capture();
        assert_eq!(read(&capture, Observe::Server).story(), server);
        assert_eq!(read(&capture, Observe::Client).story(), client);
    }
}

#[test]
fn a_half_close_leaves_the_other_stream() {
    let mut scene = Scene::new();
    scene.send(Side::Client, ACK | FIN, REQUEST);
    scene.send(Side::Server, ACK, RESPONSE);
    scene.send(Side::Server, ACK, RESPONSE);
    assert_eq!(scene.server().story(), "OiIoo");
}

#[test]
fn the_end_is_in_its_place() {
    // The FIN before the data it comes behind.
    let mut scene = Scene::new();
    let data = scene.talk.packet(Side::Client, ACK, b"abc");
    let end = scene.talk.packet(Side::Client, ACK | FIN, b"def");
    scene.raw(&end).raw(&data).raw(&end);
    scene.send(Side::Server, ACK | FIN, b"");
    scene.send(Side::Client, ACK, b"");
    let read = scene.server();
    assert_eq!(
        (read.bytes(Direction::In), read.story()),
        ("abcdef".into(), "OiiIUC".into())
    );

    // Data that never comes is given up once the FIN is acknowledged.
    let mut scene = Scene::new();
    scene.send(Side::Client, ACK, b"abc");
    scene.talk.packet(Side::Client, ACK, b"def");
    scene.send(Side::Client, ACK | FIN, b"");
    scene.send(Side::Server, ACK, RESPONSE);
    let read = scene.server();
    assert_eq!((read.story(), read.counters.lost_bytes), ("OiIo".into(), 3));

    // Or at the end of the capture.
    let mut scene = Scene::new();
    scene.send(Side::Client, ACK, b"abc");
    scene.talk.packet(Side::Client, ACK, b"def");
    scene.send(Side::Client, ACK | FIN, b"");
    assert_eq!(scene.server().story(), "OiI");
}

#[test]
fn resets() {
    for (from, server, client) in [
        (Side::Client, "OiiFC", "OooC"),
        (Side::Server, "OiiC", "OooFC"),
    ] {
        let mut scene = Scene::new();
        scene.client_at(0, b"abc").client_at(6, b"ghi");
        scene.send(from, RST | ACK, b"");
        // Late packets, and the same reset again.
        scene.client_at(3, b"def").send(from, RST | ACK, b"");
        let capture = scene.capture();
        let (server_read, client_read) = (
            read(&capture, Observe::Server),
            read(&capture, Observe::Client),
        );
        assert_eq!(server_read.story(), server);
        assert_eq!(client_read.story(), client);
        assert_eq!(server_read.counters.ignored_bytes, 3);
        for record in server_read.records.iter().chain(&client_read.records) {
            assert!(!matches!(record.what, What::Failed(errno) if errno != 104));
        }
    }
}

#[test]
fn connections_without_data_are_nothing() {
    let mut scene = Scene::new();
    scene
        .talk
        .close(Side::Client, &mut scene.out, &mut scene.clock)
        .unwrap();
    scene.talk = Conversation::new(([10, 0, 0, 3], 5).into(), server_address(), 1, 2);
    scene
        .send(Side::Client, SYN, b"")
        .send(Side::Server, RST | ACK, b"");
    let read = scene.server();
    assert_eq!(
        (read.story(), read.counters.connections),
        (String::new(), 0)
    );
}

#[test]
fn data_behind_both_ends() {
    // Held, because the SYN-ACK is missing, while it acknowledges the last FIN.
    let mut scene = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    scene.send(Side::Client, SYN, b"");
    scene.talk.packet(Side::Server, SYN | ACK, b"");
    scene.send(Side::Client, FIN | ACK, b"");
    scene.send(Side::Server, FIN | ACK, b"");
    scene.send(Side::Client, ACK, REQUEST);
    scene.send(Side::Server, ACK, RESPONSE);
    let read = scene.server();
    assert_eq!(
        (read.story().as_str(), read.counters.delivered_bytes),
        ("OC", 0)
    );
}

#[test]
fn the_same_ports_again() {
    // After an orderly end, after none, and after one whose SYN was not seen.
    for (end, handshake, story) in [
        (true, true, "OioIUCOio"),
        (false, true, "OioCOio"),
        (false, false, "OioCOio"),
    ] {
        let mut scene = exchange(Scene::new());
        if end {
            scene
                .talk
                .close(Side::Client, &mut scene.out, &mut scene.clock)
                .unwrap();
        }
        let isns = (CLIENT_ISN.wrapping_sub(1 << 28), 77);
        scene.talk = Conversation::new(client_address(), server_address(), isns.0, isns.1);
        if handshake {
            scene.open();
        }
        let read = exchange(scene).server();
        assert_eq!(read.story(), story);
        let (first, last) = (&read.records[0], &read.records[read.records.len() - 1]);
        assert_ne!(first.socket, last.socket);
        assert_eq!(last.origins.known, handshake);
        if handshake {
            assert_eq!(last.origins.peer, TcpSeq(isns.0 + 1));
        }
        assert_eq!(read.counters.connections, 2);
    }
}

#[test]
fn a_repeated_handshake_is_the_same_connection() {
    let mut scene = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    let syn = scene.talk.packet(Side::Client, SYN, b"");
    scene.raw(&syn).raw(&syn);
    let answer = scene.talk.packet(Side::Server, SYN | ACK, b"");
    scene.raw(&answer).raw(&answer).raw(&syn);
    scene.send(Side::Client, ACK, b"");
    let mut scene = exchange(scene);
    scene.raw(&syn).raw(&answer);
    let read = scene.server();
    assert_eq!((read.story(), read.counters.connections), ("Oio".into(), 1));
}

#[test]
fn half_a_handshake() {
    // The SYN-ACK alone tells both numbers.
    let mut scene = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    scene.talk.packet(Side::Client, SYN, b"");
    scene.send(Side::Server, SYN | ACK, b"");
    let read = exchange(scene).server();
    assert_eq!((read.story(), read.counters.midway), ("Oio".into(), 0));
    assert_eq!(read.records[0].origins.peer, TcpSeq(CLIENT_ISN + 1));

    // The SYN alone tells who is the client, though the ports say otherwise.
    let mut scene = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    scene.talk = Conversation::new(([10, 0, 0, 9], 80).into(), server_address(), 1, 2);
    scene.send(Side::Client, SYN, b"");
    scene.talk.packet(Side::Server, SYN | ACK, b"");
    scene.send(Side::Client, ACK, b"??");
    scene.send(Side::Server, ACK, b"");
    scene.send(Side::Server, ACK, b"!");
    let read = scene.server();
    assert_eq!((read.story(), read.counters.midway), ("Oio".into(), 1));
    assert_eq!(opened(&read)[0].0, server_address().to_string());
    assert_eq!(read.records[0].origins, Origins::default());
}

#[test]
fn data_in_the_syn() {
    let mut scene = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    scene.send(Side::Client, SYN, b"");
    let mut capture = Scene::with_isns(CLIENT_ISN, SERVER_ISN);
    let mut syn = capture.talk.packet(Side::Client, SYN, b"");
    syn.payload = REQUEST;
    capture.raw(&syn);
    let mut answer = capture.talk.packet(Side::Server, SYN | ACK, b"");
    answer.ack += REQUEST.len() as u32;
    capture.raw(&answer);
    let mut response = capture.talk.packet(Side::Server, ACK, RESPONSE);
    response.ack = answer.ack;
    capture.raw(&response);
    let read = capture.server();
    assert_eq!(read.bytes(Direction::In).as_bytes(), REQUEST);
    assert_eq!(read.bytes(Direction::Out).as_bytes(), RESPONSE);
    assert!(read.records.iter().all(|record| record.origins.known));
}

#[test]
fn midway_the_data_tells_who_is_the_client() {
    let server = server_address().to_string();
    let client = client_address().to_string();
    let cases: [(&[Sent<'_>], &str); 6] = [
        (&[(Side::Client, REQUEST)], &server),
        (&[(Side::Server, RESPONSE)], &server),
        // The ports say otherwise than the data.
        (&[(Side::Server, REQUEST)], &client),
        (
            &[(Side::Server, b"body, then"), (Side::Server, REQUEST)],
            &client,
        ),
        // Nothing reads like HTTP, then the ports decide, after a few packets...
        (&[(Side::Client, &b"?"[..]); 6], &server),
        // ... or at the end of the capture.
        (&[(Side::Server, b"Hello world")], &server),
    ];
    for (packets, local) in cases {
        let mut scene = Scene::midway();
        for (from, payload) in packets {
            scene.send(*from, ACK, payload);
        }
        let read = scene.server();
        assert_eq!(opened(&read)[0].0, local, "{packets:?}");
        let data = read.story().trim_start_matches('O').len();
        assert_eq!(data, packets.len());
        assert!(read.records.iter().all(|record| !record.origins.known));
    }
}

#[test]
fn too_many_connections() {
    let mut scene = Scene::new();
    for port in 1..=100 {
        let client = ([10, 0, 0, 2], port).into();
        scene.talk = Conversation::new(client, server_address(), 7, 8);
        scene.open();
        scene.send(Side::Client, ACK, REQUEST);
    }
    let capture = scene.capture();
    let mut source = PcapSource::from_reader(&capture[..], Observe::Server).unwrap();
    let limits = Limits {
        connections: 10,
        ..Limits::default()
    };
    source.tracker = Tracker::with_limits(Observe::Server, limits);
    let (mut open, mut most, mut seen) = (0_u64, 0, 0);
    let mut sink = |record: Record<'_>| match record.event {
        Event::Opened { .. } => {
            open += 1;
            seen += 1;
            most = most.max(open);
        }
        Event::Closed { .. } => open -= 1,
        _ => {}
    };
    source.drain(1000, &mut sink).unwrap();
    assert_eq!((seen, most), (100, 10));
    // With the one that carried no data.
    assert_eq!(open + source.counters().evicted, 101);
}
