//! What is not HTTP/1, and what is picked up in the middle.

use super::*;
use Direction::{In, Out};

#[test]
fn http_ends_with_an_upgrade() {
    for (request, response, expected) in [
        (
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n",
            "GET /ws 101 0>0",
        ),
        (
            "CONNECT a:443 HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 Established\r\nContent-Length: 9\r\n\r\n",
            "CONNECT a:443 200 0>0",
        ),
    ] {
        let mut socket = Socket::new();
        socket.recv(request).send(response);
        assert_eq!(socket.told(), expected);
        assert_eq!(socket.opaque(), [Opaque::Upgraded]);
        let (socket_id, origins) = (socket.id, socket.origins);
        assert_eq!(
            socket.commands(),
            [Command::Ignore {
                socket: socket_id,
                origins
            }]
        );
        socket.recv(get("/hidden")).send(ok(3)).close();
        assert_eq!(socket.told(), expected);
        assert_eq!(socket.counters().upgraded, 1);
    }
}

#[test]
fn other_protocols() {
    let hello: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let settings: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (direction, bytes, protocol) in [
        (In, hello, Opaque::Tls),
        (Out, hello, Opaque::Tls),
        (In, preface, Opaque::Http2),
        (Out, settings, Opaque::Http2),
        (Out, b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Opaque::Other),
        (Out, b"220 mail ESMTP\r\n", Opaque::Other),
        (In, b"*1\r\n$4\r\nPING\r\n", Opaque::Other),
        (In, b"GET /old\r\n", Opaque::Other),
        (In, b"\0", Opaque::Other),
    ] {
        let mut socket = Socket::new();
        socket.moves(direction, bytes);
        assert_eq!(socket.opaque(), [protocol], "{bytes:?}");
        assert_eq!(socket.commands().len(), 1);
        socket.moves(direction, get("/")).close();
        assert_eq!(socket.told(), "");

        let mut socket = Socket::new();
        for byte in bytes {
            socket.moves(direction, [*byte]);
        }
        assert_eq!(socket.opaque().len(), 1, "{bytes:?} in single bytes");
    }
}

#[test]
fn what_is_picked_up_in_the_middle_gets_time() {
    let mut socket = Socket::old();
    for _ in 0..10_000 {
        socket.peeked(In, [b'x'; 1400]);
    }
    assert_eq!(socket.opaque(), []);
    socket.send(response(201, 0)).recv(get("/")).send(ok(1));
    assert_eq!(socket.told(), "GET / 200 0>1");
    assert_eq!(socket.counters().responses_unasked, 1);

    let mut socket = Socket::old();
    for _ in 0..5 {
        socket.recv([1; 30]).send([2; 30]);
    }
    assert_eq!(socket.opaque(), [Opaque::Other]);
    assert_eq!(socket.commands().len(), 1);

    let mut socket = Socket::old();
    socket
        .recv([0x17, 3, 3, 0, 9, 1])
        .send([0x17, 3, 3, 0, 9, 2]);
    assert_eq!(socket.opaque(), [Opaque::Tls]);
}

#[test]
fn picked_up_at_the_next_message() {
    // In the middle of an upload, of a download, of nothing.
    let mut socket = Socket::old();
    socket.recv("tail of a body").send(ok(5));
    socket
        .recv(get("/1"))
        .send(ok(6))
        .recv(get("/2"))
        .send(ok(7));
    assert_eq!(socket.told(), "GET /1 200 0>6; GET /2 200 0>7");
    assert_eq!(socket.counters().picked_up, 1);

    let mut socket = Socket::old();
    socket
        .recv("rest of a response")
        .send(get("/1"))
        .recv(ok(6));
    assert_eq!(socket.told(), "GET /1 200 0>6");

    // A method that nobody knows, behind the first response.
    let mut socket = Socket::old();
    socket.recv("FROB /1 HTTP/1.1\r\n\r\n").send(ok(5));
    socket.recv("FROB /2 HTTP/1.1\r\n\r\n").send(ok(6));
    assert_eq!(socket.told(), "FROB /2 200 0>6");

    let mut socket = Socket::old();
    socket.send(get("/1")).recv(ok(6));
    assert_eq!(socket.told(), "GET /1 200 0>6");
    assert_eq!(socket.finished()[0].began.side, crate::units::Side::Client);
}
