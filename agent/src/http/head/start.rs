//! Whether bytes can be the start of a message.

/// What the first bytes of something can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request: a method token, a space and the start of a target.
    Request,
    /// A response: `HTTP/1.`
    Response,
    /// Either, when more bytes are known.
    TooShort,
    /// Neither.
    No,
}

/// Longest method that is taken for one. The longest registered is
/// `UPDATEREDIRECTREF` with 17 letters (IANA HTTP Method Registry).
const MAX_METHOD: usize = 32;

const RESPONSE: &[u8] = b"HTTP/1.";

/// Judges bytes that begin behind any empty lines.
///
/// A method is a token (RFC 9110 section 9.1 and 5.6.2), so that extension
/// methods are seen; [`start_line`] says the last word once the line is whole.
#[must_use]
#[inline(always)]
pub fn looks_like_start(bytes: &[u8]) -> Start {
    // Most requests, without a look at every byte.
    if let [b'G', b'E', b'T', b' ', b'!'..=b'~', ..]
    | [b'P', b'O', b'S', b'T', b' ', b'!'..=b'~', ..] = bytes
    {
        return Start::Request;
    }
    if bytes.starts_with(RESPONSE) {
        return Start::Response;
    }
    looks_like_any_start(bytes)
}

#[inline(never)]
fn looks_like_any_start(bytes: &[u8]) -> Start {
    if let Some(shorter) = RESPONSE.get(..bytes.len().min(RESPONSE.len()))
        && bytes.starts_with(shorter)
    {
        // `HTTP` could be a method, so that four letters are not enough.
        return if bytes.len() >= RESPONSE.len() {
            Start::Response
        } else {
            Start::TooShort
        };
    }
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b' ' {
            return match bytes.get(at + 1) {
                _ if at == 0 => Start::No,
                None => Start::TooShort,
                Some(0x21..=0x7e | 0x80..) => Start::Request,
                Some(_) => Start::No,
            };
        }
        if at == MAX_METHOD || !is_token(byte) {
            return Start::No;
        }
    }
    Start::TooShort
}

/// How many bytes of empty lines come first (RFC 9112 section 2.2).
#[must_use]
pub fn empty_lines(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|&&byte| byte == b'\r' || byte == b'\n')
        .count()
}

/// A start line as lenient servers read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request line.
    Request {
        /// Method token.
        method: &'a [u8],
        /// Request target.
        target: &'a [u8],
        /// Digit behind `HTTP/1.`
        minor: u8,
    },
    /// A status line.
    Response {
        /// Three digits.
        status: u16,
        /// Digit behind `HTTP/1.`
        minor: u8,
    },
}

/// Reads one line without its end; `None` if it is not HTTP/1.
///
/// The target is whatever stands between the first and the last space, because
/// servers that split a line so accept blanks in it (RFC 9112 section 3).
#[must_use]
pub fn start_line(line: &[u8]) -> Option<StartLine<'_>> {
    let line = line.trim_ascii_end();
    if let Some(rest) = line.strip_prefix(RESPONSE) {
        let (&minor, rest) = rest.split_first()?;
        let digits = rest.trim_ascii_start();
        if digits.len() == rest.len() || !minor.is_ascii_digit() {
            return None;
        }
        let (status, reason) = digits.split_at_checked(3)?;
        if !status.iter().all(u8::is_ascii_digit) || reason.first().is_some_and(|b| *b != b' ') {
            return None;
        }
        let status = status
            .iter()
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        return (status >= 100).then_some(StartLine::Response {
            status,
            minor: minor - b'0',
        });
    }
    let space = line.iter().position(|&byte| byte == b' ')?;
    let (method, rest) = line.split_at_checked(space)?;
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().copied().all(is_token) {
        return None;
    }
    let space = rest
        .iter()
        .rposition(|&byte| byte == b' ' || byte == b'\t')?;
    let (target, version) = rest.split_at_checked(space)?;
    if looks_like_start(line) != Start::Request {
        return None;
    }
    let minor = version.get(1..)?.strip_prefix(RESPONSE)?;
    let target = target.trim_ascii();
    match minor {
        [minor @ b'0'..=b'9'] if !target.is_empty() => Some(StartLine::Request {
            method,
            target,
            minor: minor - b'0',
        }),
        _ => None,
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
const fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
