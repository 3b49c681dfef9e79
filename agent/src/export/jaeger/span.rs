//! One span as `jaeger.thrift` has it (`jaegertracing/jaeger-idl`).

use std::net::IpAddr;
use std::sync::Arc;

use super::super::Span;
use super::super::content::{FIRST_BYTE, Request, Tag, Visitor, Wording, visit_tags};
use super::super::number::IpText;
use super::super::text::{self, MAX_NAME, is_plain, push_name, push_url, push_value};
use super::compact::{
    STOP, push_bits, push_bool, push_double, push_i32, push_list, push_string, push_u64,
};
use crate::identify::Workload;
use crate::units::Side;

/// `TagType`.
const STRING: i32 = 0;
const DOUBLE: i32 = 1;
const BOOL: i32 = 2;
const LONG: i32 = 3;

/// `Span.flags`.
const SAMPLED: i32 = 1;
const DEBUG: i32 = 2;

/// `SpanRefType.CHILD_OF`.
const CHILD_OF: i32 = 0;

/// What Jaeger calls the text of an `error`, which itself is a boolean there.
pub(super) const ERROR_MESSAGE: &str = "error.message";

/// The peer's port, which Zipkin has in the remote endpoint.
pub(super) const PEER_PORT: &str = "peer.port";

/// What Jaeger's clients call the service at the other end.
pub(super) const PEER_SERVICE: &str = "peer.service";

/// Appends a span; `node` is the tag of the workload's node.
pub(super) fn push_span(out: &mut Vec<u8>, span: &Span, node: &[u8], wording: Wording) {
    let exchange = &*span.exchange;
    let request = Request::of(exchange, wording);
    let plain = is_plain(exchange);

    push_bits(out, 1, span.trace.low());
    push_bits(out, 1, span.trace.high());
    push_bits(out, 1, span.id.get());
    push_bits(out, 1, span.parent.map_or(0, crate::units::SpanId::get));
    push_string(out, 1, |out| push_name(out, plain, &request));
    if let Some(parent) = span.parent {
        push_list(out, 1, |out| {
            push_i32(out, 1, CHILD_OF);
            push_bits(out, 1, span.trace.low());
            push_bits(out, 1, span.trace.high());
            push_bits(out, 1, parent.get());
            out.push(STOP);
            1
        });
    }
    let flags = if span.debug { SAMPLED | DEBUG } else { SAMPLED };
    push_i32(out, if span.parent.is_some() { 1 } else { 2 }, flags);
    push_u64(out, 1, span.timestamp.0);
    push_u64(out, 1, span.duration.max(1));
    push_list(out, 1, |out| {
        let kind = match exchange.began.side {
            Side::Client => "client",
            Side::Server => "server",
        };
        push_text(out, "span.kind", |out| {
            out.extend_from_slice(kind.as_bytes());
        });
        let mut tags = Tags {
            out,
            plain,
            node,
            count: 1,
        };
        if let Some(peer) = exchange.began.peer.filter(|peer| peer.port != 0) {
            tags.long(PEER_PORT, u64::from(peer.port));
        }
        if let Some(name) = span
            .remote
            .as_deref()
            .filter(|_| exchange.began.peer.is_some())
        {
            push_text(tags.out, PEER_SERVICE, |out| {
                text::push_text(out, name.as_bytes(), MAX_NAME);
            });
            tags.count += 1;
        }
        visit_tags(span, &request, &mut tags);
        tags.count
    });
    if let Some(at) = span.first_byte {
        push_list(out, 1, |out| {
            push_u64(out, 1, at.0);
            push_list(out, 1, |out| {
                push_text(out, "event", |out| {
                    out.extend_from_slice(FIRST_BYTE.as_bytes());
                });
                1
            });
            out.push(STOP);
            1
        });
    }
    out.push(STOP);
}

/// Appends a tag whose value is text.
#[inline]
pub(super) fn push_text(out: &mut Vec<u8>, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
    push_key(out, key, STRING);
    push_string(out, 1, write);
    out.push(STOP);
}

#[inline]
fn push_key(out: &mut Vec<u8>, key: &'static str, kind: i32) {
    push_string(out, 1, |out| out.extend_from_slice(key.as_bytes()));
    push_i32(out, 1, kind);
}

/// Writes tags with the types that Jaeger's clients give them: numbers are
/// numbers, and what is `true` is a boolean.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    plain: bool,
    node: &'a [u8],
    count: usize,
}

impl Tags<'_> {
    #[inline]
    fn tag(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>)) {
        push_text(self.out, tag.name(), write);
        self.count += 1;
    }

    #[inline]
    fn long(&mut self, key: &'static str, value: u64) {
        push_key(self.out, key, LONG);
        push_u64(self.out, 4, value);
        self.out.push(STOP);
        self.count += 1;
    }
}

impl Visitor for Tags<'_> {
    #[inline]
    fn text(&mut self, tag: Tag, value: &[u8]) {
        let plain = self.plain;
        self.tag(tag, |out| push_value(out, plain, value));
    }

    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        let plain = self.plain;
        self.tag(tag, |out| push_url(out, plain, request));
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        self.long(tag.name(), value);
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        let yes = value == "true";
        if yes || tag == Tag::Error {
            self.boolean(tag, true);
            if !yes {
                push_text(self.out, ERROR_MESSAGE, |out| {
                    out.extend_from_slice(value.as_bytes());
                });
                self.count += 1;
            }
        } else {
            self.tag(tag, |out| out.extend_from_slice(value.as_bytes()));
        }
    }

    #[inline]
    fn boolean(&mut self, tag: Tag, value: bool) {
        push_key(self.out, tag.name(), BOOL);
        push_bool(self.out, 3, value);
        self.out.push(STOP);
        self.count += 1;
    }

    fn double(&mut self, tag: Tag, value: f64) {
        push_key(self.out, tag.name(), DOUBLE);
        push_double(self.out, 2, value);
        self.out.push(STOP);
        self.count += 1;
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.tag(tag, |out| IpText::new(value).push(out));
    }

    #[inline]
    fn node(&mut self, _: Tag, _: &Arc<Workload>) {
        self.out.extend_from_slice(self.node);
        self.count += 1;
    }
}
