//! A capture that has something of everything a span can say.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nodespan::capture::pcap::write::{Conversation, Precision, RST, Writer};
use nodespan::units::Side;

use super::links::{Link, Links};

/// Requests on one connection, for batches and datagrams that are full.
const MANY: usize = 200;

/// What was written, and what must come of it.
#[derive(Debug)]
pub struct Scene {
    /// The capture.
    pub capture: Vec<u8>,
    /// Its requests; each has two ends.
    pub exchanges: usize,
    /// Who called whom. A service is an address that no other scene has.
    pub links: Links,
}

/// Values of headers and pieces of paths over which encoders and servers
/// stumble: the first three make Zipkin refuse a whole request where they
/// stand before a quote (`research/backends.md` 2.1).
const ODD: &[&[u8]] = &[
    b"userEndpoint",
    b"binaryAnnotations",
    b"\"tags\"",
    b"Endpoint\"",
    b"back\\slash",
    "gr\u{fc}\u{df}e/\u{1f600}".as_bytes(),
    b"latin-\xfc",
    b"<&>'",
    b"a|b|c",
];

/// Writes the scene, with ids and addresses that no other has.
///
/// # Errors
/// Never: a vector takes everything.
pub fn write() -> Result<Scene> {
    let mut stage = Stage::new()?;
    let [client, front, shop, stock] = [1, 2, 3, 4].map(|n| stage.v4(n));
    let (front6, stock6) = (stage.v6(2), stage.v6(4));
    let chain = [client, front, shop, stock];

    // A tree over four services, in every format and width of ids.
    let wide = stage.id();
    let high = wide | 1 << 63;
    let (span, low) = (stage.id(), stage.id());
    for context in [
        format!(
            "X-B3-TraceId: {wide:016x}{low:016x}\r\nX-B3-SpanId: {span:016x}\r\nX-B3-Sampled: 1\r\n"
        ),
        format!("b3: {high:016x}{low:016x}-{:016x}-1\r\n", span | 1 << 63),
        format!("b3: {low:016x}-{span:016x}-1\r\n"),
        format!("b3: {:016x}-{span:016x}-1\r\n", stage.id() >> 24),
        format!("b3: 0000000000000000{:016x}-{span:016x}-1\r\n", stage.id()),
        format!("b3: {:016x}-{span:016x}-d\r\n", stage.id()),
        format!(
            "traceparent: 00-{:016x}{low:016x}-{span:016x}-01\r\n",
            stage.id()
        ),
        format!("X-Request-Id: {:016x}\r\n", stage.id()),
        String::new(),
    ] {
        stage.chain(&chain, &context, b"/tree?secret=1", 200)?;
    }
    // Over IPv6.
    let context = stage.context();
    stage.chain(&[stage.v6(1), front6, stock6], &context, b"/six", 200)?;
    // What went wrong, at the last of them.
    for status in [301, 404, 500, 503] {
        let context = stage.context();
        stage.chain(&chain, &context, b"/wrong", status)?;
    }
    // Bytes that need care, in the path and in headers.
    for odd in ODD {
        let context = stage.context();
        let mut headers = context.into_bytes();
        for name in ["User-Agent", "X-Request-Id"] {
            headers.extend(name.bytes().chain(*b": ").chain(odd.iter().copied()));
            headers.extend(b"\r\n");
        }
        let path = [b"/odd/", *odd].concat();
        stage.exchange(client, front, &headers, &path, 200)?;
    }
    // Longer than a packet. What is cut, and where, the encoders' own tests say.
    let context = stage.context();
    let path = [b"/".as_slice(), &[b'a'; 4000]].concat();
    stage.exchange(client, front, context.as_bytes(), &path, 200)?;
    // Many, in one trace and on one connection.
    let context = stage.context();
    stage.many(front, shop, context.as_bytes())?;
    // Responses that never come to an end: broken off, and the capture's own.
    let context = stage.context();
    stage.broken(client, front, context.as_bytes(), true)?;
    let context = stage.context();
    stage.broken(client, shop, context.as_bytes(), false)?;
    stage.done()
}

/// A capture in the making.
struct Stage {
    out: Writer<Vec<u8>>,
    /// Nanoseconds.
    clock: u64,
    random: u64,
    network: [u8; 2],
    port: u16,
    exchanges: usize,
    links: BTreeMap<(IpAddr, IpAddr), (u64, u64)>,
}

impl Stage {
    fn new() -> Result<Self> {
        static SCENES: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        // It lies in the past, for servers that take nothing from the future.
        let begin = now.saturating_sub(Duration::from_secs(30));
        let seed = u64::try_from(now.as_nanos() & u128::from(u64::MAX))?
            ^ u64::from(std::process::id()) << 40
            ^ SCENES.fetch_add(1, Ordering::Relaxed) << 32;
        let mut stage = Self {
            out: Writer::new(Vec::new(), Precision::Micros)?,
            clock: u64::try_from(begin.as_nanos())?,
            random: seed,
            network: [0; 2],
            port: 32_768,
            exchanges: 0,
            links: BTreeMap::new(),
        };
        let [a, b, ..] = stage.id().to_be_bytes();
        stage.network = [a, b];
        Ok(stage)
    }

