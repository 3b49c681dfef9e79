//! One socket's life, call by call.

mod ends;
mod losses;
mod pairs;
mod properties;
mod protocols;
mod quick;
mod rules;
mod times;

use super::*;
use crate::capture::{Command, Event, Record, Segment};
use crate::units::{Direction, MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

/// A socket whose calls become records; each call takes 10 ns, one begins
/// every 100 ns. An assembler without short ways must say the same.
pub(super) struct Socket {
    pub(super) assembler: Assembler,
    /// None from when the first one is told what this is not.
    long_way: Option<Assembler>,
    pub(super) out: Vec<Output>,
    pub(super) id: SocketId,
    pub(super) origins: Origins,
    pub(super) incoming: TcpSeq,
    pub(super) outgoing: TcpSeq,
    pub(super) now: u64,
}

pub(super) const ORIGINS: Origins = Origins {
    // Both wrap soon.
    local: TcpSeq(u32::MAX - 40),
    peer: TcpSeq(u32::MAX - 300),
    exact: true,
    known: true,
};

impl Socket {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn with(options: Options) -> Self {
        Self {
            assembler: Assembler::new(options.clone()),
            long_way: Some(Assembler::long_way(options)),
            out: Vec::new(),
            id: SocketId(7),
            origins: ORIGINS,
            incoming: ORIGINS.peer,
            outgoing: ORIGINS.local,
            now: 0,
        }
    }

    /// Requests are read like this from now on.
    pub(super) fn read_as(&mut self, reading: &Reading) -> &mut Self {
        let all = self.long_way.iter_mut().chain([&mut self.assembler]);
        all.for_each(|assembler| assembler.read_as(reading.clone()));
        self
    }

    /// A socket that was connected long before.
    pub(super) fn old() -> Self {
        let mut socket = Self::new();
        socket.incoming = socket.incoming.plus(100_000);
        socket.outgoing = socket.outgoing.plus(200_000);
        socket
    }

    pub(super) fn event(&mut self, event: Event<'_>) -> &mut Self {
        let record = Record {
            socket: self.id,
            origins: self.origins,
            owner: OwnerId(1),
            pid: 42,
            event,
        };
        self.long_way
            .take_if(|long_way| long_way.counters() != self.assembler.counters());
        let before = self.out.len();
        self.assembler.push(&record, &mut self.out);
        if let Some(long_way) = &mut self.long_way {
            let mut out = Vec::new();
            long_way.push(&record, &mut out);
            let said = self.out.get(before..).unwrap();
            assert_eq!(format!("{said:?}"), format!("{out:?}"));
            assert_eq!(self.assembler.counters(), long_way.counters());
            assert_eq!(self.assembler.held(), long_way.held());
        }
        self
    }

    fn call(&mut self, direction: Direction, len: u32, head: &[u8], tail: &[u8]) -> &mut Self {
        self.now += 100;
        let seq = self.skip(direction, len);
        let exit = MonoNanos(self.now + 10);
        self.event(Event::Segment(Segment {
            direction,
            seq,
            len,
            head,
            tail,
            entry: match direction {
                Direction::In => exit,
                Direction::Out => MonoNanos(self.now),
            },
            exit,
        }))
    }

    /// Bytes go by without a record; gives the number of their first.
    pub(super) fn skip(&mut self, direction: Direction, len: u32) -> TcpSeq {
        let next = match direction {
            Direction::In => &mut self.incoming,
            Direction::Out => &mut self.outgoing,
        };
        let seq = *next;
        *next = seq.plus(len);
        seq
    }

    /// A call that is taken whole.
    pub(super) fn moves(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.call(direction, bytes.len() as u32, bytes, &[])
    }

    pub(super) fn recv(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.moves(Direction::In, bytes)
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.moves(Direction::Out, bytes)
    }

    /// A call that begins no message: 128 bytes and 16.
    pub(super) fn peeked(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        let (head, rest) = bytes.split_at(bytes.len().min(128));
        let tail = &rest[rest.len().saturating_sub(16)..];
        self.call(direction, bytes.len() as u32, head, tail)
    }

    pub(super) fn lose(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.now += 100;
        self.skip(direction, bytes.as_ref().len() as u32);
        self
    }

    pub(super) fn eof(&mut self, direction: Direction) -> &mut Self {
        self.now += 100;
        let at = MonoNanos(self.now);
        self.event(Event::Ended { direction, at })
    }

    /// A send fails.
    pub(super) fn failed(&mut self, errno: i32) -> &mut Self {
        self.fails(Direction::Out, errno)
    }

    pub(super) fn fails(&mut self, direction: Direction, errno: i32) -> &mut Self {
        self.now += 100;
        self.event(Event::Failed {
            direction,
            errno,
            at: MonoNanos(self.now),
        })
    }

    pub(super) fn close(&mut self) -> &mut Self {
        self.now += 100;
        let at = MonoNanos(self.now);
        self.event(Event::Closed { at })
    }

    pub(super) fn finish(&mut self) -> &mut Self {
        self.assembler.finish(&mut self.out);
        self
    }

    pub(super) fn counters(&self) -> Counters {
        *self.assembler.counters()
    }

    pub(super) fn commands(&mut self) -> Vec<Command> {
        self.assembler.commands().collect()
    }

    pub(super) fn finished(&self) -> Vec<&Exchange> {
        let finished = self.out.iter().filter_map(|output| match output {
            Output::Finished(exchange) => Some(&**exchange),
            _ => None,
        });
        finished.collect()
    }

    pub(super) fn opaque(&self) -> Vec<Opaque> {
        let opaque = self.out.iter().filter_map(|output| match output {
            Output::Opaque { protocol, .. } => Some(*protocol),
            _ => None,
        });
        opaque.collect()
    }

    /// The finished exchanges, one a line.
    pub(super) fn told(&self) -> String {
        let lines = self.finished().into_iter().map(tell);
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// `GET /path 200 request>response`, with `w` for wire sizes and what failed.
pub(super) fn tell(exchange: &Exchange) -> String {
    let size = |body: BodySize| format!("{}{}", body.bytes, if body.wire { "w" } else { "" });
    let status = exchange.status.map_or("-".to_owned(), |s| s.to_string());
    let failure = exchange.failure.map(|f| format!(" {}", f.as_str()));
    format!(
        "{} {} {status} {}>{}{}",
        String::from_utf8_lossy(exchange.text.method()),
        String::from_utf8_lossy(exchange.text.target()),
        size(exchange.request_body),
        size(exchange.response_body),
        failure.unwrap_or_default(),
    )
}

/// A request without a body.
pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// A response with a body of that length.
pub(super) fn ok(length: usize) -> String {
    response(200, length)
}

pub(super) fn response(status: u16, length: usize) -> String {
    let body = "b".repeat(length);
    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub(super) fn chunked(parts: &[&str]) -> String {
    let mut body = String::new();
    for part in parts {
        body.push_str(&format!("{:x}\r\n{part}\r\n", part.len()));
    }
    body + "0\r\n\r\n"
}
