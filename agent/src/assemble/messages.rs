//! What messages mean: requests begin exchanges, responses end them.

use siphasher::sip::SipHasher13;
use siphasher::sip128;

use super::connection::Connection;
use super::exchange::{Began, BodySize, Opaque, Output, Seed, Text};
use super::pairing::{Answers, Asks, Open, Reply};
use super::quick::texts;
use super::sink::Sink;
use super::stream::{Call, First, Hidden, Phase, Sizes};
use crate::http::chunked::Chunks;
use crate::http::context::TraceContext;
use crate::http::head::{Body, RequestHead, ResponseHead, request_body, response_body};
use crate::units::{ConnId, Direction, MonoNanos, Side, WireId};

impl Connection {
    /// The head of a request is complete.
    #[inline(always)]
    pub(super) fn request(
        &mut self,
        direction: Direction,
        head: &RequestHead<'_>,
        bytes: &[u8],
        first: &First,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let side = self.speaks_http(
            match direction {
                Direction::Out => Side::Client,
                Direction::In => Side::Server,
            },
            sink,
        );
        sink.counters.requests += 1;
        sink.counters.heads_lenient += u64::from(head.lenient);
        let now = first.call.exit;
        let hidden = std::mem::take(&mut self.stream(direction).hidden);
        let start = match side {
            Side::Client => first.call.entry,
            Side::Server => first.call.exit,
        };
        let quiet = self.responses_are_quiet(start, sink, out);
        let replies = self.responses();
        let replies = quiet.then_some(self.stream(replies).unseen());
        self.pairing.before_request(hidden, replies, now, sink, out);
        if self.pairing.len() >= sink.options.limits.pipelined {
            self.pairing.make_room(now, sink, out);
        }

        let began = self.began(side, head, bytes, first, start, sink.serial());
        let asks = Asks::of(head.method);
        let mut exchange = sink.spare();
        exchange.began = began;
        exchange.end = began.start;
        exchange.minor_version = head.minor;
        exchange.lenient = head.lenient;
        exchange.text.set(texts(head));
        sink.hold(exchange.text.len());
        sink.counters.began += 1;
        if !sink.options.only_finished {
            tell(&began, texts(head), sink, out);
        }
        self.pairing.push(Open {
            exchange,
            asks,
            behind_reply: false,
        });
        if quiet {
            self.align_responses();
        }
        self.begin_body(direction, request_body(head.framing));
        if self.stream(direction).in_body() {
            self.body_of = Some(began.serial);
        }
        if side == Side::Client {
            self.response_came_first(asks, sink, out);
        }
    }

    /// The head of a response is complete.
    #[inline(always)]
    pub(super) fn response(
        &mut self,
        direction: Direction,
        head: &ResponseHead,
        first: &First,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let side = self.speaks_http(
            match direction {
                Direction::In => Side::Client,
                Direction::Out => Side::Server,
            },
            sink,
        );
        sink.counters.heads_lenient += u64::from(head.lenient);
        let hidden = std::mem::take(&mut self.stream(direction).hidden);
        if hidden > Hidden::None {
            self.pairing.response_gap(hidden, sink);
        }
        if matches!(head.status, 100..=199) && head.status != 101 {
            // Interim: the final one comes behind it (RFC 9110 section 15.2).
            self.stream(direction).phase = Phase::Idle;
            return;
        }
        sink.counters.responses += 1;
        let (answers, Some(asks)) = self.pairing.bind(call.exit, sink, out) else {
            // Nobody knows where it ends.
            self.stream(direction).lose_start();
            return;
        };
        self.reply = Some(Reply {
            status: head.status,
            first_byte: match side {
                Side::Client => first.call.exit,
                Side::Server => first.call.entry,
            },
            end: call.exit,
            body: BodySize::default(),
            failure: None,
            lenient: head.lenient,
            answers,
        });
        // HTTP ends with 101 (RFC 9110 section 7.8) and with success of
        // CONNECT (section 9.3.6).
        let upgraded =
            head.status == 101 || asks == Asks::Connect && matches!(head.status, 200..=299);
        let body = if upgraded {
            Body::Empty
        } else {
            response_body(head.status, asks == Asks::Head, head.framing)
        };
        self.begin_body(direction, body);
        if body == Body::Empty {
            self.response_over(call.exit, sink, out);
        }
        if upgraded {
            self.go_opaque(Opaque::Upgraded, call, sink, out);
        }
    }

