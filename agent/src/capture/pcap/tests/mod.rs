//! What the tests have in common: captures made by hand, records kept.

mod ends;
mod formats;
mod fuzz;
mod packets;
mod property;
mod reassembly;

use std::net::SocketAddr;

use super::write::{ACK, Conversation, PSH, Precision, SYN, Tcp, Writer};
use super::{Counters, Drained, Observe, PcapError, PcapSource};
use crate::capture::{Event, Record};
use crate::units::{Direction, Endpoint, Origins, Side, SocketId};

const CLIENT_ISN: u32 = 1000;
const SERVER_ISN: u32 = 5000;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A record that outlives its capture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    socket: SocketId,
    origins: Origins,
    owner: u64,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Opened(Endpoint, Endpoint),
    Data {
        direction: Direction,
        seq: u32,
        len: u32,
        head: Vec<u8>,
        at: u64,
    },
    Ended(Direction),
    Failed(i32),
    Closed,
}

fn keep(record: &Record<'_>) -> Kept {
    Kept {
        socket: record.socket,
        origins: record.origins,
        owner: record.owner.0,
        what: match record.event {
            Event::Opened { local, peer, .. } => What::Opened(local, peer),
            Event::Segment(segment) => {
                assert_eq!((segment.entry, segment.tail), (segment.exit, &[][..]));
                What::Data {
                    direction: segment.direction,
                    seq: segment.seq.0,
                    len: segment.len,
                    head: segment.head.to_vec(),
                    at: segment.exit.0,
                }
            }
            Event::Ended { direction, .. } => What::Ended(direction),
            Event::Failed { errno, .. } => What::Failed(errno),
            Event::Closed { .. } => What::Closed,
        },
    }
}

/// All that a capture gives.
struct Read {
    records: Vec<Kept>,
    counters: Counters,
    truncated: bool,
}

fn try_read(capture: &[u8], observe: Observe) -> Result<Read, PcapError> {
    let mut records = Vec::new();
    let mut source = PcapSource::from_reader(capture, observe)?;
    loop {
        let drained = source.drain(3, &mut |record| records.push(keep(&record)))?;
        if let Drained::End { truncated } = drained {
            return Ok(Read {
                records,
                counters: source.counters(),
                truncated,
            });
        }
    }
}

fn read(capture: &[u8], observe: Observe) -> Read {
    try_read(capture, observe).unwrap()
}

impl Read {
    /// The bytes of one direction, `.` for those that are not known, `|` where
    /// numbers are missing.
    fn bytes(&self, wanted: Direction) -> String {
        let mut text = String::new();
        let mut next = None;
        for record in &self.records {
            if let What::Data {
                direction,
                seq,
                len,
                head,
                ..
            } = &record.what
                && *direction == wanted
            {
                if next.is_some_and(|next| next != *seq) {
                    text.push('|');
                }
                text.push_str(std::str::from_utf8(head).unwrap());
                text.extend((head.len()..*len as usize).map(|_| '.'));
                next = Some(seq.wrapping_add(*len));
            }
        }
        text
    }

    /// What happened, one letter each: `O`pened, `i`n, `o`ut, end of `I`n or
    /// of o`U`t, `F`ailed, `C`losed.
    fn story(&self) -> String {
        self.records
            .iter()
            .map(|record| match record.what {
                What::Opened(..) => 'O',
                What::Data {
                    direction: Direction::In,
                    ..
                } => 'i',
                What::Data { .. } => 'o',
                What::Ended(Direction::In) => 'I',
                What::Ended(Direction::Out) => 'U',
                What::Failed(_) => 'F',
                What::Closed => 'C',
            })
            .collect()
    }
}

/// A capture being made: microseconds, one packet each 1,000 ns.
struct Scene {
    out: Writer<Vec<u8>>,
    clock: u64,
    talk: Conversation,
}

impl Scene {
    /// A connection whose handshake is not in the capture.
    fn midway() -> Self {
        Self::with_isns(CLIENT_ISN + 1, SERVER_ISN + 1)
    }

    fn with_isns(client: u32, server: u32) -> Self {
        Self {
            out: Writer::new(Vec::new(), Precision::Nanos).unwrap(),
            clock: 0,
            talk: Conversation::new(client_address(), server_address(), client, server),
        }
    }

    /// A connection that begins here.
    fn new() -> Self {
        let mut scene = Self::with_isns(CLIENT_ISN, SERVER_ISN);
        scene.open();
        scene
    }

    fn open(&mut self) {
        self.send(Side::Client, SYN, b"");
        self.send(Side::Server, SYN | ACK, b"");
        self.send(Side::Client, ACK, b"");
    }

