//! Batches reach a backend over HTTP, or their loss is counted.
//!
//! One worker per backend, so a dead one slows no other. Delivery is at least
//! once: an attempt whose answer was lost is repeated with the same ids, and
//! counted as such. 2xx is success (Zipkin answers 202); connection errors,
//! 429 and 5xx are repeated; any other status drops the batch.

mod backoff;
mod client;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use self::backoff::Backoff;
use self::client::{Answer, Client, NoAnswer};
use super::Encoder;
use super::batcher::{BatchLimits, Batcher};
use super::complaints::Complaints;
use super::queue::{Batch, QueueLimits, Receiver, queue};
use crate::ledger::{BackendLedger, Undelivered};

pub use backoff::Retry;
pub use client::Timeouts;
pub use target::{Target, TargetError};

/// Longest wait between attempts once the run is over.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// How a backend is fed.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where it listens.
    pub target: Target,
    /// When a batch is handed over.
    pub batch: BatchLimits,
    /// What may wait.
    pub queue: QueueLimits,
    /// How long an attempt may take.
    pub timeouts: Timeouts,
    /// How attempts are repeated.
    pub retry: Retry,
    /// How long the worker goes on after [`Batcher::close`].
    pub grace: Duration,
}

impl Delivery {
    /// Delivery to this target with defaults for all else; 5 s of grace.
    #[must_use]
    pub fn to(target: Target) -> Self {
        Self {
            target,
            batch: BatchLimits::default(),
            queue: QueueLimits::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            grace: Duration::from_secs(5),
        }
    }

    /// The backend's two ends: the pipeline keeps the first, a task runs the
    /// second.
    #[must_use]
    pub fn start(self, encoder: Box<dyn Encoder>, ledger: Arc<BackendLedger>) -> (Batcher, Worker) {
        let (sender, receiver) = queue(self.queue);
        let client = Client::new(self.target, encoder.content_type(), self.timeouts);
        let batcher = Batcher::new(encoder, self.batch, sender, Arc::clone(&ledger));
        let worker = Worker {
            queue: receiver,
            client,
            retry: self.retry,
            grace: self.grace,
            ledger,
            backoff: Backoff::default(),
            not_before: Instant::now(),
            complaints: Complaints::default(),
            current: None,
        };
        (batcher, worker)
    }
}

/// Delivers the batches of one backend.
#[derive(Debug)]
pub struct Worker {
    queue: Receiver,
    client: Client,
    retry: Retry,
    grace: Duration,
    ledger: Arc<BackendLedger>,
    backoff: Backoff,
    /// A server that failed is left alone until then, whatever the batch.
    not_before: Instant,
    complaints: Complaints,
    /// The batch being delivered: it must be counted if time runs out.
    current: Option<Current>,
}

/// Size of a batch that has left the queue.
#[derive(Clone, Copy, Debug)]
struct Current {
    spans: u64,
    bytes: usize,
}

/// What came of one attempt.
enum Outcome {
    Sent,
    Rejected(Answer),
    /// With how long the server wants to be left alone.
    Again(Option<Duration>),
}

impl Worker {
    /// Runs until the pipeline has closed its end and all is delivered, or the
    /// grace time after that is over; what is left then is counted as dropped.
    pub async fn run(mut self) {
        let mut closing = self.queue.closing();
        let grace = self.grace;
        tokio::select! {
            biased;
            () = self.deliver_all() => {}
            () = async {
                let _ = closing.wait_for(|closed| *closed).await;
                sleep(grace).await;
            } => self.abandon(),
        }
    }

    async fn deliver_all(&mut self) {
        while let Some(batch) = self.queue.next().await {
            self.deliver(batch).await;
        }
    }

