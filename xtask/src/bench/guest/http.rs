//! As much of an HTTP client as the driver needs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// A connection to a port of this machine.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Bytes of the head, with the empty line.
    pub(super) head: u64,
    pub(super) body: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub(super) fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("connecting to port {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        Ok(Self { stream })
    }

    /// Sends a request whose context says that it is not to be reported
    /// unless `sampled`; returns the bytes of its head and the answer.
    ///
    /// # Errors
    /// If the connection fails, or the answer makes no sense.
    pub(super) fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        sampled: bool,
    ) -> Result<(u64, Answer)> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        if !sampled {
            head.push_str("b3: 0\r\n");
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let socket = self.stream.get_mut();
        socket.write_all(head.as_bytes())?;
        for block in body.chunks(64 << 10) {
            socket.write_all(block)?;
        }
        let answer = self
            .answer()
            .with_context(|| format!("{method} {path}: reading the answer"))?;
        Ok((head.len() as u64, answer))
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut answer = Answer::default();
        let mut length = None;
        let mut line = String::new();
        loop {
            line.clear();
            answer.head += self.stream.read_line(&mut line)? as u64;
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if answer.status == 0 {
                let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
                answer.status = status.with_context(|| format!("{text} is no status line"))?;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        match length {
            Some(length) => {
                answer.body = vec![0; length];
                self.stream.read_exact(&mut answer.body)?;
            }
            None if matches!(answer.status, 201 | 204) => {}
            None => {
                self.stream.read_to_end(&mut answer.body)?;
            }
        }
        Ok(answer)
    }
}

/// GETs a path on a connection of its own.
///
/// # Errors
/// If it is not answered with 200.
pub(super) fn get(port: u16, path: &str) -> Result<String> {
    let (_, answer) = Client::connect(port)?.exchange("GET", path, b"", false)?;
    if answer.status != 200 {
        bail!("port {port} answers {path} with {}", answer.status);
    }
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
