//! Request and response heads (RFC 9112 sections 2 to 4).
//!
//! Plain heads take a short cut, `httparse` parses the others, and what it
//! refuses is read once more as lenient servers would. One pass over the
//! headers, no allocation but for unusual heads of more than [`FEW`] headers.

mod end;
mod fields;
mod lenient;
mod lines;
mod quick;
mod start;

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Request, Response, Status};

use super::context::{Order, TraceContext};
use fields::Fields;

pub use end::EndScan;
pub use start::{Start, StartLine, empty_lines, looks_like_start, start_line};

/// Longest head that is read, start line included.
pub const MAX_HEAD: usize = 64 * 1024;

/// Headers that are parsed without an allocation.
const FEW: usize = 48;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Method token as sent.
    pub method: &'a [u8],
    /// Request target as sent.
    pub target: &'a [u8],
    /// `HTTP/1.1` is 1.
    pub minor: u8,
    /// First `Host`, empty if there is none.
    pub host: &'a [u8],
    /// First `User-Agent`, empty if there is none.
    pub user_agent: &'a [u8],
    /// First `X-Request-Id`, empty if there is none.
    pub request_id: &'a [u8],
    /// Trace context.
    pub context: TraceContext,
    /// What the headers say about the body.
    pub framing: Framing,
    /// `Expect: 100-continue`
    pub expects_continue: bool,
    /// The parser refused it, or its length is no number.
    pub lenient: bool,
    /// Bytes of the head, the empty line included.
    pub len: usize,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead {
    /// Status code, from 100 to 999.
    pub status: u16,
    /// `HTTP/1.1` is 1.
    pub minor: u8,
    /// What the headers say about the body.
    pub framing: Framing,
    /// The parser refused it, or its length is no number.
    pub lenient: bool,
    /// Bytes of the head, the empty line included.
    pub len: usize,
}

/// What `Transfer-Encoding` and `Content-Length` say about a body; the former
/// wins (RFC 9112 section 6.3, rule 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    Unsaid,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// A coding that is not delimited by itself.
    Undelimited,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<H> {
    /// A whole head.
    Complete(H),
    /// The head goes on behind these bytes.
    Partial,
    /// Not the start line of such a head.
    Refused,
}

/// The body behind a request head (RFC 9112 section 6.3): without framing
/// there is none.
#[must_use]
pub fn request_body(framing: Framing) -> Body {
    match framing {
        Framing::Unsaid | Framing::Length(0) => Body::Empty,
        Framing::Length(length) => Body::Counted(length),
        Framing::Chunked => Body::Chunked,
        Framing::Undelimited => Body::UntilClose,
    }
}

/// The body behind a response head (RFC 9112 section 6.3): none behind 1xx,
/// 204, 304 and an answer to `HEAD`, whatever the headers say.
#[must_use]
pub fn response_body(status: u16, to_head: bool, framing: Framing) -> Body {
    match framing {
        _ if to_head || matches!(status, 100..=199 | 204 | 304) => Body::Empty,
        Framing::Length(0) => Body::Empty,
        Framing::Length(length) => Body::Counted(length),
        Framing::Chunked => Body::Chunked,
        Framing::Unsaid | Framing::Undelimited => Body::UntilClose,
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Empty,
    /// After so many bytes, at least one.
    Counted(u64),
    /// With its last chunk.
    Chunked,
    /// With the stream.
    UntilClose,
}

/// The head of a request, if that is complete and has nothing unusual.
#[must_use]
#[inline(always)]
pub fn plain_request(bytes: &[u8], order: Order) -> Option<RequestHead<'_>> {
    quick::request(bytes, order)
}

/// The head of a response, if that is complete and has nothing unusual.
#[must_use]
#[inline(always)]
pub fn plain_response(bytes: &[u8]) -> Option<ResponseHead> {
    quick::response(bytes)
}

/// Parses the head of a request at the start of `bytes`, behind any
/// [`empty_lines`].
#[must_use]
pub fn parse_request(bytes: &[u8], order: Order) -> Parsed<RequestHead<'_>> {
    match quick::request(bytes, order) {
        Some(plain) => Parsed::Complete(plain),
        None => parse_unusual_request(bytes, order),
    }
}

#[cold]
fn parse_unusual_request(bytes: &[u8], order: Order) -> Parsed<RequestHead<'_>> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut request = Request::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_request_with_uninit_headers(&mut request, bytes, &mut few) {
        Ok(Status::Complete(len)) => request_of(&request, len, order),
        Ok(Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = header_array(bytes);
            let mut request = Request::new(&mut many);
            match config.parse_request(&mut request, bytes) {
                Ok(Status::Complete(len)) => request_of(&request, len, order),
                Ok(Status::Partial) => Parsed::Partial,
                Err(_) => lenient_request(bytes, order),
            }
        }
        Err(_) => lenient_request(bytes, order),
    }
}

