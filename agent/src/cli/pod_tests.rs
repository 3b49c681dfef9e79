//! Pods that come and go, through all stages: on a made-up host, with a
//! made-up cluster, up to an exporter that remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use agent_ebpf::Verdict;

use super::exits::Exits;
use super::owners::{Owners, Tell};
use super::pipeline::{Pipeline, Update, Wish};
use super::workloads::Workloads;
use crate::assemble::{Exchange, Output};
use crate::capture::live::LiveError;
use crate::config::resources;
use crate::decide::{Destinations, Plan, Policies, Route};
use crate::export::{Exporter, Span, testing};
use crate::identify::{Directory, Identifier, Options as IdentifyOptions, Pod, PodUid};
use crate::identify::{Identify as _, Naming, Workload};
use crate::ledger::{BackendLedger, Ledger};
use crate::link::{Backend, ClockOffset, IdentityKey, Timing};
use crate::policy::{Engine, Resource, Resources};
use crate::sample::SamplerConfig;
use crate::units::{MonoNanos, OwnerId, Side};

const SECOND: u64 = 1_000_000_000;

const RULES: &str = r"
{type: Mesh, name: default, tracing: {defaultBackend: main, backends: [
  {name: main, type: zipkin, conf: {url: 'http://zipkin:9411/api/v2/spans'}}]}}
---
{type: TrafficTrace, mesh: default, name: shop, selectors: [{match: {kuma.io/service: '*', team: shop}}]}
";

/// What came out: each exchange's number and whose it was.
type Spans = Arc<Mutex<Vec<(u64, Arc<Workload>)>>>;

struct Remember {
    spans: Spans,
    account: Arc<BackendLedger>,
}

impl Exporter for Remember {
    fn export(&mut self, span: &Span) {
        let serial = span.exchange.began.serial;
        let workload = Arc::clone(&span.workload);
        self.spans.lock().unwrap().push((serial, workload));
        self.account.pushed.add(1);
        self.account.sent.add(1);
    }

    fn tick(&mut self, _: Instant) {}

    fn flush(&mut self) {}
}

/// What the kernel was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<u64, Verdict>>>);

impl Tell for Told {
    fn set(&mut self, owner: OwnerId, verdict: Verdict) -> Result<(), LiveError> {
        self.0.lock().unwrap().insert(owner.0, verdict);
        Ok(())
    }

    fn forget(&mut self, owner: OwnerId) {
        self.0.lock().unwrap().remove(&owner.0);
    }
}

/// A node with an agent.
struct Node {
    root: tempfile::TempDir,
    pods: BTreeMap<usize, Arc<Pod>>,
    pipeline: Pipeline<Identifier>,
    owners: Arc<Mutex<Owners<Told>>>,
    told: Told,
    ledger: Arc<Ledger>,
    workloads: Arc<Workloads>,
    spans: Spans,
    now: u64,
    serial: u64,
}

fn uid(n: usize) -> String {
    format!("{n:08x}-2b7d-4d3a-9f60-5c1b2e7d8f90")
}

