//! Pods of a real container runtime on a node, and the agent beside them as
//! its DaemonSet runs it (`suites pods`, in guests). The API runs elsewhere;
//! what a kubelet does and says, the test does and says.
//!
//! A server's answer names who gave it, so what a span must say is known from
//! the answer and not from what the test believes about routes.

mod api;
mod asked;
mod by_process;
mod churn;
mod hierarchies;
mod image;
mod manifest;
mod maps;
mod network;
mod place;
mod replaced;
mod runtime;
mod scene;
mod scenes;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Cluster;
use crate::backends::jaeger::Jaeger;
use crate::report::Report;
use crate::targets::Places;
use crate::wait;
use crate::zipkin::Zipkin;
use api::Api;
use asked::Asked;
use churn::Churn;
use image::{Image, Start};
use maps::Maps;
use network::{NODE_IP, Network, PORT};
use place::{Class, Driver};
use runtime::Runtime;
use scene::{Plan, Pod, Program, Scene};

const AGENT: &str = include_str!("../../../../deploy/kubernetes/agent.yaml");
const CRDS: &str = include_str!("../../../../deploy/kubernetes/crds.yaml");
const MESHES: &str = "/apis/kuma.io/v1alpha1/meshes";
const POLICIES: &str = "/apis/kuma.io/v1alpha1/traffictraces";

/// What the suite is run with.
#[derive(Debug)]
pub struct Site<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// The API.
    pub cluster: &'a Cluster,
    /// Scenario programs and the folder for results.
    pub places: &'a Places,
    /// Where the runtime's packages are unpacked.
    pub packages: &'a Path,
    /// Where spans go.
    pub zipkin: &'a Zipkin,
    /// Where those of the pods that are replaced go, by OTLP, which also says the
    /// pod's UID.
    pub jaeger: &'a Jaeger,
    /// The image's root file system, an archive.
    pub image: &'a Path,
    /// Pods that come and go.
    pub churns: usize,
    /// In two rounds of as many, whose memory is compared.
    pub leaks: bool,
}

/// Where a node has its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// cgroup v2 alone.
    V2,
    /// Hierarchies of v1, with or without v2 beside them.
    V1,
}

/// Everything that the checks share.
struct Node<'a> {
    scene: Scene,
    image: Image,
    maps: Maps,
    asked: Asked,
    pods: Pods,
    site: &'a Site<'a>,
}

/// The pods that are there from the beginning.
struct Pods {
    /// Two replicas of one Deployment.
    web: [Pod; 2],
    /// Asks them by their Service.
    front: Pod,
    /// Of two containers, one of which asks the other.
    duo: Pod,
    /// On its node's network.
    host: Pod,
    /// Selected by no policy.
    quiet: Pod,
    web_service: SocketAddr,
    roll_service: Ipv4Addr,
}

/// Runs all checks, with one agent; or those of hosts with cgroup v1, if nothing
/// else is asked for: they change the whole guest.
///
/// # Errors
/// If the scene cannot be made.
pub fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let wants = |report: &Report, group: &str| report.wants(&format!("pods/{group}"));
    if !wants(report, "image") && (wants(report, "v1/") || wants(report, "hybrid/")) {
        return by_process::run(report, site);
    }
    let mut node = Node::new(report, site, Layout::V2)?;
    report.note("the agent and all pods run");
    report.check("pods/image", || node.image.check());
    let mut churn = Churn::new(&node)?;
    let rounds = if site.leaks { 2 } else { 1 };
    let pods = site.churns / rounds;
    report.check("pods/churn", || churn.run(&mut node, pods));
    report.note("they have come and gone");
    report.check("pods/replicas", || node.replicas());
    report.check("pods/calls", || node.calls());
    report.check("pods/two-containers", || node.two_containers());
    report.check("pods/localhost", || node.localhost());
    report.check("pods/classes", || node.classes());
    report.check("pods/host-network", || node.host_network());
    report.check("pods/restarted", || node.restarted());
    report.check("pods/replaced", || node.replaced());
    report.check("pods/unselected", || node.unselected());
    report.check("pods/policy", || node.policy());
    report.note("all were asked");
    if site.leaks {
        report.check("pods/churn-again", || churn.run(&mut node, pods));
        report.check("pods/leak", || churn.leak());
        report.note("others have come and gone");
    }
    report.check("pods/forgotten", || churn.forgotten(&node));
    report.check("pods/ledger", || node.image.balances());
    let spans = node.image.agent.stop();
    report.check("pods/strangers", || {
        node.asked.check_all(spans?)?;
        Ok(crate::report::Verdict::Passed)
    });
    report.check("pods/ended", || node.image.agent.balanced());
    Ok(())
}

