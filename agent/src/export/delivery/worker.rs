//! The loop that delivers one backend's batches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::{Backoff, Retry};
use super::client::{Answer, Client, NoAnswer, shown};
use super::gzip::Outgoing;
use super::search::Search;
use super::udp::Datagrams;
use crate::export::complaints::Complaints;
use crate::export::cut::Cut;
use crate::export::datagrams;
use crate::export::partial::ReadPartial;
use crate::export::queue::{Batch, Receiver};
use crate::ledger::{BackendLedger, Undelivered};

/// Longest wait between attempts once the run is over.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// How bodies leave.
#[derive(Debug)]
pub(super) enum Transport {
    Http(Box<Client>),
    Udp(Datagrams),
}

/// Delivers the batches of one backend.
#[derive(Debug)]
pub struct Worker {
    queue: Receiver,
    transport: Transport,
    cut: Cut,
    partial: ReadPartial,
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

/// A batch that has left the queue.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// Spans that are neither sent nor dropped.
    spans: u64,
    bytes: usize,
    first_attempt: Option<Instant>,
}

/// What came of one attempt.
enum Outcome {
    /// The server took it, but for so many spans.
    Sent(u64),
    Rejected(Answer),
    TooLarge,
    /// With how long the server wants to be left alone.
    Again(Option<Duration>),
}

/// What became of one part of a batch.
enum Fate {
    /// All is counted.
    Settled,
    /// The server refuses it as it is, for what is in it perhaps.
    Refused(Answer),
    /// The batch has no time left.
    GaveUp,
}

