//! Pods that are replaced while requests come.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Node;
use super::asked::{Answer, ask};
use super::network::PORT;
use super::scene::Plan;
use crate::report::Verdict;
use crate::spans::Span;
use crate::wait;

/// Between two requests.
const PACE: Duration = Duration::from_millis(20);
/// How long each state of affairs lasts at least.
const A_WHILE: Duration = Duration::from_millis(500);

/// For a span's way to Jaeger.
const LIMIT: Duration = Duration::from_secs(30);

/// What the load says of itself.
#[derive(Debug, Default)]
struct Load {
    answers: Vec<Answer>,
    /// Paths of those that had no answer.
    failed: Vec<String>,
}

impl Node<'_> {
    /// First as a Deployment does it: the new pod is there before the old one
    /// goes. Then as a StatefulSet: a new pod has the name and the address of
    /// the one before; its container is called otherwise, so that spans tell.
    pub(super) fn replaced(&mut self) -> Result<Verdict> {
        let old = self.replaceable("roll-1", 30)?;
        let new = self.replaceable("roll-2", 31)?;
        let service = self.pods.roll_service;
        let at = SocketAddr::from((service, PORT));
        let direct = |node: &Self, plan: &Plan| {
            let network = node.scene.network;
            network.service(service, &[plan.ip], &node.scene.out)
        };
        let old = self.scene.pod(old)?;
        direct(self, &old.plan)?;
        thread::sleep(A_WHILE * 2);
        let rolled = self.under_load(at, "rolled", |node| {
            let new = node.scene.pod(new)?;
            thread::sleep(A_WHILE);
            direct(node, &new.plan)?;
            thread::sleep(A_WHILE);
            node.scene.remove(&old)?;
            Ok(new)
        });
        let (before, load) = rolled?;
        ensure!(load.failed.is_empty(), "failed: {:?}", load.failed);
        let spans = self.all_served("rolled", &load, &["roll-1/app", "roll-2/app"])?;
        self.has_uid(&spans, "roll-1/app", &old.uid)?;
        self.has_uid(&spans, "roll-2/app", &before.uid)?;

        let mut again = before.plan.clone();
        again.programs[0].name = "other";
        let (after, load) = self.under_load(at, "again", |node| {
            node.scene.remove(&before)?;
            let pod = node.scene.pod(again)?;
            ensure!(pod.uid != before.uid, "the UID is the same");
            thread::sleep(A_WHILE);
            Ok(pod)
        })?;
        let spans = self.all_served("again", &load, &["roll-2/app", "roll-2/other"])?;
        self.has_uid(&spans, "roll-2/app", &before.uid)?;
        self.has_uid(&spans, "roll-2/other", &after.uid)?;
        Ok(Verdict::Passed)
    }

    /// The first and the last span of a container say in Jaeger whose they are: of
    /// the pod with this UID, and not of another of its name.
    fn has_uid(&self, spans: &[Span], who: &str, uid: &str) -> Result<()> {
        let (pod, container) = who.split_once('/').context("no container")?;
        let mut of = spans.iter().filter(|span| {
            (span.tag("k8s.pod.name"), span.tag("k8s.container.name")) == (pod, container)
        });
        for span in [of.next(), of.next_back()].into_iter().flatten() {
            let trace = &span.trace;
            let facts = wait::until(&format!("{trace} in Jaeger"), LIMIT, || {
                let facts = self.site.jaeger.facts(trace)?;
                Ok((!facts.is_empty()).then_some(facts))
            })?;
            let [fact] = &*facts else {
                anyhow::bail!("{who} has more spans: {facts:?}");
            };
            for (name, value) in [
                ("namespace.name", &*self.scene.name),
                ("pod.name", pod),
                ("pod.uid", uid),
                ("container.name", container),
                ("node.name", &self.scene.node),
            ] {
                let said = fact.get(&format!("resource k8s.{name}"));
                ensure!(said == value, "{name} of {who} is {said}, not {value}");
            }
        }
        Ok(())
    }

    fn replaceable(&self, name: &str, number: u16) -> Result<Plan> {
        let ip = self.scene.network.ip(number);
        Ok(Plan::new(name, "roll", ip))
    }

    /// Does something while requests come, from before until after.
    fn under_load<T>(
        &self,
        at: SocketAddr,
        case: &str,
        act: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<(T, Load)> {
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut load = Load::default();
                for n in 0.. {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    match ask(at, case, n) {
                        Ok(answer) => load.answers.push(answer),
                        Err(_) => load.failed.push(format!("/get/{case}/{n}")),
                    }
                    thread::sleep(PACE);
                }
                load
            });
            thread::sleep(A_WHILE);
            let done = act(self);
            ends.store(true, Ordering::Relaxed);
            let load = load.join().ok().context("the load is gone")?;
            Ok((done?, load))
        })
    }

    /// Each answer has its span, which names who gave it, and all of these
    /// gave some.
    fn all_served(&mut self, case: &str, load: &Load, who: &[&str]) -> Result<Vec<Span>> {
        let service = self.scene.service_name("roll");
        // A server may have read what it was killed before it could answer.
        for path in &load.failed {
            self.asked.leave_open(path);
        }
        for answer in &load.answers {
            let [one] = &*answer.who else {
                anyhow::bail!("{answer:?}");
            };
            self.asked.served(&answer.path, &service, one);
        }
        for who in who {
            let answers = load.answers.iter().filter(|answer| answer.who == [*who]);
            ensure!(answers.count() > 5, "{who} hardly answered: {load:?}");
        }
        self.asked.check(&self.image.agent, case)
    }
}