    /// The next of a series without end (splitmix64), never zero.
    fn id(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).max(1)
    }

    fn v4(&self, host: u8) -> IpAddr {
        let [a, b] = self.network;
        Ipv4Addr::new(10, a, b, host).into()
    }

    fn v6(&self, host: u16) -> IpAddr {
        let network = u16::from_be_bytes(self.network);
        Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, host).into()
    }

    /// Headers of a sampled trace of its own.
    fn context(&mut self) -> String {
        let [high, low, span] = [self.id(), self.id(), self.id()];
        format!("b3: {high:016x}{low:016x}-{span:016x}-1\r\n")
    }

    /// The first of `nodes` calls the next, which calls the next before it
    /// answers, all with the same headers.
    fn chain(&mut self, nodes: &[IpAddr], headers: &str, path: &[u8], status: u16) -> Result<()> {
        let [from, to, ..] = *nodes else {
            return Ok(());
        };
        let mut talk = self.open(from, to)?;
        self.say(&mut talk, Side::Client, &request(headers.as_bytes(), path))?;
        self.chain(&nodes[1..], headers, path, status)?;
        self.say(&mut talk, Side::Server, &response(status))?;
        self.count(from, to, status >= 500);
        Ok(talk.close(Side::Client, &mut self.out, &mut self.clock)?)
    }

    fn exchange(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        headers: &[u8],
        path: &[u8],
        status: u16,
    ) -> Result<()> {
        let mut talk = self.open(from, to)?;
        // Not all in one packet, as long heads are on a wire.
        for piece in request(headers, path).chunks(1400) {
            self.say(&mut talk, Side::Client, piece)?;
        }
        self.say(&mut talk, Side::Server, &response(status))?;
        self.count(from, to, status >= 500);
        Ok(talk.close(Side::Client, &mut self.out, &mut self.clock)?)
    }

    fn many(&mut self, from: IpAddr, to: IpAddr, headers: &[u8]) -> Result<()> {
        let mut talk = self.open(from, to)?;
        for n in 0..MANY {
            let path = format!("/many/{n}");
            self.say(&mut talk, Side::Client, &request(headers, path.as_bytes()))?;
            self.say(&mut talk, Side::Server, &response(200))?;
            self.count(from, to, false);
        }
        Ok(talk.close(Side::Server, &mut self.out, &mut self.clock)?)
    }

    /// A response that is reset in the middle of its body, or none at all.
    fn broken(&mut self, from: IpAddr, to: IpAddr, headers: &[u8], reset: bool) -> Result<()> {
        let mut talk = self.open(from, to)?;
        self.say(&mut talk, Side::Client, &request(headers, b"/broken"))?;
        if reset {
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all";
            self.say(&mut talk, Side::Server, half)?;
            let packet = talk.packet(Side::Server, RST, &[]).ethernet();
            self.out.frame(self.clock, &packet)?;
        }
        self.count(from, to, true);
        Ok(())
    }

    fn open(&mut self, from: IpAddr, to: IpAddr) -> Result<Conversation> {
        self.port += 1;
        let (client_isn, server_isn) = (self.id() as u32, self.id() as u32);
        let client = (from, self.port).into();
        let mut talk = Conversation::new(client, (to, 8080).into(), client_isn, server_isn);
        talk.open(&mut self.out, &mut self.clock)?;
        Ok(talk)
    }

    /// Some time passes before each.
    fn say(&mut self, talk: &mut Conversation, side: Side, bytes: &[u8]) -> Result<()> {
        self.clock += 1_000 * (self.id() % 3_000);
        Ok(talk.send(side, bytes, &mut self.out, &mut self.clock)?)
    }

    fn count(&mut self, from: IpAddr, to: IpAddr, failed: bool) {
        self.exchanges += 1;
        let (calls, errors) = self.links.entry((from, to)).or_default();
        *calls += 1;
        *errors += u64::from(failed);
    }

    fn done(self) -> Result<Scene> {
        let links = self.links.into_iter();
        Ok(Scene {
            capture: self.out.into_inner()?,
            exchanges: self.exchanges,
            links: links
                .map(|((parent, child), (calls, errors))| Link {
                    parent: parent.to_string(),
                    child: child.to_string(),
                    calls,
                    errors,
                })
                .collect(),
        })
    }
}

fn request(headers: &[u8], path: &[u8]) -> Vec<u8> {
    let head: [&[u8]; 5] = [
        b"GET ",
        path,
        b" HTTP/1.1\r\nHost: Shop.Example:8080\r\n",
        headers,
        b"\r\n",
    ];
    head.concat()
}

fn response(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok").into_bytes()
}
