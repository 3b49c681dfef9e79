//! A backend inside the suite: takes Zipkin's JSON and keeps it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use serde_json::Value;

use crate::spans::Span;

/// Stands once in every span.
const MARK: &[u8] = b"\"traceId\"";

/// Its port and what has come. Bodies are read as JSON only when somebody asks,
/// so that this costs the machine little while spans come.
#[derive(Debug)]
pub(super) struct Collector {
    port: u16,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    pub(super) fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("port {port}"))?;
        let collector = Self {
            port,
            bodies: Arc::default(),
        };
        let bodies = Arc::clone(&collector.bodies);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bodies = Arc::clone(&bodies);
                thread::spawn(move || {
                    // Whoever leaves in the middle of a request is not served;
                    // what was not taken was not answered.
                    let _ = serve(&stream, &bodies);
                });
            }
        });
        Ok(collector)
    }

    /// Where it takes spans.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v2/spans", self.port)
    }

    /// How many spans have come.
    pub(super) fn count(&self) -> usize {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = |body: &Vec<u8>| memmem::find_iter(body, MARK).count();
        bodies.iter().map(spans).sum()
    }

    /// All spans that have come.
    pub(super) fn spans(&self) -> Result<Vec<Span>> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spans = Vec::new();
        for body in bodies.iter() {
            let list: Value = serde_json::from_slice(body).context("a body")?;
            let list = list.as_array().context("a body is a list")?;
            for span in list {
                spans.push(Span::from_json(span)?);
            }
        }
        Ok(spans)
    }
}

/// The ids of spans that are there twice, a client's and a server's half that
/// share one aside.
pub(super) fn twice<'a>(spans: impl Iterator<Item = &'a Span>) -> Vec<&'a Span> {
    let mut seen = BTreeSet::new();
    spans
        .filter(|span| !seen.insert((&span.id, span.kind)))
        .collect()
}

fn serve(stream: &TcpStream, bodies: &Mutex<Vec<Vec<u8>>>) -> Result<()> {
    let mut input = BufReader::new(stream);
    loop {
        let mut length = None;
        let mut line = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let Some(length) = length else {
            bail!("a body without a length")
        };
        ensure!(length < 64 << 20, "a body of {length} bytes");
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        bodies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(body);
        let mut output = stream;
        output.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
    }
}
