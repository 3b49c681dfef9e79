//! The lines of a head, and where words end in them, some bytes at a time.

use wide::i8x16;

/// Bytes that are looked at together.
const BLOCK: usize = 32;

/// Goes through bytes line by line; a bare LF ends a line too (RFC 9112
/// section 2.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    /// What is behind the lines so far.
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    #[inline(always)]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is behind the lines so far.
    #[inline(always)]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The first bytes of the next line, and of what is behind it.
    #[inline(always)]
    pub(super) const fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk()
    }

    /// Passes over bytes that somebody has looked at, to the end of a line.
    #[inline(always)]
    pub(super) fn skip(&mut self, len: usize) -> Option<()> {
        self.rest = self.rest.get(len..)?;
        Some(())
    }

    /// Passes over the next line; `None` if its end is not there.
    #[inline(always)]
    pub(super) fn pass(&mut self) -> Option<()> {
        let mut rest = self.rest;
        loop {
            let Some((block, behind)) = rest.split_first_chunk() else {
                self.rest = behind_late_feed(rest)?;
                return Some(());
            };
            let feeds = feeds(block);
            if feeds != 0 {
                self.rest = rest.get(feeds.trailing_zeros() as usize + 1..)?;
                return Some(());
            }
            rest = behind;
        }
    }

    /// Passes over the next line, and gives it without its LF, from its byte
    /// number `from` on; `None` if its LF is not there, or before that byte.
    #[inline(always)]
    pub(super) fn next_from(&mut self, from: usize) -> Option<&'a [u8]> {
        let before = self.rest;
        self.pass()?;
        before.get(from..before.len() - self.rest.len() - 1)
    }
}

/// What is behind the LF in fewer bytes than a block.
#[inline(never)]
fn behind_late_feed(bytes: &[u8]) -> Option<&[u8]> {
    let at = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            // The last ones overlap the first.
            let feeds = feeds_of(first) | feeds_of(last) << (bytes.len() - 16);
            (feeds != 0).then(|| feeds.trailing_zeros() as usize)
        }
        _ => bytes.iter().position(|&byte| byte == b'\n'),
    };
    bytes.get(at? + 1..)
}

/// A bit for each LF.
#[inline(always)]
fn feeds(block: &[u8; BLOCK]) -> u32 {
    let (parts, _) = block.as_chunks();
    let mut feeds = 0;
    for (place, part) in parts.iter().enumerate() {
        feeds |= feeds_of(part) << (16 * place);
    }
    feeds
}

#[inline(always)]
fn feeds_of(part: &[u8; 16]) -> u32 {
    let equal = vector(part).simd_eq(i8x16::splat(b'\n'.cast_signed()));
    equal.to_bitmask()
}

/// How many visible ASCII characters come first. (DEL counts as visible.)
/// `None` if bytes are too few to look at them together.
#[inline(always)]
pub(super) fn word(bytes: &[u8]) -> Option<usize> {
    let len = match invisible(bytes.first_chunk()?) {
        0 => long_word(bytes)?,
        others => others.trailing_zeros() as usize,
    };
    Some(len)
}

#[inline(never)]
fn long_word(bytes: &[u8]) -> Option<usize> {
    let (parts, _) = bytes.as_chunks();
    for (place, part) in (0..).zip(parts) {
        let others = invisible(part);
        if others != 0 {
            return Some(place * 16 + others.trailing_zeros() as usize);
        }
    }
    None
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
                prop_assert_eq!(lines.rest(), &bytes[passed..]);
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
            prop_assert_eq!(word(&bytes), Some(word_bytes.len()));
            prop_assert_eq!(word(&word_bytes), None);
        }
    }
}
