//! A client that has every byte and every write under control.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{self, PollFd, PollFlags, Timespec};

use crate::wait;

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Where the next bytes are read to.
    room: Vec<u8>,
    buffer: Vec<u8>,
    keep: usize,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// The head as text.
    pub head: String,
    /// Body bytes, without chunk framing.
    pub length: u64,
    /// The first of them.
    pub body: Vec<u8>,
    /// Whether its end was reached as its framing demands.
    pub whole: bool,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    Close,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If the server does not accept.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(30))
            .with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            stream,
            room: vec![0; 65536],
            buffer: Vec::new(),
            keep: 65536,
        })
    }

    /// Keeps whole bodies, not only their first 64 KiB.
    pub fn keep_all(&mut self) {
        self.keep = usize::MAX;
    }

    /// Sends all of `bytes` in one write where the kernel takes them at once.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).context("sending")
    }

    /// Sends a request without a body on a connection that stays open.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn request(&mut self, method: &str, target: &str, headers: &str) -> Result<()> {
        self.send(head(method, target, headers))
    }

    /// [`Client::request`] and the response to it.
    ///
    /// # Errors
    /// If the connection fails or the response is not whole.
    pub fn exchange(&mut self, method: &str, target: &str, headers: &str) -> Result<Response> {
        self.request(method, target, headers)?;
        self.response(method)
    }

    /// Sends the two parts of `bytes` around `at` so that the server reads
    /// them apart: the second only when the first has left its socket.
    ///
    /// # Errors
    /// If the connection fails or the server does not read.
    pub fn send_split(&mut self, bytes: &[u8], at: usize) -> Result<()> {
        self.send(&bytes[..at])?;
        self.wait_read()?;
        self.send(&bytes[at..])
    }

    /// Sends the parts in one call, each from a place of its own (`writev`).
    ///
    /// # Errors
    /// If the connection fails or the kernel does not take all at once.
    pub fn send_pieces(&mut self, parts: &[&[u8]]) -> Result<()> {
        let pieces: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let all: usize = parts.iter().map(|part| part.len()).sum();
        let sent = self.stream.write_vectored(&pieces).context("sending")?;
        ensure!(sent == all, "the kernel took {sent} of {all} bytes");
        Ok(())
    }

    /// Waits until the connection is reset, without reading what came before.
    ///
    /// # Errors
    /// If it is not.
    pub fn wait_reset(&self) -> Result<()> {
        let mut fds = [PollFd::new(&self.stream, PollFlags::empty())];
        let most = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        event::poll(&mut fds, Some(&most))?;
        let [fd] = fds;
        ensure!(fd.revents().contains(PollFlags::HUP), "it is not reset");
        Ok(())
    }

    /// Waits until the server (on this machine, in this network namespace)
    /// has read all that was sent.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_read(&self) -> Result<()> {
        let (here, there) = (
            self.stream.local_addr()?.port(),
            self.stream.peer_addr()?.port(),
        );
        let (local, remote) = (format!(":{there:04X}"), format!(":{here:04X}"));
        wait::until_true("the server to read", Duration::from_secs(30), || {
            // Of a dual-stack server, IPv4 connections are in tcp6, too.
            for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
                let table = std::fs::read_to_string(file).unwrap_or_default();
                for line in table.lines() {
                    let columns: Vec<&str> = line.split_whitespace().take(5).collect();
                    if let [_, own, peer, _, queues] = columns[..]
                        && own.ends_with(&local)
                        && peer.ends_with(&remote)
                    {
                        return Ok(queues.ends_with(":00000000"));
                    }
                }
            }
            bail!("the server's socket is gone")
        })
    }

    /// Reads the next response; interim ones are read over.
    ///
    /// # Errors
    /// If the connection ends or fails before the response's framing says so.
    pub fn response(&mut self, method: &str) -> Result<Response> {
        let response = self.response_or_part(method)?;
        ensure!(
            response.whole,
            "response cut after {} bytes of body",
            response.length
        );
        Ok(response)
    }

    /// Reads the next response, or as much of it as comes.
    ///
    /// # Errors
    /// If the connection ends or fails before the head is complete.
    pub fn response_or_part(&mut self, method: &str) -> Result<Response> {
        loop {
            let (status, head) = self.head()?;
            let upgrade = status == 101 || (method == "CONNECT" && status / 100 == 2);
            if status / 100 == 1 && !upgrade {
                continue;
            }
            let framing = if method == "HEAD" || status == 204 || status == 304 || upgrade {
                Framing::Length(0)
            } else {
                framing(&head, Framing::Close)?
            };
            let mut body = Vec::new();
            let (length, whole) = self.body(framing, &mut body)?;
            return Ok(Response {
                status,
                head,
                length,
                body,
                whole,
            });
        }
    }

    /// Reads a head, with its status.
    ///
    /// # Errors
    /// If the connection ends or fails, or it is not a response's head.
    pub fn head(&mut self) -> Result<(u16, String)> {
        while find(&self.buffer, b"\r\n\r\n").is_none() {
            ensure!(self.fill()? > 0, "connection closed before a response");
        }
        let end = find(&self.buffer, b"\r\n\r\n").unwrap_or_default() + 4;
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((
            status.with_context(|| format!("not a response: {head:?}"))?,
            head,
        ))
    }

    /// Reads exactly `count` bytes behind the heads.
    ///
    /// # Errors
    /// If the connection ends or fails first.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < count {
            ensure!(self.fill()? > 0, "connection closed");
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Waits for the server to close; bytes before that are an error.
    ///
    /// # Errors
    /// If it sends something instead, or does nothing.
    pub fn wait_closed(&mut self) -> Result<()> {
        ensure!(
            self.buffer.is_empty() && self.fill()? == 0,
            "expected no more bytes"
        );
        Ok(())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// If the connection has failed.
    pub fn shut(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// If the socket does not take the option.
    pub fn reset(self) -> Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(
            &self.stream,
            Some(Duration::ZERO),
        )?)
    }

    /// This end's port.
    ///
    /// # Errors
    /// If the connection has failed.
    pub fn port(&self) -> Result<u16> {
        Ok(self.stream.local_addr()?.port())
    }

    fn body(&mut self, framing: Framing, keep: &mut Vec<u8>) -> Result<(u64, bool)> {
        match framing {
            Framing::Length(length) => {
                let got = self.skip(length, keep)?;
                Ok((got, got == length))
            }
            Framing::Close => Ok((self.skip(u64::MAX, keep)?, true)),
            Framing::Chunked => {
                let mut total = 0;
                loop {
                    let Some(size) = self.line()? else {
                        return Ok((total, false));
                    };
                    let size = size.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).context("chunk size")?;
                    if size == 0 {
                        while !self.line()?.context("trailers cut")?.is_empty() {}
                        return Ok((total, true));
                    }
                    let got = self.skip(size, keep)?;
                    total += got;
                    if got < size || self.line()?.is_none() {
                        return Ok((total, false));
                    }
                }
            }
        }
    }

    /// Takes up to `count` bytes, of which the first are kept.
    fn skip(&mut self, count: u64, keep: &mut Vec<u8>) -> Result<u64> {
        let mut left = count;
        while left > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                break;
            }
            let now = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let room = now.min(self.keep - keep.len().min(self.keep));
            keep.extend_from_slice(&self.buffer[..room]);
            self.buffer.drain(..now);
            left -= now as u64;
        }
        Ok(count - left)
    }

    fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads once; a reset counts as the end.
    fn fill(&mut self) -> Result<usize> {
        let got = match self.stream.read(&mut self.room) {
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error).context("receiving"),
        };
        self.buffer.extend_from_slice(&self.room[..got]);
        Ok(got)
    }
}

/// A request's head; `headers` are whole lines with `\r\n` each.
#[must_use]
pub fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: suite.test\r\n{headers}\r\n")
}

/// What a head says of its body's end; `otherwise` if nothing.
pub(crate) fn framing(head: &str, otherwise: Framing) -> Result<Framing> {
    if header(head, "transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return Ok(Framing::Chunked);
    }
    match header(head, "content-length") {
        Some(value) => Ok(Framing::Length(value.parse().context("content-length")?)),
        None => Ok(otherwise),
    }
}

/// The first header of that name.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
