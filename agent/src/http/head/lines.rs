//! The lines of a head, and where words end in them, 16 bytes at a time.

use wide::i8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Goes through bytes line by line; a bare LF ends a line too (RFC 9112
/// section 2.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    at: usize,
    /// Where the block begins that `feeds` speaks of.
    block: usize,
    /// A bit for each LF of the block that was not passed yet.
    feeds: u64,
}

impl<'a> Lines<'a> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            block: 0,
            feeds: feeds(bytes, 0),
        }
    }

    /// The first bytes of the next line, and of what is behind it.
    #[inline(always)]
    pub(super) fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.bytes.get(self.at..)?.first_chunk()
    }

    /// Passes over the next line; `None` if its end is not there.
    #[inline(always)]
    pub(super) fn pass(&mut self) -> Option<()> {
        while self.feeds == 0 {
            self.block += BLOCK;
            if self.block >= self.bytes.len() {
                return None;
            }
            self.feeds = feeds(self.bytes, self.block);
        }
        self.at = self.block + self.feeds.trailing_zeros() as usize + 1;
        self.feeds &= self.feeds - 1;
        Some(())
    }

    /// Passes over the next line, and gives it without its LF, from its byte
    /// number `from` on; `None` if its LF is not there, or before that byte.
    #[inline(always)]
    pub(super) fn next_from(&mut self, from: usize) -> Option<&'a [u8]> {
        let start = self.at + from;
        self.pass()?;
        self.bytes.get(start..self.at - 1)
    }

    /// Bytes of the lines so far, their ends included.
    #[inline(always)]
    pub(super) const fn passed(&self) -> usize {
        self.at
    }
}

/// A bit for each LF of the block that begins at `block`.
#[inline(never)]
fn feeds(bytes: &[u8], block: usize) -> u64 {
    let Some(rest) = bytes.get(block..).filter(|rest| !rest.is_empty()) else {
        return 0;
    };
    match (rest.first_chunk(), bytes.last_chunk()) {
        (Some(whole), _) => feeds_of_block(whole),
        // Looks once more at bytes before.
        (None, Some(last)) => feeds_of_block(last) >> (BLOCK - rest.len()),
        (None, None) => feeds_of_few(rest),
    }
}

#[inline(always)]
fn feeds_of_block(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks();
    let mut feeds = 0;
    for (place, part) in parts.iter().enumerate() {
        feeds |= feeds_of(part) << (16 * place);
    }
    feeds
}

/// The same of bytes that are shorter than any usual head.
#[inline(never)]
fn feeds_of_few(bytes: &[u8]) -> u64 {
    (0..)
        .zip(bytes)
        .map(|(place, &byte)| u64::from(byte == b'\n') << place)
        .sum()
}

#[inline(always)]
fn feeds_of(part: &[u8; 16]) -> u64 {
    let equal = vector(part).simd_eq(i8x16::splat(b'\n'.cast_signed()));
    u64::from(equal.to_bitmask())
}

/// Whether the first `len` bytes are visible ASCII characters and the next one
/// is not. (DEL counts as visible.) Also false if bytes are too few to look at
/// them together.
#[inline(always)]
pub(super) fn is_word(bytes: &[u8], len: usize) -> bool {
    match bytes.first_chunk() {
        Some(part) if len < 16 => invisible(part).trailing_zeros() as usize == len,
        _ => is_long_word(bytes, len),
    }
}

#[inline(never)]
fn is_long_word(bytes: &[u8], len: usize) -> bool {
    let (parts, _) = bytes.as_chunks();
    for (place, part) in (0..).zip(parts) {
        let others = invisible(part);
        if others != 0 {
            return place * 16 + others.trailing_zeros() as usize == len;
        }
    }
    false
}

/// A bit for each byte that is no visible ASCII character.
#[inline(always)]
fn invisible(part: &[u8; 16]) -> u32 {
    // Signed, so that bytes above ASCII are below zero.
    let visible = vector(part).simd_gt(i8x16::splat(b' '.cast_signed()));
    visible.to_bitmask() ^ 0xffff
}

#[inline(always)]
fn vector(part: &[u8; 16]) -> i8x16 {
    i8x16::new(part.map(u8::cast_signed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_what_is_between_feeds(
            bytes in proptest::collection::vec(prop_oneof![
                1 => Just(b'\n'), 1 => Just(b'\r'), 8 => any::<u8>(), 8 => Just(b'a'),
            ], 0..300)
        ) {
            let mut lines = Lines::new(&bytes);
            let mut passed = 0;
            for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                let wanted = line.strip_suffix(b"\n");
                prop_assert_eq!(lines.next_from(0), wanted);
                passed += wanted.map_or(0, |_| line.len());
                prop_assert_eq!(lines.passed(), passed);
            }
            prop_assert_eq!(lines.next_from(0), None);
        }

        #[test]
        fn words_end_where_blanks_begin(
            word_bytes in proptest::collection::vec(b'!'..=0x7f, 0..60),
            end in prop_oneof![0..=b' ', 0x80..=255u8],
            rest in proptest::collection::vec(any::<u8>(), 16..40),
        ) {
            let mut bytes = word_bytes.clone();
            bytes.push(end);
            bytes.extend(rest);
            prop_assert!(is_word(&bytes, word_bytes.len()));
            prop_assert!(!is_word(&bytes, word_bytes.len() + 1));
            prop_assert!(word_bytes.is_empty() || !is_word(&bytes, word_bytes.len() - 1));
        }
    }
}
