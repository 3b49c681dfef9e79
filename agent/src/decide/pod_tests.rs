//! Pods under policies and without.

use std::net::{IpAddr, SocketAddr};

use super::tests::{at, began, known};
use super::*;
use crate::config::resources;
use crate::identify::{Directory, Known, Origin, Pod, PodUid, ServicePort};
use crate::ledger::NotSelected;
use crate::link::Backend;
use crate::policy::{Dataplane, Engine, Protocol, Resource, Resources, Selection};
use crate::sample::Percentage;
use crate::units::{MonoNanos, Side};
use std::sync::Arc;

mod plans;
mod untagged;

/// What Kuma would make of the pods of namespace `shop`.
const RESOURCES: &str = r"
type: Mesh
name: default
tracing:
  defaultBackend: main
  backends:
  - {name: main, type: zipkin, conf: {url: 'http://zipkin:9411/api/v2/spans'}}
  - {name: off, type: zipkin, conf: {url: 'http://off:9411/api/v2/spans', sharedSpanContext: false}}
---
{type: Mesh, name: other}
---
{type: TrafficTrace, mesh: default, name: shop, selectors: [{match: {kuma.io/service: '*', team: shop}}]}
---
{type: TrafficTrace, mesh: default, name: off, selectors: [{match: {kuma.io/service: '*', team: off}}], conf: {backend: off}}
---
type: Dataplane
mesh: default
name: web-1.shop
networking:
  address: 10.0.0.1
  inbound:
  - {port: 8080, tags: {kuma.io/service: web_shop_svc_80, kuma.io/protocol: http, team: shop}}
  - {port: 9090, tags: {kuma.io/service: web_shop_svc_90, kuma.io/protocol: tcp, team: shop}}
  - {port: 9091, tags: {kuma.io/service: web_shop_svc_91, team: shop}}
  - {port: 9092, tags: {kuma.io/service: web_shop_svc_92, kuma.io/protocol: kafka, team: shop}}
---
type: Dataplane
mesh: default
name: api-1.shop
networking:
  address: 10.0.1.2
  inbound: [{port: 80, tags: {kuma.io/service: api_shop_svc_80, kuma.io/protocol: http, team: shop}}]
---
type: Dataplane
mesh: default
name: off-1.shop
networking:
  address: 10.0.1.3
  inbound: [{port: 80, tags: {kuma.io/service: off_shop_svc_80, kuma.io/protocol: http, team: off}}]
---
type: Dataplane
mesh: default
name: nobody-1.shop
networking:
  address: 10.0.1.4
  inbound: [{port: 80, tags: {kuma.io/service: nobody_shop_svc_80, kuma.io/protocol: http}}]
---
type: Dataplane
mesh: default
name: net-1.shop
networking:
  address: 192.0.2.10
  inbound: [{port: 9100, tags: {kuma.io/service: net_shop_svc_9100, kuma.io/protocol: http, team: shop}}]
---
type: Dataplane
mesh: default
name: two-1.shop
networking:
  address: 10.0.1.8
  inbound:
  - {port: 80, tags: {kuma.io/service: a_shop_svc_80, kuma.io/protocol: http, team: shop}}
  - {port: 81, tags: {kuma.io/service: a_shop_svc_81, kuma.io/protocol: http, team: shop}}
  - {port: 82, tags: {kuma.io/service: a_shop_svc_82, kuma.io/protocol: tcp, team: shop}}
  - {port: 80, tags: {kuma.io/service: b_shop_svc_80, kuma.io/protocol: tcp, team: shop}}
  - {port: 82, tags: {kuma.io/service: b_shop_svc_82, kuma.io/protocol: http, team: shop}}
  - {port: 81, tags: {kuma.io/service: b_shop_svc_81, kuma.io/protocol: http2, team: shop}}
---
type: Dataplane
mesh: other
name: far-1.shop
networking:
  address: 10.0.1.6
  inbound: [{port: 80, tags: {kuma.io/service: far_shop_svc_80, kuma.io/protocol: http, team: shop}}]
