use super::*;

fn request(bytes: &[u8]) -> RequestHead<'_> {
    match parse_request(bytes, Order::default()) {
        Parsed::Complete(head) => head,
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(bytes)),
    }
}

fn response(bytes: &[u8]) -> ResponseHead {
    match parse_response(bytes) {
        Parsed::Complete(head) => head,
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn a_request() {
    let bytes = b"GET /a?b=c HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8\r\n\
        X-Request-ID:  r-1 \r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc";
    let head = request(bytes);
    assert_eq!(head.method, b"GET");
    assert_eq!(head.target, b"/a?b=c");
    assert_eq!(head.host, b"shop");
    assert_eq!(head.user_agent, b"curl/8");
    assert_eq!(head.request_id, b"r-1");
    assert_eq!(head.framing, Framing::Length(3));
    assert_eq!(head.minor, 1);
    assert_eq!(head.len, bytes.len() - 3);
    assert!(head.expects_continue && !head.lenient);
}

#[test]
fn targets_and_methods() {
    for (line, method, target, minor) in [
        ("OPTIONS * HTTP/1.1", "OPTIONS", "*", 1),
        ("PROPFIND /dav HTTP/1.1", "PROPFIND", "/dav", 1),
        ("M-SEARCH * HTTP/1.1", "M-SEARCH", "*", 1),
        ("get / HTTP/1.0", "get", "/", 0),
        (
            "CONNECT example.com:443 HTTP/1.1",
            "CONNECT",
            "example.com:443",
            1,
        ),
        ("GET http://a.b/c?d HTTP/1.1", "GET", "http://a.b/c?d", 1),
    ] {
        for end in ["\r\n\r\n", "\n\n", "\r\nA: b\n\n"] {
            let bytes = format!("{line}{end}");
            let head = request(bytes.as_bytes());
            assert_eq!(head.method, method.as_bytes(), "{bytes:?}");
            assert_eq!(head.target, target.as_bytes(), "{bytes:?}");
            assert_eq!((head.minor, head.len), (minor, bytes.len()), "{bytes:?}");
            assert!(!head.lenient, "{bytes:?}");
        }
    }
}

#[test]
fn what_the_parser_refuses_is_read_leniently() {
    for (bytes, target, framing) in [
        (
            "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
            "/a b",
            Framing::Unsaid,
        ),
        ("GET /a HTTP/1.2\r\nHost: x\r\n\r\n", "/a", Framing::Unsaid),
        (
            "PUT /a HTTP/1.1\r\nHost : x\r\nContent-Length: 5\r\n\r\n",
            "/a",
            Framing::Length(5),
        ),
        (
            "PUT /a HTTP/1.1\r\nHost: x\r\n folded: y\r\nContent-Length: 5\r\n\r\n",
            "/a",
            Framing::Length(5),
        ),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n",
            "/a",
            Framing::Unsaid,
        ),
        (
            "GET /a HTTP/1.1\r\nHost: x\r\nX-B3-Sampled : 1\r\n\r\n",
            "/a",
            Framing::Unsaid,
        ),
        (
            "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
            "/\x01",
            Framing::Unsaid,
        ),
    ] {
        let head = request(bytes.as_bytes());
        assert!(head.lenient, "{bytes:?}");
        assert_eq!(head.method, &bytes.as_bytes()[..3], "{bytes:?}");
        assert_eq!(head.target, target.as_bytes(), "{bytes:?}");
        assert_eq!(head.host, b"x", "{bytes:?}");
        assert_eq!(head.framing, framing, "{bytes:?}");
        assert_eq!(head.len, bytes.len(), "{bytes:?}");
    }
    let head = response(b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(
        (head.status, head.framing, head.lenient),
        (200, Framing::Length(7), true)
    );
}

#[test]
fn what_is_not_http_is_refused() {
    for bytes in [
        "EHLO mail\r\n",
        "GET /\r\n\r\n",
        "a b\n\n",
        "GET  HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n",
    ] {
        let parsed = parse_request(bytes.as_bytes(), Order::default());
        assert!(matches!(parsed, Parsed::Refused), "{bytes:?}: {parsed:?}");
    }
    for bytes in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 0200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n",
        "HTTP/1.1 020 OK\r\n\r\n",
    ] {
        let parsed = parse_response(bytes.as_bytes());
        assert!(matches!(parsed, Parsed::Refused), "{bytes:?}: {parsed:?}");
    }
}

#[test]
fn framing() {
    for (headers, framing, lenient) in [
        ("", Framing::Unsaid, false),
        ("Content-Length: 0", Framing::Length(0), false),
        (
            "content-length: 18446744073709551615",
            Framing::Length(u64::MAX),
            false,
        ),
        (
            "CONTENT-LENGTH: 5\r\nTransfer-Encoding: chunked",
            Framing::Chunked,
            false,
        ),
        ("Transfer-Encoding: gzip, Chunked", Framing::Chunked, false),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
            Framing::Chunked,
            false,
        ),
        (
            "Transfer-Encoding: chunked, gzip",
            Framing::Undelimited,
            false,
        ),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 2",
            Framing::Length(2),
            false,
        ),
        ("Content-Length: 5, 5", Framing::Length(5), false),
        (
            "Content-Length: 5\r\nContent-Length: 5",
            Framing::Length(5),
            false,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6",
            Framing::Length(5),
            true,
        ),
        ("Content-Length: -1", Framing::Unsaid, true),
        (
            "Content-Length: 18446744073709551616",
            Framing::Unsaid,
            true,
        ),
        ("Content-Length: ", Framing::Unsaid, true),
    ] {
        let line = if headers.is_empty() {
            String::new()
        } else {
            format!("{headers}\r\n")
        };
        let sent = format!("POST / HTTP/1.1\r\n{line}\r\n");
        let head = request(sent.as_bytes());
        assert_eq!(
            (head.framing, head.lenient),
            (framing, lenient),
            "{headers}"
        );
        let sent = format!("HTTP/1.1 200 OK\r\n{line}\r\n");
        let head = response(sent.as_bytes());
        assert_eq!(
            (head.framing, head.lenient),
            (framing, lenient),
            "{headers}"
        );
    }
}