impl<'a> Node<'a> {
    fn new(report: &Report, site: &'a Site<'a>, layout: Layout) -> Result<Self> {
        let out = &site.places.out;
        let digits = site.kernel.bytes().filter(u8::is_ascii_digit);
        let own = digits.fold(0_u8, |n, digit| {
            n.wrapping_mul(10).wrapping_add(digit - b'0')
        });
        // 5.10, 6.1, 6.12 and 7 are 254, 61, 100 and 7; with v1 18, 81, 120 and 27.
        let (more, suffix) = match layout {
            Layout::V2 => (0, ""),
            Layout::V1 => (20, "-v1"),
        };
        let network = Network::new(own.wrapping_add(more), out)?;
        let name = format!("pods-{}{suffix}", site.kernel.replace('.', "-"));
        let goserver = site.places.programs.join("goserver");
        // What waits for others may wait at the same time.
        let ((), runtime) = at_once(
            || install(site.cluster, &Api(site.cluster.proxy()), out),
            || Runtime::start(site.packages, &[&goserver], out),
        )?;
        report.note("the manifests are applied, containerd runs");
        let scene = Scene {
            node: format!("node-{name}"),
            api: Api(site.cluster.proxy()),
            zipkin: site.zipkin.spans_url(),
            otlp: format!("{}/v1/traces", site.jaeger.url("otlp")?),
            runtime,
            network,
            name,
            out: out.clone(),
        };
        scene.cluster_objects()?;
        let web = scene.service("web", &[(PORT, "app")])?;
        scene.service("front", &[(PORT, "app")])?;
        scene.service("duo", &[(PORT, "app"), (PORT + 1, "helper")])?;
        let roll = scene.service("roll", &[(PORT, "app")])?;
        for app in ["host", "quiet", "churn", "churned"] {
            scene.service(app, &[(PORT, "app")])?;
        }
        let start = Start {
            cluster: site.cluster,
            scene: &scene,
            archive: site.image,
            name: "agent",
        };
        let (image, pods) = at_once(|| start.run(), || Pods::start(&scene, web, roll))?;
        // The agent's next generation has all of them.
        std::thread::sleep(Duration::from_secs(1));
        Ok(Self {
            maps: Maps::new(site.packages),
            asked: Asked::new(&scene),
            scene,
            image,
            pods,
            site,
        })
    }

    /// What starts another agent when the one before has ended.
    fn start<'b>(&'b self, name: &'b str) -> Start<'b> {
        Start {
            cluster: self.site.cluster,
            scene: &self.scene,
            archive: self.site.image,
            name,
        }
    }
}

fn at_once<A: Send, B>(
    first: impl FnOnce() -> Result<A> + Send,
    second: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first.join().ok().context("a thread is gone")?;
        Ok((first?, second?))
    })
}

/// Guests that run at the same time do this at the same time, which the
/// API's own way of applying can stand. What an earlier one has done is there:
/// the `DaemonSet` comes last.
fn install(cluster: &Cluster, api: &Api, out: &Path) -> Result<()> {
    if api.get(image::DAEMON_SET).is_ok() {
        return Ok(());
    }
    let mut apply = cluster.kubectl(&["apply", "--server-side", "--validate=false"]);
    for (name, text) in [("crds", CRDS), ("agent", AGENT)] {
        let file = out.join(format!("{name}.yaml"));
        std::fs::write(&file, text)?;
        apply.arg("-f").arg(file);
    }
    crate::children::run(&mut apply, Duration::from_secs(90)).map(drop)
}

