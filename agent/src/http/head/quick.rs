//! Heads as almost all of them are, read with as few steps as possible: this
//! is what every exchange costs.
//!
//! Only the start line and the headers that matter are looked at, the others
//! just passed over. Whatever is unusual about what is looked at goes to
//! `httparse`; of heads that `httparse` accepts, both say the same (a test
//! says so).

use super::fields::{Fields, Known, Text};
use crate::http::context::Name;

/// A request head that is complete and plain.
pub(super) struct Request<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) minor: u8,
    pub(super) fields: Fields<'a>,
    pub(super) len: usize,
}

/// A response head that is complete and plain.
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) minor: u8,
    pub(super) fields: Fields<'a>,
    pub(super) len: usize,
}

/// What a line turned out to be.
enum Line<'a> {
    /// A header, with what is behind it.
    Header(&'a [u8]),
    /// The empty line, with what is behind it.
    End(&'a [u8]),
}

#[inline]
pub(super) fn request(bytes: &[u8]) -> Option<Request<'_>> {
    let (line, mut rest) = first_line(bytes)?;
    let (start, version) = line.split_last_chunk::<9>()?;
    let minor = minor(version.last_chunk()?)?;
    let space = start.iter().position(|&byte| byte == b' ')?;
    let (method, target) = start.split_at_checked(space)?;
    let target = target.get(1..)?;
    let plain = version.first() == Some(&b' ') && !target.is_empty() && is_plain(target);
    if !plain || !method.iter().all(u8::is_ascii_alphabetic) {
        return None;
    }
    let mut fields = Fields::default();
    loop {
        match request_header(rest, &mut fields)? {
            Line::Header(behind) => rest = behind,
            Line::End(behind) => {
                return Some(Request {
                    method,
                    target,
                    minor,
                    fields,
                    len: bytes.len() - behind.len(),
                });
            }
        }
    }
}

#[inline]
pub(super) fn response(bytes: &[u8]) -> Option<Response<'_>> {
    let (line, mut rest) = first_line(bytes)?;
    let (start, reason) = line.split_first_chunk::<12>()?;
    let (version, status) = start.split_first_chunk::<8>()?;
    let minor = minor(version)?;
    let status = match *status {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return None,
    };
    match reason {
        [] => {}
        [b' ', reason @ ..] if reason.iter().all(|&b| b == b' ' || b.is_ascii_graphic()) => {}
        _ => return None,
    }
    let mut fields = Fields::default();
    loop {
        match response_header(rest, &mut fields)? {
            Line::Header(behind) => rest = behind,
            Line::End(behind) => {
                return Some(Response {
                    status,
                    minor,
                    fields,
                    len: bytes.len() - behind.len(),
                });
            }
        }
    }
}

/// Reads a header if it is one that matters, else passes over it.
#[inline]
fn request_header<'a>(rest: &'a [u8], fields: &mut Fields<'a>) -> Option<Line<'a>> {
    let Some(start) = rest.first_chunk::<4>() else {
        return end(rest);
    };
    let (known, name) = match four(start) {
        B3 => (Known::Context(Name::B3), 3),
        HOST if has(rest, b"host:") => (Known::Text(Text::Host), 5),
        USER if has(rest, b"user-agent:") => (Known::Text(Text::UserAgent), 11),
        X_B3 => b3(rest)?,
        X_RE if has(rest, b"x-request-id:") => (Known::Text(Text::RequestId), 13),
        TRAC if has(rest, b"traceparent:") => (Known::Context(Name::TraceParent), 12),
        UBER if has(rest, b"uber-trace-id:") => (Known::Context(Name::Uber), 14),
        EXPE if has(rest, b"expect:") => (Known::Expect, 7),
        CONT | TRAN => return framing(rest, fields),
        // Almost one that matters: a blank before the colon, say, which some
        // servers forgive.
        HOST | TRAC | UBER | EXPE => return None,
        USER if has(rest, b"user-agent") => return None,
        X_RE if has(rest, b"x-request-id") => return None,
        _ => return other(rest),
    };
    let (value, behind) = value(rest, name)?;
    fields.take(known, value);
    Some(Line::Header(behind))
}

#[inline]
fn response_header<'a>(rest: &'a [u8], fields: &mut Fields<'a>) -> Option<Line<'a>> {
    match rest.first_chunk::<4>().map(four) {
        Some(CONT | TRAN) => framing(rest, fields),
        Some(_) => other(rest),
        None => end(rest),
    }
}

/// The first four letters of names, folded.
const fn four(name: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*name) | 0x2020_2020
}

const B3: u32 = four(b"b3: ");
const CONT: u32 = four(b"cont");
const EXPE: u32 = four(b"expe");
const HOST: u32 = four(b"host");
const TRAC: u32 = four(b"trac");
const TRAN: u32 = four(b"tran");
const UBER: u32 = four(b"uber");
const USER: u32 = four(b"user");
const X_B3: u32 = four(b"x-b3");
const X_RE: u32 = four(b"x-re");

#[inline]
fn b3(rest: &[u8]) -> Option<(Known, usize)> {
    let (name, len) = if has(rest, b"x-b3-traceid:") {
        (Name::TraceId, 13)
    } else if has(rest, b"x-b3-spanid:") {
        (Name::SpanId, 12)
    } else if has(rest, b"x-b3-sampled:") {
        (Name::Sampled, 13)
    } else if has(rest, b"x-b3-parentspanid:") {
        (Name::ParentSpanId, 18)
    } else if has(rest, b"x-b3-flags:") {
        (Name::Flags, 11)
    } else {
        return None;
    };
    Some((Known::Context(name), len))
}

