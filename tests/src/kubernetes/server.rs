//! That the API the tests run is one that clients can be tested with.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Cluster;
use crate::report::{Report, Verdict};

pub(super) fn run(report: &mut Report, cluster: &Cluster, out: &Path) {
    report.check("server/version", || version(cluster));
    report.check("server/pods", || pods(cluster, out));
    report.check("server/restart", || restart(cluster, out));
}

fn version(cluster: &Cluster) -> Result<Verdict> {
    let said: Value = serde_json::from_str(&cluster.run(&["version", "-o", "json"])?)?;
    for side in ["clientVersion", "serverVersion"] {
        let version = &said[side]["gitVersion"];
        ensure!(version == "v1.34.2", "{side} is {version}");
    }
    Ok(Verdict::Passed)
}

/// Pods with addresses, as a kubelet reports them, are there at once.
fn pods(cluster: &Cluster, out: &Path) -> Result<Verdict> {
    cluster.namespace(out, "made-up")?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "made-up", "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}]},
    });
    cluster.apply(out, "pod", &pod.to_string(), &[])?;
    let status = json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}});
    let status = status.to_string();
    cluster.run(&[
        "patch",
        "pod/web-1",
        "-n",
        "made-up",
        "--subresource=status",
        "-p",
        &status,
    ])?;
    let pod = cluster.get(&["pod", "web-1", "-n", "made-up"])?;
    ensure!(pod["status"]["podIP"] == "10.1.2.3", "{pod}");
    Ok(Verdict::Passed)
}

/// After a restart everything is there, and a watch from before has expired.
fn restart(cluster: &Cluster, out: &Path) -> Result<Verdict> {
    cluster.namespace(out, "restarts")?;
    let before = cluster.get(&["namespace", "restarts"])?;
    let seen = &before["metadata"]["resourceVersion"];
    let seen = seen.as_str().context("no resourceVersion")?;
    cluster.run(&["label", "namespace/restarts", "changed=yes"])?;
    cluster.stop()?;
    ensure!(
        cluster.get(&["namespace", "restarts"]).is_err(),
        "it answers"
    );
    ensure!(cluster.stop().is_err(), "it was stopped twice");
    cluster.start(&["--min-request-timeout=20"])?;
    ensure!(cluster.start(&[]).is_err(), "it was started twice");
    let after = cluster.get(&["namespace", "restarts"])?;
    ensure!(after["metadata"]["uid"] == before["metadata"]["uid"]);
    let watch = format!("/api/v1/namespaces?watch=true&timeoutSeconds=2&resourceVersion={seen}");
    let said = match cluster.run(&["get", "--raw", &watch]) {
        Ok(said) => said,
        Err(error) => format!("{error:#}"),
    };
    ensure!(
        said.contains("too old resource version"),
        "the watch: {said}"
    );
    Ok(Verdict::Passed)
}
