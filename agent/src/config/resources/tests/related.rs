//! What resources have to do with each other.

use super::*;
use crate::config::resources::relations::together;

fn warnings(text: &str) -> Vec<(String, String)> {
    let (_, reports) = together(vec![("r.yaml".to_owned(), text.to_owned())]);
    let findings = reports.into_iter().flat_map(|report| report.findings);
    findings
        .map(|finding| {
            assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
            (
                finding.field,
                format!("{}; {}", finding.message, finding.hint.unwrap_or_default()),
            )
        })
        .collect()
}

const MESH: &str = "{type: Mesh, name: default, tracing: {defaultBackend: a, backends: [{name: a, type: zipkin, conf: {url: 'http://z:1/'}}]}}\n---\n";
const ALL: &str = "{type: TrafficTrace, name: all, mesh: default, selectors: [{match: {kuma.io/service: '*'}}]}\n---\n";

fn dataplane(name: &str, tags: &str) -> String {
    format!(
        "{{type: Dataplane, name: {name}, mesh: default, networking: {{address: 10.0.0.1, inbound: [{{port: 80, tags: {{{tags}}}}}]}}}}\n---\n"
    )
}

#[test]
fn what_is_whole_does_not_warn() {
    let web = dataplane("web", "kuma.io/service: web, kuma.io/protocol: http");
    for text in [
        String::new(),
        "{type: Mesh, name: default}".to_owned(),
        "{type: Mesh, name: default, tracing: {backends: []}}".to_owned(),
        format!("{MESH}{ALL}"),
        format!("{MESH}{ALL}{web}"),
        // Without any Mesh a Dataplane names a workload.
        web,
    ] {
        assert_eq!(warnings(&text), [], "{text}");
    }
}

#[test]
fn references_that_lead_nowhere() {
    let seeds = format!(
        "{}---\n{}",
        seed("mesh-universal.yaml"),
        seed("traffic-trace-universal.yaml")
    );
    let unused = "no TrafficTrace uses backend \"jaeger-collector\"";
    let wanted = "mesh \"default\" has no backend \"jager-collector\": what this selects is not traced; did you mean \"jaeger-collector\"?";
    let found = warnings(&seeds);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].0, "tracing.backends[0].name");
    assert!(found[0].1.starts_with(unused));
    assert_eq!(found[1], ("conf.backend".to_owned(), wanted.to_owned()));

    let no_default = MESH.replace("defaultBackend: a, ", "");
    for (text, field, says) in [
        (
            MESH.to_owned(),
            "tracing",
            "has tracing backends but no TrafficTrace: nothing of it is traced",
        ),
        (ALL.to_owned(), "mesh", "there is no Mesh \"default\""),
        (
            format!("{{type: Mesh, name: defalt}}\n---\n{ALL}"),
            "mesh",
            "did you mean \"defalt\"?",
        ),
        (
            format!(
                "{no_default}{ALL}{}",
                ALL.replace("all,", "used,")
                    .replace("]}", "], conf: {backend: a}}")
            ),
            "name",
            "no backend is named, and mesh \"default\" has no defaultBackend: what this selects is not traced; it has \"a\"",
        ),
        (
            format!(
                "{MESH}{ALL}{}",
                dataplane("d", "kuma.io/service: d").replace("mesh: default", "mesh: dfault")
            ),
            "mesh",
            "there is no Mesh \"dfault\" among the resources; did you mean \"default\"?",
        ),
    ] {
        let found = warnings(&text);
        assert!(
            found
                .iter()
                .any(|(at, message)| at == field && message.contains(says)),
            "{text}\n{found:?}"
        );
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
    }
}

#[test]
fn policies_that_select_nothing() {
    let narrow = "{type: TrafficTrace, name: narrow, mesh: default, selectors: [{match: {kuma.io/service: web}}]}\n---\n";
    let web = dataplane("web", "kuma.io/service: web, kuma.io/protocol: http");
    let api = dataplane("api", "kuma.io/service: api, kuma.io/protocol: http");
    let found = warnings(&format!("{MESH}{ALL}{narrow}{api}"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .1
            .starts_with("this selects none of the Dataplanes"),
        "{found:?}"
    );
    let found = warnings(&format!("{MESH}{ALL}{narrow}{web}"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .1
            .starts_with("this selects no Dataplane that a stronger policy"),
        "{found:?}"
    );
    assert_eq!(warnings(&format!("{MESH}{ALL}{narrow}{web}{api}")), []);
    // Without Dataplanes the workloads are pods, of which files say nothing.
    assert_eq!(warnings(&format!("{MESH}{ALL}{narrow}")), []);
}

#[test]
fn what_this_version_does_not_see() {
    for protocol in ["http2", "grpc"] {
        let tags = format!("kuma.io/service: web, kuma.io/protocol: {protocol}");
        let found = warnings(&format!("{MESH}{ALL}{}", dataplane("web", &tags)));
        let says =
            format!("this inbound is selected, but {protocol} is not captured by this version");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "networking.inbound[0]");
        assert!(found[0].1.starts_with(&says), "{found:?}");
        // Not selected, not told.
        let other = ALL.replace("kuma.io/service: '*'", "x: '*'");
        let found = warnings(&format!("{MESH}{other}{}", dataplane("web", &tags)));
        assert!(
            !found
                .iter()
                .any(|(_, message)| message.contains("captured")),
            "{found:?}"
        );
    }
    let named = dataplane("web", "kuma.io/service: web").replace("10.0.0.1", "web.example.com");
    let found = warnings(&named);
    assert!(
        found[0]
            .1
            .contains("is a name, by which no process is found"),
        "{found:?}"
    );
}

#[test]
fn an_identity_that_comes_twice_names_both_places() {
    let files = vec![
        ("a.yaml".to_owned(), format!("# first\n{MESH}{ALL}")),
        (
            "b.yaml".to_owned(),
            format!("{}{ALL}", ALL.replace("name: all", "name: other")),
        ),
    ];
    let (_, reports) = together(files);
    assert!(!reports[0].has_errors());
    let drawn = reports[1].to_string();
    assert!(
        drawn.starts_with("error: TrafficTrace \"all\" of mesh \"default\" is there twice\n  --> b.yaml:3:28, field name"),
        "{drawn}"
    );
    assert!(
        drawn.contains("the other is at a.yaml:4:28; remove one"),
        "{drawn}"
    );
    // Of another mesh or kind it is another.
    let text = format!(
        "{MESH}{ALL}{}{}",
        ALL.replace("mesh: default", "mesh: b"),
        MESH.replace("name: default", "name: b")
    );
    assert_eq!(warnings(&text), []);
}

#[test]
fn the_first_names_of_engines_and_files_agree() {
    let (resources, _) = together(vec![("r.yaml".to_owned(), format!("{MESH}{ALL}"))]);
    let engine = Engine::new(Arc::new(resources));
    let keys: Vec<_> = engine
        .resources()
        .all_traffic_traces()
        .map(|trace| trace.name.to_string())
        .collect();
    assert_eq!(keys, ["all"]);
    let key = ResourceKey {
        kind: Kind::TrafficTrace,
        mesh: "default".into(),
        name: "all".into(),
    };
    assert!(engine.resources().get(&key).is_some());
}