    fn raw(&mut self, packet: &Tcp<'_>) -> &mut Self {
        self.clock += 1000;
        self.out.frame(self.clock, &packet.ethernet()).unwrap();
        self
    }

    /// The next packet of one end.
    fn send(&mut self, from: Side, flags: u8, payload: &[u8]) -> &mut Self {
        let packet = self.talk.packet(from, flags, payload);
        self.raw(&packet)
    }

    /// Data of the client from an offset on, whatever it sent before.
    fn client_at(&mut self, offset: u32, payload: &[u8]) -> &mut Self {
        let packet = self.at(Side::Client, offset, 0, payload);
        self.raw(&packet)
    }

    /// The server acknowledges the client's bytes before an offset.
    fn server_has(&mut self, offset: u32) -> &mut Self {
        let packet = self.at(Side::Server, 0, offset, b"");
        self.raw(&packet)
    }

    fn at<'a>(&self, from: Side, offset: u32, acked: u32, payload: &'a [u8]) -> Tcp<'a> {
        let (client, server) = (CLIENT_ISN + 1, SERVER_ISN + 1);
        let (source, destination, seq, ack) = match from {
            Side::Client => (client_address(), server_address(), client, server),
            Side::Server => (server_address(), client_address(), server, client),
        };
        Tcp {
            source,
            destination,
            seq: seq.wrapping_add(offset),
            ack: ack.wrapping_add(acked),
            flags: ACK | PSH,
            payload,
        }
    }

    fn capture(self) -> Vec<u8> {
        self.out.into_inner().unwrap()
    }

    fn server(self) -> Read {
        read(&self.capture(), Observe::Server)
    }
}

fn client_address() -> SocketAddr {
    "10.0.0.9:40000".parse().unwrap()
}

fn server_address() -> SocketAddr {
    "10.0.0.1:8080".parse().unwrap()
}

/// Numbers in either byte order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn half(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn word(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn words(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| self.word(*value)).collect()
    }
}

/// A pcap file of these packets, one a second.
fn classic(order: Order, magic: u32, link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = order.word(magic).to_vec();
    file.extend(order.half(2));
    file.extend(order.half(4));
    file.extend(order.words(&[0, 0, 65_535, link]));
    for (second, packet) in packets.iter().enumerate() {
        let len = packet.len() as u32;
        file.extend(order.words(&[second as u32 + 1, 7, len, len]));
        file.extend(packet);
    }
    file
}

/// A pcapng block.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let length = 12 + body.len().next_multiple_of(4);
    let mut block = order.words(&[kind, length as u32]);
    block.extend(body);
    block.resize(length - 4, 0);
    block.extend(order.word(length as u32));
    block
}

/// A section header block.
fn section(order: Order) -> Vec<u8> {
    let mut body = order.words(&[0x1a2b_3c4d]);
    body.extend(order.half(1));
    body.extend(order.half(0));
    body.extend([0xff; 8]);
    // An option: `shb_userappl`.
    body.extend(order.half(4));
    body.extend(order.half(5));
    body.extend(b"tests\0\0\0\0\0\0\0");
    block(order, 0x0a0d_0d0a, &body)
}

/// Code and value.
type BlockOption<'a> = (u16, &'a [u8]);

/// An interface description block with options.
fn interface(order: Order, link: u16, options: &[BlockOption<'_>]) -> Vec<u8> {
    let mut body = order.half(link).to_vec();
    body.extend([0; 2]);
    body.extend(order.word(0));
    for (code, value) in options {
        body.extend(order.half(*code));
        body.extend(order.half(value.len() as u16));
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    if !options.is_empty() {
        body.extend([0; 4]);
    }
    block(order, 1, &body)
}

/// An enhanced packet block.
fn enhanced(order: Order, interface: u32, time: u64, packet: &[u8]) -> Vec<u8> {
    let len = packet.len() as u32;
    let mut body = order.words(&[interface, (time >> 32) as u32, time as u32, len, len]);
    body.extend(packet);
    body.resize(body.len().next_multiple_of(4), 0);
    // An option: `epb_flags`.
    body.extend(order.half(2));
    body.extend(order.half(4));
    body.extend([0; 8]);
    block(order, 6, &body)
}

/// The packets of a request and its response, without handshake, from IP on.
fn ip_packets(client: &str, server: &str) -> Vec<Vec<u8>> {
    let mut talk = Conversation::new(client.parse().unwrap(), server.parse().unwrap(), 1, 2);
    vec![
        talk.packet(Side::Client, ACK | PSH, REQUEST).ip(),
        talk.packet(Side::Server, ACK | PSH, RESPONSE).ip(),
    ]
}
