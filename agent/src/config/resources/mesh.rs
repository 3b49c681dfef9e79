//! `Mesh`: its `tracing` (`pkg/core/resources/apis/mesh/mesh_validator.go`).

use std::sync::Arc;

use hashbrown::HashSet;
use hyper::Uri;

use super::document::{Meta, Placed};
use super::fields::Fields;
use crate::config::table::{self, At};
use crate::export::Protocol;
use crate::export::delivery::Address;
use crate::policy::{BackendKind, Mesh, Resource, TracingBackend, ZipkinApi, nearest_backend};

pub(super) fn read(mut meta: Meta, mut fields: Fields<'_>) -> Placed {
    let mut mesh = Mesh {
        name: Arc::clone(&meta.name),
        created: meta.created,
        default_backend: None,
        backends: Vec::new(),
    };
    if let Some(tracing) = fields.map("tracing") {
        meta.places.tracing = Some(tracing.at.clone());
        meta.places.backends = self::tracing(tracing, &mut mesh);
    }
    // What else a mesh has (`api/mesh/v1alpha1/mesh.proto`).
    fields.ignore(&[
        "mtls",
        "metrics",
        "logging",
        "networking",
        "routing",
        "constraints",
        "skipCreatingInitialPolicies",
        "meshServices",
    ]);
    fields.finish();
    Placed {
        resource: Resource::Mesh(Arc::new(mesh)),
        places: meta.places,
    }
}

/// Reads `tracing` into the mesh and returns the place of each backend.
fn tracing(mut fields: Fields<'_>, mesh: &mut Mesh) -> Vec<At> {
    let mut places = Vec::new();
    let mut names = HashSet::new();
    for mut backend in fields.maps("backends") {
        let name = backend.text("name").map_or("", |name| name.value);
        if name.is_empty() {
            backend.error("name", "cannot be empty", "");
        } else if !names.insert(name) {
            let message = format!("\"{name}\" name is already used for another backend");
            backend.error("name", message, "give each backend a name of its own");
        }
        let sampling = backend.number("sampling");
        if let Some(sampling) = &sampling
            && !(0.0..=100.0).contains(&sampling.value)
        {
            let message = "has to be in [0.0 - 100.0] range";
            backend.error("sampling", message, "it is a percentage");
        }
        if let Some(kind) = kind(&mut backend) {
            places.push(backend.place("name"));
            mesh.backends.push(Arc::new(TracingBackend {
                mesh: Arc::clone(&mesh.name),
                name: name.into(),
                sampling: sampling.map_or(100.0, |sampling| sampling.value),
                kind,
            }));
        }
        backend.finish();
    }
    let default = fields.text("defaultBackend");
    if let Some(default) = default.filter(|default| !default.value.is_empty()) {
        mesh.default_backend = Some(default.value.into());
        // A backend that is wrong in itself has its name all the same.
        if !names.contains(default.value) {
            let hint = nearest_backend(mesh, default.value).map_or_else(String::new, |nearest| {
                format!("did you mean \"{nearest}\"?")
            });
            let message = "has to be set to one of the tracing backend in mesh";
            fields.error("defaultBackend", message, &hint);
        }
    }
    fields.finish();
    places
}

/// `type` and `conf`; nothing if that is wrong.
fn kind(backend: &mut Fields<'_>) -> Option<BackendKind> {
    let of_type = backend.text("type");
    let wrong_type = of_type.is_none() && backend.has("type");
    let name = of_type.as_ref().map_or("", |of_type| of_type.value);
    let read = match name {
        "zipkin" => zipkin,
        "datadog" => datadog,
        "opentelemetry" => opentelemetry,
        "jaeger" => jaeger,
        _ => {
            if !wrong_type {
                let message = r#"unknown backend type. Available backends: "zipkin", "datadog""#;
                let hint = r#"nodespan also takes "opentelemetry" and "jaeger""#;
                backend.error("type", message, hint);
            }
            backend.ignore(&["conf"]);
            return None;
        }
    };
    if name == "datadog"
        && let Some(of_type) = &of_type
    {
        let message =
            "nodespan does not send to datadog backends: what is selected for it is dropped";
        let hint = "a Datadog agent takes OTLP over HTTP: type \"opentelemetry\"";
        backend.findings().warning(&of_type.at, message, hint);
    }
    let is_there = backend.has("conf");
    let conf = backend.conf();
    if is_there && conf.is_none() {
        return None;
    }
    let conf = conf.unwrap_or_else(|| {
        let mut at = backend.place("conf");
        at.field = format!("{}.config", backend.at.field);
        Fields::new(&[], at, backend.findings())
    });
    read(conf)
}

