//! The inside of JSON strings, from bytes of any kind.

use super::super::bytes::{all, any, equal};
use super::super::text::{CUT, REPLACEMENT, keep};

/// One string value being written, piece by piece, between its quotes.
///
/// Bytes that are no UTF-8 become U+FFFD. After [`Value::end`] none of the
/// byte sequences stands in the output for which Zipkin's server refuses a
/// whole POST (`ZipkinHttpCollector`, `research/backends.md` 2.1): each of
/// `yAnnotations"`, `Endpoint"` and `"tags"` ends in a quote, and a quote
/// inside a value has a backslash before it, so only a value's last letters
/// can make one.
pub(super) struct Value<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl<'a> Value<'a> {
    /// A value of at most so many raw bytes.
    pub(super) fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        Self { out, left: limit }
    }

    /// Appends a piece. A character may not be split over two.
    pub(super) fn put(&mut self, piece: &[u8]) {
        if piece.len() <= self.left {
            self.left -= piece.len();
            push_escaped(self.out, piece);
        } else {
            self.put_cut(piece);
        }
    }

    fn put_cut(&mut self, piece: &[u8]) {
        if self.left == 0 && self.out.ends_with(CUT) {
            return;
        }
        push_escaped(self.out, keep(piece, self.left));
        self.out.extend_from_slice(CUT);
        self.left = 0;
    }

    /// Ends the value; the closing quote is the caller's.
    pub(super) fn end(self) {
        end_value(self.out);
    }
}

/// Ends a value whose pieces were appended directly, because they are
/// [clean](is_clean) and short.
#[inline]
pub(super) fn end_value(out: &mut Vec<u8>) {
    if let Some(b't' | b's') = out.last() {
        disarm(out);
    }
}

/// Writes the last letter of what would be a forbidden sequence as an escape.
fn disarm(out: &mut Vec<u8>) {
    let forbidden: [&[u8]; 3] = [b"Endpoint", b"yAnnotations", b"tags"];
    if forbidden.iter().any(|end| out.ends_with(end)) {
        let last: &[u8] = if out.pop() == Some(b't') {
            b"\\u0074"
        } else {
            b"\\u0073"
        };
        out.extend_from_slice(last);
    }
}

/// Whether these bytes can stand in a JSON string as they are: ASCII without
/// control characters, quotes and backslashes.
#[inline(never)]
pub(super) fn is_clean(bytes: &[u8]) -> bool {
    // With bit 1 turned over, the quote is the only one of the bytes from 0x20
    // on that comes to stand below 0x21, and control characters stay there.
    let refused = |word: u64| {
        let low = (word ^ all(2)).wrapping_sub(all(0x21));
        word | low | equal(word, b'\\')
    };
    !any(bytes, refused)
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_clean(bytes) {
        out.extend_from_slice(bytes);
    } else {
        push_special(out, bytes);
    }
}

#[cold]
fn push_special(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    let digit = |n: u8| DIGITS[usize::from(n & 15)];
                    out.extend_from_slice(&[
                        b'\\',
                        b'u',
                        b'0',
                        b'0',
                        digit(byte >> 4),
                        digit(byte),
                    ]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::text::MAX_VALUE;
    use proptest::prelude::*;

    fn quoted(pieces: &[&[u8]], limit: usize) -> Vec<u8> {
        let mut out = vec![b'"'];
        let mut value = Value::new(&mut out, limit);
        for piece in pieces {
            value.put(piece);
        }
        value.end();
        out.push(b'"');
        out
    }

    fn read(json: &[u8]) -> String {
        serde_json::from_slice(json).unwrap()
    }

    proptest! {
        #[test]
        fn clean_is_what_needs_no_escape(bytes: Vec<u8>, text in "[ -~]{0,60}") {
            let plain = |b: u8| matches!(b, 0x20..0x80) && !matches!(b, b'"' | b'\\');
            prop_assert_eq!(is_clean(&bytes), bytes.iter().all(|&b| plain(b)));
            prop_assert_eq!(is_clean(text.as_bytes()), text.bytes().all(plain));
        }

        #[test]
        fn any_bytes_read_back_as_lossy_utf8(bytes: Vec<u8>, end in "|Endpoint|tags|\"tags|binaryAnnotations") {
            let bytes = [&bytes[..], end.as_bytes()].concat();
            let json = quoted(&[&bytes], MAX_VALUE);
            prop_assert_eq!(read(&json), String::from_utf8_lossy(&bytes));
            prop_assert!(!forbidden(&json));
        }

        #[test]
        fn a_cut_value_is_a_prefix_and_says_so(text in "\\PC{0,60}", limit in 0_usize..70) {
            let got = read(&quoted(&[text.as_bytes()], limit));
            if text.len() <= limit {
                prop_assert_eq!(got, text);
            } else {
                let kept = got.strip_suffix('…').unwrap();
                prop_assert!(text.starts_with(kept) && kept.len() + 3 >= limit && kept.len() <= limit);
            }
        }
    }

    fn forbidden(json: &[u8]) -> bool {
        let text = String::from_utf8_lossy(json).into_owned();
        ["Endpoint\"", "\"tags\"", "yAnnotations\""]
            .iter()
            .any(|bad| text.contains(bad))
    }

    #[test]
    fn forbidden_sequences_are_found_in_their_plain_form() {
        assert!(forbidden(b"\"userEndpoint\""));
        assert_eq!(quoted(&[b"/userEndpoint"], 99), b"\"/userEndpoin\\u0074\"");
        assert_eq!(quoted(&[b"\"tags"], 99), b"\"\\\"tag\\u0073\"");
        assert_eq!(quoted(&[b"End", b"point"], 99), b"\"Endpoin\\u0074\"");
        assert_eq!(quoted(&[b"flags"], 99), b"\"flags\"");
    }

    #[test]
    fn pieces_behind_a_cut_are_left_out() {
        assert_eq!(read(&quoted(&[b"abc", b"defg", b"h"], 5)), "abcde…");
        assert_eq!(read(&quoted(&[b"abcde", b"f", b"g"], 5)), "abcde…");
        assert_eq!(read(&quoted(&[b"abc", b"de"], 5)), "abcde");
    }
}
