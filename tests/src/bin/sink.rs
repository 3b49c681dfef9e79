//! A backend that costs as little as possible: reads POSTs and answers 202.
//!
//! `sink --port N [--count] [--count-file FILE]` listens on all addresses and
//! serves each connection by a blocking thread of its own. On SIGTERM or
//! SIGINT it prints `posts=… bytes=… spans=…`, to FILE as well if there is
//! one, and ends; `GET /` answers the same line while it runs. Spans are
//! counted only with `--count`, because that means looking at every byte (a
//! few instructions for 32 of them).

use std::io::{self, BufRead, BufReader, ErrorKind, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fmt, fs, thread};

use memchr::memmem;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: sink --port N [--count] [--count-file FILE]";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
/// Stands once in every Zipkin v2 JSON span.
const MARK: &[u8] = b"\"traceId\"";

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        say(USAGE);
        return ExitCode::from(2);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("sink: port {}: {error}", options.port));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[derive(Debug, Default)]
struct Options {
    port: u16,
    count: bool,
    count_file: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--port" => options.port = arguments.next()?.parse().ok()?,
                "--count" => options.count = true,
                "--count-file" => options.count_file = Some(arguments.next()?.into()),
                _ => return None,
            }
        }
        (options.port != 0).then_some(options)
    }
}

#[derive(Debug, Default)]
struct Totals {
    posts: AtomicU64,
    bytes: AtomicU64,
    spans: AtomicU64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [posts, bytes, spans] =
            [&self.posts, &self.bytes, &self.spans].map(|n| n.load(Relaxed));
        write!(f, "posts={posts} bytes={bytes} spans={spans}")
    }
}

fn run(options: &Options) -> io::Result<()> {
    // The unspecified IPv6 address takes IPv4 too, where there is IPv6.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, options.port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, options.port)))?;
    let totals = Arc::new(Totals::default());
    let (shared, count) = (Arc::clone(&totals), options.count);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let totals = Arc::clone(&shared);
            thread::spawn(move || serve(&stream, &totals, count));
        }
    });
    wait_for_the_end()?;
    let line = format!("{totals}\n");
    if let Some(file) = &options.count_file {
        fs::write(file, &line)?;
    }
    io::stdout().write_all(line.as_bytes())
}

fn wait_for_the_end() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Serves one connection until its client leaves or makes no sense.
fn serve(stream: &TcpStream, totals: &Totals, count: bool) -> io::Result<()> {
    let mut reader = Body {
        input: BufReader::with_capacity(256 * 1024, stream),
        counter: count.then(Counter::default),
        bytes: 0,
    };
    let mut line = Vec::new();
    while let Some(head) = read_head(&mut reader.input, &mut line)? {
        match head.framing {
            Framing::Length(length) => reader.skip(length)?,
            Framing::Chunked => reader.skip_chunks(&mut line)?,
        }
        let mut output = stream;
        if head.post {
            totals.posts.fetch_add(1, Relaxed);
            totals
                .bytes
                .fetch_add(std::mem::take(&mut reader.bytes), Relaxed);
            if let Some(counter) = &mut reader.counter {
                totals
                    .spans
                    .fetch_add(std::mem::take(&mut counter.found), Relaxed);
            }
            output.write_all(ACCEPTED)?;
        } else {
            let text = format!("{totals}\n");
            write!(
                output,
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            )?;
        }
    }
    Ok(())
}

struct Head {
    post: bool,
    framing: Framing,
}

enum Framing {
    Length(u64),
    Chunked,
}

/// Reads a request's head; `None` at the end of the connection.
fn read_head(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Head>> {
    read_line(input, line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut head = Head {
        post: line.starts_with(b"POST "),
        framing: Framing::Length(0),
    };
    loop {
        read_line(input, line)?;
        let Some(colon) = line.iter().position(|&b| b == b':') else {
            return Ok(Some(head));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            head.framing = Framing::Length(number(value, 10)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.framing = Framing::Chunked;
        }
    }
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    input.read_until(b'\n', line)?;
    line.truncate(line.trim_ascii_end().len());
    Ok(())
}

fn number(text: &[u8], radix: u32) -> io::Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| u64::from_str_radix(text, radix).ok())
        .ok_or_else(|| ErrorKind::InvalidData.into())
}

struct Body<R> {
    input: R,
    counter: Option<Counter>,
    bytes: u64,
}

impl<R: BufRead> Body<R> {
    fn skip(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let n = bytes
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            if let Some(counter) = &mut self.counter {
                counter.look(&bytes[..n]);
            }
            self.input.consume(n);
            self.bytes += n as u64;
            length -= n as u64;
        }
        Ok(())
    }

    fn skip_chunks(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        loop {
            read_line(&mut self.input, line)?;
            let size = line.split(|&b| b == b';').next().unwrap_or_default();
            let size = number(size.trim_ascii(), 16)?;
            self.skip(size)?;
            if size == 0 {
                break;
            }
            read_line(&mut self.input, line)?;
        }
        while !line.is_empty() {
            read_line(&mut self.input, line)?;
        }
        Ok(())
    }
}

/// Counts marks, also those that are split over two reads.
struct Counter {
    found: u64,
    finder: memmem::Finder<'static>,
    /// What a mark that began in the last read may have left: less than one.
    rest: Vec<u8>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            found: 0,
            finder: memmem::Finder::new(MARK),
            rest: Vec::with_capacity(2 * MARK.len()),
        }
    }
}

impl Counter {
    fn look(&mut self, bytes: &[u8]) {
        let keep = MARK.len() - 1;
        let (first, last) = (
            &bytes[..bytes.len().min(keep)],
            &bytes[bytes.len() - bytes.len().min(keep)..],
        );
        // Too short for a mark on its own, on either side of the cut.
        self.rest.extend_from_slice(first);
        self.found += self.finder.find_iter(&self.rest).count() as u64;
        self.found += self.finder.find_iter(bytes).count() as u64;
        if bytes.len() >= keep {
            self.rest.clear();
            self.rest.extend_from_slice(last);
        } else {
            self.rest.drain(..self.rest.len().saturating_sub(keep));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn marks_are_counted_however_they_are_split() {
        let text = b"[{\"traceId\":\"1\"},{\"\"traceId\":\"traceId\"}]";
        for at in 0..text.len() {
            let mut counter = Counter::default();
            counter.look(&text[..at]);
            counter.look(&text[at..]);
            assert_eq!(counter.found, 3);
        }
    }

    #[test]
    fn posts_are_accepted_and_totals_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let totals = Totals::default();
            serve(&stream, &totals, true).unwrap();
            totals.to_string()
        });
        client
            .write_all(
                b"POST / HTTP/1.1\r\nContent-Length: 15\r\n\r\n[{\"traceId\":1}]\
                  POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\n\"trac\r\n4;x\r\neId\"\r\n0\r\n\r\n\
                  GET / HTTP/1.1\r\n\r\n",
            )
            .unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        let totals = "posts=2 bytes=24 spans=2";
        assert_eq!(answers.matches("202 Accepted").count(), 2);
        assert!(answers.ends_with(&format!("content-length: 25\r\n\r\n{totals}\n")));
        assert_eq!(server.join().unwrap(), totals);
    }
}
