//! Meshes and policies of the API, and Events about them.

use anyhow::{Context as _, Result, ensure};
use nodespan::kubernetes::Kind;
use nodespan::policy::{Kind as PolicyKind, Resource};
use serde_json::{Value, json};

use super::{NODE, Scene, key, mesh, policy};
use crate::kubernetes::crds::KUMAS;
use crate::kubernetes::watcher::Watcher;
use crate::report::Verdict;

const MESH: &str = include_str!("../../../data/seeds/mesh-kubernetes.yaml");
const TRACE: &str = include_str!("../../../data/seeds/traffic-trace-kubernetes.yaml");

impl Scene<'_> {
    pub(super) fn policies(&self) -> Result<Verdict> {
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything is listed", Watcher::is_synced)?;
        self.apply(&mesh("watched", "jaeger-collector"))?;
        watcher.at_once("a Mesh", |watcher| {
            watcher
                .resource(&key(PolicyKind::Mesh, "watched"))
                .is_some()
        })?;
        let trace = key(PolicyKind::TrafficTrace, "watched-all");
        let backend = |watcher: &Watcher| match watcher.resource(&trace)? {
            Resource::TrafficTrace(trace) => trace.backend.as_deref().map(str::to_owned),
            _ => None,
        };
        self.apply(&policy("watched-all", "jaeger-collector"))?;
        watcher.at_once("a policy", |watcher| {
            backend(watcher).as_deref() == Some("jaeger-collector")
        })?;
        let Some(Resource::TrafficTrace(known)) = watcher.resource(&trace) else {
            anyhow::bail!("no policy");
        };
        ensure!(
            known.created.0 > 1_700_000_000_000_000_000,
            "{:?}",
            known.created
        );
        // Kuma's schema lets through what Kuma refuses; ours does not.
        let mut wrong = policy("watched-all", "other");
        wrong["spec"]["selectors"] = json!([{"match": {"kuma.io/service": "web*"}}]);
        let text = wrong.to_string();
        let applied = self
            .cluster
            .try_apply(self.out, "watched-wrong", &text, &[])?;
        if applied.status.success() {
            watcher.at_once("its refusal", |watcher| {
                let labels = [Kind::TrafficTrace.plural()];
                watcher
                    .metric("kubernetes_refused", &labels)
                    .is_ok_and(|n| n == 1)
            })?;
            ensure!(backend(&watcher).as_deref() == Some("jaeger-collector"));
        }
        self.apply(&policy("watched-all", "other"))?;
        watcher.at_once("its change", |watcher| {
            backend(watcher).as_deref() == Some("other")
        })?;
        self.cluster.run(&["delete", "traffictrace/watched-all"])?;
        watcher.at_once("no policy", |watcher| backend(watcher).is_none())?;
        self.cluster.run(&["delete", "mesh/watched"])?;
        watcher.at_once("no Mesh", |watcher| {
            watcher
                .resource(&key(PolicyKind::Mesh, "watched"))
                .is_none()
        })?;
        Ok(Verdict::Passed)
    }

    /// The examples of the document that the project started from are in force
    /// as they are.
    pub(super) fn seeds(&self) -> Result<Verdict> {
        self.apply_seeds()?;
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything is listed", Watcher::is_synced)?;
        seeds_are_in_force(&watcher)?;
        Ok(Verdict::Passed)
    }

    fn apply_seeds(&self) -> Result<()> {
        self.cluster.apply(self.out, "seed-mesh", MESH, &[])?;
        self.cluster.apply(self.out, "seed-trace", TRACE, &[])?;
        Ok(())
    }

    /// A cluster in which Kuma's definitions are, which lets through whatever
    /// somebody writes; and ours, applied over them.
    pub(super) fn crds_of_kuma(&self) -> Result<Verdict> {
        let kinds = KUMAS.map(|kumas| format!("crd/{}", kumas.name()));
        let kinds = kinds.each_ref().map(|kind| &**kind);
        let ours = self.cluster.get(&kinds)?;
        self.cluster.run(&[&["delete"][..], &kinds].concat())?;
        for kumas in KUMAS {
            self.apply(&kumas.definition())?;
            let established = ["wait", "--for=condition=Established"];
            let what = format!("crd/{}", kumas.name());
            self.cluster.run(&[&established[..], &[&what]].concat())?;
        }
        self.apply_seeds()?;
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything is listed", Watcher::is_synced)?;
        seeds_are_in_force(&watcher)?;
        // What is wrong is found by the agent, who says so, and what it said
        // before stays.
        let refused = |watcher: &Watcher| {
            let labels = [Kind::TrafficTrace.plural()];
            watcher.metric("kubernetes_refused", &labels).unwrap_or(0)
        };
        let mut wrong = policy("trace-all-traffic", "jaeger-collector");
        wrong["mesh"] = json!("default");
        wrong["spec"]["selectors"] = json!([{"match": {"kuma.io/service": "web*"}}]);
        self.apply(&wrong)?;
        watcher.at_once("its refusal", |watcher| refused(watcher) == 1)?;
        seeds_are_in_force(&watcher)?;
        watcher.until("an Event about it", |_| {
            let words = ["describe", "traffictrace/trace-all-traffic"];
            let said = self.cluster.run(&words).unwrap_or_default();
            said.contains("Invalid")
        })?;
        self.apply_seeds()?;
        watcher.at_once("its correction", |watcher| refused(watcher) == 0)?;
        // Nothing of it is lost when ours takes their place.
        for crd in ours["items"].as_array().context("no CRDs")? {
            self.apply(&json!({
                "apiVersion": crd["apiVersion"], "kind": crd["kind"],
                "metadata": {"name": crd["metadata"]["name"]}, "spec": crd["spec"],
            }))?;
        }
        let says = |words: &[&str], what: &str| {
            let said = self.cluster.run(words);
            said.is_ok_and(|said| said.contains(what))
        };
        watcher.until("our columns and descriptions", |_| {
            says(&["get", "m", "default"], "jaeger-collector")
                && says(&["explain", "traffictrace.spec.selectors"], "match")
        })?;
        ensure!(refused(&watcher) == 0, "{:#}", watcher.mirror.status());
        seeds_are_in_force(&watcher)?;
        Ok(Verdict::Passed)
    }

    /// Two agents, one Event; another generation, another Event.
    pub(super) fn events(&self) -> Result<Verdict> {
        let account = self.account()?;
        let one = Watcher::start(&account, NODE)?;
        let other = Watcher::start(&account, "node-x")?;
        self.apply(&mesh("watched", "jaeger-collector"))?;
        self.apply(&policy("watched-typo", "jager-collector"))?;
        let told = |watcher: &Watcher| {
            let of = |what| {
                watcher
                    .metric("kubernetes_notices_total", &[what])
                    .unwrap_or(0)
            };
            (of("created"), of("exists"), of("failed"))
        };
        let all = |outcome: fn((u64, u64, u64)) -> u64| outcome(told(&one)) + outcome(told(&other));
        // Other policies of the suite may lead nowhere, too.
        let events = || -> Result<Vec<Value>> {
            let found = self.cluster.get(&[
                "events",
                "-n",
                "default",
                "--field-selector=involvedObject.name=watched-typo",
            ])?;
            Ok(found["items"].as_array().cloned().unwrap_or_default())
        };
        one.until("an Event", |_| {
            events().is_ok_and(|events| !events.is_empty())
        })?;
        one.until("both have told it", |_| {
            all(|(created, exists, _)| created.min(exists)) > 0 || all(|told| told.1) > 0
        })?;
        let found = events()?;
        ensure!(found.len() == 1, "{found:#?}");
        let event = found.first().context("no Event")?;
        ensure!(
            event["type"] == "Warning" && event["reason"] == "UnknownBackend",
            "{event:#}"
        );
        let message = event["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains("did you mean \"jaeger-collector\"?"),
            "{message}"
        );
        let shown = self
            .cluster
            .run(&["describe", "traffictrace/watched-typo"])?;
        ensure!(shown.contains("UnknownBackend"), "{shown}");
        // Touched, but the same.
        self.cluster
            .run(&["annotate", "traffictrace/watched-typo", "a=b"])?;
        self.apply(&policy("watched-typo", "yeager"))?;
        one.until("another Event", |_| {
            events().is_ok_and(|events| events.len() == 2)
        })?;
        ensure!(all(|(_, _, failed)| failed) == 0, "some failed");
        self.cluster
            .run(&["delete", "traffictrace/watched-typo", "mesh/watched"])?;
        Ok(Verdict::Passed)
    }
}

/// The policy of the examples has the backend of their Mesh.
fn seeds_are_in_force(watcher: &Watcher) -> Result<()> {
    let resources = watcher.mirror.generation().resources;
    let resources = resources.context("no resources")?;
    let mesh = resources.mesh("default").context("no Mesh")?;
    let mut traces = resources.traffic_traces("default");
    let trace = traces.find(|trace| &*trace.name == "trace-all-traffic");
    let trace = trace.context("no policy")?;
    let backend = mesh.backend(trace.backend.as_deref());
    ensure!(backend.is_some(), "{trace:?} has no backend in {mesh:?}");
    Ok(())
}
