//! What a span says, whatever the encoding: its name, its URL and its tags.
//!
//! Names follow Envoy's tracer (`source/common/tracing/http_tracer_impl.cc`),
//! so that dashboards made for a mesh of Envoys go on working. Every encoder
//! takes them from here, in one order, through a [`Visitor`].

use std::net::IpAddr;
use std::sync::Arc;

use super::Span;
use super::name::NameLimit;
pub use super::request::Request;
use crate::assemble::{BodySize, Exchange};
use crate::identify::Workload;
use crate::sample::SamplerTag;

/// Stands where a query's value, or a password in a URL, was.
pub const MARK: &[u8; 3] = b"***";

/// How much of a request's query leaves the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queries {
    /// Names are kept, values become [`MARK`]; so does an item that has no
    /// `=`, because it may as well be a token.
    #[default]
    Redacted,
    /// As it was sent.
    AsSent,
}

/// How a request is put into words: what every encoder is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wording {
    /// How much of its query is shown.
    pub queries: Queries,
    /// How long its name may be.
    pub name_limit: Option<NameLimit>,
}

impl From<Queries> for Wording {
    fn from(queries: Queries) -> Self {
        Self {
            queries,
            name_limit: None,
        }
    }
}

macro_rules! tags {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// The tags a span can have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Tag { $($(#[$doc])* $variant,)* }

        impl Tag {
            /// The tag's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The name as it stands in a JSON object between the value
            /// before it and its own: `","name":"`.
            pub(super) const fn between(self) -> &'static str {
                match self { $(Self::$variant => concat!("\",\"", $name, "\":\""),)* }
            }
        }
    };
}

tags! {
    /// `HTTP/1.1` or `HTTP/1.0`, of the request.
    HttpProtocol "http.protocol",
    /// Request method.
    HttpMethod "http.method",
    /// See [`Request::url`].
    HttpUrl "http.url",
    /// Final status; absent without a response.
    HttpStatusCode "http.status_code",
    /// The `x-request-id` header.
    RequestId "guid:x-request-id",
    /// The `user-agent` header.
    UserAgent "user_agent",
    /// Body bytes of the request.
    RequestSize "request_size",
    /// `true` if `request_size` counts chunk framing too.
    RequestSizeWire "request_size.wire",
    /// Body bytes of the response.
    ResponseSize "response_size",
    /// `true` if `response_size` counts chunk framing too.
    ResponseSizeWire "response_size.wire",
    /// The peer's address without a port, as Envoy writes it (`PeerAddress`
    /// from `directRemoteAddress()->ip()->addressAsString()`); the port is in
    /// the remote endpoint. Envoy means the downstream, here it is whoever is
    /// at the other end of the socket.
    PeerAddress "peer.address",
    /// Host name of the node.
    NodeId "node_id",
    /// See [`PodTags`](crate::identify::PodTags): namespace of the workload's
    /// pod.
    PodNamespace "k8s.namespace.name",
    /// Name of the workload's pod.
    PodName "k8s.pod.name",
    /// Name of the container in it.
    PodContainer "k8s.container.name",
    /// Which sampler decided, on the root of a trace: `const`,
    /// `probabilistic`, `ratelimiting` or `lowerbound`.
    SamplerType "sampler.type",
    /// Its parameter: true or false of `const`, otherwise a number.
    SamplerParam "sampler.param",
    /// What went wrong: the failure's own text, else `true` from 500 on.
    Error "error",
}

/// The annotation that marks the response's first byte.
pub const FIRST_BYTE: &str = "first response byte";

