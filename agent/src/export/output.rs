//! A writer for spans as text: standard output, or anything else.

use std::io::{self, Write};
use std::sync::Arc;

use crate::ledger::{BackendLedger, Undelivered};

/// Text that waits until this much of it has come together.
const BUFFER: usize = 32 * 1024;

/// Collects lines, writes them in batches, and stops for good when the writer
/// does: what then comes is counted as dropped.
#[derive(Debug)]
pub(super) struct Output<W> {
    writer: W,
    buffer: Vec<u8>,
    spans: u64,
    stopped: bool,
    ledger: Arc<BackendLedger>,
}

impl<W: Write> Output<W> {
    pub(super) fn new(writer: W, ledger: Arc<BackendLedger>) -> Self {
        Self {
            writer,
            buffer: Vec::with_capacity(BUFFER),
            spans: 0,
            stopped: false,
            ledger,
        }
    }

    /// Takes one span's text from `render`.
    pub(super) fn push(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        self.ledger.pushed.add(1);
        if self.stopped {
            self.ledger.dropped.add(Undelivered::Closed, 1);
            return;
        }
        render(&mut self.buffer);
        self.spans += 1;
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes what has come together.
    pub(super) fn flush(&mut self) {
        if self.spans == 0 {
            return;
        }
        let spans = std::mem::take(&mut self.spans);
        match self
            .writer
            .write_all(&self.buffer)
            .and_then(|()| self.writer.flush())
        {
            Ok(()) => {
                self.ledger.sent.add(spans);
                self.ledger.batches.add(1);
            }
            Err(error) => self.stop(spans, &error),
        }
        self.buffer.clear();
    }

    fn stop(&mut self, spans: u64, error: &io::Error) {
        self.stopped = true;
        self.ledger.dropped.add(Undelivered::Closed, spans);
        self.ledger.note_error(error);
        // `nodespan run | head` is no reason to complain.
        if error.kind() != io::ErrorKind::BrokenPipe {
            tracing::error!(output = self.ledger.name(), %error, "cannot write spans any more");
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }
}

impl<W> Drop for Output<W> {
    /// Whoever forgets to flush still gets a ledger that balances.
    fn drop(&mut self) {
        self.ledger.dropped.add(Undelivered::Shutdown, self.spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    /// Takes so many bytes, then fails.
    struct Narrow(usize, io::ErrorKind);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.0);
            self.0 -= n;
            if n == 0 { Err(self.1.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_stops_the_output_and_is_counted() {
        let ledger = Ledger::new();
        let account = ledger.backend("jsonl");
        let mut output = Output::new(Narrow(10, io::ErrorKind::BrokenPipe), Arc::clone(&account));
        let line = |out: &mut Vec<u8>| out.extend_from_slice(b"line\n");
        output.push(line);
        output.flush();
        output.flush();
        assert!(!output.stopped());
        output.push(line);
        output.push(line);
        output.flush();
        assert!(output.stopped());
        output.push(line);
        assert_eq!((account.pushed.get(), account.sent.get()), (4, 1));
        assert_eq!(account.dropped.get(Undelivered::Closed), 3);
    }

    #[test]
    fn what_was_never_flushed_is_counted() {
        let account = Ledger::new().backend("console");
        let mut output = Output::new(Vec::new(), Arc::clone(&account));
        output.push(|out| out.push(b'x'));
        drop(output);
        assert_eq!(account.dropped.get(Undelivered::Shutdown), 1);
        assert_eq!(account.queued(), 0);
    }
}
