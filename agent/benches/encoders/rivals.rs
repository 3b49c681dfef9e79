//! The exporters of the OpenTelemetry project, with a client that sends
//! nothing. Their spans are made of what our encoders say, so that they say
//! the same.

#![expect(deprecated, reason = "opentelemetry-zipkin is, and is all there is")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use nodespan::export::protocol::Limits;
use nodespan::export::{Protocol, Span, Wording};
use nodespan::units::Side;
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use opentelemetry_zipkin::ZipkinExporter;
use prost::Message as _;
use tokio::runtime::Runtime;

use crate::{Error, now};

pub(crate) const ZIPKIN: &str = "opentelemetry-zipkin";
pub(crate) const OTLP: &str = "opentelemetry-otlp";

/// Where nobody listens, and nothing is sent.
const NOWHERE: &str = "http://127.0.0.1:9/";

/// Counts what it does not send.
#[derive(Clone, Debug, Default)]
struct Nowhere(Arc<AtomicUsize>);

#[async_trait]
impl HttpClient for Nowhere {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.0.store(request.body().len(), Ordering::Relaxed);
        Ok(Response::new(Bytes::new()))
    }
}

enum Exporter {
    Zipkin(ZipkinExporter),
    Otlp(opentelemetry_otlp::SpanExporter),
}

/// An exporter and its spans.
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    exporter: Exporter,
    spans: Vec<SpanData>,
    client: Nowhere,
    runtime: Runtime,
}

impl Rival {
    pub(crate) fn zipkin(spans: &[Span]) -> Result<Self, Error> {
        let client = Nowhere::default();
        let exporter = ZipkinExporter::builder()
            .with_http_client(client.clone())
            .with_collector_endpoint(NOWHERE)
            .with_service_address(SocketAddr::from((Ipv4Addr::new(10, 244, 1, 17), 0)))
            .build()?;
        let tags = zipkin_tags(spans)?;
        Self::new(ZIPKIN, Exporter::Zipkin(exporter), client, spans, tags)
    }

    pub(crate) fn otlp(spans: &[Span]) -> Result<Self, Error> {
        let client = Nowhere::default();
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(NOWHERE)
            .build()?;
        exporter.set_resource(&Resource::builder().with_service_name("orders").build());
        let attributes = otlp_attributes(spans)?;
        Self::new(OTLP, Exporter::Otlp(exporter), client, spans, attributes)
    }

    fn new(
        name: &'static str,
        exporter: Exporter,
        client: Nowhere,
        spans: &[Span],
        mut attributes: BTreeMap<u64, Vec<KeyValue>>,
    ) -> Result<Self, Error> {
        let scope = InstrumentationScope::builder("nodespan").build();
        let spans = spans
            .iter()
            .map(|span| {
                let attributes = attributes.remove(&span.id.get()).unwrap_or_default();
                data(span, attributes, &scope)
            })
            .collect();
        Ok(Self {
            name,
            exporter,
            spans,
            client,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
        })
    }

    /// Encodes a batch and says what that took.
    pub(crate) fn round(&mut self) -> Result<Duration, Error> {
        let batch = self.spans.clone();
        let (exporter, runtime) = (&self.exporter, &self.runtime);
        runtime.block_on(async {
            let start = now();
            let result: OTelSdkResult = match exporter {
                Exporter::Zipkin(exporter) => exporter.export(batch).await,
                Exporter::Otlp(exporter) => exporter.export(batch).await,
            };
            let spent = now() - start;
            result?;
            Ok(spent)
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.client.0.load(Ordering::Relaxed)
    }
}

fn data(span: &Span, attributes: Vec<KeyValue>, scope: &InstrumentationScope) -> SpanData {
    let time = |micros: u64| -> SystemTime { UNIX_EPOCH + Duration::from_micros(micros) };
    let trace = u128::from(span.trace.high()) << 64 | u128::from(span.trace.low());
    let mut events = SpanEvents::default();
    events.events = span
        .first_byte
        .map(|at| Event::new("first response byte", time(at.0), vec![], 0))
        .into_iter()
        .collect();
    let failed = span.exchange.status.is_some_and(|status| status >= 500);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span.id.get()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from(span.parent.map_or(0, nodespan::units::SpanId::get)),
        parent_span_is_remote: true,
        span_kind: match span.exchange.began.side {
            Side::Client => SpanKind::Client,
            Side::Server => SpanKind::Server,
        },
        name: "GET orders.shop.svc:8080".into(),
        start_time: time(span.timestamp.0),
        end_time: time(span.timestamp.0 + span.duration),
        attributes,
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: if failed {
            Status::error("")
        } else {
            Status::Unset
        },
        instrumentation_scope: scope.clone(),
    }
}

fn encode(protocol: Protocol, spans: &[Span]) -> Result<Vec<u8>, Error> {
    let mut encoder = protocol.encoder(Wording::default(), Limits::default());
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch)?;
    }
    encoder.finish(&mut batch);
    Ok(batch)
}

/// The tags of each span by its id.
fn zipkin_tags(spans: &[Span]) -> Result<BTreeMap<u64, Vec<KeyValue>>, Error> {
    #[derive(serde::Deserialize)]
    struct Tagged {
        id: String,
        tags: BTreeMap<String, String>,
    }
    let list: Vec<Tagged> = serde_json::from_slice(&encode(Protocol::ZipkinJson, spans)?)?;
    list.into_iter()
        .map(|span| {
            let tags = span.tags.into_iter();
            let tags = tags.map(|(key, value)| KeyValue::new(key, value)).collect();
            Ok((u64::from_str_radix(&span.id, 16)?, tags))
        })
        .collect()
}

/// The attributes of each span by its id.
fn otlp_attributes(spans: &[Span]) -> Result<BTreeMap<u64, Vec<KeyValue>>, Error> {
    let request = ExportTraceServiceRequest::decode(&*encode(Protocol::Otlp, spans)?)?;
    let scopes = request
        .resource_spans
        .into_iter()
        .flat_map(|r| r.scope_spans);
    scopes
        .flat_map(|scope| scope.spans)
        .map(|span| {
            let id = u64::from_be_bytes(span.span_id.as_slice().try_into()?);
            let attributes = span.attributes.into_iter().filter_map(|attribute| {
                let value = value(attribute.value?.value?)?;
                Some(KeyValue::new(attribute.key, value))
            });
            Ok((id, attributes.collect()))
        })
        .collect()
}

fn value(value: ProtoValue) -> Option<Value> {
    Some(match value {
        ProtoValue::StringValue(text) => text.into(),
        ProtoValue::BoolValue(flag) => flag.into(),
        ProtoValue::IntValue(number) => number.into(),
        ProtoValue::DoubleValue(number) => number.into(),
        ProtoValue::ArrayValue(list) => {
            let texts = list
                .values
                .into_iter()
                .filter_map(|item| match item.value? {
                    ProtoValue::StringValue(text) => Some(StringValue::from(text)),
                    _ => None,
                });
            Value::Array(Array::String(texts.collect()))
        }
        _ => return None,
    })
}
