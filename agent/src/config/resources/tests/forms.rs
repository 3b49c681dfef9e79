//! The forms that resources have.

use std::sync::Arc;

use super::{findings, fine, mesh, parse, policy, seed};
use crate::config::Severity;
use crate::policy::*;

#[test]
fn the_seeds_are_read_as_they_are() {
    let kubernetes = fine(&seed("mesh-kubernetes.yaml"));
    let universal = fine(&seed("mesh-universal.yaml"));
    assert_eq!(kubernetes, universal);
    let [resource] = universal.as_slice() else {
        panic!("{universal:?}")
    };
    let expected = Mesh {
        name: "default".into(),
        created: Created(0),
        default_backend: Some("jaeger-collector".into()),
        backends: vec![Arc::new(TracingBackend {
            mesh: "default".into(),
            name: "jaeger-collector".into(),
            sampling: 100.0,
            kind: BackendKind::Zipkin {
                url: "http://jaeger-collector.kuma-tracing:9411/api/v2/spans".into(),
                trace_id_128: false,
                api_version: ZipkinApi::Json,
                shared_span_context: true,
            },
        })],
    };
    assert_eq!(mesh(resource), &expected);

    let kubernetes = fine(&seed("traffic-trace-kubernetes.yaml"));
    let universal = fine(&seed("traffic-trace-universal.yaml"));
    let trace = |backend: &str| TrafficTrace {
        mesh: "default".into(),
        name: "trace-all-traffic".into(),
        created: Created(0),
        selectors: vec![Selector::new(
            [("kuma.io/service", "*")].into_iter().collect(),
        )],
        backend: Some(backend.into()),
    };
    assert_eq!(policy(&kubernetes[0]), &trace("jaeger-collector"));
    // The document's own mistake.
    assert_eq!(policy(&universal[0]), &trace("jager-collector"));
}

#[test]
fn the_seeds_decide() {
    let inbounds = [Inbound::from(
        [("kuma.io/service", "web"), ("kuma.io/protocol", "http")]
            .into_iter()
            .collect::<Tags>(),
    )];
    let explain = |mesh: &str, trace: &str| {
        let all = fine(&format!("{}---\n{}", seed(mesh), seed(trace)));
        let engine = Engine::new(Arc::new(all.into_iter().collect()));
        engine.explain("default", &inbounds)
    };
    for mesh in ["mesh-kubernetes.yaml", "mesh-universal.yaml"] {
        let right = explain(mesh, "traffic-trace-kubernetes.yaml");
        assert!(right.traced, "{right:?}");
        assert_eq!(right.backend.unwrap().name, "jaeger-collector");

        let typo = explain(mesh, "traffic-trace-universal.yaml");
        assert!(!typo.traced);
        assert_eq!(typo.policy.as_deref(), Some("trace-all-traffic"));
        assert_eq!(typo.backend, None);
        assert!(
            typo.reason.contains("\"jager-collector\""),
            "{}",
            typo.reason
        );
        assert!(
            typo.reason.contains("the nearest is \"jaeger-collector\""),
            "{}",
            typo.reason
        );
    }
}

#[test]
fn several_documents() {
    let text = format!(
        "# a comment\n---\n{}---\n\n---\n# nothing\n---\n{}...\n---\n",
        seed("mesh-kubernetes.yaml"),
        seed("traffic-trace-universal.yaml")
    );
    assert_eq!(fine(&text).len(), 2);
    assert_eq!(fine("").len(), 0);
    assert_eq!(fine("# nothing\n").len(), 0);
    assert_eq!(fine("null\n---\n~\n").len(), 0);
}

#[test]
fn json_of_both_forms() {
    let universal = r#"{"type":"Mesh","name":"default","creationTime":"2023-05-01T00:00:00Z","modificationTime":"2023-05-02T00:00:00Z","labels":{},"kri":"kri_m____default_",
	"tracing":{"backends":[{"name":"\u007a\u0031","type":"zipkin","sampling":1e1,"conf":{"url":"http:\/\/z:9411\/api\/v2\/spans","traceId128bit":true,"apiVersion":"httpProto","sharedSpanContext":false}}]}}"#;
    let kubernetes = r#"{
	"apiVersion": "kuma.io/v1alpha1",
	"kind": "Mesh",
	"metadata": {"name": "default", "creationTimestamp": "2023-05-01T02:00:00+02:00", "uid": "1", "annotations": {"a": "b"}},
	"spec": {"tracing": {"backends": [{"name": "z1", "type": "zipkin", "sampling": 10, "conf": {"url": "http://z:9411/api/v2/spans", "traceId128bit": true, "apiVersion": "httpProto", "sharedSpanContext": false}}]}},
	"status": {}
}"#;
    let (universal, kubernetes) = (fine(universal), fine(kubernetes));
    assert_eq!(universal, kubernetes);
    let backend = &mesh(&universal[0]).backends[0];
    assert_eq!((&*backend.name, backend.sampling), ("z1", 10.0));
    assert_eq!(
        backend.kind,
        BackendKind::Zipkin {
            url: "http://z:9411/api/v2/spans".into(),
            trace_id_128: true,
            api_version: ZipkinApi::Proto,
            shared_span_context: false,
        }
    );
    assert_eq!(
        mesh(&universal[0]).created,
        Created(1_682_899_200_000_000_000)
    );
}

