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

use self::fragments::Fragments;
use self::json::{MAX_NAME, MAX_VALUE, Value};
use self::number::{push_ip, push_micros, push_span_id, push_trace_id, push_u64};
use super::content::{FIRST_BYTE, Queries, Request, Tag, Visitor, visit_tags};
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
        let fragment = self.fragments.of(&span.workload);

        out.extend_from_slice(b"{\"traceId\":\"");
        push_trace_id(out, span.trace);
        if let Some(parent) = span.parent {
            out.extend_from_slice(b"\",\"parentId\":\"");
            push_span_id(out, parent);
        }
        out.extend_from_slice(b"\",\"id\":\"");
        push_span_id(out, span.id);
        out.extend_from_slice(match began.side {
            Side::Client => b"\",\"kind\":\"CLIENT\"",
            Side::Server => b"\",\"kind\":\"SERVER\"",
        });
        push_name(out, &request);
        if span.timestamp.0 != 0 {
            out.extend_from_slice(b",\"timestamp\":");
            push_micros(out, span.timestamp.0);
        }
        out.extend_from_slice(b",\"duration\":");
        push_u64(out, span.duration.max(1));
        fragment.push_local(out, began.local.map(|local| local.ip));
        let peer = began.peer.map(|peer| push_remote(out, peer));
        if let Some(at) = span.first_byte {
            out.extend_from_slice(b",\"annotations\":[{\"timestamp\":");
            push_micros(out, at.0);
            out.extend_from_slice(b",\"value\":\"");
            out.extend_from_slice(FIRST_BYTE.as_bytes());
            out.extend_from_slice(b"\"}]");
        }
        // Each tag begins with the quote that closes the value before it, so
        // the first one, which every span has, goes without its own.
        out.extend_from_slice(b",\"tags\":{");
        let start = out.len();
        let mut tags = Tags {
            out,
            peer: peer.unwrap_or_default(),
            node: fragment.node(),
            start,
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

#[inline]
fn push_name(out: &mut Vec<u8>, request: &Request<'_>) {
    if request.method.is_empty() && request.host.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"name\":\"");
    let mut name = Value::new(out, MAX_NAME);
    request.name(|piece| name.put(piece));
    name.end();
    out.push(b'"');
}

/// Appends the remote endpoint and returns where its address stands.
#[inline]
fn push_remote(out: &mut Vec<u8>, peer: Endpoint) -> (usize, usize) {
    out.extend_from_slice(b",\"remoteEndpoint\":{");
    out.extend_from_slice(ip_key(peer.ip));
    let start = out.len();
    push_ip(out, peer.ip);
    let end = out.len();
    if peer.port == 0 {
        out.extend_from_slice(b"\"}");
    } else {
        out.extend_from_slice(b"\",\"port\":");
        push_u64(out, u64::from(peer.port));
        out.push(b'}');
    }
    (start, end)
}

fn ip_key(ip: IpAddr) -> &'static [u8] {
    match ip {
        IpAddr::V4(_) => b"\"ipv4\":\"",
        IpAddr::V6(_) => b"\"ipv6\":\"",
    }
}

/// Writes tags as members of a JSON object.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    /// Where the peer's address has been written already.
    peer: (usize, usize),
    /// The node's name, escaped.
    node: &'a [u8],
    /// Where the object's inside begins.
    start: usize,
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
        let mut text = Value::new(self.out, MAX_VALUE);
        text.put(value);
        text.end();
    }

    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        self.key(tag);
        let mut url = Value::new(self.out, MAX_VALUE);
        request.url(|piece| url.put(piece));
        url.end();
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        self.key(tag);
        push_u64(self.out, value);
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        let key = tag.between().as_bytes();
        let own = if self.out.len() == self.start { 2 } else { 0 };
        self.out
            .extend_from_slice(key.get(own..).unwrap_or_default());
        self.out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.key(tag);
        let (start, end) = self.peer;
        if start < end {
            self.out.extend_from_within(start..end);
        } else {
            push_ip(self.out, value);
        }
    }

    #[inline]
    fn node(&mut self, tag: Tag, _: &Arc<Workload>) {
        self.key(tag);
        self.out.extend_from_slice(self.node);
    }
}
