//! What a kubelet makes of a pod's manifest, as far as the agent's asks for it.
//! Whatever else a manifest asks for is an error.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Something of the node in a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    from: PathBuf,
    to: String,
    is_read_only: bool,
}

impl Mount {
    pub(super) fn read_only(from: PathBuf, to: &str) -> Self {
        Self {
            from,
            to: to.to_owned(),
            is_read_only: true,
        }
    }

    /// As `ctr run` wants it.
    pub(super) fn word(&self) -> String {
        let (from, to) = (self.from.display(), &self.to);
        let how = if self.is_read_only { "ro" } else { "rw" };
        format!("--mount=type=bind,src={from},dst={to},options=rbind:{how}")
    }
}

/// What the first container of a pod mounts. `config` says where the files of a
/// ConfigMap are.
///
/// # Errors
/// If there is another kind of volume, or none of a mount's name.
pub(super) fn mounts(
    pod: &Value,
    mut config: impl FnMut(&str) -> Result<PathBuf>,
) -> Result<Vec<Mount>> {
    let volumes = entries(&pod["volumes"]);
    let mounts = entries(&pod["containers"][0]["volumeMounts"]).iter();
    mounts
        .map(|mount| {
            for key in ["subPath", "subPathExpr", "mountPropagation"] {
                ensure!(mount[key].is_null(), "{key}: {mount}");
            }
            let name = &mount["name"];
            let volume = volumes.iter().find(|volume| volume["name"] == *name);
            let volume = volume.with_context(|| format!("no volume {name}"))?;
            let host = volume["hostPath"]["path"].as_str();
            let map = volume["configMap"]["name"].as_str();
            let from = match (host, map) {
                (Some(path), None) => PathBuf::from(path),
                (None, Some(name)) => config(name)?,
                _ => bail!("another kind of volume: {volume}"),
            };
            let to = mount["mountPath"].as_str().context("no mountPath")?;
            Ok(Mount {
                from,
                to: to.to_owned(),
                is_read_only: mount["readOnly"] == true,
            })
        })
        .collect()
}

/// The environment of a container on this node.
///
/// # Errors
/// If it has a value from elsewhere.
pub(super) fn environment(container: &Value, node: &str) -> Result<Vec<(String, String)>> {
    ensure!(container["envFrom"].is_null(), "{}", container["envFrom"]);
    let variables = entries(&container["env"]).iter();
    variables
        .map(|variable| {
            let name = variable["name"].as_str().context("no name")?;
            let from = &variable["valueFrom"];
            let value = match from["fieldRef"]["fieldPath"].as_str() {
                Some("spec.nodeName") => node,
                None if from.is_null() => variable["value"].as_str().unwrap_or_default(),
                _ => bail!("a value from elsewhere: {variable}"),
            };
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Of an array that need not be there.
fn entries(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "containers": [{
                "env": [
                    {"name": "NODE_NAME", "valueFrom": {"fieldRef": {
                        "apiVersion": "v1", "fieldPath": "spec.nodeName",
                    }}},
                    {"name": "RUST_LOG", "value": "debug"},
                ],
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/nodespan", "readOnly": true},
                    {"name": "there", "mountPath": "/here"},
                ],
            }],
            "volumes": [
                {"name": "there", "hostPath": {"path": "/there", "type": "Directory"}},
                {"name": "config", "configMap": {"name": "nodespan", "defaultMode": 420}},
                {"name": "nobody's", "emptyDir": {}},
            ],
        })
    }

    fn words(pod: &Value) -> Result<Vec<String>> {
        let made = mounts(pod, |name| Ok(PathBuf::from(format!("/run/{name}"))))?;
        Ok(made.iter().map(Mount::word).collect())
    }

    #[test]
    fn a_container_has_what_its_manifest_mounts_and_sets() {
        assert_eq!(
            words(&pod()).unwrap(),
            [
                "--mount=type=bind,src=/run/nodespan,dst=/etc/nodespan,options=rbind:ro",
                "--mount=type=bind,src=/there,dst=/here,options=rbind:rw",
            ]
        );
        let set = environment(&pod()["containers"][0], "node-1").unwrap();
        let set: Vec<_> = set
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(set, [("NODE_NAME", "node-1"), ("RUST_LOG", "debug")]);
    }

    #[test]
    fn without_them_it_has_nothing() {
        let bare = json!({"containers": [{}]});
        assert_eq!(words(&bare).unwrap(), [""; 0]);
        assert_eq!(environment(&bare["containers"][0], "n").unwrap(), []);
    }

    #[test]
    fn what_is_not_made_here_is_refused() {
        for (at, value) in [
            ("/volumes/0", json!({"name": "another"})),
            (
                "/volumes/1",
                json!({"name": "config", "secret": {"secretName": "s"}}),
            ),
            ("/containers/0/volumeMounts/0/name", json!("nobody's")),
            ("/containers/0/volumeMounts/1/subPath", json!("below")),
        ] {
            let mut pod = pod();
            if let Some(place) = pod.pointer_mut(at) {
                *place = value;
            } else {
                pod["containers"][0]["volumeMounts"][1]["subPath"] = value;
            }
            words(&pod).unwrap_err();
        }
        let mut container = pod()["containers"][0].take();
        container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] = json!("status.podIP");
        environment(&container, "node-1").unwrap_err();
    }
}