impl Pods {
    fn start(scene: &Scene, web_service: Ipv4Addr, roll_service: Ipv4Addr) -> Result<Self> {
        let ip = |n| scene.network.ip(n);
        let web = |n: u16| Plan::new(&format!("web-5d9c7b8f6-{n}"), "web", ip(10 + n));
        let mut front = Plan::new("front-1", "front", ip(20));
        front.place = Driver::Systemd.with(Class::Guaranteed);
        front.programs[0].routes = vec![format!("calls=http://{web_service}:{PORT}")];
        front.programs[0]
            .routes
            .extend(churn::routes(scene.network));
        let mut duo = Plan::new("duo-1", "duo", ip(21));
        duo.place = Driver::Systemd.with(Class::Burstable);
        duo.programs.push(Program::new("helper", PORT + 1));
        duo.programs[0].routes = vec![
            format!("two-containers=http://{}:{}", ip(21), PORT + 1),
            format!("localhost=http://127.0.0.1:{}", PORT + 1),
        ];
        let mut host = Plan::new("host-1", "host", NODE_IP);
        host.programs[0].port = 18_090;
        host.place = Driver::Systemd.with(Class::BestEffort);
        let mut quiet = Plan::new("quiet-1", "quiet", ip(22));
        quiet.selected = false;
        scene
            .network
            .service(web_service, &[ip(11), ip(12)], &scene.out)?;
        // At the same time, as a kubelet does it.
        let (one, mut two) = (web(1), web(2));
        two.place = Driver::Cgroupfs.with(Class::Guaranteed);
        let plans = [one, two, front, duo, host, quiet];
        let pods: Vec<Result<Pod>> = std::thread::scope(|scope| {
            let started = plans.map(|plan| scope.spawn(|| scene.pod(plan)));
            let ended = started.map(ScopedJoinHandle::join);
            let gone = |_| Err(anyhow::anyhow!("a thread is gone"));
            ended
                .into_iter()
                .map(|one| one.unwrap_or_else(gone))
                .collect()
        });
        let pods = pods.into_iter().collect::<Result<Vec<_>>>()?;
        let [one, two, front, duo, host, quiet] =
            <[Pod; 6]>::try_from(pods).ok().context("six pods")?;
        Ok(Self {
            web: [one, two],
            front,
            duo,
            host,
            quiet,
            web_service: (web_service, PORT).into(),
            roll_service,
        })
    }
}

impl Scene {
    /// What a cluster's administrator makes.
    fn cluster_objects(&self) -> Result<()> {
        let Self { name, api, .. } = self;
        wait::until_true("the CRDs", Duration::from_secs(30), || {
            Ok(api.get(MESHES).is_ok() && api.get(POLICIES).is_ok())
        })?;
        let namespaces = "/api/v1/namespaces";
        api.create(
            namespaces,
            &json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kuma.io/mesh": name}},
            }),
        )?;
        // Which a controller would add.
        api.create(
            &format!("{namespaces}/{name}/serviceaccounts"),
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}),
        )?;
        api.create(
            MESHES,
            &json!({
                "apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": {"name": name},
                "spec": {"tracing": {"backends": [
                    {"name": "zipkin", "type": "zipkin", "conf": {"url": self.zipkin}},
                    {"name": "otlp", "type": "opentelemetry", "conf": {"endpoint": self.otlp}},
                ]}},
            }),
        )?;
        let node = &self.node;
        let made = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        api.create("/api/v1/nodes", &made)?;
        let address = json!([{"type": "InternalIP", "address": NODE_IP.to_string()}]);
        let status = json!({"status": {"addresses": address}});
        api.patch(&format!("/api/v1/nodes/{node}/status"), &status)?;
        // It says more, and so it is this one that counts.
        let replaced = json!({"traced": "yes", "app": "roll"});
        api.create(POLICIES, &self.policy("-roll", &replaced, "otlp"))?;
        self.apply_policy()
    }

    /// Selects the pods with the label.
    fn apply_policy(&self) -> Result<()> {
        let made = self.policy("", &json!({"traced": "yes"}), "zipkin");
        self.api.create(POLICIES, &made).map(drop)
    }

    fn policy(&self, suffix: &str, tags: &Value, backend: &str) -> Value {
        let mesh = &self.name;
        json!({
            "apiVersion": "kuma.io/v1alpha1", "kind": "TrafficTrace", "mesh": mesh,
            "metadata": {"name": format!("{mesh}{suffix}")},
            "spec": {"selectors": [{"match": tags}], "conf": {"backend": backend}},
        })
    }

    fn delete_policy(&self) -> Result<()> {
        self.api.delete(&format!("{POLICIES}/{}", self.name))
    }
}

/// How long it takes at most until something is so: asking takes its time.
fn time_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let began = Instant::now();
    let mut last = Duration::ZERO;
    wait::until_true(what, Duration::from_secs(30), || {
        let is_so = is_so()?;
        last = began.elapsed();
        Ok(is_so)
    })?;
    Ok(last)
}
