//! Which response answers which request.
//!
//! Responses come in the order of their requests (RFC 9112 section 9.3.2), so
//! as long as nothing is lost the oldest open request is the one. What is lost
//! brings doubt, and a response must not be given to another request. The
//! rules rest on one observation: a client that does not pipeline sends a
//! request when everything before it is answered, and one that sends batches
//! sends a batch when everything before it is answered.
//!
//! - **Bytes of requests are missing** where a message had to start, so at
//!   least one request is hidden. What was open before stays certain. If
//!   nothing was open and a response was seen that nobody had asked for, the
//!   hidden request is the one it answered, and nothing is in doubt.
//! - **Bytes of responses are missing** where a message had to start. Every
//!   open request is in doubt.
//! - In doubt, finished responses are kept. When a request begins behind one
//!   of them and none is under way, everything before it is answered: if no bytes
//!   of requests are missing before it, the last response answers the last
//!   request, and so on backwards; what is left over is lost. If bytes are
//!   missing, the kept responses may answer hidden requests, and all is lost.
//!   So is all where the open requests want different framing (`HEAD`).
//! - If the connection ends in doubt, the responses are given out only if there
//!   is one for every open request but the one whose response is missing.
//! - A client that keeps several requests on their way all the time breaks the
//!   observation. It gives itself away by a request that comes behind one
//!   response and before the next, where neither is in doubt; from then on
//!   doubt loses everything to the end of the connection.
//!
//! At a client the record of a fast response can come before that of its
//! request, because another thread receives it before the send returns. The
//! entry of the send is earlier all the same: a response that nobody asked for
//! is kept for one that begins before it.

use std::collections::VecDeque;

use super::exchange::{BodySize, Exchange, Failure, Output};
use super::owed::Owed;
use super::quick::Pace;
use super::sink::Sink;
use super::stream::Hidden;
use crate::units::MonoNanos;

/// Responses that are kept in doubt.
const MAX_KEPT: usize = 64;

/// The open requests of a connection.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    queue: VecDeque<Open>,
    /// So many of the oldest requests are answered by the next responses.
    certain: usize,
    /// So many of the newest requests have no bytes missing between them.
    contiguous: usize,
    /// Responses since the last request that nobody had asked for.
    unasked: u32,
    /// A response has come since the queue was last empty.
    replied: bool,
    /// A response has come since the last request.
    answered_since: bool,
    /// The client keeps several requests on their way.
    sliding: bool,
    /// It did when doubt arose.
    hopeless: bool,
    /// What those ask for whose requests were given up for want of room: the
    /// next responses are theirs.
    owed: Owed,
    rare: Option<Box<Rare>>,
}

/// What is only needed in doubt.
#[derive(Debug, Default)]
struct Rare {
    /// Responses to give out, oldest first.
    kept: Vec<Reply>,
    /// Requests are hidden among the open ones.
    hidden: bool,
    /// Responses are missing, or may be.
    gap: Hidden,
    /// The first response behind the certain ones was left to a hidden
    /// request.
    absorbed: bool,
    /// A response that came before the record of its request may.
    early: Option<Reply>,
}

/// A request that is not answered.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) exchange: Box<Exchange>,
    pub(super) asks: Asks,
    /// It began behind a response while another was open.
    pub(super) behind_reply: bool,
}

/// What of a request decides how its response is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing.
    #[default]
    Any,
    /// `HEAD`: no body.
    Head,
    /// `CONNECT`: success ends HTTP.
    Connect,
}

/// A response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) first_byte: MonoNanos,
    pub(super) end: MonoNanos,
    pub(super) body: BodySize,
    pub(super) failure: Option<Failure>,
    pub(super) lenient: bool,
    pub(super) answers: Answers,
}

/// Which request a response belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// The exchange of this serial.
    Known(u64),
    /// One of the open ones.
    Doubt,
    /// None that was seen.
    Nobody,
    /// One that was seen and given up.
    GivenUp,
}

impl Asks {
    /// What a request of this method wants.
    #[inline(always)]
    pub(super) const fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Any,
        }
    }
}