fn container(n: usize) -> String {
    format!("{n:064x}")
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cgroups = root.path().join("sys/fs/cgroup");
        fs::create_dir_all(&cgroups).unwrap();
        fs::write(cgroups.join("cgroup.procs"), "").unwrap();
        let ledger = Ledger::new();
        let spans = Spans::default();
        let exits = Exits::new(Some(Box::new(Remember {
            spans: Arc::clone(&spans),
            account: ledger.backend("test"),
        })));
        let identify = Identifier::new(IdentifyOptions {
            root: root.path().to_owned(),
            naming: Naming {
                node: Some("node-1".into()),
                ..Naming::default()
            },
            ..IdentifyOptions::default()
        });
        let (sampler, _) = SamplerConfig::Const(true).build(&ledger);
        let mut pipeline = Pipeline::new(
            IdentityKey::default(),
            Timing::default(),
            Arc::new(plan(&BTreeMap::new())),
            sampler,
            identify,
            exits,
            Arc::clone(&ledger),
            ClockOffset(0),
        );
        let told = Told::default();
        let owners = Arc::new(Mutex::new(Owners::new(told.clone())));
        let teller = Arc::clone(&owners);
        pipeline.on_ignored(Box::new(move |owner| teller.lock().unwrap().ignore(owner)));
        let workloads = Arc::new(Workloads::default());
        pipeline.note_in(Arc::clone(&workloads));
        Self {
            root,
            pods: BTreeMap::new(),
            pipeline,
            owners,
            told,
            ledger,
            workloads,
            spans,
            now: SECOND,
            serial: 0,
        }
    }

    fn cgroup(&self, n: usize) -> PathBuf {
        let (uid, id) = (uid(n), container(n));
        let path = format!("sys/fs/cgroup/kubepods/burstable/pod{uid}/{id}");
        self.root.path().join(path)
    }

    /// The kubelet starts a pod; the cluster has not told yet.
    fn start(&self, n: usize) -> OwnerId {
        fs::create_dir_all(self.cgroup(n)).unwrap();
        OwnerId(fs::metadata(self.cgroup(n)).unwrap().ino())
    }

    fn stop(&self, n: usize) {
        fs::remove_dir(self.cgroup(n)).unwrap();
        fs::remove_dir(self.cgroup(n).parent().unwrap()).unwrap();
    }

    /// The cluster knows of a pod; one with a team is traced.
    fn know(&mut self, n: usize, team: &str) {
        let text = format!(
            "{{type: Dataplane, mesh: default, name: web-{n}.shop, networking: {{address: 10.0.0.7, \
             inbound: [{{port: 8080, tags: {{kuma.io/service: web_{n}, kuma.io/protocol: http, team: {team}}}}}]}}}}"
        );
        let mut parsed = resources::parse("pod", &text);
        let Some(Resource::Dataplane(dataplane)) = parsed.resources.pop() else {
            panic!("{}", parsed.report);
        };
        let pod = Pod {
            uid: PodUid(uid(n).into()),
            name: format!("web-{n}").into(),
            namespace: "shop".into(),
            node: Some("node-1".into()),
            own: true,
            ips: vec![[10, 0, 0, 7].into()],
            host_network: false,
            containers: vec![(container(n).into(), "app".into())],
            sole: None,
            dataplane: Some(dataplane),
        };
        self.pods.insert(n, Arc::new(pod));
    }

    /// The cluster tells.
    fn tell(&mut self) {
        self.pipeline.update(Update {
            wish: Wish::default(),
            plan: Arc::new(plan(&self.pods)),
            naming: Naming {
                node: Some("node-1".into()),
                ..Naming::default()
            },
            key: IdentityKey::default(),
            sampler: None,
            printed: None,
            opened: Vec::new(),
            retired: Vec::new(),
            awaited: false,
        });
        let (owners, pipeline) = (&self.owners, &mut self.pipeline);
        let mut owners = owners.lock().unwrap();
        owners.ask_again(|owner| pipeline.ignores(owner));
    }

    /// What `run_stages` does for a batch.
    fn batch(&mut self, outputs: impl IntoIterator<Item = Output>) {
        let now = MonoNanos(self.now);
        self.pipeline.identify().look(now);
        for output in outputs {
            if let Output::Began(began) = &output {
                let mut owners = self.owners.lock().unwrap();
                if owners.is_new(began.owner) {
                    let identify = self.pipeline.identify();
                    let granularity = identify.granularity(began.owner, began.pid, now);
                    owners.meet(began.owner, granularity);
                }
            }
            self.pipeline.take(output);
        }
        self.pipeline.advance(now);
    }

    fn exchange(&mut self, owner: OwnerId, side: Side) -> Box<Exchange> {
        self.serial += 1;
        let mut exchange = testing::typical().exchange;
        let began = &mut exchange.began;
        (began.serial, began.owner, began.pid) = (self.serial, owner, 0);
        began.side = side;
        if let (Some(local), Some(peer)) = (&mut began.local, &mut began.peer) {
            (local.port, peer.port) = (8080, 40000);
        }
        began.wire = crate::units::WireId::default();
        began.start = MonoNanos(self.now);
        exchange.end = MonoNanos(self.now + 1000);
        exchange
    }

    /// A request to a pod, and its number. The kernel does not bring it if it
    /// was told to ignore the pod.
    fn request(&mut self, owner: OwnerId) -> Option<u64> {
        if self.verdict(owner) == Some(Verdict::Ignore) {
            return None;
        }
        let exchange = self.exchange(owner, Side::Server);
        let serial = exchange.began.serial;
        let began = Output::Began(Box::new(exchange.began));
        self.batch([began, Output::Finished(exchange)]);
        Some(serial)
    }

    fn verdict(&self, owner: OwnerId) -> Option<Verdict> {
        self.told.0.lock().unwrap().get(&owner.0).copied()
    }

    fn wait(&mut self, nanos: u64) {
        self.now += nanos;
        self.batch([]);
    }

    fn tidy(&mut self) {
        let identify = &*self.pipeline.identify();
        let mut owners = self.owners.lock().unwrap();
        owners.tidy(|owner| !identify.is_gone(owner));
    }

    /// The pod of each exchange that yielded a span.
    fn spans(&self) -> BTreeMap<u64, String> {
        let spans = self.spans.lock().unwrap();
        let named = spans.iter().map(|(serial, workload)| {
            let pod = workload.pod.as_ref().unwrap();
            let container = pod.container.as_deref().unwrap_or("?");
            let service = &workload.service;
            (
                *serial,
                format!("{service} {}/{}/{container}", pod.namespace, pod.name),
            )
        });
        named.collect()
    }

    fn finish(self) -> Arc<Ledger> {
        self.pipeline.finish();
        self.ledger.balance().unwrap();
        self.ledger
    }
}

