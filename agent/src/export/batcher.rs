//! Spans become batches: the pipeline's end of a backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::complaints::Complaints;
use super::queue::{Batch, Sender};
use super::{Encoder, Exporter, Refused, Span};
use crate::ledger::{BackendLedger, Undelivered};

/// Bytes of a buffer that may be left over besides what doubling brings.
const SLACK: usize = 4096;

/// When a batch is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Once it holds this many spans.
    pub spans: u64,
    /// Once it holds this many bytes; the last span may go beyond.
    pub bytes: usize,
    /// Once its first span has waited this long.
    pub delay: Duration,
}

impl Default for BatchLimits {
    /// 1,000 spans, 512,000 bytes (what zipkin-reporter sends at most), half a
    /// second.
    fn default() -> Self {
        Self {
            spans: 1000,
            bytes: 512_000,
            delay: Duration::from_millis(500),
        }
    }
}

/// Encodes each span into the current batch at once, so that the span can be
/// freed, and hands whole batches to the backend's worker.
pub struct Batcher {
    encoder: Box<dyn Encoder>,
    limits: BatchLimits,
    batch: Batch,
    /// When the first span of the batch came.
    opened: Option<Instant>,
    sender: Sender,
    ledger: Arc<BackendLedger>,
    complaints: Complaints,
}

impl Batcher {
    pub(super) fn new(
        encoder: Box<dyn Encoder>,
        limits: BatchLimits,
        sender: Sender,
        ledger: Arc<BackendLedger>,
    ) -> Self {
        Self {
            encoder,
            limits,
            batch: Batch::default(),
            opened: None,
            sender,
            ledger,
            complaints: Complaints::default(),
        }
    }

    /// Hands over what is left and says that nothing more will come. The
    /// worker ends when all is delivered or its grace time is over.
    pub fn close(mut self) {
        self.submit();
        self.sender.close();
    }

    fn submit(&mut self) {
        self.opened = None;
        if self.batch.spans == 0 {
            return;
        }
        self.encoder.finish(&mut self.batch.bytes);
        trim(&mut self.batch.bytes);
        let bytes = self.batch.bytes.len() as u64;
        let next = Batch {
            bytes: self.sender.buffer(),
            spans: 0,
        };
        // Before the batch is let go: the worker may settle it at once.
        self.ledger.queued_bytes.add(bytes);
        match self.sender.send(std::mem::replace(&mut self.batch, next)) {
            Ok(evicted) => {
                self.ledger.queued_bytes.sub(evicted.bytes);
                self.count_overflow(evicted.spans, "oldest");
            }
            Err(refused) => {
                self.ledger.queued_bytes.sub(bytes);
                if self.sender.closed() {
                    let shutdown = Undelivered::Shutdown;
                    self.ledger.dropped.add(shutdown, refused.spans);
                } else {
                    self.count_overflow(refused.spans, "newest");
                }
                // Its buffer is as good as the spare one.
                self.batch.bytes = refused.bytes;
                self.batch.bytes.clear();
            }
        }
    }

    fn count_overflow(&mut self, spans: u64, which: &str) {
        if spans == 0 {
            return;
        }
        self.ledger.dropped.add(Undelivered::QueueFull, spans);
        if let Some(unsaid) = self.complaints.may_say(0) {
            tracing::warn!(
                backend = self.ledger.name(),
                spans,
                unsaid,
                "queue full, the {which} spans are dropped"
            );
        }
    }
}

/// Gives back what a batch does not need: a buffer that was filled before may
/// be much larger than what it holds now, and the queue counts what it holds.
fn trim(bytes: &mut Vec<u8>) {
    if bytes.capacity() > 2 * bytes.len() + SLACK {
        bytes.shrink_to(bytes.len());
    }
}

impl Exporter for Batcher {
    fn export(&mut self, span: &Span) {
        self.ledger.pushed.add(1);
        let before = self.batch.bytes.len();
        if let Err(error) = self.encoder.encode(span, &mut self.batch.bytes) {
            self.batch.bytes.truncate(before);
            let reason = match error {
                Refused::TooLarge { .. } => Undelivered::TooLarge,
                Refused::Inexpressible(_) => Undelivered::Encode,
            };
            self.ledger.dropped.add(reason, 1);
            self.ledger.note_error(&error);
            return;
        }
        self.batch.spans += 1;
        let bytes = self.batch.bytes.len() + self.encoder.pending();
        if self.batch.spans >= self.limits.spans || bytes >= self.limits.bytes {
            self.submit();
        } else if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
    }

    fn tick(&mut self, now: Instant) {
        if self
            .opened
            .is_some_and(|opened| now.duration_since(opened) >= self.limits.delay)
        {
            self.submit();
        }
    }

    fn flush(&mut self) {
        self.submit();
    }
}

