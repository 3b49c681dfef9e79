//! The whole agent on a node of a cluster whose API runs elsewhere
//! (`suites node`, in a guest). Pods are processes in cgroups as a kubelet
//! makes them; what a kubelet says of them, the test says.

mod denied;
mod kinds;

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use denied::Denied;

use super::Cluster;
use super::relay::Relay;
use super::watches::{NAMESPACE, NODE, Scene};
use crate::agent::Agent;
use crate::children::{Running, command, run as run_command};
use crate::policy::node::replace;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::{Kind, Span};
use crate::targets::Places;
use crate::wait;

const AGENT: &str = include_str!("../../../deploy/kubernetes/agent.yaml");
const CRDS: &str = include_str!("../../../deploy/kubernetes/crds.yaml");
const CGROUPS: &str = "/sys/fs/cgroup";
const LIMIT: Duration = Duration::from_secs(60);
/// Times that something is measured.
const TRIES: usize = 3;

/// Runs all checks, with one agent.
///
/// # Errors
/// If the scene cannot be made.
pub fn run(report: &mut Report, nodespan: &Path, cluster: &Cluster, places: &Places) -> Result<()> {
    let out = &places.out;
    cluster.apply(out, "crds", CRDS, &[])?;
    cluster.apply(out, "agent", AGENT, &[])?;
    cluster.namespace(out, NAMESPACE)?;
    let scene = Scene { cluster, out };
    scene.apply(&json!({
        "apiVersion": "kuma.io/v1alpha1", "kind": "Mesh", "metadata": {"name": "default"},
        "spec": {"tracing": {"backends": [{
            "name": "nowhere", "type": "zipkin", "conf": {"url": "http://127.0.0.1:9/api/v2/spans"},
        }]}},
    }))?;
    scene.apply(&policy("nowhere"))?;
    scene.service("web", "web")?;
    let (relay, kubeconfig) = Relay::start(&scene.account()?, out, "node")?;
    let mut node = Node {
        web: Pod::start(&scene, places, "web-1", "web", 18_081, "10.60.0.1")?,
        other: Pod::start(&scene, places, "other-1", "other", 18_082, "10.60.0.2")?,
        agent: start(nodespan, NAME, &kubeconfig, ADMIN, out)?,
        relay,
        kubeconfig,
        denied: None,
        nodespan,
        scene,
        places,
        asked: 0,
    };
    report.check("node/tags", || node.tags());
    report.check("node/first-request", || node.first_request());
    report.check("node/assumed", || node.assumed());
    report.check("node/policy", || node.policy());
    report.check("node/kinds", || node.kinds());
    report.note("another agent, which may see less");
    report.check("node/denied", || node.denied());
    report.note("the API goes away");
    report.check("node/away", || node.away());
    report.check("node/expired", || node.expired());
    report.note("it is back");
    report.check("node/granted", || node.granted());
    report.check("node/revoked", || node.revoked());
    report.note("what the other one may see has changed twice");
    report.check("node/replaced", || node.replaced());
    report.check("node/ledger", || {
        for agent in [&mut node.agent]
            .into_iter()
            .chain(node.denied.as_mut().map(Denied::agent))
        {
            agent.stop()?;
            agent.balanced()?;
        }
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// What the first agent is called.
const NAME: &str = "node-agent";
/// Where it shows what it does.
const ADMIN: &str = "127.0.0.1:9903";

/// Starts an agent of this node.
fn start(nodespan: &Path, name: &str, kubeconfig: &Path, admin: &str, out: &Path) -> Result<Agent> {
    let config = out.join(format!("{name}.toml"));
    let text = configuration(kubeconfig, admin, false);
    fs::write(&config, text)?;
    let arguments = [Path::new("--kubernetes"), Path::new("--config"), &config];
    let mut agent = Agent::start(nodespan, name, arguments, out)?;
    // Its metrics can be read from then on.
    agent.wait_stderr("tracing")?;
    Ok(agent)
}

fn configuration(kubeconfig: &Path, admin: &str, assume: bool) -> String {
    format!(
        "[agent]\nnode = \"{NODE}\"\n[admin]\nlisten = \"{admin}\"\n\
         [kubernetes]\nkubeconfig = \"{}\"\nassumeHttp = {assume}\n",
        kubeconfig.display()
    )
}

struct Node<'a> {
    web: Pod,
    other: Pod,
    agent: Agent,
    /// Its way to the API.
    relay: Relay,
    kubeconfig: PathBuf,
    denied: Option<Denied>,
    nodespan: &'a Path,
    scene: Scene<'a>,
    places: &'a Places,
    asked: usize,
}

impl Node<'_> {
    /// Sends a request of its own to a pod; its path.
    fn ask(&mut self, server: SocketAddr) -> Result<String> {
        self.asked += 1;
        let path = format!("/small/node/{}", self.asked);
        let answer = Client::connect(server)?.exchange("GET", &path, "")?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(path)
    }

    /// The span of a request that must have one.
    fn traced(&mut self, server: SocketAddr) -> Result<Span> {
        let path = self.ask(server)?;
        let mut found = None;
        wait::until_true("its span", LIMIT, || {
            found = server_span(&self.agent, &path)?;
            Ok(found.is_some())
        })?;
        found.context("no span")
    }

    /// Asks until a request has a span, or has none; how long that took, and the
    /// request's path.
    fn until(&mut self, server: SocketAddr, is_traced: bool) -> Result<(Duration, String)> {
        // The kernel does not tell of a request of whom it ignores already. Who waits
        // for a span asks once more soon; who waits for none may not take a late one
        // for none.
        let patience = Duration::from_millis(if is_traced { 500 } else { 5000 });
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let asked = began.elapsed();
            let before = metric(NO_POLICY)?;
            let path = self.ask(server)?;
            if self.has_span(&path, before, patience)? == is_traced {
                return Ok((asked, path));
            }
        }
        bail!(
            "not within {LIMIT:?}: a request with a span: {is_traced}; {}",
            self.agent.said()
        )
    }

    /// Waits for a request's span. None comes if the request is counted as one that
    /// no policy selects, of which there were so many `before` it.
    fn has_span(&self, path: &str, before: u64, patience: Duration) -> Result<bool> {
        let began = Instant::now();
        loop {
            // In this order: what is decided later is looked at later.
            let is_counted = metric(NO_POLICY)? > before;
            if server_span(&self.agent, path)?.is_some() {
                return Ok(true);
            }
            if is_counted || began.elapsed() > patience {
                return Ok(false);
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn tags(&mut self) -> Result<Verdict> {
        let web = self.web.addr;
        self.until(web, true)?;
        let span = self.traced(web)?;
        ensure!(span.service == "web_watched_svc_80", "{span:?}");
        for (tag, value) in [
            ("k8s.pod.name", "web-1"),
            ("k8s.namespace.name", NAMESPACE),
            ("k8s.container.name", "app"),
            ("node_id", NODE),
        ] {
            ensure!(span.tag(tag) == value, "{tag}: {span:?}");
        }
        // Nobody says that the other one's is HTTP.
        let other = self.other.addr;
        let path = self.ask(other)?;
        self.traced(web)?;
        ensure!(
            server_span(&self.agent, &path)?.is_none(),
            "{path} has a span"
        );
        Ok(Verdict::Passed)
    }

    /// A pod whose process answers before the API has heard of its address.
    fn first_request(&mut self) -> Result<Verdict> {
        let pod = Pod::start(
            &self.scene,
            self.places,
            "web-2",
            "web",
            18_083,
            "10.60.0.3",
        )?;
        let span = self.traced(pod.addr)?;
        ensure!(span.tag("k8s.pod.name") == "web-2", "{span:?}");
        self.scene.delete("pod/web-2")?;
        Ok(Verdict::Passed)
    }

    /// With `assumeHttp` a pod is traced of whose protocol nobody says anything, as
    /// long as the switch is on, and what somebody calls tcp is not.
    fn assumed(&mut self) -> Result<Verdict> {
        let other = self.other.addr;
        self.assume(true)?;
        self.until(other, true)?;
        let span = self.traced(other)?;
        ensure!(span.service == "other-1_watched_svc", "{span:?}");
        ensure!(span.tag("k8s.pod.name") == "other-1", "{span:?}");
        self.scene.service_of("other", "other", "tcp")?;
        self.until(other, false)?;
        self.scene.delete("service/other")?;
        self.until(other, true)?;
        self.assume(false)?;
        self.until(other, false)?;
        Ok(Verdict::Passed)
    }

    /// Changes the switch of the first agent, which reads its file again.
    fn assume(&self, assume: bool) -> Result<()> {
        let config = self.places.out.join(format!("{NAME}.toml"));
        let text = configuration(&self.kubeconfig, ADMIN, assume);
        replace(&config, &text, &config.with_extension("new"))
    }

    /// A policy that goes, and comes, counts within a second: the fastest of some
    /// times, for others may have the processor.
    fn policy(&mut self) -> Result<Verdict> {
        let second = Duration::from_secs(1);
        let (mut gone, mut back) = (Duration::MAX, Duration::MAX);
        for _ in 0..TRIES {
            let (one, other) = self.change_policy()?;
            (gone, back) = (gone.min(one), back.min(other));
            if gone <= second && back <= second {
                return Ok(Verdict::Passed);
            }
        }
        bail!("of {TRIES} the fastest is gone after {gone:?}, back after {back:?}")
    }

    /// How long it takes until no request is traced, and until they are again.
    fn change_policy(&mut self) -> Result<(Duration, Duration)> {
        let web = self.web.addr;
        self.scene.cluster.run(&["delete", "traffictrace/node"])?;
        let (gone, untraced) = self.until(web, false)?;
        self.scene.apply(&policy("nowhere"))?;
        let (back, _) = self.until(web, true)?;
        // It had none, and not just a late one: that of a later request is there.
        let late = server_span(&self.agent, &untraced)?;
        ensure!(late.is_none(), "{untraced} has a span after all: {late:?}");
        Ok((gone, back))
    }

    /// While the API is away everything goes on as it was.
    fn away(&mut self) -> Result<Verdict> {
        self.relay.cut();
        let web = self.web.addr;
        wait::until_true("the status tells it", LIMIT, || {
            Ok(self.failing("pods", ADMIN)?.as_deref() == Some("away"))
        })?;
        let span = self.traced(web)?;
        ensure!(span.tag("k8s.pod.name") == "web-1", "{span:?}");
        Ok(Verdict::Passed)
    }

    /// It was away for longer than it remembers: what the agent has missed it learns
    /// from a new list, and all the time what stayed was known.
    fn expired(&mut self) -> Result<Verdict> {
        let before = expired()?;
        self.replace("web-4")?;
        self.scene.service("other", "other")?;
        // A server that has just started remembers nothing.
        self.scene.cluster.stop()?;
        self.scene.cluster.start(&[])?;
        ensure!(expired()? == before, "it is not away");
        self.relay.mend();
        wait::until_true("the status tells that it is back", LIMIT * 2, || {
            Ok(
                self.failing("pods", ADMIN)?.is_none()
                    && self.failing("services", ADMIN)?.is_none(),
            )
        })?;
        ensure!(expired()? > before, "no watch of pods has expired");
        for (addr, pod, service) in [
            (self.web.addr, "web-4", "web_watched_svc_80"),
            (self.other.addr, "other-1", "other_watched_svc_80"),
        ] {
            let span = self.traced(addr)?;
            let said = (span.tag("k8s.pod.name"), &*span.service);
            ensure!(said == (pod, service), "{span:?}");
        }
        self.scene.delete("service/other")?;
        Ok(Verdict::Passed)
    }

    /// Why an agent's watch of a kind does not work, if it does not.
    fn failing(&self, kind: &str, admin: &str) -> Result<Option<String>> {
        let shown = &self.status(admin)?["kubernetes"]["kinds"][kind];
        let why = shown["failing"]["why"].as_str();
        Ok(why.map(str::to_owned))
    }

    fn status(&self, admin: &str) -> Result<Value> {
        let mut asked = command([self.nodespan]);
        asked.args(["status", "--output", "json", "--agent", admin]);
        Ok(serde_json::from_str(&run_command(&mut asked, LIMIT)?)?)
    }

    /// A pod of another name at the same port and address.
    fn replaced(&mut self) -> Result<Verdict> {
        self.replace("web-3")?;
        let span = self.traced(self.web.addr)?;
        ensure!(span.tag("k8s.pod.name") == "web-3", "{span:?}");
        Ok(Verdict::Passed)
    }

    /// Takes the pod away, and makes this one in its place.
    fn replace(&mut self, name: &str) -> Result<()> {
        let web = &mut self.web;
        web.process.stop(Signal::TERM, Duration::from_secs(3))?;
        self.scene.delete(&format!("pod/{}", web.name))?;
        self.web = Pod::start(&self.scene, self.places, name, "web", 18_081, "10.60.0.1")?;
        Ok(())
    }
}

fn server_span(agent: &Agent, path: &str) -> Result<Option<Span>> {
    let spans = agent.spans()?.into_iter();
    let mut found = spans.filter(|span| span.kind == Kind::Server && span.path() == path);
    Ok(found.next())
}

/// How often the API would not go on where the first agent's watch of pods ended.
fn expired() -> Result<u64> {
    metric("nodespan_kubernetes_errors_total{kind=\"pods\",reason=\"expired\"} ")
}

/// Exchanges of pods that no policy selects.
const NO_POLICY: &str = "nodespan_exchanges_not_selected_total{reason=\"no_policy\"} ";

/// A metric of the first agent; 0 if there is none of it.
fn metric(name: &str) -> Result<u64> {
    let mut client = Client::connect(ADMIN.parse()?)?;
    client.keep_all();
    let answer = client.exchange("GET", "/metrics", "")?;
    let text = String::from_utf8(answer.body)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0), str::parse)?)
}

