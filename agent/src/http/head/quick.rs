//! Heads as almost all of them are, read with as few steps as possible: this
//! is what every exchange costs.
//!
//! Only the start line and the headers that matter are looked at, the others
//! just passed over. Whatever is unusual about what is looked at goes to
//! `httparse`; of heads that `httparse` accepts, both say the same (a test
//! says so).

use super::fields::{BodyFields, Fields, Known, Text};
use super::lines::{Lines, is_word};
use super::{RequestHead, ResponseHead};
use crate::http::context::{Name, Order};

/// A request head, if it is complete and plain.
#[inline(always)]
pub(super) fn request(bytes: &[u8], order: Order) -> Option<RequestHead<'_>> {
    let mut lines = Lines::new(bytes);
    let line = match lines.next_from(0)? {
        [line @ .., b'\r'] => line,
        line => line,
    };
    let (start, version) = line.split_last_chunk::<9>()?;
    let minor = minor(version)?;
    let method = method(start)?;
    let target = start.get(method + 1..)?;
    if target.is_empty() || !is_word(bytes.get(method + 1..)?, target.len()) {
        return None;
    }
    let method = start.get(..method)?;
    let mut fields = Fields::default();
    loop {
        let folded = lines.peek().map_or(0, four);
        match folded {
            X_B3 => b3(&mut lines, &mut fields)?,
            HOST if matches!(lines.peek(), Some([_, _, _, _, b':'])) => {
                fields.take(Known::Text(Text::Host), value(&mut lines, 5)?);
            }
            USER | X_RE => lines = text(lines, &mut fields)?,
            CONT | TRAN => framing(folded, &mut lines, &mut fields.body)?,
            B3 | TRAC | UBER | EXPE => lines = rare(folded, lines, &mut fields)?,
            HOST => return None,
            _ if is_name(folded) => lines.pass()?,
            _ => break,
        }
    }
    end(&mut lines)?;
    Some(fields.request_head(method, target, minor, lines.passed(), order))
}

/// A response head, if it is complete and plain.
#[inline(always)]
pub(super) fn response(bytes: &[u8]) -> Option<ResponseHead> {
    let mut lines = Lines::new(bytes);
    let start = bytes.first_chunk::<12>()?;
    let (version, status) = start.split_first_chunk::<8>()?;
    let minor = minor_of(*version)?;
    let status = match *status {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return None,
    };
    match lines.next_from(start.len())? {
        b" OK\r" | b"\r" | b"" => {}
        [b' ', reason @ ..] if is_reason(reason) => {}
        _ => return None,
    }
    let mut body = BodyFields::default();
    loop {
        let folded = lines.peek().map_or(0, four);
        match folded {
            CONT | TRAN => framing(folded, &mut lines, &mut body)?,
            _ if is_name(folded) => lines.pass()?,
            _ => break,
        }
    }
    end(&mut lines)?;
    Some(ResponseHead {
        status,
        minor,
        framing: body.said(),
        lenient: body.bad_length,
        len: lines.passed(),
    })
}

/// Length of the method, which a blank follows.
#[inline(always)]
fn method(line: &[u8]) -> Option<usize> {
    match line {
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'U', b'T', b' ', ..] => Some(3),
        [b'P', b'O', b'S', b'T', b' ', ..] => Some(4),
        _ => any_method(line),
    }
}

#[inline(never)]
fn any_method(line: &[u8]) -> Option<usize> {
    let len = line.iter().position(|&byte| byte == b' ')?;
    let method = line.get(..len)?;
    (len > 0 && method.iter().all(u8::is_ascii_alphabetic)).then_some(len)
}

#[inline(never)]
fn is_reason(reason: &[u8]) -> bool {
    let reason = reason.strip_suffix(b"\r").unwrap_or(reason);
    reason
        .iter()
        .all(|&byte| byte == b' ' || byte.is_ascii_graphic())
}

/// The first four letters of names, folded.
#[inline(always)]
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

/// Whether a line that begins like this is a header that does not matter: its
/// name begins with a letter and is not `b3`. (Anything else continues the line
/// before (RFC 9112 section 5.2), has no name, is rare, or is the end.)
#[inline(always)]
const fn is_name(folded: u32) -> bool {
    (folded as u8).is_ascii_lowercase() && folded as u16 != B3 as u16
}

/// The empty line.
#[inline(always)]
fn end(lines: &mut Lines<'_>) -> Option<()> {
    match lines.next_from(0)? {
        b"\r" | b"" => Some(()),
        _ => None,
    }
}

