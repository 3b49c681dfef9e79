//! `nodespan install`, applied.

mod shape;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nodespan::kubernetes::RULES;
use serde_json::Value;

use super::Cluster;
use crate::answer::Answer;
use crate::children::{command, output, run as run_command};
use crate::compare::same;
use crate::report::{Report, Verdict};

/// What lies rendered in the repository.
const AGENT: &str = include_str!("../../../deploy/kubernetes/agent.yaml");
const CRDS: &str = include_str!("../../../deploy/kubernetes/crds.yaml");
const TRACING: &str = include_str!("../../../deploy/kubernetes/tracing.yaml");

/// The capabilities that SECURITY.md explains.
const CAPABILITIES: [&str; 5] = [
    "BPF",
    "DAC_READ_SEARCH",
    "PERFMON",
    "SYS_PTRACE",
    "SYS_RESOURCE",
];

/// Arguments, the exit code, and what is said.
type Wrong<'a> = (&'a [&'a str], i32, &'a [&'a [&'a str]]);

struct Install<'a> {
    nodespan: &'a Path,
    cluster: &'a Cluster,
    out: &'a Path,
}

pub(super) fn run(report: &mut Report, nodespan: &Path, cluster: &Cluster, out: &Path) {
    let this = Install {
        nodespan,
        cluster,
        out,
    };
    report.check("install/as-rendered", || this.as_rendered());
    report.check("install/wrong", || this.wrong());
    for (what, namespace) in [
        ("crds", None),
        ("agent", Some("nodespan")),
        ("tracing", Some("kuma-tracing")),
    ] {
        report.check(&format!("install/{what}-dry-run"), || {
            this.dry_run(what, namespace)
        });
        report.check(&format!("install/{what}"), || this.apply(what));
    }
    report.check("install/tracing-ports", || this.ports());
    report.check("install/agent-options", || this.options());
    report.check("install/agent-privileges", || this.privileges());
    report.check("install/agent-rollout", || this.rollout());
    report.check("install/agent-pod", || this.pod());
    report.check("install/agent-rights", || this.rights());
    report.check("install/agent-config", || this.config());
}

/// Applies what is in `deploy/examples`, which stands on all of `install`.
pub(super) fn examples(report: &mut Report, cluster: &Cluster, out: &Path) {
    report.check("install/examples", || apply_examples(cluster, out));
}

