//! Heads as almost all of them are, read with as few steps as possible: this
//! is what every exchange costs.
//!
//! Only the start line and the headers that matter are looked at, the others
//! just passed over. Whatever is unusual about what is looked at goes to
//! `httparse`; of heads that `httparse` accepts, both say the same (a test
//! says so).

use super::fields::{Fields, Known, Text};
use super::lines::{Lines, word};
use super::{RequestHead, ResponseHead};
use crate::http::context::{Name, Order};

/// A request head, if it is complete and plain.
#[inline(always)]
pub(super) fn request(bytes: &[u8], order: Order) -> Option<RequestHead<'_>> {
    let mut lines = Lines::new(bytes);
    let line = lines.next()?;
    let space = word(bytes)?;
    let (method, behind) = bytes.split_at_checked(space)?;
    let (b' ', behind) = behind.split_first()? else {
        return None;
    };
    let (target, version) = behind.split_at_checked(word(behind)?)?;
    let minor = minor(version)?;
    if line.len() != space + 1 + target.len() + VERSION || target.is_empty() || !is_plain(method) {
        return None;
    }
    let mut fields = Fields::default();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        request_header(line, &mut fields)?;
    }
    Some(fields.into_request(method, target, minor, lines.passed(), order))
}

/// A response head, if it is complete and plain.
#[inline(always)]
pub(super) fn response(bytes: &[u8]) -> Option<ResponseHead> {
    let mut lines = Lines::new(bytes);
    let (start, reason) = lines.next()?.split_first_chunk::<12>()?;
    let (version, status) = start.split_first_chunk::<8>()?;
    let minor = minor_of(*version)?;
    let status = match *status {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return None,
    };
    match reason {
        [] | b" OK" => {}
        [b' ', reason @ ..] if reason.iter().all(|&b| b == b' ' || b.is_ascii_graphic()) => {}
        _ => return None,
    }
    let mut fields = Fields::default();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        match four(line.first_chunk()?) {
            CONT | TRAN => framing(line, &mut fields)?,
            _ => other(line)?,
        }
    }
    Some(ResponseHead {
        status,
        minor,
        framing: fields.said(),
        lenient: fields.bad_length,
        len: lines.passed(),
    })
}

/// Reads a header if it is one that matters, else passes over it; `None` if it
/// is unusual.
#[inline(always)]
fn request_header<'a>(line: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    match four(line.first_chunk()?) {
        X_B3 => b3(line, fields)?,
        B3 => fields.take(Known::Context(Name::B3), value(line, 3)?),
        HOST => text(line, fields, b"host", Text::Host)?,
        USER => text(line, fields, b"user-agent", Text::UserAgent)?,
        X_RE => text(line, fields, b"x-request-id", Text::RequestId)?,
        TRAC => context(line, fields, b"traceparent:", Name::TraceParent)?,
        UBER => context(line, fields, b"uber-trace-id:", Name::Uber)?,
        EXPE if has(line, b"expect:") => fields.take(Known::Expect, value(line, 7)?),
        CONT | TRAN => framing(line, fields)?,
        EXPE => return None,
        _ => other(line)?,
    }
    Some(())
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

#[inline(always)]
fn b3<'a>(line: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    if has(line, b"x-b3-traceid:") {
        fields.context.insert(Name::TraceId, value(line, 13)?);
    } else if has(line, b"x-b3-spanid:") {
        fields.context.insert(Name::SpanId, value(line, 12)?);
    } else if has(line, b"x-b3-sampled:") {
        fields.context.insert(Name::Sampled, value(line, 13)?);
    } else if has(line, b"x-b3-parentspanid:") {
        fields.context.insert(Name::ParentSpanId, value(line, 18)?);
    } else if has(line, b"x-b3-flags:") {
        fields.context.insert(Name::Flags, value(line, 11)?);
    } else {
        return None;
    }
    Some(())
}

/// A header of this name. One that is almost it goes to the parser: with a
/// blank before the colon, say, which some servers forgive.
#[inline(always)]
fn text<'a, const N: usize>(
    line: &'a [u8],
    fields: &mut Fields<'a>,
    name: &[u8; N],
    text: Text,
) -> Option<()> {
    if !has(line, name) {
        return if N == 4 { None } else { other(line) };
    }
    if line.get(N) != Some(&b':') {
        return None;
    }
    fields.take(Known::Text(text), value(line, N + 1)?);
    Some(())
}

/// A header of this name and colon; nothing else begins with its first letters.
#[inline(always)]
fn context<'a, const N: usize>(
    line: &'a [u8],
    fields: &mut Fields<'a>,
    name: &[u8; N],
    known: Name,
) -> Option<()> {
    if !has(line, name) {
        return None;
    }
    fields.context.insert(known, value(line, N)?);
    Some(())
}

#[inline(always)]
fn framing<'a>(line: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
    let (known, name) = if has(line, b"content-length") {
        (Known::ContentLength, 14)
    } else if has(line, b"transfer-encoding") {
        (Known::TransferEncoding, 17)
    } else {
        return other(line);
    };
    if line.get(name) != Some(&b':') {
        return None;
    }
    fields.take(known, value(line, name + 1)?);
    Some(())
}

/// A header that does not matter, of at least four bytes.
#[inline(always)]
fn other(line: &[u8]) -> Option<()> {
    match line {
        // Continues the line before (RFC 9112 section 5.2), or has no name.
        [b' ' | b'\t' | b':', ..] => None,
        // Without the blank behind its colon, or with one before it.
        [b'b' | b'B', b'3', ..] => None,
        _ => Some(()),
    }
}

/// Whether the line begins with this, in lower case and of at least four
/// letters.
///
/// Setting bit 5 folds letters and leaves `-`, digits and the colon as they
/// are; what else it would change is no token character. Two words that
/// overlap cover any length.
#[inline(always)]
fn has<const N: usize>(line: &[u8], name: &[u8; N]) -> bool {
    let Some(start) = line.first_chunk::<N>() else {
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

#[inline(always)]
fn same<const N: usize>(bytes: Option<&[u8; N]>, name: Option<&[u8; N]>) -> bool {
    bytes.map(|bytes| bytes.map(|byte| byte | 0x20)) == name.copied()
}

/// The value of a header whose name and colon have this length. Most have one
/// blank before them and none behind.
#[inline(always)]
fn value(line: &[u8], name: usize) -> Option<&[u8]> {
    let line = line.get(name..)?;
    Some(match line {
        [b' ', value @ ..]
            if value.first().is_some_and(|&byte| byte > b' ')
                && value.last().is_some_and(|&byte| byte > b' ') =>
        {
            value
        }
        _ => line.trim_ascii(),
    })
}

/// Bytes of the version and the blank before it.
const VERSION: usize = 9;

/// The version behind a blank.
#[inline(always)]
fn minor(version: &[u8]) -> Option<u8> {
    match version {
        [b' ', version @ ..] => minor_of(*version.first_chunk()?),
        _ => None,
    }
}

#[inline(always)]
fn minor_of(version: [u8; 8]) -> Option<u8> {
    const HTTP_1_1: u64 = u64::from_le_bytes(*b"HTTP/1.1");
    const HTTP_1_0: u64 = u64::from_le_bytes(*b"HTTP/1.0");
    match u64::from_le_bytes(version) {
        HTTP_1_1 => Some(1),
        HTTP_1_0 => Some(0),
        _ => None,
    }
}

/// Whether a method is one without a look at every letter, or has only letters.
#[inline(always)]
fn is_plain(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"POST" | b"PUT")
        || !method.is_empty() && method.iter().all(u8::is_ascii_alphabetic)
}
