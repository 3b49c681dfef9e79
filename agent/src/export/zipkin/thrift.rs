//! Zipkin v1 as binary thrift (`openzipkin/zipkin-api`,
//! `thrift/zipkinCore.thrift`), which is what Traefik 1 posts to
//! `/api/v1/spans`: one `list<Span>` in the binary protocol, no message around
//! it. It says what v1 JSON says.

use std::net::IpAddr;

use super::super::content::{FIRST_BYTE, Request, Tag, Wording, of_pod, visit_tags};
use super::super::cut::{self, Cut};
use super::super::known::{Known, Render};
use super::super::text::{AsText, MAX_NAME, MAX_VALUE, TextTags, is_plain, push_name, push_text};
use super::super::{Encoder, Refused, Span};
use super::v1::{core_names, core_times};
use crate::identify::Workload;
use crate::units::{Endpoint, Side};

/// Types of the binary protocol.
const BOOL: u8 = 2;
const I16: u8 = 6;
const I32: u8 = 8;
const I64: u8 = 10;
const STRING: u8 = 11;
const STRUCT: u8 = 12;
const LIST: u8 = 15;
/// Ends a struct.
const STOP: u8 = 0;

/// `AnnotationType` of an address and of a tag.
const TYPE_BOOL: u32 = 0;
const TYPE_STRING: u32 = 6;

/// The Zipkin v1 thrift encoder.
///
/// Values are cut as in v2 JSON, see [`Zipkin`](super::Zipkin).
#[derive(Debug, Default)]
pub struct ZipkinThrift {
    wording: Wording,
    known: Known<Fragment>,
    /// The local endpoint of a workload that has no address of its own.
    scratch: Vec<u8>,
    /// Spans of the batch.
    spans: u32,
}

impl ZipkinThrift {
    /// An encoder that puts requests into words like this.
    #[must_use]
    pub fn new(wording: impl Into<Wording>) -> Self {
        Self {
            wording: wording.into(),
            ..Self::default()
        }
    }
}

impl Encoder for ZipkinThrift {
    fn content_type(&self) -> &'static str {
        "application/x-thrift"
    }

    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused> {
        if batch.is_empty() {
            self.spans = 0;
            batch.extend_from_slice(&[STRUCT, 0, 0, 0, 0]);
        }
        let fragment = self.known.of(&span.workload);
        let connection = span.exchange.began.local.map(|local| local.ip);
        let local = fragment.local(&mut self.scratch, connection);
        push_span(batch, span, (local, fragment), self.wording);
        self.spans += 1;
        Ok(())
    }

    fn finish(&mut self, batch: &mut Vec<u8>) {
        set_count(batch, 0, self.spans);
    }

    fn cut(&self) -> Cut {
        cut::thrift
    }
}

fn push_span(
    out: &mut Vec<u8>,
    span: &Span,
    (local, fragment): (&[u8], &Fragment),
    wording: Wording,
) {
    let exchange = &*span.exchange;
    let began = &exchange.began;
    let request = Request::of(exchange, wording);
    let plain = is_plain(exchange);

    push_i64(out, 1, span.trace.low());
    push_string(out, 3, |out| push_name(out, plain, &request));
    push_i64(out, 4, span.id.get());
    if let Some(parent) = span.parent {
        push_i64(out, 5, parent.get());
    }
    push_annotations(out, span, local);
    let list = push_list(out, 8);
    let mut count = 0;
    if let Some(peer) = began.peer {
        push_address(out, began.side, peer, span.remote.as_deref());
        count += 1;
    }
    let mut tags = AsText {
        tags: Tags {
            out,
            local,
            fragment,
            count,
        },
        plain,
    };
    visit_tags(span, &request, &mut tags);
    let count = tags.tags.count;
    set_count(out, list, count);
    if span.debug {
        push_field(out, BOOL, 9);
        out.push(1);
    }
    // The server's half of a shared span leaves both to the client.
    if !(span.shared && began.side == Side::Server) {
        if span.timestamp.0 != 0 {
            push_i64(out, 10, signed(span.timestamp.0));
        }
        push_i64(out, 11, signed(span.duration.max(1)));
    }
    if span.trace.high() != 0 {
        push_i64(out, 12, span.trace.high());
    }
    out.push(STOP);
}

fn push_annotations(out: &mut Vec<u8>, span: &Span, local: &[u8]) {
    let [start, end] = core_times(span);
    let ([at_start, at_end], _) = core_names(span.exchange.began.side);
    let list = push_list(out, 6);
    push_annotation(out, start, at_start, local);
    if let Some(at) = span.first_byte {
        push_annotation(out, at.0, FIRST_BYTE, local);
    }
    push_annotation(out, end, at_end, local);
    set_count(out, list, 2 + u32::from(span.first_byte.is_some()));
}

fn push_annotation(out: &mut Vec<u8>, at: u64, value: &'static str, local: &[u8]) {
    push_i64(out, 1, signed(at));
    push_string(out, 2, |out| out.extend_from_slice(value.as_bytes()));
    push_field(out, STRUCT, 3);
    out.extend_from_slice(local);
    out.push(STOP);
}