#[test]
fn bodies() {
    assert_eq!(request_body(Framing::Unsaid), Body::Empty);
    assert_eq!(request_body(Framing::Length(0)), Body::Empty);
    assert_eq!(request_body(Framing::Length(9)), Body::Counted(9));
    assert_eq!(request_body(Framing::Undelimited), Body::UntilClose);
    for status in [100, 103, 199, 204, 304] {
        assert_eq!(
            response_body(status, false, Framing::Length(9)),
            Body::Empty
        );
    }
    assert_eq!(response_body(200, true, Framing::Chunked), Body::Empty);
    assert_eq!(response_body(200, false, Framing::Unsaid), Body::UntilClose);
    assert_eq!(response_body(205, false, Framing::Length(0)), Body::Empty);
    assert_eq!(
        response_body(500, false, Framing::Length(9)),
        Body::Counted(9)
    );
}

#[test]
fn as_many_headers_as_fit() {
    let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
    while bytes.len() < MAX_HEAD - 80 {
        bytes.extend_from_slice(b"a:\n");
    }
    bytes.extend_from_slice(b"b3: 463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1\r\n\r\n");
    let head = request(&bytes);
    assert!(head.context.ids.is_some() && !head.lenient);
    assert_eq!(head.len, bytes.len());
}

#[test]
fn starts() {
    for (bytes, start) in [
        ("GET /", Start::Request),
        ("PROPFIND /", Start::Request),
        ("OPTIONS *", Start::Request),
        ("X h", Start::Request),
        ("HTTP/1.1 200", Start::Response),
        ("HTTP/1.", Start::Response),
        ("HTTP/1", Start::TooShort),
        ("HTTP", Start::TooShort),
        ("HTTP /x", Start::Request),
        ("H", Start::TooShort),
        ("G", Start::TooShort),
        ("GET ", Start::TooShort),
        ("", Start::TooShort),
        (" GET /", Start::No),
        ("GET  /", Start::No),
        ("GET \r", Start::No),
        ("HTTP/2.0 200", Start::No),
        ("{\"a\": 1}", Start::No),
        ("\x16\x03\x01", Start::No),
        ("AMETHODTHATISLONGERTHANANYTHATTHEREIS /", Start::No),
    ] {
        assert_eq!(looks_like_start(bytes.as_bytes()), start, "{bytes:?}");
    }
}

