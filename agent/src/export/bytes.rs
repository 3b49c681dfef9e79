//! Searches in short byte strings, sixteen bytes at a time.

/// Whether any byte is of this kind.
///
/// The test of a whole block has no early exit, so the compiler makes vector
/// code of it; the last block overlaps the one before.
#[inline]
pub(super) fn any(bytes: &[u8], kind: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some((first, rest)) = bytes.split_first_chunk::<16>() {
        let mut found = block(first, kind);
        let (blocks, _) = rest.as_chunks::<16>();
        for chunk in blocks {
            found |= block(chunk, kind);
        }
        match bytes.last_chunk::<16>() {
            Some(last) => found | block(last, kind),
            None => found,
        }
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        block(first, kind) | block(last, kind)
    } else {
        bytes.iter().fold(false, |found, &b| found | kind(b))
    }
}

#[inline]
fn block<const N: usize>(bytes: &[u8; N], kind: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, &b| found | kind(b))
}

/// Where the first byte of this kind is.
#[inline]
pub(super) fn find(bytes: &[u8], kind: impl Fn(u8) -> bool) -> Option<usize> {
    bytes.iter().position(|&b| kind(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_sees_every_position_of_every_length() {
        for len in 0..70 {
            let mut bytes = vec![b'a'; len];
            assert!(!any(&bytes, |b| b == b'x'), "{len}");
            for at in 0..len {
                bytes[at] = b'x';
                assert!(any(&bytes, |b| b == b'x'), "{len} {at}");
                assert_eq!(find(&bytes, |b| b == b'x'), Some(at));
                bytes[at] = b'a';
            }
        }
    }
}
