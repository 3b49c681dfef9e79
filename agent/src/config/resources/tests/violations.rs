//! Kuma's rules: its fields and its messages, all at once.

use super::{findings, parse};
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

/// What follows `type: TrafficTrace`, `name` and `mesh`.
const POLICIES: &[(&str, &[(&str, &str)])] = &[
    ("selectors: [{match: {kuma.io/service: '*'}}]", &[]),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: {}",
        &[],
    ),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: {backend: ''}",
        &[],
    ),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: null",
        &[],
    ),
    (
        "selectors: [{match: {a.b/c-d_e:F: 'a.b/c-d_e:F'}}]\nconf: {backend: nobody-checks-this}",
        &[],
    ),
    ("selectors: [{match: {region: us}}]", &[]),
    (
        "conf: {backend: x}",
        &[("selectors", "must have at least one element")],
    ),
    (
        "selectors: []",
        &[("selectors", "must have at least one element")],
    ),
    (
        "selectors: [{}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: {}}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: null}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: {region: ''}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "selectors: [{match: {region: }}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "selectors: [{match: {'': x}}]",
        &[("selectors[0].match", "tag name must be non-empty")],
    ),
    (
        "selectors: [{match: {'a b': x}}]",
        &[(
            "selectors[0].match[\"a b\"]",
            "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
        )],
    ),
    (
        "selectors: [{match: {region: 'web*'}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
        )],
    ),
    (
        "selectors: [{match: {region: 'a b'}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
        )],
    ),
    (
        "selectors: [{match: {version: 1}}]",
        &[(
            "selectors[0].match[\"version\"]",
            "this is a number, wanted a string",
        )],
    ),
    (
        "selectors: {match: {a: b}}",
        &[("selectors", "this is a mapping, wanted a list")],
    ),
    (
        "selectors: [match]",
        &[("selectors[0]", "this is a string, wanted a mapping")],
    ),
    (
        "selectors: [{match: {a: ''}}, {match: {b: 'x y'}}, {}]",
        &[
            ("selectors[0].match[\"a\"]", "tag value must be non-empty"),
            (
                "selectors[1].match[\"b\"]",
                "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
            ),
            ("selectors[2].match", "must have at least one tag"),
        ],
    ),
];

/// The `networking` of a Dataplane.
const DATAPLANES: &[(&str, &[(&str, &str)])] = &[
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: web.example.com, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    ("{address: 10.0.0.1, inbound: [{port: 80}]}", &[]),
    ("null", &[("networking", "must be defined")]),
    (
        "{address: 10.0.0.1}",
        &[(
            "networking",
            "has to contain at least one inbound interface or gateway",
        )],
    ),
    (
        "{inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "address can't be empty")],
    ),
    (
        "{address: 0.0.0.0, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "must not be 0.0.0.0 or ::")],
    ),
    (
        "{address: '::', inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "must not be 0.0.0.0 or ::")],
    ),
    (
        "{address: '..>_<..', inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.address",
            "address has to be valid IP address or domain name",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 65536, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: -1, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 99999999999999999999999, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, servicePort: 70000, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].servicePort",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, servicePort: 0, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: x, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress has to be valid IP address",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, address: x, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].address",
            "address has to be valid IP address",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: 10.0.0.1, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress and servicePort has to differ from address and port",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, address: 10.0.0.2, serviceAddress: 10.0.0.2, servicePort: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress and servicePort has to differ from address and port",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: 10.0.0.1, servicePort: 81, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {version: '1'}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/service\"]",
            "tag has to exist",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, kuma.io/protocol: x}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/protocol\"]",
            "tag \"kuma.io/protocol\" has an invalid value \"x\". Allowed values: grpc, http, http2, kafka, tcp",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, kuma.io/protocol: HtTp}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a/b}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/service\"]",
            "tag value must consist of alphanumeric characters, dots, dashes and underscores",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, v: ''}}]}",
        &[(
            "networking.inbound[0].tags[\"v\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, 'v w': x}}]}",
        &[(
            "networking.inbound[0].tags[\"v w\"]",
            "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}}",
        &[],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {}}}",
        &[(
            "networking.gateway.tags",
            "mandatory tag \"kuma.io/service\" is missing",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a, kuma.io/protocol: http}}}",
        &[(
            "networking.gateway.tags[\"kuma.io/protocol\"]",
            "other values than tcp are not allowed, provided value \"http\"",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound",
            "inbound cannot be defined for delegated gateways",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {type: BUILTIN, tags: {kuma.io/service: a}}, outbound: [{port: 1, tags: {kuma.io/service: b}}]}",
        &[(
            "networking.outbound",
            "outbound cannot be defined for builtin gateways",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, outbound: [{port: 0, tags: {x: y}}, {port: 1, address: z, service: b}]}",
        &[
            (
                "networking.outbound[0].port",
                "port must be in the range [1, 65535]",
            ),
            (
                "networking.outbound[0].tags",
                "mandatory tag \"kuma.io/service\" is missing",
            ),
            (
                "networking.outbound[1].address",
                "address has to be valid IP address",
            ),
        ],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, outbound: [{port: 1, backendRef: {kind: MeshService, name: b, port: 1}}]}",
        &[],
    ),
];

