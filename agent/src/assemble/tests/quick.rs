//! What goes the short way. (That it leads to the same is asserted by
//! [`Socket::event`], in all tests.)
use super::*;

fn exchange(socket: &mut Socket) {
    socket
        .recv("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

#[test]
fn usual_exchanges_do_from_the_first_response_on() {
    let mut socket = Socket::new();
    for _ in 0..10 {
        exchange(&mut socket);
    }
    assert!(
        socket.assembler.shortened() >= 18,
        "{}",
        socket.assembler.shortened()
    );
    assert_eq!(socket.assembler.counters().finished, 10);
}

#[test]
fn unusual_messages_do_not_and_it_goes_on_behind_them() {
    for (request, responses) in [
        (
            "HEAD / HTTP/1.1\r\n\r\n",
            &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"][..],
        ),
        (
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab",
            &["HTTP/1.1 204 No\r\n\r\n"],
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            &[
                "HTTP/1.1 103 Early Hints\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ],
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"],
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
        ),
        (
            "GET /a b HTTP/1.1\r\n\r\n",
            &["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        ),
    ] {
        let mut socket = Socket::new();
        exchange(&mut socket);
        exchange(&mut socket);
        socket.recv(request);
        for response in responses {
            socket.send(response);
        }
        let before = socket.assembler.shortened();
        exchange(&mut socket);
        exchange(&mut socket);
        assert!(socket.assembler.shortened() >= before + 3, "{request:?}");
        assert_eq!(socket.assembler.counters().finished, 5, "{request:?}");
    }
}
