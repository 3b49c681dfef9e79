//! Bodies of the fuzz targets of this room.

use super::context::{Headers, Name, Order};
use super::head::{
    EndScan, Parsed, Start, empty_lines, looks_like_start, parse_request, parse_response,
    start_line,
};

/// Reads these bytes as a head of either kind.
///
/// # Panics
///
/// If the readers disagree about where it ends, or about what it can be.
pub fn fuzz_head(data: &[u8]) {
    let bytes = &data[empty_lines(data)..];
    let start = looks_like_start(bytes);
    let end = EndScan::default().find(bytes);
    let request = parse_request(bytes, Order::default());
    let response = parse_response(bytes);
    for (start_wanted, len) in [
        (Start::Request, len(&request, |head| head.len)),
        (Start::Response, len(&response, |head| head.len)),
    ] {
        if start == start_wanted {
            match len {
                Read::Complete(len) => assert_eq!(Some(len), end),
                Read::Partial => assert_eq!(end, None),
                Read::Refused => {}
            }
        }
    }
    if let Parsed::Complete(head) = request {
        assert!(head.len <= bytes.len());
    }
    let line = bytes.split(|&byte| byte == b'\n').next();
    if let Some(line) = line
        && start_line(line).is_some()
    {
        assert_ne!(start, Start::No);
    }
    // Whatever a start is, its beginnings can become one.
    if matches!(start, Start::Request | Start::Response) {
        for len in 0..bytes.len().min(40) {
            assert_ne!(looks_like_start(&bytes[..len]), Start::No);
        }
    }
    let mut scan = EndScan::default();
    let step = 1 + bytes.len() / 7;
    for len in (0..bytes.len()).step_by(step) {
        if let Some(found) = scan.find(&bytes[..len]) {
            assert_eq!(Some(found), end);
            return;
        }
    }
    assert_eq!(scan.find(bytes), end);
}

/// Reads these bytes as values of every context header.
pub fn fuzz_context(data: &[u8]) {
    const NAMES: [Name; 8] = [
        Name::B3,
        Name::TraceId,
        Name::SpanId,
        Name::ParentSpanId,
        Name::Sampled,
        Name::Flags,
        Name::TraceParent,
        Name::Uber,
    ];
    let (mut one_each, mut all) = (Headers::default(), Headers::default());
    for (name, value) in NAMES.into_iter().zip(data.split(|&byte| byte == b'\n')) {
        if !value.is_empty() {
            one_each.insert(name, value);
        }
        all.insert(name, data);
    }
    std::hint::black_box(one_each.context(Order::default()));
    std::hint::black_box(all.context(Order::default()));
}

enum Read {
    Complete(usize),
    Partial,
    Refused,
}

fn len<H>(parsed: &Parsed<H>, len: impl Fn(&H) -> usize) -> Read {
    match parsed {
        Parsed::Complete(head) => Read::Complete(len(head)),
        Parsed::Partial => Read::Partial,
        Parsed::Refused => Read::Refused,
    }
}

/// Numbers that are the same in every run (splitmix64).
#[cfg(test)]
pub(crate) struct Random(u64);

#[cfg(test)]
impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: [&[u8]; 5] = [
        b"GET /a?b=c HTTP/1.1\r\nHost: shop\r\nX-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124\r\nX-B3-SpanId: a2fb4a1d1a96d312\r\nX-B3-Sampled: 1\r\n\r\n",
        b"POST http://a/b HTTP/1.0\nContent-Length: 12\nTransfer-Encoding: gzip, chunked\n\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n folded\r\n\r\n",
        b"\r\nM-SEARCH * HTTP/1.1\r\nuber-trace-id: 1:2:0:1\r\ntraceparent: 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01\r\n\r\n",
    ];
    const VALUES: [&[u8]; 4] = [
        b"463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1-0020000000000001",
        b"463ac35c9f6413ad48485a3953bb6124\na2fb4a1d1a96d312\n0020000000000001\n1\n1\nd",
        b"\n\n\n\n\n\n00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
        b"\n\n\n\n\n\n\n463ac35c9f6413ad%3A48485a3953bb6124:0:3",
    ];

    /// Cuts, flips and doubles bytes of what is real.
    fn mutated(random: &mut Random, real: &[u8]) -> Vec<u8> {
        let mut bytes = real.to_vec();
        for _ in 0..random.below(6) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                2 => bytes[at] = random.next() as u8,
                3 => bytes.insert(at, b"\r\n :-0"[random.below(6)]),
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        bytes
    }

    #[test]
    fn mutated_heads_never_panic() {
        let mut random = Random::new(2);
        let mut noise = [0; 40];
        for _ in 0..4_000 {
            for real in HEADS {
                fuzz_head(&mutated(&mut random, real));
            }
            random.fill(&mut noise);
            fuzz_head(&noise);
        }
    }

    #[test]
    fn mutated_contexts_never_panic() {
        let mut random = Random::new(3);
        let mut noise = [0; 70];
        for _ in 0..4_000 {
            for real in VALUES {
                fuzz_context(&mutated(&mut random, real));
            }
            random.fill(&mut noise);
            fuzz_context(&noise);
        }
    }
}
