//! What servers are known to make of a span.
//!
//! Each function turns what the agent prints of a span, Zipkin v2 JSON, into
//! what the server gives back if it got the same span in the encoding at hand.
//! They are written from the servers' sources, not from our encoders. What they
//! forget is what the server does not keep.

use super::fields::Fields;

/// Zipkin, in any encoding: names in lower case, and a trace id whose upper
/// half is zero is one of 64 bits (`zipkin2.Span.Builder`).
pub fn by_zipkin(span: &mut Fields) {
    span.change("name", str::to_lowercase);
    span.change("service", str::to_lowercase);
    span.change("trace", |id| match id.strip_prefix(NO_UPPER_HALF) {
        Some(low) if !low.is_empty() => low.to_owned(),
        _ => id.to_owned(),
    });
}

/// Jaeger, of Zipkin v2 (collector-contrib, `pkg/translator/zipkin/zipkinv2`,
/// `to_translator.go`): endpoints become tags, and `error` the status.
pub fn by_jaeger_of_zipkin2(span: &mut Fields) {
    by_jaeger(span);
    span.rename("local", "tag net.host.ip");
    span.rename("remote", "tag net.peer.ip");
    number(span, "remote port");
    span.rename("remote port", "tag net.peer.port");
    if !span.get("tag error").is_empty() {
        span.set("status", "error");
    }
    if span.get("tag error") == "true" {
        span.take("tag error");
    }
}

/// Jaeger, of Zipkin v1 JSON (`zipkinv1/json.go`): it keeps the local endpoint
/// with the service and forgets the remote one, whose mark becomes a tag. Of
/// `error` it keeps that there was one; a status from 400 on is one, too.
pub fn by_jaeger_of_zipkin1_json(span: &mut Fields) {
    of_zipkin1(span, "true");
}

/// The same of thrift, whose marks are booleans (`zipkinv1/thrift.go`).
pub fn by_jaeger_of_zipkin1_thrift(span: &mut Fields) {
    of_zipkin1(span, "bool true");
}

fn of_zipkin1(span: &mut Fields, mark: &str) {
    by_jaeger(span);
    let family = if span.get("local").contains(':') {
        "ipv6"
    } else {
        "ipv4"
    };
    span.rename("local", &format!("resource {family}"));
    if span.take("remote").is_some() {
        let name = if is_client(span) { "tag sa" } else { "tag ca" };
        span.set(name, mark);
    }
    span.take("remote port");
    if span.take("tag error").is_some() || status(span) >= 400 {
        span.set("status", "error");
    }
}

/// Jaeger, of its agent's protocol (`pkg/translator/jaeger`,
/// `jaegerthrift_to_traces.go`, and `constants.go` for the process): numbers
/// are numbers there, and what went wrong is the status. A client's status
/// from 400 on is an error, too.
pub fn by_jaeger_of_compact(span: &mut Fields) {
    by_jaeger(span);
    for name in [
        "tag http.status_code",
        "tag request_size",
        "tag response_size",
    ] {
        number(span, name);
    }
    span.rename("local", "resource ip");
    let node = span.get("tag node_id").to_owned();
    span.set("resource host.name", &node);
    span.set("resource nodespan.version", env!("CARGO_PKG_VERSION"));
    // The address is a tag already.
    span.take("remote");
    number(span, "remote port");
    span.rename("remote port", "tag peer.port");
    flag(span, "tag sampler.param");
    let failed = is_client(span) && status(span) >= 400 || status(span) >= 500;
    match span.take("tag error") {
        Some(text) if text != "true" => {
            span.set("tag error.message", &text);
            span.set("status", "error");
        }
        Some(_) => span.set("status", "error"),
        None if failed => span.set("status", "error"),
        None => {}
    }
}

/// Jaeger, of OTLP, which it keeps as it is: the names of OpenTelemetry's HTTP
/// semantic conventions (`open-telemetry/semantic-conventions`,
/// `docs/http/http-spans.md`), a server's URL in parts.
pub fn by_jaeger_of_otlp(span: &mut Fields) {
    by_jaeger(span);
    span.rename("local", "resource service.instance.id");
    span.rename("tag node_id", "resource host.name");
    if let Some(protocol) = span.take("tag http.protocol") {
        span.set(
            "tag network.protocol.version",
            protocol.trim_start_matches("HTTP/"),
        );
    }
    let url = span.take("tag http.url").unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, _) = rest.split_once('/').unwrap_or_default();
    // Without a port in the URL a client tells the one it called; which one a
    // server listens at is not printed.
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.to_owned()),
        None if is_client(span) => (authority, span.get("remote port").to_owned()),
        None => (authority, String::new()),
    };
    span.set("tag server.address", host);
    if !port.is_empty() {
        span.set("tag server.port", &format!("int {port}"));
    }
    if is_client(span) {
        span.set("tag url.full", &url);
    } else {
        let target = &rest[authority.len()..];
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        span.set("tag url.scheme", scheme);
        span.set("tag url.path", path);
        if !query.is_empty() {
            span.set("tag url.query", query);
        }
        let client = span.get("remote").to_owned();
        span.set("tag client.address", &client);
    }
    span.take("tag peer.address");
    span.rename("remote", "tag network.peer.address");
    span.rename("remote port", "tag network.peer.port");
    for (from, to) in [
        ("tag http.method", "tag http.request.method"),
        ("tag http.status_code", "tag http.response.status_code"),
        ("tag request_size", "tag http.request.body.size"),
        ("tag response_size", "tag http.response.body.size"),
        ("tag user_agent", "tag user_agent.original"),
        (
            "tag guid:x-request-id",
            "tag http.request.header.x-request-id",
        ),
    ] {
        span.rename(from, to);
    }
    span.change("tag http.request.header.x-request-id", |id| {
        format!("list {id}")
    });
    let status = span.get("tag http.response.status_code").to_owned();
    for name in [
        "tag network.peer.port",
        "tag http.response.status_code",
        "tag http.request.body.size",
        "tag http.response.body.size",
    ] {
        number(span, name);
    }
    flag(span, "tag sampler.param");
    match span.take("tag error").as_deref() {
        None => {}
        Some("true") => {
            span.set("tag error.type", &status);
            span.set("status", "error");
        }
        Some(failure) => {
            span.set("tag error.type", failure);
            span.set("status", "error");
            span.set("status message", failure);
        }
    }
}

const NO_UPPER_HALF: &str = "0000000000000000";

/// Jaeger, whatever the way: the trace id has 128 bits, and nothing tells of
/// shared ids or of debugging.
fn by_jaeger(span: &mut Fields) {
    span.change("trace", |id| format!("{id:0>32}"));
    span.take("shared");
    span.take("debug");
}

fn is_client(span: &Fields) -> bool {
    span.get("kind") == "CLIENT"
}

/// The response's status, 0 if there was none.
fn status(span: &Fields) -> u16 {
    let text = span.get("tag http.status_code");
    text.trim_start_matches("int ").parse().unwrap_or_default()
}

fn number(span: &mut Fields, name: &str) {
    span.change(name, |value| format!("int {value}"));
}

/// The sampler of these runs is a constant.
fn flag(span: &mut Fields, name: &str) {
    span.change(name, |value| format!("bool {value}"));
}
