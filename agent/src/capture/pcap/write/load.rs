//! Captures of HTTP traffic as it is on a real wire.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};

use super::{ACK, FIN, PSH, Precision, SYN, Tcp, Writer};
use crate::units::Side;

/// Time of the first packet: 2024-01-01, in nanoseconds.
const BEGIN: u64 = 1_704_067_200_000_000_000;
/// From one packet to the next.
const STEP: u64 = 50_000;

/// What [`generate`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections in all.
    pub connections: u32,
    /// Requests one after the other on each.
    pub exchanges: u32,
    /// Connections at a time, whose packets alternate.
    pub parallel: u32,
    /// Bytes of each response's body.
    pub body: usize,
    /// Resolution of the timestamps.
    pub precision: Precision,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 16,
            exchanges: 64,
            parallel: 16,
            body: 128,
            precision: Precision::Micros,
        }
    }
}

/// Writes a capture of keep-alive connections to one server: handshake,
/// requests with B3 headers and their responses, each acknowledged, and an
/// orderly end. Returns the number of exchanges.
pub fn generate(out: impl Write, load: &Load) -> io::Result<u64> {
    let mut out = Writer::new(out, load.precision)?;
    let mut clock = BEGIN;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        // xorshift64: ids that look like ids, the same in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let response = response(load.body);
    let mut exchanges = 0;
    let mut begun = 0;
    while begun < load.connections {
        let batch = load.parallel.max(1).min(load.connections - begun);
        let mut conversations: Vec<Conversation> = (begun..begun + batch)
            .map(|number| Conversation::new(client(number), server(), next() as u32, next() as u32))
            .collect();
        begun += batch;
        for conversation in &mut conversations {
            conversation.open(&mut out, &mut clock)?;
        }
        for _ in 0..load.exchanges {
            for conversation in &mut conversations {
                let request = request(exchanges, [next(), next(), next()]);
                conversation.send(Side::Client, &request, &mut out, &mut clock)?;
                exchanges += 1;
            }
            for conversation in &mut conversations {
                conversation.send(Side::Server, &response, &mut out, &mut clock)?;
            }
        }
        for conversation in &mut conversations {
            conversation.close(Side::Client, &mut out, &mut clock)?;
        }
    }
    out.into_inner()?;
    Ok(exchanges)
}

fn server() -> SocketAddr {
    (Ipv4Addr::new(10, 1, 0, 1), 80).into()
}

/// Ports of 1,000 upwards on as many hosts as it takes.
fn client(number: u32) -> SocketAddr {
    let [_, high, middle, low] = (number / 30_000 + 1).to_be_bytes();
    let port = 32_768 + (number % 30_000) as u16;
    (Ipv4Addr::new(10, 128 | high, middle, low), port).into()
}

fn request(number: u64, [high, low, span]: [u64; 3]) -> Vec<u8> {
    format!(
        "GET /items/{number}?page=2 HTTP/1.1\r\n\
         Host: shop.example\r\n\
         User-Agent: load/1\r\n\
         Accept: */*\r\n\
         X-Request-Id: {span:016x}-{number}\r\n\
         X-B3-TraceId: {high:016x}{low:016x}\r\n\
         X-B3-SpanId: {span:016x}\r\n\
         X-B3-ParentSpanId: {low:016x}\r\n\
         X-B3-Sampled: 1\r\n\
         \r\n"
    )
    .into_bytes()
}

fn response(body: usize) -> Vec<u8> {
    let mut response = format!(
        "HTTP/1.1 200 OK\r\n\
         Server: nginx/1.26.0\r\n\
         Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {body}\r\n\
         Connection: keep-alive\r\n\
         \r\n"
    )
    .into_bytes();
    response.resize(response.len() + body, b'x');
    response
}

/// Two ends that speak with one another, and what each will send next.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    client: (SocketAddr, u32),
    server: (SocketAddr, u32),
}

impl Conversation {
    /// Two ends with these initial sequence numbers.
    #[must_use]
    pub const fn new(
        client: SocketAddr,
        server: SocketAddr,
        client_isn: u32,
        server_isn: u32,
    ) -> Self {
        Self {
            client: (client, client_isn),
            server: (server, server_isn),
        }
    }

    /// A packet of one end, after which it sends what comes next.
    pub fn packet<'a>(&mut self, from: Side, flags: u8, payload: &'a [u8]) -> Tcp<'a> {
        let (sender, receiver) = match from {
            Side::Client => (&mut self.client, self.server),
            Side::Server => (&mut self.server, self.client),
        };
        let packet = Tcp {
            source: sender.0,
            destination: receiver.0,
            seq: sender.1,
            ack: if flags & ACK == 0 { 0 } else { receiver.1 },
            flags,
            payload,
        };
        let numbered = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        sender.1 = sender.1.wrapping_add(numbered);
        packet
    }

    /// The handshake.
    pub fn open<W: Write>(&mut self, out: &mut Writer<W>, clock: &mut u64) -> io::Result<()> {
        let steps = [
            (Side::Client, SYN),
            (Side::Server, SYN | ACK),
            (Side::Client, ACK),
        ];
        self.exchange(&steps, out, clock)
    }

    /// Data of one end and the other's acknowledgement.
    pub fn send<W: Write>(
        &mut self,
        from: Side,
        payload: &[u8],
        out: &mut Writer<W>,
        clock: &mut u64,
    ) -> io::Result<()> {
        let packet = self.packet(from, PSH | ACK, payload);
        write(&packet, out, clock)?;
        self.exchange(&[(other(from), ACK)], out, clock)
    }

    /// An orderly end that one end begins.
    pub fn close<W: Write>(
        &mut self,
        first: Side,
        out: &mut Writer<W>,
        clock: &mut u64,
    ) -> io::Result<()> {
        let steps = [(first, FIN | ACK), (other(first), FIN | ACK), (first, ACK)];
        self.exchange(&steps, out, clock)
    }

    fn exchange<W: Write>(
        &mut self,
        steps: &[(Side, u8)],
        out: &mut Writer<W>,
        clock: &mut u64,
    ) -> io::Result<()> {
        for &(from, flags) in steps {
            let packet = self.packet(from, flags, &[]);
            write(&packet, out, clock)?;
        }
        Ok(())
    }
}

fn write<W: Write>(packet: &Tcp<'_>, out: &mut Writer<W>, clock: &mut u64) -> io::Result<()> {
    *clock += STEP;
    out.frame(*clock, &packet.ethernet())
}

const fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}