    async fn deliver(&mut self, batch: Batch) {
        let current = Current {
            spans: batch.spans,
            bytes: batch.bytes.len(),
        };
        self.current = Some(current);
        let body = Bytes::from(batch.bytes);
        let mut first_attempt = None;
        loop {
            self.wait_turn().await;
            let started = *first_attempt.get_or_insert_with(Instant::now);
            match self.attempt(body.clone(), current.spans).await {
                Outcome::Sent => {
                    self.backoff.succeeded();
                    self.ledger.sent.add(current.spans);
                    self.ledger.batches.add(1);
                    break;
                }
                Outcome::Rejected(answer) => {
                    self.backoff.succeeded();
                    self.drop_rejected(current.spans, &answer);
                    break;
                }
                Outcome::Again(asked) => {
                    let mut wait = self.backoff.failed(&self.retry, asked);
                    if self.queue.closed() && asked.is_none() {
                        wait = wait.min(LAST_WAIT);
                    }
                    self.not_before = Instant::now() + wait;
                    if started.elapsed() + wait > self.retry.give_up_after {
                        self.drop_given_up(current.spans);
                        break;
                    }
                    self.ledger.retries.add(1);
                }
            }
        }
        self.current = None;
        self.ledger.queued_bytes.sub(current.bytes as u64);
        // The client is done with its share, unless it was cut off.
        let buffer = body.try_into_mut().map_or_else(|_| Vec::new(), Vec::from);
        self.queue.settle(current.spans, current.bytes, buffer);
    }

    /// Leaves a server that failed alone for a while; the end of the run cuts
    /// that short, once.
    async fn wait_turn(&mut self) {
        let was_closed = self.queue.closed();
        let mut closing = self.queue.closing();
        tokio::select! {
            () = sleep_until(self.not_before) => {}
            _ = closing.wait_for(|closed| *closed), if !was_closed => {}
        }
    }

    async fn attempt(&mut self, body: Bytes, spans: u64) -> Outcome {
        match self.client.post(body).await {
            Ok(answer) => match answer.status {
                200..300 => Outcome::Sent,
                429 | 500.. => {
                    self.complain(answer.status, &answer);
                    Outcome::Again(answer.retry_after)
                }
                _ => Outcome::Rejected(answer),
            },
            Err(error) => {
                self.complain_no_answer(&error);
                if error.may_have_arrived() {
                    self.ledger.repeated.add(spans);
                }
                Outcome::Again(None)
            }
        }
    }

    fn complain_no_answer(&mut self, error: &NoAnswer) {
        self.complain(error.kind(), error);
    }

    fn complain(&mut self, kind: u16, why: &impl std::fmt::Display) {
        self.ledger.note_error(why);
        if let Some(unsaid) = self.complaints.may_say(kind) {
            tracing::warn!(
                backend = self.ledger.name(),
                unsaid,
                "delivery failed and is repeated: {why}"
            );
        }
    }

    fn drop_rejected(&mut self, spans: u64, answer: &Answer) {
        self.ledger.dropped.add(Undelivered::Rejected, spans);
        self.ledger.note_error(answer);
        if let Some(unsaid) = self.complaints.may_say(answer.status) {
            tracing::error!(
                backend = self.ledger.name(),
                spans,
                unsaid,
                "batch refused and dropped: {answer}"
            );
        }
    }

    fn drop_given_up(&mut self, spans: u64) {
        self.ledger.dropped.add(Undelivered::GaveUp, spans);
        if let Some(unsaid) = self.complaints.may_say(0) {
            tracing::error!(
                backend = self.ledger.name(),
                spans,
                unsaid,
                after = ?self.retry.give_up_after,
                "batch dropped, the backend did not take it in time"
            );
        }
    }

    /// Counts what could not be delivered in time.
    fn abandon(&mut self) {
        let waiting = self.queue.abandon();
        let on_its_way = self.current.take();
        let spans = waiting.iter().map(|batch| batch.spans).sum::<u64>()
            + on_its_way.map_or(0, |current| current.spans);
        let bytes = waiting.iter().map(|batch| batch.bytes.len()).sum::<usize>()
            + on_its_way.map_or(0, |current| current.bytes);
        self.ledger.dropped.add(Undelivered::Shutdown, spans);
        self.ledger.queued_bytes.sub(bytes as u64);
        if spans > 0 {
            tracing::warn!(
                backend = self.ledger.name(),
                spans,
                grace = ?self.grace,
                "spans dropped at shutdown"
            );
        }
    }
}

impl Drop for Worker {
    /// A worker that is cancelled from outside still accounts for its spans.
    fn drop(&mut self) {
        self.abandon();
    }
}