fn zipkin(mut conf: Fields<'_>) -> Option<BackendKind> {
    let trace_id_128 = conf.bool("traceId128bit").unwrap_or(false);
    let shared_span_context = conf.bool("sharedSpanContext").unwrap_or(true);
    let api_version = match conf.text("apiVersion").map_or("", |version| version.value) {
        // Envoy has not sent version 1 since 1.0 of Kuma; it sends 2 instead.
        "" | "httpJson" | "httpJsonV1" => Some(ZipkinApi::Json),
        "httpProto" => Some(ZipkinApi::Proto),
        _ => {
            let message = "has invalid value. Allowed values: httpJsonV1, httpJson, httpProto";
            conf.error("apiVersion", message, "");
            None
        }
    };
    let url = match conf.text("url") {
        // A wrong type has been told.
        None if conf.has("url") => None,
        url => address(&conf, "url", url, true),
    };
    if let Some(url) = &url
        && api_version == Some(ZipkinApi::Proto)
        && Protocol::of_zipkin(url, None, false) == Protocol::ZipkinV1Json
    {
        let message =
            "httpProto is version 2, and /api/v1/spans takes version 1: a server refuses it there";
        let hint = "write a url with /api/v2/spans";
        conf.findings()
            .warning(&conf.place("apiVersion"), message, hint);
    }
    conf.finish();
    Some(BackendKind::Zipkin {
        url: url?,
        trace_id_128,
        api_version: api_version?,
        shared_span_context,
    })
}

fn opentelemetry(mut conf: Fields<'_>) -> Option<BackendKind> {
    let endpoint = conf.text("endpoint");
    let endpoint = match endpoint {
        None if conf.has("endpoint") => None,
        endpoint => address(&conf, "endpoint", endpoint, false),
    };
    conf.finish();
    let endpoint = endpoint?;
    Some(BackendKind::OpenTelemetry { endpoint })
}

fn jaeger(mut conf: Fields<'_>) -> Option<BackendKind> {
    let example = "write HOST:6831";
    let agent = conf.text("agentAddress");
    let agent = match agent.map(|agent| agent.value) {
        // A wrong type has been told.
        None if conf.has("agentAddress") => None,
        None | Some("") => {
            conf.error("agentAddress", "cannot be empty", example);
            None
        }
        Some(agent) => match Address::parse(agent) {
            Ok(_) => Some(Arc::from(agent)),
            Err(_) => {
                conf.error("agentAddress", "is not of the form HOST:PORT", example);
                None
            }
        },
    };
    conf.finish();
    Some(BackendKind::Jaeger { agent: agent? })
}

fn datadog(mut conf: Fields<'_>) -> Option<BackendKind> {
    let address = conf.text("address");
    let address = match &address {
        Some(address) if !address.value.is_empty() => Some(Arc::from(address.value)),
        None if conf.has("address") => None,
        _ => {
            conf.error("address", "cannot be empty", "");
            None
        }
    };
    let port = match conf.whole("port").map(u16::try_from) {
        Some(Ok(port)) if port != 0 => Some(port),
        // Not even a number.
        None if conf.has("port") => None,
        _ => {
            conf.error("port", "port must be in the range [1, 65535]", "");
            None
        }
    };
    let split_service = conf.bool("splitService").unwrap_or(false);
    conf.finish();
    Some(BackendKind::Datadog {
        address: address?,
        port: port?,
        split_service,
    })
}

/// A URL without what must not be shown.
fn address(
    conf: &Fields<'_>,
    key: &'static str,
    url: Option<table::Placed<&str>>,
    needs_port: bool,
) -> Option<Arc<str>> {
    let example = match key {
        "url" => "write http://HOST:9411/api/v2/spans",
        _ => "write http://HOST:4318/v1/traces",
    };
    let Some(url) = url.filter(|url| !url.value.is_empty()) else {
        conf.error(key, "cannot be empty", example);
        return None;
    };
    let refuse = |message: &str, hint: &str| {
        conf.error(key, message, hint);
        None
    };
    // Without a scheme the parser takes a name for an authority, Go's for
    // nonsense; with a path alone neither has a port.
    let parsed: Option<Uri> = url.value.parse().ok();
    let Some(uri) = parsed.filter(|uri| uri.scheme().is_some() || url.value.starts_with('/'))
    else {
        return refuse("invalid URL", example);
    };
    let Some(authority) = uri.authority() else {
        return refuse("port has to be explicitly specified", example);
    };
    let host = authority.host();
    let whole = authority.as_str();
    let after = whole.rsplit_once('@').map_or(whole, |(_, after)| after);
    let port = after
        .strip_prefix(host)
        .and_then(|after| after.strip_prefix(':'));
    let port = port.filter(|digits| !digits.is_empty());
    match port {
        None if needs_port => return refuse("port has to be explicitly specified", example),
        Some(digits) if !digits.parse::<u16>().is_ok_and(|port| port != 0) => {
            return refuse("invalid URL", "a port is from 1 to 65535");
        }
        _ => {}
    }
    if host.is_empty() {
        return refuse("invalid URL", "it names no host");
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        // Kuma asks for https alone and takes all else for http.
        let hint = "write http:// or https://";
        return refuse("invalid URL", hint);
    }
    if whole.contains('@') {
        let message = "user and password of the URL are not sent (nor does Kuma send them)";
        conf.findings().warning(&url.at, message, "remove them");
    }
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(format!("{scheme}://{host}{port}{path}").into())
}
