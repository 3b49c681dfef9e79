//! A span's tags under the names of OpenTelemetry's HTTP semantic conventions
//! (`open-telemetry/semantic-conventions`, `docs/http/http-spans.md`, stable
//! since 1.23). What they have no name for keeps its own.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::Span;
use super::super::content::{Request, Tag, Visitor, visit_tags};
use super::super::number::{IpText, push_u64};
use super::super::proto::{push_bytes, push_fixed64, push_int, push_message};
use super::super::text::{self, push_pieces, push_url, push_value};
use crate::assemble::Exchange;
use crate::identify::Workload;
use crate::units::Side;

/// `Span.attributes`.
const ATTRIBUTES: u8 = 9;

/// Methods with a name of their own (RFC 9110, RFC 5789); others are `_OTHER`.
const METHODS: [&[u8]; 9] = [
    b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
];

/// Appends all attributes of a span.
pub(super) fn push_attributes(out: &mut Vec<u8>, span: &Span, request: &Request<'_>, plain: bool) {
    let exchange = &*span.exchange;
    push_server(out, exchange, request, plain);
    if let Some(peer) = exchange.began.peer {
        if exchange.began.side == Side::Server {
            push_text(out, "client.address", |out| IpText::new(peer.ip).push(out));
        }
        if peer.port != 0 {
            push_number(out, "network.peer.port", u64::from(peer.port));
        }
        if let Some(name) = &span.remote {
            push_text(out, "peer.service", |out| {
                text::push_text(out, name.as_bytes(), text::MAX_NAME);
            });
        }
    }
    let mut attributes = Attributes {
        out,
        exchange,
        plain,
    };
    visit_tags(span, request, &mut attributes);
}

/// Whom the request addresses: the host it names, else whoever is at the
/// server's end of the connection.
fn push_server(out: &mut Vec<u8>, exchange: &Exchange, request: &Request<'_>, plain: bool) {
    let (host, port) = request.host_and_port();
    let end = match exchange.began.side {
        Side::Client => exchange.began.peer,
        Side::Server => exchange.began.local,
    };
    if !host.is_empty() {
        push_text(out, "server.address", |out| push_value(out, plain, host));
    } else if let Some(end) = end {
        push_text(out, "server.address", |out| IpText::new(end.ip).push(out));
    }
    let port = port.or(end.map(|end| end.port)).filter(|&port| port != 0);
    if let Some(port) = port {
        push_number(out, "server.port", u64::from(port));
    }
}

/// Appends a `KeyValue` to a message that has them in the field of this
/// number; `write` writes its `AnyValue`.
#[inline]
pub(super) fn push_key_value(
    out: &mut Vec<u8>,
    field: u8,
    key: &str,
    write: impl FnOnce(&mut Vec<u8>),
) {
    push_message::<1>(out, field, |out| {
        push_bytes(out, 1, key.as_bytes());
        push_message::<1>(out, 2, write);
    });
}

#[inline]
fn push_text(out: &mut Vec<u8>, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
    push_key_value(out, ATTRIBUTES, key, |out| push_message::<1>(out, 1, write));
}

#[inline]
fn push_number(out: &mut Vec<u8>, key: &str, number: u64) {
    let number = number.min(i64::MAX.cast_unsigned());
    push_key_value(out, ATTRIBUTES, key, |out| push_int(out, 3, number));
}

/// The convention's name of a tag.
const fn name(tag: Tag) -> &'static str {
    match tag {
        Tag::HttpProtocol => "network.protocol.version",
        Tag::HttpMethod => "http.request.method",
        Tag::HttpUrl => "url.full",
        Tag::HttpStatusCode => "http.response.status_code",
        Tag::RequestId => "http.request.header.x-request-id",
        Tag::UserAgent => "user_agent.original",
        Tag::RequestSize => "http.request.body.size",
        Tag::ResponseSize => "http.response.body.size",
        Tag::PeerAddress => "network.peer.address",
        Tag::NodeId => "host.name",
        // The resource has these.
        Tag::PodNamespace | Tag::PodName | Tag::PodContainer => tag.name(),
        Tag::Error => "error.type",
        Tag::RequestSizeWire | Tag::ResponseSizeWire | Tag::SamplerType | Tag::SamplerParam => {
            tag.name()
        }
    }
}

struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    exchange: &'a Exchange,
    plain: bool,
}

impl Visitor for Attributes<'_> {
    #[inline]
    fn text(&mut self, tag: Tag, value: &[u8]) {
        let plain = self.plain;
        match tag {
            // Headers are lists.
            Tag::RequestId => push_key_value(self.out, ATTRIBUTES, name(tag), |out| {
                push_message::<1>(out, 5, |out| {
                    push_message::<1>(out, 1, |out| {
                        push_message::<1>(out, 1, |out| push_value(out, plain, value));
                    });
                });
            }),
            Tag::HttpMethod if !METHODS.contains(&value) => {
                push_text(self.out, name(tag), |out| {
                    out.extend_from_slice(b"_OTHER");
                });
                push_text(self.out, "http.request.method_original", |out| {
                    push_value(out, plain, value);
                });
            }
            _ => push_text(self.out, name(tag), |out| push_value(out, plain, value)),
        }
    }

    /// A client's span has the whole URL, a server's its parts.
    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        let plain = self.plain;
        if self.exchange.began.side == Side::Client {
            push_text(self.out, name(tag), |out| push_url(out, plain, request));
            return;
        }
        push_text(self.out, "url.scheme", |out| {
            push_value(out, plain, request.scheme());
        });
        let path = request.path();
        if !path.is_empty() {
            push_text(self.out, "url.path", |out| push_value(out, plain, path));
        }
        let mut any = false;
        let start = self.out.len();
        push_text(self.out, "url.query", |out| {
            let before = out.len();
            push_pieces(out, plain, |put| request.query(put));
            any = out.len() > before;
        });
        if !any {
            self.out.truncate(start);
        }
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        push_number(self.out, name(tag), value);
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        match tag {
            Tag::HttpProtocol => push_text(self.out, name(tag), |out| {
                let version = value.strip_prefix("HTTP/").unwrap_or(value);
                out.extend_from_slice(version.as_bytes());
            }),
            // The status is the kind of error, unless something worse is.
            Tag::Error if self.exchange.failure.is_none() => {
                let status = u64::from(self.exchange.status.unwrap_or_default());
                push_text(self.out, name(tag), |out| push_u64(out, status));
            }
            _ if value == "true" => self.boolean(tag, true),
            _ => push_text(self.out, name(tag), |out| {
                out.extend_from_slice(value.as_bytes());
            }),
        }
    }

    #[inline]
    fn boolean(&mut self, tag: Tag, value: bool) {
        push_key_value(self.out, ATTRIBUTES, name(tag), |out| {
            push_int(out, 2, u64::from(value));
        });
    }

    fn double(&mut self, tag: Tag, value: f64) {
        push_key_value(self.out, ATTRIBUTES, name(tag), |out| {
            push_fixed64(out, 4, value.to_bits());
        });
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        push_text(self.out, name(tag), |out| IpText::new(value).push(out));
    }

    /// The resource has it.
    #[inline]
    fn node(&mut self, _: Tag, _: &Arc<Workload>) {}
}
