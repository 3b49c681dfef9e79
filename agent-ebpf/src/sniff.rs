//! Could a message start here, and does its head end here?

/// Bytes that are looked at.
pub(crate) const WINDOW: u64 = 32;

/// Whether a message may start with these bytes: `HTTP/`, or a method token
/// (RFC 9110 section 5.6.2) and a space and what a target may begin with.
/// `len` may be more than [`WINDOW`]; at least [`WINDOW`] bytes must be
/// readable. Too short to tell is yes.
#[inline(always)]
pub(crate) fn may_start(bytes: *const u8, len: u64) -> bool {
    // SAFETY: at least WINDOW bytes are readable.
    let word = unsafe { bytes.cast::<u32>().read_unaligned() };
    if word == u32::from_le_bytes(*b"HTTP") || word == u32::from_le_bytes(*b"GET ") {
        return true;
    }
    let mut token = 0_u32;
    for at in 0..WINDOW {
        if at >= len {
            return true;
        }
        // SAFETY: as above.
        let byte = unsafe { bytes.add(at as usize).read() };
        if token == 0 && (byte == b'\r' || byte == b'\n') {
            // Empty lines before a request line (RFC 9112 section 2.2).
            continue;
        }
        if byte == b' ' {
            return token > 0 && target(bytes, at + 1, len);
        }
        if !is_token(byte) {
            return false;
        }
        token += 1;
    }
    false
}

/// Origin-form, absolute-form, asterisk-form or (CONNECT) a host follows.
#[inline(always)]
fn target(bytes: *const u8, at: u64, len: u64) -> bool {
    if at >= len || at >= WINDOW {
        return true;
    }
    // SAFETY: `at` is below WINDOW.
    let (byte, before) = unsafe { (bytes.add(at as usize).read(), bytes.add(at as usize - 2).read()) };
    byte == b'/' || byte == b'*' || byte == b'h' || byte == b'H' || (before == b'T' && byte > b' ')
}

/// RFC 9110 `tchar`, with the colon left out as everywhere; digits and
/// letters are most of it.
#[inline(always)]
fn is_token(byte: u8) -> bool {
    byte.wrapping_sub(b'A') < 26
        || byte.wrapping_sub(b'a') < 26
        || byte.wrapping_sub(b'0') < 10
        || byte == b'-'
        || byte == b'_'
        || byte == b'.'
        || byte == b'!'
        || byte == b'#'
        || byte == b'$'
        || byte == b'%'
        || byte == b'&'
        || byte == b'\''
        || byte == b'*'
        || byte == b'+'
        || byte == b'^'
        || byte == b'`'
        || byte == b'|'
        || byte == b'~'
}