/// Parses the head of a response at the start of `bytes`.
#[must_use]
pub fn parse_response(bytes: &[u8]) -> Parsed<ResponseHead> {
    match quick::response(bytes) {
        Some(plain) => Parsed::Complete(plain),
        None => parse_unusual_response(bytes),
    }
}

#[cold]
fn parse_unusual_response(bytes: &[u8]) -> Parsed<ResponseHead> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut response = Response::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut few) {
        Ok(Status::Complete(len)) => response_of(&response, len),
        Ok(Status::Partial) => Parsed::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            let mut many = header_array(bytes);
            let mut response = Response::new(&mut many);
            match config.parse_response(&mut response, bytes) {
                Ok(Status::Complete(len)) => response_of(&response, len),
                Ok(Status::Partial) => Parsed::Partial,
                Err(_) => lenient_response(bytes),
            }
        }
        Err(_) => lenient_response(bytes),
    }
}

/// Room for every header these bytes can hold: one a line.
fn header_array(bytes: &[u8]) -> Vec<Header<'_>> {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    vec![EMPTY_HEADER; lines + 1]
}

fn request_of<'a>(request: &Request<'_, 'a>, len: usize, order: Order) -> Parsed<RequestHead<'a>> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Parsed::Refused;
    };
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        fields.header(header.name.as_bytes(), header.value.trim_ascii());
    }
    Parsed::Complete(fields.request_head(method.as_bytes(), target.as_bytes(), minor, len, order))
}

fn response_of(response: &Response<'_, '_>, len: usize) -> Parsed<ResponseHead> {
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Parsed::Refused;
    };
    if status < 100 {
        return Parsed::Refused;
    }
    let mut fields = Fields::default();
    for header in response.headers.iter() {
        fields.header(header.name.as_bytes(), header.value.trim_ascii());
    }
    Parsed::Complete(ResponseHead {
        status,
        minor,
        framing: fields.body.said(),
        lenient: fields.body.bad_length,
        len,
    })
}

#[cold]
fn lenient_request(bytes: &[u8], order: Order) -> Parsed<RequestHead<'_>> {
    match lenient_head(bytes) {
        Parsed::Complete((read, len)) => match read.line {
            StartLine::Request {
                method,
                target,
                minor,
            } => {
                let head = read.fields.request_head(method, target, minor, len, order);
                Parsed::Complete(RequestHead {
                    lenient: true,
                    ..head
                })
            }
            StartLine::Response { .. } => Parsed::Refused,
        },
        Parsed::Partial => Parsed::Partial,
        Parsed::Refused => Parsed::Refused,
    }
}

#[cold]
fn lenient_response(bytes: &[u8]) -> Parsed<ResponseHead> {
    match lenient_head(bytes) {
        Parsed::Complete((read, len)) => match read.line {
            StartLine::Response { status, minor } => Parsed::Complete(ResponseHead {
                status,
                minor,
                framing: read.fields.body.said(),
                lenient: true,
                len,
            }),
            StartLine::Request { .. } => Parsed::Refused,
        },
        Parsed::Partial => Parsed::Partial,
        Parsed::Refused => Parsed::Refused,
    }
}

fn lenient_head(bytes: &[u8]) -> Parsed<(lenient::Lenient<'_>, usize)> {
    let mut scan = EndScan::default();
    let end = scan.find(bytes);
    let line = scan.first_line().and_then(|len| bytes.get(..len));
    match (end, line) {
        (_, Some(line)) if start_line(line).is_none() => Parsed::Refused,
        (Some(len), _) => match bytes.get(..len).and_then(lenient::read) {
            Some(read) => Parsed::Complete((read, len)),
            None => Parsed::Refused,
        },
        (None, _) => Parsed::Partial,
    }
}

impl<'a> Fields<'a> {
    #[inline(always)]
    fn request_head(
        &self,
        method: &'a [u8],
        target: &'a [u8],
        minor: u8,
        len: usize,
        order: Order,
    ) -> RequestHead<'a> {
        RequestHead {
            method,
            target,
            minor,
            host: self.host,
            user_agent: self.user_agent,
            request_id: self.request_id,
            context: self.context.context(order),
            framing: self.body.said(),
            expects_continue: self.expects_continue,
            lenient: self.body.bad_length,
            len,
        }
    }
}
