use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::tests::Host;
use super::*;
use crate::config::resources;
use crate::identify::{Pod, PodUid};
use crate::policy::{Dataplane, Resource};

const UID: &str = "8a4f9c1e-2b7d-4d3a-9f60-5c1b2e7d8f90";

fn uid(n: usize) -> String {
    format!("{n:08x}-2b7d-4d3a-9f60-5c1b2e7d8f90")
}

fn container_id(n: usize) -> String {
    format!("{n:064x}")
}

/// A pod `web-N` of namespace `shop` with these containers.
fn pod(uid: &str, name: &str, containers: &[(&str, &str)]) -> Pod {
    Pod {
        uid: PodUid(uid.into()),
        name: name.into(),
        namespace: "shop".into(),
        node: Some("node-1".into()),
        own: true,
        ips: vec![[10, 0, 0, 7].into()],
        host_network: false,
        containers: containers
            .iter()
            .map(|(id, name)| ((*id).into(), (*name).into()))
            .collect(),
        sole: None,
        dataplane: Some(dataplane("web_shop_svc_80")),
    }
}

fn dataplane(service: &str) -> Arc<Dataplane> {
    let text = format!(
        "{{type: Dataplane, mesh: default, name: web-1.shop, networking: {{address: 10.0.0.7, \
         inbound: [{{port: 8080, tags: {{kuma.io/service: {service}, kuma.io/protocol: http}}}}]}}}}"
    );
    let parsed = resources::parse("pod", &text);
    assert!(!parsed.report.has_errors(), "{}", parsed.report);
    match parsed.resources.into_iter().next() {
        Some(Resource::Dataplane(dataplane)) => dataplane,
        other => panic!("{other:?}"),
    }
}

fn directory(pods: impl IntoIterator<Item = Pod>) -> Arc<Directory> {
    let mut directory = Directory::default();
    for pod in pods {
        directory.insert_pod(Arc::new(pod));
    }
    Arc::new(directory)
}

fn at(seconds: u64) -> MonoNanos {
    MonoNanos(seconds * SECOND)
}

fn ask(identifier: &mut Identifier, owner: u64, pid: u32, seconds: u64) -> Option<Known> {
    let known = identifier.known(OwnerId(owner), pid, None, at(seconds));
    known.cloned()
}

fn path(n: usize, container: usize) -> String {
    let (uid, id) = (uid(n).replace('-', "_"), container_id(container));
    format!(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope"
    )
}

#[test]
fn a_pod_is_found_by_its_cgroup() {
    let host = Host::new();
    let first = host.cgroup(&path(1, 1));
    let second = host.cgroup(&path(1, 2));
    let unit = host.cgroup("/system.slice/kubelet.service");
    let (one, two) = (container_id(1), container_id(2));
    let mut identifier = host.identifier();
    identifier.learn(
        &directory([pod(&uid(1), "web-1", &[(&one, "app"), (&two, "proxy")])]),
        at(0),
    );
    let app = ask(&mut identifier, first, 0, 1).unwrap();
    assert_eq!(&*app.workload.service, "web_shop_svc_80");
    assert_eq!(app.workload.kind, WorkloadKind::Pod);
    assert_eq!(app.workload.address, Some([10, 0, 0, 7].into()));
    assert_eq!(&*app.workload.node, "node-1");
    let tags = app.workload.pod.clone().unwrap();
    assert_eq!(
        (&*tags.namespace, &*tags.name, tags.container.as_deref()),
        ("shop", "web-1", Some("app"))
    );
    assert_eq!((&*tags.uid, &*tags.container_id), (&*uid(1), &*one));
    // The other container is another workload of the same name.
    let proxy = ask(&mut identifier, second, 0, 1).unwrap();
    assert_ne!(proxy.key, app.key);
    assert_eq!(proxy.workload.service, app.workload.service);
    assert_eq!(proxy.workload.address, app.workload.address);
    // What is no pod is what it was.
    let kubelet = ask(&mut identifier, unit, 0, 1).unwrap();
    assert_eq!(kubelet.origin, Origin::Unit("kubelet.service".into()));
    assert_eq!(&*kubelet.workload.node, "box-1");
    assert_eq!(identifier.counters(), Counters::default());
}

