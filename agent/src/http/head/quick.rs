//! Heads as almost all of them are, read with as few steps as possible: this
//! is what every exchange costs.
//!
//! Only the start line and the headers that matter are looked at, the others
//! just passed over. Whatever is unusual about what is looked at goes to
//! `httparse`; of heads that `httparse` accepts, both say the same (a test
//! says so).

use super::fields::{BodyFields, Fields, Known, Text, short_decimal};
use super::lines::{Lines, word};
use super::{RequestHead, ResponseHead};
use crate::http::context::{Name, Order};

/// A request head, if it is complete and plain.
#[inline(always)]
pub(super) fn request(bytes: &[u8], order: Order) -> Option<RequestHead<'_>> {
    let RequestLine {
        method,
        target,
        minor,
        behind,
    } = request_line(bytes)?;
    let mut lines = Lines::new(behind);
    let mut fields = Fields::default();
    loop {
        let folded = lines.peek().map_or(0, four);
        if folded == X_B3 {
            b3(&mut lines, &mut fields)?;
            continue;
        }
        match folded {
            HOST if matches!(lines.peek(), Some([_, _, _, _, b':'])) => {
                fields.take(Known::Text(Text::Host), host(&mut lines)?);
            }
            USER | X_RE => lines = text(lines, &mut fields)?,
            CONT => content(&mut lines, &mut fields.body)?,
            TRAN => lines = transfer_encoding(lines, &mut fields.body)?,
            B3 | TRAC | UBER | EXPE => lines = rare(folded, lines, &mut fields)?,
            HOST => return None,
            _ if is_name(folded) => lines.pass()?,
            _ => break,
        }
    }
    end(&mut lines)?;
    let len = bytes.len() - lines.rest().len();
    Some(fields.request_head(method, target, minor, len, order))
}

/// A response head, if it is complete and plain.
#[inline(always)]
pub(super) fn response(bytes: &[u8]) -> Option<ResponseHead> {
    let mut lines = Lines::new(bytes);
    let start = lines.peek::<17>()?;
    let (version, rest) = start.split_first_chunk::<8>()?;
    let minor = minor_of(*version)?;
    let status = if rest == b" 200 OK\r\n" {
        lines.skip(start.len())?;
        200
    } else {
        let (status, behind) = any_status(lines)?;
        lines = behind;
        status
    };
    let mut body = BodyFields::default();
    loop {
        let folded = lines.peek().map_or(0, four);
        match folded {
            CONT => content(&mut lines, &mut body)?,
            TRAN => lines = transfer_encoding(lines, &mut body)?,
            _ if is_letter(folded) => lines.pass()?,
            _ => break,
        }
    }
    end(&mut lines)?;
    Some(ResponseHead {
        status,
        minor,
        framing: body.said(),
        lenient: body.bad_length,
        len: bytes.len() - lines.rest().len(),
    })
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    minor: u8,
    behind: &'a [u8],
}

/// A request line that ends with CR LF.
#[inline(always)]
fn request_line(bytes: &[u8]) -> Option<RequestLine<'_>> {
    let (method, behind) = bytes.split_at_checked(method(bytes)?)?;
    let behind = behind.get(1..)?;
    let (target, behind) = behind.split_at_checked(word(behind)?)?;
    let ([blank, version @ .., cr, lf], behind) = behind.split_first_chunk::<11>()?;
    if target.is_empty() || [*blank, *cr, *lf] != *b" \r\n" {
        return None;
    }
    Some(RequestLine {
        method,
        target,
        minor: minor_of(*version)?,
        behind,
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

/// The status of any status line.
#[inline(never)]
fn any_status(mut lines: Lines<'_>) -> Option<(u16, Lines<'_>)> {
    let (status, reason) = lines.next_from(8)?.split_first_chunk::<4>()?;
    let status = match *status {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return None,
    };
    match reason {
        b"\r" | b"" => {}
        [b' ', reason @ ..] if is_reason(reason) => {}
        _ => return None,
    }
    Some((status, lines))
}

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
    is_letter(folded) && folded as u16 != B3 as u16
}

#[inline(always)]
const fn is_letter(folded: u32) -> bool {
    (folded as u8).is_ascii_lowercase()
}

/// The empty line.
#[inline(always)]
fn end(lines: &mut Lines<'_>) -> Option<()> {
    match lines.rest() {
        [b'\r', b'\n', ..] => lines.skip(2),
        [b'\n', ..] => lines.skip(1),
        _ => None,
    }
}

/// The value of `Host`.
#[inline(always)]
fn host<'a>(lines: &mut Lines<'a>) -> Option<&'a [u8]> {
    if let Some((b"t: ", value)) = lines.rest().get(3..)?.split_first_chunk()
        && let Some(len) = word(value)
        && let Some((value, [b'\r', b'\n', behind @ ..])) = value.split_at_checked(len)
        && len > 0
    {
        lines.skip(lines.rest().len() - behind.len())?;
        return Some(value);
    }
    value(lines, 5)
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
        TRACE_ID if *behind == b':' => match exact::<13, 32, 48>(lines) {
            Some(digits) if context.read_trace(digits) => lines.skip(48)?,
            _ => context.insert(Name::TraceId, value(lines, 13)?),
        },
        SPAN_ID => match exact::<12, 16, 31>(lines) {
            Some(digits) if context.read_span(digits) => lines.skip(31)?,
            _ => context.insert(Name::SpanId, value(lines, 12)?),
        },
        SAMPLED if *behind == b':' => match exact::<13, 1, 17>(lines) {
            Some(digit) if context.read_sampled(digit) => lines.skip(17)?,
            _ => context.insert(Name::Sampled, value(lines, 13)?),
        },
        _ => *lines = rare_b3(*lines, fields)?,
    }
    Some(())
}

/// The value of a line of `ALL` bytes: `NAME` ones to the colon, a blank, the
/// value of `VALUE` bytes, CR and LF. Whether the line ends before has to be
/// looked at.
#[inline(always)]
fn exact<'a, const NAME: usize, const VALUE: usize, const ALL: usize>(
    lines: &Lines<'a>,
) -> Option<&'a [u8; VALUE]> {
    let line = lines.peek::<ALL>()?;
    let (_, [b' ', value @ ..]) = line.split_at_checked(NAME)? else {
        return None;
    };
    match value.split_first_chunk()? {
        (value, b"\r\n") => Some(value),
        _ => None,
    }
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

/// A header that begins like `Content-Length`.
#[inline(always)]
fn content(lines: &mut Lines<'_>, body: &mut BodyFields) -> Option<()> {
    const LENGTH: u64 = eight(b"ent-leng");
    let [_, _, _, _, name @ .., t, h, colon] = lines.peek::<15>()?;
    if eight(name) != LENGTH {
        return lines.pass();
    }
    match [*t | 0x20, *h | 0x20, *colon] {
        [b't', b'h', b':'] => length(lines, body),
        // Almost: a blank before the colon, say, which some servers forgive.
        [b't', b'h', _] => None,
        _ => lines.pass(),
    }
}

/// The value of `Content-Length`.
#[inline(always)]
fn length(lines: &mut Lines<'_>, body: &mut BodyFields) -> Option<()> {
    if let Some([b' ', digits @ ..]) = lines.rest().get(15..)
        && let Some((length, [b'\r', b'\n', behind @ ..])) = short_decimal(digits)
        && body.take_first_length(length)
    {
        return lines.skip(lines.rest().len() - behind.len());
    }
    body.content_length(value(lines, 15)?);
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
