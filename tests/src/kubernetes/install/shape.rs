//! What the installed objects say that nobody but a kubelet and a controller would
//! notice the lack of.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Install;
use crate::report::Verdict;

impl Install<'_> {
    /// The Services have the ports that backends name, and these are ports of the
    /// container behind them.
    pub(super) fn ports(&self) -> Result<Verdict> {
        let get = |kind: &str, name: &str| self.cluster.get(&[kind, name, "-n", "kuma-tracing"]);
        for (name, port, protocol) in [
            ("jaeger-collector", 9411, "TCP"),
            ("jaeger-collector", 4317, "TCP"),
            ("jaeger-agent", 6831, "UDP"),
        ] {
            let service = get("service", name)?;
            let found = |list: &Value, key: &str, value: &Value| {
                let mut list = list.as_array().into_iter().flatten();
                let found = list.find(|one| one[key] == *value && one["protocol"] == protocol);
                found.cloned()
            };
            let spec = &service["spec"];
            let of_service = found(&spec["ports"], "port", &port.into());
            let of_service = of_service.with_context(|| format!("{name} has no {port}: {spec}"))?;
            let app = &spec["selector"];
            ensure!(app != &json!({}), "{name} selects everybody");
            let deployment = get("deployment", "jaeger")?;
            let template = &deployment["spec"]["template"];
            for (label, value) in app.as_object().context("no selector")? {
                let has = &template["metadata"]["labels"][label];
                ensure!(has == value, "{name} selects {app}: {template}");
            }
            let ports = &template["spec"]["containers"][0]["ports"];
            let target = &of_service["targetPort"];
            let behind = found(ports, "name", target);
            let behind = behind.with_context(|| format!("nobody has {target}: {ports}"))?;
            ensure!(behind["containerPort"] == port, "{name}: {behind}");
        }
        Ok(Verdict::Passed)
    }

    /// It is on every node, is replaced on some at a time, and is asked how it is
    /// where it answers.
    pub(super) fn rollout(&self) -> Result<Verdict> {
        let daemons = self.daemons()?;
        let strategy = &daemons["spec"]["updateStrategy"];
        ensure!(
            strategy["type"] == "RollingUpdate"
                && strategy["rollingUpdate"]["maxUnavailable"] == "10%",
            "{strategy}"
        );
        let spec = &daemons["spec"]["template"]["spec"];
        let tolerations = &spec["tolerations"];
        ensure!(
            *tolerations == json!([{"operator": "Exists"}]),
            "{tolerations}"
        );
        let container = &spec["containers"][0];
        let port = &container["ports"][0];
        ensure!(
            port["name"] == "admin" && port["containerPort"] == 9903,
            "{port}"
        );
        let map = self
            .cluster
            .get(&["configmap", "nodespan", "-n", "nodespan"])?;
        let config = map["data"]["nodespan.toml"].as_str().context("no text")?;
        ensure!(config.contains("\nlisten = \"[::]:9903\"\n"), "{config}");
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            let asked = &container[probe]["httpGet"];
            ensure!(
                asked["path"] == path && asked["port"] == "admin",
                "{probe}: {asked}"
            );
        }
        Ok(Verdict::Passed)
    }
}
