//! How connections end, and what is given up.

use super::*;
use Direction::In;

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
    socket.send(get("/")).fails(In, 110);
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
fn a_client_that_fails_to_send_its_next_request_may_still_read_an_answer() {
    let mut socket = Socket::new();
    socket.send(get("/1")).failed(104);
    assert_eq!(socket.told(), "");
    socket.recv(ok(2));
    socket.close();
    assert_eq!(socket.told(), "GET /1 200 0>2");

    // Nothing is left to read behind a receive that fails.
    let mut socket = Socket::new();
    socket.send(get("/1")).fails(In, 104);
    assert_eq!(socket.told(), "GET /1 - 0>0 connection reset");

    // What is never answered ends where it failed.
    let mut socket = Socket::new();
    socket
        .send(get("/1"))
        .send(get("/2"))
        .failed(32)
        .recv(ok(2));
    socket.close();
    assert_eq!(
        socket.told(),
        "GET /1 200 0>2; GET /2 - 0>0 connection reset"
    );

    // Who reads on is waited for.
    let mut socket = Socket::new();
    socket.send(get("/1")).send(get("/2")).failed(104);
    socket.now += 900_000_000;
    socket.recv(ok(2));
    let later = MonoNanos(socket.now + 900_000_000);
    socket.assembler.expire(later, &mut socket.out);
    assert_eq!(socket.told(), "GET /1 200 0>2");
    socket.recv(ok(2));
    assert_eq!(socket.told(), "GET /1 200 0>2; GET /2 200 0>2");
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
    // Those that were forgotten are made out anew.
    let evicted = socket.counters().evicted;
    let commands = socket.assembler.commands();
    let renewed = commands.filter(|command| matches!(command, Command::Renew { .. }));
    assert_eq!(renewed.count() as u64, evicted);
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

/// Requests that are given up for want of room keep their responses.
#[test]
fn responses_to_what_was_given_up_are_nobodys() {
    let limits = Limits {
        pipelined: 4,
        ..Limits::default()
    };
    for (asks, answers) in [(In, Direction::Out), (Direction::Out, In)] {
        let mut socket = Socket::with(Options {
            limits,
            ..Options::default()
        });
        // One of them has a response without the body that its head tells of.
        socket.moves(asks, get("/0").replace("GET", "HEAD"));
        for n in 1..10 {
            socket.moves(asks, get(&format!("/{n}")));
        }
        assert_eq!(socket.counters().lost, 8);
        socket.told();
        socket.moves(answers, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        for n in 1..10 {
            socket.moves(answers, response(200 + n, usize::from(n)));
        }
        socket.moves(asks, get("/10"));
        socket.moves(answers, response(210, 10));
        let told = socket.told();
        for its in ["GET /8 208 0>8", "GET /9 209 0>9", "GET /10 210 0>10"] {
            assert!(told.contains(its), "{asks:?}: no {its} in {told}");
        }
        assert_eq!(socket.counters().responses_unasked, 0);
        assert_eq!(socket.counters().lost, 8);
    }
}

/// What is not HTTP any more is not looked at again because it was silent.
#[test]
fn a_tunnel_stays_one() {
    let mut socket = Socket::new();
    socket
        .recv("CONNECT host:1 HTTP/1.1\r\nhost: host:1\r\n\r\n")
        .send("HTTP/1.1 200 OK\r\n\r\n");
    assert!(socket.told().starts_with("CONNECT"));
    let _ = socket.assembler.commands().count();
    let idle = MonoNanos(socket.now + Limits::default().idle + 100);
    socket.assembler.expire(idle, &mut socket.out);
    assert_eq!(socket.assembler.connections(), 0);
    let renewed = |command: &Command| matches!(command, Command::Renew { .. });
    assert!(!socket.assembler.commands().any(|command| renewed(&command)));
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
    // A pool may use it again, and its addresses are told once.
    let renewed = |command: &Command| matches!(command, Command::Renew { .. });
    assert_eq!(
        socket
            .assembler
            .commands()
            .filter(|command| renewed(command))
            .count(),
        2
    );
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
