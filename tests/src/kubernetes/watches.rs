//! What the agent's watches make of an API: as its own account, with nothing
//! but the role that `nodespan install agent` gives it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nodespan::identify::Peer;
use nodespan::kubernetes::Kind;
use nodespan::policy::{Kind as PolicyKind, Protocol, Resource, ResourceKey};
use serde_json::{Value, json};

use super::Cluster;
use super::node::container;
use super::relay::Relay;
use super::watcher::Watcher;
use crate::report::{Report, Verdict};

const MESH: &str = include_str!("../../data/seeds/mesh-kubernetes.yaml");
const TRACE: &str = include_str!("../../data/seeds/traffic-trace-kubernetes.yaml");

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
    report.check("watches/crds-later", || scene.crds_later());
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
        self.apply(&json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "selector": {"app": app},
                "ports": [{"port": 80, "targetPort": "web", "appProtocol": "http"}],
            },
        }))
    }

    /// Every kind that says who is who: created, changed and deleted.
    fn changes(&self) -> Result<Verdict> {
        self.cluster.namespace(self.out, NAMESPACE)?;
        let early = self.pod("early", "web", "10.50.0.1")?;
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything is listed", Watcher::is_synced)?;
        let pod = watcher
            .pod(&early)
            .context("the pod of before is not there")?;
        let (id, name) = pod.containers.first().context("no container")?;
        ensure!(
            **id == *container("early") && &**name == "app",
            "{id} {name}"
        );

        let late = self.pod("late", "web", "10.50.0.2")?;
        let name = |watcher: &Watcher| watcher.service(&late);
        watcher.at_once("a pod", |watcher| {
            name(watcher).as_deref() == Some("late_watched_svc")
        })?;
        self.service("web", "web")?;
        watcher.at_once("its Service", |watcher| {
            name(watcher).as_deref() == Some("web_watched_svc_80")
        })?;
        let found = self.cluster.get(&["service/web", "-n", NAMESPACE])?;
        let ip = found["spec"]["clusterIP"]
            .as_str()
            .context("no clusterIP")?;
        let at = format!("{ip}:80").parse()?;
        let directory = watcher.mirror.generation().directory;
        let port = directory.service(at).context("no Service by its address")?;
        ensure!(&*port.service == "web_watched_svc_80" && port.protocol == Protocol::Http);
        let by_ip = directory.peer("10.50.0.2".parse()?);
        ensure!(matches!(by_ip, Some(Peer::Pod(pod)) if &*pod.name == "late"));

        self.service("web", "nobody")?;
        watcher.at_once("another selector", |watcher| {
            name(watcher).as_deref() == Some("late_watched_svc")
        })?;
        let words = [
            "label",
            "pod/late",
            "-n",
            NAMESPACE,
            "app=nobody",
            "--overwrite",
        ];
        self.cluster.run(&words)?;
        watcher.at_once("another label", |watcher| {
            name(watcher).as_deref() == Some("web_watched_svc_80")
        })?;
        self.delete("service/web")?;
        watcher.at_once("no Service", |watcher| {
            name(watcher).as_deref() == Some("late_watched_svc")
        })?;
        self.slices(&watcher, &late)?;
        self.namespaces_and_nodes(&watcher, &late)?;
        self.delete("pod/late")?;
        watcher.at_once("no pod", |watcher| watcher.pod(&late).is_none())?;
        ensure!(watcher.pod(&early).is_some());
        let errors = ["away", "forbidden", "malformed", "refused"];
        for (kind, reason) in Kind::ALL
            .iter()
            .flat_map(|kind| errors.map(|why| (kind, why)))
        {
            let labels = [kind.plural(), reason];
            let n = watcher.metric("kubernetes_errors_total", &labels)?;
            ensure!(n == 0, "{labels:?}: {n}");
        }
        Ok(Verdict::Passed)
    }

    /// A Service without a selector has the pods that its slice names.
    fn slices(&self, watcher: &Watcher, uid: &str) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "bare", "namespace": NAMESPACE},
            "spec": {"clusterIP": "None", "ports": [{"port": 8080}]},
        }))?;
        self.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "bare-1", "namespace": NAMESPACE,
                         "labels": {"kubernetes.io/service-name": "bare"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.50.0.2"],
                           "targetRef": {"kind": "Pod", "name": "late", "uid": uid}}],
            "ports": [{"port": 8080}],
        }))?;
        watcher.at_once("a slice", |watcher| {
            watcher.service(uid).as_deref() == Some("bare_watched_svc_8080")
        })?;
        self.delete("endpointslice/bare-1")?;
        watcher.at_once("no slice", |watcher| {
            watcher.service(uid).as_deref() == Some("late_watched_svc")
        })?;
        self.delete("service/bare")
    }

    fn namespaces_and_nodes(&self, watcher: &Watcher, uid: &str) -> Result<()> {
        let label = |label: &str| {
            let what = format!("namespace/{NAMESPACE}");
            self.cluster.run(&["label", &what, label, "--overwrite"])
        };
        let mesh = |watcher: &Watcher| {
            let pod = watcher.pod(uid)?;
            Some(pod.dataplane.as_ref()?.mesh.to_string())
        };
        label("kuma.io/mesh=mine")?;
        watcher.at_once("a mesh", |watcher| mesh(watcher).as_deref() == Some("mine"))?;
        label("kuma.io/sidecar-injection=disabled")?;
        watcher.at_once("no mesh", |watcher| mesh(watcher).is_none())?;
        label("kuma.io/mesh-")?;
        label("kuma.io/sidecar-injection-")?;
        watcher.at_once("the default mesh", |watcher| {
            mesh(watcher).as_deref() == Some("default")
        })?;

        self.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-w"}}))?;
        let address = json!({"status": {"addresses": [
            {"type": "InternalIP", "address": "192.168.7.1"},
            {"type": "Hostname", "address": "node-w"},
        ]}});
        let words = ["patch", "node/node-w", "--subresource=status", "-p"];
        self.cluster
            .run(&[&words[..], &[&address.to_string()]].concat())?;
        let ip = "192.168.7.1".parse()?;
        let is_known = |watcher: &Watcher| {
            let directory = watcher.mirror.generation().directory;
            matches!(directory.peer(ip), Some(Peer::Node(name)) if &**name == NODE)
        };
        watcher.at_once("a node", is_known)?;
        self.cluster.run(&["delete", "node/node-w"])?;
        watcher.at_once("no node", |watcher| !is_known(watcher))
    }

    fn policies(&self) -> Result<Verdict> {
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
    fn seeds(&self) -> Result<Verdict> {
        self.cluster.apply(self.out, "seed-mesh", MESH, &[])?;
        self.cluster.apply(self.out, "seed-trace", TRACE, &[])?;
        let watcher = Watcher::start(&self.account()?, NODE)?;
        watcher.until("everything is listed", Watcher::is_synced)?;
        let resources = watcher.mirror.generation().resources;
        let resources = resources.context("no resources")?;
        let mesh = resources.mesh("default").context("no Mesh")?;
        let mut traces = resources.traffic_traces("default");
        let trace = traces.find(|trace| &*trace.name == "trace-all-traffic");
        let trace = trace.context("no policy")?;
        let backend = mesh.backend(trace.backend.as_deref());
        ensure!(backend.is_some(), "{trace:?} has no backend in {mesh:?}");
        Ok(Verdict::Passed)
    }

    /// Two agents, one Event; another generation, another Event.
    fn events(&self) -> Result<Verdict> {
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

    /// What was known goes on while the API is away, and nothing flaps when it
    /// is back.
    fn away(&self) -> Result<Verdict> {
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
    fn expired(&self) -> Result<Verdict> {
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

    /// A kind that is not allowed stops no other, and counts from when it is.
    fn denied(&self) -> Result<Verdict> {
        self.cluster.namespace(self.out, NAMESPACE)?;
        let pod = self.pod("denied", "web", "10.50.0.5")?;
        self.service("denied", "web")?;
        let role = |resources: Value| {
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "watched-some"},
                "rules": [
                    {"apiGroups": [""], "resources": resources, "verbs": ["list", "watch"]},
                    {"apiGroups": ["kuma.io"], "resources": ["meshes"], "verbs": ["list", "watch"]},
                ],
            })
        };
        self.apply(&role(json!(["pods", "namespaces"])))?;
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
        self.apply(&role(json!(["pods", "namespaces", "services"])))?;
        watcher.until("Services are known once they are allowed", |watcher| {
            watcher.service(&pod).as_deref() == Some("denied_watched_svc_80")
        })?;
        // What is taken away is still known.
        self.apply(&role(json!(["pods", "namespaces"])))?;
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
    fn crds_later(&self) -> Result<Verdict> {
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