#[inline]
fn framing<'a>(rest: &'a [u8], fields: &mut Fields<'a>) -> Option<Line<'a>> {
    let (known, name) = if has(rest, b"content-length") {
        (Known::ContentLength, 14)
    } else if has(rest, b"transfer-encoding") {
        (Known::TransferEncoding, 17)
    } else {
        return other(rest);
    };
    if rest.get(name) != Some(&b':') {
        return None;
    }
    let (value, behind) = value(rest, name + 1)?;
    fields.take(known, value);
    Some(Line::Header(behind))
}

/// A header that does not matter, or the end.
#[inline]
fn other(rest: &[u8]) -> Option<Line<'_>> {
    match rest.first()? {
        b'\r' | b'\n' => end(rest),
        // Continues the line before (RFC 9112 section 5.2), or has no name.
        b' ' | b'\t' | b':' => None,
        // Too short for a name to be told apart above.
        b'b' | b'B' if rest.get(1) == Some(&b'3') => None,
        _ => Some(Line::Header(rest.get(line_end(rest)?.1..)?)),
    }
}

#[inline]
fn end(rest: &[u8]) -> Option<Line<'_>> {
    match rest {
        [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] => Some(Line::End(behind)),
        _ => None,
    }
}

/// Whether the line begins with this, in lower case and of at least four
/// letters.
///
/// Setting bit 5 folds letters and leaves `-`, digits and the colon as they
/// are; what else it would change is no token character. Two words that
/// overlap cover any length.
#[inline]
fn has<const N: usize>(rest: &[u8], name: &[u8; N]) -> bool {
    let Some(start) = rest.first_chunk::<N>() else {
        return false;
    };
    if N < 8 {
        same(start.first_chunk::<4>(), name.first_chunk::<4>())
            && same(start.last_chunk::<4>(), name.last_chunk::<4>())
    } else if N <= 16 {
        same(start.first_chunk::<8>(), name.first_chunk::<8>())
            && same(start.last_chunk::<8>(), name.last_chunk::<8>())
    } else {
        same(start.first_chunk::<16>(), name.first_chunk::<16>())
            && same(start.last_chunk::<8>(), name.last_chunk::<8>())
    }
}

#[inline]
fn same<const N: usize>(bytes: Option<&[u8; N]>, name: Option<&[u8; N]>) -> bool {
    bytes.map(|bytes| bytes.map(|byte| byte | 0x20)) == name.copied()
}

/// The value of a header whose name and colon have this length, and what is
/// behind the line.
#[inline]
fn value(rest: &[u8], name: usize) -> Option<(&[u8], &[u8])> {
    let (line, behind) = first_line(rest.get(name..)?)?;
    Some((trimmed(line), behind))
}

/// Most values have one blank before them and none behind.
#[inline]
fn trimmed(line: &[u8]) -> &[u8] {
    match line {
        [b' ', value @ ..]
            if value.first().is_some_and(u8::is_ascii_graphic)
                && value.last().is_some_and(u8::is_ascii_graphic) =>
        {
            value
        }
        _ => line.trim_ascii(),
    }
}

/// The first line, without its end, and what is behind it.
#[inline]
fn first_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, next) = line_end(bytes)?;
    Some((bytes.get(..len)?, bytes.get(next..)?))
}

/// Where the first line ends, and where the next begins. Lines are too short
/// for a call of a vectorised search to pay: two words at a time.
#[inline]
fn line_end(bytes: &[u8]) -> Option<(usize, usize)> {
    const BIT_6: u64 = 0x4040_4040_4040_4040;
    // Bits 5 and 6 are clear in control characters, and in some bytes above
    // 127 that are as rare.
    let visible = |word: u64| (word | word << 1) & BIT_6;
    let mut at = 0;
    while let Some(words) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let words = u128::from_le_bytes(*words);
        let (first, second) = (visible(words as u64), visible((words >> 64) as u64));
        if first & second == BIT_6 {
            at += 16;
            continue;
        }
        at += match (first ^ BIT_6).trailing_zeros() {
            64 => 8 + (second ^ BIT_6).trailing_zeros() as usize / 8,
            bits => bits as usize / 8,
        };
        break;
    }
    let rest = bytes.get(at..)?;
    if let [b'\r', b'\n', ..] = rest {
        return Some((at, at + 2));
    }
    let feed = at + rest.iter().position(|&byte| byte == b'\n')?;
    let cr = feed.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\r');
    Some((feed - usize::from(cr), feed + 1))
}

fn minor(version: &[u8; 8]) -> Option<u8> {
    const HTTP_1_1: u64 = u64::from_le_bytes(*b"HTTP/1.1");
    const HTTP_1_0: u64 = u64::from_le_bytes(*b"HTTP/1.0");
    match u64::from_le_bytes(*version) {
        HTTP_1_1 => Some(1),
        HTTP_1_0 => Some(0),
        _ => None,
    }
}

/// Whether a target has no blanks, and nothing above ASCII. (What is left of
/// control characters is DEL.)
fn is_plain(target: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let words = target.chunks_exact(8);
    let rest = words.remainder();
    let plain = |word: u64| {
        let above_blank = (word & (0x7f * EACH)) + 0x5f * EACH;
        above_blank & !word & (0x80 * EACH) == 0x80 * EACH
    };
    let word = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    };
    words.map(word).all(plain) && rest.iter().all(u8::is_ascii_graphic)
}
