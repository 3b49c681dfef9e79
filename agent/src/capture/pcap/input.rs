//! The file as a window of bytes that moves forward.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Deref;
use std::os::unix::fs::FileExt;

use super::map::{Leased, Part};

/// Bytes asked of the file at once.
const CHUNK: usize = 256 * 1024;

/// Bytes of a file that are mapped at once.
const PART: usize = 1024 * 1024;

/// A window over the input: at least [`CHUNK`] bytes, more for records that
/// are longer.
#[derive(Debug)]
pub(super) struct Input<R> {
    source: Source<R>,
    /// Whoever writes the file may take a while: it is a pipe.
    pub(super) waits: bool,
    buffer: Buffer,
    start: usize,
    end: usize,
    /// Position of the buffer's first byte in the file.
    base: u64,
}

#[derive(Debug)]
enum Source<R> {
    Reader(R),
    /// A file that can be mapped.
    Leased(Leased),
    /// A file that cannot any more.
    File(File),
    /// Nothing is left.
    Over,
}

#[derive(Debug)]
enum Buffer {
    Own(Vec<u8>),
    Part(Part),
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Part(bytes) => bytes,
        }
    }
}

impl Input<File> {
    /// A file, mapped where that can be done.
    pub(super) fn open(file: File) -> Self {
        match Leased::new(file) {
            Ok(leased) => Self::of(Source::Leased(leased)),
            Err(file) => {
                let waits = file.metadata().is_ok_and(|about| !about.is_file());
                Self {
                    waits,
                    ..Self::new(file)
                }
            }
        }
    }
}

impl<R: Read> Input<R> {
    pub(super) fn new(source: R) -> Self {
        Self::of(Source::Reader(source))
    }

    const fn of(source: Source<R>) -> Self {
        Self {
            source,
            waits: false,
            buffer: Buffer::Own(Vec::new()),
            start: 0,
            end: 0,
            base: 0,
        }
    }

    /// The pipe, if it is one.
    pub(super) const fn pipe(&self) -> Option<&R> {
        match &self.source {
            Source::Reader(source) if self.waits => Some(source),
            _ => None,
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
        if let Source::Leased(leased) = &self.source {
            let at = self.offset();
            if let Some((base, part)) = leased.part(at, wanted.max(PART)) {
                self.base = base;
                self.start = (at - base) as usize;
                self.end = part.len();
                self.buffer = Buffer::Part(part);
                return Ok(self.end - self.start);
            }
            // The mapping goes before the lease.
            self.buffer = Buffer::Own(Vec::new());
            (self.base, self.start, self.end) = (at, 0, 0);
            self.source = match std::mem::replace(&mut self.source, Source::Over) {
                Source::Leased(leased) => Source::File(leased.into_file()),
                other => other,
            };
        }
        self.read(wanted)
    }

    fn read(&mut self, wanted: usize) -> std::io::Result<usize> {
        let Buffer::Own(buffer) = &mut self.buffer else {
            return Ok(self.end - self.start);
        };
        buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if buffer.len() < wanted.max(CHUNK) {
            buffer.resize(wanted.max(CHUNK), 0);
        }
        while self.end < wanted {
            let free = buffer.get_mut(self.end..).unwrap_or_default();
            let read = match &mut self.source {
                Source::Reader(source) => source.read(free),
                Source::File(file) => file.read_at(free, self.base + self.end as u64),
                Source::Leased(_) | Source::Over => Ok(0),
            };
            match read {
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