";

/// Of each: the address, and whether it is the node's.
const PODS: [(&str, &str, bool); 8] = [
    ("web-1", "10.0.0.1", false),
    ("api-1", "10.0.1.2", false),
    ("off-1", "10.0.1.3", false),
    ("nobody-1", "10.0.1.4", false),
    ("net-1", "192.0.2.10", true),
    ("far-1", "10.0.1.6", false),
    ("ignored-1", "10.0.1.7", false),
    ("two-1", "10.0.1.8", false),
];
const NODE: &str = "192.0.2.10";
const STRANGER: &str = "198.51.100.1:4000";

const MAIN: Backend = Backend(7);
const OFF: Backend = Backend(8);

fn resources() -> Arc<Resources> {
    let parsed = resources::parse("resources", RESOURCES);
    assert!(!parsed.report.has_errors(), "{}", parsed.report);
    Arc::new(parsed.resources.into_iter().collect())
}

fn policies(resources: &Arc<Resources>) -> Policies {
    // Those of pods are in the directory alone.
    let meshes = resources.meshes().cloned().map(Resource::Mesh);
    let traces = resources.all_traffic_traces().cloned();
    let rules = meshes.chain(traces.map(Resource::TrafficTrace)).collect();
    let engine = Arc::new(Engine::new(Arc::new(rules)));
    Policies::new(engine, Default::default(), |backend| {
        let number = if &*backend.name == "main" { MAIN } else { OFF };
        Some(Route {
            backend: number,
            sampling: Sampling::Percentage(Percentage::new(backend.sampling)),
            shared_spans: number == MAIN,
            ..Route::default()
        })
    })
}

fn dataplane(resources: &Resources, pod: &str) -> Option<Arc<Dataplane>> {
    let name = format!("{pod}.shop");
    let mut all = resources.all_dataplanes();
    all.find(|dataplane| *dataplane.name == *name).cloned()
}

fn pods(resources: &Resources) -> Vec<Arc<Pod>> {
    let pod = |(name, ip, host_network): (&str, &str, bool)| {
        Arc::new(Pod {
            uid: PodUid(format!("uid-of-{name}").into()),
            name: name.into(),
            namespace: "shop".into(),
            node: Some("node".into()),
            own: true,
            ips: vec![ip.parse().unwrap()],
            host_network,
            containers: vec![(format!("id-of-{name}").into(), "app".into())],
            sole: None,
            dataplane: dataplane(resources, name),
        })
    };
    PODS.into_iter().map(pod).collect()
}

fn directory(pods: &[Arc<Pod>]) -> Directory {
    let mut directory = Directory::default();
    for pod in pods {
        directory.insert_pod(Arc::clone(pod));
    }
    directory.insert_node(NODE.parse().unwrap(), "node".into());
    for (at, service, mesh, protocol) in [
        ("10.96.0.1:80", "api_shop_svc_80", "default", Protocol::Http),
        ("10.96.0.2:80", "db_shop_svc_80", "default", Protocol::Tcp),
        ("10.96.0.3:80", "far_shop_svc_80", "other", Protocol::Http),
        (
            "10.96.0.4:80",
            "kafka_shop_svc_80",
            "default",
            Protocol::Kafka,
        ),
        (
            "10.96.0.5:80",
            "untagged_shop_svc_80",
            "default",
            Protocol::Tcp,
        ),
    ] {
        let port = ServicePort {
            service: service.into(),
            mesh: mesh.into(),
            protocol,
            says_protocol: at != "10.96.0.5:80",
        };
        directory.insert_service(at.parse().unwrap(), Arc::new(port));
    }
    // Endpoints that are no pods: outside of the cluster, on a node, and one that
    // a pod has by now.
    for (at, mesh, protocol, says_protocol) in [
        ("203.0.113.1:80", "default", Protocol::Http, true),
        ("203.0.113.1:81", "default", Protocol::Tcp, true),
        ("203.0.113.1:82", "other", Protocol::Http, true),
        ("203.0.113.1:83", "default", Protocol::Tcp, false),
        ("192.0.2.10:9101", "default", Protocol::Http, true),
        ("192.0.2.10:9100", "default", Protocol::Tcp, true),
        ("10.0.1.2:80", "default", Protocol::Tcp, true),
    ] {
        let port = ServicePort {
            service: "outside_shop_svc_80".into(),
            mesh: mesh.into(),
            protocol,
            says_protocol,
        };
        directory.set_endpoint(at.parse().unwrap(), Some(Arc::new(port)));
    }
    directory
}