fn plan(pods: &BTreeMap<usize, Arc<Pod>>) -> Plan {
    let parsed = resources::parse("rules", RULES);
    assert!(!parsed.report.has_errors(), "{}", parsed.report);
    let resources: Resources = parsed.resources.into_iter().collect();
    let mut directory = Directory::default();
    for pod in pods.values() {
        directory.insert_pod(Arc::clone(pod));
    }
    let engine = Arc::new(Engine::new(Arc::new(resources)));
    let policies = Policies::new(engine, Default::default(), |_| {
        Some(Route {
            backend: Backend(1),
            ..Route::default()
        })
    });
    Plan {
        destinations: Destinations::Policies(policies),
        directory: Some(Arc::new(directory)),
        ..Plan::default()
    }
}

#[test]
fn the_first_request_of_a_pod_waits_for_the_pod() {
    let mut node = Node::new();
    let owner = node.start(1);
    let first = node.request(owner).unwrap();
    node.wait(SECOND);
    let second = node.request(owner).unwrap();
    assert_eq!(node.verdict(owner), Some(Verdict::Watch));
    // Others are not held up.
    node.know(2, "shop");
    let other = node.start(2);
    node.tell();
    let third = node.request(other).unwrap();
    node.wait(SECOND);
    assert_eq!(node.spans().keys().copied().collect::<Vec<_>>(), [third]);
    // It is over by now.
    node.stop(1);
    node.know(1, "shop");
    node.tell();
    node.wait(SECOND);
    let web = "web_1 shop/web-1/app".to_owned();
    let expected = [
        (first, web.clone()),
        (second, web),
        (third, "web_2 shop/web-2/app".to_owned()),
    ];
    assert_eq!(node.spans(), expected.into());
    let order: Vec<_> = node.spans.lock().unwrap().iter().map(|(n, _)| *n).collect();
    assert_eq!(order, [third, first, second]);
    let ledger = node.finish().snapshot();
    assert_eq!(ledger.events["owner_awaited"], 2);
    assert_eq!(ledger.exchanges.observed, 3);
}

