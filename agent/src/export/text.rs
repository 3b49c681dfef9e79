//! Text of any origin as UTF-8 of bounded length, for encodings that know no
//! escapes.

use std::net::IpAddr;
use std::sync::Arc;

use super::content::{Request, Tag, Visitor};
use super::number::{IpText, push_display, push_u64};
use crate::assemble::Exchange;
use crate::identify::Workload;

/// Raw bytes of a value that are kept; what is longer ends in [`CUT`].
pub(super) const MAX_VALUE: usize = 4096;
/// The same for names of spans and services: stores use them as keys.
pub(super) const MAX_NAME: usize = 512;
/// Stands at the end of a value that was cut: `…`.
pub(super) const CUT: &[u8] = "\u{2026}".as_bytes();
/// Stands for bytes that are no UTF-8.
pub(super) const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// How much of a piece that is too long stays: at most `left` bytes, and no
/// half of a character.
pub(super) fn keep(piece: &[u8], left: usize) -> &[u8] {
    let mut keep = left;
    let continues = |at: usize| piece.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    while keep > 0 && keep + 3 > left && continues(keep) {
        keep -= 1;
    }
    piece.get(..keep).unwrap_or_default()
}

/// Whether an exchange's strings need neither replacement nor cutting, in no
/// name, value or URL that is made of them.
#[inline]
pub(super) fn is_plain(exchange: &Exchange) -> bool {
    let text = exchange.text.all();
    text.len() <= MAX_NAME && text.is_ascii()
}

/// One value being written, piece by piece.
struct Value<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl Value<'_> {
    /// Appends a piece. A character may not be split over two.
    fn put(&mut self, piece: &[u8]) {
        if piece.len() <= self.left {
            self.left -= piece.len();
            push_lossy(self.out, piece);
        } else if self.left > 0 || !self.out.ends_with(CUT) {
            push_lossy(self.out, keep(piece, self.left));
            self.out.extend_from_slice(CUT);
            self.left = 0;
        }
    }
}

fn push_lossy(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(REPLACEMENT);
        }
    }
}

/// Appends a text of at most so many raw bytes.
pub(super) fn push_text(out: &mut Vec<u8>, text: &[u8], limit: usize) {
    Value { out, left: limit }.put(text);
}

/// Appends a span's name.
#[inline]
pub(super) fn push_name(out: &mut Vec<u8>, plain: bool, request: &Request<'_>) {
    if plain {
        request.name(|piece| out.extend_from_slice(piece));
    } else {
        let mut value = Value {
            out,
            left: MAX_NAME,
        };
        request.name(|piece| value.put(piece));
    }
}

/// Appends a value.
#[inline]
pub(super) fn push_value(out: &mut Vec<u8>, plain: bool, value: &[u8]) {
    if plain {
        out.extend_from_slice(value);
    } else {
        push_text(out, value, MAX_VALUE);
    }
}

/// Appends a value that comes in pieces, each to be given to the function that
/// `pieces` gets.
#[inline]
pub(super) fn push_pieces(
    out: &mut Vec<u8>,
    plain: bool,
    pieces: impl FnOnce(&mut dyn FnMut(&[u8])),
) {
    if plain {
        pieces(&mut |piece| out.extend_from_slice(piece));
    } else {
        let mut value = Value {
            out,
            left: MAX_VALUE,
        };
        pieces(&mut |piece| value.put(piece));
    }
}

/// Appends a request's URL.
#[inline]
pub(super) fn push_url(out: &mut Vec<u8>, plain: bool, request: &Request<'_>) {
    push_pieces(out, plain, |put| request.url(put));
}

/// An encoding all of whose tags are text.
pub(super) trait TextTags {
    /// Writes a tag, whose value `write` appends.
    fn tag(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>));

    /// Writes the workload's node.
    fn node(&mut self);
}

/// Shows tags to such an encoding.
pub(super) struct AsText<T> {
    pub(super) tags: T,
    /// See [`is_plain`].
    pub(super) plain: bool,
}

impl<T: TextTags> Visitor for AsText<T> {
    #[inline]
    fn text(&mut self, tag: Tag, value: &[u8]) {
        let plain = self.plain;
        self.tags.tag(tag, |out| push_value(out, plain, value));
    }

    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        let plain = self.plain;
        self.tags.tag(tag, |out| push_url(out, plain, request));
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        self.tags.tag(tag, |out| push_u64(out, value));
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        self.tags
            .tag(tag, |out| out.extend_from_slice(value.as_bytes()));
    }

    fn boolean(&mut self, tag: Tag, value: bool) {
        self.word(tag, if value { "true" } else { "false" });
    }

    fn double(&mut self, tag: Tag, value: f64) {
        self.tags.tag(tag, |out| push_display(out, value));
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.tags.tag(tag, |out| IpText::new(value).push(out));
    }

    #[inline]
    fn node(&mut self, _: Tag, _: &Arc<Workload>) {
        self.tags.node();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(pieces: &[&[u8]], limit: usize) -> String {
        let mut out = Vec::new();
        let mut value = Value {
            out: &mut out,
            left: limit,
        };
        for piece in pieces {
            value.put(piece);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_behind_a_cut_are_left_out() {
        assert_eq!(written(&[b"abc", b"defg", b"h"], 5), "abcde…");
        assert_eq!(written(&[b"abcde", b"f", b"g"], 5), "abcde…");
        assert_eq!(written(&[b"abc", b"de"], 5), "abcde");
        assert_eq!(written(&["aä€".as_bytes()], 5), "aä…");
    }

    proptest! {
        #[test]
        fn any_bytes_are_written_as_lossy_utf8(bytes: Vec<u8>) {
            prop_assert_eq!(written(&[&bytes], MAX_VALUE), String::from_utf8_lossy(&bytes));
        }
    }
}
