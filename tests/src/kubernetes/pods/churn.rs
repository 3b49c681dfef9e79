//! Pods that come, answer one request and go. Most of them are a server that
//! the test puts into a cgroup as a runtime would: the real one takes a second
//! for each in a guest, and it is asked for one in a hundred.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::super::node::container;
use super::Node;
use super::asked::{ask, ask_anybody};
use super::maps::Sizes;
use super::network::{NODE_IP, Network, PORT};
use super::place::{Class, Driver};
use super::scene::{Plan, Pod, Scene};
use crate::children::{Running, command, run};
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
/// Addresses of a worker, of which each is another pod's four pods later.
pub(super) const ADDRESSES: u16 = 4;
/// Pods that come before the others.
const WARM: usize = 20;
const CASE: &str = "churn";
/// Whose pods have an address in turn.
const APPS: [&str; 2] = ["churn", "churned"];
/// After which the agent names an address after whom the API says is there now.
const TOLD: Duration = Duration::from_secs(5);
/// Every half a minute the kernel's maps are tidied; the rest is for a machine
/// that has much to do.
const FORGOTTEN: Duration = Duration::from_secs(75);
/// Sockets that somebody may have open then.
const SOME: usize = 8;
/// What the memory of the agent may grow by in KiB for each pod of a second round.
/// The allocator goes on taking some for as long as several hundred pods have
/// been there, 1.5 to 2.7 KiB for each in runs of this; after a thousand it takes no more.
/// To the byte `nothing_is_kept_of_pods_that_went` in the agent counts.
const GROWTH: u64 = 5;
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A pod's server on the node has its address of a worker's.
pub(super) fn address(network: Network, worker: u16, n: u16) -> Ipv4Addr {
    network.ip(FIRST + worker * ADDRESSES + n % ADDRESSES)
}

/// Number of the first of these addresses; they have 26 bits in common.
const FIRST: u16 = 0x0300;

/// Where the container that asks a worker's address finds it (`goserver chain`).
pub(super) fn routes(network: Network) -> Vec<String> {
    let workers = (0..WORKERS).flat_map(|worker| (0..ADDRESSES).map(move |n| (worker, n)));
    let route = |(worker, n)| {
        let at = address(network, worker, n);
        format!("{}=http://{at}:{PORT}", reused(worker, n))
    };
    workers.map(route).collect()
}

/// The case of requests to a worker's address.
fn reused(worker: u16, n: u16) -> String {
    format!("{CASE}-{worker}-{}", n % ADDRESSES)
}

/// What was so before, and how the memory fares.
#[derive(Debug, Default)]
pub(super) struct Churn {
    sizes: Sizes,
    /// Pods so far.
    count: usize,
    /// The most that the agent had in each round but the first, in KiB.
    peaks: Vec<u64>,
}

/// What a worker has asked.
#[derive(Debug)]
struct Did {
    path: String,
    number: usize,
    app: &'static str,
    /// It was asked by a pod.
    by_pod: bool,
}

impl Churn {
    /// Lets the node have the addresses, and sees what is there before.
    pub(super) fn new(node: &Node<'_>) -> Result<Self> {
        let network = node.scene.network.ip(FIRST);
        // All are its own without being an interface's, so who calls from the
        // node is the node.
        let mut route = command(["ip", "route", "add", "local"]);
        route.arg(format!("{network}/26"));
        route.args(["dev", "lo", "src", &NODE_IP.to_string()]);
        run(&mut route, Duration::from_secs(30))?;
        Ok(Self {
            sizes: node.maps.sizes()?,
            ..Self::default()
        })
    }

    /// Each pod's request has the one span that names it, and whom a pod calls at an
    /// address is who is there now, and not who was.
    pub(super) fn run(&mut self, node: &mut Node<'_>, pods: usize) -> Result<Verdict> {
        if self.count == 0 {
            // What the agent takes once, for its first pods.
            self.round(node, WARM)?;
        }
        let peak = self.round(node, pods)?;
        self.peaks.push(peak);
        Ok(Verdict::Passed)
    }