/// The plan, and its pods as `identify` knows them.
struct Cluster {
    decider: Decider,
    pods: Vec<Known>,
}

impl Cluster {
    fn new(change: impl FnOnce(&mut Plan)) -> Self {
        let resources = resources();
        let pods = pods(&resources);
        let mut plan = Plan {
            destinations: Destinations::Policies(policies(&resources)),
            directory: Some(Arc::new(directory(&pods))),
            ..Plan::default()
        };
        change(&mut plan);
        let number = |(n, pod): (usize, &Arc<Pod>)| of_pod(n as u64, pod);
        Self {
            decider: Decider::new(Arc::new(plan)),
            pods: pods.iter().enumerate().map(number).collect(),
        }
    }

    fn pod(&self, name: &str) -> Known {
        let place = PODS.iter().position(|(of, ..)| *of == name).unwrap();
        self.pods[place].clone()
    }

    fn choose(
        &mut self,
        pod: &str,
        side: Side,
        local: &str,
        peer: &str,
    ) -> Result<(String, Backend, bool), (NotSelected, bool)> {
        let known = self.pod(pod);
        match self.decider.choose(&known, &began(side, local, peer), b"/") {
            Ok(chosen) => Ok((
                chosen.workload.service.to_string(),
                chosen.route.backend,
                chosen.peer_observed,
            )),
            Err(not) => Err((not.reason, not.forever)),
        }
    }
}

fn of_pod(key: u64, pod: &Arc<Pod>) -> Known {
    let origin = Origin::Pod {
        pod: Arc::clone(pod),
        id: format!("id-of-{}", pod.name).into(),
        container: Some("app".into()),
    };
    let mut known = known(key, origin);
    let mut workload = crate::identify::Workload::clone(&known.workload);
    workload.service = pod.service();
    known.workload = Arc::new(workload);
    known
}

fn ok(
    service: &str,
    backend: Backend,
    observed: bool,
) -> Result<(String, Backend, bool), (NotSelected, bool)> {
    Ok((service.to_owned(), backend, observed))
}