#[test]
fn a_pod_is_awaited_where_there_is_a_cluster() {
    let host = Host::new();
    let id = host.cgroup(&path(1, 1));
    let mut identifier = host.identifier();
    // Nobody would ever tell.
    let plain = ask(&mut identifier, id, 0, 0).unwrap();
    assert!(matches!(plain.origin, Origin::Container { .. }));
    assert!(!identifier.awaits(OwnerId(id), 0));
    identifier.learn(&directory([]), at(1));
    assert_eq!(ask(&mut identifier, id, 0, 1), None);
    assert!(identifier.awaits(OwnerId(id), 0));
    assert!(identifier.recall(OwnerId(id)).is_none());
    let granularity = identifier.granularity(OwnerId(id), 0, at(1));
    assert_eq!(granularity, Granularity::PerCgroup);
    // It is over before the cluster tells.
    fs::remove_dir(host.path(&format!("sys/fs/cgroup{}", path(1, 1)))).unwrap();
    identifier.look(at(2));
    identifier.learn(&directory([pod(&uid(2), "other", &[])]), at(2));
    assert!(identifier.awaits(OwnerId(id), 0));
    identifier.learn(&directory([pod(&uid(1), "web-1", &[])]), at(3));
    assert!(!identifier.awaits(OwnerId(id), 0));
    let known = ask(&mut identifier, id, 0, 3).unwrap();
    assert_eq!(&*known.workload.pod.clone().unwrap().name, "web-1");
    assert_eq!(identifier.recall(OwnerId(id)), Some(&known));
}

#[test]
fn what_the_cluster_says_later_is_added() {
    let host = Host::new();
    let id = host.cgroup(&path(1, 1));
    let one = container_id(1);
    let early = Pod {
        ips: Vec::new(),
        ..pod(&uid(1), "web-1", &[])
    };
    let mut identifier = host.identifier();
    identifier.learn(&directory([early]), at(0));
    let local = Some([10, 0, 0, 7].into());
    let first = identifier
        .known(OwnerId(id), 0, local, at(0))
        .unwrap()
        .clone();
    assert_eq!(first.workload.address, local);
    assert_eq!(first.workload.pod.clone().unwrap().container, None);
    let late = pod(&uid(1), "web-1", &[(&one, "app")]);
    identifier.learn(&directory([late.clone()]), at(1));
    let second = ask(&mut identifier, id, 0, 1).unwrap();
    assert_eq!(second.workload.address, local);
    let container = second.workload.pod.clone().unwrap().container;
    assert_eq!(container.as_deref(), Some("app"));
    assert_eq!(first.key, second.key);
    // Nothing new: all its spans go on sharing one workload.
    identifier.learn(&directory([late.clone()]), at(2));
    let third = ask(&mut identifier, id, 0, 2).unwrap();
    assert!(Arc::ptr_eq(&second.workload, &third.workload));
    // Another Service selects it.
    let renamed = Pod {
        dataplane: Some(dataplane("api_shop_svc_80")),
        ..late.clone()
    };
    identifier.learn(&directory([renamed]), at(3));
    let fourth = ask(&mut identifier, id, 0, 3).unwrap();
    assert_eq!(&*fourth.workload.service, "api_shop_svc_80");
    // The container was started again, twice: this is another's by now.
    let restarted = Pod {
        containers: vec![(container_id(2).into(), "app".into())],
        ..late.clone()
    };
    identifier.learn(&directory([restarted]), at(3));
    let last = ask(&mut identifier, id, 0, 3).unwrap();
    let container = last.workload.pod.clone().unwrap().container;
    assert_eq!(container.as_deref(), Some("app"));
    // `kuma.io/ignore`.
    let ignored = Pod {
        dataplane: None,
        ..late
    };
    identifier.learn(&directory([ignored]), at(4));
    let fifth = ask(&mut identifier, id, 0, 4).unwrap();
    assert_eq!(&*fifth.workload.service, "web-1.shop");
}

