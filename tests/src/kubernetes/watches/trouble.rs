//! The API away, a version that is gone, what the role does not allow, kinds that
//! come later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nodespan::identify::Peer;
use nodespan::kubernetes::Kind;
use nodespan::policy::Kind as PolicyKind;
use serde_json::{Value, json};

use super::{NAMESPACE, NODE, Scene, key, mesh, policy};
use crate::kubernetes::relay::Relay;
use crate::kubernetes::watcher::Watcher;
use crate::report::Verdict;

impl Scene<'_> {
    /// What was known goes on while the API is away, and nothing flaps when it
    /// is back.
    pub(super) fn away(&self) -> Result<Verdict> {
        self.cluster.namespace(self.out, NAMESPACE)?;
        let stays = self.pod("stays", "web", "10.50.0.3")?;
        let watcher = Arc::new(Watcher::start(&self.account()?, NODE)?);
        watcher.until("everything is listed", Watcher::is_synced)?;
        ensure!(watcher.pod(&stays).is_some());
        let guard = Guard::start(&watcher, &stays);
        self.cluster.stop()?;
        watcher.until("it is told", |watcher| {
            let failing = |kind: &Kind| watcher.metric("kubernetes_failing", &[kind.plural()]);
            Kind::ALL
                .iter()
                .all(|kind| failing(kind).is_ok_and(|n| n == 1))
        })?;
        let shown = watcher.shown(Kind::Pod);
        ensure!(shown["failing"]["why"] == "away", "{shown}");
        ensure!(watcher.is_synced() && watcher.pod(&stays).is_some());
        thread::sleep(Duration::from_secs(2));
        self.cluster.start(&[])?;
        let comes = self.pod("comes", "web", "10.50.0.4")?;
        self.delete("pod/comes")?;
        let again = self.pod("again", "web", "10.50.0.4")?;
        watcher.until("it is back", |watcher| {
            let failing = |kind: &Kind| watcher.metric("kubernetes_failing", &[kind.plural()]);
            watcher.pod(&again).is_some()
                && watcher.pod(&comes).is_none()
                && Kind::ALL
                    .iter()
                    .all(|kind| failing(kind).is_ok_and(|n| n == 0))
        })?;
        guard.finish()?;
        self.delete("pod/again")?;
        self.delete("pod/stays")?;
        Ok(Verdict::Passed)
    }

    /// The agent is cut off for longer than the API remembers.
    pub(super) fn expired(&self) -> Result<Verdict> {
        self.cluster.namespace(self.out, NAMESPACE)?;
        let stays = self.pod("stays", "web", "10.50.0.3")?;
        let goes = self.pod("goes", "web", "10.50.0.4")?;
        self.apply(&mesh("watched", "jaeger-collector"))?;
        let (relay, kubeconfig) = Relay::start(&self.account()?, self.out, "expired")?;
        let watcher = Arc::new(Watcher::start(&kubeconfig, NODE)?);
        watcher.until("everything is listed", Watcher::is_synced)?;
        let mesh_key = key(PolicyKind::Mesh, "watched");
        ensure!(watcher.pod(&goes).is_some() && watcher.resource(&mesh_key).is_some());
        let guard = Guard::start(&watcher, &stays);
        let expired = |watcher: &Watcher| {
            let labels = [Kind::Pod.plural(), "expired"];
            watcher
                .metric("kubernetes_errors_total", &labels)
                .unwrap_or(0)
        };
        let lists = |watcher: &Watcher| {
            watcher
                .metric("kubernetes_lists_total", &[Kind::Pod.plural()])
                .unwrap_or(0)
        };
        let (before, errors) = (lists(&watcher), expired(&watcher));
        relay.cut();
        watcher.until("it is cut off", |watcher| {
            let labels = [Kind::Pod.plural()];
            watcher
                .metric("kubernetes_failing", &labels)
                .is_ok_and(|n| n == 1)
        })?;
        self.delete("pod/goes")?;
        self.cluster.run(&["delete", "mesh/watched"])?;
        let comes = self.pod("comes", "web", "10.50.0.4")?;
        // A server that has just started remembers nothing.
        self.cluster.stop()?;
        self.cluster.start(&[])?;
        ensure!(watcher.pod(&comes).is_none() && watcher.pod(&goes).is_some());
        relay.mend();
        watcher.until("it has caught up", |watcher| {
            watcher.pod(&comes).is_some()
                && watcher.pod(&goes).is_none()
                && watcher.resource(&mesh_key).is_none()
        })?;
        let directory = watcher.mirror.generation().directory;
        let at = relay.address();
        let by_ip = directory.peer("10.50.0.4".parse()?);
        ensure!(
            matches!(by_ip, Some(Peer::Pod(pod)) if &*pod.name == "comes"),
            "{at}: {by_ip:?}"
        );
        ensure!(expired(&watcher) > errors, "no watch has expired");
        ensure!(lists(&watcher) > before, "nothing was listed again");
        guard.finish()?;
        self.delete("pod/comes")?;
        self.delete("pod/stays")?;
        Ok(Verdict::Passed)
    }

    /// A kind that is not allowed stops no other, and counts from when it is; of
    /// policies that are not shown nobody takes it that there are none.
    pub(super) fn denied(&self) -> Result<Verdict> {
        self.cluster.namespace(self.out, NAMESPACE)?;
        let pod = self.pod("denied", "web", "10.50.0.5")?;
        self.service("denied", "web")?;
        let role = |resources: Value, of_kuma: Value| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "watched-some"},
                "rules": [
                    {"apiGroups": [""], "resources": resources, "verbs": ["list", "watch"]},
                    {"apiGroups": ["kuma.io"], "resources": of_kuma, "verbs": ["list", "watch"]},
                ],
            })
        };
        let meshes = || json!(["meshes"]);
        self.apply(&role(json!(["pods", "namespaces"]), meshes()))?;
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "watched-some"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "watched-some"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
        }))?;
        let account = self.cluster.account(self.out, NAMESPACE, "default")?;
        let watcher = Watcher::start(&account, NODE)?;
        watcher.until("what is allowed is listed", Watcher::is_synced)?;
        ensure!(watcher.service(&pod).as_deref() == Some("denied_watched_svc"));
        for kind in [
            Kind::Service,
            Kind::EndpointSlice,
            Kind::Node,
            Kind::TrafficTrace,
        ] {
            let shown = watcher.shown(kind);
            ensure!(shown["failing"]["why"] == "forbidden", "{kind:?}: {shown}");
            let labels = [kind.plural(), "forbidden"];
            ensure!(watcher.metric("kubernetes_errors_total", &labels)? > 0);
        }
        for kind in [Kind::Pod, Kind::Namespace, Kind::Mesh] {
            ensure!(watcher.metric("kubernetes_synced", &[kind.plural()])? == 1);
        }
        let generation = watcher.mirror.generation();
        ensure!(
            generation.withheld && generation.resources.is_some(),
            "policies may be there and count as none"
        );
        let both = json!(["meshes", "traffictraces"]);
        self.apply(&role(json!(["pods", "namespaces", "services"]), both))?;
        watcher.until("policies are known once they are allowed", |watcher| {
            !watcher.mirror.generation().withheld
        })?;
        watcher.until("Services are known once they are allowed", |watcher| {
            watcher.service(&pod).as_deref() == Some("denied_watched_svc_80")
        })?;
        // What is taken away is still known.
        self.apply(&role(json!(["pods", "namespaces"]), meshes()))?;
        self.delete("pod/denied")?;
        watcher.until("pods go on", |watcher| watcher.pod(&pod).is_none())?;
        ensure!(watcher.metric("kubernetes_objects", &[Kind::Service.plural()])? > 0);
        self.delete("service/denied")?;
        self.cluster.run(&["delete", "clusterrole/watched-some"])?;
        self.cluster
            .run(&["delete", "clusterrolebinding/watched-some"])?;
        Ok(Verdict::Passed)
    }

    /// A cluster without Kuma's kinds, which get them, and lose them.
    pub(super) fn crds_later(&self) -> Result<Verdict> {
        let kinds = ["crd/meshes.kuma.io", "crd/traffictraces.kuma.io"];
        let crds = self.cluster.get(&kinds)?;
        self.cluster.run(&[&["delete"][..], &kinds].concat())?;
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything else is listed", Watcher::is_synced)?;
        ensure!(
            watcher.mirror.generation().resources.is_none(),
            "{:#}",
            watcher.mirror.status()
        );
        for kind in [Kind::Mesh, Kind::TrafficTrace] {
            let shown = watcher.shown(kind);
            ensure!(
                shown["state"] == "absent" && shown.get("failing").is_none(),
                "{shown}"
            );
        }
        for crd in crds["items"].as_array().context("no CRDs")? {
            let metadata = &crd["metadata"];
            self.apply(&json!({
                "apiVersion": crd["apiVersion"], "kind": crd["kind"],
                "metadata": {"name": metadata["name"]}, "spec": crd["spec"],
            }))?;
            let name = metadata["name"].as_str().context("no name")?;
            let what = format!("crd/{name}");
            self.cluster
                .run(&["wait", "--for=condition=Established", &what])?;
        }
        self.apply(&mesh("watched", "zipkin"))?;
        self.apply(&policy("watched-all", "zipkin"))?;
        let trace = key(PolicyKind::TrafficTrace, "watched-all");
        watcher.until("they are picked up", |watcher| {
            watcher.resource(&trace).is_some()
                && watcher
                    .resource(&key(PolicyKind::Mesh, "watched"))
                    .is_some()
        })?;
        let restored = self.account()?;
        self.cluster.run(&[&["delete"][..], &kinds].concat())?;
        watcher.until("they are gone", |watcher| {
            watcher.mirror.generation().resources.is_none()
        })?;
        drop(watcher);
        // As the checks behind this one want it.
        for crd in crds["items"].as_array().context("no CRDs")? {
            self.apply(&json!({
                "apiVersion": crd["apiVersion"], "kind": crd["kind"],
                "metadata": {"name": crd["metadata"]["name"]}, "spec": crd["spec"],
            }))?;
        }
        drop(restored);
        Ok(Verdict::Passed)
    }
}

/// Looks all the time whether a pod is known.
struct Guard {
    ends: Arc<AtomicBool>,
    thread: thread::JoinHandle<Option<usize>>,
}

impl Guard {
    fn start(watcher: &Arc<Watcher>, uid: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (watcher, uid, told) = (Arc::clone(watcher), uid.to_owned(), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut looks = 0;
            while !told.load(Ordering::Relaxed) {
                if watcher.pod(&uid).is_none() || !watcher.is_synced() {
                    return Some(looks);
                }
                looks += 1;
                thread::sleep(Duration::from_millis(2));
            }
            None
        });
        Self { ends, thread }
    }

    fn finish(self) -> Result<()> {
        self.ends.store(true, Ordering::Relaxed);
        let lost = self.thread.join();
        let lost = lost.map_err(|_panic| anyhow::anyhow!("the guard is gone"))?;
        ensure!(lost.is_none(), "a pod that stays was gone at look {lost:?}");
        Ok(())
    }
}