impl Drop for Batcher {
    /// Whoever forgets to close still loses nothing that was handed in.
    fn drop(&mut self) {
        self.submit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::queue::{Overflow, QueueLimits, Receiver, queue};
    use crate::export::testing::typical;
    use crate::export::{Queries, zipkin::Zipkin};
    use crate::ledger::Ledger;

    fn batcher(limits: BatchLimits, spans: u64) -> (Batcher, Receiver, Arc<BackendLedger>) {
        batcher_dropping(limits, spans, Overflow::Newest)
    }

    fn batcher_dropping(
        limits: BatchLimits,
        spans: u64,
        overflow: Overflow,
    ) -> (Batcher, Receiver, Arc<BackendLedger>) {
        let ledger = Ledger::new().backend("zipkin");
        let limits_of_queue = QueueLimits {
            spans,
            bytes: usize::MAX,
        };
        let (sender, receiver) = queue(limits_of_queue, overflow);
        let encoder = Box::new(Zipkin::new(Queries::Redacted));
        let batcher = Batcher::new(encoder, limits, sender, Arc::clone(&ledger));
        (batcher, receiver, ledger)
    }

    fn count(batch: &Batch) -> usize {
        let list: Vec<serde_json::Value> = serde_json::from_slice(&batch.bytes).unwrap();
        list.len()
    }

    #[tokio::test]
    async fn batches_end_by_spans_by_bytes_and_by_time() {
        let limits = BatchLimits {
            spans: 3,
            bytes: 2000,
            delay: Duration::from_secs(1),
        };
        let (mut batcher, receiver, ledger) = batcher(limits, 1000);
        let mut small = typical();
        small.exchange.text = crate::assemble::Text::new(b"GET", b"/", b"h", b"", b"");
        for _ in 0..4 {
            batcher.export(&small);
        }
        assert_eq!(count(&receiver.next().await.unwrap()), 3);
        let now = Instant::now();
        batcher.tick(now);
        batcher.tick(now + Duration::from_secs(2));
        batcher.tick(now + Duration::from_secs(4));
        assert_eq!(count(&receiver.next().await.unwrap()), 1);
        let long = "x".repeat(4000);
        small.exchange.text = crate::assemble::Text::new(b"GET", b"/", b"h", long.as_bytes(), b"");
        batcher.export(&small);
        assert_eq!(count(&receiver.next().await.unwrap()), 1);
        batcher.export(&small);
        drop(batcher);
        assert_eq!(count(&receiver.next().await.unwrap()), 1);
        assert!(receiver.next().await.is_none());
        assert_eq!(ledger.pushed.get(), 6);
    }

    #[tokio::test]
    async fn the_newest_batch_goes_when_the_queue_is_full() {
        let limits = BatchLimits {
            spans: 2,
            ..BatchLimits::default()
        };
        let (mut batcher, receiver, ledger) = batcher(limits, 4);
        for _ in 0..7 {
            batcher.export(&typical());
        }
        batcher.close();
        assert_eq!(ledger.dropped.get(Undelivered::QueueFull), 3);
        let mut left = 0;
        while let Some(batch) = receiver.next().await {
            assert_eq!(count(&batch), 2);
            left += batch.bytes.len() as u64;
        }
        assert_eq!(ledger.queued_bytes.get(), left);
        assert_eq!(ledger.queued(), 4);
    }

    #[tokio::test]
    async fn or_the_oldest_goes_if_that_is_configured() {
        for (overflow, kept) in [(Overflow::Newest, [1, 2]), (Overflow::Oldest, [3, 4])] {
            let limits = BatchLimits {
                spans: 1,
                ..BatchLimits::default()
            };
            let (mut batcher, receiver, ledger) = batcher_dropping(limits, 2, overflow);
            for n in 1..=4 {
                let mut span = typical();
                span.duration = n;
                batcher.export(&span);
            }
            batcher.close();
            let (mut got, mut left) = (Vec::new(), 0);
            while let Some(batch) = receiver.next().await {
                let list: Vec<serde_json::Value> = serde_json::from_slice(&batch.bytes).unwrap();
                got.push(list[0]["duration"].as_u64().unwrap());
                left += batch.bytes.len() as u64;
            }
            assert_eq!(got, kept, "{overflow:?}");
            assert_eq!(ledger.dropped.get(Undelivered::QueueFull), 2);
            assert_eq!((ledger.queued(), ledger.queued_bytes.get()), (2, left));
        }
    }

    #[tokio::test]
    async fn a_small_batch_keeps_no_large_buffer() {
        let (mut batcher, receiver, _) = batcher(BatchLimits::default(), 1000);
        receiver.settle(0, 0, Vec::with_capacity(1 << 20));
        // The first takes a new buffer, the second the large one.
        for _ in 0..2 {
            batcher.export(&typical());
            batcher.flush();
            let batch = receiver.next().await.unwrap();
            assert!(batch.bytes.capacity() <= 2 * batch.bytes.len() + SLACK);
        }
    }

    #[test]
    fn a_refused_span_leaves_no_trace_in_the_batch() {
        struct Picky(Zipkin, bool);
        impl Encoder for Picky {
            fn content_type(&self) -> &'static str {
                self.0.content_type()
            }
            fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused> {
                self.1 = !self.1;
                self.0.encode(span, batch)?;
                if self.1 {
                    Err(Refused::Inexpressible("odd"))
                } else {
                    Ok(())
                }
            }
            fn finish(&mut self, batch: &mut Vec<u8>) {
                self.0.finish(batch);
            }
        }
        let ledger = Ledger::new().backend("picky");
        let (sender, receiver) = queue(QueueLimits::default(), Overflow::Newest);
        let encoder = Box::new(Picky(Zipkin::default(), false));
        let mut batcher =
            Batcher::new(encoder, BatchLimits::default(), sender, Arc::clone(&ledger));
        for _ in 0..4 {
            batcher.export(&typical());
        }
        batcher.close();
        assert_eq!(ledger.dropped.get(Undelivered::Encode), 2);
        let batches = receiver.abandon();
        assert_eq!(batches.iter().map(count).sum::<usize>(), 2);
    }
}