fn push_address(out: &mut Vec<u8>, side: Side, peer: Endpoint, service: Option<&str>) {
    let (_, name) = core_names(side);
    push_string(out, 1, |out| out.extend_from_slice(name.as_bytes()));
    push_string(out, 2, |out| out.push(1));
    push_i32(out, 3, TYPE_BOOL);
    push_field(out, STRUCT, 4);
    push_endpoint(out, Some(peer.ip), peer.port, |out| {
        push_text(out, service.unwrap_or_default().as_bytes(), MAX_NAME);
    });
    out.push(STOP);
}

/// Writes tags as binary annotations.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    local: &'a [u8],
    fragment: &'a Fragment,
    count: u32,
}

impl TextTags for Tags<'_> {
    #[inline]
    fn tag(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut *self.out;
        push_string(out, 1, |out| out.extend_from_slice(tag.name().as_bytes()));
        push_string(out, 2, write);
        push_i32(out, 3, TYPE_STRING);
        push_field(out, STRUCT, 4);
        out.extend_from_slice(self.local);
        out.push(STOP);
        self.count += 1;
    }

    #[inline]
    fn node(&mut self) {
        let Fragment { node, pod, .. } = self.fragment;
        self.tag(Tag::NodeId, |out| out.extend_from_slice(node));
        for (tag, value) in pod {
            self.tag(*tag, |out| out.extend_from_slice(value));
        }
    }
}

/// Appends an `Endpoint`. Address and port are zero where they are not known,
/// because readers may insist on them.
fn push_endpoint(
    out: &mut Vec<u8>,
    ip: Option<IpAddr>,
    port: u16,
    name: impl FnOnce(&mut Vec<u8>),
) {
    let v4 = match ip {
        Some(IpAddr::V4(ip)) => ip.to_bits(),
        Some(IpAddr::V6(_)) | None => 0,
    };
    push_i32(out, 1, v4);
    push_field(out, I16, 2);
    out.extend_from_slice(&port.to_be_bytes());
    push_string(out, 3, name);
    if let Some(IpAddr::V6(ip)) = ip {
        push_string(out, 4, |out| out.extend_from_slice(&ip.octets()));
    }
    out.push(STOP);
}

#[inline]
fn push_field(out: &mut Vec<u8>, kind: u8, id: u8) {
    out.extend_from_slice(&[kind, 0, id]);
}

/// The bits of an id are what counts; times are far from the sign.
#[inline]
fn push_i64(out: &mut Vec<u8>, id: u8, number: u64) {
    let mut field = [I64, 0, id, 0, 0, 0, 0, 0, 0, 0, 0];
    field[3..].copy_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&field);
}

#[inline]
fn push_i32(out: &mut Vec<u8>, id: u8, number: u32) {
    let [a, b, c, d] = number.to_be_bytes();
    out.extend_from_slice(&[I32, 0, id, a, b, c, d]);
}

/// A number that no reader may take for a negative one.
fn signed(number: u64) -> u64 {
    number.min(i64::MAX.cast_unsigned())
}

#[inline]
fn push_string(out: &mut Vec<u8>, id: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[STRING, 0, id, 0, 0, 0, 0]);
    let start = out.len();
    write(out);
    let size = out.len().saturating_sub(start) as u32;
    set_u32(out, start - 4, size);
}

/// Appends the head of a list of structs and says where.
fn push_list(out: &mut Vec<u8>, id: u8) -> usize {
    push_field(out, LIST, id);
    out.extend_from_slice(&[STRUCT, 0, 0, 0, 0]);
    out.len() - 5
}

/// Writes the number of its structs into the head of a list.
fn set_count(out: &mut [u8], list: usize, count: u32) {
    set_u32(out, list + 1, count);
}

#[inline]
fn set_u32(out: &mut [u8], at: usize, number: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// What the spans of one workload have in common.
#[derive(Debug)]
struct Fragment {
    /// The name, as it is written.
    name: Vec<u8>,
    /// The local endpoint, if the workload has an address of its own.
    local: Option<Vec<u8>>,
    /// The node's name.
    node: Vec<u8>,
    /// Tags of a pod.
    pod: Vec<(Tag, Vec<u8>)>,
}

impl Render for Fragment {
    fn render(workload: &Workload) -> Self {
        let (mut name, mut node) = (Vec::new(), Vec::new());
        push_text(&mut name, workload.service.as_bytes(), MAX_NAME);
        push_text(&mut node, workload.node.as_bytes(), MAX_VALUE);
        let local = workload.address.map(|ip| {
            let mut local = Vec::new();
            push_endpoint(&mut local, Some(ip), 0, |out| out.extend_from_slice(&name));
            local
        });
        let pod = of_pod(workload).map(|(tag, value)| {
            let mut text = Vec::new();
            push_text(&mut text, value.as_bytes(), MAX_VALUE);
            (tag, text)
        });
        Self {
            local,
            node,
            pod: pod.collect(),
            name,
        }
    }
}

impl Fragment {
    /// The local endpoint: without a port, as in v2 JSON, and with the
    /// connection's address if the workload has none of its own.
    fn local<'a>(&'a self, scratch: &'a mut Vec<u8>, connection: Option<IpAddr>) -> &'a [u8] {
        if let Some(local) = &self.local {
            return local;
        }
        scratch.clear();
        push_endpoint(scratch, connection, 0, |out| {
            out.extend_from_slice(&self.name);
        });
        scratch
    }
}

#[cfg(test)]
mod tests;