    #[inline(always)]
    fn begin_body(&mut self, direction: Direction, body: Body) {
        let stream = self.stream(direction);
        stream.body = Sizes::default();
        stream.phase = match body {
            Body::Empty => Phase::Idle,
            Body::Counted(length) => Phase::Counted(length),
            Body::Chunked => Phase::Chunked(Chunks::default()),
            Body::UntilClose => Phase::UntilClose,
        };
    }

    /// A message was seen, so it is HTTP and this end's part is known.
    #[inline(always)]
    fn speaks_http(&mut self, side: Side, sink: &mut Sink) -> Side {
        if self.strange.segments > 0 {
            self.nothing_strange();
        }
        *self.side.get_or_insert_with(|| {
            sink.counters.picked_up += u64::from(!self.fresh);
            side
        })
    }

    /// Whether no response is under way when a request begins.
    ///
    /// Unless the client pipelines, one whose framing was lost is over by now,
    /// and so is one that nobody had asked for: it may have answered a `HEAD`
    /// that was not seen, so that its body never comes.
    #[inline(always)]
    fn responses_are_quiet(
        &mut self,
        start: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.reply.is_some() {
            self.give_up_reply(start, sink, out);
        }
        let direction = self.responses();
        let phase = &self.stream(direction).phase;
        let between = matches!(phase, Phase::Idle | Phase::Seek);
        between && self.reply.is_none()
    }

    #[inline(never)]
    fn give_up_reply(&mut self, start: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        let direction = self.responses();
        let client = self.side == Some(Side::Client);
        let stream = self.stream(direction);
        let end = stream.last_exit;
        let framing_lost = matches!(stream.phase, Phase::ChunksLost(_));
        let over = match &self.reply {
            None => false,
            Some(_) if self.pairing.is_sliding() => false,
            Some(reply) if reply.answers == Answers::Nobody => {
                // At a client it may be the answer to this very request.
                self.pairing.is_empty() && !(client && start < reply.first_byte)
            }
            Some(_) => framing_lost && self.pairing.len() <= 1,
        };
        if over {
            self.message_over(direction, end, sink, out);
        }
    }

    /// With nothing open before the request, and nothing in doubt, whatever
    /// comes next from the other side is the start of its response.
    #[inline(always)]
    fn align_responses(&mut self) {
        let aligned = self.pairing.is_one_certain();
        let direction = self.responses();
        let stream = self.stream(direction);
        if aligned && matches!(stream.phase, Phase::Seek) {
            stream.phase = Phase::Idle;
            stream.hidden = Hidden::None;
        }
    }

    #[inline(always)]
    fn responses(&self) -> Direction {
        match self.side {
            Some(Side::Client) => Direction::In,
            _ => Direction::Out,
        }
    }

    /// At a client the record of a fast response may come before that of its
    /// request.
    fn response_came_first(&mut self, asks: Asks, sink: &mut Sink, out: &mut Vec<Output>) {
        if let Some(early) = self.pairing.take_early() {
            self.pairing.complete(early, true, sink, out);
        } else if let Some(reply) = &self.reply
            && reply.answers == Answers::Nobody
            && asks == Asks::Head
            && self.pairing.early_fits(reply)
        {
            // Its headers speak of a body that does not come.
            let end = reply.end;
            self.message_over(Direction::In, end, sink, out);
        }
    }

    /// The last byte of a message moved.
    #[inline(never)]
    pub(super) fn message_over(
        &mut self,
        direction: Direction,
        end: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        if self.requests() == Some(direction) {
            self.store_request_body();
            self.body_of = None;
            self.stream(direction).idle();
        } else {
            self.response_over(end, sink, out);
        }
    }

