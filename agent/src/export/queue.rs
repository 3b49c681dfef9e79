//! Encoded batches on their way from the pipeline's thread to a worker.
//!
//! Bounded in spans and in bytes over all batches, the one that the worker is
//! delivering included, so a dead backend costs this much memory and no more.
//! What does not fit makes room or is refused ([`Overflow`]).

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

/// Which spans are dropped when the queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The batch that comes: older ones may have halves of traces that have
    /// already arrived.
    #[default]
    Newest,
    /// The batches that have waited longest: what is happening now matters
    /// more. The batch on its way is never dropped for this.
    Oldest,
}

/// What was dropped to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) spans: u64,
    pub(super) bytes: u64,
}

/// A queue with these limits.
pub(super) fn queue(limits: QueueLimits, overflow: Overflow) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        limits,
        overflow,
        state: Mutex::default(),
        changed: Notify::new(),
        closed: watch::Sender::new(false),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

#[derive(Debug)]
struct Shared {
    limits: QueueLimits,
    overflow: Overflow,
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

impl State {
    /// Drops batches, if that is the order, until this one fits; nothing if it
    /// cannot fit.
    fn make_room(
        &mut self,
        batch: &Batch,
        limits: QueueLimits,
        overflow: Overflow,
    ) -> Option<Evicted> {
        let mut evicted = Evicted::default();
        let over = |state: &Self| {
            state.spans + batch.spans > limits.spans
                || state.bytes + batch.bytes.len() > limits.bytes
        };
        if !over(self) {
            return Some(evicted);
        }
        let (spans, bytes) = self.waiting.iter().fold((0, 0), |(spans, bytes), waiting| {
            (spans + waiting.spans, bytes + waiting.bytes.len())
        });
        let fits = self.spans - spans + batch.spans <= limits.spans
            && self.bytes - bytes + batch.bytes.len() <= limits.bytes;
        if overflow == Overflow::Newest || !fits {
            return None;
        }
        while over(self)
            && let Some(oldest) = self.waiting.pop_front()
        {
            evicted.spans += oldest.spans;
            evicted.bytes += oldest.bytes.len() as u64;
            self.settle(oldest.spans, oldest.bytes.len(), oldest.bytes);
        }
        Some(evicted)
    }

    fn settle(&mut self, spans: u64, bytes: usize, mut buffer: Vec<u8>) {
        self.spans -= spans.min(self.spans);
        self.bytes -= bytes.min(self.bytes);
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() > 0 {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
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
    /// Puts a batch in and says what was dropped for it, or gives it back if
    /// it does not fit or the other end is gone.
    pub(super) fn send(&self, batch: Batch) -> Result<Evicted, Batch> {
        let mut state = self.0.state();
        if self.0.closed() {
            return Err(batch);
        }
        let Some(evicted) = state.make_room(&batch, self.0.limits, self.0.overflow) else {
            return Err(batch);
        };
        state.spans += batch.spans;
        state.bytes += batch.bytes.len();
        state.waiting.push_back(batch);
        drop(state);
        self.0.changed.notify_one();
        Ok(evicted)
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
    pub(super) fn settle(&self, spans: u64, bytes: usize, buffer: Vec<u8>) {
        self.0.state().settle(spans, bytes, buffer);
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

    const SMALL: QueueLimits = QueueLimits {
        spans: 10,
        bytes: 100,
    };

    #[tokio::test]
    async fn the_oldest_make_room_but_not_the_one_on_its_way() {
        let (sender, receiver) = queue(SMALL, Overflow::Oldest);
        for n in 1..=4 {
            assert_eq!(sender.send(batch(n, 10)).unwrap(), Evicted::default());
        }
        let on_its_way = receiver.next().await.unwrap();
        let evicted = sender.send(batch(5, 10)).unwrap();
        assert_eq!((evicted.spans, evicted.bytes), (5, 20));
        assert_eq!(sender.send(batch(2, 90)).unwrap().spans, 9);
        // Not even alone beside the one that is being delivered.
        assert_eq!(sender.send(batch(2, 91)).unwrap_err().spans, 2);
        assert_eq!(sender.send(batch(10, 1)).unwrap_err().spans, 10);
        receiver.settle(1, 10, on_its_way.bytes);
        assert_eq!(receiver.next().await.unwrap().spans, 2);
    }

    #[tokio::test]
    async fn the_limits_hold_until_a_batch_is_settled() {
        let (sender, receiver) = queue(SMALL, Overflow::Newest);
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
        let (sender, receiver) = queue(QueueLimits::default(), Overflow::Newest);
        sender.send(batch(1, 1)).unwrap();
        drop(sender);
        assert!(receiver.closed());
        assert_eq!(receiver.next().await.unwrap().spans, 1);
        assert!(receiver.next().await.is_none());
        assert!(receiver.next().await.is_none());
    }

    #[tokio::test]
    async fn a_batch_wakes_the_receiver_and_a_lost_receiver_refuses() {
        let (sender, receiver) = queue(QueueLimits::default(), Overflow::Newest);
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
        let (sender, receiver) = queue(QueueLimits::default(), Overflow::Newest);
        assert_eq!(sender.buffer().capacity(), 0);
        for _ in 0..10 {
            receiver.settle(0, 0, vec![1; 77]);
        }
        let buffer = sender.buffer();
        assert!(buffer.is_empty() && buffer.capacity() >= 77);
        assert_eq!(sender.0.state().spare.len(), SPARE_BUFFERS - 1);
    }
}
