use super::*;
use Direction::{In, Out};

/// Name, calls and exchanges of a case.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// What a server on a new connection makes of these calls, `>` in, `<` out.
fn server(calls: &[(&str, &str)]) -> String {
    let mut socket = Socket::new();
    for (direction, bytes) in calls {
        match *direction {
            ">" => socket.recv(bytes),
            "<" => socket.send(bytes),
            other => panic!("{other}"),
        };
    }
    socket.told()
}

#[test]
fn framing_rules() {
    let cases: &[Case] = &[
        (
            "keep-alive",
            &[
                (">", "GET /1 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
                (">", "GET /2 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            ],
            "GET /1 200 0>2; GET /2 404 0>0",
        ),
        (
            "pipelining in one call",
            &[
                (
                    ">",
                    "POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                ),
                (
                    "<",
                    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 201 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
                ),
            ],
            "POST /1 200 3>1; GET /2 201 0>3; POST /3 202 2>0",
        ),
        (
            "a body that looks like a request is a body",
            &[
                (">", "POST /a HTTP/1.1\r\nContent-Length: 19\r\n\r\n"),
                (">", "GET /x HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n"),
                ("<", "HTTP/1.1 500 Oh\r\n\r\n"),
            ],
            "POST /a 200 19>19",
        ),
        (
            "chunks with extensions and trailers",
            &[
                (
                    ">",
                    "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n\r\n3;x=\"y\"\r\nabc\r\n0;z\r\nSum: 1\r\n\r\n",
                ),
                ("<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                ("<", "A\r\n01234"),
                ("<", "56789\r"),
                ("<", "\n0\r\nSum: "),
                ("<", "1\r\n\r"),
                ("<", "\n"),
            ],
            "PUT / 200 3>10",
        ),
        (
            "interim responses",
            &[
                (
                    ">",
                    "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
                ),
                ("<", "HTTP/1.1 100 Continue\r\n\r\n"),
                (">", "hi"),
                ("<", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
                ("<", "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
            ],
            "POST / 201 2>0",
        ),
        (
            "no body behind 204, 304 and to HEAD",
            &[
                (">", "GET /1 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
                (">", "GET /2 HTTP/1.1\r\n\r\n"),
                (
                    "<",
                    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                ),
                (">", "HEAD /3 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                (">", "GET /4 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"),
            ],
            "GET /1 204 0>0; GET /2 304 0>0; HEAD /3 200 0>0; GET /4 200 0>1",
        ),
        (
            "an early response ends the exchange, the body is framed on",
            &[
                (
                    ">",
                    "POST /big HTTP/1.1\r\nContent-Length: 40\r\n\r\n0123456789",
                ),
                ("<", "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
                (">", "GET /x HTTP/1.1\r\n\r\n012345678"),
                (">", "ab"),
                (">", "GET /next HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
            "POST /big 413 10>2; GET /next 200 0>0",
        ),
        (
            "methods and targets of all kinds",
            &[
                (">", "PROPFIND /dav HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 207 Multi\r\nContent-Length: 0\r\n\r\n"),
                (">", "OPTIONS * HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                (">", "GET http://a.b/c HTTP/1.0\r\n\r\n"),
                ("<", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
            "PROPFIND /dav 207 0>0; OPTIONS * 200 0>0; GET http://a.b/c 200 0>0",
        ),
        (
            "bare LF, empty lines",
            &[
                (">", "\r\n\nGET /1 HTTP/1.1\nHost: x\n\n\r\n"),
                ("<", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
                (">", "GET /2 HTTP/1.1\n\n"),
                (
                    "<",
                    "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\na\n0\n\n",
                ),
            ],
            "GET /1 200 0>2; GET /2 200 0>1",
        ),
        (
            "refused by the parser",
            &[
                (">", "GET /a b HTTP/1.1\r\nHost : x\r\n\r\n"),
                (
                    "<",
                    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nhi",
                ),
                (">", "GET /2 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
            "GET /a b 200 0>2; GET /2 200 0>0",
        ),
        (
            "CONNECT refused goes on",
            &[
                (">", "CONNECT a:1 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
                (">", "GET /2 HTTP/1.1\r\n\r\n"),
                ("<", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ],
            "CONNECT a:1 403 0>2; GET /2 200 0>0",
        ),
    ];
    for (name, calls, expected) in cases {
        assert_eq!(server(calls), *expected, "{name}");
    }
}

#[test]
fn lenient_heads_are_marked_and_counted() {
    let mut socket = Socket::new();
    socket.recv("GET /a b HTTP/1.1\r\n\r\n").send(ok(1));
    socket.recv(get("/2")).send(ok(1));
    let lenient: Vec<_> = socket.finished().iter().map(|e| e.lenient).collect();
    assert_eq!(lenient, [true, false]);
    assert_eq!(socket.counters().heads_lenient, 1);
}

#[test]
fn close_delimited() {
    let mut socket = Socket::new();
    socket
        .recv(get("/"))
        .send("HTTP/1.0 200 OK\r\n\r\nabc")
        .send("def");
    assert_eq!(socket.told(), "");
    socket.close();
    assert_eq!(socket.told(), "GET / 200 0>6");

    let mut socket = Socket::new();
    socket
        .send(get("/"))
        .recv("HTTP/1.1 200 OK\r\n\r\nabc")
        .eof(In);
    assert_eq!(socket.told(), "GET / 200 0>3");
}

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
fn a_half_close_ends_nothing() {
    let mut socket = Socket::new();
    socket.recv(get("/")).eof(In);
    assert_eq!(socket.told(), "");
    socket.send(ok(3));
    assert_eq!(socket.told(), "GET / 200 0>3");
}

#[test]
fn cut_short() {
    let post = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let mut socket = Socket::new();
    socket.recv(get("/")).close();
    assert_eq!(socket.told(), "GET / - 0>0 no response");

    let mut socket = Socket::new();
    socket.recv(get("/")).send(part).close();
    assert_eq!(socket.told(), "GET / 200 0>3 response cut short");

    let mut socket = Socket::new();
    socket.send(get("/")).recv(part).eof(In);
    assert_eq!(socket.told(), "GET / 200 0>3 response cut short");

    let mut socket = Socket::new();
    socket
        .send(get("/"))
        .recv("HTTP/1.1 503 Oh\r\nContent-")
        .eof(In);
    assert_eq!(socket.told(), "GET / 503 0>0 response cut short");

    let mut socket = Socket::new();
    socket.send(get("/")).recv("HTTP/1.1 50").close();
    assert_eq!(socket.told(), "GET / - 0>0 no response");

    let mut socket = Socket::new();
    socket.recv(post).close();
    assert_eq!(socket.told(), "POST / - 3>0 request cut short");

    let mut socket = Socket::new();
    socket.recv(post).eof(In).send(ok(2));
    assert_eq!(socket.told(), "POST / 200 3>2 request cut short");

    let mut socket = Socket::new();
    socket.recv(get("/1") + &get("/2")).send(ok(2)).close();
    assert_eq!(socket.told(), "GET /1 200 0>2; GET /2 - 0>0 no response");

    let mut socket = Socket::new();
    socket.recv(get("/")).failed(104).close();
    assert_eq!(socket.told(), "GET / - 0>0 connection reset");

    let mut socket = Socket::new();
    socket.recv(get("/")).send(part).failed(32);
    assert_eq!(socket.told(), "GET / 200 0>3 connection reset");

    let mut socket = Socket::new();
    socket.send(get("/")).failed(110);
    assert_eq!(socket.told(), "GET / - 0>0 connection failed");

    let mut socket = Socket::new();
    socket.send(get("/")).failed(11).recv(ok(1));
    assert_eq!(socket.told(), "GET / 200 0>1");

    let mut socket = Socket::new();
    socket.send(get("/")).recv(part).finish();
    assert_eq!(socket.told(), "GET / 200 0>3 capture ended");

    let mut socket = Socket::new();
    socket.send(&get("/")[..9]).finish();
    assert_eq!(socket.told(), "");
}

#[test]
fn a_client_that_fails_to_send_may_still_read_why() {
    let post = "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    let mut socket = Socket::new();
    socket.send(post).failed(32);
    assert_eq!(socket.told(), "");
    socket.recv(response(413, 2));
    assert_eq!(socket.told(), "POST / 413 3>2");

    let mut socket = Socket::new();
    socket.send(post).failed(104).close();
    assert_eq!(socket.told(), "POST / - 3>0 connection reset");

    let mut socket = Socket::new();
    socket.send(post).failed(104);
    let later = MonoNanos(socket.now + 2_000_000_000);
    socket.assembler.expire(later, &mut socket.out);
    assert_eq!(socket.told(), "POST / - 3>0 connection reset");
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

#[test]
fn a_reused_socket_is_another_connection() {
    let mut socket = Socket::new();
    socket.recv(get("/1"));
    socket.origins.peer = TcpSeq(5);
    socket.incoming = TcpSeq(5);
    socket.recv(get("/2")).send(ok(1));
    assert_eq!(socket.told(), "GET /1 - 0>0 no response; GET /2 200 0>1");
    assert_eq!(socket.counters().reused, 1);
}

#[test]
fn large_bodies_are_skipped_once() {
    let mut socket = Socket::new();
    let start = socket.incoming;
    let head = "PUT / HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n";
    socket.recv(head).peeked(In, [b'x'; 60_000]);
    let (id, origins) = (socket.id, socket.origins);
    let last = start.plus(head.len() as u32 + 10_000_000 - 1);
    let skip = Command::SkipTo {
        socket: id,
        origins,
        direction: In,
        seq: last,
    };
    assert_eq!(socket.commands(), [skip]);
    socket.skip(In, 10_000_000 - 60_000 - 500);
    socket.peeked(In, [b'y'; 500]).send(ok(0));
    assert_eq!(socket.commands(), []);
    assert_eq!(socket.told(), "PUT / 200 10000000>0");
    assert_eq!(socket.counters().gaps, 0);

    let chunk = 100_000;
    socket.recv(get("/c"));
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk:x}\r\n");
    let start = socket.outgoing;
    socket.send(&head);
    let last = start.plus(head.len() as u32 + chunk - 1);
    let skip = Command::SkipTo {
        socket: id,
        origins,
        direction: Out,
        seq: last,
    };
    assert_eq!(socket.commands(), [skip]);
    socket.skip(Out, chunk);
    socket.send("\r\n0\r\n\r\n");
    assert_eq!(socket.finished().len(), 2);
    assert_eq!(tell(socket.finished()[1]), "GET /c 200 0>100000");
}

#[test]
fn huge_bodies_are_skipped_in_steps() {
    let mut socket = Socket::new();
    let length = 5_u64 << 30;
    socket.recv(format!(
        "PUT / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut left = length;
    while left > 0 {
        let skips = socket.commands();
        if let [Command::SkipTo { seq, .. }] = skips[..] {
            let count = seq.since(socket.incoming);
            assert!(count <= 1 << 30);
            socket.skip(In, count);
            left -= u64::from(count);
        }
        let here = left.min(1000) as usize;
        socket.peeked(In, vec![b'x'; here]);
        left -= here as u64;
    }
    socket.send(ok(0));
    assert_eq!(socket.told(), format!("PUT / 200 {length}>0"));
}

#[test]
fn bounds_hold() {
    let limits = Limits {
        connections: 8,
        pipelined: 4,
        held: 10_000,
        ..Limits::default()
    };
    let mut socket = Socket::with(Options {
        limits,
        ..Options::default()
    });
    for id in 0..40 {
        socket.id = SocketId(id);
        socket.incoming = ORIGINS.peer;
        socket.recv("GET / HTTP/1.1\r\nlong: ".to_owned() + &"x".repeat(3000));
        assert!(socket.assembler.connections() <= 8);
        assert!(socket.assembler.held() <= 10_000);
    }
    assert!(socket.counters().heads_no_room + socket.counters().evicted > 30);
    socket.id = SocketId(100);
    socket.incoming = ORIGINS.peer;
    for _ in 0..10 {
        socket.recv(get("/many"));
    }
    assert_eq!(socket.counters().lost, 8);
    socket.finish();
    assert_eq!(socket.assembler.connections(), 0);
    assert_eq!(socket.assembler.held(), 0);
    assert_eq!(socket.counters().began, socket.counters().finished);
}

#[test]
fn state_expires() {
    let mut socket = Socket::new();
    socket.recv(get("/1"));
    let limits = Limits::default();
    let silent = MonoNanos(socket.now + limits.silent);
    socket.assembler.expire(silent, &mut socket.out);
    assert_eq!(socket.told(), "");
    let silent = MonoNanos(socket.now + limits.silent + 100);
    socket.assembler.expire(silent, &mut socket.out);
    assert_eq!(socket.told(), "GET /1 - 0>0 expired");

    socket.send(ok(0)).recv(get("/2")).send(ok(1));
    let idle = MonoNanos(socket.now + limits.idle + 100);
    socket.assembler.expire(idle, &mut socket.out);
    assert_eq!(socket.assembler.connections(), 0);
    assert_eq!(socket.counters().idle, 1);
}

#[test]
fn too_long_a_head_is_given_up() {
    let long = format!(
        "GET /long HTTP/1.1\r\nCookie: {}\r\n\r\n",
        "c".repeat(70_000)
    );
    let mut socket = Socket::new();
    for piece in long.as_bytes().chunks(4096) {
        socket.recv(piece);
    }
    socket.send(ok(1)).recv(get("/2")).send(ok(2));
    assert_eq!(socket.told(), "GET /2 200 0>2");
    assert_eq!(socket.counters().heads_too_long, 1);
    assert_eq!(socket.assembler.held(), 0);

    let fits = format!(
        "GET /fits HTTP/1.1\r\nCookie: {}\r\n\r\n",
        "c".repeat(65_000)
    );
    for piece in fits.as_bytes().chunks(4096) {
        socket.recv(piece);
    }
    socket.send(ok(3));
    assert_eq!(tell(socket.finished()[1]), "GET /fits 200 0>3");
}
