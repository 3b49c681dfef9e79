//! What is known of kinds, nodes and static pods.

use super::*;
use crate::kubernetes::objects;

#[test]
fn what_the_api_does_not_tell_is_not_what_is_not_there() {
    use Missing::{Absent, Forbidden};
    for (of_mesh, of_trace, withheld, has_resources) in [
        (Some(Absent), Some(Absent), false, false),
        (Some(Forbidden), Some(Absent), true, true),
        (Some(Absent), Some(Forbidden), true, true),
        (Some(Forbidden), Some(Forbidden), true, true),
        (None, Some(Forbidden), true, true),
        (Some(Forbidden), None, true, true),
        (None, None, false, true),
    ] {
        let mut cluster = Cluster::new(Options::default());
        list::<Pod>(&mut cluster, &[]);
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Namespace] {
            cluster.refuse(kind, Forbidden);
        }
        cluster.refuse(Kind::Node, Forbidden);
        match of_mesh {
            Some(why) => cluster.refuse(Kind::Mesh, why),
            None => list::<objects::Mesh>(&mut cluster, &[]),
        }
        match of_trace {
            Some(why) => cluster.refuse(Kind::TrafficTrace, why),
            None => list::<TrafficTrace>(&mut cluster, &[]),
        }
        let generation = cluster.generation();
        let got = (generation.withheld, generation.resources.is_some());
        assert_eq!(got, (withheld, has_resources), "{of_mesh:?} {of_trace:?}");
        // Once it is told, and whatever is forbidden then.
        list::<objects::Mesh>(&mut cluster, &[]);
        list::<TrafficTrace>(&mut cluster, &[]);
        assert!(!cluster.generation().withheld);
        cluster.refuse(Kind::TrafficTrace, Forbidden);
        assert!(!cluster.generation().withheld);
    }
}

#[test]
fn nothing_is_told_before_all_kinds_are_known() {
    let mut cluster = Cluster::new(Options::default());
    list::<Pod>(&mut cluster, &[pod("p", json!({"app": "p"}))]);
    list::<Namespace>(&mut cluster, &[]);
    list::<Node>(&mut cluster, &[]);
    list::<EndpointSlice>(&mut cluster, &[]);
    cluster.refuse(Kind::Mesh, Missing::Absent);
    assert!(!cluster.is_settled());
    assert!(cluster.generation().directory.pods().next().is_none());
    assert!(!cluster.generation().directory.synced);
    cluster.refuse(Kind::TrafficTrace, Missing::Absent);
    list::<Service>(&mut cluster, &[service("p", json!([{"port": 80}]))]);
    assert!(cluster.is_settled());
    let generation = cluster.generation();
    assert!(generation.directory.synced);
    // Neither of Kuma's kinds exists.
    assert!(generation.resources.is_none() && !generation.withheld);
    let pod = known(&mut cluster, "p").unwrap();
    let service = pod.dataplane.as_ref().unwrap().service().unwrap();
    assert_eq!(&**service, "p_demo_svc_80");
    // Without pods nothing is known, whatever else is.
    let mut cluster = Cluster::new(Options::default());
    for kind in Kind::ALL {
        cluster.refuse(kind, Missing::Forbidden);
    }
    assert!(!cluster.is_settled());
}

#[test]
fn a_static_pod_is_found_by_its_hash() {
    let annotations = json!({
        "kubernetes.io/config.mirror": "5e1f0e1a", "kubernetes.io/config.hash": "5e1f0e1a",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    });
    let mirror = with(pod("etcd", json!({})), "/metadata/annotations", annotations);
    let mut cluster = cluster(std::slice::from_ref(&mirror));
    let directory = cluster.generation().directory;
    assert!(directory.pod(&PodUid("5e1f0e1a".into())).is_some());
    assert_eq!(directory.pods().count(), 1);
    // Its mirror is another by the time of the next list.
    let other = with(mirror, "/metadata/uid", json!("uid-other"));
    cluster.apply(Event::<Pod>::Init);
    cluster.apply(Event::InitApply(read::<Pod>(other.clone())));
    cluster.generation();
    cluster.apply(Event::<Pod>::InitDone);
    let directory = cluster.generation().directory;
    assert!(directory.pod(&PodUid("5e1f0e1a".into())).is_some());
    assert!(directory.peer("10.0.0.1".parse().unwrap()).is_some());
    delete(&mut cluster, other);
    assert_eq!(cluster.generation().directory.pods().count(), 0);
    assert_eq!(cluster.generation().directory.sizes().1, 0);
}

/// Nodes that read their manifests from one URL.
#[test]
fn a_static_pod_of_another_node_is_another_though_its_hash_is_the_same() {
    let mirror = |node: &str, ip: &str| {
        let annotations = json!({
            "kubernetes.io/config.mirror": "5e1f0e1a", "kubernetes.io/config.hash": "5e1f0e1a",
        });
        let pod = with_ip(pod(&format!("proxy-{node}"), json!({})), ip);
        let pod = with(pod, "/spec/nodeName", json!(node));
        with(pod, "/metadata/annotations", annotations)
    };
    let (here, there) = (mirror("node-1", "10.0.0.1"), mirror("node-2", "10.0.0.2"));
    for values in [[here.clone(), there.clone()], [there.clone(), here.clone()]] {
        let mut cluster = cluster(&values);
        let directory = cluster.generation().directory;
        let found = directory.pod(&PodUid("5e1f0e1a".into())).unwrap();
        assert_eq!(&*found.name, "proxy-node-1");
        assert_eq!(directory.pods().count(), 2);
        assert_eq!(peer(&mut cluster, "10.0.0.1").unwrap(), "proxy-node-1");
        assert_eq!(peer(&mut cluster, "10.0.0.2").unwrap(), "proxy-node-2");
        delete(&mut cluster, there.clone());
        let directory = cluster.generation().directory;
        assert!(directory.pod(&PodUid("5e1f0e1a".into())).is_some());
        assert_eq!(directory.pods().count(), 1);
    }
}

#[test]
fn a_node_that_the_cluster_does_not_have_is_noticed() {
    let mut known = Cluster::new(Options {
        node: Some("node-1".into()),
        ..Options::default()
    });
    assert_eq!(known.unknown_node(), None);
    settle(&mut known);
    assert_eq!(known.unknown_node().as_deref(), Some("node-1"));
    apply(&mut known, node("node-2", &[]));
    assert_eq!(known.unknown_node().as_deref(), Some("node-1"));
    apply(&mut known, node("node-1", &[]));
    assert_eq!(known.unknown_node(), None);
    // Where nodes may not be read nobody knows.
    let mut blind = cluster(&[]);
    assert!(blind.unknown_node().is_some());
    blind.withdraw::<Node>();
    assert_eq!(blind.unknown_node(), None);
}