#[test]
fn a_pod_that_is_gone_is_remembered_for_a_minute() {
    let host = Host::new();
    let (seen, unseen) = (host.cgroup(&path(1, 1)), host.cgroup(&path(1, 2)));
    let (one, two) = (container_id(1), container_id(2));
    let mut identifier = host.identifier();
    let web = pod(&uid(1), "web-1", &[(&one, "app"), (&two, "late")]);
    identifier.learn(&directory([web]), at(0));
    assert!(ask(&mut identifier, seen, 0, 0).is_some());
    for n in [1, 2] {
        fs::remove_dir(host.path(&format!("sys/fs/cgroup{}", path(1, n)))).unwrap();
    }
    identifier.look(at(1));
    identifier.learn(&directory([]), at(1));
    let name = |known: Option<Known>| {
        let tags = known.and_then(|known| known.workload.pod.clone());
        tags.map(|pod| pod.name.to_string())
    };
    for seconds in [2, 30, 60] {
        identifier.learn(&directory([]), at(seconds));
        assert!(!identifier.is_gone(OwnerId(7)) || identifier.is_gone(OwnerId(seen)));
        let known = ask(&mut identifier, seen, 0, seconds);
        assert_eq!(name(known).as_deref(), Some("web-1"), "{seconds}");
    }
    // One that was never asked about.
    let known = ask(&mut identifier, unseen, 0, 60);
    assert_eq!(name(known).as_deref(), Some("web-1"));
    for seconds in [120, 150, 180] {
        identifier.look(at(seconds));
        identifier.learn(&directory([]), at(seconds));
    }
    let known = ask(&mut identifier, seen, 0, 180).unwrap();
    assert_eq!(known.origin, Origin::Gone);
    assert_eq!(identifier.pods.as_ref().unwrap().sizes(), [0, 0]);
    assert_eq!(identifier.known.len(), 1);
}

/// The kubelet reports containers some time after they were started.
#[test]
fn a_pod_that_went_before_its_containers_were_told_of_is_remembered() {
    let host = Host::new();
    let id = host.cgroup(&path(1, 1));
    let mut identifier = host.identifier();
    identifier.learn(&directory([pod(&uid(1), "job-1", &[])]), at(0));
    identifier.learn(&directory([]), at(1));
    let known = ask(&mut identifier, id, 0, 2).unwrap();
    assert_eq!(&*known.workload.pod.as_ref().unwrap().name, "job-1");
    // Another node's is none that anybody here can ask for.
    let elsewhere = Pod {
        own: false,
        ..pod(&uid(2), "web-2", &[])
    };
    identifier.learn(&directory([elsewhere]), at(3));
    identifier.learn(&directory([]), at(4));
    assert_eq!(identifier.pods.as_ref().unwrap().sizes(), [1, 0]);
}

#[test]
fn a_pod_that_goes_on_without_the_cluster_keeps_its_name() {
    let host = Host::new();
    let id = host.cgroup(&path(1, 1));
    let one = container_id(1);
    let mut identifier = host.identifier();
    identifier.learn(&directory([pod(&uid(1), "web-1", &[(&one, "app")])]), at(0));
    assert!(ask(&mut identifier, id, 0, 0).is_some());
    for seconds in [100, 200, 300] {
        identifier.look(at(seconds));
        identifier.learn(&directory([]), at(seconds));
        let known = ask(&mut identifier, id, 0, seconds).unwrap();
        assert_eq!(&*known.workload.pod.clone().unwrap().name, "web-1");
    }
}

#[test]
fn with_version_1_a_pod_is_found_by_the_process() {
    let host = Host::new();
    fs::remove_file(host.path("sys/fs/cgroup/cgroup.procs")).unwrap();
    let one = container_id(1);
    let hybrid = format!(
        "0::/system.slice/containerd.service\n9:memory:/kubepods/burstable/pod{UID}/{one}\n1:name=systemd:/kubepods/burstable/pod{UID}/{one}\n"
    );
    host.process(20, "a", &["/a"], &hybrid);
    host.process(21, "b", &["/b"], "9:memory:/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0\n0::/\n");
    let mut identifier = host.identifier();
    identifier.learn(&directory([pod(UID, "web-1", &[(&one, "app")])]), at(0));
    let known = ask(&mut identifier, OWNER_PROCESS | 20, 20, 0).unwrap();
    let tags = known.workload.pod.clone().unwrap();
    assert_eq!(
        (&*tags.name, tags.container.as_deref()),
        ("web-1", Some("app"))
    );
    assert_eq!(ask(&mut identifier, OWNER_PROCESS | 21, 21, 0), None);
    assert!(identifier.awaits(OwnerId(OWNER_PROCESS | 21), 21));
    // It is remembered, also when neither the process nor the pod is there.
    host.kill(20);
    for seconds in [15, 35, 65] {
        identifier.look(at(seconds));
        identifier.learn(&directory([]), at(seconds));
        let known = ask(&mut identifier, OWNER_PROCESS | 20, 20, seconds).unwrap();
        assert_eq!(&*known.workload.pod.clone().unwrap().name, "web-1");
    }
}

