use std::collections::BTreeSet;
use std::net::SocketAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::identify::{Peer, PodUid};
use crate::kubernetes::objects::{EndpointSlice, Namespace, Node, Pod, Service, TrafficTrace};
use crate::kubernetes::testing::*;
use crate::policy::Protocol;

mod bound;
mod endpoints;
mod known;

fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn with(mut value: Value, path: &str, new: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[key] = new;
    value
}

fn with_ip(pod: Value, ip: &str) -> Value {
    with(pod, "/status/podIPs", json!([{"ip": ip}]))
}

fn node(name: &str, ips: &[&str]) -> Value {
    let mut addresses = vec![json!({"type": "Hostname", "address": name})];
    addresses.extend(
        ips.iter()
            .map(|ip| json!({"type": "InternalIP", "address": ip})),
    );
    json!({
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": addresses, "images": [{"names": ["x"]}]},
    })
}

/// The name of who has an address.
fn peer(cluster: &mut Cluster, ip: &str) -> Option<String> {
    let directory = cluster.generation().directory;
    Some(match directory.peer(at(ip))? {
        Peer::Pod(pod) => pod.name.to_string(),
        Peer::Node(name) => name.to_string(),
    })
}

#[test]
fn containers_are_those_of_this_node() {
    let here = pod("here", json!({}));
    let there = with(pod("there", json!({})), "/spec/nodeName", json!("node-2"));
    let all = json!([
        {"name": "init", "containerID": "cri-o://1",
         "lastState": {"terminated": {"exitCode": 1, "containerID": "cri-o://0"}}},
        {"name": "waits", "lastState": null},
        // As the kubelet says it between two starts.
        {"name": "crashed", "containerID": "cri-o://2",
         "lastState": {"terminated": {"containerID": "cri-o://2"}}},
    ]);
    let here = with(here, "/status/initContainerStatuses", all);
    let mut cluster = cluster(&[here, there]);
    let here = known(&mut cluster, "here").unwrap();
    let names = |of: &[(Arc<str>, Arc<str>)]| {
        of.iter()
            .map(|(id, name)| format!("{id} {name}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&here.containers),
        ["here-id app", "1 init", "0 init", "2 crashed"]
    );
    assert!(known(&mut cluster, "there").unwrap().containers.is_empty());
    // One of this node is its own before the kubelet has told of a container.
    let early = with(
        pod("early", json!({})),
        "/status/containerStatuses",
        json!([]),
    );
    apply(&mut cluster, early);
    let directory = cluster.generation().directory;
    let own: BTreeSet<&str> = directory.own_pods().map(|pod| &*pod.name).collect();
    assert_eq!(own, BTreeSet::from(["early", "here"]));
}

/// The kubelet tells of a container's id a while after it has started it.
#[test]
fn the_only_container_of_a_pod_is_known_by_any_id() {
    let started_again = |pod| {
        known(&mut cluster(&[pod]), "p")
            .unwrap()
            .container("new")
            .cloned()
    };
    let alone = || pod("p", json!({}));
    assert_eq!(started_again(alone()).as_deref(), Some("app"));
    for (place, others) in [
        (
            "/spec/containers",
            json!([{"name": "app"}, {"name": "helper"}]),
        ),
        ("/spec/initContainers", json!([{"name": "init"}])),
        ("/spec/ephemeralContainers", json!([{"name": "debugger"}])),
        ("/spec/nodeName", json!("node-2")),
    ] {
        let pod = with(alone(), place, others);
        assert_eq!(started_again(pod), None, "{place}");
    }
}

#[test]
fn an_address_is_of_the_pod_that_has_it_now() {
    let old = pod("old", json!({}));
    let newer = json!("2026-02-01T00:00:00Z");
    let new = with(pod("new", json!({})), "/metadata/creationTimestamp", newer);
    // The new one is told of before the old one is over.
    let mut cluster = cluster(&[old.clone(), new.clone()]);
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "new");
    apply(
        &mut cluster,
        with(old.clone(), "/status/phase", json!("Succeeded")),
    );
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "new");
    delete(&mut cluster, old.clone());
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "new");
    assert!(cluster.contested.is_empty());
    delete(&mut cluster, new.clone());
    assert_eq!(peer(&mut cluster, "10.0.0.1"), None);
    // The other way round.
    apply(&mut cluster, new.clone());
    apply(&mut cluster, old);
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "new");
    delete(&mut cluster, new);
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "old");
}