/// Takes the tags of a span one by one.
pub trait Visitor {
    /// Bytes as they came from the wire, never empty.
    fn text(&mut self, tag: Tag, value: &[u8]);
    /// The request's URL.
    fn url(&mut self, tag: Tag, request: &Request<'_>);
    /// A number.
    fn number(&mut self, tag: Tag, value: u64);
    /// A word that needs no escaping in any encoding.
    fn word(&mut self, tag: Tag, value: &'static str);
    /// True or false; `"true"` or `"false"` where all tags are strings.
    fn boolean(&mut self, tag: Tag, value: bool);
    /// A finite number that need not be whole; in the shortest decimal
    /// notation that reads back as it where all tags are strings.
    fn double(&mut self, tag: Tag, value: f64);
    /// An address.
    fn address(&mut self, tag: Tag, value: IpAddr);
    /// The workload's node, which is not empty, and what [`of_pod`] says.
    fn node(&mut self, tag: Tag, workload: &Arc<Workload>);
}

/// Shows every tag of a span to the visitor; the first is always
/// [`Tag::HttpProtocol`].
#[inline]
pub fn visit_tags(span: &Span, request: &Request<'_>, visitor: &mut impl Visitor) {
    let exchange = &*span.exchange;
    visitor.word(
        Tag::HttpProtocol,
        if exchange.minor_version == 0 {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        },
    );
    if !request.method.is_empty() {
        visitor.text(Tag::HttpMethod, request.method);
    }
    if !request.target.is_empty() {
        visitor.url(Tag::HttpUrl, request);
    }
    if let Some(status) = exchange.status {
        visitor.number(Tag::HttpStatusCode, u64::from(status));
    }
    let id = exchange.text.request_id();
    if !id.is_empty() {
        visitor.text(Tag::RequestId, id);
    }
    let agent = exchange.text.user_agent();
    if !agent.is_empty() {
        visitor.text(Tag::UserAgent, agent);
    }
    size(
        visitor,
        exchange.request_body,
        Tag::RequestSize,
        Tag::RequestSizeWire,
    );
    size(
        visitor,
        exchange.response_body,
        Tag::ResponseSize,
        Tag::ResponseSizeWire,
    );
    if let Some(peer) = exchange.began.peer {
        visitor.address(Tag::PeerAddress, peer.ip);
    }
    if !span.workload.node.is_empty() {
        visitor.node(Tag::NodeId, &span.workload);
    }
    if let Some(sampler) = span.sampler {
        self::sampler(sampler, visitor);
    }
    if let Some(error) = error(exchange) {
        visitor.word(Tag::Error, error);
    }
}

/// What the spans of a pod say of it, where the node is said, too.
pub fn of_pod(workload: &Workload) -> impl Iterator<Item = (Tag, &str)> {
    let tags = workload.pod.iter().flat_map(|pod| {
        [
            (Tag::PodNamespace, Some(&pod.namespace)),
            (Tag::PodName, Some(&pod.name)),
            (Tag::PodContainer, pod.container.as_ref()),
        ]
    });
    tags.filter_map(|(tag, value)| Some((tag, &**value?)))
        .filter(|(_, value)| !value.is_empty())
}

#[cold]
fn sampler(tag: SamplerTag, visitor: &mut impl Visitor) {
    visitor.word(Tag::SamplerType, tag.as_str());
    match tag {
        SamplerTag::Const(always) => visitor.boolean(Tag::SamplerParam, always),
        SamplerTag::Probabilistic(rate)
        | SamplerTag::RateLimiting(rate)
        | SamplerTag::LowerBound(rate) => visitor.double(Tag::SamplerParam, rate),
    }
}

#[inline]
fn size(visitor: &mut impl Visitor, body: BodySize, tag: Tag, wire: Tag) {
    visitor.number(tag, body.bytes);
    if body.wire {
        visitor.word(wire, "true");
    }
}

/// Value of the `error` tag: a failure's text, which says more than a status,
/// else `true` from status 500 on (Envoy's rule; Traefik's is 400).
#[must_use]
pub fn error(exchange: &Exchange) -> Option<&'static str> {
    match (exchange.failure, exchange.status) {
        (Some(failure), _) => Some(failure.as_str()),
        (None, Some(500..)) => Some("true"),
        (None, _) => None,
    }
}