#[test]
fn what_a_pod_serves() {
    use NotSelected::{NoDataplane, NoInbound, NoPolicy, NotHttp};
    for (pod, local, peer, expected) in [
        (
            "web-1",
            "10.0.0.1:8080",
            STRANGER,
            ok("web_shop_svc_80", MAIN, false),
        ),
        // By the port alone: a probe over loopback is a request, too.
        (
            "web-1",
            "127.0.0.1:8080",
            STRANGER,
            ok("web_shop_svc_80", MAIN, false),
        ),
        // A container calls another of its pod.
        (
            "web-1",
            "127.0.0.1:8080",
            "127.0.0.1:4000",
            ok("web_shop_svc_80", MAIN, true),
        ),
        (
            "two-1",
            "[::1]:80",
            "[::1]:4000",
            ok("a_shop_svc_80", MAIN, false),
        ),
        ("web-1", "10.0.0.1:9090", STRANGER, Err((NotHttp, false))),
        ("web-1", "10.0.0.1:7777", STRANGER, Err((NoInbound, false))),
        // Callers: one of the same backend, of another, of none; of another
        // mesh; one that is ignored; a process of a node, or a pod on its
        // network.
        (
            "web-1",
            "10.0.0.1:8080",
            "10.0.1.2:4000",
            ok("web_shop_svc_80", MAIN, true),
        ),
        (
            "web-1",
            "10.0.0.1:8080",
            "10.0.1.3:4000",
            ok("web_shop_svc_80", MAIN, false),
        ),
        (
            "web-1",
            "10.0.0.1:8080",
            "10.0.1.4:4000",
            ok("web_shop_svc_80", MAIN, false),
        ),
        (
            "web-1",
            "10.0.0.1:8080",
            "10.0.1.6:4000",
            ok("web_shop_svc_80", MAIN, false),
        ),
        (
            "web-1",
            "10.0.0.1:8080",
            "10.0.1.7:4000",
            ok("web_shop_svc_80", MAIN, false),
        ),
        (
            "web-1",
            "10.0.0.1:8080",
            "192.0.2.10:4000",
            ok("web_shop_svc_80", MAIN, false),
        ),
        // Who calls the second Service that leads to the same port does not
        // report it; which one it was nobody knows here.
        (
            "two-1",
            "10.0.1.8:80",
            "10.0.0.1:4000",
            ok("a_shop_svc_80", MAIN, false),
        ),
        (
            "two-1",
            "10.0.1.8:81",
            "10.0.0.1:4000",
            ok("a_shop_svc_80", MAIN, true),
        ),
        // One of the Services says that it is HTTP.
        (
            "two-1",
            "10.0.1.8:82",
            "10.0.0.1:4000",
            ok("a_shop_svc_80", MAIN, false),
        ),
        // Its backend shares no ids: observed all the same.
        (
            "off-1",
            "10.0.1.3:80",
            "10.0.1.3:4000",
            ok("off_shop_svc_80", OFF, true),
        ),
        ("nobody-1", "10.0.1.4:80", STRANGER, Err((NoPolicy, true))),
        ("far-1", "10.0.1.6:80", STRANGER, Err((NoPolicy, true))),
        (
            "ignored-1",
            "10.0.1.7:80",
            STRANGER,
            Err((NoDataplane, true)),
        ),
        // On the network of its node.
        (
            "net-1",
            "192.0.2.10:9100",
            STRANGER,
            ok("net_shop_svc_9100", MAIN, false),
        ),
        (
            "net-1",
            "127.0.0.1:9100",
            "127.0.0.1:4000",
            ok("net_shop_svc_9100", MAIN, false),
        ),
        // Whatever address a pod has, it is not the pod of that address.
        ("nobody-1", "10.0.0.1:8080", STRANGER, Err((NoPolicy, true))),
        (
            "web-1",
            "192.0.2.10:9100",
            STRANGER,
            Err((NoInbound, false)),
        ),
    ] {
        let got = Cluster::new(|_| {}).choose(pod, Side::Server, local, peer);
        assert_eq!(got, expected, "{pod} at {local} from {peer}");
    }
}

