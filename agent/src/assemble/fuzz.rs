//! Body of the fuzz target: bytes decoded into records.

use super::{Assembler, Limits, Options, Output};
use crate::capture::{Event, Record, Segment};
use crate::units::{Comm, Direction, Endpoint, MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

/// Heads and pieces that random bytes would seldom make.
const WORDS: [&[u8]; 12] = [
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"POST /b HTTP/1.1\r\nContent-Length: 20\r\n\r\n",
    b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
];

/// Runs an assembler on whatever these bytes mean.
///
/// # Panics
///
/// If what was begun is not finished exactly once, or state is left over.
pub fn fuzz_assembler(data: &[u8]) {
    let limits = Limits {
        connections: 3,
        pipelined: 8,
        held: 4096,
        ..Limits::default()
    };
    let mut assembler = Assembler::new(Options {
        limits,
        ..Options::default()
    });
    let mut out = Vec::new();
    let mut script = Script(data);
    let mut next = [[TcpSeq(u32::MAX - 50), TcpSeq(u32::MAX - 20)]; 4];
    let mut now = 0_u64;
    while let Some(code) = script.byte() {
        now += u64::from(code) * 1000;
        step(code, now, &mut script, &mut next, &mut assembler, &mut out);
        for command in assembler.commands() {
            std::hint::black_box(command);
        }
    }
    assembler.finish(&mut out);
    assert_eq!(assembler.connections(), 0);
    assert_eq!(assembler.held(), 0);
    let count = |wanted: fn(&Output) -> bool| out.iter().filter(|o| wanted(o)).count();
    let began = count(|output| matches!(output, Output::Began(_)));
    let finished = count(|output| matches!(output, Output::Finished(_)));
    assert_eq!(began, finished);
    assert_eq!(assembler.counters().began, began as u64);
    assert_eq!(assembler.counters().finished, finished as u64);
}

fn step(
    code: u8,
    now: u64,
    script: &mut Script<'_>,
    next: &mut [[TcpSeq; 2]; 4],
    assembler: &mut Assembler,
    out: &mut Vec<Output>,
) {
    let socket = usize::from(code & 3);
    let at = MonoNanos(now);
    let direction = if code & 4 == 0 {
        Direction::In
    } else {
        Direction::Out
    };
    let origins = Origins {
        local: TcpSeq(u32::MAX - 20),
        peer: TcpSeq(u32::MAX - 50),
        exact: socket != 1,
        known: socket != 2,
    };
    let mut bytes = Vec::new();
    let event = match code >> 3 {
        0 => Event::Closed { at },
        1 => Event::Ended { direction, at },
        2 => Event::Failed {
            direction,
            errno: i32::from(script.byte().unwrap_or(104)),
            at,
        },
        3 => {
            let ip = [10, 0, 0, code].into();
            let local = Endpoint { ip, port: 80 };
            Event::Opened {
                local,
                peer: local,
                comm: Comm::default(),
            }
        }
        4 => return assembler.expire(MonoNanos(now << 30), out),
        kind => {
            for _ in 0..kind % 4 {
                script.bytes(&mut bytes);
            }
            let Some(seq) = next
                .get_mut(socket)
                .and_then(|both| both.get_mut(usize::from(code >> 2 & 1)))
            else {
                return;
            };
            if kind == 5 {
                // A gap or a repetition.
                let jump = i32::from(script.byte().unwrap_or(0)) - 64;
                *seq = TcpSeq(seq.0.wrapping_add_signed(jump << (kind & 7)));
            }
            let start = *seq;
            let unknown = if kind & 8 == 0 { 0 } else { u32::from(code) };
            let len = (bytes.len() as u32).wrapping_add(unknown);
            *seq = seq.plus(len);
            let split = bytes.len() / (1 + usize::from(unknown != 0));
            let (head, tail) = bytes.split_at(split);
            Event::Segment(Segment {
                direction,
                seq: start,
                len,
                head,
                tail,
                entry: at,
                exit: MonoNanos(now + 500),
            })
        }
    };
    let record = Record {
        socket: SocketId(socket as u64),
        origins,
        owner: OwnerId(1),
        pid: 1,
        event,
    };
    assembler.push(&record, out);
}

/// The rest of the input.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// A word, a part of one, or bytes as they are.
    fn bytes(&mut self, into: &mut Vec<u8>) {
        let Some(code) = self.byte() else { return };
        if let Some(word) = WORDS.get(usize::from(code & 31)) {
            let len = if code < 128 {
                word.len()
            } else {
                usize::from(code) % word.len()
            };
            into.extend(word.iter().take(len));
        } else {
            let (bytes, rest) = self.0.split_at(self.0.len().min(usize::from(code & 15)));
            self.0 = rest;
            into.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_records_never_panic() {
        let mut random = crate::http::fuzz::Random::new(1);
        let mut data = [0; 160];
        for _ in 0..8_000 {
            let len = random.below(data.len());
            random.fill(&mut data);
            fuzz_assembler(&data[..len]);
        }
    }
}
