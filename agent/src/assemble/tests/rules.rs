use super::*;
use crate::http::context::{Format, Order};
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
fn request_lines_are_given_out_before_their_exchange_if_asked_for() {
    let mut socket = Socket::new();
    socket.read_as(&Reading {
        lines: true,
        ..Reading::default()
    });
    socket.recv("PUT /a HTTP/1.1\r\nHost: shop:80\r\nUser-Agent: u\r\n\r\n");
    socket.recv("GET http://x.y/ HTTP/1.1\r\n\r\n");
    let said: Vec<String> = socket
        .out
        .iter()
        .map(|output| match output {
            Output::Line(text) => String::from_utf8_lossy(text.all()).into_owned(),
            Output::Began(began) => began.serial.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(said, ["PUT/ashop:80", "1", "GEThttp://x.y/", "2"]);
    let mut socket = Socket::new();
    socket.recv(get("/"));
    assert!(matches!(socket.out[..], [Output::Began(_)]));
}

#[test]
fn another_header_is_read_in_place_of_ubers() {
    let request = "GET / HTTP/1.1\r\nUber-Trace-Id: 1:2:0:1\r\nMy-Trace: 3:4:0:1\r\n\r\n";
    for (name, trace) in [(None, 1), (Some("my-trace"), 3)] {
        let mut socket = Socket::new();
        socket.read_as(&Reading {
            context_header: name.map(Into::into),
            ..Reading::default()
        });
        socket.recv(request);
        assert_eq!(traces(&socket), [trace]);
    }
}

/// Low halves of the traces that requests belong to.
fn traces(socket: &Socket) -> Vec<u64> {
    let trace = |output: &Output| match output {
        Output::Began(began) => Some(began.context.ids?.trace.low()),
        _ => None,
    };
    socket.out.iter().filter_map(trace).collect()
}

#[test]
fn requests_of_an_open_connection_are_read_as_is_asked_meanwhile() {
    let request = "GET / HTTP/1.1\r\nb3: 0000000000000005-0000000000000006-1\r\n\
                   Uber-Trace-Id: 1:2:0:1\r\nMy-Trace: 3:4:0:1\r\n\r\n";
    let mut socket = Socket::new();
    for (first, header) in [
        (Format::B3Single, None),
        (Format::Uber, None),
        (Format::Uber, Some("my-trace")),
        (Format::B3Single, Some("my-trace")),
    ] {
        socket.read_as(&Reading {
            order: Order::preferring(&[first]),
            context_header: header.map(Into::into),
            ..Reading::default()
        });
        socket.recv(request);
        socket.send(ok(0));
    }
    assert_eq!(traces(&socket), [5, 1, 3, 5]);
}
