//! The encoder against `opentelemetry-zipkin`, field by field.
//!
//! That crate builds the same JSON from a `SpanData`. It cannot serve as the
//! encoder: its `Endpoint` has an address and a port but no service name, it
//! ignores the SDK's `Resource`, has no remote endpoint, and writes `shared`
//! and `debug` as constant `false`. What it can express must agree.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use opentelemetry::trace::{
    Event, SpanContext, SpanId as OtelSpanId, SpanKind, Status, TraceFlags, TraceId as OtelTraceId,
    TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request as HttpRequest, Response};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use opentelemetry_zipkin::ZipkinExporter;
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::super::testing::{any_span, span_of, typical};
use super::*;
use crate::assemble::Failure;
use crate::export::content::{FIRST_BYTE, of_pod};
use crate::units::{SpanId, TraceId, UnixMicros};

/// Keeps what the exporter would have sent.
#[derive(Clone, Debug, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl HttpClient for Capture {
    async fn send_bytes(&self, request: HttpRequest<Bytes>) -> Result<Response<Bytes>, HttpError> {
        *self.0.lock().unwrap() = request.into_body().to_vec();
        Ok(Response::new(Bytes::new()))
    }
}

/// A span's tags as owned strings, without any of the encoder's code.
#[derive(Default)]
struct Plain(Vec<(&'static str, String)>);

impl Visitor for Plain {
    fn text(&mut self, tag: Tag, value: &[u8]) {
        self.0
            .push((tag.name(), String::from_utf8_lossy(value).into()));
    }

    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        let mut url = Vec::new();
        request.url(|piece| url.extend_from_slice(piece));
        self.text(tag, &url);
    }

    fn number(&mut self, tag: Tag, value: u64) {
        self.0.push((tag.name(), value.to_string()));
    }

    fn word(&mut self, tag: Tag, value: &'static str) {
        self.0.push((tag.name(), value.into()));
    }

    fn boolean(&mut self, tag: Tag, value: bool) {
        self.0.push((tag.name(), value.to_string()));
    }

    fn double(&mut self, tag: Tag, value: f64) {
        self.0.push((tag.name(), value.to_string()));
    }

    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.0.push((tag.name(), value.to_string()));
    }

    fn node(&mut self, tag: Tag, workload: &Arc<Workload>) {
        self.0.push((tag.name(), workload.node.to_string()));
        let pod = of_pod(workload).map(|(tag, value)| (tag.name(), value.to_owned()));
        self.0.extend(pod);
    }
}

