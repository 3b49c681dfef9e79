//! Spans of a batch, kept until they can be written workload by workload.

use std::sync::Arc;

use super::Refused;
use super::known::{Known, Render};
use crate::identify::Workload;

/// Encoded spans in the order they came, in one buffer that is used again.
#[derive(Debug)]
pub(super) struct Groups<T> {
    known: Known<T>,
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

/// One encoded span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    /// Place of its workload in `known`.
    group: usize,
    start: usize,
    end: usize,
}

/// The spans of one workload.
pub(super) struct Group<'a> {
    bytes: &'a [u8],
    pieces: &'a [Piece],
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self {
            known: Known::default(),
            bytes: Vec::new(),
            pieces: Vec::new(),
        }
    }
}

impl<T: Render> Groups<T> {
    /// Takes in what `write` appends for a span of this workload; nothing if
    /// it refuses.
    #[inline]
    pub(super) fn add(
        &mut self,
        workload: &Arc<Workload>,
        write: impl FnOnce(&T, &mut Vec<u8>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let group = self.known.place(workload);
        let start = self.bytes.len();
        let written = match self.known.get(group) {
            Some(rendered) => write(rendered, &mut self.bytes),
            None => Err(Refused::Inexpressible("its workload is not known")),
        };
        if written.is_err() {
            self.bytes.truncate(start);
            return written;
        }
        let end = self.bytes.len();
        self.pieces.push(Piece { group, start, end });
        Ok(())
    }

    /// Bytes taken in.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Shows the spans of each workload, in the order they came, and forgets
    /// them.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&T, &Group<'_>)) {
        self.pieces.sort_unstable();
        for pieces in self.pieces.chunk_by(|a, b| a.group == b.group) {
            let group = Group {
                bytes: &self.bytes,
                pieces,
            };
            let place = pieces.first().map_or(0, |piece| piece.group);
            if let Some(rendered) = self.known.get(place) {
                each(rendered, &group);
            }
        }
        self.bytes.clear();
        self.pieces.clear();
        self.known.trim();
    }
}

impl Group<'_> {
    /// Each span's bytes.
    pub(super) fn spans(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces
            .iter()
            .map(|piece| self.bytes.get(piece.start..piece.end).unwrap_or_default())
    }
}