fn policy(backend: &str) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1", "kind": "TrafficTrace", "mesh": "default",
        "metadata": {"name": "node"},
        "spec": {
            "selectors": [{"match": {"kuma.io/service": "*"}}],
            "conf": {"backend": backend},
        },
    })
}

/// A Go server in the cgroup of a pod's container.
struct Pod {
    name: String,
    addr: SocketAddr,
    cgroup: PathBuf,
    process: Running,
}

impl Pod {
    fn start(
        scene: &Scene<'_>,
        places: &Places,
        name: &str,
        app: &str,
        port: u16,
        ip: &str,
    ) -> Result<Self> {
        let uid = scene.pod_at(name, app, ip, port)?;
        let dashed = uid.replace('-', "_");
        // The id that the API says is of this form in a real cluster, too.
        let cgroup = Path::new(CGROUPS).join(format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{dashed}.slice/\
             cri-containerd-{}.scope",
            container(name)
        ));
        fs::create_dir_all(&cgroup).with_context(|| format!("making {}", cgroup.display()))?;
        let mut start = command(["sh", "-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"]);
        start.arg(cgroup.join("cgroup.procs"));
        start
            .arg(places.programs.join("goserver"))
            .args(["serve", &port.to_string()]);
        start.arg(places.out.join(format!("pod-{name}.log")));
        let process = Running::start(&format!("pod-{name}"), &mut start, &places.out)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut pod = Self {
            name: name.to_owned(),
            addr,
            cgroup,
            process,
        };
        pod.process.wait_listening(addr)?;
        Ok(pod)
    }
}

/// The id of a pod's container, as a runtime would have it.
pub(super) fn container(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<64}")
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ended = self.process.stop(Signal::TERM, Duration::from_secs(3));
        let mut at = self.cgroup.clone();
        while at
            .parent()
            .is_some_and(|parent| parent != Path::new(CGROUPS))
        {
            match fs::remove_dir(&at) {
                Err(error) if error.kind() != ErrorKind::NotFound => break,
                _ => {}
            }
            at.pop();
        }
    }
}
