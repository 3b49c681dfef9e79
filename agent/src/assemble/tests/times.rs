use super::*;
use crate::units::{Comm, ConnId, Endpoint, Side, WireId};
use Direction::In;

/// Begin, first byte and end of the only exchange.
fn times(socket: &Socket) -> (u64, Option<u64>, u64) {
    let finished = socket.finished();
    assert_eq!(finished.len(), 1);
    let exchange = finished[0];
    (
        exchange.began.start.0,
        exchange.first_byte.map(|at| at.0),
        exchange.end.0,
    )
}

#[test]
fn at_a_server_from_exit_of_the_receive_to_exit_of_the_send() {
    let mut socket = Socket::new();
    socket.recv("\r\n").recv("GET / H").recv("TTP/1.1\r\n\r\n");
    socket.send("HTTP/1.1 103 Hint\r\n\r\n");
    socket
        .send("HTTP/1.1 200")
        .send(" OK\r\nContent-Length: 2\r\n\r\na")
        .send("b");
    assert_eq!(times(&socket), (210, Some(500), 710));
}

#[test]
fn at_a_client_from_entry_of_the_send_to_exit_of_the_receive() {
    let mut socket = Socket::new();
    socket.send("GET / H").send("TTP/1.1\r\n\r\n");
    socket
        .recv("HTTP/1.1 200")
        .recv(" OK\r\nContent-Length: 2\r\n\r\na")
        .recv("b");
    assert_eq!(times(&socket), (100, Some(310), 510));
}

#[test]
fn an_early_response_ends_with_its_last_byte() {
    let mut socket = Socket::new();
    socket.recv("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc");
    socket.send(response(413, 0)).recv("defghi");
    assert_eq!(times(&socket), (110, Some(200), 210));
}

#[test]
fn a_close_delimited_body_ends_with_its_last_call() {
    let mut socket = Socket::new();
    socket
        .recv(get("/"))
        .send("HTTP/1.0 200 OK\r\n\r\n")
        .send("abc")
        .close();
    assert_eq!(times(&socket), (110, Some(200), 310));
}

#[test]
fn what_is_cut_short_ends_with_the_connection() {
    let mut socket = Socket::new();
    socket
        .recv(get("/"))
        .send("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n")
        .close();
    assert_eq!(times(&socket), (110, Some(200), 300));
}

#[test]
fn the_wire_identity_is_equal_at_both_ends() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
    let client_origin = TcpSeq(u32::MAX - 10);
    let server_origin = TcpSeq(77);
    let conn = ConnId {
        client: client_origin,
        server: server_origin,
    };
    let mut seen = Vec::new();
    for exact in [true, false] {
        let mut client = Socket::new();
        client.origins = Origins {
            local: TcpSeq(client_origin.0.wrapping_sub(u32::from(!exact))),
            peer: server_origin,
            exact,
            known: true,
        };
        client.outgoing = client_origin;
        client.incoming = server_origin;
        let mut server = Socket::new();
        server.origins = Origins {
            local: server_origin,
            peer: client_origin,
            exact,
            known: true,
        };
        server.outgoing = server_origin;
        server.incoming = client_origin;
        for n in 0..3 {
            let sent = format!("{}{head}", "\r\n".repeat(n));
            client.send(&sent).recv(ok(n));
            for byte in sent.as_bytes() {
                server.recv([*byte]);
            }
            server.send(ok(n));
        }
        assert_eq!(client.opaque(), []);
        for (n, (a, b)) in client.finished().iter().zip(server.finished()).enumerate() {
            let empty: usize = (0..=n).map(|n| 2 * n).sum();
            let request = client_origin.plus((n * head.len() + empty) as u32);
            assert_eq!(a.began.wire, WireId { conn, request });
            assert_eq!(a.began.wire, b.began.wire);
            assert_eq!(a.began.seed, b.began.seed);
            assert!(matches!(a.began.seed, Seed::Head(_)));
            assert_eq!((a.began.side, b.began.side), (Side::Client, Side::Server));
            seen.push(a.began.wire.request);
        }
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn where_origins_are_not_known_the_connection_is_zero() {
    let mut socket = Socket::old();
    socket.origins.known = false;
    socket.recv(get("/")).send(ok(0));
    assert_eq!(socket.finished()[0].began.wire.conn, ConnId::default());
}

#[test]
fn seeds() {
    let seed = |headers: &str| {
        let mut socket = Socket::new();
        socket
            .recv(format!("GET / HTTP/1.1\r\n{headers}\r\n"))
            .send(ok(0));
        socket.finished()[0].began.seed
    };
    assert_eq!(seed("b3: 1-2-1\r\nx-request-id: a\r\n"), Seed::Carried);
    let Seed::RequestId(a) = seed("x-request-id: a\r\n") else {
        panic!()
    };
    assert_eq!(
        seed("Accept: b\r\nX-Request-ID:   a\r\nb3: 1\r\n"),
        Seed::RequestId(a)
    );
    assert_ne!(seed("x-request-id: b\r\n"), Seed::RequestId(a));
    assert_ne!(seed("A: 1\r\n"), seed("A: 2\r\n"));
    assert_eq!(seed("A: 1\r\n"), seed("A: 1\r\n"));
}

#[test]
fn digests_are_published_constants() {
    // Both ends must agree across versions of the agent.
    let mut socket = Socket::new();
    socket.recv("GET / HTTP/1.1\r\n\r\n").send(ok(0));
    socket
        .recv("GET / HTTP/1.1\r\nx-request-id: abc\r\n\r\n")
        .send(ok(0));
    let seeds: Vec<_> = socket.finished().iter().map(|e| e.began.seed).collect();
    assert_eq!(seeds[0], Seed::Head(17_036_193_569_935_511_959));
    assert_eq!(
        seeds[1],
        Seed::RequestId(327_236_381_579_898_596_811_031_102_220_613_827_096)
    );
}

#[test]
fn who_and_where() {
    let endpoint = |port| Endpoint {
        ip: [127, 0, 0, 1].into(),
        port,
    };
    let (local, peer) = (endpoint(80), endpoint(4000));
    let mut socket = Socket::new();
    let comm = Comm::default();
    socket.event(Event::Opened { local, peer, comm });
    socket.recv(get("/")).eof(In).send(ok(0));
    let began = socket.finished()[0].began;
    assert_eq!((began.local, began.peer), (Some(local), Some(peer)));
    assert_eq!((began.owner, began.pid), (OwnerId(1), 42));
    let Some(Output::Began(first)) = socket.out.first() else {
        panic!()
    };
    assert_eq!(first.serial, began.serial);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<connection::Connection>() <= 448);
}