#[test]
fn where_the_path_names_no_pod_the_container_does() {
    let host = Host::new();
    let one = container_id(1);
    let id = host.cgroup(&format!("/system.slice/cri-containerd-{one}.scope"));
    // Of the agent's own pod, seen from within its cgroup namespace.
    let two = container_id(2);
    host.process(
        9,
        "sidecar",
        &["/s"],
        &format!("0::/../cri-containerd-{two}.scope\n"),
    );
    let mut identifier = host.identifier();
    // Until the cluster has told, it is a container like any other.
    identifier.learn(&directory([]), at(0));
    let known = ask(&mut identifier, id, 0, 0).unwrap();
    assert_eq!(&*known.workload.service, &one[..12]);
    let own = pod(&uid(3), "nodespan-x", &[(&two, "sidecar")]);
    let web = pod(&uid(1), "web-1", &[(&one, "app")]);
    identifier.learn(&directory([own, web]), at(1));
    let known = ask(&mut identifier, id, 0, 1).unwrap();
    assert_eq!(&*known.workload.pod.clone().unwrap().name, "web-1");
    let known = ask(&mut identifier, 999_999_999, 9, 1).unwrap();
    assert_eq!(&*known.workload.pod.clone().unwrap().name, "nodespan-x");
}

#[test]
fn the_configured_service_names_pods_too() {
    let host = Host::new();
    let id = host.cgroup(&path(1, 1));
    let options = Options {
        naming: Naming {
            service: Some("shop".into()),
            node: None,
        },
        ..host.options()
    };
    let mut identifier = Identifier::new(options);
    identifier.learn(&directory([pod(&uid(1), "web-1", &[])]), at(0));
    let known = ask(&mut identifier, id, 0, 0).unwrap();
    assert_eq!(&*known.workload.service, "shop");
    assert_eq!(known.workload.kind, WorkloadKind::Configured);
    assert!(known.workload.pod.is_some());
    // Another name comes, and what the cluster says stays.
    identifier.rename(Naming {
        node: Some("renamed".into()),
        ..Naming::default()
    });
    let known = ask(&mut identifier, id, 0, 1).unwrap();
    assert_eq!(&*known.workload.service, "web_shop_svc_80");
    assert_eq!(known.workload.kind, WorkloadKind::Pod);
    assert_eq!(&*known.workload.node, "node-1");
    assert!(known.workload.pod.is_some());
}

/// What happens to a node.
#[derive(Clone, Debug)]
enum Step {
    /// A container of this pod starts, and gets an id that was never used.
    Start(usize),
    /// The oldest container of this pod stops.
    Stop(usize),
    /// The pod is deleted, with all its containers; another of the same name
    /// will have another UID.
    Replace(usize),
    /// The cluster says what is true now.
    Tell,
    /// Some container makes a request.
    Ask(usize),
    /// A record of a container that has stopped comes late.
    AskLate(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..4).prop_map(Step::Start),
        2 => (0_usize..4).prop_map(Step::Stop),
        1 => (0_usize..4).prop_map(Step::Replace),
        3 => Just(Step::Tell),
        8 => (0_usize..64).prop_map(Step::Ask),
        3 => (0_usize..64).prop_map(Step::AskLate),
        2 => (1_u64..20).prop_map(Step::Wait),
    ]
}

/// What is true of a container.
#[derive(Clone, Debug)]
struct Truth {
    pod: usize,
    container: usize,
    stopped: Option<u64>,
    /// The tree was looked at while it ran. One that comes and goes between
    /// two looks would not be told from who had its number before; but the
    /// kernel gives no number twice, only the file system of this test does.
    seen: bool,
}

/// The node as it is.
#[derive(Default)]
struct Model {
    /// UID of the pod in each place.
    pods: [usize; 4],
    next: usize,
    /// By cgroup id: whose it is, or was last.
    cgroups: BTreeMap<u64, Truth>,
    /// Pods and containers that the cluster has told of, and until when it
    /// must be remembered.
    told: BTreeMap<usize, u64>,
}

