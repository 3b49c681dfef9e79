//! The cases every server is put through, one function each.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::origin::BIG;
use crate::raw::{Client, Response, head};
use crate::targets::Target;

/// A case: what a client does with a server, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Name, as in `SERVER/NAME`.
    pub name: &'static str,
    /// What the server must be able to do.
    pub verb: &'static str,
    /// How many requests the server must have logged.
    pub lines: usize,
    /// Body sizes that the spans of the requests must tell; the last goes for
    /// all further ones, none for none.
    pub sizes: &'static [(u64, u64)],
    /// Over IPv6.
    pub v6: bool,
    /// The client.
    pub run: fn(&Go) -> Result<()>,
}

/// Where a case goes.
#[derive(Debug)]
pub struct Go {
    /// The server.
    pub addr: SocketAddr,
    /// The case's tag.
    pub tag: String,
    next: Cell<u32>,
}

impl Go {
    /// A case against a server.
    #[must_use]
    pub fn new(target: &Target, case: &Case) -> Self {
        let addr = if case.v6 {
            target.addr6()
        } else {
            target.addr()
        };
        Self::at(addr, format!("{}-{}", target.name, case.name))
    }

    /// Any requests with a tag.
    #[must_use]
    pub fn at(addr: SocketAddr, tag: String) -> Self {
        Self {
            addr,
            tag,
            next: Cell::new(0),
        }
    }

    /// The next path for `verb`; no two are equal.
    pub fn path(&self, verb: &str) -> String {
        self.next.set(self.next.get() + 1);
        format!("/{verb}/{}/{}", self.tag, self.next.get())
    }

    fn connect(&self) -> Result<Client> {
        Client::connect(self.addr)
    }
}

const CASE: Case = Case {
    name: "",
    verb: "small",
    lines: 1,
    sizes: &[],
    v6: false,
    run: keep_alive,
};

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "keep-alive",
        lines: 5,
        sizes: &[(0, 6)],
        ..CASE
    },
    Case {
        name: "ipv6",
        lines: 5,
        sizes: &[(0, 6)],
        v6: true,
        ..CASE
    },
    Case {
        name: "head",
        lines: 3,
        sizes: &[(0, 0), (0, 0), (0, 6)],
        run: head_requests,
        ..CASE
    },
    Case {
        name: "not-modified",
        lines: 2,
        sizes: &[(0, 0)],
        run: not_modified,
        ..CASE
    },
    Case {
        name: "no-content",
        verb: "empty",
        lines: 2,
        sizes: &[(0, 0)],
        run: no_content,
        ..CASE
    },
    Case {
        name: "status-500",
        verb: "error",
        run: status_500,
        ..CASE
    },
    Case {
        name: "chunked",
        verb: "chunked",
        lines: 2,
        sizes: &[(0, 20)],
        run: chunked,
        ..CASE
    },
    Case {
        name: "post-chunked",
        verb: "echo",
        sizes: &[(31, 3)],
        run: post_chunked,
        ..CASE
    },
    Case {
        name: "get-large",
        verb: "big",
        sizes: &[(0, BIG)],
        run: get_large,
        ..CASE
    },
    Case {
        name: "post-large",
        verb: "echo",
        sizes: &[(BIG, 9)],
        run: post_large,
        ..CASE
    },
    Case {
        name: "continue",
        verb: "echo",
        sizes: &[(5000, 5)],
        run: expect_continue,
        ..CASE
    },
    Case {
        name: "upgrade",
        verb: "upgrade",
        run: upgrade,
        ..CASE
    },
    Case {
        name: "close",
        verb: "close",
        sizes: &[(0, 5000)],
        run: close,
        ..CASE
    },
    Case {
        name: "http10",
        verb: "close",
        sizes: &[(0, 5000)],
        run: http10,
        ..CASE
    },
    Case {
        name: "client-resets",
        verb: "big",
        run: client_resets,
        ..CASE
    },
    Case {
        name: "server-cuts",
        verb: "cut",
        run: server_cuts,
        ..CASE
    },
    Case {
        name: "server-resets",
        verb: "reset",
        run: server_resets,
        ..CASE
    },
    Case {
        name: "no-response",
        verb: "drop",
        run: no_response,
        ..CASE
    },
    Case {
        name: "request-cut",
        verb: "echo",
        run: request_cut,
        ..CASE
    },
    Case {
        name: "pipelined",
        verb: "echo",
        lines: 4,
        sizes: &[(0, 6), (17, 3), (0, 0), (0, 6)],
        run: pipelined,
        ..CASE
    },
    Case {
        name: "body-like-head",
        verb: "echo",
        lines: 2,
        run: body_like_head,
        ..CASE
    },
    Case {
        name: "short",
        lines: 50,
        sizes: &[(0, 6)],
        run: short,
        ..CASE
    },
];

fn keep_alive(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    for _ in 0..5 {
        must(&client.exchange("GET", &go.path("small"), "")?, 200, 6)?;
    }
    Ok(())
}

fn head_requests(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    must(&client.exchange("HEAD", &go.path("small"), "")?, 200, 0)?;
    must(&client.exchange("HEAD", &go.path("small"), "")?, 200, 0)?;
    must(&client.exchange("GET", &go.path("small"), "")?, 200, 6)
}

fn not_modified(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    for _ in 0..2 {
        let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
        must(&client.exchange("GET", &go.path("small"), since)?, 304, 0)?;
    }
    Ok(())
}

fn no_content(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    must(&client.exchange("GET", &go.path("empty"), "")?, 204, 0)?;
    must(&client.exchange("GET", &go.path("empty"), "")?, 204, 0)
}

fn status_500(go: &Go) -> Result<()> {
    let response = go.connect()?.exchange("GET", &go.path("error"), "")?;
    ensure!(response.status == 500, "status {}", response.status);
    Ok(())
}