impl Pairing {
    /// What comes next if that is certain.
    pub(super) fn pace(&self) -> Pace {
        let usual =
            self.rare.is_none() && self.owed.is_nothing() && !self.sliding && !self.hopeless;
        match (self.queue.front(), self.queue.len(), self.certain) {
            (None, 0, 0) if usual && self.unasked == 0 => Pace::Request,
            (Some(open), 1, 1) if usual && open.asks == Asks::Any => Pace::Response,
            _ => Pace::Unknown,
        }
    }

    /// A request at [`Pace::Request`]: what [`Pairing::push`] would do.
    #[inline(always)]
    pub(super) fn push_only(&mut self, open: Open) {
        self.queue.push_back(open);
        self.certain = 1;
        self.contiguous += 1;
        self.replied = false;
        self.answered_since = false;
    }

    /// The request that is answered at [`Pace::Response`].
    #[inline(always)]
    pub(super) fn pop_only(&mut self) -> Option<Open> {
        self.certain = 0;
        self.replied = true;
        self.answered_since = true;
        self.queue.pop_front()
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The open exchange of this serial.
    pub(super) fn find(&mut self, serial: u64) -> Option<&mut Exchange> {
        let mut newest_first = self.queue.iter_mut().rev();
        newest_first
            .find(|open| open.exchange.began.serial == serial)
            .map(|open| &mut *open.exchange)
    }

    pub(super) fn is_sliding(&self) -> bool {
        self.sliding
    }

    /// Whether one request is open and the next response is its.
    #[inline(always)]
    pub(super) fn is_one_certain(&self) -> bool {
        self.certain == 1 && self.queue.len() == 1 && !self.sliding && self.owed.is_nothing()
    }

    #[inline(always)]
    fn in_doubt(&self) -> bool {
        self.certain < self.queue.len()
            || self.rare.as_ref().is_some_and(|rare| !rare.kept.is_empty())
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// A request begins. `before`: what is missing before it. `replies`: what
    /// is missing behind the last response, if none is under way.
    #[inline(always)]
    pub(super) fn before_request(
        &mut self,
        before: Hidden,
        replies: Option<Hidden>,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let quiet = replies.is_some();
        if quiet && self.answered_since && self.in_doubt() {
            self.settle(before, replies, now, sink, out);
        }
        if before > Hidden::None {
            self.contiguous = 0;
        }
        let accounted = self.queue.is_empty() && quiet && self.unasked > 0 && !self.sliding;
        if before == Hidden::Surely && !accounted {
            sink.counters.doubts += 1;
            self.hopeless |= self.sliding;
            self.rare().hidden = true;
        }
    }

    /// A request begins in doubt, and none is under way.
    #[inline(never)]
    fn settle(
        &mut self,
        before: Hidden,
        replies: Option<Hidden>,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let kept = self.rare.as_ref().map_or(0, |rare| rare.kept.len());
        self.hopeless |= self.sliding;
        let seen = before == Hidden::None && replies == Some(Hidden::None);
        if seen && !self.sliding {
            self.align(now, sink, out);
        } else {
            self.lose_all(now, sink, out);
        }
        // They answered what is hidden, as any other that nobody asked
        // for.
        self.unasked += u32::try_from(kept).unwrap_or(u32::MAX);
    }

    /// The request itself, directly behind [`Pairing::before_request`].
    #[inline(always)]
    pub(super) fn push(&mut self, mut open: Open) {
        let hidden = self.rare.as_ref().is_some_and(|rare| rare.hidden);
        let certain = !hidden && !self.hopeless && !self.in_doubt();
        if self.queue.is_empty() {
            self.replied = false;
        }
        open.behind_reply = self.replied;
        self.queue.push_back(open);
        self.contiguous += 1;
        if certain {
            self.certain = self.queue.len();
        }
        self.unasked = 0;
        self.answered_since = false;
    }

    /// Takes the response that came before the record of the only open
    /// request.
    pub(super) fn take_early(&mut self) -> Option<Reply> {
        let early = self.rare.as_mut()?.early.take()?;
        self.early_fits(&early).then_some(early)
    }

    /// Whether this response, which nobody had asked for, answers the only
    /// open request.
    pub(super) fn early_fits(&self, reply: &Reply) -> bool {
        self.certain == 1
            && self.queue.len() == 1
            && self.owed.is_nothing()
            && self
                .queue
                .front()
                .is_some_and(|open| open.exchange.began.start < reply.first_byte)
    }

    /// The first response begins, and requests are missing before the first
    /// one that was seen.
    pub(super) fn requests_were_hidden(&mut self, sink: &mut Sink) {
        if !self.queue.is_empty() {
            sink.counters.doubts += 1;
            self.certain = 0;
            self.rare().hidden = true;
        }
    }

    /// Responses are missing before the one that begins now.
    pub(super) fn response_gap(&mut self, before: Hidden, sink: &mut Sink) {
        if self.owed.forget() {
            // Nobody knows how many of them are still to come.
            self.rare().hidden = true;
        }
        if !self.queue.is_empty() {
            sink.counters.doubts += 1;
            self.certain = 0;
            self.hopeless |= self.sliding;
            let rare = self.rare();
            rare.gap = rare.gap.max(before);
            // They cannot be counted back to any more.
            rare.kept.clear();
        }
    }

    /// Whom the final response that begins now answers, and how that one
    /// wants it framed; `None` if the open requests differ in that.
    #[inline(always)]
    pub(super) fn bind(
        &mut self,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> (Answers, Option<Asks>) {
        if let Some(asks) = self.owed.pay() {
            return (Answers::GivenUp, Some(asks));
        }
        let Some(front) = self.queue.front() else {
            return (Answers::Nobody, Some(Asks::Any));
        };
        let asks = front.asks;
        if self.certain > 0 {
            return (Answers::Known(front.exchange.began.serial), Some(asks));
        }
        self.bind_in_doubt(asks, now, sink, out)
    }

    #[inline(never)]
    fn bind_in_doubt(
        &mut self,
        asks: Asks,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> (Answers, Option<Asks>) {
        let rare = self.rare.get_or_insert_default();
        if rare.hidden && rare.gap == Hidden::None && !rare.absorbed {
            // Nothing is missing between the last certain response and this
            // one, and the next request was a hidden one.
            rare.absorbed = true;
            return (Answers::Nobody, Some(Asks::Any));
        }
        // The oldest one's response is missing, if it is not all that is open.
        let missing = rare.gap == Hidden::Surely && !rare.hidden && self.queue.len() > 1;
        let mut candidates = self.queue.iter().skip(usize::from(missing));
        let asks = candidates.next().map_or(asks, |open| open.asks);
        if candidates.any(|open| open.asks != asks) {
            self.lose_all(now, sink, out);
            return (Answers::Nobody, None);
        }
        (Answers::Doubt, Some(asks))
    }

    /// A response is over.
    #[inline(always)]
    pub(super) fn complete(
        &mut self,
        reply: Reply,
        client: bool,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.answered_since = true;
        match reply.answers {
            Answers::Known(serial) => {
                let front = self.queue.front();
                if front.is_some_and(|open| open.exchange.began.serial == serial) {
                    self.certain = self.certain.saturating_sub(1);
                    self.answer_front(&reply, sink, out);
                    self.watch_for_sliding(&reply);
                }
            }
            _ => self.complete_unknown(reply, client, sink, out),
        }
    }

    #[inline(never)]
    fn complete_unknown(
        &mut self,
        reply: Reply,
        client: bool,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        match reply.answers {
            Answers::Doubt if self.in_doubt() => {
                self.rare().kept.push(reply);
                if self.rare().kept.len() > MAX_KEPT {
                    self.lose_all(reply.end, sink, out);
                    // Responses to them may still come.
                    self.rare().hidden = true;
                }
            }
            Answers::Doubt | Answers::Known(_) | Answers::GivenUp => {}
            Answers::Nobody if client && self.early_fits(&reply) => {
                self.certain = 0;
                self.answer_front(&reply, sink, out);
            }
            Answers::Nobody => {
                self.unasked += 1;
                sink.counters.responses_unasked += 1;
                if client && self.queue.is_empty() {
                    self.rare().early = Some(reply);
                }
            }
        }
    }

    #[inline(always)]
    fn watch_for_sliding(&mut self, reply: &Reply) {
        self.sliding |= self
            .queue
            .back()
            .is_some_and(|open| open.behind_reply && open.exchange.began.start < reply.first_byte);
    }

    #[inline(always)]
    fn answer_front(&mut self, reply: &Reply, sink: &mut Sink, out: &mut Vec<Output>) {
        if let Some(open) = self.queue.pop_front() {
            self.replied = true;
            answered(open, reply, sink, out);
        }
    }

    /// The response to the oldest request was seen and its head was lost.
    pub(super) fn response_lost(&mut self, now: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        self.answered_since = true;
        if self.owed.pay().is_some() {
            return;
        }
        if self.certain > 0
            && let Some(open) = self.queue.pop_front()
        {
            self.certain -= 1;
            self.replied = true;
            unanswered(open, Failure::Lost, now, sink, out);
        }
    }

    /// Everything is answered: gives the kept responses out from the back,
    /// unless one would come before its request.
    fn align(&mut self, now: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        let kept = self.end_doubt();
        let possible = self
            .queue
            .iter()
            .rev()
            .zip(kept.iter().rev())
            .all(|(open, reply)| open.exchange.began.start <= reply.first_byte);
        if !possible {
            return self.give_up(Failure::Lost, now, sink, out);
        }
        let pairs = kept.len().min(self.queue.len()).min(self.contiguous);
        let lost = self.queue.len() - pairs;
        for open in self.queue.drain(..lost) {
            unanswered(open, Failure::Lost, now, sink, out);
        }
        let replies = kept.iter().skip(kept.len() - pairs);
        for (open, reply) in self.queue.drain(..).zip(replies) {
            answered(open, reply, sink, out);
        }
    }

    /// There is no room for another open request: all are given up, and their
    /// responses will be nobody's else.
    #[inline(never)]
    pub(super) fn make_room(&mut self, now: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        let counted = !self.in_doubt() && !self.hopeless;
        if counted {
            self.hopeless = !self.owed.add(self.queue.iter().map(|open| open.asks));
        }
        self.lose_all(now, sink, out);
        if !counted || self.hopeless {
            self.owed.forget();
            self.rare().hidden = true;
        }
    }

    /// Nobody can say what answers what.
    pub(super) fn lose_all(&mut self, now: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        self.end_doubt();
        self.give_up(Failure::Lost, now, sink, out);
    }

    fn end_doubt(&mut self) -> Vec<Reply> {
        self.certain = 0;
        self.rare.take().map(|rare| rare.kept).unwrap_or_default()
    }

    /// No more responses will come. `all_seen`: nothing is missing behind the
    /// last messages.
    pub(super) fn end(
        &mut self,
        failure: Failure,
        all_seen: bool,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        if self.in_doubt() {
            let rare = self.rare.get_or_insert_default();
            let missing = usize::from(rare.gap == Hidden::Surely && !rare.hidden);
            let all_else_is_there = rare.kept.len() + missing == self.queue.len();
            let guessed = rare.absorbed || self.sliding || !all_seen;
            if !rare.kept.is_empty() && all_else_is_there && !guessed {
                self.align(now, sink, out);
            } else {
                self.lose_all(now, sink, out);
            }
        }
        self.rare = None;
        self.owed.forget();
        self.give_up(failure, now, sink, out);
    }

    fn give_up(
        &mut self,
        failure: Failure,
        now: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.certain = 0;
        for open in self.queue.drain(..) {
            unanswered(open, failure, now, sink, out);
        }
    }
}

#[inline(always)]
fn answered(mut open: Open, reply: &Reply, sink: &mut Sink, out: &mut Vec<Output>) {
    let exchange = &mut open.exchange;
    exchange.status = Some(reply.status);
    exchange.first_byte = Some(reply.first_byte);
    exchange.end = reply.end;
    exchange.response_body = reply.body;
    exchange.failure = reply.failure.or(exchange.failure);
    exchange.lenient |= reply.lenient;
    finish(open, sink, out);
}

/// A cause that was known before, as a request cut short, is the better one.
fn unanswered(
    mut open: Open,
    failure: Failure,
    now: MonoNanos,
    sink: &mut Sink,
    out: &mut Vec<Output>,
) {
    let exchange = &mut open.exchange;
    exchange.failure = exchange.failure.or(Some(failure));
    exchange.end = now.max(exchange.began.start);
    finish(open, sink, out);
}

#[inline(always)]
fn finish(open: Open, sink: &mut Sink, out: &mut Vec<Output>) {
    let counters = &mut sink.counters;
    counters.finished += 1;
    match open.exchange.failure {
        Some(Failure::Lost) => counters.lost += 1,
        Some(Failure::Expired) => counters.expired += 1,
        _ => {}
    }
    sink.release(open.exchange.text.len());
    out.push(Output::Finished(open.exchange));
}