#[test]
fn who_is_not_known_in_time_is_counted() {
    let mut node = Node::new();
    let owner = node.start(1);
    node.request(owner).unwrap();
    // One that is still under way when its time is over.
    let open = node.exchange(owner, Side::Server);
    node.batch([Output::Began(Box::new(open.began))]);
    node.wait(4 * SECOND);
    assert_eq!(node.ledger.exchanges.dropped.total(), 0);
    node.wait(2 * SECOND);
    let dropped = |node: &Node| node.ledger.snapshot().exchanges.dropped.clone();
    assert_eq!(dropped(&node)["unknown_owner"], 1);
    node.batch([Output::Finished(open)]);
    assert_eq!(dropped(&node)["unknown_owner"], 2);
    // Too many of one owner: it is known all the same later.
    for _ in 0..300 {
        node.request(owner).unwrap();
    }
    assert_eq!(dropped(&node)["overload"], 300 - 256);
    node.know(1, "shop");
    node.tell();
    node.wait(SECOND);
    assert_eq!(node.spans().len(), 256);
    // What still waits at the end is counted, too.
    let other = node.start(2);
    node.request(other).unwrap();
    let ledger = node.finish().snapshot();
    assert_eq!(ledger.exchanges.dropped["unknown_owner"], 3);
    assert_eq!(ledger.exchanges.observed, 303);
}

#[test]
fn a_pod_that_nobody_selects_is_ignored_until_that_changes() {
    let mut node = Node::new();
    let (web, batch) = (node.start(1), node.start(2));
    node.know(1, "shop");
    node.know(2, "batch");
    node.tell();
    assert!(node.request(web).is_some() && node.request(batch).is_some());
    assert_eq!(node.verdict(web), Some(Verdict::Watch));
    assert_eq!(node.verdict(batch), Some(Verdict::Ignore));
    // Others come and go: nobody is asked about it again.
    for n in 3..10 {
        node.know(n, "shop");
        node.tell();
        assert_eq!(node.verdict(batch), Some(Verdict::Ignore));
        assert_eq!(node.request(batch), None);
    }
    node.know(2, "shop");
    node.tell();
    assert_eq!(node.verdict(batch), None);
    let traced = node.request(batch).unwrap();
    node.wait(SECOND);
    assert_eq!(node.spans()[&traced], "web_2 shop/web-2/app");
    node.know(1, "batch");
    node.tell();
    node.request(web).unwrap();
    assert_eq!(node.verdict(web), Some(Verdict::Ignore));
    let ledger = node.finish().snapshot();
    assert_eq!(ledger.exchanges.not_selected["no_policy"], 2);
}

#[test]
fn the_status_shows_pods_that_are_there() {
    let mut node = Node::new();
    let owners = [node.start(1), node.start(2)];
    node.know(1, "shop");
    node.know(2, "batch");
    node.tell();
    for owner in owners {
        node.request(owner).unwrap();
    }
    let shown = node.workloads.shown().unwrap();
    assert_eq!(shown["web_1"]["pods"][0], "shop/web-1/app");
    assert_eq!(shown["web_1"]["origin"], "pod shop/web-1/app");
    assert_eq!(shown["web_1"]["traced"], true);
    assert_eq!(shown["web_2"]["not_traced"][0], "no_policy");
    // Another pod comes: what is known stays known.
    node.know(3, "shop");
    node.tell();
    assert!(node.workloads.shown().is_none());
    // One is gone, of another something else is true.
    node.stop(1);
    node.pods.remove(&1);
    node.know(2, "shop");
    node.tell();
    assert_eq!(node.workloads.shown().unwrap(), serde_json::json!({}));
    node.request(owners[1]).unwrap();
    let shown = node.workloads.shown().unwrap();
    assert_eq!(shown["web_2"]["traced"], true);
    node.finish();
}