#[test]
fn host_network_is_the_nodes() {
    let host = with(pod("host", json!({})), "/spec/hostNetwork", json!(true));
    let mut cluster = cluster(&[host, node("node-1", &["10.0.0.1", "fd00::1"])]);
    assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "node-1");
    assert_eq!(peer(&mut cluster, "fd00::1").unwrap(), "node-1");
    apply(&mut cluster, node("node-1", &["10.0.0.2"]));
    assert_eq!(peer(&mut cluster, "10.0.0.1"), None);
    assert_eq!(peer(&mut cluster, "10.0.0.2").unwrap(), "node-1");
    delete(&mut cluster, node("node-1", &[]));
    assert_eq!(peer(&mut cluster, "10.0.0.2"), None);
}

#[test]
fn services_are_found_by_address_and_port() {
    let ports = json!([
        {"port": 80, "appProtocol": "http"},
        {"port": 81},
        {"port": 53, "protocol": "UDP"},
    ]);
    let mut web = service("web", ports);
    web["spec"]["clusterIPs"] = json!(["10.96.0.1", "fd00::96"]);
    let mut cluster = cluster(&[web.clone()]);
    let find = |cluster: &mut Cluster, text: &str| {
        let at: SocketAddr = text.parse().unwrap();
        let directory = cluster.generation().directory;
        let port = directory.service(at)?;
        Some(format!("{} {} {}", port.service, port.mesh, port.protocol))
    };
    let http = "web_demo_svc_80 default http";
    assert_eq!(find(&mut cluster, "10.96.0.1:80").unwrap(), http);
    assert_eq!(find(&mut cluster, "[fd00::96]:80").unwrap(), http);
    let tcp = "web_demo_svc_81 default tcp";
    assert_eq!(find(&mut cluster, "10.96.0.1:81").unwrap(), tcp);
    assert_eq!(find(&mut cluster, "10.96.0.1:53"), None);
    apply(
        &mut cluster,
        namespace(json!({"kuma.io/mesh": "mine"}), json!({})),
    );
    let mine = "web_demo_svc_80 mine http";
    assert_eq!(find(&mut cluster, "10.96.0.1:80").unwrap(), mine);
    let annotations = json!({"81.service.kuma.io/protocol": "grpc"});
    apply(
        &mut cluster,
        with(web.clone(), "/metadata/annotations", annotations),
    );
    let grpc = "web_demo_svc_81 mine grpc";
    assert_eq!(find(&mut cluster, "10.96.0.1:81").unwrap(), grpc);
    // One that is made before the other is known to be gone.
    let mut heir = service("heir", json!([{"port": 80}]));
    heir["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    apply(&mut cluster, heir.clone());
    let new = "heir_demo_svc_80 mine tcp";
    assert_eq!(find(&mut cluster, "10.96.0.1:80").unwrap(), new);
    delete(&mut cluster, web);
    assert_eq!(find(&mut cluster, "10.96.0.1:80").unwrap(), new);
    assert_eq!(find(&mut cluster, "10.96.0.1:81"), None);
    delete(&mut cluster, heir);
    assert_eq!(find(&mut cluster, "10.96.0.1:80"), None);
    assert!(cluster.contested_services.is_empty());
}

#[test]
fn a_new_list_changes_nothing_until_it_is_complete() {
    let (a, b) = (
        pod("a", json!({})),
        with_ip(pod("b", json!({})), "10.0.0.2"),
    );
    let mut cluster = cluster(&[a.clone(), b]);
    let before = cluster.generation().directory;
    cluster.apply(Event::<Pod>::Init);
    assert!(Arc::ptr_eq(&before, &cluster.generation().directory));
    cluster.apply(Event::InitApply(read::<Pod>(a.clone())));
    assert!(Arc::ptr_eq(&before, &cluster.generation().directory));
    // The list fails half way and begins again.
    cluster.apply(Event::<Pod>::Init);
    cluster.apply(Event::InitApply(read::<Pod>(a)));
    cluster.apply(Event::<Pod>::InitDone);
    let after = cluster.generation().directory;
    assert_eq!(after.pods().count(), 1);
    assert_eq!(before.pods().count(), 2);
    assert!(after.synced);
    // Who has not changed is the same in memory.
    let uid = PodUid("uid-a".into());
    assert!(Arc::ptr_eq(
        before.pod(&uid).unwrap(),
        after.pod(&uid).unwrap()
    ));
}

#[test]
fn an_invalid_policy_is_refused_alone_and_its_last_valid_version_stays() {
    let invalid = |name, version: &str| {
        let policy = with(policy(name, "zipkin"), "/spec/selectors", json!([]));
        with(policy, "/metadata/resourceVersion", json!(version))
    };
    let mut cluster = cluster(&[mesh("default", "zipkin"), policy("a", "zipkin")]);
    apply(&mut cluster, invalid("a", "7"));
    apply(&mut cluster, invalid("b", "8"));
    let resources = cluster.generation().resources.unwrap();
    let names: Vec<_> = resources
        .all_traffic_traces()
        .map(|trace| &*trace.name)
        .collect();
    assert_eq!(names, ["a"]);
    let refusals: Vec<_> = cluster.refusals().collect();
    let shown: Vec<_> = refusals
        .iter()
        .map(|refusal| (refusal.name, refusal.version, refusal.has_valid))
        .collect();
    assert_eq!(shown, [("a", "7", true), ("b", "8", false)]);
    assert_eq!(refusals[0].kind, Kind::TrafficTrace);
    assert_eq!(
        refusals[0].reason,
        "spec.selectors: must have at least one element"
    );
    let notices = cluster.notices(&resources);
    assert_eq!(notices.len(), 2);
    assert!(notices.iter().all(|notice| notice.reason == "Invalid"));
    // Corrected, and deleted.
    apply(&mut cluster, policy("a", "other"));
    delete(&mut cluster, policy("b", "x"));
    assert_eq!(cluster.refusals().count(), 0);
    delete(&mut cluster, policy("a", "other"));
    let resources = cluster.generation().resources.unwrap();
    assert_eq!(resources.all_traffic_traces().count(), 0);
    // What is no object at all is no panic either.
    apply(
        &mut cluster,
        json!({"kind": "Mesh", "metadata": {"name": "odd"}, "spec": 7}),
    );
    assert_eq!(cluster.refusals().count(), 1);
}

#[test]
fn people_hear_what_leads_nowhere() {
    let other_mesh = with(policy("c", "zipkin"), "/mesh", json!("defautl"));
    let unnamed = with(policy("d", "zipkin"), "/spec/conf", json!({}));
    let mut cluster = cluster(&[
        mesh("default", "jaeger-collector"),
        policy("a", "jaeger-collector"),
        policy("b", "jager-collector"),
        other_mesh,
        unnamed,
    ]);
    let resources = cluster.generation().resources.unwrap();
    let heard: Vec<_> = cluster
        .notices(&resources)
        .into_iter()
        .map(|notice| format!("{} {}: {}", notice.name, notice.reason, notice.message))
        .collect();
    assert_eq!(
        heard,
        [
            "b UnknownBackend: Mesh \"default\" has no tracing backend \"jager-collector\": what \
             this selects is not traced; did you mean \"jaeger-collector\"?",
            "c UnknownMesh: there is no Mesh \"defautl\"; did you mean \"default\"?",
        ]
    );
    let mut bare = mesh("default", "jaeger-collector");
    bare["metadata"]["resourceVersion"] = json!("2");
    bare["spec"]["tracing"]["defaultBackend"] = json!(null);
    apply(&mut cluster, bare);
    let resources = cluster.generation().resources.unwrap();
    let heard: Vec<_> = cluster
        .notices(&resources)
        .into_iter()
        .map(|notice| format!("{} {}", notice.name, notice.reason))
        .collect();
    assert_eq!(heard, ["b UnknownBackend", "c UnknownMesh", "d NoBackend"]);
}

#[test]
fn a_thousand_pods_come_and_go_without_a_trace() {
    let mut cluster = cluster(&[service("web", json!([{"port": 80}]))]);
    cluster.generation();
    for n in 0..1000 {
        let name = format!("web-{n}");
        let pod = with_ip(pod(&name, json!({"app": "web", "n": name})), "10.0.0.9");
        apply(&mut cluster, pod.clone());
        assert_eq!(peer(&mut cluster, "10.0.0.9").unwrap(), name);
        delete(&mut cluster, pod);
    }
    let directory = cluster.generation().directory;
    assert_eq!(directory.sizes(), (0, 0, 1));
    assert_eq!(cluster.pods.len(), 0);
    cluster.intern.sweep();
    assert!(cluster.intern.len() < 20, "{}", cluster.intern.len());
}

/// The same in bytes.
#[test]
fn nothing_is_kept_of_pods_that_went() {
    let mut cluster = cluster(&[service("web", json!([{"port": 80}]))]);
    let mut some = |numbers: std::ops::Range<usize>| {
        for n in numbers {
            let name = format!("web-{n}");
            let pod = with_ip(pod(&name, json!({"app": "web", "n": name})), "10.0.0.9");
            apply(&mut cluster, pod.clone());
            cluster.generation();
            delete(&mut cluster, pod);
            cluster.generation();
        }
        cluster.intern.sweep();
    };
    some(0..500);
    let kept = allocation_counter::measure(|| some(500..1500));
    let of_each = kept.bytes_current / 1000;
    assert!(of_each < 64, "{of_each} bytes of each: {kept:?}");
}

/// Its requests may be under way, and who it was is remembered by the
/// generation that had it.
#[test]
fn a_pod_that_comes_and_goes_between_two_generations_is_in_one() {
    let mut cluster = cluster(&[service("web", json!([{"port": 80}]))]);
    cluster.generation();
    let short = with_ip(pod("short", json!({"app": "web"})), "10.0.0.9");
    let other = with(short.clone(), "/metadata/uid", json!("uid-other"));
    let other = with(other, "/spec/nodeName", json!("node-2"));
    for pod in [&short, &other] {
        apply(&mut cluster, pod.clone());
        delete(&mut cluster, pod.clone());
    }
    // The address is its heir's already.
    apply(&mut cluster, with_ip(pod("heir", json!({})), "10.0.0.9"));
    let directory = cluster.generation().directory;
    let left = directory.pod(&PodUid("uid-short".into())).unwrap();
    let service = left.dataplane.as_ref().unwrap().service().unwrap();
    assert_eq!(&**service, "web_demo_svc_80");
    assert!(left.ips.is_empty());
    assert!(directory.pod(&PodUid("uid-other".into())).is_none());
    assert_eq!(peer(&mut cluster, "10.0.0.9").unwrap(), "heir");
    let directory = cluster.generation().directory;
    assert_eq!(directory.pods().count(), 1);
    assert_eq!(cluster.pods.len(), 1);
    // One that is there after all stays.
    apply(&mut cluster, short.clone());
    delete(&mut cluster, short.clone());
    apply(&mut cluster, short);
    cluster.generation();
    assert_eq!(cluster.generation().directory.pods().count(), 2);
}

/// Objects among which many depend on each other.
fn object() -> impl Strategy<Value = Value> {
    let apps = || prop::sample::select(vec!["a", "b", "c"]);
    let ips = || prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let days = || prop::sample::select(vec!["01", "02"]);
    let pods = (apps(), apps(), ips(), days(), any::<(bool, bool)>()).prop_map(
        |(name, app, ip, day, (host, over))| {
            let mut pod = with_ip(pod(name, json!({"app": app})), ip);
            pod["metadata"]["creationTimestamp"] = json!(format!("2026-01-{day}T00:00:00Z"));
            pod["spec"]["hostNetwork"] = json!(host);
            let phase = if over { "Failed" } else { "Running" };
            pod["status"]["phase"] = json!(phase);
            pod
        },
    );
    let services = (apps(), apps(), any::<(bool, bool)>(), days()).prop_map(
        |(name, app, (bare, ignored), day)| {
            let mut service = service(name, json!([{"port": 80, "appProtocol": "http"}]));
            service["metadata"]["creationTimestamp"] = json!(format!("2026-01-{day}T00:00:00Z"));
            service["spec"]["selector"] = json!({"app": app});
            if bare {
                service["spec"]["selector"] = json!(null);
            }
            service["metadata"]["annotations"] = json!({"kuma.io/ignore": ignored.to_string()});
            service
        },
    );
    let slices = (apps(), apps(), apps()).prop_map(|(of, one, two)| slice(of, &[one, two]));
    let protocols = prop::sample::select(vec![json!(null), json!("http"), json!("tcp")]);
    let outside = (apps(), ips(), ips(), protocols).prop_map(|(of, one, two, protocol)| {
        outside(
            of,
            &[one, two],
            json!([{"port": 80, "appProtocol": protocol}]),
        )
    });
    let spaces = apps().prop_map(|mesh| namespace(json!({"kuma.io/mesh": mesh}), json!({})));
    let nodes = (apps(), ips()).prop_map(|(name, ip)| node(name, &[ip]));
    let policies = (apps(), apps()).prop_map(|(name, backend)| policy(name, backend));
    prop_oneof![4 => pods, 3 => services, 2 => slices, 3 => outside, 1 => spaces, 1 => nodes, 1 => policies]
}

fn key(value: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&value["kind"]), text(&value["metadata"]["name"]))
}

