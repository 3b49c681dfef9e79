//! The suite's own server: plain blocking calls, one thread per connection,
//! each response in one write, and a log in memory.

use std::io::{ErrorKind, IoSliceMut, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lines::{Line, path_of};
use crate::raw::{Framing, find, framing, header};

/// Size of the answer to `/big/`.
pub const BIG: u64 = 10 * 1024 * 1024;

/// A listening server; its threads live as long as the suite.
#[derive(Clone, Debug)]
pub struct Origin {
    log: Arc<Mutex<Vec<Line>>>,
}

impl Origin {
    /// Listens on a port of some addresses of this machine.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn start(addresses: &[IpAddr], port: u16) -> Result<Self> {
        let origin = Self {
            log: Arc::default(),
        };
        for ip in addresses {
            let listener =
                TcpListener::bind((*ip, port)).with_context(|| format!("port {port}"))?;
            let log = Arc::clone(&origin.log);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let log = Arc::clone(&log);
                    std::thread::spawn(move || {
                        // Cut connections are what some cases are about.
                        let _ = Connection {
                            stream,
                            buffer: Vec::new(),
                            fills: 0,
                            log,
                        }
                        .serve();
                    });
                }
            });
        }
        Ok(origin)
    }

    /// The requests it has answered.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    fills: u32,
    log: Arc<Mutex<Vec<Line>>>,
}

impl Connection {
    fn serve(&mut self) -> Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream
            .set_read_timeout(Some(Duration::from_secs(300)))?;
        self.stream
            .set_write_timeout(Some(Duration::from_secs(60)))?;
        while let Some(head) = self.head()? {
            if !self.answer(&head)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers one request; false if the connection is over.
    fn answer(&mut self, head: &str) -> Result<bool> {
        let mut words = head.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            bail!("no request line");
        };
        let ended = header(head, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
            || words.next() == Some("HTTP/1.0");
        if header(head, "expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let path = path_of(target);
        let Some(length) = self.body(framing(head, Framing::Length(0))?)? else {
            self.record(method, path, None);
            return Ok(false);
        };
        let verb = if method == "CONNECT" {
            "connect"
        } else {
            verb_of(path)
        };
        let sized = |status: &str, body: &str| {
            let length = body.len();
            let body = if method == "HEAD" { "" } else { body };
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        let (status, text) = match verb {
            "small" if header(head, "if-modified-since").is_some() => {
                (304, "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned())
            }
            "small" | "behind" => (200, sized("200 OK", "hello\n")),
            "empty" => (204, "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
            "error" => (500, sized("500 Broken", "broken\n")),
            "echo" => (200, sized("200 OK", &format!("{length}\n"))),
            "*" => (200, sized("200 OK", "")),
            "chunked" => (200, CHUNKED.to_owned()),
            "big" => (
                200,
                format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n"),
            ),
            "close" => (
                200,
                format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
                    "y".repeat(5000)
                ),
            ),
            "upgrade" => (101, UPGRADE.to_owned()),
            "connect" => (200, "HTTP/1.1 200 Connected\r\n\r\n".to_owned()),
            "cut" | "reset" => (
                200,
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}",
                    "z".repeat(500)
                ),
            ),
            "drop" => {
                self.record(method, path, None);
                return Ok(false);
            }
            _ => (404, sized("404 Not Found", "no such verb\n")),
        };
        self.record(method, path, Some(status));
        self.stream.write_all(text.as_bytes())?;
        match verb {
            "big" => {
                let block = vec![b'x'; 65536];
                for _ in 0..BIG / 65536 {
                    self.stream.write_all(&block)?;
                }
            }
            "upgrade" | "connect" => {
                self.echo()?;
                return Ok(false);
            }
            "reset" | "behind" => {
                if verb == "reset" {
                    self.fill()?; // The client says that it has the first half.
                }
                rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
                return Ok(false);
            }
            "close" | "cut" => return Ok(false),
            _ => {}
        }
        Ok(!ended)
    }

    fn record(&self, method: &str, path: &str, status: Option<u16>) {
        let line = Line {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
        };
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn head(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..at + 4).collect();
                return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Length of the body, or none if it was cut.
    fn body(&mut self, framing: Framing) -> Result<Option<u64>> {
        match framing {
            Framing::Length(length) => Ok(self.skip(length)?.then_some(length)),
            Framing::Close => Ok(Some(0)),
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let Some(size) = self.line()? else {
                        return Ok(None);
                    };
                    let size = size.split(';').next().unwrap_or_default();
                    let size = u64::from_str_radix(size.trim(), 16).context("chunk size")?;
                    if size == 0 {
                        while self.line()?.is_some_and(|line| !line.is_empty()) {}
                        return Ok(Some(total));
                    }
                    total += size;
                    if !self.skip(size + 2)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn skip(&mut self, count: u64) -> Result<bool> {
        let mut left = count;
        while left > 0 {
            if self.buffer.is_empty() && !self.fill()? {
                return Ok(false);
            }
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            self.buffer.drain(..now);
            left -= now as u64;
        }
        Ok(true)
    }

    fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..at]).into_owned()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn echo(&mut self) -> Result<()> {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            self.stream.write_all(&bytes)?;
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Every other time into many small pieces (`readv`), as some servers do.
    fn fill(&mut self) -> Result<bool> {
        let mut bytes = vec![0; 65536 + SMALL.iter().sum::<usize>()];
        self.fills += 1;
        let read = if self.fills.is_multiple_of(2) {
            let mut rest = bytes.as_mut_slice();
            let mut pieces = Vec::new();
            for size in SMALL {
                let (piece, behind) = rest.split_at_mut(size);
                pieces.push(IoSliceMut::new(piece));
                rest = behind;
            }
            pieces.push(IoSliceMut::new(rest));
            self.stream.read_vectored(&mut pieces)
        } else {
            self.stream.read(&mut bytes)
        };
        let got = match read {
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error.into()),
        };
        self.buffer.extend_from_slice(&bytes[..got]);
        Ok(got > 0)
    }
}

/// Sizes of the small pieces. With the last one there are as many as a call may
/// have (`UIO_MAXIOV`).
const SMALL: [usize; 1023] = {
    let mut sizes = [13; 1023];
    // Where a head has its first bytes.
    let mut n = 0;
    while n < 20 {
        sizes[n] = 1 + n % 3;
        n += 1;
    }
    sizes
};

const UPGRADE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
    6;ext=1\r\nhello \r\n8\r\nchunked \r\n6\r\nworld\n\r\n0\r\nX-Trailer: yes\r\n\r\n";

fn verb_of(path: &str) -> &str {
    if path == "*" {
        path
    } else {
        path.split('/').nth(1).unwrap_or_default()
    }
}
