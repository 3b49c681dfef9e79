//! Zipkin v2 JSON, straight from a [`Span`] into a buffer.
//!
//! The format is that of `openzipkin/zipkin-api`, `zipkin2-api.yaml`, read the
//! way `V2SpanReader` reads it (`research/backends.md` 2.2): no nulls, no empty
//! values, every tag a string. A span allocates nothing, and what is the same
//! on every span of a workload is rendered once.
//!
//! The crate `opentelemetry-zipkin` does not do this job: its `Endpoint` has no
//! service name, so every service of a node would arrive as unknown; it cannot
//! set `shared` and `debug`, and pads 64-bit trace ids. Where it can express a
//! field, the tests compare ours with its (`oracle.rs`).

mod block;
mod fragments;
mod json;
mod number;
#[cfg(test)]
#[expect(deprecated, reason = "the oracle is a deprecated crate; see there")]
mod oracle;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use self::block::Block;
use self::fragments::Fragments;
use self::json::{MAX_NAME, MAX_VALUE, Value, end_value, is_clean};
use self::number::{IpText, hex, micros, push_micros, push_u64};
use super::content::{Queries, Request, Tag, Visitor, visit_tags};
use super::{Encoder, Refused, Span};
use crate::identify::Workload;
use crate::units::{Endpoint, Side};

/// The Zipkin v2 JSON encoder.
///
/// Values longer than 4096 bytes of the wire (names: 512) are cut at a
/// character and end in `…`.
#[derive(Debug, Default)]
pub struct Zipkin {
    queries: Queries,
    fragments: Fragments,
}

impl Zipkin {
    /// An encoder that treats queries like this.
    #[must_use]
    pub fn new(queries: Queries) -> Self {
        Self {
            queries,
            fragments: Fragments::default(),
        }
    }

    /// Appends one JSON object.
    pub fn object(&mut self, span: &Span, out: &mut Vec<u8>) {
        let exchange = &*span.exchange;
        let began = &exchange.began;
        let request = Request::of(exchange, self.queries);
        let text = exchange.text.all();
        let plain = text.len() <= MAX_NAME && is_clean(text);
        let fragment = self.fragments.of(&span.workload);

        push_ids(out, span);
        push_name(out, &request, plain);
        push_times(out, span);
        fragment.push_local(out, began.local.map(|local| local.ip));
        let peer = began.peer.map(|peer| push_remote(out, peer));
        push_first_byte(out, span);
        let node = fragment.node();
        let mut tags = Tags {
            out,
            peer,
            plain,
            node,
        };
        visit_tags(span, &request, &mut tags);
        out.extend_from_slice(b"\"}");
        if span.debug {
            out.extend_from_slice(b",\"debug\":true");
        }
        if span.shared {
            out.extend_from_slice(b",\"shared\":true");
        }
        out.push(b'}');
    }
}

impl Encoder for Zipkin {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused> {
        batch.push(if batch.is_empty() { b'[' } else { b',' });
        self.object(span, batch);
        Ok(())
    }

    fn finish(&mut self, batch: &mut Vec<u8>) {
        batch.push(b']');
    }
}

/// Appends everything up to the name.
#[inline]
fn push_ids(out: &mut Vec<u8>, span: &Span) {
    let kind = match span.exchange.began.side {
        Side::Client => b"\",\"kind\":\"CLIENT\",\"name\":\"",
        Side::Server => b"\",\"kind\":\"SERVER\",\"name\":\"",
    };
    let mut block = Block::<128>::new();
    block.put(b"{\"traceId\":\"");
    if span.trace.high() != 0 {
        block.put(&hex(span.trace.high()));
    }
    block.put(&hex(span.trace.low()));
    if let Some(parent) = span.parent {
        block.put(b"\",\"parentId\":\"");
        block.put(&hex(parent.get()));
    }
    block.put(b"\",\"id\":\"");
    block.put(&hex(span.id.get()));
    block.put(kind);
    block.push(out);
}

