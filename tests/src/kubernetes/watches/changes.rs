//! What is created, changed and deleted arrives.

use anyhow::{Context as _, Result, ensure};
use nodespan::identify::Peer;
use nodespan::kubernetes::Kind;
use nodespan::policy::Protocol;
use serde_json::json;

use super::{NAMESPACE, NODE, Scene};
use crate::kubernetes::node::container;
use crate::kubernetes::watcher::Watcher;
use crate::report::Verdict;

impl Scene<'_> {
    /// Every kind that says who is who: created, changed and deleted.
    pub(super) fn changes(&self) -> Result<Verdict> {
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
        self.outside(watcher)?;
        self.delete("service/bare")
    }

    /// What its slice names beside pods is known by its address.
    fn outside(&self, watcher: &Watcher) -> Result<()> {
        let slice = |ip: &str| {
            self.apply(&json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "outside", "namespace": NAMESPACE,
                             "labels": {"kubernetes.io/service-name": "bare"}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [ip]}],
                "ports": [{"port": 5432, "appProtocol": "http"}],
            }))
        };
        let found = |watcher: &Watcher, at: &str| {
            let directory = watcher.mirror.generation().directory;
            let port = directory.endpoint(at.parse().ok()?)?;
            Some((port.service.to_string(), port.protocol))
        };
        let bare = Some(("bare_watched_svc_8080".to_owned(), Protocol::Http));
        slice("203.0.113.7")?;
        watcher.at_once("an endpoint", |watcher| {
            found(watcher, "203.0.113.7:5432") == bare
        })?;
        slice("203.0.113.8")?;
        watcher.at_once("another address", |watcher| {
            found(watcher, "203.0.113.8:5432") == bare
                && found(watcher, "203.0.113.7:5432").is_none()
        })?;
        self.delete("endpointslice/outside")?;
        watcher.at_once("no endpoint", |watcher| {
            found(watcher, "203.0.113.8:5432").is_none()
        })
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
}
