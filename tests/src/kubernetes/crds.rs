//! Our `Mesh` and `TrafficTrace`: what kubectl explains, takes and refuses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Cluster;
use crate::children::{command, run as run_command};
use crate::report::{Report, Verdict};

/// The examples of the document that the project started from.
const MESH: &str = include_str!("../../data/seeds/mesh-kubernetes.yaml");
const TRACE: &str = include_str!("../../data/seeds/traffic-trace-kubernetes.yaml");

pub(super) fn run(report: &mut Report, nodespan: &Path, cluster: &Cluster, out: &Path) {
    let this = Crds {
        nodespan,
        cluster,
        out,
    };
    report.check("crds/as-kuma-has-them", || this.identity());
    report.check("crds/explain", || this.explain());
    report.check("crds/seeds", || this.seeds());
    report.check("crds/kept", || this.kept());
    report.check("crds/read-back", || this.read_back());
    for (name, text, why) in refused() {
        report.check(&format!("crds/refused/{name}"), || {
            this.refused(name, &text, why)
        });
    }
}

/// One of Kuma's own kinds, in what a client can tell of its definition
/// (`deployments/charts/kuma/crds`, of Kuma 2.10 and later).
pub(super) struct Kumas {
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
}

/// Those that nodespan reads.
pub(super) const KUMAS: [Kumas; 2] = [
    Kumas {
        plural: "meshes",
        singular: "mesh",
        kind: "Mesh",
        short: &["m"],
    },
    Kumas {
        plural: "traffictraces",
        singular: "traffictrace",
        kind: "TrafficTrace",
        short: &[],
    },
];

impl Kumas {
    /// Of the definition.
    pub(super) fn name(&self) -> String {
        format!("{}.kuma.io", self.plural)
    }

    fn names(&self) -> Value {
        let mut names = json!({
            "plural": self.plural,
            "singular": self.singular,
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "categories": ["kuma"],
        });
        if !self.short.is_empty() {
            names["shortNames"] = json!(self.short);
        }
        names
    }

    /// A definition that takes what Kuma's takes: `mesh` is a text, and `spec`
    /// anything, of which the API checks and describes nothing.
    pub(super) fn definition(&self) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name()},
            "spec": {
                "group": "kuma.io",
                "scope": "Cluster",
                "names": self.names(),
                "versions": [{
                    "name": "v1alpha1",
                    "served": true,
                    "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "mesh": {"type": "string"},
                            "spec": {"x-kubernetes-preserve-unknown-fields": true},
                        },
                    }},
                }],
            },
        })
    }
}

struct Crds<'a> {
    nodespan: &'a Path,
    cluster: &'a Cluster,
    out: &'a Path,
}

