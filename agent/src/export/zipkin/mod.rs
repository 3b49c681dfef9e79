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
#[cfg(test)]
#[expect(deprecated, reason = "the oracle is a deprecated crate; see there")]
mod oracle;
mod peers;
mod proto;
#[cfg(test)]
mod tests;
mod thrift;
mod v1;

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use self::block::Block;
use self::fragments::Fragment;
use self::json::{Value, end_value, is_clean};
use self::peers::{Peer, Peers};
use super::content::{Request, Tag, Visitor, Wording, visit_tags};
use super::cut::{self, Cut};
use super::known::Known;
use super::number::{Clock, IpText, hex, push_u64, status};
use super::text::{MAX_NAME, MAX_VALUE};
use super::{Encoder, Refused, Span};
use crate::identify::Workload;
use crate::units::Side;

pub use self::proto::ZipkinProto;
pub use self::thrift::ZipkinThrift;
pub use self::v1::ZipkinV1;

/// The Zipkin v2 JSON encoder.
///
/// Values longer than 4096 bytes of the wire (names: 512) are cut at a
/// character and end in `…`.
#[derive(Debug, Default)]
pub struct Zipkin {
    wording: Wording,
    fragments: Known<Fragment>,
    peers: Peers,
    clock: Clock,
}

impl Zipkin {
    /// An encoder that puts requests into words like this.
    #[must_use]
    pub fn new(wording: impl Into<Wording>) -> Self {
        Self {
            wording: wording.into(),
            ..Self::default()
        }
    }

    /// Appends one JSON object.
    pub fn object(&mut self, span: &Span, out: &mut Vec<u8>) {
        let exchange = &*span.exchange;
        let began = &exchange.began;
        let request = Request::of(exchange, self.wording);
        let text = exchange.text.all();
        let plain = text.len() <= MAX_NAME && is_clean(text);
        let fragment = self.fragments.of(&span.workload);

        push_ids(out, span);
        push_name(out, &request, plain);
        push_times(out, span, &mut self.clock);
        fragment.push_local(out, began.local.map(|local| local.ip));
        let remote = span.remote.as_ref();
        let peer = began.peer.map(|peer| self.peers.of(peer, remote));
        if let Some(peer) = peer {
            peer.push_remote(out);
        }
        if let Some(at) = span.first_byte {
            push_first_byte(out, at.0, &mut self.clock);
        }
        let node = fragment.node();
        let mut tags = Tags {
            out,
            peer,
            plain,
            node,
        };
        visit_tags(span, &request, &mut tags);
        out.extend_from_slice(match (span.debug, span.shared) {
            (false, false) => b"\"}}",
            (false, true) => b"\"},\"shared\":true}",
            (true, false) => b"\"},\"debug\":true}",
            (true, true) => b"\"},\"debug\":true,\"shared\":true}",
        });
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

    fn cut(&self) -> Cut {
        cut::json
    }
}

/// Appends everything up to the name.
#[inline]
fn push_ids(out: &mut Vec<u8>, span: &Span) {
    match (span.trace.high(), span.parent) {
        (0, None) => push_ids_of::<false, false>(out, span, 0),
        (0, Some(parent)) => push_ids_of::<false, true>(out, span, parent.get()),
        (_, None) => push_ids_of::<true, false>(out, span, 0),
        (_, Some(parent)) => push_ids_of::<true, true>(out, span, parent.get()),
    }
}

#[inline]
fn push_ids_of<const WIDE: bool, const PARENT: bool>(out: &mut Vec<u8>, span: &Span, parent: u64) {
    let mut block = Block::<128>::new();
    block.put(b"{\"traceId\":\"");
    if WIDE {
        block.put(&hex(span.trace.high()));
    }
    block.put(&hex(span.trace.low()));
    if PARENT {
        block.put(b"\",\"parentId\":\"");
        block.put(&hex(parent));
    }
    block.put(b"\",\"id\":\"");
    block.put(&hex(span.id.get()));
    block.put(match span.exchange.began.side {
        Side::Client => b"\",\"kind\":\"CLIENT\",\"name\":\"",
        Side::Server => b"\",\"kind\":\"SERVER\",\"name\":\"",
    });
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
fn push_times(out: &mut Vec<u8>, span: &Span, clock: &mut Clock) {
    match clock.micros(span.timestamp.0) {
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

fn ip_key(ip: IpAddr) -> &'static [u8] {
    match ip {
        IpAddr::V4(_) => b"\"ipv4\":\"",
        IpAddr::V6(_) => b"\"ipv6\":\"",
    }
}

/// Appends the annotation for the response's first byte.
#[inline]
fn push_first_byte(out: &mut Vec<u8>, at: u64, clock: &mut Clock) {
    // The value is `content::FIRST_BYTE`, which a test compares.
    const VALUE: &[u8; 32] = b",\"value\":\"first response byte\"}]";
    if let Some(digits) = clock.micros(at) {
        let mut block = Block::<96>::new();
        block.put(b",\"annotations\":[{\"timestamp\":");
        block.put(&digits);
        block.put(VALUE);
        block.push(out);
    } else {
        out.extend_from_slice(b",\"annotations\":[{\"timestamp\":");
        push_u64(out, at);
        out.extend_from_slice(VALUE);
    }
}

/// Writes tags as members of a JSON object, each from the quote that closes
/// the value before it to the end of its own.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    peer: Option<&'a Peer>,
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
    #[inline(always)]
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

    #[inline(always)]
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

    #[inline(always)]
    fn number(&mut self, tag: Tag, value: u64) {
        if let (Tag::HttpStatusCode, Some(digits)) = (tag, status(value)) {
            let mut block = Block::<32>::new();
            block.put(b"\",\"http.status_code\":\"");
            block.put(&digits);
            block.push(self.out);
            return;
        }
        if let (Tag::RequestSize, 0) = (tag, value) {
            self.out.extend_from_slice(b"\",\"request_size\":\"0");
            return;
        }
        self.key(tag);
        push_u64(self.out, value);
    }

    #[inline(always)]
    fn word(&mut self, tag: Tag, value: &'static str) {
        if tag != Tag::HttpProtocol {
            self.key(tag);
            self.out.extend_from_slice(value.as_bytes());
        } else if value == "HTTP/1.1" {
            // The first of all: nothing stands before it.
            let first = b",\"tags\":{\"http.protocol\":\"HTTP/1.1";
            self.out.extend_from_slice(first);
        } else {
            self.out
                .extend_from_slice(b",\"tags\":{\"http.protocol\":\"");
            self.out.extend_from_slice(value.as_bytes());
        }
    }

    fn boolean(&mut self, tag: Tag, value: bool) {
        self.word(tag, if value { "true" } else { "false" });
    }

    fn double(&mut self, tag: Tag, value: f64) {
        self.key(tag);
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{value}");
    }

    #[inline(always)]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.key(tag);
        match self.peer {
            Some(peer) => peer.push_ip(self.out),
            None => IpText::new(value).push(self.out),
        }
    }

    #[inline(always)]
    fn node(&mut self, _: Tag, _: &Arc<Workload>) {
        self.out.extend_from_slice(self.node);
    }
}
