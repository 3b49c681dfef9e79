//! The lines of a head, and where words end in them, 16 bytes at a time.

use wide::i8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 64;

/// Goes through bytes line by line; a bare LF ends a line too (RFC 9112
/// section 2.2).
#[derive(Debug)]
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

    /// The next line without its end; `None` if its end is not there.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        while self.feeds == 0 {
            self.block += BLOCK;
            if self.block >= self.bytes.len() {
                return None;
            }
            self.feeds = feeds(self.bytes, self.block);
        }
        let feed = self.block + self.feeds.trailing_zeros() as usize;
        self.feeds &= self.feeds - 1;
        let line = self.bytes.get(self.at..feed)?;
        self.at = feed + 1;
        Some(match line {
            [line @ .., b'\r'] => line,
            _ => line,
        })
    }

    /// Bytes of the lines so far, their ends included.
    #[inline(always)]
    pub(super) const fn passed(&self) -> usize {
        self.at
    }
}

/// A bit for each LF of the block that begins at `block`.
#[inline(always)]
fn feeds(bytes: &[u8], block: usize) -> u64 {
    let rest = bytes.get(block..).unwrap_or_default();
    match rest.first_chunk::<BLOCK>() {
        Some(whole) => {
            let (parts, _) = whole.as_chunks();
            let mut bits = 0;
            for (place, part) in parts.iter().enumerate() {
                bits |= feeds_of(part) << (16 * place);
            }
            bits
        }
        None => feeds_of_last(bytes, rest),
    }
}

/// The same of the last block, of less than 64 bytes.
#[inline(never)]
fn feeds_of_last(bytes: &[u8], rest: &[u8]) -> u64 {
    let (parts, left) = rest.as_chunks();
    let mut bits = 0;
    for (place, part) in parts.iter().enumerate() {
        bits |= feeds_of(part) << (16 * place);
    }
    let last = match bytes.last_chunk() {
        // Looks once more at bytes before.
        Some(last) => (feeds_of(last) << left.len()) >> 16,
        None => (0..)
            .zip(left)
            .map(|(place, &byte)| u64::from(byte == b'\n') << place)
            .sum(),
    };
    bits | last << (16 * parts.len())
}

#[inline(always)]
fn feeds_of(part: &[u8; 16]) -> u64 {
    let equal = vector(part).simd_eq(i8x16::splat(b'\n'.cast_signed()));
    u64::from(equal.to_bitmask())
}

/// How many bytes come before the first one that is no visible ASCII
/// character; `None` if there is none, or bytes are too few to look at them
/// together. (DEL counts as visible.)
#[inline(always)]
pub(super) fn word(bytes: &[u8]) -> Option<usize> {
    let (parts, _) = bytes.as_chunks();
    for (place, part) in (0..).zip(parts) {
        // Signed, so that bytes above ASCII are below zero.
        let visible = vector(part).simd_gt(i8x16::splat(b' '.cast_signed()));
        let others = visible.to_bitmask() ^ 0xffff;
        if others != 0 {
            return Some(place * 16 + others.trailing_zeros() as usize);
        }
    }
    None
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
                let wanted = line.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
                prop_assert_eq!(lines.next(), wanted);
                passed += if wanted.is_some() { line.len() } else { 0 };
                prop_assert_eq!(lines.passed(), passed);
            }
            prop_assert_eq!(lines.next(), None);
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
            prop_assert_eq!(word(&bytes), Some(word_bytes.len()));
        }
    }
}