/// A header of B3's multi format.
#[inline(always)]
fn b3<'a>(lines: &mut Lines<'a>, fields: &mut Fields<'a>) -> Option<()> {
    const TRACE_ID: u64 = eight(b"-traceid");
    const SPAN_ID: u64 = eight(b"-spanid:");
    const SAMPLED: u64 = eight(b"-sampled");
    let [_, _, _, _, name @ .., behind] = lines.peek::<13>()?;
    let context = &mut fields.context;
    match eight(name) {
        TRACE_ID if *behind == b':' => context.insert(Name::TraceId, value(lines, 13)?),
        SPAN_ID => context.insert(Name::SpanId, value(lines, 12)?),
        SAMPLED if *behind == b':' => context.insert(Name::Sampled, value(lines, 13)?),
        _ => *lines = rare_b3(*lines, fields)?,
    }
    Some(())
}

#[inline(never)]
fn rare_b3<'a>(mut lines: Lines<'a>, fields: &mut Fields<'a>) -> Option<Lines<'a>> {
    let context = &mut fields.context;
    if begins(&lines, b"x-b3-parentspanid:") {
        context.insert(Name::ParentSpanId, value(&mut lines, 18)?);
    } else if begins(&lines, b"x-b3-flags:") {
        context.insert(Name::Flags, value(&mut lines, 11)?);
    } else {
        return None;
    }
    Some(lines)
}

/// `User-Agent`, `X-Request-Id`, or what begins like them.
#[inline(never)]
fn text<'a>(mut lines: Lines<'a>, fields: &mut Fields<'a>) -> Option<Lines<'a>> {
    if begins(&lines, b"user-agent:") {
        fields.take(Known::Text(Text::UserAgent), value(&mut lines, 11)?);
    } else if begins(&lines, b"x-request-id:") {
        fields.take(Known::Text(Text::RequestId), value(&mut lines, 13)?);
    } else if begins(&lines, b"user-agent") || begins(&lines, b"x-request-id") {
        // Almost: a blank before the colon, say, which some servers forgive.
        return None;
    } else {
        lines.pass()?;
    }
    Some(lines)
}

/// What few requests have.
#[inline(never)]
fn rare<'a>(folded: u32, mut lines: Lines<'a>, fields: &mut Fields<'a>) -> Option<Lines<'a>> {
    let context = &mut fields.context;
    match folded {
        B3 => context.insert(Name::B3, value(&mut lines, 3)?),
        TRAC if begins(&lines, b"traceparent:") => {
            context.insert(Name::TraceParent, value(&mut lines, 12)?);
        }
        UBER if begins(&lines, b"uber-trace-id:") => {
            context.insert(Name::Uber, value(&mut lines, 14)?);
        }
        EXPE if begins(&lines, b"expect:") => fields.take(Known::Expect, value(&mut lines, 7)?),
        _ => return None,
    }
    Some(lines)
}

/// Eight letters of a name, folded.
#[inline(always)]
const fn eight(name: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*name) | 0x2020_2020_2020_2020
}

#[inline(always)]
fn framing(folded: u32, lines: &mut Lines<'_>, body: &mut BodyFields) -> Option<()> {
    const LENGTH: u64 = eight(b"ent-leng");
    let [_, _, _, _, name @ .., t, h, colon] = lines.peek::<15>()?;
    if folded == TRAN {
        *lines = transfer_encoding(*lines, body)?;
        return Some(());
    }
    if eight(name) != LENGTH {
        return lines.pass();
    }
    match [*t | 0x20, *h | 0x20, *colon] {
        [b't', b'h', b':'] => body.content_length(value(lines, 15)?),
        // Almost: a blank before the colon, say, which some servers forgive.
        [b't', b'h', _] => return None,
        _ => lines.pass()?,
    }
    Some(())
}

#[inline(never)]
fn transfer_encoding<'a>(mut lines: Lines<'a>, body: &mut BodyFields) -> Option<Lines<'a>> {
    if begins(&lines, b"transfer-encoding:") {
        body.transfer_encoding(value(&mut lines, 18)?);
    } else if begins(&lines, b"transfer-encoding") {
        return None;
    } else {
        lines.pass()?;
    }
    Some(lines)
}

/// Whether the line begins with this, in lower case and of at least four
/// letters.
///
/// Setting bit 5 folds letters and leaves `-`, digits and the colon as they
/// are; what else it would change is no token character. Two words that
/// overlap cover any length.
#[inline(always)]
fn begins<const N: usize>(lines: &Lines<'_>, name: &[u8; N]) -> bool {
    let Some(start) = lines.peek::<N>() else {
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
fn value<'a>(lines: &mut Lines<'a>, name: usize) -> Option<&'a [u8]> {
    match lines.next_from(name)? {
        [b' ', value @ .., b'\r']
            if value.first().is_some_and(|&byte| byte > b' ')
                && value.last().is_some_and(|&byte| byte > b' ') =>
        {
            Some(value)
        }
        line => Some(trimmed(line)),
    }
}

#[inline(never)]
fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

/// The version behind a blank.
#[inline(always)]
fn minor([blank, version @ ..]: &[u8; 9]) -> Option<u8> {
    if *blank != b' ' {
        return None;
    }
    minor_of(*version)
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