    fn round(&mut self, node: &mut Node<'_>, pods: usize) -> Result<u64> {
        let numbers = self.count..self.count + pods;
        self.count = numbers.end;
        let next = AtomicUsize::new(numbers.start);
        // Everybody waits for those who wait to be told of.
        let often = if pods > 100 { 20 } else { 4 };
        let (scene, image) = (&node.scene, &node.image);
        let front = node.pods.front.address();
        let (did, peak) = thread::scope(|scope| {
            let work = |number: u16| {
                let worker = Worker {
                    scene,
                    number,
                    front,
                    often,
                };
                let (next, end) = (&next, numbers.end);
                scope.spawn(move || worker.come_and_go(next, end))
            };
            let workers: Vec<_> = (0..WORKERS).map(work).collect();
            let mut peak = 0;
            while workers.iter().any(|one| !one.is_finished()) {
                peak = peak.max(image.anonymous()?);
                thread::sleep(LOOK);
            }
            let gone = |_| Err(anyhow::anyhow!("a worker is gone"));
            let did: Result<Vec<Vec<Did>>> = workers
                .into_iter()
                .map(|one| one.join().unwrap_or_else(gone))
                .collect();
            let did: Vec<Did> = did?.into_iter().flatten().collect();
            anyhow::Ok((did, peak))
        })?;
        let caller = scene.service_name("front");
        let own = did.iter().filter(|did| !did.by_pod).count();
        ensure!(own == numbers.len(), "{own} were asked");
        for Did {
            path,
            number,
            app,
            by_pod,
        } in &did
        {
            let service = node.scene.service_name(app);
            if *by_pod {
                node.asked.served(path, &caller, FRONT);
                node.asked.called(path, &caller, FRONT, &service);
            }
            let pod = format!("churn-{number}/app");
            node.asked.served(path, &service, &pod);
        }
        node.asked.check(&node.image.agent, CASE)?;
        Ok(peak)
    }

    /// A second round of as many pods wants hardly more memory.
    pub(super) fn leak(&self) -> Result<Verdict> {
        let [first, second] = *self.peaks.as_slice() else {
            anyhow::bail!("pods/churn did not get there: {self:?}");
        };
        let pods = u64::try_from(self.count - WARM)? / 2;
        tell(self, pods);
        let most = first + pods * GROWTH;
        ensure!(
            second <= most,
            "{first} KiB, and after {pods} more pods {second} KiB"
        );
        Ok(Verdict::Passed)
    }

    /// Nothing in the kernel's maps is of those that went.
    pub(super) fn forgotten(&self, node: &Node<'_>) -> Result<Verdict> {
        ensure!(self.count > WARM, "pods/churn did not get there");
        let mut why = String::new();
        wait::until_true("the maps to be as before", FORGOTTEN, || {
            let sizes = node.maps.sizes()?;
            let gone = node.maps.owners_gone()?;
            why = format!("{gone:?} are gone; {sizes:?}, and before {:?}", self.sizes);
            let is_back = gone.is_empty()
                && sizes.sockets <= self.sizes.sockets + SOME
                && sizes.skips <= self.sizes.skips + SOME;
            if !is_back {
                thread::sleep(Duration::from_secs(1));
            }
            Ok(is_back)
        })
        .with_context(|| why.clone())?;
        Ok(Verdict::Passed)
    }
}

/// Who asks by addresses.
const FRONT: &str = "front-1/app";

#[expect(clippy::print_stdout, reason = "a line for people, as notes are")]
fn tell(churn: &Churn, pods: u64) {
    println!("# {:?} KiB at most in rounds of {pods} pods", churn.peaks);
}

/// A pod that has answered.
struct There {
    name: String,
    /// Its server and its cgroup, if a runtime does not look after them.
    server: Option<Server>,
}

type Server = (Running, PathBuf);

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