fn chunked(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    for _ in 0..2 {
        must(&client.exchange("GET", &go.path("chunked"), "")?, 200, 20)?;
    }
    Ok(())
}

fn post_chunked(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.send(head(
        "POST",
        &go.path("echo"),
        "Transfer-Encoding: chunked\r\n",
    ))?;
    client.send("6\r\nchunks\r\n")?;
    client.send("a;ext=\"1\"\r\n can hold \r\nf\r\n")?;
    client.send("\r\nGET / HTTP/1.\r\n0\r\nX-Trailer: yes\r\n\r\n")?;
    echoed(&client.response("POST")?, 31)
}

fn get_large(go: &Go) -> Result<()> {
    must(
        &go.connect()?.exchange("GET", &go.path("big"), "")?,
        200,
        BIG,
    )
}

fn post_large(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.request(
        "POST",
        &go.path("echo"),
        &format!("Content-Length: {BIG}\r\n"),
    )?;
    let block = vec![b'u'; 65536];
    for _ in 0..BIG / 65536 {
        client.send(&block)?;
    }
    echoed(&client.response("POST")?, BIG)
}

fn expect_continue(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    let headers = "Content-Length: 5000\r\nExpect: 100-continue\r\n";
    client.request("POST", &go.path("echo"), headers)?;
    let (status, _) = client.head()?;
    ensure!(status == 100, "status {status} before the body");
    client.send("e".repeat(5000))?;
    echoed(&client.response("POST")?, 5000)
}

fn upgrade(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    let headers = "Connection: Upgrade\r\nUpgrade: echo\r\n";
    must(
        &client.exchange("GET", &go.path("upgrade"), headers)?,
        101,
        0,
    )?;
    // What follows only looks like requests.
    let inside = head("GET", &go.path("small"), "");
    for _ in 0..3 {
        client.send(&inside)?;
        ensure!(
            client.bytes(inside.len())? == inside.as_bytes(),
            "wrong echo"
        );
    }
    client.shut()?;
    client.wait_closed()
}

fn close(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    must(
        &client.exchange("GET", &go.path("close"), "Connection: close\r\n")?,
        200,
        5000,
    )?;
    client.wait_closed()
}

fn http10(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.send(format!(
        "GET {} HTTP/1.0\r\nHost: suite.test\r\n\r\n",
        go.path("close")
    ))?;
    must(&client.response("GET")?, 200, 5000)
}

fn client_resets(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.request("GET", &go.path("big"), "")?;
    let (status, _) = client.head()?;
    ensure!(status == 200, "status {status}");
    client.bytes(65536)?;
    client.reset()
}

fn server_cuts(go: &Go) -> Result<()> {
    part(&mut go.connect()?, &go.path("cut"), "")
}

fn server_resets(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.request("GET", &go.path("reset"), "")?;
    let (status, _) = client.head()?;
    ensure!(status == 200, "status {status}");
    client.bytes(500)?;
    client.send("!")?; // The server waits for it, then resets.
    client.wait_closed()
}

fn no_response(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.request("GET", &go.path("drop"), "")?;
    client.wait_closed()
}

fn request_cut(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    client.request("POST", &go.path("echo"), "Content-Length: 1000\r\n")?;
    client.send("c".repeat(100))?;
    client.wait_read()
}

fn pipelined(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    let mut bytes = head("GET", &go.path("small"), "");
    bytes += &head("POST", &go.path("echo"), "Content-Length: 17\r\n");
    bytes += "GET / HTTP/1.1\r\n\r"; // A body, whatever it looks like.
    bytes += &head("HEAD", &go.path("small"), "");
    bytes += &head("GET", &go.path("small"), "");
    client.send(bytes)?;
    must(&client.response("GET")?, 200, 6)?;
    echoed(&client.response("POST")?, 17)?;
    must(&client.response("HEAD")?, 200, 0)?;
    must(&client.response("GET")?, 200, 6)
}

fn body_like_head(go: &Go) -> Result<()> {
    let mut client = go.connect()?;
    let body = head("GET", &go.path("small"), "X-B3-Sampled: 0\r\n");
    for _ in 0..2 {
        let length = format!("Content-Length: {}\r\n", body.len());
        let head = head("POST", &go.path("echo"), &length);
        client.send_split((head.clone() + &body).as_bytes(), head.len())?;
        echoed(&client.response("POST")?, body.len() as u64)?;
    }
    Ok(())
}

fn short(go: &Go) -> Result<()> {
    short_connections(go, 50)
}

/// One connection per request, many times.
///
/// # Errors
/// If any of them fails.
pub fn short_connections(go: &Go, count: usize) -> Result<()> {
    for _ in 0..count {
        must(
            &go.connect()?
                .exchange("GET", &go.path("small"), "Connection: close\r\n")?,
            200,
            6,
        )?;
    }
    Ok(())
}

fn part(client: &mut Client, path: &str, headers: &str) -> Result<()> {
    client.request("GET", path, headers)?;
    let response = client.response_or_part("GET")?;
    ensure!(
        response.status == 200 && !response.whole,
        "not a cut response: {response:?}"
    );
    Ok(())
}

fn must(response: &Response, status: u16, length: u64) -> Result<()> {
    let got = (response.status, response.length);
    ensure!(
        got == (status, length),
        "status and length {got:?}, not {:?}",
        (status, length)
    );
    Ok(())
}

fn echoed(response: &Response, length: u64) -> Result<()> {
    ensure!(response.status == 200, "status {}", response.status);
    let said = String::from_utf8_lossy(&response.body);
    ensure!(
        said.trim() == length.to_string(),
        "the server read {said:?}, not {length}"
    );
    Ok(())
}