    /// Keeps the size of the request body under way, as far as it got.
    #[inline]
    pub(super) fn store_request_body(&mut self) {
        let Some((serial, direction)) = self.body_of.zip(self.requests()) else {
            return;
        };
        let size = self.stream(direction).body.size();
        if let Some(exchange) = self.pairing.find(serial) {
            exchange.request_body = size;
        }
    }

    #[inline]
    fn response_over(&mut self, end: MonoNanos, sink: &mut Sink, out: &mut Vec<Output>) {
        let direction = self.responses();
        let body = self.stream(direction).idle();
        self.store_request_body();
        if let Some(reply) = self.reply.take() {
            let reply = Reply { end, body, ..reply };
            let client = self.side == Some(Side::Client);
            self.pairing.complete(reply, client, sink, out);
            if reply.answers == Answers::Nobody {
                self.requests_are_next();
            }
        }
    }

    /// Behind a response whose request was not seen the next one begins,
    /// unless its body is still under way.
    #[inline(never)]
    fn requests_are_next(&mut self) {
        if let Some(direction) = self.requests() {
            let stream = self.stream(direction);
            if matches!(stream.phase, Phase::Seek) {
                stream.phase = Phase::Idle;
            }
        }
    }

    /// Bytes of a head are lost, and with them where the message ends.
    pub(super) fn head_lost(
        &mut self,
        direction: Direction,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let stream = self.stream(direction);
        if let Some(partial) = stream.partial.take() {
            sink.release(partial.bytes.len());
        }
        stream.lose_start();
        if self.side.is_some() && self.requests() != Some(direction) {
            // This response is accounted for; others may be behind it.
            self.stream(direction).hidden = Hidden::Maybe;
            self.store_request_body();
            self.pairing.response_lost(call.exit, sink, out);
        }
    }

    #[inline(always)]
    fn began(
        &self,
        side: Side,
        head: &RequestHead<'_>,
        bytes: &[u8],
        first: &First,
        start: MonoNanos,
        serial: u64,
    ) -> Began {
        Began {
            serial,
            side,
            wire: WireId {
                conn: self.conn_id(side),
                request: first.seq,
            },
            context: head.context,
            seed: seed(&head.context, head.request_id, bytes),
            owner: first.call.owner,
            pid: first.call.pid,
            local: self.local,
            peer: self.peer,
            start,
        }
    }

    /// C: sequence numbers of both sides' first data bytes. The end that
    /// opened the connection counts its SYN where the kernel does.
    #[inline(always)]
    pub(super) fn conn_id(&self, side: Side) -> ConnId {
        let origins = self.origins;
        if !origins.known {
            return ConnId::default();
        }
        match side {
            Side::Client => ConnId {
                client: if origins.exact {
                    origins.local
                } else {
                    origins.local.plus(1)
                },
                server: origins.peer,
            },
            Side::Server => ConnId {
                client: origins.peer,
                server: origins.local,
            },
        }
    }
}

/// What a new trace id is made from: nothing if the context has ids.
#[inline(always)]
pub(super) fn seed(context: &TraceContext, request_id: &[u8], head: &[u8]) -> Seed {
    if context.ids.is_some() {
        Seed::Carried
    } else {
        new_seed(request_id, head)
    }
}

#[inline(never)]
fn new_seed(request_id: &[u8], head: &[u8]) -> Seed {
    if request_id.is_empty() {
        Seed::Head(SipHasher13::new().hash(head))
    } else {
        let digest = sip128::SipHasher13::new().hash(request_id);
        Seed::RequestId(digest.as_u128())
    }
}

/// Says that an exchange begins.
#[inline(never)]
pub(super) fn tell(began: &Began, texts: [&[u8]; 5], sink: &Sink, out: &mut Vec<Output>) {
    let [method, target, host, ..] = texts;
    if sink.options.reading.targets {
        out.push(Output::Target(target.into()));
    }
    if sink.options.reading.lines {
        let line = Text::new(method, target, host, b"", b"");
        out.push(Output::Line(Box::new(line)));
    }
    out.push(Output::Began(Box::new(*began)));
}