fn same(one: &mut Cluster, other: &mut Cluster) {
    // Who has just gone may be in one more.
    let _ = (one.generation(), other.generation());
    let (one, other) = (one.generation(), other.generation());
    assert_eq!(one.directory, other.directory);
    assert_eq!(one.resources, other.resources);
}

proptest! {
    /// Whatever came before, what is known is what follows from the objects
    /// that are there: nothing depends on the order, and what is derived step
    /// by step is what is derived from scratch.
    #[test]
    fn only_what_is_there_counts(
        steps in prop::collection::vec((object(), any::<bool>(), any::<bool>()), 1..40),
        seed in any::<u64>(),
    ) {
        let mut stepwise = cluster(&[]);
        let mut there = std::collections::BTreeMap::new();
        for (value, is_deleted, look) in steps {
            if is_deleted {
                there.remove(&key(&value));
                delete(&mut stepwise, value);
            } else {
                there.insert(key(&value), value.clone());
                apply(&mut stepwise, value);
            }
            if look {
                stepwise.generation();
            }
        }
        let mut values: Vec<Value> = there.into_values().collect();
        let mut once = cluster(&values);
        same(&mut stepwise, &mut once);
        // In another order.
        let len = values.len().max(1);
        let by = usize::try_from(seed % 97).unwrap() % len;
        values.rotate_left(by);
        if seed.is_multiple_of(2) {
            values.reverse();
        }
        let mut turned = cluster(&values);
        same(&mut stepwise, &mut turned);
        // As new lists, in place of all that was there.
        let mut relisted = stepwise;
        let of = |kind: &str| values.iter().filter(|v| v["kind"] == kind).cloned().collect::<Vec<_>>();
        apply(&mut relisted, with_ip(pod("gone", json!({})), "10.0.0.1"));
        apply(&mut relisted, service("gone", json!([{"port": 80}])));
        relisted.generation();
        list::<Service>(&mut relisted, &of("Service"));
        list::<Pod>(&mut relisted, &of("Pod"));
        list::<TrafficTrace>(&mut relisted, &of("TrafficTrace"));
        list::<Node>(&mut relisted, &of("Node"));
        list::<Namespace>(&mut relisted, &of("Namespace"));
        list::<EndpointSlice>(&mut relisted, &of("EndpointSlice"));
        same(&mut relisted, &mut turned);
    }
}

#[test]
fn services_keep_their_protocol() {
    let mut cluster = cluster(&[service("a", json!([{"port": 80, "appProtocol": "weird"}]))]);
    let directory = cluster.generation().directory;
    let port = directory.service("10.96.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(port.protocol, Protocol::Tcp);
}