impl Worker {
    pub(super) fn new(
        queue: Receiver,
        transport: Transport,
        (cut, partial): (Cut, ReadPartial),
        (retry, grace): (Retry, Duration),
        ledger: Arc<BackendLedger>,
    ) -> Self {
        Self {
            queue,
            transport,
            cut,
            partial,
            retry,
            grace,
            ledger,
            backoff: Backoff::default(),
            not_before: Instant::now(),
            complaints: Complaints::default(),
            current: None,
        }
    }

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
        let (spans, bytes) = (batch.spans, batch.bytes.len());
        self.current = Some(Current {
            spans,
            bytes,
            first_attempt: None,
        });
        let body = Bytes::from(batch.bytes);
        match self.transport {
            Transport::Http(_) => self.deliver_body(&body, spans).await,
            Transport::Udp(_) => self.deliver_datagrams(&body).await,
        }
        // What a malformed batch did not account for.
        let left = self.current.map_or(0, |current| current.spans);
        self.drop_spans(Undelivered::Rejected, left);
        self.current = None;
        self.ledger.queued_bytes.sub(bytes as u64);
        // The client is done with its share, unless it was cut off.
        let buffer = body.try_into_mut().map_or_else(|_| Vec::new(), Vec::from);
        self.queue.settle(spans, bytes, buffer);
    }

    async fn deliver_body(&mut self, body: &Bytes, spans: u64) {
        let mut search = Search::new(spans);
        while let Some(part) = search.next() {
            let count = part.end.saturating_sub(part.start);
            let bytes = if count == spans {
                body.clone()
            } else if let Some(bytes) = (self.cut)(body, part.clone()) {
                bytes.into()
            } else {
                self.drop_spans(Undelivered::Rejected, count);
                continue;
            };
            match self.deliver_part(bytes, count).await {
                Fate::Settled => search.accepted(),
                Fate::Refused(answer) => {
                    if answer.is_about_spans() && search.halve(&part) {
                        self.ledger.splits.add(1);
                        self.complain_refused(
                            "batch refused, its halves are tried",
                            count,
                            &answer,
                        );
                    } else {
                        self.drop_spans(Undelivered::Rejected, count);
                        self.complain_refused("spans refused and dropped", count, &answer);
                    }
                }
                Fate::GaveUp => {
                    self.give_up();
                    return;
                }
            }
        }
    }

    async fn deliver_datagrams(&mut self, body: &Bytes) {
        for datagram in datagrams::iter(body) {
            let payload = body.slice_ref(datagram.payload);
            if let Fate::GaveUp = self.deliver_part(payload, datagram.spans.into()).await {
                self.give_up();
                return;
            }
        }
        self.ledger.batches.add(1);
    }

    /// Tries until the server has decided, or the batch's time is over.
    async fn deliver_part(&mut self, bytes: Bytes, spans: u64) -> Fate {
        let mut body = Outgoing::new(bytes);
        loop {
            self.wait_turn().await;
            let now = Instant::now();
            let started = self
                .current
                .as_mut()
                .map_or(now, |current| *current.first_attempt.get_or_insert(now));
            match self.attempt(&mut body, spans).await {
                Outcome::Sent(rejected) => {
                    self.backoff.succeeded();
                    let rejected = rejected.min(spans);
                    self.take(spans - rejected);
                    self.ledger.sent.add(spans - rejected);
                    self.drop_spans(Undelivered::Rejected, rejected);
                    if let Transport::Http(_) = self.transport {
                        self.ledger.batches.add(1);
                    }
                    return Fate::Settled;
                }
                Outcome::Rejected(answer) => {
                    self.backoff.succeeded();
                    return Fate::Refused(answer);
                }
                Outcome::TooLarge => {
                    self.drop_spans(Undelivered::TooLarge, spans);
                    return Fate::Settled;
                }
                Outcome::Again(asked) => {
                    let mut wait = self.backoff.failed(&self.retry, asked);
                    if self.queue.closed() && asked.is_none() {
                        wait = wait.min(LAST_WAIT);
                    }
                    self.not_before = Instant::now() + wait;
                    if started.elapsed() + wait > self.retry.give_up_after {
                        return Fate::GaveUp;
                    }
                    self.ledger.retries.add(1);
                }
            }
        }
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

    async fn attempt(&mut self, body: &mut Outgoing, spans: u64) -> Outcome {
        let answer = match &mut self.transport {
            Transport::Http(client) => client.post(body).await,
            Transport::Udp(datagrams) => match datagrams.send(&body.plain).await {
                Ok(()) => return Outcome::Sent(0),
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(answer) => {
                self.ledger.latency.observe(answer.took);
                match answer.status {
                    200..300 => Outcome::Sent(self.refused_in(&answer)),
                    // Request Timeout, Too Early, Too Many Requests.
                    408 | 425 | 429 | 500.. => {
                        self.complain(answer.status, &answer);
                        // A gateway that lost the server's answer.
                        if let 502 | 504 = answer.status {
                            self.ledger.repeated.add(spans);
                        }
                        Outcome::Again(answer.retry_after)
                    }
                    _ => {
                        self.ledger.failures.add(1);
                        Outcome::Rejected(answer)
                    }
                }
            }
            Err(error) => {
                self.complain(error.kind(), &error);
                if error.may_have_arrived() {
                    self.ledger.repeated.add(spans);
                }
                match error {
                    NoAnswer::TooLarge { .. } => Outcome::TooLarge,
                    _ => Outcome::Again(None),
                }
            }
        }
    }

    /// Spans that an answer refuses although it is a success.
    fn refused_in(&mut self, answer: &Answer) -> u64 {
        let Some(partial) = (self.partial)(&answer.body) else {
            return 0;
        };
        let why = format!(
            "status {}, but {} spans refused: {}",
            answer.status,
            partial.rejected,
            shown(partial.message.as_bytes())
        );
        self.ledger.note_error(&why);
        if let Some(unsaid) = self.complaints.may_say(answer.status) {
            tracing::error!(backend = self.ledger.name(), unsaid, "{why}");
        }
        partial.rejected
    }

    fn complain(&mut self, kind: u16, why: &impl std::fmt::Display) {
        self.ledger.failures.add(1);
        self.ledger.note_error(why);
        if let Some(unsaid) = self.complaints.may_say(kind) {
            tracing::warn!(
                backend = self.ledger.name(),
                unsaid,
                "delivery failed: {why}"
            );
        }
    }

    fn complain_refused(&mut self, what: &str, spans: u64, answer: &Answer) {
        self.ledger.note_error(answer);
        if let Some(unsaid) = self.complaints.may_say(answer.status) {
            tracing::error!(
                backend = self.ledger.name(),
                spans,
                unsaid,
                "{what}: {answer}"
            );
        }
    }

    /// So many spans of the current batch are accounted for.
    fn take(&mut self, spans: u64) {
        if let Some(current) = &mut self.current {
            current.spans = current.spans.saturating_sub(spans);
        }
    }

    fn drop_spans(&mut self, reason: Undelivered, spans: u64) {
        self.take(spans);
        self.ledger.dropped.add(reason, spans);
    }

    fn give_up(&mut self) {
        let spans = self.current.map_or(0, |current| current.spans);
        self.drop_spans(Undelivered::GaveUp, spans);
        if let Some(unsaid) = self.complaints.may_say(0) {
            tracing::error!(
                backend = self.ledger.name(),
                spans,
                unsaid,
                after = ?self.retry.give_up_after,
                "spans dropped, the backend did not take them in time"
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

impl Answer {
    /// Whether the refusal may be about one of the spans. Other statuses speak
    /// of who asks, of where, or of how: no part of the batch would fare
    /// better.
    const fn is_about_spans(&self) -> bool {
        match self.status {
            401..=407 | 410 | 411 | 415 | 421 | 426 | 431 | 451 => false,
            status => 400 <= status && status < 500,
        }
    }
}

impl Drop for Worker {
    /// A worker that is cancelled from outside still accounts for its spans.
    fn drop(&mut self) {
        self.abandon();
    }
}