/// What JSON may write and YAML is not made for.
#[test]
fn json_strings() {
    for (written, read) in [
        (r#""a\/b""#, "a/b"),
        (r#""a\u002db""#, "a-b"),
        (r#""\u0061""#, "a"),
    ] {
        let text = format!(
            r#"{{"type":"TrafficTrace","name":"p","mesh":"m","selectors":[{{"match":{{"t":{written}}}}}]}}"#
        );
        let all = fine(&text);
        let tags = policy(&all[0]).selectors[0].tags();
        assert_eq!(&**tags.get("t").unwrap(), read);
    }
    // Beyond the basic plane a character is two escapes (RFC 8259 section 7).
    let text = r#"{"type":"Mesh","name":"a","labels":{"x":"\ud83d\ude00"}}"#;
    assert_eq!(findings(text), []);
}

#[test]
fn lists() {
    let trace = "{apiVersion: kuma.io/v1alpha1, kind: TrafficTrace, mesh: default, metadata: {name: NAME}, spec: {selectors: [{match: {a: b}}]}}";
    let (one, two) = (trace.replace("NAME", "one"), trace.replace("NAME", "two"));
    for text in [
        format!(
            "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems: [{one}, {two}]"
        ),
        format!("apiVersion: kuma.io/v1alpha1\nkind: TrafficTraceList\nitems:\n- {one}\n- {two}\n"),
        format!("total: 2\nitems: [{one}, {two}]\nnext: null"),
    ] {
        let names: Vec<_> = fine(&text)
            .iter()
            .map(|r| policy(r).name.to_string())
            .collect();
        assert_eq!(names, ["one", "two"], "{text}");
    }
    let broken = format!(
        "kind: List\napiVersion: v1\nitems: [{one}, {{type: Mesh, name: a, tracing: {{defaultBackend: b}}}}, 3]"
    );
    let fields: Vec<_> = findings(&broken)
        .into_iter()
        .map(|(_, field, _)| field)
        .collect();
    assert_eq!(fields, ["items[1].tracing.defaultBackend", "items[2]"]);
    assert_eq!(fine("kind: List\napiVersion: v1\nitems: []").len(), 0);
}

#[test]
fn other_kinds_are_skipped_with_a_word() {
    for (text, message, hint) in [
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {x: 1}}",
            "resource of kind Deployment is skipped",
            "of apiVersion apps/v1",
        ),
        (
            "{apiVersion: v1, kind: Service}",
            "resource of kind Service is skipped",
            "nodespan reads Mesh, TrafficTrace and Dataplane",
        ),
        (
            "{apiVersion: kuma.io/v1alpha1, kind: MeshTrace}",
            "resource of kind MeshTrace is skipped",
            "does not read MeshTrace",
        ),
        (
            "{apiVersion: kuma.io/v1alpha1, kind: TraficTrace}",
            "resource of kind TraficTrace is skipped",
            "did you mean TrafficTrace?",
        ),
        (
            "{apiVersion: example.com/v1, kind: Mesh}",
            "resource of kind Mesh is skipped",
            "of apiVersion example.com/v1",
        ),
        (
            "{type: TrafficRoute, name: a}",
            "resource of kind TrafficRoute is skipped",
            "nodespan reads",
        ),
        (
            "{type: mesh, name: a}",
            "resource of kind mesh is skipped",
            "did you mean Mesh?",
        ),
    ] {
        let text = format!("{text}\n---\n{}", seed("mesh-universal.yaml"));
        let parsed = parse("r.yaml", &text);
        assert_eq!(parsed.resources.len(), 1, "{text}");
        let [finding] = parsed.report.findings.as_slice() else {
            panic!("{}", parsed.report)
        };
        assert_eq!(finding.severity, Severity::Warning);
        assert_eq!(finding.message, message);
        assert!(finding.hint.as_ref().unwrap().contains(hint), "{finding:?}");
    }
}

#[test]
fn what_kuma_knows_does_not_warn() {
    fine(
        "
type: Mesh
name: default
mtls: {enabledBackend: ca-1, backends: [{name: ca-1, type: builtin}]}
metrics: {enabledBackend: p, backends: []}
logging: {defaultBackend: l, backends: []}
networking: {outbound: {passthrough: true}}
routing: {localityAwareLoadBalancing: true}
constraints: {dataplaneProxy: {requirements: []}}
skipCreatingInitialPolicies: ['*']
meshServices: {mode: Exclusive}
---
type: Dataplane
mesh: default
name: d
metrics: {type: prometheus, conf: {}}
probes: {port: 9000}
networking:
  address: 10.0.0.1
  admin: {port: 9901}
  transparentProxying: {redirectPortInbound: 15006}
  inbound:
  - port: 80
    name: main
    state: Ready
    health: {ready: true}
    serviceProbe: {tcp: {}}
    tags: {kuma.io/service: a}
",
    );
}

#[test]
fn unknown_fields_warn_with_the_nearest_name() {
    for (text, field, hint) in [
        (
            "type: Mesh\nname: a\ntracng: {}",
            "tracng",
            "did you mean `tracing`?",
        ),
        (
            "type: Mesh\nname: a\ntracing: {backend: []}",
            "tracing.backend",
            "did you mean `backends`?",
        ),
        (
            "type: Mesh\nname: a\ntracing: {backends: [{name: a, type: zipkin, config: {}, conf: {url: 'http://z:1'}}]}",
            "tracing.backends[0].config",
            "did you mean `conf`?",
        ),
        // Before 0.5 it was so; Kuma silently takes it for nothing.
        (
            "type: Mesh\nname: a\ntracing: {backends: [{name: a, type: zipkin, zipkin: {url: x}, conf: {url: 'http://z:1'}}]}",
            "tracing.backends[0].zipkin",
            "known here: name, sampling, type, conf",
        ),
        (
            "type: Mesh\nname: a\ntracing: {backends: [{name: a, type: zipkin, conf: {url: 'http://z:1', traceId128: true}}]}",
            "tracing.backends[0].config.traceId128",
            "did you mean `traceId128bit`?",
        ),
        (
            "type: TrafficTrace\nname: a\nmesh: a\nselector: []\nselectors: [{match: {a: b}}]",
            "selector",
            "did you mean `selectors`?",
        ),
        (
            "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{match: {a: b}, matches: 1}]",
            "selectors[0].matches",
            "did you mean `match`?",
        ),
        (
            "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{match: {a: b}}]\nconf: {backends: x}",
            "conf.backends",
            "did you mean `backend`?",
        ),
        (
            "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {name: a, lables: {}}",
            "metadata.lables",
            "did you mean `labels`?",
        ),
        (
            "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {name: a}\ntracing: {}",
            "tracing",
            "known here: kind, apiVersion, metadata, mesh, spec, status",
        ),
        (
            "type: Dataplane\nname: a\nmesh: a\nnetworking: {address: 10.0.0.1, inbounds: [], inbound: [{port: 1}]}",
            "networking.inbounds",
            "did you mean `inbound`?",
        ),
        (
            "type: Dataplane\nname: a\nmesh: a\nnetworking: {address: 10.0.0.1, inbound: [{port: 1, tag: {}}]}",
            "networking.inbound[0].tag",
            "did you mean `tags`?",
        ),
    ] {
        let report = parse("r.yaml", text).report;
        let [finding] = report.findings.as_slice() else {
            panic!("{text}\n{report}")
        };
        assert_eq!(
            (finding.severity, finding.field.as_str()),
            (Severity::Warning, field)
        );
        assert!(finding.hint.as_ref().unwrap().contains(hint), "{finding:?}");
    }
}

#[test]
fn snake_case_is_as_good() {
    let text = "
type: Mesh
name: default
tracing:
  default_backend: a
  backends: [{name: a, type: zipkin, conf: {url: 'http://z:1/', api_version: httpProto, shared_span_context: false}}]
";
    let all = fine(text);
    assert_eq!(mesh(&all[0]).default_backend.as_deref(), Some("a"));
    let twice = "type: Mesh\nname: a\ntracing: {defaultBackend: '', default_backend: ''}";
    let message = "`defaultBackend` is there twice, in two spellings".to_owned();
    let wanted = [(
        Severity::Error,
        "tracing.defaultBackend".to_owned(),
        message,
    )];
    assert_eq!(findings(twice), wanted);
}

#[test]
fn creation_times() {
    let created = |text: &str| {
        let text = format!(
            "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{{match: {{a: b}}}}]\n{text}"
        );
        policy(&fine(&text)[0]).created
    };
    for (text, nanos) in [
        ("", 0),
        ("creationTime: 1970-01-01T00:00:00Z", 0),
        (
            "creationTime: '1970-01-01T00:00:01.000000001Z'",
            1_000_000_001,
        ),
        ("creationTime: 1970-01-01T01:00:00+01:00", 0),
        (
            "creationTime: 0001-01-01T00:00:00Z",
            -62_135_596_800_000_000_000,
        ),
        ("creationTime: null", 0),
        // It is not what decides.
        ("modificationTime: 2024-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(created(text), Created(nanos), "{text}");
    }
    for wrong in ["2024-01-01", "soon", "2024-13-01T00:00:00Z", "''"] {
        let text = format!("type: Mesh\nname: a\ncreationTime: {wrong}");
        assert!(parse("r.yaml", &text).report.has_errors(), "{wrong}");
    }
}

#[test]
fn names_in_kubernetes() {
    let key = |text: &str| fine(text)[0].key().to_string();
    let dataplane = "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: m\nmetadata: {name: web-1, namespace: shop}\nspec: {networking: {address: 10.0.0.1, inbound: [{port: 1}]}}";
    assert_eq!(key(dataplane), "Dataplane \"web-1.shop\" of mesh \"m\"");
    let labelled = dataplane.replace("mesh: m\n", "").replace(
        "namespace: shop",
        "namespace: shop, labels: {kuma.io/mesh: n}",
    );
    assert_eq!(key(&labelled), "Dataplane \"web-1.shop\" of mesh \"n\"");
    assert_eq!(
        key("apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {name: m}"),
        "Mesh \"m\""
    );
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "
type: Mesh
name: default
tracing:
  backends:
  - &first
    name: a
    type: zipkin
    sampling: 5
    conf: &conf {url: 'http://z:9411/', sharedSpanContext: false}
  - <<: *first
    name: b
  - name: c
    type: zipkin
    conf: {<<: [{url: 'http://y:9411/'}, *conf]}
";
    let all = fine(text);
    let backends: Vec<_> = mesh(&all[0])
        .backends
        .iter()
        .map(|b| (&*b.name, b.sampling, b.address()))
        .collect();
    assert_eq!(
        backends,
        [
            ("a", 5.0, "http://z:9411/".to_owned()),
            ("b", 5.0, "http://z:9411/".to_owned()),
            ("c", 100.0, "http://y:9411/".to_owned()),
        ]
    );
}

#[test]
fn opentelemetry_and_urls() {
    let address = |kind: &str, conf: &str| {
        let text = format!(
            "type: Mesh\nname: a\ntracing: {{backends: [{{name: a, type: {kind}, conf: {conf}}}]}}"
        );
        mesh(&fine(&text)[0]).backends[0].address()
    };
    for (url, read) in [
        ("http://otel:4318/v1/traces", "http://otel:4318/v1/traces"),
        (
            "https://otel.example.com/v1/traces",
            "https://otel.example.com/v1/traces",
        ),
        ("http://otel:4318", "http://otel:4318/"),
        ("http://[fd00::1]:4318/x?y=z", "http://[fd00::1]:4318/x?y=z"),
    ] {
        assert_eq!(
            address("opentelemetry", &format!("{{endpoint: '{url}'}}")),
            read
        );
    }
    assert_eq!(
        address("zipkin", "{url: 'https://z:443/api/v2/spans'}"),
        "https://z:443/api/v2/spans"
    );
    assert_eq!(
        address("jaeger", "{agentAddress: 'jaeger:6831'}"),
        "jaeger:6831"
    );
}

#[test]
fn credentials_are_neither_kept_nor_shown() {
    let text = "type: Mesh\nname: a\ntracing: {backends: [{name: a, type: zipkin, conf: {url: 'http://user:s3cret@z:9411/x'}}]}";
    let parsed = parse("r.yaml", text);
    assert!(!parsed.report.has_errors());
    assert_eq!(
        mesh(&parsed.resources[0]).backends[0].address(),
        "http://z:9411/x"
    );
    let debug = format!("{:?}", parsed.resources);
    let drawn = parsed.report.to_string();
    assert!(
        drawn.contains("user and password of the URL are not sent"),
        "{drawn}"
    );
    assert!(drawn.contains("'http://***********@z:9411/x'"), "{drawn}");
    for shown in [debug, drawn] {
        assert!(
            !shown.contains("s3cret") && !shown.contains("user:"),
            "{shown}"
        );
    }
    // Also where the URL is wrong, whatever the password has in it.
    for url in [
        "http://user:s3cret@z/x",
        "http://user:s3/cret@z:1/x",
        "ftp://user:s3cret@z:1",
    ] {
        let text = text.replace("http://user:s3cret@z:9411/x", url);
        let report = parse("r.yaml", &text).report;
        assert!(report.has_errors(), "{report}");
        let drawn = report.to_string();
        assert!(!drawn.contains("s3"), "{drawn}");
    }
}
