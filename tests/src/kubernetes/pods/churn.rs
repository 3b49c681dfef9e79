//! Pods that come, answer one request and go. Most of them are a server that
//! the test puts into a cgroup as a runtime would: the real one takes a second
//! for each in a guest, and it is asked for one in a hundred.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::super::node::container;
use super::asked::{ask, ask_anybody};
use super::maps::Sizes;
use super::scene::{Driver, Plan, Scene};
use super::{Node, show};
use crate::children::{Running, command};
use crate::report::Verdict;
use crate::wait;

/// Pods that are made at the same time.
const WORKERS: u16 = 4;
/// How many later pods of its worker a pod outlives, which is some tenths of a
/// second. One whose cgroup comes and goes between two looks of the agent has no
/// name; no kubelet is that fast.
const LATER: usize = 3;
/// One of so many is the real runtime's.
const REAL: usize = 100;
/// First of the ports, which are used again and again.
const PORTS: u16 = 20_000;
const CASE: &str = "churn";
/// A pod is remembered for a minute, and every half a minute the kernel's maps
/// are tidied; the rest is for a machine that has much to do.
const FORGOTTEN: Duration = Duration::from_secs(150);
/// Sockets that somebody may have open then.
const SOME: usize = 8;
/// What the agent may have more than before, in KiB.
const GROWTH: u64 = 8 << 10;

/// What was so before, and when it was over.
#[derive(Debug, Default)]
pub(super) struct Churn {
    sizes: Sizes,
    resident: u64,
    ended: Option<Instant>,
}

impl Churn {
    /// Each pod's one request has the one span that names it.
    pub(super) fn run(&mut self, node: &mut Node<'_>) -> Result<Verdict> {
        // What the agent takes once, for its first pods.
        let warm = 20;
        self.round(node, 0..warm)?;
        self.sizes = node.maps.sizes()?;
        self.resident = node.image.resident()?;
        self.round(node, warm..warm + node.site.churns)?;
        self.ended = Some(Instant::now());
        Ok(Verdict::Passed)
    }

    fn round(&self, node: &mut Node<'_>, numbers: std::ops::Range<usize>) -> Result<()> {
        let next = AtomicUsize::new(numbers.start);
        let scene = &node.scene;
        let answers: Vec<Result<Vec<String>>> = thread::scope(|scope| {
            let work = |worker: u16| {
                let (next, end) = (&next, numbers.end);
                scope.spawn(move || come_and_go(scene, worker, next, end))
            };
            let workers: Vec<_> = (0..WORKERS).map(work).collect();
            let gone = |_| Err(anyhow::anyhow!("a worker is gone"));
            workers
                .into_iter()
                .map(|one| one.join().unwrap_or_else(gone))
                .collect()
        });
        let service = scene.service_name(CASE);
        let mut count = 0;
        for path in answers.into_iter().collect::<Result<Vec<_>>>()?.concat() {
            let number = path.rsplit('/').next().context("no number")?;
            let pod = format!("churn-{number}/app");
            node.asked.served(&path, &service, &pod);
            count += 1;
        }
        ensure!(count == numbers.len(), "{count} were asked");
        node.asked.check(&node.image.agent, CASE)?;
        Ok(())
    }

    /// Nothing is left of those that went.
    pub(super) fn forgotten(&self, node: &Node<'_>) -> Result<Verdict> {
        let ended = self.ended.context("pods/churn did not get there")?;
        let mut sizes = node.maps.sizes()?;
        let is_back = |sizes: Sizes| {
            let before = self.sizes;
            sizes.owners <= before.owners
                && sizes.sockets <= before.sockets + SOME
                && sizes.skips <= before.skips + SOME
        };
        if node.site.churns > 100 {
            let left = FORGOTTEN.saturating_sub(ended.elapsed());
            wait::until_true("the maps to be as before", left, || {
                sizes = node.maps.sizes()?;
                if !is_back(sizes) {
                    thread::sleep(Duration::from_secs(1));
                }
                Ok(is_back(sizes))
            })
            .with_context(|| format!("{sizes:?}, and it was {:?}", self.sizes))?;
        }
        let resident = node.image.resident()?;
        tell(self, sizes, resident);
        ensure!(
            resident <= self.resident + GROWTH,
            "{} KiB were {resident} KiB later: {}",
            self.resident,
            show(&node.image.status()?)
        );
        Ok(Verdict::Passed)
    }
}