#[test]
fn a_start_stays_possible_until_it_is_one() {
    for line in [
        "GET /x HTTP/1.1",
        "HTTP/1.1 200 OK",
        "HTTPS /x HTTP/1.1",
        "UPDATEREDIRECTREF / HTTP/1.1",
    ] {
        for len in 0..line.len() {
            assert_ne!(
                looks_like_start(&line.as_bytes()[..len]),
                Start::No,
                "{:?}",
                &line[..len]
            );
        }
    }
}

#[test]
fn the_end_is_found_in_one_pass() {
    for head in [
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\nA: b\n\n",
        "GET / HTTP/1.1\nA: b\r\n\n",
        "GET / HTTP/1.1\n\r\n",
    ] {
        let bytes = format!("{head}GET /");
        let mut scan = EndScan::default();
        for len in 0..head.len() {
            assert_eq!(scan.find(&bytes.as_bytes()[..len]), None, "{head:?} {len}");
        }
        assert_eq!(scan.find(bytes.as_bytes()), Some(head.len()), "{head:?}");
        assert_eq!(
            EndScan::default().find(bytes.as_bytes()),
            Some(head.len()),
            "{head:?}"
        );
        assert_eq!(
            scan.first_line(),
            bytes.find('\n').map(|at| at + 1),
            "{head:?}"
        );
    }
}

#[test]
fn the_short_cut_says_what_the_parser_says() {
    let heads: [&[u8]; 6] = [
        b"GET /a?b=c HTTP/1.1\r\nHost: shop\r\nUser-Agent:  x \r\nX-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid:a2fb4a1d1a96d312\r\nX-B3-Sampled: 1\r\nX-Other: y\r\n\r\n",
        b"POST /b HTTP/1.0\nContent-Length: 12\nexpect: 100-continue\nx-request-id: \t r\t\n\n",
        b"PUT * HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\nb3: 0\r\nuber-trace-id: 1:2:0:1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 404 Not Found\nTransfer-Encoding: chunked\ncontent-type: x\n\n",
        b"HTTP/1.1 204\r\n\r\n",
    ];
    let mut random = crate::http::fuzz::Random::new(4);
    let mut taken = 0;
    for round in 0..20_000 {
        let mut bytes = heads[round % heads.len()].to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = b"\r\n :-0Hx\t"[random.below(9)],
                1 => bytes[at] = random.next() as u8,
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\r\n :-0Hx\t"[random.below(9)]),
            }
        }
        if let Some(quick) = quick::request(&bytes, Order::default())
            && let Parsed::Complete(parsed) = parse_unusual_request(&bytes, Order::default())
            && !parsed.lenient
        {
            let quick = RequestHead {
                lenient: false,
                ..quick
            };
            assert_eq!(format!("{quick:?}"), format!("{parsed:?}"));
            taken += 1;
        }
        if let Some(quick) = quick::response(&bytes)
            && let Parsed::Complete(parsed) = parse_unusual_response(&bytes)
            && !parsed.lenient
        {
            assert_eq!(quick.status, parsed.status);
            assert_eq!(quick.minor, parsed.minor);
            assert_eq!(quick.framing, parsed.framing);
            assert_eq!(quick.len, parsed.len);
            taken += 1;
        }
    }
    assert!(taken > 5_000, "{taken}");
}