impl Crds<'_> {
    fn identity(&self) -> Result<Verdict> {
        for kumas in KUMAS {
            let name = kumas.name();
            let crd = self.cluster.get(&["crd", &name])?;
            let spec = &crd["spec"];
            ensure!(spec["group"] == "kuma.io" && spec["scope"] == "Cluster");
            ensure!(spec["names"] == kumas.names(), "{name}: {}", spec["names"]);
            let versions = spec["versions"].as_array().context("no versions")?;
            let names: Vec<_> = versions.iter().map(|version| &version["name"]).collect();
            ensure!(names == ["v1alpha1"], "{names:?}");
            for condition in crd["status"]["conditions"].as_array().into_iter().flatten() {
                let is_well = condition["type"] != "NonStructuralSchema";
                ensure!(is_well, "{condition}");
            }
        }
        Ok(Verdict::Passed)
    }

    fn explain(&self) -> Result<Verdict> {
        for (what, says) in [
            ("traffictrace", "Selects workloads of a mesh by their tags"),
            ("traffictrace.mesh", "beside metadata and spec"),
            ("traffictrace.spec", "selectors"),
            ("traffictrace.spec", "-required-"),
            ("traffictrace.spec.selectors.match", "'*' is any value"),
            ("traffictrace.spec.conf.backend", "defaultBackend"),
            ("mesh.spec.tracing", "defaultBackend"),
            ("mesh.spec.tracing.backends", "sampling"),
            ("mesh.spec.tracing.backends.sampling", "in percent"),
            ("mesh.spec.tracing.backends.conf.url", "with the port"),
        ] {
            let said = self.cluster.run(&["explain", what])?;
            // kubectl breaks lines where it likes.
            let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(flat.contains(says), "{what}: no {says:?} in {said}");
            ensure!(!flat.contains("<empty>"), "{what} is not described: {said}");
        }
        Ok(Verdict::Passed)
    }

    /// As they are, and nothing of them is lost.
    fn seeds(&self) -> Result<Verdict> {
        self.cluster.apply(self.out, "seed-mesh", MESH, &[])?;
        self.cluster.apply(self.out, "seed-trace", TRACE, &[])?;
        let mesh = self.cluster.get(&["mesh", "default"])?;
        let backend = json!({
            "name": "jaeger-collector",
            "type": "zipkin",
            "sampling": 100,
            "conf": {"url": "http://jaeger-collector.kuma-tracing:9411/api/v2/spans"},
        });
        let tracing = json!({"defaultBackend": "jaeger-collector", "backends": [backend]});
        let is = &mesh["spec"]["tracing"];
        // 100.0 may come back as 100.
        ensure!(numbers(is) == numbers(&tracing), "{is}");
        let trace = self.cluster.get(&["traffictrace", "trace-all-traffic"])?;
        ensure!(trace["mesh"] == "default", "{trace}");
        let spec = json!({
            "selectors": [{"match": {"kuma.io/service": "*"}}],
            "conf": {"backend": "jaeger-collector"},
        });
        ensure!(trace["spec"] == spec, "{trace}");
        let table = self.cluster.run(&["get", "kuma"])?;
        for word in ["trace-all-traffic", "default", "jaeger-collector"] {
            ensure!(table.contains(word), "{table}");
        }
        Ok(Verdict::Passed)
    }

    /// What Kuma knows and nodespan does not is not pruned.
    fn kept(&self) -> Result<Verdict> {
        let text = "apiVersion: kuma.io/v1alpha1
kind: Mesh
metadata: {name: full}
spec:
  mtls: {enabledBackend: ca-1, backends: [{name: ca-1, type: builtin}]}
  tracing:
    backends:
    - {name: a, type: zipkin, sampling: 0, conf: {url: 'https://z.example:443/api/v2/spans', apiVersion: httpProto, later: 1}}
    - {name: b, type: datadog, conf: {address: 10.0.0.1, port: 8126, splitService: true}}
    - {name: c, type: opentelemetry, sampling: 12.5, conf: {endpoint: 'http://otel:4318/v1/traces'}}
    - {name: d, type: jaeger, conf: {agentAddress: 'jaeger:6831'}}
";
        self.cluster.apply(self.out, "full-mesh", text, &[])?;
        let mesh = self.cluster.get(&["mesh", "full"])?;
        let spec = &mesh["spec"];
        ensure!(spec["mtls"]["backends"][0]["type"] == "builtin", "{spec}");
        ensure!(
            spec["tracing"]["backends"][0]["conf"]["later"] == 1,
            "{spec}"
        );
        ensure!(spec["tracing"]["backends"][2]["sampling"] == 12.5, "{spec}");
        Ok(Verdict::Passed)
    }

    /// What the API gives back is what nodespan reads, with all that the API
    /// adds to it.
    fn read_back(&self) -> Result<Verdict> {
        let text = self.cluster.run(&[
            "get",
            "meshes,traffictraces",
            "-o",
            "yaml",
            "--show-managed-fields",
        ])?;
        let file = self.out.join("read-back.yaml");
        fs::write(&file, text)?;
        let mut explain = command([self.nodespan]);
        explain.args(["explain", "--output=json", "--resources"]);
        explain.arg(&file);
        explain.args(["--tags", "kuma.io/service=web,kuma.io/protocol=http"]);
        let said = run_command(&mut explain, Duration::from_secs(10))?;
        let said: Value = serde_json::from_str(&said)?;
        ensure!(said["policy"] == "trace-all-traffic", "{said}");
        ensure!(said["backend"]["name"] == "jaeger-collector", "{said}");
        ensure!(said["traced"] == true, "{said}");
        Ok(Verdict::Passed)
    }

    fn refused(&self, name: &str, text: &str, why: &str) -> Result<Verdict> {
        let file = format!("refused-{name}");
        let done = self.cluster.try_apply(self.out, &file, text, &[])?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(!done.status.success(), "it was taken");
        ensure!(said.contains(why), "no {why:?} in {said:?}");
        Ok(Verdict::Passed)
    }
}

