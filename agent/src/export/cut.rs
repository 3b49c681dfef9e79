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
        let (field, after) = field(after, key)?;
        rest = after;
        let payload = match field {
            Field::Bytes(payload) => Some(payload),
            Field::Number(_) => None,
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

/// A protobuf field's value.
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The value that stands behind this key, and what stands behind it. Fixed
/// numbers are not read.
pub(super) fn field(bytes: &[u8], key: u64) -> Option<(Field<'_>, &[u8])> {
    Some(match key & 7 {
        0 => {
            let (number, rest) = varint(bytes)?;
            (Field::Number(number), rest)
        }
        1 => (Field::Number(0), bytes.get(8..)?),
        5 => (Field::Number(0), bytes.get(4..)?),
        2 => {
            let (length, rest) = varint(bytes)?;
            let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Field::Bytes(payload), rest)
        }
        _ => return None,
    })
}

/// A protobuf varint and what stands behind it.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Encoder as _;
    use crate::export::testing::any_span;
    use crate::export::zipkin::Zipkin;
    use proptest::prelude::*;

    /// A field of bytes.
    fn bytes_field(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        push_varint(&mut out, payload.len() as u64);
        out.extend_from_slice(payload);
        out
    }

    /// The three other formats, of spans with these contents.
    fn bodies(spans: &[Vec<u8>]) -> [(Cut, Vec<u8>); 3] {
        let mut thrift_body = vec![STRUCT];
        thrift_body.extend_from_slice(&(spans.len() as i32).to_be_bytes());
        let mut protobuf_body = Vec::new();
        let mut groups = Vec::new();
        for (n, span) in spans.iter().enumerate() {
            // 1: i64, 2: list of structs with a string, 3: bool, stop
            thrift_body.extend_from_slice(&[10, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9]);
            thrift_body.extend_from_slice(&[15, 0, 2, STRUCT, 0, 0, 0, 1, 11, 0, 1]);
            thrift_body.extend_from_slice(&(span.len() as i32).to_be_bytes());
            thrift_body.extend_from_slice(span);
            thrift_body.extend_from_slice(&[0, 2, 0, 3, 1, 0]);
            protobuf_body.extend_from_slice(&bytes_field(1, span));
            // Two spans to a scope, two scopes to a resource.
            if n % 4 == 0 {
                groups.push(Vec::new());
            }
            if n % 2 == 0 {
                groups.last_mut().unwrap().push(bytes_field(1, b"scope"));
            }
            let scope = groups.last_mut().unwrap().last_mut().unwrap();
            scope.extend_from_slice(&bytes_field(2, span));
        }
        let mut otlp_body = Vec::new();
        for scopes in &groups {
            let mut group = bytes_field(1, b"resource");
            for scope in scopes {
                group.extend_from_slice(&bytes_field(2, scope));
            }
            group.extend_from_slice(&bytes_field(3, b"schema"));
            otlp_body.extend_from_slice(&bytes_field(1, &group));
        }
        [
            (thrift as Cut, thrift_body),
            (protobuf, protobuf_body),
            (otlp, otlp_body),
        ]
    }

    proptest! {
        #[test]
        fn json_is_cut_between_spans(spans in prop::collection::vec(any_span(), 1..6), a: u8, b: u8) {
            let encode = |spans: &[crate::export::Span]| {
                let (mut encoder, mut body) = (Zipkin::default(), Vec::new());
                for span in spans {
                    encoder.encode(span, &mut body).unwrap();
                }
                encoder.finish(&mut body);
                body
            };
            let n = spans.len();
            let from = usize::from(a) % n;
            let to = from + 1 + usize::from(b) % (n - from);
            let cut = json(&encode(&spans), from as u64..to as u64).unwrap();
            prop_assert_eq!(cut, encode(&spans[from..to]));
        }

        #[test]
        fn the_binary_formats_are_cut_between_spans(
            spans in prop::collection::vec(any::<Vec<u8>>(), 1..12), a: u8, b: u8
        ) {
            let n = spans.len();
            let from = usize::from(a) % n;
            let to = from + 1 + usize::from(b) % (n - from);
            let range = from as u64..to as u64;
            let [whole_thrift, whole_protobuf, whole_otlp] = bodies(&spans);
            let [cut_thrift, cut_protobuf, _] = bodies(&spans[from..to]);
            prop_assert_eq!(thrift(&whole_thrift.1, range.clone()).unwrap(), cut_thrift.1);
            prop_assert_eq!(protobuf(&whole_protobuf.1, range.clone()).unwrap(), cut_protobuf.1);
            // Groups stay groups, so what is cut differs from what is encoded
            // anew; its spans are the same, and the whole is itself.
            let cut_otlp = otlp(&whole_otlp.1, range).unwrap();
            let mut one_by_one = Vec::new();
            for k in 0..(to - from) as u64 {
                let one = otlp(&cut_otlp, k..k + 1).unwrap();
                prop_assert_eq!(&one, &otlp(&whole_otlp.1, from as u64 + k..from as u64 + k + 1).unwrap());
                one_by_one.push(one);
            }
            prop_assert_eq!(otlp(&cut_otlp, 0..(to - from) as u64 + 1), None);
            for (span, one) in spans[from..to].iter().zip(&one_by_one) {
                let scope = [bytes_field(1, b"scope"), bytes_field(2, span)].concat();
                let group = [
                    bytes_field(1, b"resource"),
                    bytes_field(2, &scope),
                    bytes_field(3, b"schema"),
                ].concat();
                prop_assert_eq!(one, &bytes_field(1, &group));
            }
            prop_assert_eq!(otlp(&whole_otlp.1, 0..n as u64).unwrap(), whole_otlp.1);
        }

        #[test]
        fn any_bytes_and_ranges_are_survived(body: Vec<u8>, from: u64, to: u64) {
            for cut in [json as Cut, thrift, protobuf, otlp, whole] {
                let _ = cut(&body, from..to);
                let _ = cut(&body, 0..1);
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_cut() {
        for (cut, body) in bodies(&[b"a".to_vec(), b"b".to_vec()]) {
            assert!(cut(&body, 0..2).is_some());
            for range in [0..3, 2..3, 1..1] {
                assert_eq!(cut(&body, range.clone()), None, "{range:?}");
            }
        }
        assert_eq!(json(b"[{}", 0..1), None);
        assert_eq!(thrift(b"\x0c\0\0\0\x02\0", 0..1), None);
    }
}