/// Makes pods, one after the other.
#[derive(Clone, Copy, Debug)]
struct Worker<'a> {
    scene: &'a Scene,
    number: u16,
    /// The pod that asks by addresses.
    front: SocketAddr,
    /// One of so many has an address that the API is told of.
    often: u16,
}

impl Worker<'_> {
    fn come_and_go(&self, next: &AtomicUsize, end: usize) -> Result<Vec<Did>> {
        let mut did = Vec::new();
        let mut there = VecDeque::new();
        for n in 0.. {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                break;
            }
            let server = if number % REAL == REAL / 2 {
                did.push(self.real(number)?);
                None
            } else {
                Some(self.made_by_hand(n, number, &mut did)?)
            };
            let name = name(number);
            there.push_back(There { name, server });
            if there.len() > LATER
                && let Some(first) = there.pop_front()
            {
                first.remove(self.scene)?;
            }
        }
        // The last ones are pods like the others.
        thread::sleep(Duration::from_secs(1));
        there
            .into_iter()
            .try_for_each(|one| one.remove(self.scene))?;
        Ok(did)
    }

    /// A container of the runtime.
    fn real(&self, number: usize) -> Result<Did> {
        let name = name(number);
        let low = u16::try_from(number % 0x8000)?;
        let ip = self.scene.network.ip(0x8000 | low);
        let pod = self.scene.untold(Plan::new(&name, CASE, ip))?;
        let answer = ask(pod.address(), CASE, u64::try_from(number)?)?;
        let says = format!("{name}/app");
        ensure!(answer.who == [says], "{answer:?}");
        self.scene.kill(&pod)?;
        Ok(Did {
            path: answer.path,
            number,
            app: CASE,
            by_pod: false,
        })
    }

    /// A server in a cgroup of its own, that is asked as soon as it listens. Who
    /// comes after whom the API was told of at an address is of another Service.
    fn made_by_hand(&self, n: u16, number: usize, did: &mut Vec<Did>) -> Result<Server> {
        let Self { scene, often, .. } = *self;
        let is_told = n.is_multiple_of(often);
        // An address that is told of is told of again after so many.
        let turn = often * ADDRESSES / common(often, ADDRESSES);
        let app = APPS[usize::from(is_told && (n / turn) % 2 == 1)];
        let ip = address(scene.network, self.number, n);
        let mut plan = Plan::new(&name(number), app, ip);
        // Where no runtime has asked for any controller, which makes cgroups cheap.
        plan.place = Driver::Cgroupfs.with(Class::BestEffort);
        let uid = scene.create(&plan)?;
        let id = container(&format!("{number}"));
        let cgroup = PathBuf::from(format!("/sys/fs/cgroup{}", plan.place.path(&uid, &id)));
        fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let address = SocketAddr::from((ip, PORT));
        let at = address.to_string();
        let mut start = command(["busybox", "httpd", "-f", "-p", &at, "-h", "/proc/self"]);
        let called = format!("churn-{ip}");
        let mut server = Running::start(&called, &mut start, Path::new("/run"))?;
        let pid = server.pid().as_raw_nonzero().to_string();
        fs::write(cgroup.join("cgroup.procs"), pid).context("putting it into its cgroup")?;
        server.wait_listening(address)?;
        let count = u64::try_from(number)?;
        let (answer, status) = ask_anybody(address, CASE, count)?;
        ensure!(status == 404, "status {status} of what it does not have");
        let path = answer.path;
        did.push(Did {
            path,
            number,
            app,
            by_pod: false,
        });
        if is_told {
            scene.status(&Pod::made(plan, uid, id))?;
            thread::sleep(TOLD);
            let answer = ask(self.front, &reused(self.number, n), count)?;
            let first = answer.who.first().map(String::as_str);
            ensure!(first == Some(FRONT), "{answer:?}");
            let path = answer.path;
            did.push(Did {
                path,
                number,
                app,
                by_pod: true,
            });
        }
        Ok((server, cgroup))
    }
}

fn name(number: usize) -> String {
    format!("churn-{number}")
}

/// The greatest common divisor.
const fn common(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common(b, a % b) }
}
