//! Who made a span: replicas, callers, containers of one pod, a pod on the
//! node's network, a restarted container, a pod that nobody selected.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::asked::Answer;
use super::hierarchies::of_process;
use super::maps::{IGNORED, WATCHED};
use super::place::{Class, Driver};
use super::{Node, Pods, time_until};
use crate::report::Verdict;
use crate::spans::{Kind, Span};

/// Requests of a check.
pub(super) const TIMES: usize = 6;
/// Within which a policy must be in the kernel.
const SOON: Duration = Duration::from_secs(1);
/// How often that is tried. Each look at the kernel's map takes most of a second in
/// a guest whose processor is emulated, and another guest may have its turn then.
const TRIES: usize = 3;

impl Node<'_> {
    /// Requests to a Service are answered by either replica, and their spans
    /// name the one that answered.
    pub(super) fn replicas(&mut self) -> Result<Verdict> {
        let service = self.scene.service_name("web");
        let mut turns = Vec::new();
        for _ in 0..TIMES {
            let answer = self.asked.ask(self.pods.web_service, "replicas")?;
            let pod = only(&answer)?;
            self.asked.served(&answer.path, &service, pod);
            turns.push(pod.to_owned());
        }
        for pod in &self.pods.web {
            let name = format!("{}/app", pod.plan.name);
            let times = turns.iter().filter(|turn| **turn == name).count();
            ensure!(times == TIMES / 2, "{name} answered {times}: {turns:?}");
        }
        self.asked.check(&self.image.agent, "replicas")?;
        Ok(Verdict::Passed)
    }

    /// A pod that calls a Service: both halves, joined.
    pub(super) fn calls(&mut self) -> Result<Verdict> {
        let [front, web] = ["front", "web"].map(|app| self.scene.service_name(app));
        for _ in 0..TIMES {
            let answer = self.asked.ask(self.pods.front.address(), "calls")?;
            let [by, of] = <[String; 2]>::try_from(answer.who)
                .ok()
                .context("not two answered")?;
            self.asked.served(&answer.path, &front, &by);
            self.asked.called(&answer.path, &front, &by, &web);
            self.asked.served(&answer.path, &web, &of);
        }
        let spans = self.asked.check(&self.image.agent, "calls")?;
        all_joined(&spans)?;
        // What is printed is sent, too.
        let trace = &spans.first().context("no spans")?.trace;
        let sent = self.site.zipkin.trace_of(trace, 3)?.len();
        ensure!(sent == 3, "Zipkin has {sent} spans of {trace}");
        Ok(Verdict::Passed)
    }

    /// Two containers of a pod, one of which asks the other by the pod's
    /// address.
    pub(super) fn two_containers(&mut self) -> Result<Verdict> {
        let duo = self.scene.service_name("duo");
        self.within_pod("two-containers", &duo)
    }

    /// The same over loopback, an address that nobody has a name for.
    pub(super) fn localhost(&mut self) -> Result<Verdict> {
        self.within_pod("localhost", "")
    }

    fn within_pod(&mut self, case: &str, called: &str) -> Result<Verdict> {
        let duo = self.scene.service_name("duo");
        for _ in 0..TIMES {
            let answer = self.asked.ask(self.pods.duo.address(), case)?;
            ensure!(answer.who == ["duo-1/app", "duo-1/helper"], "{answer:?}");
            self.asked.served(&answer.path, &duo, "duo-1/app");
            self.asked.called(&answer.path, &duo, "duo-1/app", called);
            self.asked.served(&answer.path, &duo, "duo-1/helper");
        }
        let spans = self.asked.check(&self.image.agent, case)?;
        all_joined(&spans)?;
        Ok(Verdict::Passed)
    }

    /// Pods of each class, by either driver, are where a kubelet has them, and
    /// known there. The pods of `pods/churn` are `BestEffort` by cgroupfs.
    pub(super) fn classes(&mut self) -> Result<Verdict> {
        let Pods {
            web: [one, two],
            front,
            duo,
            host,
            ..
        } = &self.pods;
        let mut places = Vec::new();
        for pod in [one, two, front, duo, host] {
            let id = pod.ids.first().context("no container")?;
            let (unified, _) = of_process(self.scene.runtime.pid(id)?)?;
            let path = pod.plan.place.path(&pod.uid, id);
            ensure!(unified.as_ref() == Some(&path), "{unified:?}, not {path}");
            let answer = self.asked.ask(pod.address(), "classes")?;
            let service = self.scene.service_name(pod.plan.app);
            self.asked.served(&answer.path, &service, only(&answer)?);
            places.push(pod.plan.place);
        }
        for class in [Class::Guaranteed, Class::Burstable, Class::BestEffort] {
            ensure!(places.contains(&Driver::Systemd.with(class)), "{places:?}");
        }
        ensure!(places.contains(&Driver::Cgroupfs.with(Class::Guaranteed)));
        self.asked.check(&self.image.agent, "classes")?;
        Ok(Verdict::Passed)
    }

    /// A pod whose address is its node's.
    pub(super) fn host_network(&mut self) -> Result<Verdict> {
        let service = self.scene.service_name("host");
        for _ in 0..TIMES {
            let answer = self.asked.ask(self.pods.host.address(), "host")?;
            self.asked.served(&answer.path, &service, only(&answer)?);
        }
        self.asked.check(&self.image.agent, "host")?;
        Ok(Verdict::Passed)
    }

    /// A container that dies and is started again by the kubelet: another id
    /// in the same pod, of which the API hears after its first requests.
    pub(super) fn restarted(&mut self) -> Result<Verdict> {
        let service = self.scene.service_name("web");
        let pod = &mut self.pods.web[0];
        let before = pod.ids.clone();
        self.scene.restart(pod)?;
        ensure!(pod.ids != before, "the id is the same");
        let address = pod.address();
        for n in 0..TIMES {
            if n == TIMES / 2 {
                self.scene.status(pod)?;
            }
            let answer = self.asked.ask(address, "restarted")?;
            self.asked.served(&answer.path, &service, only(&answer)?);
        }
        self.asked.check(&self.image.agent, "restarted")?;
        Ok(Verdict::Passed)
    }

    /// A pod that no policy selects: nothing comes of its requests, and the
    /// kernel asks nobody about them any more.
    pub(super) fn unselected(&mut self) -> Result<Verdict> {
        let address = self.pods.quiet.address();
        for _ in 0..TIMES {
            let answer = self.asked.ask(address, "unselected")?;
            ensure!(answer.who == ["quiet-1/app"], "{answer:?}");
        }
        let cgroup = first(&self.pods.quiet.cgroups()?)?;
        time_until("the kernel to ignore it", || {
            Ok(self.maps.verdict(cgroup)? == Some(IGNORED))
        })?;
        let watched = first(&self.pods.front.cgroups()?)?;
        let verdict = self.maps.verdict(watched)?;
        ensure!(verdict == Some(WATCHED), "who is selected has {verdict:?}");
        // None of the first ones has come late.
        self.asked.check(&self.image.agent, "unselected")?;
        Ok(Verdict::Passed)
    }

    /// A policy's change, until it is in the kernel; the fastest of some.
    pub(super) fn policy(&mut self) -> Result<Verdict> {
        let (mut gone, mut back) = (Duration::MAX, Duration::MAX);
        for _ in 0..TRIES {
            let (one, other) = self.change_policy()?;
            println_times(one, other);
            (gone, back) = (gone.min(one), back.min(other));
            if gone <= SOON && back <= SOON {
                return Ok(Verdict::Passed);
            }
        }
        anyhow::bail!("of {TRIES} the fastest is gone after {gone:?}, back after {back:?}")
    }

    /// How long it takes until a policy is gone from the kernel, and there again.
    fn change_policy(&mut self) -> Result<(Duration, Duration)> {
        let address = self.pods.front.address();
        let cgroup = first(&self.pods.front.cgroups()?)?;
        self.scene.delete_policy()?;
        // Who was watched is ignored at its next request.
        let gone = time_until("the kernel to ignore a pod", || {
            let answer = self.asked.ask(address, "policy")?;
            self.asked.leave_open(&answer.path);
            Ok(self.maps.verdict(cgroup)? == Some(IGNORED))
        })?;
        // None of these has a span.
        for _ in 0..TIMES {
            self.asked.ask(address, "policy")?;
        }
        self.scene.apply_policy()?;
        let back = time_until("the kernel to ask again", || {
            Ok(self.maps.verdict(cgroup)? != Some(IGNORED))
        })?;
        let service = self.scene.service_name("front");
        for _ in 0..TIMES {
            let answer = self.asked.ask(address, "policy")?;
            self.asked.served(&answer.path, &service, only(&answer)?);
        }
        self.asked.check(&self.image.agent, "policy")?;
        Ok((gone, back))
    }
}

#[expect(clippy::print_stdout, reason = "a line for people, as notes are")]
fn println_times(gone: Duration, back: Duration) {
    println!("# a policy is gone from the kernel after {gone:?}, and there after {back:?}");
}

/// Of each call the other half is below it, or shares its id.
fn all_joined(spans: &[Span]) -> Result<()> {
    for call in spans.iter().filter(|span| span.kind == Kind::Client) {
        let joined = spans.iter().any(|span| {
            let is_shared = span.shared && span.id == call.id;
            span.kind == Kind::Server
                && span.trace == call.trace
                && (is_shared || span.parent.as_ref() == Some(&call.id))
                && span.path() == call.path()
        });
        ensure!(joined, "nobody answered {call:?}");
    }
    Ok(())
}

/// The one who answered.
fn only(answer: &Answer) -> Result<&str> {
    match &*answer.who {
        [one] => Ok(one),
        other => anyhow::bail!("{other:?} answered"),
    }
}

fn first(cgroups: &[u64]) -> Result<u64> {
    cgroups.first().copied().context("no container")
}