/// Appends the name.
#[inline]
fn push_name(out: &mut Vec<u8>, request: &Request<'_>, plain: bool) {
    if plain {
        request.name(|piece| out.extend_from_slice(piece));
        end_value(out);
    } else {
        let mut name = Value::new(out, MAX_NAME);
        request.name(|piece| name.put(piece));
        name.end();
    }
}

/// Appends what follows the name, up to the duration.
#[inline]
fn push_times(out: &mut Vec<u8>, span: &Span) {
    match micros(span.timestamp.0) {
        Some(digits) => {
            let mut block = Block::<48>::new();
            block.put(b"\",\"timestamp\":");
            block.put(&digits);
            block.put(b",\"duration\":");
            block.push(out);
        }
        None if span.timestamp.0 == 0 => out.extend_from_slice(b"\",\"duration\":"),
        None => {
            out.extend_from_slice(b"\",\"timestamp\":");
            push_u64(out, span.timestamp.0);
            out.extend_from_slice(b",\"duration\":");
        }
    }
    push_u64(out, span.duration.max(1));
}

/// Appends the remote endpoint and returns its address as text.
#[inline]
fn push_remote(out: &mut Vec<u8>, peer: Endpoint) -> IpText {
    out.extend_from_slice(match peer.ip {
        IpAddr::V4(_) => b",\"remoteEndpoint\":{\"ipv4\":\"",
        IpAddr::V6(_) => b",\"remoteEndpoint\":{\"ipv6\":\"",
    });
    let ip = IpText::new(peer.ip);
    ip.push(out);
    if peer.port == 0 {
        out.extend_from_slice(b"\"}");
    } else {
        out.extend_from_slice(b"\",\"port\":");
        push_u64(out, u64::from(peer.port));
        out.push(b'}');
    }
    ip
}

fn ip_key(ip: IpAddr) -> &'static [u8] {
    match ip {
        IpAddr::V4(_) => b"\"ipv4\":\"",
        IpAddr::V6(_) => b"\"ipv6\":\"",
    }
}

/// Appends the annotation for the response's first byte.
#[inline]
fn push_first_byte(out: &mut Vec<u8>, span: &Span) {
    let Some(at) = span.first_byte else { return };
    out.extend_from_slice(b",\"annotations\":[{\"timestamp\":");
    push_micros(out, at.0);
    // The value is `content::FIRST_BYTE`, which a test compares.
    out.extend_from_slice(b",\"value\":\"first response byte\"}]");
}

/// Writes tags as members of a JSON object, each from the quote that closes
/// the value before it to the end of its own.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    /// The peer's address, which has been written already.
    peer: Option<IpText>,
    /// What came from the wire is clean and short.
    plain: bool,
    /// The node's tag.
    node: &'a [u8],
}

impl Tags<'_> {
    #[inline]
    fn key(&mut self, tag: Tag) {
        self.out.extend_from_slice(tag.between().as_bytes());
    }
}

impl Visitor for Tags<'_> {
    #[inline]
    fn text(&mut self, tag: Tag, value: &[u8]) {
        self.key(tag);
        if self.plain {
            self.out.extend_from_slice(value);
            end_value(self.out);
        } else {
            let mut text = Value::new(self.out, MAX_VALUE);
            text.put(value);
            text.end();
        }
    }

    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        self.key(tag);
        if self.plain {
            request.url(|piece| self.out.extend_from_slice(piece));
            end_value(self.out);
        } else {
            let mut url = Value::new(self.out, MAX_VALUE);
            request.url(|piece| url.put(piece));
            url.end();
        }
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        self.key(tag);
        push_u64(self.out, value);
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        if tag == Tag::HttpProtocol {
            // The first of all: nothing stands before it.
            self.out
                .extend_from_slice(b",\"tags\":{\"http.protocol\":\"");
        } else {
            self.key(tag);
        }
        self.out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.key(tag);
        let ip = self.peer.unwrap_or_else(|| IpText::new(value));
        ip.push(self.out);
    }

    #[inline]
    fn node(&mut self, _: Tag, _: &Arc<Workload>) {
        self.out.extend_from_slice(self.node);
    }
}
