//! Hosts without cgroup v2 at its usual place: `pods/v1/` and `pods/hybrid/`,
//! in a guest of their own. The owner is the process there, and its paths in
//! the hierarchies of v1 say which pod it is of.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::asked::Asked;
use super::hierarchies::{mount_unified, mount_v1, of_process};
use super::maps::{IGNORED, PROCESS};
use super::scene::{Plan, Pod};
use super::scenes::TIMES;
use super::{Layout, Node, Site, time_until};
use crate::report::{Report, Verdict};

/// Runs all checks: with v1 alone, then in the hybrid layout, each with an agent
/// that has been started in it.
///
/// # Errors
/// If the scene cannot be made.
pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let mounted = mount_v1()?;
    report.note(&format!("cgroup v1: {}", mounted.join(" ")));
    let mut node = Node::new(report, site, Layout::V1)?;
    report.note("the agent and all pods run");
    report.check("pods/v1/owners", || node.without_v2());
    node.all_by_process(report, "v1", 40);

    mount_unified()?;
    node.asked = Asked::new(&node.scene);
    node.image = node.start("hybrid").run()?;
    // What runc starts from now on has a cgroup of v2, too; what runs is in its
    // root, where runtimes before runc 1.1 leave everything.
    let [one, _] = &mut node.pods.web;
    node.scene.restart(one)?;
    node.scene.status(one)?;
    report.note("and again, in the hybrid layout");
    report.check("pods/hybrid/owners", || node.beside_v2());
    node.all_by_process(report, "hybrid", 41);
    Ok(())
}

impl Node<'_> {
    /// What is to be so in either layout, until the agent's end.
    fn all_by_process(&mut self, report: &mut Report, layout: &str, number: u16) {
        let name = |of: &str| format!("pods/{layout}/{of}");
        report.check(&name("replicas"), || self.replicas());
        report.check(&name("calls"), || self.calls());
        report.check(&name("two-containers"), || self.two_containers());
        report.check(&name("localhost"), || self.localhost());
        report.check(&name("short-lived"), || self.short_lived(number));
        report.check(&name("unselected"), || self.unselected_process());
        report.check(&name("ledger"), || self.image.balances());
        let spans = self.image.agent.stop();
        report.check(&name("strangers"), || {
            self.asked.check_all(spans?)?;
            Ok(Verdict::Passed)
        });
        report.check(&name("ended"), || self.image.agent.balanced());
    }

    /// No container is in a cgroup of v2, and the agent goes by processes.
    fn without_v2(&self) -> Result<Verdict> {
        self.goes_by_process()?;
        for pod in self.pods.web.iter().chain([&self.pods.duo]) {
            let (unified, _) = self.paths(pod)?;
            ensure!(unified.is_none(), "{}: {unified:?}", pod.plan.name);
        }
        Ok(Verdict::Passed)
    }

    /// One container is in a cgroup of v2, another in its root; the agent goes
    /// by processes still.
    fn beside_v2(&self) -> Result<Verdict> {
        self.goes_by_process()?;
        let [new, old] = &self.pods.web;
        let (unified, path) = self.paths(new)?;
        ensure!(unified.as_ref() == Some(&path), "{unified:?}, not {path}");
        let (unified, _) = self.paths(old)?;
        ensure!(unified.is_none(), "{unified:?} is the root");
        Ok(Verdict::Passed)
    }

    fn goes_by_process(&self) -> Result<()> {
        let probes: Value = self.image.status()?["probes"].take();
        ensure!(probes["owners"] == "process", "{probes}");
        Ok(())
    }

    /// Where a pod's first container is in v2, and where it is in the
    /// hierarchies of v1.
    fn paths(&self, pod: &Pod) -> Result<(Option<String>, String)> {
        let Some(id) = pod.ids.first() else {
            anyhow::bail!("no container");
        };
        let (unified, legacy) = of_process(self.scene.runtime.pid(id)?)?;
        let path = pod.plan.place.path(&pod.uid, id);
        // A controller that the runtime does not know leaves it in the root.
        let there = legacy.iter().filter(|one| **one == path).count();
        let other = legacy.iter().find(|one| **one != path && *one != "/");
        ensure!(there > 4 && other.is_none(), "{path}: {legacy:?}");
        Ok((unified, path))
    }

    /// A pod that is gone as soon as it has answered.
    fn short_lived(&mut self, number: u16) -> Result<Verdict> {
        let name = format!("brief-{number}");
        let plan = Plan::new(&name, "web", self.scene.network.ip(number));
        let pod = self.scene.untold(plan)?;
        let answer = self.asked.ask(pod.address(), "brief")?;
        self.scene.remove(&pod)?;
        ensure!(answer.who == [format!("{name}/app")], "{answer:?}");
        let service = self.scene.service_name("web");
        self.asked.served(&answer.path, &service, &answer.who[0]);
        self.asked.check(&self.image.agent, "brief")?;
        Ok(Verdict::Passed)
    }

    /// A pod that no policy selects; the kernel ignores its process.
    fn unselected_process(&mut self) -> Result<Verdict> {
        let pod = &self.pods.quiet;
        let address = pod.address();
        let [id] = &*pod.ids else {
            anyhow::bail!("{:?} is not one container", pod.ids);
        };
        let owner = PROCESS | u64::from(self.scene.runtime.pid(id)?);
        for _ in 0..TIMES {
            let answer = self.asked.ask(address, "unselected")?;
            ensure!(answer.who == ["quiet-1/app"], "{answer:?}");
        }
        // Every half a minute ignored processes are asked about again.
        time_until("the kernel to ignore it", || {
            self.asked.ask(address, "unselected")?;
            Ok(self.maps.verdict(owner)? == Some(IGNORED))
        })?;
        self.asked.check(&self.image.agent, "unselected")?;
        Ok(Verdict::Passed)
    }
}