/// Field and message are Kuma's; in the Kubernetes form the field begins with
/// `spec.` (`pkg/plugins/runtime/k8s/webhooks/validation.go`).
fn all_of(universal: &str, kubernetes: &str, expected: &[(&str, &str)]) {
    for (text, prefix) in [(universal, ""), (kubernetes, "spec.")] {
        let expected: Vec<_> = expected
            .iter()
            .map(|(field, message)| {
                (
                    Severity::Error,
                    format!("{prefix}{field}"),
                    (*message).to_owned(),
                )
            })
            .collect();
        assert_eq!(findings(text), expected, "{text}");
    }
}

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
fn of_a_policy() {
    for (rest, expected) in POLICIES {
        all_of(
            &format!("type: TrafficTrace\nname: p\nmesh: default\n{rest}"),
            &format!(
                "apiVersion: kuma.io/v1alpha1\nkind: TrafficTrace\nmesh: default\nmetadata: {{name: p}}\nspec:\n  {}",
                rest.replace('\n', "\n  ")
            ),
            expected,
        );
    }
}

#[test]
fn of_a_dataplane() {
    for (networking, expected) in DATAPLANES {
        all_of(
            &format!("type: Dataplane\nname: d\nmesh: default\nnetworking: {networking}"),
            &format!(
                "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: default\nmetadata: {{name: d, namespace: n}}\nspec:\n  networking: {networking}"
            ),
            expected,
        );
    }
}

#[test]
fn of_names() {
    let long = "a".repeat(254);
    let subdomain = "invalid characters. A lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
    for (name, message) in [
        ("''", "cannot be empty"),
        (long.as_str(), "value length must less or equal 253"),
        ("Web", subdomain),
        ("a_b", subdomain),
        ("-a", subdomain),
        ("a-", subdomain),
        ("a..b", subdomain),
    ] {
        let wanted = |field: &str| vec![(Severity::Error, field.to_owned(), message.to_owned())];
        assert_eq!(
            findings(&format!("type: Mesh\nname: {name}")),
            wanted("name"),
            "{name}"
        );
        let kubernetes =
            format!("apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {{name: {name}}}");
        assert_eq!(findings(&kubernetes), wanted("metadata.name"), "{name}");
    }
    for name in ["a", "a-b.c1", "1", &"a".repeat(253)] {
        assert_eq!(
            findings(&format!("type: Mesh\nname: '{name}'")),
            [],
            "{name}"
        );
    }
    let rest = "selectors: [{match: {a: b}}]";
    for (mesh, message) in [
        ("", "cannot be empty"),
        ("mesh: ''", "cannot be empty"),
        (
            "mesh: Web",
            "invalid characters. Valid characters are numbers, lowercase latin letters and '-', '_', '.' symbols.",
        ),
    ] {
        let universal = format!("type: TrafficTrace\nname: p\n{mesh}\n{rest}");
        let wanted = [(Severity::Error, "mesh".to_owned(), message.to_owned())];
        assert_eq!(findings(&universal), wanted, "{mesh}");
        let kubernetes = format!(
            "apiVersion: kuma.io/v1alpha1\nkind: TrafficTrace\nmetadata: {{name: p}}\n{mesh}\nspec: {{{rest}}}"
        );
        assert_eq!(findings(&kubernetes), wanted, "{mesh}");
    }
}

#[test]
fn they_are_drawn_at_their_place() {
    let text = "\
type: Mesh
name: default
tracing:
  backends:
  - name: us
    type: zipkin
    sampling: 100.1
    conf:
      url: http://zipkin-us.local/v2/spans
";
    assert_eq!(
        parse("mesh.yaml", text).report.to_string(),
        "\
error: has to be in [0.0 - 100.0] range
  --> mesh.yaml:7:15, field tracing.backends[0].sampling
   |
 7 |     sampling: 100.1
   |               ^^^^^
   = help: it is a percentage

error: port has to be explicitly specified
  --> mesh.yaml:9:12, field tracing.backends[0].config.url
   |
 9 |       url: http://zipkin-us.local/v2/spans
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write http://HOST:9411/api/v2/spans
"
    );
    // What is missing is shown where it should be.
    let text = "# é\n---\ntype: Mesh\nname: default\ntracing:\n  backends:\n  - name: a\n    type: zipkin\n    conf: {}\n";
    let drawn = parse("mesh.yaml", text).report.to_string();
    assert!(
        drawn.contains("mesh.yaml:9:5, field tracing.backends[0].config.url"),
        "{drawn}"
    );
    assert!(drawn.contains("     conf: {}\n   |     ^^^^\n"), "{drawn}");
}

#[test]
fn the_hints_name_what_was_meant() {
    for (text, hint) in [
        (
            "type: Mesh\nname: a\ntracing: {backends: [{name: a, type: otel}]}",
            "nodespan also takes \"opentelemetry\" and \"jaeger\"",
        ),
        (
            "type: Mesh\nname: a\ntracing: {defaultBackend: jager, backends: [{name: jaeger, type: zipkin, conf: {url: 'http://z:1'}}]}",
            "did you mean \"jaeger\"?",
        ),
        (
            "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{match: {a: 1}}]",
            "write \"1\"",
        ),
        (
            "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{match: {a: 'w*'}}]",
            "there are no patterns",
        ),
        (
            "type: Mesh\nname: a\ncreationTime: yesterday",
            "\"2024-05-31T12:00:00Z\"",
        ),
        (
            "kind: Mesh\nmetadata: {name: a}",
            "write `apiVersion: kuma.io/v1alpha1`",
        ),
        ("name: a", "a Universal resource begins with `type: Mesh`"),
        ("- type: Mesh", "write `type: Mesh` or `kind: Mesh`"),
    ] {
        let report = parse("r.yaml", text).report;
        assert!(report.has_errors(), "{text}");
        assert!(report.to_string().contains(hint), "{report}");
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
