//! One pass over the headers of a head: what matters is kept as slices.

use crate::http::context::Headers;

/// The headers that matter, first value of each, and the framing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) host: &'a [u8],
    pub(super) user_agent: &'a [u8],
    pub(super) request_id: &'a [u8],
    pub(super) context: Headers<'a>,
    pub(super) has_context: bool,
    pub(super) expects_continue: bool,
    pub(super) length: Option<u64>,
    pub(super) coding: Coding,
    /// A length that no number can be made of, or two that differ.
    pub(super) bad_length: bool,
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
    /// Takes a header of a request.
    ///
    /// Names are told apart by length first, since most headers fail that.
    pub(super) fn request(&mut self, name: &'a [u8], value: &'a [u8]) {
        match name.len() {
            2 if is(name, b"b3") => self.carried(value, |c| &mut c.b3),
            4 if is(name, b"host") => first(&mut self.host, value),
            6 if is(name, b"expect") => {
                self.expects_continue |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            }
            10 if is(name, b"user-agent") => first(&mut self.user_agent, value),
            10 if is(name, b"x-b3-flags") => self.carried(value, |c| &mut c.flags),
            11 if is(name, b"x-b3-spanid") => self.carried(value, |c| &mut c.span),
            11 if is(name, b"traceparent") => self.carried(value, |c| &mut c.traceparent),
            12 if is(name, b"x-b3-traceid") => self.carried(value, |c| &mut c.trace),
            12 if is(name, b"x-b3-sampled") => self.carried(value, |c| &mut c.sampled),
            12 if is(name, b"x-request-id") => first(&mut self.request_id, value),
            13 if is(name, b"uber-trace-id") => self.carried(value, |c| &mut c.uber),
            17 if is(name, b"x-b3-parentspanid") => self.carried(value, |c| &mut c.parent),
            14 | 17 => self.framing(name, value),
            _ => {}
        }
    }

    /// Takes a header of a response.
    pub(super) fn framing(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if is(name, b"content-length") => self.content_length(value),
            17 if is(name, b"transfer-encoding") => self.transfer_encoding(value),
            _ => {}
        }
    }

    fn carried(
        &mut self,
        value: &'a [u8],
        slot: impl for<'s> FnOnce(&'s mut Headers<'a>) -> &'s mut Option<&'a [u8]>,
    ) {
        self.has_context = true;
        slot(&mut self.context).get_or_insert(value);
    }

    /// RFC 9112 section 6.3, rule 5: equal values of a list are one; others
    /// are an error, of which the first value is kept.
    fn content_length(&mut self, value: &[u8]) {
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
    fn transfer_encoding(&mut self, value: &[u8]) {
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

/// The first value wins, also an empty one of a header that is empty anyway.
fn first<'a>(slot: &mut &'a [u8], value: &'a [u8]) {
    if slot.is_empty() {
        *slot = value.trim_ascii();
    }
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
