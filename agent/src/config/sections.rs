//! What is below `[tracing]`: a section for each backend.

use super::read::{one_of, width};
use super::settings::TracingBackend;
use super::table::{Findings, Keys, Placed, Reader};
use super::tracing::sample_rate;
use super::url::{backend_url, host_and_port};
use crate::http::context::Format;
use crate::link::TraceWidth;
use crate::sample::{SamplerConfig, SamplingUrl};

/// What a section says.
pub(super) struct Section {
    pub(super) backend: TracingBackend,
    pub(super) sampler: SamplerConfig,
    pub(super) context_header: Option<Box<str>>,
    /// Which formats of trace context are asked first.
    pub(super) propagation: Option<Placed<Vec<Format>>>,
    pub(super) trace_width: TraceWidth,
    pub(super) shared_spans: bool,
    pub(super) debug: bool,
}

impl Section {
    /// One that says nothing but the backend.
    pub(super) fn of(backend: TracingBackend) -> Self {
        Self {
            backend,
            sampler: SamplerConfig::default(),
            context_header: None,
            propagation: None,
            trace_width: TraceWidth::Bits128,
            shared_spans: false,
            debug: false,
        }
    }
}

/// `[tracing.zipkin]`
pub(super) fn zipkin(table: Option<Reader<'_>>, findings: &Findings) -> Section {
    const DEFAULT: &str = "http://localhost:9411/api/v1/spans";
    let mut endpoint = DEFAULT.to_owned();
    let mut section = Section::of(TracingBackend::Zipkin {
        endpoint: endpoint.clone(),
    });
    let Some(mut table) = table else {
        return section;
    };
    if let Some(url) = table.name("httpEndpoint") {
        let example = "http://HOST:9411/api/v2/spans";
        endpoint = backend_url(&url, example, findings).unwrap_or_default();
    }
    if let Some(same) = table.bool("sameSpan") {
        section.shared_spans = same.value;
    }
    if let Some(wide) = table.bool("id128Bit") {
        section.trace_width = width(wide.value);
    }
    if let Some(debug) = table.bool("debug") {
        section.debug = debug.value;
    }
    if let Some(rate) = table.number("sampleRate") {
        section.sampler = sample_rate(&rate, findings);
    }
    table.finish();
    section.backend = TracingBackend::Zipkin { endpoint };
    section
}

/// `[tracing.otlp]`, or Traefik 3's `[tracing.otlp.http]`.
pub(super) fn otlp(table: Option<Reader<'_>>, findings: &Findings) -> Section {
    const DEFAULT: &str = "http://127.0.0.1:4318/v1/traces";
    const EXAMPLE: &str = "http://HOST:4318/v1/traces";
    let mut endpoint = DEFAULT.to_owned();
    if let Some(mut table) = table {
        let url = table.name("endpoint");
        let http = table.table("http", Keys::Traefik);
        if let Some(grpc) = table.table("grpc", Keys::Traefik) {
            let message = "OTLP is not spoken over gRPC";
            let hint = format!("write endpoint = \"{EXAMPLE}\", where the same server takes HTTP");
            findings.error(&grpc.at, message, &hint);
        }
        table.finish();
        let nested = http.and_then(|mut http| {
            let url = http.name("endpoint");
            http.finish();
            url
        });
        if let (Some(url), Some(nested)) = (&url, &nested) {
            let message = format!("`endpoint` is there twice: \"{}\" too", url.value);
            findings.error(&nested.at, message, "remove one of them");
        }
        if let Some(url) = url.or(nested) {
            endpoint = backend_url(&url, EXAMPLE, findings).unwrap_or_default();
        }
    }
    Section::of(TracingBackend::Otlp { endpoint })
}

/// `[tracing.jaeger]`
pub(super) fn jaeger(table: Option<Reader<'_>>, findings: &Findings) -> Section {
    const DEFAULT: &str = "127.0.0.1:6831";
    let mut agent = DEFAULT.to_owned();
    let mut section = Section::of(TracingBackend::Jaeger {
        agent: agent.clone(),
    });
    // Traefik's ids of Jaeger have 64 bits.
    section.trace_width = TraceWidth::Bits64;
    let Some(mut table) = table else {
        return section;
    };
    section.sampler = sampler(&mut table, findings);
    if let Some(address) = table.string("localAgentHostPort") {
        // jaeger-client-go takes an empty one for its default.
        if !address.value.trim().is_empty() {
            agent = host_and_port(&address, findings).unwrap_or_default();
        }
    }
    section.context_header = table
        .string("traceContextHeaderName")
        .and_then(|name| context_header(&name, findings));
    if let Some(wide) = table.bool("gen128Bit") {
        section.trace_width = width(wide.value);
    }
    let propagation = table.string("propagation");
    // As with the other words, what is empty is the default.
    if let Some(word) = propagation.filter(|word| !word.value.is_empty()) {
        let known = [
            ("jaeger", &[Format::Uber] as &[Format]),
            ("b3", &[Format::B3Single, Format::B3Multi]),
        ];
        section.propagation = one_of(&word, &known, findings).map(|formats| Placed {
            value: formats.to_vec(),
            at: word.at,
        });
    }
    if let Some(disabled) = table.bool("disableAttemptReconnecting")
        && disabled.value
    {
        let message = "this has no effect: a name is looked up again when its address may be old";
        findings.warning(&disabled.at, message, "remove it");
    }
    if let Some(collector) = table.table("collector", Keys::Traefik) {
        refuse_collector(collector, findings);
    }
    table.finish();
    section.backend = TracingBackend::Jaeger { agent };
    section
}

