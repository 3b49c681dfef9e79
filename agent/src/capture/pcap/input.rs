//! The file as a window of bytes that moves forward.

use std::io::{ErrorKind, Read};

/// Bytes asked of the file at once.
const CHUNK: usize = 256 * 1024;

/// A window over the input: at least [`CHUNK`] bytes, more for records that
/// are longer.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of the buffer's first byte in the file.
    base: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            base: 0,
        }
    }

    /// Where in the file the window begins.
    pub(super) const fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// What is in the window now.
    #[inline]
    pub(super) fn window(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Makes the window hold `wanted` bytes, unless the file ends before;
    /// says how many there are. Callers bound `wanted`.
    #[inline]
    pub(super) fn want(&mut self, wanted: usize) -> std::io::Result<usize> {
        let have = self.end - self.start;
        if have >= wanted {
            return Ok(have);
        }
        self.fill(wanted)
    }

    #[cold]
    fn fill(&mut self, wanted: usize) -> std::io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.end < wanted {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => break,
                // A reader that claims more than it was given is not believed.
                Ok(count) => self.end += count.min(free.len()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end)
    }

    /// Moves the window forward by bytes it holds.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Takes a header and as many bytes behind it as it says, if the window
    /// holds both.
    #[inline]
    pub(super) fn record<const HEADER: usize>(
        &mut self,
        length: impl Fn(&[u8; HEADER]) -> usize,
    ) -> Option<(&[u8; HEADER], &[u8])> {
        let window = self.buffer.get(self.start..self.end)?;
        let (header, rest) = window.split_first_chunk()?;
        let bytes = rest.get(..length(header))?;
        self.start += HEADER + bytes.len();
        Some((header, bytes))
    }

    /// Takes the next `count` bytes out of the window, which holds them.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        self.buffer.get(start..self.start).unwrap_or_default()
    }

    /// Passes over bytes that need not be held; false if the file ends before.
    pub(super) fn skip(&mut self, mut count: usize) -> std::io::Result<bool> {
        while count > 0 {
            let have = self.want(1)?;
            if have == 0 {
                return Ok(false);
            }
            let step = have.min(count);
            self.consume(step);
            count -= step;
        }
        Ok(true)
    }
}
