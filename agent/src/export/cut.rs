//! Some of the spans of a finished batch as a batch of their own.
//!
//! A server that refuses a batch refuses all of it for one bad span, so the
//! worker sends halves until the bad one stands alone. That is rare, so an
//! encoder notes nothing for it: what it has written is read again here.

use std::ops::Range;

/// Makes a body of those spans of a finished body that have these numbers, in
/// the order in which they stand in it, from 0.
///
/// `None` if the body is not of this format, or the range is empty or goes
/// beyond its spans: such a body is not cut but dropped whole.
pub type Cut = fn(body: &[u8], spans: Range<u64>) -> Option<Vec<u8>>;

/// A body that is never cut.
pub fn whole(_: &[u8], _: Range<u64>) -> Option<Vec<u8>> {
    None
}

/// A JSON array of objects: Zipkin v1 and v2.
pub fn json(body: &[u8], spans: Range<u64>) -> Option<Vec<u8>> {
    let mut out = vec![b'['];
    let mut taken = Taken::new(&spans);
    let (mut start, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for (at, &byte) in body.iter().enumerate() {
        if quoted {
            (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                // The array itself is the first.
                if depth == 2 {
                    start = at;
                }
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 1 && taken.next() {
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    out.extend_from_slice(body.get(start..=at)?);
                }
            }
            _ => {}
        }
    }
    out.push(b']');
    (depth == 0 && taken.all()).then_some(out)
}

/// A binary thrift list of structs (`TBinaryProtocol`: element type 12, i32
/// count): Zipkin v1.
pub fn thrift(body: &[u8], spans: Range<u64>) -> Option<Vec<u8>> {
    let (head, mut rest) = body.split_first_chunk::<5>()?;
    let [STRUCT, count @ ..] = *head else {
        return None;
    };
    let taken_count = i32::try_from(spans.end.checked_sub(spans.start)?).ok()?;
    let mut out = vec![STRUCT];
    out.extend_from_slice(&taken_count.to_be_bytes());
    let mut taken = Taken::new(&spans);
    for _ in 0..i32::from_be_bytes(count) {
        let after = skip_thrift(rest, STRUCT, 0)?;
        if taken.next() {
            out.extend_from_slice(rest.get(..rest.len() - after.len())?);
        }
        rest = after;
    }
    (rest.is_empty() && taken.all()).then_some(out)
}

/// A protobuf message whose field 1 repeats spans: Zipkin v2 (`ListOfSpans`).
pub fn protobuf(body: &[u8], spans: Range<u64>) -> Option<Vec<u8>> {
    let mut taken = Taken::new(&spans);
    let mut out = Vec::new();
    copy_chosen(body, &[1], &mut taken, &mut out)?;
    taken.all().then_some(out)
}

/// OTLP's `ExportTraceServiceRequest`: `resource_spans` (1), `scope_spans`
/// (2), `spans` (2). A group that keeps no span is left out.
pub fn otlp(body: &[u8], spans: Range<u64>) -> Option<Vec<u8>> {
    let mut taken = Taken::new(&spans);
    let mut out = Vec::new();
    copy_chosen(body, &[1, 2, 2], &mut taken, &mut out)?;
    taken.all().then_some(out)
}

/// Counts spans as they come by and says which ones are wanted.
struct Taken {
    wanted: Range<u64>,
    seen: u64,
}

impl Taken {
    fn new(wanted: &Range<u64>) -> Self {
        Self {
            wanted: wanted.clone(),
            seen: 0,
        }
    }

    fn next(&mut self) -> bool {
        self.seen += 1;
        self.wanted.contains(&(self.seen - 1))
    }

    /// Whether all that were wanted came by.
    fn all(&self) -> bool {
        !self.wanted.is_empty() && self.seen >= self.wanted.end
    }
}

const STRUCT: u8 = 12;
/// Deeper than any of our formats.
const MAX_DEPTH: u8 = 8;

/// What stands behind a thrift value of this type.
fn skip_thrift(bytes: &[u8], kind: u8, depth: u8) -> Option<&[u8]> {
    if depth > MAX_DEPTH {
        return None;
    }
    match kind {
        // bool, byte; i16; i32; double, i64
        2 | 3 => bytes.get(1..),
        6 => bytes.get(2..),
        8 => bytes.get(4..),
        4 | 10 => bytes.get(8..),
        11 => {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            rest.get(usize::try_from(i32::from_be_bytes(*length)).ok()?..)
        }
        STRUCT => {
            let mut rest = bytes;
            loop {
                let (&kind, after) = rest.split_first()?;
                if kind == 0 {
                    return Some(after);
                }
                rest = skip_thrift(after.get(2..)?, kind, depth + 1)?;
            }
        }
        // set, list
        14 | 15 => {
            let (head, mut rest) = bytes.split_first_chunk::<5>()?;
            let [kind, count @ ..] = *head;
            for _ in 0..i32::from_be_bytes(count) {
                rest = skip_thrift(rest, kind, depth + 1)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

/// Copies a protobuf message, entering the fields of `path`; of those at its
/// end only the wanted ones are copied. Says whether one was.
fn copy_chosen(message: &[u8], path: &[u64], taken: &mut Taken, out: &mut Vec<u8>) -> Option<bool> {
    let (&entered, deeper) = path.split_first()?;
    let mut any = false;
    let mut rest = message;
    while !rest.is_empty() {
        let whole = rest;
        let (key, after) = varint(rest)?;
        // Fields that are no messages: varint, 64 bits, 32 bits.
        let payload = match key & 7 {
            0 => {
                rest = varint(after)?.1;
                None
            }
            1 => {
                rest = after.get(8..)?;
                None
            }
            5 => {
                rest = after.get(4..)?;
                None
            }
            2 => {
                let (length, after) = varint(after)?;
                let (payload, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                rest = after;
                Some(payload)
            }
            _ => return None,
        };
        let verbatim = whole.get(..whole.len() - rest.len())?;
        match payload {
            Some(payload) if key >> 3 == entered => {
                if deeper.is_empty() {
                    if taken.next() {
                        out.extend_from_slice(verbatim);
                        any = true;
                    }
                } else {
                    let mut inner = Vec::new();
                    if copy_chosen(payload, deeper, taken, &mut inner)? {
                        push_varint(out, key);
                        push_varint(out, inner.len() as u64);
                        out.append(&mut inner);
                        any = true;
                    }
                }
            }
            _ => out.extend_from_slice(verbatim),
        }
    }
    Some(any)
}

/// A protobuf varint and what stands behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (n, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte < 0x80 {
            return Some((value, bytes.get(n + 1..)?));
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