/// Spans go to an agent's port. A collector has better ones than its own.
fn refuse_collector(mut table: Reader<'_>, findings: &Findings) {
    let endpoint = table.string("endpoint");
    let secrets = [table.string("user"), table.string("password")];
    match endpoint.filter(|endpoint| !endpoint.value.is_empty()) {
        Some(endpoint) => {
            let message = "spans are not sent to the HTTP port of a Jaeger collector";
            let hint = "collectors take OTLP: backend = \"otlp\" and, below [tracing.otlp], endpoint = \"http://HOST:4318/v1/traces\"";
            findings.error(&endpoint.at, message, hint);
        }
        None => {
            for secret in secrets.into_iter().flatten() {
                let message = "without an endpoint this does nothing";
                findings.warning(&secret.at, message, "remove it");
            }
        }
    }
    table.finish();
}

/// A header that is read in place of `uber-trace-id`.
fn context_header(name: &Placed<&str>, findings: &Findings) -> Option<Box<str>> {
    const READ: [&str; 7] = [
        "b3",
        "traceparent",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
    ];
    let lower = name.value.to_ascii_lowercase();
    if matches!(lower.as_str(), "" | "uber-trace-id") {
        return None;
    }
    // A token (RFC 9110 section 5.6.2).
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !lower.bytes().all(is_token) {
        let message = format!("\"{}\" is no name of a header", name.value);
        findings.error(&name.at, message, "write one such as \"uber-trace-id\"");
    } else if READ.contains(&lower.as_str()) {
        let message = format!("\"{}\" is read in another format", name.value);
        let hint = "remove the key; `propagation` says which format comes first";
        findings.error(&name.at, message, hint);
    }
    Some(lower.into())
}

/// `samplingType` and what belongs to it.
fn sampler(table: &mut Reader<'_>, findings: &Findings) -> SamplerConfig {
    #[derive(Clone, Copy)]
    enum Kind {
        Const,
        Probabilistic,
        RateLimiting,
        Remote,
    }
    let url = table.string("samplingServerURL");
    let url = url.filter(|url| !url.value.trim().is_empty()).map(|url| {
        let parsed = SamplingUrl::parse(url.value);
        let hint = format!("write {}", SamplingUrl::DEFAULT);
        parsed.map_err(|error| findings.error(&url.at, error.to_string(), &hint))
    });
    let word = table.string("samplingType");
    let param = table.number("samplingParam");
    let kind = match &word {
        None => Some(Kind::Const),
        Some(word) => {
            // jaeger-client-go folds case (`config/config.go`).
            let lower = word.value.to_ascii_lowercase();
            let known = [
                ("const", Kind::Const),
                ("probabilistic", Kind::Probabilistic),
                ("rateLimiting", Kind::RateLimiting),
                ("remote", Kind::Remote),
            ];
            if lower.is_empty() {
                let message = "an empty type means \"remote\"";
                findings.warning(&word.at, message, "write samplingType = \"remote\"");
                Some(Kind::Remote)
            } else if let Some((_, kind)) = known
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&lower))
            {
                Some(*kind)
            } else {
                one_of(word, &known, findings)
            }
        }
    };
    let Some(kind) = kind else {
        return SamplerConfig::default();
    };
    let number = param.as_ref().map_or(1.0, |param| param.value);
    let inside = || param.as_ref().and_then(|param| share(param, findings));
    match kind {
        Kind::Const => {
            if let Some(param) = param.filter(|param| param.value != 0.0 && param.value != 1.0) {
                let message = format!("{} is taken for 1: all traces", param.value);
                let hint = "write 0 or 1, or samplingType = \"probabilistic\" for a share";
                findings.warning(&param.at, message, hint);
            }
            SamplerConfig::Const(number != 0.0)
        }
        Kind::Probabilistic => SamplerConfig::Probabilistic(inside().unwrap_or(1.0)),
        Kind::RateLimiting => {
            if let Some(param) = param.filter(|param| param.value < 0.0) {
                let message = format!("{} traces a second are no limit", param.value);
                findings.error(&param.at, message, "write a number from 0 on");
            }
            SamplerConfig::RateLimiting(number)
        }
        Kind::Remote => {
            let initial = inside().unwrap_or(1.0);
            match url.unwrap_or_else(|| Ok(SamplingUrl::default())) {
                Ok(url) => SamplerConfig::Remote { url, initial },
                Err(()) => SamplerConfig::default(),
            }
        }
    }
}

/// A number from 0 to 1.
pub(super) fn share(number: &Placed<f64>, findings: &Findings) -> Option<f64> {
    if (0.0..=1.0).contains(&number.value) {
        return Some(number.value);
    }
    let message = format!("{} is not within 0 to 1", number.value);
    let hint = "write a share such as 0.1, which is one trace in ten";
    findings.error(&number.at, message, hint);
    None
}