#[test]
fn what_a_pod_calls() {
    use NotSelected::{NoDataplane, NoPolicy, NotHttp, UnknownDestination};
    let web = ok("web_shop_svc_80", MAIN, false);
    for (pod, peer, expected) in [
        // A Service by its cluster IP.
        ("web-1", "10.96.0.1:80", web.clone()),
        ("web-1", "10.96.0.1:81", Err((UnknownDestination, false))),
        ("web-1", "10.96.0.2:80", Err((NotHttp, false))),
        ("web-1", "10.96.0.5:80", Err((NotHttp, false))),
        ("web-1", "10.96.0.3:80", Err((UnknownDestination, false))),
        // A pod, and one on its node's network.
        ("web-1", "10.0.1.2:80", web.clone()),
        ("web-1", "10.0.1.8:82", web.clone()),
        ("web-1", "10.0.1.6:80", Err((UnknownDestination, false))),
        ("web-1", "192.0.2.10:9100", web.clone()),
        ("web-1", "198.51.100.1:80", Err((UnknownDestination, false))),
        // An endpoint that is no pod.
        ("web-1", "203.0.113.1:80", web.clone()),
        ("web-1", "[::ffff:203.0.113.1]:80", web.clone()),
        ("web-1", "203.0.113.1:81", Err((NotHttp, false))),
        ("web-1", "203.0.113.1:82", Err((UnknownDestination, false))),
        ("web-1", "203.0.113.1:83", Err((NotHttp, false))),
        ("web-1", "203.0.113.1:84", Err((UnknownDestination, false))),
        ("web-1", "192.0.2.10:9101", web.clone()),
        // Over loopback: another container of the pod, or of its node.
        ("web-1", "127.0.0.1:8080", web.clone()),
        ("web-1", "[::ffff:127.0.0.1]:8080", web.clone()),
        ("web-1", "127.0.0.1:9090", Err((NotHttp, false))),
        ("web-1", "127.0.0.1:80", Err((UnknownDestination, false))),
        ("nobody-1", "127.0.0.1:80", Err((NoPolicy, true))),
        // An address of IPv4 in one of IPv6.
        ("web-1", "[::ffff:10.96.0.1]:80", web),
        ("nobody-1", "10.96.0.1:80", Err((NoPolicy, true))),
        ("ignored-1", "10.96.0.1:80", Err((NoDataplane, true))),
    ] {
        let local = "10.0.0.1:40000";
        let got = Cluster::new(|_| {}).choose(pod, Side::Client, local, peer);
        assert_eq!(got, expected, "{pod} to {peer}");
    }
}

#[test]
fn a_pod_that_the_cluster_has_forgotten_is_what_it_was() {
    let mut cluster = Cluster::new(|plan| plan.directory = Some(Arc::default()));
    let resources = resources();
    // Its Dataplane is none of the plan's.
    let gone = pods(&resources).remove(0);
    cluster.pods[0] = of_pod(1, &gone);
    let got = cluster.choose("web-1", Side::Server, "10.0.0.1:8080", STRANGER);
    assert_eq!(got, ok("web_shop_svc_80", MAIN, false));
    // The cluster says of the pod with its address what it says of that one.
    let other = cluster.choose("nobody-1", Side::Server, "10.0.0.1:8080", STRANGER);
    assert_eq!(other, Err((NotSelected::NoPolicy, true)));
}

#[test]
fn the_other_end_has_the_name_that_the_cluster_gives_it() {
    let mut cluster = Cluster::new(|_| {});
    for (side, local, peer, name) in [
        (
            Side::Client,
            "10.0.0.1:4000",
            "10.96.0.1:80",
            Some("api_shop_svc_80"),
        ),
        (
            Side::Client,
            "10.0.0.1:4000",
            "10.0.1.2:80",
            Some("api_shop_svc_80"),
        ),
        (
            Side::Client,
            "10.0.0.1:4000",
            "192.0.2.10:9100",
            Some("outside_shop_svc_80"),
        ),
        (
            Side::Client,
            "10.0.0.1:4000",
            "203.0.113.1:80",
            Some("outside_shop_svc_80"),
        ),
        (
            Side::Server,
            "10.0.0.1:8080",
            "10.0.1.3:4000",
            Some("off_shop_svc_80"),
        ),
        (
            Side::Server,
            "10.0.0.1:8080",
            "10.0.1.7:4000",
            Some("ignored-1.shop"),
        ),
        (
            Side::Server,
            "10.0.0.1:8080",
            "192.0.2.10:4000",
            Some("node"),
        ),
        (Side::Server, "10.0.0.1:8080", STRANGER, None),
    ] {
        let web = cluster.pod("web-1");
        let chosen = cluster
            .decider
            .choose(&web, &began(side, local, peer), b"/");
        assert_eq!(chosen.unwrap().remote.as_deref(), name, "{peer}");
    }
}
