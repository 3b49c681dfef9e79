//! A second agent on the node, whose role changes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NAMESPACE, Node, Relay, server_span, start};
use crate::agent::Agent;
use crate::report::Verdict;
use crate::wait;

/// Where it shows what it does.
const ADMIN: &str = "127.0.0.1:9904";
/// What the second agent's role is called.
const LESS: &str = "node-less";
/// The kinds of Kuma.
const POLICIES: [&str; 2] = ["meshes", "traffictraces"];

/// An agent whose role changes.
pub(super) struct Denied {
    agent: Agent,
    relay: Relay,
}

impl Denied {
    pub(super) fn agent(&mut self) -> &mut Agent {
        &mut self.agent
    }
}

impl Node<'_> {
    /// Another agent, whose role hides policies: it says so, and as there may be
    /// some it traces nothing. The role is a better one at the end of it.
    pub(super) fn denied(&mut self) -> Result<Verdict> {
        self.allow(&[])?;
        self.scene.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": LESS},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": LESS},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
        }))?;
        let out = &self.places.out;
        let account = self.scene.cluster.account(out, NAMESPACE, "default")?;
        let (relay, kubeconfig) = Relay::start(&account, out, "denied")?;
        let agent = start(self.nodespan, "node-denied", &kubeconfig, ADMIN, out)?;
        self.denied = Some(Denied { agent, relay });
        wait::until_true("what is allowed to be listed", LIMIT, || {
            let shown = &self.status(ADMIN)?["kubernetes"];
            Ok(shown["synced"] == true)
        })?;
        for kind in POLICIES {
            let why = self.failing(kind, ADMIN)?;
            ensure!(why.as_deref() == Some("forbidden"), "{kind}: {why:?}");
        }
        ensure!(self.failing("pods", ADMIN)?.is_none());
        for _ in 0..3 {
            self.traced(self.web.addr)?;
        }
        let denied = self.denied.as_ref().context("no such agent")?;
        let spans = denied.agent.spans()?;
        ensure!(spans.is_empty(), "it traces {:?}", spans.first());
        self.allow(&POLICIES)?;
        Ok(Verdict::Passed)
    }

    /// What the role allows by now counts by now: asked for again within half a
    /// minute.
    pub(super) fn granted(&mut self) -> Result<Verdict> {
        wait::until_true("policies to be allowed", LIMIT * 2, || {
            let mut failing = POLICIES.map(|kind| self.failing(kind, ADMIN)).into_iter();
            failing.try_fold(true, |are, why| Ok(are && why?.is_none()))
        })?;
        self.traced_by_denied()
    }

    /// What the role allows no more is known still.
    pub(super) fn revoked(&mut self) -> Result<Verdict> {
        self.allow(&[])?;
        // The API goes on with a watch that has begun.
        let relay = &self.denied.as_ref().context("no such agent")?.relay;
        relay.cut();
        relay.mend();
        wait::until_true("policies to be forbidden", LIMIT * 2, || {
            Ok(self.failing("traffictraces", ADMIN)?.as_deref() == Some("forbidden"))
        })?;
        self.traced_by_denied()
    }

    fn traced_by_denied(&mut self) -> Result<Verdict> {
        let path = self.ask(self.web.addr)?;
        let Denied { agent, .. } = self.denied.as_ref().context("no such agent")?;
        wait::until_true("the other agent's span", LIMIT, || {
            let span = server_span(agent, &path)?;
            Ok(span.is_some_and(|span| span.service == "web_watched_svc_80"))
        })
        .with_context(|| agent.said())?;
        Ok(Verdict::Passed)
    }

    /// Lets the second agent see these kinds of Kuma, and all others.
    fn allow(&self, of_kuma: &[&str]) -> Result<()> {
        let rule = |group: &str, resources: Value| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
        let mut rules = vec![
            rule("", json!(["pods", "services", "namespaces", "nodes"])),
            rule("discovery.k8s.io", json!(["endpointslices"])),
        ];
        if !of_kuma.is_empty() {
            rules.push(rule("kuma.io", json!(of_kuma)));
        }
        self.scene.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": LESS}, "rules": rules,
        }))
    }
}
