//! Zipkin v2 as Protocol Buffers (`openzipkin/zipkin-api`, `zipkin.proto`).
//!
//! A `ListOfSpans` is its spans one behind the other, so a batch has neither
//! head nor end. What is said, and how it is cut, is the same as in v2 JSON.

use std::net::IpAddr;

use super::super::content::{FIRST_BYTE, Request, Tag, Wording, of_pod, visit_tags};
use super::super::cut::{self, Cut};
use super::super::known::{Known, Render};
use super::super::proto::{
    push_bytes, push_fixed64, push_id, push_int, push_ip, push_message, push_wide_id,
};
use super::super::text::{AsText, MAX_NAME, MAX_VALUE, TextTags, is_plain, push_name, push_text};
use super::super::{Encoder, Refused, Span};
use crate::identify::Workload;
use crate::units::{Endpoint, Side};

/// Field numbers of `Span`.
mod span {
    pub(super) const TRACE_ID: u8 = 1;
    pub(super) const PARENT_ID: u8 = 2;
    pub(super) const ID: u8 = 3;
    pub(super) const KIND: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 6;
    pub(super) const DURATION: u8 = 7;
    pub(super) const LOCAL_ENDPOINT: u8 = 8;
    pub(super) const REMOTE_ENDPOINT: u8 = 9;
    pub(super) const ANNOTATIONS: u8 = 10;
    pub(super) const TAGS: u8 = 11;
    pub(super) const DEBUG: u8 = 12;
    pub(super) const SHARED: u8 = 13;
}

/// The Zipkin v2 protobuf encoder.
///
/// Values are cut as in v2 JSON, see [`Zipkin`](super::Zipkin).
#[derive(Debug, Default)]
pub struct ZipkinProto {
    wording: Wording,
    known: Known<Fragment>,
}

impl ZipkinProto {
    /// An encoder that puts requests into words like this.
    #[must_use]
    pub fn new(wording: impl Into<Wording>) -> Self {
        Self {
            wording: wording.into(),
            ..Self::default()
        }
    }
}

impl Encoder for ZipkinProto {
    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused> {
        let fragment = self.known.of(&span.workload);
        // `ListOfSpans.spans`; a span has 128 to 16,383 bytes.
        push_message::<2>(batch, 1, |out| {
            push_span(out, span, fragment, self.wording);
        });
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}

    fn cut(&self) -> Cut {
        cut::protobuf
    }
}

fn push_span(out: &mut Vec<u8>, span: &Span, fragment: &Fragment, wording: Wording) {
    let exchange = &*span.exchange;
    let began = &exchange.began;
    let request = Request::of(exchange, wording);
    let plain = is_plain(exchange);

    // 16 bytes also for an id of 64 bits, which Zipkin shortens again: Jaeger's
    // receiver refuses a whole batch for one of 8 (`zipkin-go`, `zipkin_proto3`).
    push_wide_id(out, span::TRACE_ID, span.trace.high(), span.trace.low());
    if let Some(parent) = span.parent {
        push_id(out, span::PARENT_ID, parent.get());
    }
    push_id(out, span::ID, span.id.get());
    let kind = match began.side {
        Side::Client => 1,
        Side::Server => 2,
    };
    push_int(out, span::KIND, kind);
    push_message::<1>(out, span::NAME, |out| push_name(out, plain, &request));
    if span.timestamp.0 != 0 {
        push_fixed64(out, span::TIMESTAMP, span.timestamp.0);
    }
    push_int(out, span::DURATION, span.duration.max(1));
    fragment.push_local(out, began.local.map(|local| local.ip));
    if let Some(peer) = began.peer {
        push_remote(out, peer, span.remote.as_deref());
    }
    if let Some(at) = span.first_byte {
        push_message::<1>(out, span::ANNOTATIONS, |out| {
            push_fixed64(out, 1, at.0);
            push_bytes(out, 2, FIRST_BYTE.as_bytes());
        });
    }
    let mut tags = AsText {
        tags: Tags { out, fragment },
        plain,
    };
    visit_tags(span, &request, &mut tags);
    if span.debug {
        push_int(out, span::DEBUG, 1);
    }
    if span.shared {
        push_int(out, span::SHARED, 1);
    }
}

/// Field numbers of `Endpoint`.
const SERVICE_NAME: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 3;
const PORT: u8 = 4;

fn push_remote(out: &mut Vec<u8>, peer: Endpoint, name: Option<&str>) {
    push_message::<1>(out, span::REMOTE_ENDPOINT, |out| {
        if let Some(name) = name {
            push_message::<1>(out, SERVICE_NAME, |out| {
                push_text(out, name.as_bytes(), MAX_NAME);
            });
        }
        push_ip(out, IPV4, IPV6, peer.ip);
        if peer.port != 0 {
            push_int(out, PORT, u64::from(peer.port));
        }
    });
}

struct Tags<'a> {
    out: &'a mut Vec<u8>,
    fragment: &'a Fragment,
}

impl TextTags for Tags<'_> {
    #[inline]
    fn tag(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>)) {
        push_tag(self.out, tag, write);
    }

    #[inline]
    fn node(&mut self) {
        self.out.extend_from_slice(&self.fragment.node);
    }
}

#[inline]
fn push_tag(out: &mut Vec<u8>, tag: Tag, write: impl FnOnce(&mut Vec<u8>)) {
    push_message::<1>(out, span::TAGS, |out| {
        push_bytes(out, 1, tag.name().as_bytes());
        push_message::<1>(out, 2, write);
    });
}

/// What the spans of one workload have in common.
#[derive(Debug)]
struct Fragment {
    /// `Endpoint.service_name`.
    name: Vec<u8>,
    /// The whole local endpoint, if the workload has an address of its own.
    local: Option<Vec<u8>>,
    /// The node's tag, and those of a pod.
    node: Vec<u8>,
}

impl Render for Fragment {
    fn render(workload: &Workload) -> Self {
        let mut name = Vec::new();
        if !workload.service.is_empty() {
            push_message::<1>(&mut name, SERVICE_NAME, |out| {
                push_text(out, workload.service.as_bytes(), MAX_NAME);
            });
        }
        let local = workload.address.map(|ip| {
            let mut local = Vec::new();
            push_local(&mut local, &name, Some(ip));
            local
        });
        let mut node = Vec::new();
        push_tag(&mut node, Tag::NodeId, |out| {
            push_text(out, workload.node.as_bytes(), MAX_VALUE);
        });
        for (tag, value) in of_pod(workload) {
            push_tag(&mut node, tag, |out| {
                push_text(out, value.as_bytes(), MAX_VALUE);
            });
        }
        Self { name, local, node }
    }
}

impl Fragment {
    /// Appends the local endpoint: without a port, as in v2 JSON, and with the
    /// connection's address if the workload has none of its own.
    #[inline]
    fn push_local(&self, out: &mut Vec<u8>, connection: Option<IpAddr>) {
        match &self.local {
            Some(local) => out.extend_from_slice(local),
            None => push_local(out, &self.name, connection),
        }
    }
}

fn push_local(out: &mut Vec<u8>, name: &[u8], ip: Option<IpAddr>) {
    if name.is_empty() && ip.is_none() {
        return;
    }
    push_message::<1>(out, span::LOCAL_ENDPOINT, |out| {
        out.extend_from_slice(name);
        if let Some(ip) = ip {
            push_ip(out, IPV4, IPV6, ip);
        }
    });
}

#[cfg(test)]
mod tests;
