//! Could a message start here?

/// Bytes that are looked at.
pub(crate) const WINDOW: u64 = 32;

/// Whether a message may start with these bytes, of which [`WINDOW`] must be
/// readable and `len` count.
#[inline(always)]
pub(crate) fn may_start(bytes: *const u8, len: u64) -> bool {
    // SAFETY: WINDOW bytes are readable.
    unsafe {
        let words = bytes.cast::<u64>();
        let first = words.read_unaligned();
        if first as u32 == HTTP || first as u32 == GET {
            return true;
        }
        sniff(
            first,
            words.add(1).read_unaligned(),
            words.add(2).read_unaligned(),
            words.add(3).read_unaligned(),
            len as u32,
        ) != 0
    }
}

/// `HTTP/`, or a method token (RFC 9110 section 5.6.2) and a space and what a
/// target may begin with; empty lines may precede (RFC 9112 section 2.2). Too
/// short to tell is yes.
///
/// A function of plain numbers: verified once (see `chunks`).
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn sniff(a: u64, b: u64, c: u64, d: u64, len: u32) -> u32 {
    let words = [a, b, c, d];
    let bytes = (&raw const words).cast::<u8>();
    let mut at = 0_u32;
    // An empty line, two at most: more is nobody's habit.
    while at < 4 {
        // SAFETY: `at` is below WINDOW.
        let byte = unsafe { bytes.add(at as usize).read_volatile() };
        if byte != b'\r' && byte != b'\n' {
            break;
        }
        at += 1;
        if at >= len {
            return 1;
        }
    }
    let mut before = 0;
    while at < WINDOW as u32 - 1 {
        if at >= len {
            return 1;
        }
        // SAFETY: `at` is below WINDOW.
        let byte = unsafe { bytes.add(at as usize).read_volatile() };
        at += 1;
        if byte == b' ' {
            // SAFETY: as above.
            let next = unsafe { bytes.add(at as usize).read_volatile() };
            return u32::from(before != 0 && (at >= len || target(before, next)));
        }
        if !is_token(byte) {
            return 0;
        }
        before = byte;
    }
    0
}

const HTTP: u32 = u32::from_le_bytes(*b"HTTP");
const GET: u32 = u32::from_le_bytes(*b"GET ");

/// Origin-form, absolute-form, asterisk-form or (CONNECT) a host follows.
#[inline(always)]
fn target(before: u8, byte: u8) -> bool {
    byte == b'/' || byte == b'*' || byte | 0x20 == b'h' || (before == b'T' && byte > b' ')
}

/// RFC 9110 `tchar`, from a table of bits: a branch for each class would be a
/// path for the verifier.
#[inline(always)]
fn is_token(byte: u8) -> bool {
    let bits = if byte & 0x40 == 0 { TOKENS.0 } else { TOKENS.1 };
    byte & 0x80 == 0 && bits >> (byte & 0x3f) & 1 != 0
}

const TOKENS: (u64, u64) = tokens();

const fn tokens() -> (u64, u64) {
    let mut bits = (0, 0);
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        {
            if byte < 64 {
                bits.0 |= 1 << byte;
            } else {
                bits.1 |= 1 << (byte - 64);
            }
        }
        byte += 1;
    }
    bits
}
