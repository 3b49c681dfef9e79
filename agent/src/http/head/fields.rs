//! One pass over the headers of a head: what matters is kept as slices.

use super::Framing;
use crate::http::context::{Headers, Name};

/// The headers that matter, first value of each without blanks around it, and
/// the framing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    /// Empty if there is none, as the next two.
    pub(super) host: &'a [u8],
    pub(super) user_agent: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) context: Headers<'a>,
    pub(super) expects_continue: bool,
    pub(super) body: BodyFields,
}

/// What the headers say of the body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BodyFields {
    length: Option<u64>,
    coding: Coding,
    /// A length that no number can be made of, or two that differ.
    pub(super) bad_length: bool,
}

/// A header whose value is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Host,
    UserAgent,
    RequestId,
}

/// A header that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Text(Text),
    Context(Name),
    Expect,
    ContentLength,
    TransferEncoding,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// Nothing.
    #[default]
    None,
    /// Its last coding is `chunked`.
    Chunked,
    /// Its last coding is another one.
    Other,
}

impl<'a> Fields<'a> {
    /// Takes a header if it is one that matters.
    ///
    /// Names are told apart by length first, since most headers fail that.
    pub(super) fn header(&mut self, name: &[u8], value: &'a [u8]) {
        let known = match name.len() {
            2 if is(name, b"b3") => Known::Context(Name::B3),
            4 if is(name, b"host") => Known::Text(Text::Host),
            6 if is(name, b"expect") => Known::Expect,
            10 if is(name, b"user-agent") => Known::Text(Text::UserAgent),
            10 if is(name, b"x-b3-flags") => Known::Context(Name::Flags),
            11 if is(name, b"x-b3-spanid") => Known::Context(Name::SpanId),
            11 if is(name, b"traceparent") => Known::Context(Name::TraceParent),
            12 if is(name, b"x-b3-traceid") => Known::Context(Name::TraceId),
            12 if is(name, b"x-b3-sampled") => Known::Context(Name::Sampled),
            12 if is(name, b"x-request-id") => Known::Text(Text::RequestId),
            13 if is(name, b"uber-trace-id") => Known::Context(Name::Uber),
            14 if is(name, b"content-length") => Known::ContentLength,
            17 if is(name, b"x-b3-parentspanid") => Known::Context(Name::ParentSpanId),
            17 if is(name, b"transfer-encoding") => Known::TransferEncoding,
            _ => return,
        };
        self.take(known, value);
    }

    /// Takes a header that matters. The first value of a text wins, but an
    /// empty one says nothing.
    #[inline(always)]
    pub(super) fn take(&mut self, known: Known, value: &'a [u8]) {
        match known {
            Known::Context(name) => self.context.insert(name, value),
            Known::Text(text) => {
                let slot = match text {
                    Text::Host => &mut self.host,
                    Text::UserAgent => &mut self.user_agent,
                    Text::RequestId => &mut self.request_id,
                };
                if slot.is_empty() {
                    *slot = value;
                }
            }
            // RFC 9110 section 10.1.1.
            Known::Expect => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Known::ContentLength => self.body.content_length(value),
            Known::TransferEncoding => self.body.transfer_encoding(value),
        }
    }
}

impl BodyFields {
    /// The framing.
    #[inline(always)]
    pub(super) const fn said(&self) -> Framing {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Framing::Chunked,
            (Coding::Other, _) => Framing::Undelimited,
            (Coding::None, Some(length)) => Framing::Length(length),
            (Coding::None, None) => Framing::Unsaid,
        }
    }

    /// Takes a length, unless there was one before.
    #[inline(always)]
    pub(super) const fn take_first_length(&mut self, length: u64) -> bool {
        let first = self.length.is_none();
        if first {
            self.length = Some(length);
        }
        first
    }

    /// RFC 9112 section 6.3, rule 5: equal values of a list are one; others
    /// are an error, of which the first value is kept.
    #[inline(always)]
    pub(super) fn content_length(&mut self, value: &[u8]) {
        match short_decimal(value) {
            Some((length, [])) if self.take_first_length(length) => {}
            _ => self.unusual_length(value),
        }
    }

    #[cold]
    fn unusual_length(&mut self, value: &[u8]) {
        for part in value.split(|&byte| byte == b',') {
            let length = decimal(part.trim_ascii());
            if length.is_none() || self.length.is_some_and(|known| Some(known) != length) {
                self.bad_length = true;
            }
            self.length = self.length.or(length);
        }
    }

    /// The last coding of the last header frames the body (RFC 9112 section
    /// 6.1); `identity` is what RFC 2616 called none.
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"chunked") {
            self.coding = Coding::Chunked;
            return;
        }
        for coding in value.split(|&byte| byte == b',') {
            let coding = coding.trim_ascii();
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.coding = Coding::Chunked;
            } else if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") {
                self.coding = Coding::Other;
            }
        }
    }
}

/// The number that comes first, of so few digits that it cannot be too large,
/// and what is behind it.
#[inline(always)]
pub(super) fn short_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut behind = bytes;
    let mut number = 0;
    while let [digit @ b'0'..=b'9', rest @ ..] = behind {
        number = number * 10 + u64::from(digit - b'0');
        behind = rest;
        if bytes.len() - behind.len() > 18 {
            return None;
        }
    }
    (behind.len() < bytes.len()).then_some((number, behind))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether `name` is this lower-case name, in any case.
///
/// Setting bit 5 folds letters and leaves `-` and digits alone; what else it
/// would fold is no token character, so it cannot stand in a name.
fn is<const N: usize>(name: &[u8], wanted: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(name).is_ok_and(|name| name.map(|byte| byte | 0x20) == *wanted)
}