impl Model {
    fn fresh(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    fn running(&self, pod: usize) -> Vec<(u64, Truth)> {
        let all = self.cgroups.iter();
        all.filter(|(_, truth)| truth.pod == pod && truth.stopped.is_none())
            .map(|(id, truth)| (*id, truth.clone()))
            .collect()
    }

    fn stop(&mut self, host: &Host, id: u64, now: u64) {
        let truth = self.cgroups.get_mut(&id).unwrap();
        truth.stopped = Some(now);
        let path = path(truth.pod, truth.container);
        fs::remove_dir(host.path(&format!("sys/fs/cgroup{path}"))).unwrap();
    }

    fn directory(&mut self, now: u64) -> Arc<Directory> {
        let pods: Vec<Pod> = self
            .pods
            .iter()
            .filter(|pod| **pod != 0)
            .map(|n| {
                let ids: Vec<_> = self
                    .cgroups
                    .values()
                    .filter(|truth| truth.pod == *n)
                    .collect();
                let ids: Vec<String> = ids.iter().map(|t| container_id(t.container)).collect();
                let named: Vec<(&str, &str)> = ids.iter().map(|id| (&**id, "app")).collect();
                pod(&uid(*n), &format!("web-{n}"), &named)
            })
            .collect();
        for (n, until) in &mut self.told {
            if *until == u64::MAX && !self.pods.contains(n) {
                *until = now + 59;
            }
        }
        for pod in self.pods.iter().filter(|pod| **pod != 0) {
            if self.cgroups.values().any(|truth| truth.pod == *pod) {
                self.told.insert(*pod, u64::MAX);
            }
        }
        directory(pods)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever comes, goes, and gets the number of another: nobody has the
    /// name of another, and whom the cluster has told of has its own.
    #[test]
    fn nobody_gets_the_name_of_another(steps in prop::collection::vec(step(), 1..80)) {
        let host = Host::new();
        let mut identifier = host.identifier();
        identifier.learn(&directory([]), at(0));
        let mut model = Model::default();
        let mut now = 1;
        for step in steps {
            match step {
                Step::Start(place) => {
                    if model.pods[place] == 0 {
                        model.pods[place] = model.fresh();
                    }
                    let (pod, container) = (model.pods[place], model.fresh());
                    let id = host.cgroup(&path(pod, container));
                    model.cgroups.insert(id, Truth { pod, container, stopped: None, seen: false });
                }
                Step::Stop(place) => {
                    if let Some((id, _)) = model.running(model.pods[place]).first() {
                        model.stop(&host, *id, now);
                    }
                }
                Step::Replace(place) => {
                    for (id, _) in model.running(model.pods[place]) {
                        model.stop(&host, id, now);
                    }
                    model.pods[place] = 0;
                }
                Step::Tell => {
                    let directory = model.directory(now);
                    identifier.learn(&directory, at(now));
                }
                Step::Ask(n) | Step::AskLate(n) => {
                    let late = matches!(step, Step::AskLate(_));
                    identifier.look(at(now));
                    for truth in model.cgroups.values_mut() {
                        truth.seen |= truth.stopped.is_none();
                    }
                    let of: Vec<_> = model
                        .cgroups
                        .iter()
                        .filter(|(_, truth)| match truth.stopped {
                            None => !late,
                            // As the linker's records, it is not very late.
                            Some(at) => late && truth.seen && now < at + 30,
                        })
                        .collect();
                    if of.is_empty() {
                        continue;
                    }
                    let (id, truth) = of[n % of.len()];
                    let known = ask(&mut identifier, *id, 0, now);
                    let Some(known) = known else {
                        prop_assert!(identifier.awaits(OwnerId(*id), 0));
                        let until = model.told.get(&truth.pod).copied();
                        prop_assert!(until.is_none_or(|until| until < now), "{truth:?}");
                        continue;
                    };
                    match &known.origin {
                        Origin::Pod { pod, id, .. } => {
                            prop_assert_eq!(&*pod.uid.0, &*uid(truth.pod));
                            prop_assert_eq!(&**id, &*container_id(truth.container));
                            let tags = known.workload.pod.as_ref().unwrap();
                            prop_assert_eq!(&*tags.name, &*format!("web-{}", truth.pod));
                        }
                        // Its number is that of a pod's own cgroup by now.
                        Origin::Gone => prop_assert!(late),
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                Step::Wait(seconds) => now += seconds,
            }
        }
        identifier.look(at(now + 1000));
        identifier.learn(&directory([]), at(now + 1000));
        identifier.look(at(now + 2000));
        identifier.learn(&directory([]), at(now + 2000));
        // The number of a container may be a pod's by now.
        let there = count(&host.path("sys/fs/cgroup"));
        prop_assert!(identifier.owners.len() <= there, "{:?}", identifier.owners);
        prop_assert!(identifier.known.len() <= there);
        let [ended, awaited] = identifier.pods.as_ref().unwrap().sizes();
        prop_assert!(ended == 0 && awaited <= there);
    }
}

/// Directories in this one, and it.
fn count(path: &Path) -> usize {
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    1 + entries
        .filter(|path| path.is_dir())
        .map(|path| count(&path))
        .sum::<usize>()
}
