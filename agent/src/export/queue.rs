//! Encoded batches on their way from the pipeline's thread to a worker.
//!
//! Bounded in spans and in bytes over all batches, the one that the worker is
//! delivering included, so a dead backend costs this much memory and no more.
//! What does not fit is refused: the newest batch is the one that is dropped,
//! because older ones may have halves of traces that have already arrived.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// Buffers kept for use again.
const SPARE_BUFFERS: usize = 4;

/// Encoded spans that are delivered together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: u64,
}

/// What may wait at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Spans.
    pub spans: u64,
    /// Encoded bytes.
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// 20,000 spans, 16 MiB.
    fn default() -> Self {
        Self {
            spans: 20_000,
            bytes: 16 << 20,
        }
    }
}

/// A queue with these limits.
pub(super) fn queue(limits: QueueLimits) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        limits,
        state: Mutex::default(),
        changed: Notify::new(),
        closed: watch::Sender::new(false),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug)]
struct Shared {
    limits: QueueLimits,
    state: Mutex<State>,
    /// A batch came, or the queue was closed.
    changed: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    spare: Vec<Vec<u8>>,
    /// Spans and bytes of all batches that are not settled.
    spans: u64,
    bytes: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pipeline's end; dropping it closes the queue.
#[derive(Debug)]
pub(super) struct Sender(Arc<Shared>);

impl Sender {
    /// Puts a batch in, or gives it back if it does not fit or the other end
    /// is gone.
    pub(super) fn send(&self, batch: Batch) -> Result<(), Batch> {
        let mut state = self.0.state();
        let spans = state.spans + batch.spans;
        let bytes = state.bytes + batch.bytes.len();
        if self.0.closed() || spans > self.0.limits.spans || bytes > self.0.limits.bytes {
            return Err(batch);
        }
        (state.spans, state.bytes) = (spans, bytes);
        state.waiting.push_back(batch);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// An empty buffer, used before if there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.0.state().spare.pop().unwrap_or_default()
    }

    /// Whether the other end is gone.
    pub(super) fn closed(&self) -> bool {
        self.0.closed()
    }

    /// Says that nothing more will come.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn close(&self) {
        // Under the lock, so that no batch slips in behind it.
        let state = self.state();
        self.closed.send_replace(true);
        drop(state);
        self.changed.notify_one();
    }

    fn closed(&self) -> bool {
        *self.closed.borrow()
    }
}

/// The worker's end; dropping it closes the queue.
#[derive(Debug)]
pub(super) struct Receiver(Arc<Shared>);

impl Receiver {
    /// The oldest batch, once there is one; `None` when the queue is closed
    /// and empty. The batch counts against the limits until it is settled.
    pub(super) async fn next(&self) -> Option<Batch> {
        loop {
            {
                let mut state = self.0.state();
                if let Some(batch) = state.waiting.pop_front() {
                    return Some(batch);
                }
                if self.0.closed() {
                    return None;
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// Frees the room of a batch of this size and keeps its buffer.
    pub(super) fn settle(&self, spans: u64, bytes: usize, mut buffer: Vec<u8>) {
        let mut state = self.0.state();
        state.spans -= spans.min(state.spans);
        state.bytes -= bytes.min(state.bytes);
        if state.spare.len() < SPARE_BUFFERS && buffer.capacity() > 0 {
            buffer.clear();
            state.spare.push(buffer);
        }
    }

    /// Whether nothing more will come.
    pub(super) fn closed(&self) -> bool {
        self.0.closed()
    }

    /// Becomes `true` when nothing more will come.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closed.subscribe()
    }

    /// Closes the queue and takes out all that waits.
    pub(super) fn abandon(&self) -> Vec<Batch> {
        self.0.close();
        let mut state = self.0.state();
        (state.spans, state.bytes) = (0, 0);
        state.waiting.drain(..).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(spans: u64, bytes: usize) -> Batch {
        Batch {
            bytes: vec![b'x'; bytes],
            spans,
        }
    }

    #[tokio::test]
    async fn the_limits_hold_until_a_batch_is_settled() {
        let (sender, receiver) = queue(QueueLimits {
            spans: 10,
            bytes: 100,
        });
        sender.send(batch(6, 10)).unwrap();
        assert_eq!(sender.send(batch(5, 10)).unwrap_err().spans, 5);
        assert_eq!(sender.send(batch(1, 91)).unwrap_err().spans, 1);
        sender.send(batch(4, 90)).unwrap();
        let first = receiver.next().await.unwrap();
        assert_eq!(first.spans, 6);
        sender.send(batch(1, 1)).unwrap_err();
        receiver.settle(6, 10, first.bytes);
        sender.send(batch(6, 10)).unwrap();
        assert_eq!(receiver.next().await.unwrap().spans, 4);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_first() {
        let (sender, receiver) = queue(QueueLimits::default());
        sender.send(batch(1, 1)).unwrap();
        drop(sender);
        assert!(receiver.closed());
        assert_eq!(receiver.next().await.unwrap().spans, 1);
        assert!(receiver.next().await.is_none());
        assert!(receiver.next().await.is_none());
    }

    #[tokio::test]
    async fn a_batch_wakes_the_receiver_and_a_lost_receiver_refuses() {
        let (sender, receiver) = queue(QueueLimits::default());
        let waiting = tokio::spawn(async move {
            let got = receiver.next().await.map(|batch| batch.spans);
            drop(receiver);
            got
        });
        tokio::task::yield_now().await;
        sender.send(batch(3, 1)).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(3));
        sender.send(batch(1, 1)).unwrap_err();
    }

    #[test]
    fn buffers_are_used_again() {
        let (sender, receiver) = queue(QueueLimits::default());
        assert_eq!(sender.buffer().capacity(), 0);
        for _ in 0..10 {
            receiver.settle(0, 0, vec![1; 77]);
        }
        let buffer = sender.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= 77);
        assert_eq!(sender.0.state().spare.len(), SPARE_BUFFERS - 1);
    }
}