impl Install<'_> {
    fn printed(&self, words: &[&str]) -> Result<String> {
        let mut command = command([self.nodespan]);
        run_command(command.arg("install").args(words), Duration::from_secs(10))
    }

    fn as_rendered(&self) -> Result<Verdict> {
        for (what, rendered) in [("agent", AGENT), ("crds", CRDS), ("tracing", TRACING)] {
            let printed = self.printed(&[what])?;
            ensure!(printed == rendered, "deploy/kubernetes/{what}.yaml differs");
        }
        Ok(Verdict::Passed)
    }

    fn wrong(&self) -> Result<Verdict> {
        let file = self.out.join("wrong.toml");
        fs::write(&file, "[capture]\nexlude = [\"db\"]\n")?;
        let file = file.display().to_string();
        let cases: [Wrong<'_>; 5] = [
            (&["agent", "--namespace", "No_Such"], 2, &[&["namespace"]]),
            (&["agent", "--image", "a b"], 2, &[&["image"]]),
            (&["agent", "--config", "/no/such"], 1, &[&["/no/such"]]),
            (&["agent", "--config", &file], 1, &[&["`exclude`"]]),
            (&["sidecar"], 2, &[&["sidecar"]]),
        ];
        for (words, code, says) in cases {
            let answer = Answer {
                codes: &[code],
                says,
                lines: 12,
            };
            let mut command = command([self.nodespan]);
            let done = answer.of(command.arg("install").args(words));
            let done = done.with_context(|| words.join(" "))?;
            ensure!(done.stdout.is_empty(), "{words:?} printed a manifest");
        }
        Ok(Verdict::Passed)
    }

    /// A namespace that is made in a dry run is not there for what would be in
    /// it, so the namespace itself is made before.
    fn dry_run(&self, what: &str, namespace: Option<&str>) -> Result<Verdict> {
        let text = self.printed(&[what])?;
        if let Some(namespace) = namespace {
            let documents = text.split("---\n");
            let first = documents
                .clone()
                .find(|text| text.contains("kind: Namespace\n"))
                .context("no namespace")?;
            self.cluster
                .apply(self.out, &format!("{what}-namespace"), first, &[])?;
            ensure!(first.contains(&format!("\n  name: {namespace}\n")));
        }
        let said = self.cluster.apply(
            self.out,
            &format!("{what}-dry-run"),
            &text,
            &["--dry-run=server"],
        )?;
        let objects = text.split("\n---\n").count();
        ensure!(
            said.lines().count() == objects,
            "{objects} objects, and kubectl says {said:?}"
        );
        for line in said.lines() {
            ensure!(line.ends_with("(server dry run)"), "{line}");
        }
        Ok(Verdict::Passed)
    }

    /// Twice: the second time changes nothing.
    fn apply(&self, what: &str) -> Result<Verdict> {
        let text = self.printed(&[what])?;
        self.cluster.apply(self.out, what, &text, &[])?;
        let again = self.cluster.apply(self.out, what, &text, &[])?;
        for line in again.lines() {
            ensure!(line.ends_with(" unchanged"), "applied twice: {line}");
        }
        if what == "crds" {
            self.cluster.run(&[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd/meshes.kuma.io",
                "crd/traffictraces.kuma.io",
            ])?;
        }
        Ok(Verdict::Passed)
    }

    fn options(&self) -> Result<Verdict> {
        let config = self.out.join("other.toml");
        fs::write(&config, "[agent]\nservice = \"shop: # 'a'\"\n\n\t[admin]\n")?;
        let text = self.printed(&[
            "agent",
            "--namespace=elsewhere",
            "--image=registry:5000/team/nodespan@sha256:0123",
            "--config",
            &config.display().to_string(),
        ])?;
        self.cluster.namespace(self.out, "elsewhere")?;
        self.cluster
            .apply(self.out, "options", &text, &["--dry-run=server"])?;
        let shown = self.client_side(&text)?;
        let of = |kind: &str| shown.iter().find(|object| object["kind"] == kind);
        let daemons = of("DaemonSet").context("no DaemonSet")?;
        ensure!(daemons["metadata"]["namespace"] == "elsewhere");
        let image = &daemons["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(
            image == "registry:5000/team/nodespan@sha256:0123",
            "{image}"
        );
        for binding in ["ClusterRoleBinding", "RoleBinding"] {
            let subject = &of(binding).context(binding)?["subjects"][0];
            ensure!(subject["namespace"] == "elsewhere", "{binding}: {subject}");
        }
        let text = &of("ConfigMap").context("no ConfigMap")?["data"]["nodespan.toml"];
        ensure!(
            text == "[agent]\nservice = \"shop: # 'a'\"\n\n\t[admin]\n",
            "{text}"
        );
        Ok(Verdict::Passed)
    }

    /// The objects of a manifest, as kubectl reads them.
    fn client_side(&self, text: &str) -> Result<Vec<Value>> {
        let file = self.out.join("client-side.yaml");
        fs::write(&file, text)?;
        let file = file.display().to_string();
        let shown = self
            .cluster
            .run(&["create", "--dry-run=client", "-o", "json", "-f", &file])?;
        let stream = serde_json::Deserializer::from_str(&shown).into_iter();
        Ok(stream.collect::<Result<_, _>>()?)
    }

    fn daemons(&self) -> Result<Value> {
        self.cluster
            .get(&["daemonset", "nodespan", "-n", "nodespan"])
    }

    fn template(&self) -> Result<Value> {
        Ok(self.daemons()?["spec"]["template"].clone())
    }

    fn privileges(&self) -> Result<Verdict> {
        let template = self.template()?;
        let spec = &template["spec"];
        ensure!(spec["hostPID"] == true);
        for key in ["hostNetwork", "hostIPC"] {
            ensure!(spec[key] != true, "{key}");
        }
        let containers = spec["containers"].as_array().context("no containers")?;
        let [container] = containers.as_slice() else {
            anyhow::bail!("{} containers", containers.len());
        };
        let context = &container["securityContext"];
        for (key, value) in [
            ("privileged", false),
            ("allowPrivilegeEscalation", false),
            ("readOnlyRootFilesystem", true),
        ] {
            ensure!(context[key] == value, "{key} is {}", context[key]);
        }
        ensure!(context["seccompProfile"]["type"] == "RuntimeDefault");
        let capabilities = &context["capabilities"];
        ensure!(capabilities["drop"] == serde_json::json!(["ALL"]));
        let added = capabilities["add"].as_array().context("no capabilities")?;
        let added = added.iter().filter_map(Value::as_str).map(str::to_owned);
        same("capabilities", added, CAPABILITIES.map(str::to_owned))?;
        let mounts = container["volumeMounts"].as_array().context("no mounts")?;
        for mount in mounts {
            ensure!(mount["readOnly"] == true, "{mount} can be written");
        }
        let words: Vec<_> = container["args"].as_array().into_iter().flatten().collect();
        ensure!(
            words
                == [
                    "run",
                    "--kubernetes",
                    "--config",
                    "/etc/nodespan/nodespan.toml"
                ],
            "{words:?}"
        );
        Ok(Verdict::Passed)
    }

    /// What the controller would make of the template is admitted in the
    /// namespace, and would not be without the namespace's labels.
    fn pod(&self) -> Result<Verdict> {
        let template = self.template()?;
        let pod = |namespace: &str| {
            let mut pod = template.clone();
            pod["apiVersion"] = "v1".into();
            pod["kind"] = "Pod".into();
            pod["metadata"]["name"] = "nodespan-1".into();
            pod["metadata"]["namespace"] = namespace.into();
            pod["spec"]["nodeName"] = "node-1".into();
            pod.to_string()
        };
        let dry = ["--dry-run=server"];
        self.cluster
            .apply(self.out, "agent-pod", &pod("nodespan"), &dry)?;
        self.cluster.namespace(self.out, "baseline")?;
        self.cluster.run(&[
            "label",
            "--overwrite",
            "namespace/baseline",
            "pod-security.kubernetes.io/enforce=baseline",
        ])?;
        let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: nodespan, namespace: baseline}\n";
        self.cluster
            .apply(self.out, "agent-account", account, &[])?;
        let refused =
            self.cluster
                .try_apply(self.out, "agent-pod-refused", &pod("baseline"), &dry)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            said.contains("violates PodSecurity \"baseline:latest\""),
            "{said}"
        );
        ensure!(!said.contains("privileged=true"), "{said}");
        Ok(Verdict::Passed)
    }

    /// With the token that its pods have: what it needs, and nothing else.
    fn rights(&self) -> Result<Verdict> {
        let agent = self.cluster.account(self.out, "nodespan", "nodespan")?;
        let may_in = |place: &[&str], verb: &str, what: &str| -> Result<bool> {
            // A slash would stand before a name there.
            let (what, part) = what.split_once('/').unwrap_or((what, ""));
            let part = format!("--subresource={part}");
            let words = [&["auth", "can-i", verb, what, &part], place].concat();
            let done = output(
                &mut self.cluster.kubectl_as(&agent, &words),
                Duration::from_secs(30),
            )?;
            let said = String::from_utf8_lossy(&done.stdout);
            match said.trim() {
                "yes" => Ok(true),
                "no" => Ok(false),
                _ => anyhow::bail!("{words:?}: {}", String::from_utf8_lossy(&done.stderr)),
            }
        };
        let may = |verb: &str, what: &str| may_in(&["-A"], verb, what);
        let verbs = [
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
        ];
        for rule in RULES {
            for (what, verb) in rule
                .resources
                .iter()
                .flat_map(|w| verbs.map(|verb| (w, verb)))
            {
                let what = match rule.group {
                    "" => (*what).to_owned(),
                    group => format!("{what}.{group}"),
                };
                let asks = rule.verbs.contains(&verb);
                let Some(namespace) = rule.namespace else {
                    ensure!(may(verb, &what)? == asks, "{verb} {what}: it asks: {asks}");
                    continue;
                };
                let there = may_in(&["-n", namespace], verb, &what)?;
                ensure!(there == asks, "{verb} {what}: it asks: {asks}");
                for elsewhere in ["kube-system", "nodespan"] {
                    let elsewhere = ["-n", elsewhere];
                    let may = may_in(&elsewhere, verb, &what)?;
                    ensure!(!may, "it may {verb} {what} {elsewhere:?}");
                }
                ensure!(!may(verb, &what)?, "it may {verb} {what} everywhere");
            }
        }
        for (verb, what) in [
            ("create", "events.events.k8s.io"),
            ("get", "secrets"),
            ("list", "secrets"),
            ("list", "configmaps"),
            ("create", "pods/exec"),
            ("get", "pods/log"),
            ("get", "nodes/proxy"),
            ("create", "serviceaccounts/token"),
            ("escalate", "clusterroles.rbac.authorization.k8s.io"),
            ("*", "*"),
        ] {
            ensure!(!may(verb, what)?, "it may {verb} {what}");
        }
        // And not only in principle.
        let as_agent = |words: &[&str]| {
            output(
                &mut self.cluster.kubectl_as(&agent, words),
                Duration::from_secs(30),
            )
        };
        ensure!(as_agent(&["get", "pods", "-A"])?.status.success());
        let refused = as_agent(&["get", "secrets", "-A"])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            !refused.status.success() && said.contains("Forbidden"),
            "secrets: {said}"
        );
        self.audited()
    }

    /// The audit log knows the agent by its account.
    fn audited(&self) -> Result<Verdict> {
        let agent = "system:serviceaccount:nodespan:nodespan";
        let events = self.cluster.audit()?;
        let of = |event: &&Value| event["user"]["username"] == agent;
        let seen: BTreeSet<(String, String, u64)> = events
            .iter()
            .filter(of)
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (
                    text(&event["verb"]),
                    text(&event["objectRef"]["resource"]),
                    event["responseStatus"]["code"].as_u64().unwrap_or_default(),
                )
            })
            .collect();
        for (verb, what, code) in [("list", "pods", 200), ("list", "secrets", 403)] {
            let event = (verb.to_owned(), what.to_owned(), code);
            ensure!(seen.contains(&event), "no {event:?} in {seen:?}");
        }
        Ok(Verdict::Passed)
    }

    /// The agent takes the configuration that the cluster keeps for it.
    fn config(&self) -> Result<Verdict> {
        let map = self
            .cluster
            .get(&["configmap", "nodespan", "-n", "nodespan"])?;
        let text = map["data"]["nodespan.toml"].as_str().context("no text")?;
        let file = self.out.join("from-the-cluster.toml");
        fs::write(&file, text)?;
        let answer = Answer {
            codes: &[0],
            says: &[],
            lines: 3,
        };
        let mut command = command([self.nodespan]);
        answer.of(command.args(["check", "--strict", "--config"]).arg(&file))?;
        Ok(Verdict::Passed)
    }
}

fn apply_examples(cluster: &Cluster, out: &Path) -> Result<Verdict> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    let mut files: Vec<_> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|is| is == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "no examples in {folder}");
    for path in files {
        let name = path
            .file_stem()
            .and_then(|n| n.to_str())
            .context("a name")?;
        let text = fs::read_to_string(&path)?;
        cluster.apply(out, &format!("example-{name}"), &text, &[])?;
    }
    Ok(Verdict::Passed)
}
