//! What records that are missing cost, and what they do not.

use super::*;
use Direction::{In, Out};

#[test]
fn bytes_of_a_counted_body_cost_nothing() {
    let mut socket = Socket::new();
    socket.recv("PUT / HTTP/1.1\r\nContent-Length: 300\r\n\r\n");
    socket.lose(In, [0; 100]).recv([1; 100]).lose(In, [2; 100]);
    socket.send(ok(1)).recv(get("/2")).send(ok(2));
    assert_eq!(socket.told(), "PUT / 200 200>1; GET /2 200 0>2");

    let mut socket = Socket::new();
    socket
        .recv(get("/1"))
        .send("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
    socket
        .lose(Out, [0; 100])
        .send([1; 100])
        .lose(Out, [2; 100]);
    socket
        .recv(get("/2"))
        .send(ok(2))
        .recv(get("/3"))
        .send(ok(3));
    assert_eq!(
        socket.told(),
        "GET /1 200 0>300; GET /2 200 0>2; GET /3 200 0>3"
    );
    // The call that moved the last byte is lost; the last known one counts.
    assert_eq!(socket.finished()[0].end, MonoNanos(410));
    assert_eq!(socket.counters().gaps, 2);
}

#[test]
fn a_lost_request_costs_itself() {
    let mut socket = Socket::new();
    socket.recv(get("/1")).send(ok(1));
    socket.lose(In, get("/2")).send(ok(2));
    socket.recv(get("/3")).send(ok(3));
    socket.recv(get("/4")).send(ok(4));
    assert_eq!(
        socket.told(),
        "GET /1 200 0>1; GET /3 200 0>3; GET /4 200 0>4"
    );
    assert_eq!(socket.counters().responses_unasked, 1);
    assert_eq!(socket.counters().doubts, 0);
}

#[test]
fn the_first_request_of_a_connection_is_lost() {
    let mut socket = Socket::new();
    socket.lose(In, get("/1")).send(ok(1));
    socket.recv(get("/2")).send(ok(2));
    assert_eq!(socket.told(), "GET /2 200 0>2");
}

#[test]
fn a_lost_response_costs_its_exchange() {
    let mut socket = Socket::new();
    socket.recv(get("/1")).lose(Out, ok(1));
    socket.recv(get("/2")).send(ok(2));
    socket.recv(get("/3")).send(ok(3));
    assert_eq!(
        socket.told(),
        "GET /1 - 0>0 bytes lost; GET /2 200 0>2; GET /3 200 0>3"
    );

    let mut socket = Socket::new();
    socket.recv(get("/1")).lose(Out, ok(1));
    socket.recv(get("/2")).send(ok(2)).close();
    assert_eq!(socket.told(), "GET /1 - 0>0 bytes lost; GET /2 200 0>2");
}

#[test]
fn lost_pieces_of_heads() {
    let request = get("/2");
    let (a, b) = request.split_at(10);
    for lost in 0..2 {
        let mut socket = Socket::new();
        socket.recv(get("/1")).send(ok(1));
        match lost {
            0 => socket.lose(In, a).recv(b),
            _ => socket.recv(a).lose(In, b),
        };
        socket.send(ok(2)).recv(get("/3")).send(ok(3));
        assert_eq!(socket.told(), "GET /1 200 0>1; GET /3 200 0>3", "{lost}");
    }
    let answer = response(202, 5);
    let (a, b) = answer.split_at(20);
    for lost in 0..2 {
        let mut socket = Socket::new();
        socket.recv(get("/1")).send(ok(1)).recv(get("/2"));
        match lost {
            0 => socket.lose(Out, a).send(b),
            _ => socket.send(a).lose(Out, b),
        };
        socket
            .recv(get("/3"))
            .send(ok(3))
            .recv(get("/4"))
            .send(ok(4));
        assert_eq!(
            socket.told(),
            "GET /1 200 0>1; GET /2 - 0>0 bytes lost; GET /3 200 0>3; GET /4 200 0>4",
            "{lost}"
        );
    }
}

#[test]
fn chunks_seen_in_part_have_their_size_on_the_wire() {
    let chunks = chunked(&[&"a".repeat(100), &"b".repeat(200), &"c".repeat(300)]);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut socket = Socket::new();
    socket.recv(get("/1")).send(head).peeked(Out, &chunks);
    socket.recv(get("/2")).send(ok(2));
    let wire = chunks.len();
    assert_eq!(
        socket.told(),
        format!("GET /1 200 0>{wire}w; GET /2 200 0>2")
    );
    assert_eq!(socket.finished()[0].end, MonoNanos(310));

    // The end is lost too: the next request shows that it has been.
    let mut socket = Socket::new();
    socket.recv(get("/1")).send(head).lose(Out, &chunks);
    socket
        .recv(get("/2"))
        .send(ok(2))
        .recv(get("/3"))
        .send(ok(3));
    assert_eq!(
        socket.told(),
        format!("GET /1 200 0>{wire}w; GET /2 200 0>2; GET /3 200 0>3")
    );

    // The same for a request.
    let head = "PUT /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut socket = Socket::new();
    socket.recv(head).peeked(In, &chunks).send(ok(1));
    socket.recv(get("/2")).send(ok(2));
    assert_eq!(
        socket.told(),
        format!("PUT /1 200 {wire}w>1; GET /2 200 0>2")
    );

    let mut socket = Socket::new();
    socket.recv(head).lose(In, &chunks).send(ok(1));
    socket.recv(get("/2")).send(ok(2));
    socket.recv(get("/3")).send(ok(3));
    let told = socket.told();
    assert!(
        told.starts_with("PUT /1 200 ") && told.ends_with("GET /3 200 0>3"),
        "{told}"
    );
}

#[test]
fn a_chunk_seen_at_both_ends_is_known() {
    let chunks = chunked(&[&"a".repeat(5000)]);
    let mut socket = Socket::new();
    socket.recv(get("/1"));
    socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.peeked(Out, &chunks);
    assert_eq!(socket.told(), "GET /1 200 0>5000");
}

#[test]
fn trailers_behind_lost_chunks() {
    let body = chunked(&["abc", "def"]).replace("0\r\n\r\n", "0\r\nSum: 1\r\n\r\n");
    let mut socket = Socket::new();
    socket.recv("PUT /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    socket.lose(In, "3\r\nabc").recv(&body[6..]).send(ok(1));
    socket.recv(get("/2")).send(ok(2));
    assert_eq!(
        socket.told(),
        format!("PUT /1 200 {}w>1; GET /2 200 0>2", body.len() - 6 + 6)
    );
}

#[test]
fn a_start_behind_a_body_in_one_call_is_counted() {
    let body = "x".repeat(1000);
    let mut socket = Socket::new();
    socket.recv("PUT /1 HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
    socket.peeked(In, body + &get("/2") + &get("/3"));
    socket.send(ok(1)).send(ok(2)).send(ok(3));
    socket.recv(get("/4")).send(ok(4));
    assert_eq!(socket.told(), "PUT /1 200 1000>1; GET /4 200 0>4");
    assert_eq!(socket.counters().starts_unseen, 1);
}

#[test]
fn repeated_bytes_are_cut_off() {
    let mut socket = Socket::new();
    let text = get("/1");
    let start = socket.incoming;
    socket.recv(&text[..20]);
    socket.incoming = start;
    socket.recv(&text[..15]);
    socket.incoming = start.plus(10);
    socket.recv(&text[10..]);
    socket.incoming = start;
    socket.recv(&text);
    socket.send(ok(1)).recv(get("/2")).send(ok(2));
    assert_eq!(socket.told(), "GET /1 200 0>1; GET /2 200 0>2");
    assert_eq!(socket.counters().repeated, 2);
}

#[test]
fn a_send_whose_bytes_could_not_be_read() {
    let mut socket = Socket::new();
    socket.recv(get("/1"));
    let text = ok(1);
    socket.call(Out, text.len() as u32, &[], &[]);
    socket
        .recv(get("/2"))
        .send(ok(2))
        .recv(get("/3"))
        .send(ok(3));
    assert_eq!(
        socket.told(),
        "GET /1 - 0>0 bytes lost; GET /2 200 0>2; GET /3 200 0>3"
    );
}