/// What `opentelemetry-zipkin` makes of the same span.
fn theirs(span: &Span) -> Json {
    let time = |micros: u64| -> SystemTime { UNIX_EPOCH + Duration::from_micros(micros) };
    let request = Request::of(&span.exchange, Wording::default());
    let mut tags = Plain::default();
    visit_tags(span, &request, &mut tags);
    let error = tags.0.iter().find(|(name, _)| *name == "error").cloned();
    let mut name = Vec::new();
    request.name(|piece| name.extend_from_slice(piece));
    let trace = u128::from(span.trace.high()) << 64 | u128::from(span.trace.low());
    let mut events = SpanEvents::default();
    events.events = span
        .first_byte
        .map(|at| Event::new(FIRST_BYTE, time(at.0), vec![], 0))
        .into_iter()
        .collect();
    let data = SpanData {
        span_context: SpanContext::new(
            OtelTraceId::from(trace),
            OtelSpanId::from(span.id.get()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: OtelSpanId::from(span.parent.map_or(0, SpanId::get)),
        parent_span_is_remote: true,
        span_kind: match span.exchange.began.side {
            Side::Client => SpanKind::Client,
            Side::Server => SpanKind::Server,
        },
        name: String::from_utf8_lossy(&name).into_owned().into(),
        start_time: time(span.timestamp.0),
        end_time: time(span.timestamp.0 + span.duration),
        attributes: tags
            .0
            .into_iter()
            .filter(|(key, _)| *key != "error")
            .map(|(key, value)| KeyValue::new(key, value))
            .collect(),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: error.map_or(Status::Unset, |(_, text)| Status::error(text)),
        instrumentation_scope: InstrumentationScope::builder("nodespan").build(),
    };
    let capture = Capture::default();
    let mut builder = ZipkinExporter::builder().with_http_client(capture.clone());
    let began = &span.exchange.began;
    if let Some(ip) = span.workload.address.or(began.local.map(|local| local.ip)) {
        builder = builder.with_service_address(SocketAddr::new(ip, 0));
    }
    let exporter = builder.build().unwrap();
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(exporter.export(vec![data]))
        .unwrap();
    let sent = capture.0.lock().unwrap();
    let spans: Vec<Json> = serde_json::from_slice(&sent).unwrap();
    spans.into_iter().next().unwrap()
}

/// Takes out what only one side has, after checking that it is exactly that.
fn level(span: &Span, mut ours: Json, mut theirs: Json) -> (Json, Json) {
    let (ours_map, theirs_map) = (members(&mut ours), members(&mut theirs));
    // Only ours: names of services, the remote endpoint, both flags.
    if let Some(local) = ours_map.get_mut("localEndpoint") {
        members(local).remove("serviceName");
    }
    ours_map.retain(|_, value| value != &json!({}));
    ours_map.remove("remoteEndpoint");
    for flag in ["shared", "debug"] {
        ours_map.remove(flag);
        assert_eq!(theirs_map.remove(flag), Some(json!(false)));
    }
    // Only theirs: port 0, empty members, a root's parent, 64-bit ids padded,
    // and tags about its own SDK.
    if let Some(local) = theirs_map.get_mut("localEndpoint") {
        members(local).remove("port");
    }
    theirs_map.retain(|_, value| value != &json!({}) && value != &json!([]) && value != &json!(""));
    if span.parent.is_none() {
        assert_eq!(
            theirs_map.remove("parentId"),
            Some(json!("0000000000000000"))
        );
    }
    if span.trace.high() == 0 {
        let padded = format!("{:0>32}", ours_map["traceId"].as_str().unwrap());
        ours_map.insert("traceId".into(), padded.into());
    }
    if span.timestamp.0 == 0 {
        assert_eq!(theirs_map.remove("timestamp"), Some(json!(0)));
    }
    if span.duration == 0 {
        assert_eq!(
            theirs_map.insert("duration".into(), json!(1)),
            Some(json!(0))
        );
    }
    let tags = members(&mut theirs_map["tags"]);
    tags.remove("otel.library.name");
    tags.remove("otel.status_code");
    (ours, theirs)
}

fn members(json: &mut Json) -> &mut Map<String, Json> {
    json.as_object_mut().unwrap()
}

#[track_caller]
fn compare(span: &Span) {
    let mut out = Vec::new();
    Zipkin::default().object(span, &mut out);
    let ours: Json = serde_json::from_slice(&out).unwrap();
    let theirs = theirs(span);
    let (ours, theirs) = level(span, ours, theirs);
    assert_eq!(ours, theirs);
}

#[test]
fn spans_of_every_kind_agree() {
    compare(&typical());
    let mut span = typical();
    span.parent = None;
    span.trace = TraceId::new(0, 7).unwrap();
    compare(&span);
    Arc::make_mut(&mut span.workload).address = Some("2001:db8::1".parse().unwrap());
    compare(&span);
    span.exchange.failure = Some(Failure::Reset);
    span.duration = 0;
    compare(&span);
    span.timestamp = UnixMicros(u64::from(u32::MAX));
    span.first_byte = None;
    compare(&span);
    compare(&span_of("OPTIONS", "*", "shop"));
    compare(&span_of("GET", "/\"quoted\\\u{1}\n\u{e9}?a=b", "h"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_span_agrees(mut span in any_span()) {
        // What is cut is the business of other tests.
        let text = &span.exchange.text;
        let name = text.method().len() + text.host().len() + text.target().len();
        prop_assume!(name < 300 && text.user_agent().len() < 4000 && text.request_id().len() < 4000);
        // `SystemTime` holds less than a span's fields do.
        span.duration %= 1 << 50;
        compare(&span);
    }
}
