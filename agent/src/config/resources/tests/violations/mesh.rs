//! Of a Mesh.

use super::super::{findings, parse};
use super::all_of;
use crate::config::Severity;

/// The `tracing` of a Mesh, and what is wrong with it: field, message.
const MESHES: &[(&str, &[(&str, &str)])] = &[
    ("{backends: []}", &[]),
    ("{}", &[]),
    (
        "{backends: [{type: zipkin, conf: {url: 'http://z:9411/api/v2/spans'}}]}",
        &[("tracing.backends[0].name", "cannot be empty")],
    ),
    (
        "{backends: [{name: '', type: zipkin, conf: {url: 'http://z:9411/api/v2/spans'}}]}",
        &[("tracing.backends[0].name", "cannot be empty")],
    ),
    (
        "{backends: [{name: zipkin-us, type: zipkin, conf: {url: 'http://z:9411'}}, {name: zipkin-us, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[1].name",
            "\"zipkin-us\" name is already used for another backend",
        )],
    ),
    (
        "{backends: [{name: a, sampling: 100.1, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].sampling",
            "has to be in [0.0 - 100.0] range",
        )],
    ),
    (
        "{backends: [{name: a, sampling: -0.1, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].sampling",
            "has to be in [0.0 - 100.0] range",
        )],
    ),
    (
        "{backends: [{name: a, sampling: .nan, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].sampling",
            "has to be in [0.0 - 100.0] range",
        )],
    ),
    (
        "{backends: [{name: a, sampling: 1e999, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].sampling",
            "has to be in [0.0 - 100.0] range",
        )],
    ),
    (
        "{backends: [{name: a, sampling: 0, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, sampling: 100, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, sampling: '30.5', type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: zapkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].type",
            "unknown backend type. Available backends: \"zipkin\", \"datadog\"",
        )],
    ),
    (
        "{backends: [{name: a, type: Zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.backends[0].type",
            "unknown backend type. Available backends: \"zipkin\", \"datadog\"",
        )],
    ),
    (
        "{backends: [{name: a}]}",
        &[(
            "tracing.backends[0].type",
            "unknown backend type. Available backends: \"zipkin\", \"datadog\"",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: [1]}]}",
        &[(
            "tracing.backends[0].config",
            "could not parse config: this is a list, wanted a mapping",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 1}}]}",
        &[(
            "tracing.backends[0].config",
            "could not parse config: url is a number, wanted a string",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://z:9411', traceId128bit: 'yes'}}]}",
        &[(
            "tracing.backends[0].config",
            "could not parse config: traceId128bit is a string, wanted true or false",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin}]}",
        &[("tracing.backends[0].config.url", "cannot be empty")],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: ''}}]}",
        &[("tracing.backends[0].config.url", "cannot be empty")],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: invalid-url}}]}",
        &[("tracing.backends[0].config.url", "invalid URL")],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://z:94111/x'}}]}",
        &[("tracing.backends[0].config.url", "invalid URL")],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://:9411/x'}}]}",
        &[("tracing.backends[0].config.url", "invalid URL")],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://zipkin-us.local/v2/spans'}}]}",
        &[(
            "tracing.backends[0].config.url",
            "port has to be explicitly specified",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'https://zipkin-us.local/v2/spans'}}]}",
        &[(
            "tracing.backends[0].config.url",
            "port has to be explicitly specified",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://zipkin-us.local:/v2/spans'}}]}",
        &[(
            "tracing.backends[0].config.url",
            "port has to be explicitly specified",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: /v2/spans}}]}",
        &[(
            "tracing.backends[0].config.url",
            "port has to be explicitly specified",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'https://z:443/api/v2/spans'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://[::1]:9411/api/v2/spans'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://z:9411', apiVersion: httpV3}}]}",
        &[(
            "tracing.backends[0].config.apiVersion",
            "has invalid value. Allowed values: httpJsonV1, httpJson, httpProto",
        )],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://z:9411', apiVersion: httpJsonV1}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: zipkin, conf: {url: 'http://z:9411', apiVersion: ''}}]}",
        &[],
    ),
    (
        "{defaultBackend: b, backends: [{name: a, type: zipkin, conf: {url: 'http://z:9411'}}]}",
        &[(
            "tracing.defaultBackend",
            "has to be set to one of the tracing backend in mesh",
        )],
    ),
    (
        "{defaultBackend: a}",
        &[(
            "tracing.defaultBackend",
            "has to be set to one of the tracing backend in mesh",
        )],
    ),
    ("{defaultBackend: ''}", &[]),
    ("{defaultBackend: null}", &[]),
    (
        "{backends: [{name: a, type: opentelemetry, conf: {}}]}",
        &[("tracing.backends[0].config.endpoint", "cannot be empty")],
    ),
    (
        "{backends: [{name: a, type: opentelemetry, conf: {endpoint: 'otel:4318'}}]}",
        &[("tracing.backends[0].config.endpoint", "invalid URL")],
    ),
    (
        "{backends: [{name: a, type: opentelemetry, conf: {endpoint: 'http://otel:4318/v1/traces'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: opentelemetry, conf: {endpoint: 'https://otel.example.com/v1/traces'}}]}",
        &[],
    ),
    (
        "{backends: [{name: a, type: jaeger}]}",
        &[("tracing.backends[0].config.agentAddress", "cannot be empty")],
    ),
    (
        "{backends: [{name: a, type: jaeger, conf: {agentAddress: 'http://jaeger:6831'}}]}",
        &[(
            "tracing.backends[0].config.agentAddress",
            "is not of the form HOST:PORT",
        )],
    ),
    (
        "{backends: [{name: a, type: jaeger, conf: {agentAddress: 'user:s3cret@jaeger:6831'}}]}",
        &[(
            "tracing.backends[0].config.agentAddress",
            "is not of the form HOST:PORT",
        )],
    ),
    (
        "{backends: [{name: a, type: jaeger, conf: {agentAddress: '[fd00::1]:6831'}}]}",
        &[],
    ),
    // All at once, in the order of their places.
    (
        "{backends: [{name: '', sampling: 101, type: zipkin, conf: {url: x, apiVersion: y}}, {type: z}], defaultBackend: q}",
        &[
            ("tracing.backends[0].name", "cannot be empty"),
            (
                "tracing.backends[0].sampling",
                "has to be in [0.0 - 100.0] range",
            ),
            ("tracing.backends[0].config.url", "invalid URL"),
            (
                "tracing.backends[0].config.apiVersion",
                "has invalid value. Allowed values: httpJsonV1, httpJson, httpProto",
            ),
            ("tracing.backends[1].name", "cannot be empty"),
            (
                "tracing.backends[1].type",
                "unknown backend type. Available backends: \"zipkin\", \"datadog\"",
            ),
            (
                "tracing.defaultBackend",
                "has to be set to one of the tracing backend in mesh",
            ),
        ],
    ),
];

