//! Which response answers which request, when some were not seen.

use super::*;
use Direction::{In, Out};

/// Runs a script at a server: `r1` a request, `a1` its response, capitals
/// where the record is lost; `batch` joins nothing, calls come as written.
fn server(script: &str) -> String {
    let mut socket = Socket::new();
    run(&mut socket, script);
    socket.close();
    summary(&socket)
}

fn run(socket: &mut Socket, script: &str) {
    for step in script.split(' ') {
        let (kind, number) = step.split_at(1);
        let request = get(&format!("/{number}"));
        let answer = response(210 + number.parse::<u16>().unwrap(), 3);
        match kind {
            "r" => socket.recv(request),
            "R" => socket.lose(In, request),
            "a" => socket.send(answer),
            "A" => socket.lose(Out, answer),
            other => panic!("{other}"),
        };
    }
}

/// `1` for a request with its own response, `1?` for one without.
fn summary(socket: &Socket) -> String {
    let numbers = socket.finished().into_iter().map(|exchange| {
        let number = String::from_utf8_lossy(&exchange.text.target()[1..]).into_owned();
        match exchange.status {
            Some(status) => {
                assert_eq!(status, 210 + number.parse::<u16>().unwrap());
                number
            }
            None => number + "?",
        }
    });
    numbers.collect::<Vec<_>>().join(" ")
}

#[test]
fn one_at_a_time() {
    for (script, expected) in [
        ("r1 a1 r2 a2 r3 a3", "1 2 3"),
        ("R1 a1 r2 a2 r3 a3", "2 3"),
        ("r1 A1 r2 a2 r3 a3", "1? 2 3"),
        ("r1 a1 R2 a2 r3 a3", "1 3"),
        ("r1 a1 r2 A2 r3 a3", "1 2? 3"),
        ("r1 a1 r2 a2 R3 a3", "1 2"),
        ("r1 a1 r2 a2 r3 A3", "1 2 3?"),
        // Bursts: a request and its response, and across exchanges.
        ("r1 a1 R2 A2 r3 a3 r4 a4", "1 3 4"),
        ("r1 A1 R2 a2 r3 a3 r4 a4", "1? 3 4"),
        ("r1 a1 r2 A2 R3 a3 r4 a4", "1 2? 4"),
        ("r1 A1 R2 A2 r3 a3 r4 a4", "1? 3 4"),
        ("r1 A1 R2 A2 R3 a3 r4 a4", "1? 4"),
        ("R1 A1 R2 A2 r3 a3 r4 a4", "3 4"),
        ("r1 A1 r2 A2 R3 a3 r4 a4 r5 a5", "1? 2? 4 5"),
        ("r1 a1 R2 A2 r3 A3 R4 a4 r5 a5", "1 3? 5"),
        ("r1 a1 R2 A2 r3 A3 r4 a4 r5 a5", "1 3? 4 5"),
        ("r1 A1 r2 A2 r3 A3 r4 a4 r5 a5", "1? 2? 3? 4 5"),
    ] {
        assert_eq!(server(script), expected, "{script}");
    }
}

#[test]
fn in_batches() {
    for (script, expected) in [
        ("r1 r2 r3 a1 a2 a3 r4 a4", "1 2 3 4"),
        ("r1 r2 r3 A1 a2 a3 r4 a4", "1? 2 3 4"),
        ("r1 r2 r3 a1 A2 a3 r4 a4", "1 2? 3 4"),
        ("r1 r2 r3 a1 a2 A3 r4 a4 r5 a5", "1 2 3? 4 5"),
        ("r1 R2 r3 a1 a2 a3 r4 a4", "1 3 4"),
        ("r1 R2 R3 r4 a1 a2 a3 a4 r5 a5", "1 4 5"),
        ("r1 a1 R2 r3 a2 a3 r4 a4", "1 3 4"),
        ("r1 a1 R2 R3 r4 a2 a3 a4 r5 a5", "1 4 5"),
    ] {
        assert_eq!(server(script), expected, "{script}");
    }
}

#[test]
fn with_several_on_their_way_doubt_loses_all() {
    for (script, expected) in [
        ("r1 r2 a1 r3 a2 r4 a3 a4", "1 2 3 4"),
        ("r1 r2 a1 r3 a2 r4 A3 r5 a4 r6 a5 a6", "1 2 3? 4? 5? 6?"),
        ("r1 r2 a1 r3 a2 R4 a3 r5 a4 r6 a5 a6", "1 2 3 5? 6?"),
    ] {
        assert_eq!(server(script), expected, "{script}");
    }
}

#[test]
fn an_answer_that_overtakes_its_request() {
    let mut socket = Socket::new();
    let request = get("/1");
    let sent = socket.skip(Out, request.len() as u32);
    let entry = MonoNanos(5);
    socket.recv(ok(7));
    assert_eq!(socket.told(), "");
    let late = Segment {
        direction: Out,
        seq: sent,
        len: request.len() as u32,
        head: request.as_bytes(),
        tail: &[],
        entry,
        exit: MonoNanos(500),
    };
    socket.event(Event::Segment(late));
    assert_eq!(socket.told(), "GET /1 200 0>7");
    socket.now = 1000;
    socket.send(get("/2")).recv(ok(8));
    assert_eq!(socket.told(), "GET /1 200 0>7; GET /2 200 0>8");
}

#[test]
fn head_that_is_overtaken_has_no_body() {
    let mut socket = Socket::new();
    let request = "HEAD /1 HTTP/1.1\r\n\r\n";
    let sent = socket.skip(Out, request.len() as u32);
    socket.recv("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    socket.event(Event::Segment(Segment {
        direction: Out,
        seq: sent,
        len: request.len() as u32,
        head: request.as_bytes(),
        tail: &[],
        entry: MonoNanos(5),
        exit: MonoNanos(500),
    }));
    socket.now = 1000;
    socket.send(get("/2")).recv(ok(8));
    assert_eq!(socket.told(), "HEAD /1 200 0>0; GET /2 200 0>8");
}

#[test]
fn framing_that_depends_on_a_doubtful_request() {
    // The missing response is that of the first: the second is the HEAD's.
    let mut socket = Socket::new();
    socket.recv(get("/1")).lose(Out, ok(1));
    socket.recv("HEAD /2 HTTP/1.1\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    socket
        .recv(get("/3"))
        .send(ok(3))
        .recv(get("/4"))
        .send(ok(4))
        .close();
    assert_eq!(
        socket.told(),
        "GET /1 - 0>0 bytes lost; HEAD /2 200 0>0; GET /3 200 0>3; GET /4 200 0>4"
    );

    // It may answer either of the last two.
    let mut socket = Socket::new();
    let batch = get("/1") + "HEAD /2 HTTP/1.1\r\n\r\n" + &get("/3");
    socket.recv(batch).lose(Out, ok(1));
    socket.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    socket.send(ok(3)).recv(get("/4")).send(ok(4));
    assert_eq!(
        socket.told(),
        "GET /1 - 0>0 bytes lost; HEAD /2 - 0>0 bytes lost; GET /3 - 0>0 bytes lost; GET /4 200 0>4"
    );
}