/// All numbers as floating point.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(all) => all.iter().map(numbers).collect(),
        Value::Object(all) => {
            let all = all.iter().map(|(k, v)| (k.clone(), numbers(v)));
            Value::Object(all.collect())
        }
        other => other.clone(),
    }
}

/// Name, what is wrong, and what the API says to it: where Kuma's validators
/// have a message (`mesh_validator.go`, `traffic_trace_validator.go`), theirs.
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let mesh = |tracing: &str| {
        format!(
            "apiVersion: kuma.io/v1alpha1\nkind: Mesh\nmetadata: {{name: wrong}}\n\
             spec: {{tracing: {tracing}}}\n"
        )
    };
    let backend = |rest: &str| mesh(&format!("{{backends: [{{name: a, {rest}}}]}}"));
    let zipkin = |conf: &str| backend(&format!("type: zipkin, conf: {conf}"));
    let trace = |rest: &str| {
        format!(
            "apiVersion: kuma.io/v1alpha1\nkind: TrafficTrace\nmetadata: {{name: wrong}}\n{rest}\n"
        )
    };
    let matching = |tags: &str| {
        trace(&format!(
            "mesh: default\nspec: {{selectors: [{{match: {tags}}}]}}"
        ))
    };
    let url = "url: 'http://z:9411/api/v2/spans'";
    vec![
        (
            "default-backend",
            mesh(&format!(
                "{{defaultBackend: b, backends: [{{name: a, type: zipkin, conf: {{{url}}}}}]}}"
            )),
            "has to be set to one of the tracing backend in mesh",
        ),
        (
            "backend-twice",
            mesh(&format!(
                "{{backends: [{{name: a, type: zipkin, conf: {{{url}}}}}, {{name: a, type: zipkin, conf: {{{url}}}}}]}}"
            )),
            "Duplicate value",
        ),
        (
            "backend-nameless",
            mesh(&format!(
                "{{backends: [{{type: zipkin, conf: {{{url}}}}}]}}"
            )),
            "name: Required value",
        ),
        (
            "backend-type",
            backend("type: otel"),
            "supported values: \"zipkin\", \"opentelemetry\", \"jaeger\", \"datadog\"",
        ),
        (
            "sampling",
            backend(&format!("type: zipkin, sampling: 100.1, conf: {{{url}}}")),
            "should be less than or equal to 100",
        ),
        ("url-missing", zipkin("{}"), "url: cannot be empty"),
        (
            "conf-missing",
            backend("type: zipkin"),
            "url: cannot be empty",
        ),
        ("url-invalid", zipkin("{url: invalid-url}"), "invalid URL"),
        (
            "url-without-port",
            zipkin("{url: 'http://zipkin-us.local/v2/spans'}"),
            "port has to be explicitly specified",
        ),
        (
            "api-version",
            zipkin(&format!("{{{url}, apiVersion: v3}}")),
            "supported values",
        ),
        (
            "otlp-endpoint",
            backend("type: opentelemetry, conf: {}"),
            "endpoint: cannot be empty",
        ),
        (
            "jaeger-address",
            backend("type: jaeger, conf: {}"),
            "agentAddress: cannot be empty",
        ),
        (
            "datadog-port",
            backend("type: datadog, conf: {address: 10.0.0.1}"),
            "port must be in the range [1, 65535]",
        ),
        (
            "no-mesh",
            trace("spec: {selectors: [{match: {a: b}}]}"),
            "mesh: Required value",
        ),
        (
            "empty-mesh",
            trace("mesh: ''\nspec: {selectors: [{match: {a: b}}]}"),
            "mesh",
        ),
        ("no-spec", trace("mesh: default"), "spec: Required value"),
        (
            "no-selectors",
            trace("mesh: default\nspec: {conf: {backend: a}}"),
            "selectors: Required value",
        ),
        (
            "empty-selectors",
            trace("mesh: default\nspec: {selectors: []}"),
            "spec.selectors",
        ),
        (
            "empty-match",
            matching("{}"),
            "should have at least 1 properties",
        ),
        (
            "tag-name",
            matching("{'a b': c}"),
            "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
        ),
        (
            "tag-pattern",
            matching("{kuma.io/service: 'web*'}"),
            "should match",
        ),
        (
            "tag-empty",
            matching("{kuma.io/service: ''}"),
            "at least 1 chars long",
        ),
        (
            "tag-number",
            matching("{version: 1}"),
            "must be of type string",
        ),
    ]
}