/// 1,000 pods, ten at a time, each with three requests: one before the cluster
/// tells, one after it, and one whose record is read when the pod is gone.
#[test]
fn a_thousand_pods_come_and_go() {
    const AT_ONCE: usize = 10;
    let mut node = Node::new();
    let mut expected = BTreeMap::new();
    let mut ignored = BTreeSet::new();
    for wave in 0..100 {
        let pods: Vec<usize> = (1..=AT_ONCE).map(|n| wave * AT_ONCE + n).collect();
        let owners: Vec<OwnerId> = pods.iter().map(|n| node.start(*n)).collect();
        let mut last = Vec::new();
        for (n, owner) in pods.iter().zip(&owners) {
            let serial = node.request(*owner).unwrap();
            if n % 3 != 0 {
                expected.insert(serial, format!("web_{n} shop/web-{n}/app"));
            }
        }
        for n in &pods {
            node.know(*n, if n % 3 == 0 { "batch" } else { "shop" });
        }
        node.tell();
        node.wait(SECOND);
        for (n, owner) in pods.iter().zip(&owners) {
            match node.request(*owner) {
                Some(serial) => {
                    expected.insert(serial, format!("web_{n} shop/web-{n}/app"));
                    last.push((n, *owner));
                }
                None => {
                    ignored.insert(*n);
                }
            }
        }
        for n in &pods {
            node.stop(*n);
            node.pods.remove(n);
        }
        // The cluster has forgotten them, and their records come still.
        node.tell();
        node.wait(SECOND);
        for (n, owner) in last {
            let serial = node.request(owner).unwrap();
            expected.insert(serial, format!("web_{n} shop/web-{n}/app"));
        }
        node.wait(20 * SECOND);
        node.tidy();
        // Of the last minute's, and some directories above.
        let [owners, known, cgroups] = node.pipeline.identify().sizes();
        let bound = 8 * AT_ONCE;
        assert!(owners <= bound && known <= bound, "{owners} {known}");
        assert!(cgroups <= 2 * bound, "{cgroups}");
        let told = node.told.0.lock().unwrap().len();
        assert!(told <= 2 * AT_ONCE, "{told}");
        assert!(node.workloads.len() <= 2 * AT_ONCE);
    }
    assert_eq!(ignored.len(), 333);
    assert_eq!(node.spans(), expected);
    let ledger = node.finish().snapshot();
    assert_eq!(ledger.exchanges.spans, 667 * 3);
    assert_eq!(ledger.exchanges.not_selected["no_policy"], 333);
    assert_eq!(ledger.events["owner_awaited"], 1000);
}

/// Nothing stays allocated of pods that have come, were asked and went, once
/// everything has the room that it needs for those that are remembered.
#[test]
fn nothing_is_kept_of_pods_that_went() {
    let mut node = Node::new();
    let mut some = |numbers: std::ops::Range<usize>| {
        for n in numbers {
            let owner = node.start(n);
            node.request(owner).unwrap();
            node.know(n, if n % 3 == 0 { "batch" } else { "shop" });
            node.tell();
            node.wait(SECOND);
            node.request(owner);
            node.stop(n);
            node.pods.remove(&n);
            node.tell();
            node.wait(3 * SECOND);
            // The file system gives its numbers away again, which the kernel
            // does not.
            node.tidy();
            // What the assembler and the exporter take.
            node.pipeline.done().clear();
            node.spans.lock().unwrap().clear();
        }
    };
    some(0..100);
    let kept = allocation_counter::measure(|| some(100..600));
    let of_each = kept.bytes_current / 500;
    assert!(of_each < 64, "{of_each} bytes of each: {kept:?}");
}