#[test]
fn of_a_mesh() {
    for (tracing, expected) in MESHES {
        all_of(
            &format!("type: Mesh\nname: default\ntracing: {tracing}"),
            &format!(
                "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {{name: default}}\nspec:\n  tracing: {tracing}"
            ),
            expected,
        );
    }
}

#[test]
fn protocol_buffers_to_a_path_of_version_1_are_warned_of() {
    let found = |conf: &str| {
        let backend = format!("{{name: z, type: zipkin, conf: {{{conf}}}}}");
        findings(&format!(
            "type: Mesh\nname: a\ntracing: {{backends: [{backend}]}}"
        ))
        .into_iter()
        .filter(|(_, field, _)| field.ends_with("apiVersion"))
        .map(|(severity, _, message)| (severity, message))
        .collect::<Vec<_>>()
    };
    let warning = (
        Severity::Warning,
        "httpProto is version 2, and /api/v1/spans takes version 1: a server refuses it there"
            .to_owned(),
    );
    for url in [
        "http://z:9411/api/v1/spans",
        "http://z:9411/api/v1/spans/?a=b",
    ] {
        let proto = format!("url: '{url}', apiVersion: httpProto");
        assert_eq!(found(&proto), std::slice::from_ref(&warning), "{url}");
        for other in ["", ", apiVersion: httpJson", ", apiVersion: httpJsonV1"] {
            assert_eq!(found(&format!("url: '{url}'{other}")), []);
        }
    }
    let right = "url: 'http://z:9411/api/v2/spans', apiVersion: httpProto";
    assert_eq!(found(right), []);
}

#[test]
fn datadog_is_taken_and_said_to_be_of_no_use() {
    let text = |conf: &str| {
        format!(
            "type: Mesh\nname: a\ntracing: {{backends: [{{name: d, type: datadog, conf: {conf}}}]}}"
        )
    };
    let report = parse(
        "r.yaml",
        &text("{address: dd, port: 8126, splitService: true}"),
    )
    .report;
    assert!(!report.has_errors(), "{report}");
    assert!(
        report
            .to_string()
            .starts_with("warning: nodespan does not send to datadog backends")
    );
    let wrong = |conf: &str| {
        let errors = findings(&text(conf)).into_iter();
        let errors = errors.filter(|(severity, ..)| *severity == Severity::Error);
        errors
            .map(|(_, field, message)| (field, message))
            .collect::<Vec<_>>()
    };
    let address = (
        "tracing.backends[0].config.address".to_owned(),
        "cannot be empty".to_owned(),
    );
    let port = (
        "tracing.backends[0].config.port".to_owned(),
        "port must be in the range [1, 65535]".to_owned(),
    );
    assert_eq!(wrong("{port: 8126}"), vec![address.clone()]);
    assert_eq!(wrong("{address: dd}"), vec![port.clone()]);
    assert_eq!(wrong("{address: dd, port: 0}"), vec![port.clone()]);
    assert_eq!(wrong("{address: dd, port: 65536}"), vec![port.clone()]);
    assert_eq!(wrong("{}"), [address, port]);
}
