//! Text of nearly constant length, put together on the stack.

/// Pieces of constant length that are appended at once. Where all of them are
/// known, the compiler makes plain stores of it.
pub(super) struct Block<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Block<N> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// Puts a piece behind the others. What does not fit is left out: `N` is
    /// chosen for the longest sum.
    #[inline(always)]
    pub(super) fn put<const M: usize>(&mut self, piece: &[u8; M]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + M) {
            place.copy_from_slice(piece);
            self.len += M;
        }
    }

    /// Appends all pieces.
    #[inline(always)]
    pub(super) fn push(self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}
