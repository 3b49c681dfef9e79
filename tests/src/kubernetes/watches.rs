//! What the agent's watches make of an API: as its own account, with nothing
//! but the role that `nodespan install agent` gives it.

mod changes;
mod grants;
mod policies;
mod trouble;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nodespan::policy::{Kind as PolicyKind, ResourceKey};
use serde_json::{Value, json};

use super::Cluster;
use super::node::container;
use crate::report::Report;

pub(super) const NAMESPACE: &str = "watched";
pub(super) const NODE: &str = "node-w";

pub(super) fn run(report: &mut Report, cluster: &Cluster, out: &Path) {
    let scene = Scene { cluster, out };
    report.check("watches/changes", || scene.changes());
    report.check("watches/policies", || scene.policies());
    report.check("watches/seeds", || scene.seeds());
    report.check("watches/events", || scene.events());
    report.check("watches/away", || scene.away());
    report.check("watches/expired", || scene.expired());
    report.check("watches/denied", || scene.denied());
    report.check("watches/crds-of-kuma", || scene.crds_of_kuma());
    report.check("watches/crds-later", || scene.crds_later());
    report.check("watches/grants", || scene.grants());
}

/// What the checks make in the namespace `watched`.
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) out: &'a Path,
}

impl Scene<'_> {
    /// A kubeconfig of the agent's account.
    pub(super) fn account(&self) -> Result<PathBuf> {
        self.cluster.account(self.out, "nodespan", "nodespan")
    }

    pub(super) fn apply(&self, value: &Value) -> Result<()> {
        let name = value["metadata"]["name"].as_str().context("no name")?;
        let kind = value["kind"].as_str().context("no kind")?;
        let name = format!("watched-{kind}-{name}");
        self.cluster
            .apply(self.out, &name, &value.to_string(), &[])?;
        Ok(())
    }

    pub(super) fn delete(&self, what: &str) -> Result<()> {
        // No kubelet says that a pod has ended.
        let at_once = ["--grace-period=0", "--force"];
        let words = ["delete", what, "-n", NAMESPACE];
        self.cluster.run(&[&words[..], &at_once].concat()).map(drop)
    }

    pub(super) fn uid(&self, what: &str) -> Result<String> {
        let value = self.cluster.get(&[what, "-n", NAMESPACE])?;
        let uid = value["metadata"]["uid"].as_str().context("no uid")?;
        Ok(uid.to_owned())
    }

    /// A pod that runs, as a kubelet says it; its UID.
    fn pod(&self, name: &str, app: &str, ip: &str) -> Result<String> {
        self.pod_at(name, app, ip, 8080)
    }

    /// The same, with the port at which it serves.
    pub(super) fn pod_at(&self, name: &str, app: &str, ip: &str, port: u16) -> Result<String> {
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app}},
            "spec": {
                "nodeName": NODE,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "app", "image": "app",
                    "ports": [{"name": "web", "containerPort": port}],
                }],
            },
        }))?;
        let status = json!({"status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "containerStatuses": [{
                "name": "app", "image": "app", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{}", container(name)),
            }],
        }});
        self.cluster.run(&[
            "patch",
            &format!("pod/{name}"),
            "-n",
            NAMESPACE,
            "--subresource=status",
            "-p",
            &status.to_string(),
        ])?;
        self.uid(&format!("pod/{name}"))
    }

    pub(super) fn service(&self, name: &str, app: &str) -> Result<()> {
        self.service_of(name, app, "http")
    }

    /// The same with another `appProtocol`.
    pub(super) fn service_of(&self, name: &str, app: &str, protocol: &str) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "selector": {"app": app},
                "ports": [{"port": 80, "targetPort": "web", "appProtocol": protocol}],
            },
        }))
    }
}

fn key(kind: PolicyKind, name: &str) -> ResourceKey {
    ResourceKey {
        kind,
        mesh: "watched".into(),
        name: name.into(),
    }
}

fn mesh(name: &str, backend: &str) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1",
        "kind": "Mesh",
        "metadata": {"name": name},
        "spec": {"tracing": {"backends": [{
            "name": backend,
            "type": "zipkin",
            "conf": {"url": "http://zipkin.watched:9411/api/v2/spans"},
        }]}},
    })
}

fn policy(name: &str, backend: &str) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1",
        "kind": "TrafficTrace",
        "mesh": "watched",
        "metadata": {"name": name},
        "spec": {
            "selectors": [{"match": {"kuma.io/service": "*"}}],
            "conf": {"backend": backend},
        },
    })
}
