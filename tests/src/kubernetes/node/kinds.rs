//! Every kind that the agent watches, created, changed and deleted while it
//! runs in its guest.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{ADMIN, LIMIT, NAMESPACE, Node, metric};
use crate::report::Verdict;
use crate::wait;

/// All that is watched, by their plurals.
const KINDS: [&str; 7] = [
    "pods",
    "services",
    "endpointslices",
    "namespaces",
    "nodes",
    "meshes",
    "traffictraces",
];

/// What the ones of this check are called.
const SPARE: &str = "spare";

impl Node<'_> {
    /// One of each kind comes, changes and goes.
    pub(super) fn kinds(&self) -> Result<Verdict> {
        // What the agent shows is up to a second old, so it is not asked for this.
        let before = self.listed()?;
        let known = |more: u64| -> Result<bool> {
            Ok(each(objects)?
                .into_iter()
                .eq(before.iter().map(|n| n + more)))
        };
        // Which kind it is that a check has waited for in vain.
        let shown = || -> Result<String> {
            let (now, told) = (each(objects)?, each(told)?);
            let kinds = &self.status(ADMIN)?["kubernetes"]["kinds"];
            Ok(format!(
                "of {KINDS:?} the API had {before:?}, {now:?} are known now, told of at {told:?}: \
                 {kinds}"
            ))
        };
        let reached = |what: &str, more: u64| {
            wait::until_true(what, LIMIT, || known(more))
                .or_else(|error| Err(error.context(shown()?)))
        };
        reached("what the API has", 0)?;
        self.put("one")?;
        reached("one more of each kind", 1)?;

        // Times are whole seconds.
        sleep(Duration::from_millis(1100));
        let then = each(told)?;
        self.put("another")?;
        wait::until_true("a change of each kind", LIMIT, || {
            Ok(each(told)?
                .into_iter()
                .zip(&then)
                .all(|(now, then)| now > *then))
        })?;
        ensure!(known(1)?, "a change is not one more or less");

        let file = self.places.out.join(FILE);
        let file = file.to_str().context("a folder of an odd name")?;
        let words = ["delete", "-f", file, "--wait=false"];
        let at_once = ["--grace-period=0", "--force"];
        self.scene.cluster.run(&[&words[..], &at_once].concat())?;
        // No controller says that nothing is left in the namespace.
        let empty = self.places.out.join("spare-empty.json");
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPARE},
            "spec": {"finalizers": []},
        });
        fs::write(&empty, namespace.to_string())?;
        let place = format!("/api/v1/namespaces/{SPARE}/finalize");
        let empty = empty.to_str().context("a folder of an odd name")?;
        let words = ["replace", "--raw", &place, "-f", empty];
        self.scene.cluster.run(&words)?;
        reached("none more of any kind", 0)?;
        for kind in KINDS {
            let why = self.failing(kind, ADMIN)?;
            ensure!(why.is_none(), "{kind}: {why:?}");
        }
        Ok(Verdict::Passed)
    }

    /// How many of each kind the API has.
    fn listed(&self) -> Result<Vec<u64>> {
        let all = self.scene.cluster.get(&[&KINDS.join(","), "-A"])?;
        let items = all["items"].as_array().context("no list")?;
        let of = |plural: &str| {
            let kinds = items.iter().filter_map(|item| item["kind"].as_str());
            // `Mesh`, `meshes`
            let same = |kind: &&str| {
                let kind = kind.to_lowercase();
                [format!("{kind}s"), format!("{kind}es")].contains(&plural.to_owned())
            };
            Ok(kinds.filter(same).count() as u64)
        };
        each(of)
    }

    /// Creates one of each kind, or changes them by this label.
    fn put(&self, label: &str) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": one_of_each(label)});
        self.scene
            .cluster
            .apply(&self.places.out, SPARE, &list.to_string(), &[])?;
        fs::write(self.places.out.join(FILE), list.to_string())?;
        Ok(())
    }
}

const FILE: &str = "spare-all.json";

/// None of them is anything to the pods of the other checks.
fn one_of_each(label: &str) -> Vec<Value> {
    let labels = json!({"changed": label});
    let within = json!({"name": SPARE, "namespace": NAMESPACE, "labels": labels});
    let mut of_service = within.clone();
    of_service["labels"]["kubernetes.io/service-name"] = SPARE.into();
    let alone = json!({"name": SPARE, "labels": labels});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": alone}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": alone}),
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": within,
            "spec": {"nodeName": "elsewhere", "containers": [{"name": "app", "image": "app"}]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": within,
            "spec": {"selector": {"app": SPARE}, "ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": of_service,
            "addressType": "IPv4", "endpoints": [{"addresses": ["203.0.113.9"]}],
            "ports": [{"port": 80}],
        }),
        json!({"apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": alone, "spec": {}}),
        json!({
            "apiVersion": "kuma.io/v1alpha1", "kind": "TrafficTrace", "mesh": SPARE,
            "metadata": alone,
            "spec": {"selectors": [{"match": {"kuma.io/service": "nobody"}}]},
        }),
    ]
}

fn each(of: impl FnMut(&str) -> Result<u64>) -> Result<Vec<u64>> {
    KINDS.into_iter().map(of).collect()
}

/// How many of a kind the agent knows.
fn objects(kind: &str) -> Result<u64> {
    metric(&format!("nodespan_kubernetes_objects{{kind=\"{kind}\"}} "))
}

/// When it was told of the kind last, in seconds.
fn told(kind: &str) -> Result<u64> {
    metric(&format!(
        "nodespan_kubernetes_last_event_timestamp_seconds{{kind=\"{kind}\"}} "
    ))
}
