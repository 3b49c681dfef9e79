//! Runs the assembler over exchanges like those of a small service, to count
//! instructions: `perf stat -e instructions:u target/release/examples/assemble
//! 1000000`, or callgrind with fewer.

use nodespan::assemble::{Assembler, Options, Output};
use nodespan::capture::{Event, Record, Segment};
use nodespan::units::{Direction, MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

const REQUEST: &[u8] = b"GET /api/orders/42?full=1 HTTP/1.1\r\n\
    Host: orders.shop.svc:8080\r\n\
    User-Agent: python-requests/2.32\r\n\
    Accept: */*\r\n\
    Connection: keep-alive\r\n\
    X-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124\r\n\
    X-B3-SpanId: a2fb4a1d1a96d312\r\n\
    X-B3-Sampled: 1\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.27.0\r\n\
    Date: Tue, 03 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 26\r\n\
    Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT\r\n\
    Connection: keep-alive\r\n\r\n\
    {\"id\": 42, \"state\": \"new\"}";

fn main() {
    let argument = std::env::args().nth(1);
    let exchanges: u64 = argument.and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut assembler = Assembler::new(Options::default());
    let mut out: Vec<Output> = Vec::with_capacity(256);
    let mut finished = 0_u64;
    for n in 0..exchanges {
        // 64 requests a connection, 32 connections at a time.
        let connection = n / 2048 * 32 + n % 32;
        let turn = (n / 32 % 64) as u32;
        let origins = Origins {
            local: TcpSeq(1),
            peer: TcpSeq(1),
            exact: true,
            known: true,
        };
        let mut record = |event| {
            let record = Record {
                socket: SocketId(0xffff_8880_0000_0000 + connection * 2304),
                origins,
                owner: OwnerId(9),
                pid: 7,
                event,
            };
            assembler.push(&record, &mut out);
        };
        let at = MonoNanos(n * 1000);
        let segment = |direction, bytes: &'static [u8]| {
            Event::Segment(Segment {
                direction,
                seq: TcpSeq(1 + turn * bytes.len() as u32),
                len: bytes.len() as u32,
                head: bytes,
                tail: &[],
                entry: at,
                exit: at,
            })
        };
        record(segment(Direction::In, REQUEST));
        record(segment(Direction::Out, RESPONSE));
        if turn == 63 {
            record(Event::Closed { at });
        }
        finished += out
            .drain(..)
            .filter(|output| matches!(output, Output::Finished(_)))
            .count() as u64;
    }
    assert_eq!(finished, exchanges);
}