#[expect(clippy::print_stdout, reason = "a line for people, as notes are")]
fn tell(churn: &Churn, sizes: Sizes, resident: u64) {
    println!("# before {churn:?}, after {sizes:?} and {resident} KiB");
}

/// A pod that has answered.
struct There {
    name: String,
    /// Its server and its cgroup, if a runtime does not look after them.
    server: Option<(Running, PathBuf)>,
}

impl There {
    fn remove(self, scene: &Scene) -> Result<()> {
        if let Some((mut server, cgroup)) = self.server {
            server.stop(Signal::KILL, Duration::from_secs(10))?;
            let pod = cgroup.parent().context("a pod's cgroup")?;
            for empty in [&*cgroup, pod] {
                // The last child of the server may be about to go.
                wait::until_true("a cgroup to be empty", Duration::from_secs(10), || {
                    Ok(fs::remove_dir(empty).is_ok())
                })?;
            }
        }
        let Self { name, .. } = self;
        scene.api.delete(&format!("{}/{name}", scene.pods()))
    }
}

/// A worker's pods, one after the other; the paths of their requests.
fn come_and_go(scene: &Scene, worker: u16, next: &AtomicUsize, end: usize) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut there = VecDeque::new();
    let ports = (0..).map(|n| PORTS + worker * 16 + n % 16);
    for port in ports {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            break;
        }
        let name = format!("churn-{number}");
        let low = u16::try_from(number % 0x8000)?;
        let mut plan = Plan::new(&name, CASE, scene.network.ip(0x8000 | low));
        let server = if number % REAL == REAL / 2 {
            let pod = scene.untold(plan)?;
            let answer = ask(pod.address(), CASE, u64::try_from(number)?)?;
            let says = format!("{name}/app");
            ensure!(answer.who == [says], "{answer:?}");
            paths.push(answer.path);
            scene.kill(&pod)?;
            None
        } else {
            plan.programs[0].port = port;
            plan.driver = Driver::BestEffort;
            let (path, server) = made_by_hand(scene, &plan, number)?;
            paths.push(path);
            Some(server)
        };
        there.push_back(There { name, server });
        if there.len() > LATER
            && let Some(first) = there.pop_front()
        {
            first.remove(scene)?;
        }
    }
    // The last ones are pods like the others.
    thread::sleep(Duration::from_secs(1));
    there.into_iter().try_for_each(|one| one.remove(scene))?;
    Ok(paths)
}

/// A server in a cgroup of its own, that is asked as soon as it listens.
fn made_by_hand(scene: &Scene, plan: &Plan, number: usize) -> Result<(String, (Running, PathBuf))> {
    let uid = scene.create(plan)?;
    let id = container(&format!("{number}"));
    let cgroup = PathBuf::from(format!("/sys/fs/cgroup{}", plan.driver.path(&uid, &id)));
    fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, plan.programs[0].port));
    let at = address.to_string();
    let mut start = command(["busybox", "httpd", "-f", "-p", &at, "-h", "/proc/self"]);
    let name = format!("churn-{}", address.port());
    let mut server = Running::start(&name, &mut start, Path::new("/run"))?;
    let pid = server.pid().as_raw_nonzero().to_string();
    fs::write(cgroup.join("cgroup.procs"), pid).context("putting it into its cgroup")?;
    server.wait_listening(address)?;
    let (answer, status) = ask_anybody(address, CASE, u64::try_from(number)?)?;
    ensure!(status == 404, "status {status} of what it does not have");
    Ok((answer.path, (server, cgroup)))
}
