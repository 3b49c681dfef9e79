//! Kuma's rules: its fields and its messages, all at once.

mod dataplane;
mod mesh;
mod traffic_trace;

use super::{findings, parse};
use crate::config::Severity;

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
