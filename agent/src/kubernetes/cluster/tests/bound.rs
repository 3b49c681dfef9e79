//! How much is kept, and of what.

use super::*;

/// Of which so many objects of a kind are kept.
fn bounded(most: usize) -> Cluster {
    let mut cluster = Cluster::new(Options {
        node: Some("node-1".into()),
        most,
        ..Options::default()
    });
    settle(&mut cluster);
    cluster
}

/// A pod of another node.
fn far(name: &str) -> Value {
    with(pod(name, json!({})), "/spec/nodeName", json!("node-2"))
}

fn in_namespace(value: Value, namespace: &str) -> Value {
    with(value, "/metadata/namespace", json!(namespace))
}

/// How many are kept, and how many are not.
fn counts(cluster: &Cluster, kind: Kind) -> (usize, usize) {
    (cluster.count(kind), cluster.left_out(kind))
}

#[test]
fn of_every_kind_so_many_are_kept() {
    let mut cluster = bounded(3);
    for n in 0..10 {
        let name = format!("x{n}");
        apply(&mut cluster, far(&name));
        apply(&mut cluster, service(&name, json!([{"port": 80}])));
        apply(&mut cluster, slice(&name, &[]));
        let space = namespace(json!({}), json!({}));
        apply(&mut cluster, with(space, "/metadata/name", json!(name)));
        apply(&mut cluster, node(&name, &[]));
        apply(&mut cluster, mesh(&name, "zipkin"));
        apply(&mut cluster, policy(&name, "zipkin"));
    }
    for kind in Kind::ALL {
        assert_eq!(counts(&cluster, kind), (3, 3), "{kind:?}");
    }
    // What is told again is not counted again, and what is known may change.
    apply(&mut cluster, far("x3"));
    let changed = with_ip(far("x0"), "10.0.0.7");
    apply(&mut cluster, changed);
    assert_eq!(counts(&cluster, Kind::Pod), (3, 3));
    assert_eq!(peer(&mut cluster, "10.0.0.7").unwrap(), "x0");
    // What is not known is not known at all.
    let directory = cluster.generation().directory;
    assert!(directory.pod(&PodUid("uid-x3".into())).is_none());
}

#[test]
fn pods_of_this_node_are_kept_nevertheless() {
    let mut cluster = bounded(3);
    for name in ["a", "b", "c", "d"] {
        apply(&mut cluster, far(name));
    }
    assert_eq!(counts(&cluster, Kind::Pod), (3, 1));
    for name in ["e", "f"] {
        apply(&mut cluster, pod(name, json!({})));
    }
    assert_eq!(counts(&cluster, Kind::Pod), (5, 1));
    // One that is scheduled only now.
    apply(&mut cluster, pod("d", json!({})));
    assert_eq!(counts(&cluster, Kind::Pod), (6, 0));
    // But nobody can fill this node's memory either.
    apply(&mut cluster, pod("g", json!({})));
    assert_eq!(counts(&cluster, Kind::Pod), (6, 1));
    // The node itself.
    for name in ["node-2", "node-3", "node-4", "node-5", "node-1"] {
        apply(&mut cluster, node(name, &[]));
    }
    assert_eq!(counts(&cluster, Kind::Node), (4, 1));
    assert_eq!(cluster.unknown_node(), None);
}

#[test]
fn so_is_what_they_need() {
    let mut cluster = bounded(2);
    let http = || service("web", json!([{"port": 80, "appProtocol": "http"}]));
    for (n, other) in ["x", "y", "z"].into_iter().enumerate() {
        apply(&mut cluster, in_namespace(service(other, json!([])), other));
        apply(&mut cluster, in_namespace(slice(other, &[]), other));
        let space = namespace(json!({}), json!({}));
        apply(&mut cluster, with(space, "/metadata/name", json!(other)));
        let left = n.saturating_sub(1);
        assert_eq!(counts(&cluster, Kind::Service), (n + 1 - left, left));
    }
    // Before anybody knows that it has a pod of this node.
    let space = namespace(json!({"kuma.io/mesh": "mine"}), json!({}));
    apply(&mut cluster, http());
    apply(&mut cluster, space.clone());
    for kind in [Kind::Service, Kind::EndpointSlice, Kind::Namespace] {
        assert!(!cluster.should_list(kind, true), "{kind:?}");
    }
    apply(&mut cluster, pod("p", json!({"app": "web"})));
    let tags = |cluster: &mut Cluster| {
        let pod = known(cluster, "p").unwrap();
        let dataplane = pod.dataplane.clone().unwrap();
        format!("{} {}", dataplane.mesh, dataplane.service().unwrap())
    };
    assert_eq!(tags(&mut cluster), "default p_demo_svc");
    // It is worth a list, which has them.
    assert!(cluster.should_list(Kind::Service, false));
    assert!(cluster.should_list(Kind::Namespace, false));
    assert!(!cluster.should_list(Kind::EndpointSlice, false));
    let others = |make: fn(&str) -> Value| ["x", "y", "z"].map(make).to_vec();
    let mut services = others(|name| in_namespace(service(name, json!([])), name));
    services.push(http());
    list::<Service>(&mut cluster, &services);
    let mut spaces = others(|name| {
        with(
            namespace(json!({}), json!({})),
            "/metadata/name",
            json!(name),
        )
    });
    spaces.push(space);
    list::<Namespace>(&mut cluster, &spaces);
    assert_eq!(tags(&mut cluster), "mine web_demo_svc_80");
    assert_eq!(counts(&cluster, Kind::Service), (3, 1));
    assert_eq!(counts(&cluster, Kind::Namespace), (3, 1));
    assert!(!cluster.should_list(Kind::Service, true));
    assert!(!cluster.should_list(Kind::Namespace, true));
    // A slice comes when the pod is there.
    apply(&mut cluster, slice("web", &["p"]));
    assert_eq!(counts(&cluster, Kind::EndpointSlice), (3, 1));
    // What comes beyond even that is not listed for ever.
    for name in ["q", "r", "s"] {
        apply(&mut cluster, service(name, json!([])));
    }
    assert_eq!(counts(&cluster, Kind::Service), (4, 2));
    list::<Service>(&mut cluster, &services);
    assert!(!cluster.should_list(Kind::Service, false));
    // Nor once the pod is gone.
    delete(&mut cluster, pod("p", json!({"app": "web"})));
    cluster.generation();
    apply(&mut cluster, service("t", json!([])));
    assert!(!cluster.should_list(Kind::Service, false));
}

#[test]
fn what_is_deleted_makes_room_that_a_list_fills() {
    let all = ["a", "b", "c", "d", "e"].map(far);
    let mut cluster = bounded(3);
    list::<Pod>(&mut cluster, &all);
    assert_eq!(counts(&cluster, Kind::Pod), (3, 2));
    assert!(!cluster.should_list(Kind::Pod, true));
    // One that was not kept.
    delete(&mut cluster, far("e"));
    assert_eq!(counts(&cluster, Kind::Pod), (3, 1));
    delete(&mut cluster, far("a"));
    assert_eq!(counts(&cluster, Kind::Pod), (2, 1));
    // Not all the time.
    assert!(cluster.should_list(Kind::Pod, true) && !cluster.should_list(Kind::Pod, false));
    list::<Pod>(&mut cluster, &all[1..4]);
    assert_eq!(counts(&cluster, Kind::Pod), (3, 0));
    assert!(!cluster.should_list(Kind::Pod, true));
    let directory = cluster.generation().directory;
    assert!(directory.pod(&PodUid("uid-d".into())).is_some());
    // What a list does not have any more is not left out either.
    apply(&mut cluster, far("f"));
    assert_eq!(counts(&cluster, Kind::Pod), (3, 1));
    list::<Pod>(&mut cluster, &all[1..4]);
    assert_eq!(counts(&cluster, Kind::Pod), (3, 0));
    // One that changes while there is room is taken in at once.
    apply(&mut cluster, far("f"));
    delete(&mut cluster, far("b"));
    apply(&mut cluster, far("f"));
    assert_eq!(counts(&cluster, Kind::Pod), (3, 0));
}

/// While a list comes, what is known and about to go takes room.
#[test]
fn what_a_list_replaces_makes_room_for_another_at_once() {
    let mut cluster = bounded(3);
    let fars = |names: &[&str]| names.iter().map(|name| far(name)).collect::<Vec<_>>();
    list::<Pod>(&mut cluster, &fars(&["a", "b", "c"]));
    assert!(!cluster.should_list_at_once(Kind::Pod));
    list::<Pod>(&mut cluster, &fars(&["d", "e"]));
    assert_eq!(counts(&cluster, Kind::Pod), (0, 2));
    assert!(cluster.should_list_at_once(Kind::Pod));
    list::<Pod>(&mut cluster, &fars(&["d", "e"]));
    assert_eq!(counts(&cluster, Kind::Pod), (2, 0));
    assert!(!cluster.should_list_at_once(Kind::Pod));
    // Once: where there are others again meanwhile, the next one can wait.
    for (others, is_first) in [(&["x"][..], true), (&["x", "y", "z"], false)] {
        for other in others {
            apply(&mut cluster, far(other));
        }
        list::<Pod>(&mut cluster, &fars(&["f", "g", "h"]));
        assert_eq!(counts(&cluster, Kind::Pod), (0, 3));
        assert_eq!(cluster.should_list_at_once(Kind::Pod), is_first);
        assert!(cluster.should_list(Kind::Pod, true));
    }
    // Nor is it for what has no room anyway.
    let mut cluster = bounded(3);
    list::<Pod>(&mut cluster, &fars(&["a", "b", "c", "d"]));
    assert!(!cluster.should_list_at_once(Kind::Pod));
}

/// It is worth a list if a tenth is free, or room for all.
#[test]
fn a_little_room_is_not_worth_a_list() {
    let mut cluster = bounded(40);
    let all: Vec<_> = (0..80).map(|n| far(&format!("x{n}"))).collect();
    list::<Pod>(&mut cluster, &all);
    assert_eq!(counts(&cluster, Kind::Pod), (40, 40));
    for (n, pod) in all.iter().enumerate().take(4) {
        assert!(!cluster.should_list(Kind::Pod, true), "{n}");
        delete(&mut cluster, pod.clone());
    }
    assert!(cluster.should_list(Kind::Pod, true));
}

#[test]
fn addresses_of_slices_are_bounded_too() {
    let mut cluster = bounded(4);
    apply(&mut cluster, service("web", json!([{"port": 80}])));
    let ends = |name: &str, ips: &[&str]| {
        let slice = outside("web", ips, json!([{"port": 80}]));
        with(slice, "/metadata/name", json!(name))
    };
    let is_known = |cluster: &mut Cluster, ip: &str| {
        let at = SocketAddr::new(at(ip), 80);
        cluster.generation().directory.endpoint(at).is_some()
    };
    apply(
        &mut cluster,
        ends("one", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
    );
    apply(&mut cluster, ends("two", &["192.0.2.4", "192.0.2.5"]));
    assert!(is_known(&mut cluster, "192.0.2.3") && !is_known(&mut cluster, "192.0.2.4"));
    assert_eq!(counts(&cluster, Kind::EndpointSlice), (2, 1));
    assert!(!cluster.should_list(Kind::EndpointSlice, false));
    // One that others name, too, takes no room.
    apply(&mut cluster, ends("three", &["192.0.2.1", "192.0.2.4"]));
    assert!(is_known(&mut cluster, "192.0.2.4"));
    // One that grows beyond it has none.
    let grown = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9"];
    apply(&mut cluster, ends("one", &grown));
    assert!(!is_known(&mut cluster, "192.0.2.3"));
    assert_eq!(counts(&cluster, Kind::EndpointSlice), (3, 2));
    apply(&mut cluster, ends("one", &["192.0.2.3"]));
    assert!(is_known(&mut cluster, "192.0.2.3"));
    assert_eq!(counts(&cluster, Kind::EndpointSlice), (3, 1));
    // Where this node has pods there is twice the room.
    apply(&mut cluster, pod("p", json!({})));
    let many = ["192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8"];
    apply(&mut cluster, ends("two", &many));
    assert!(is_known(&mut cluster, "192.0.2.8"));
    assert_eq!(counts(&cluster, Kind::EndpointSlice), (3, 0));
}

proptest! {
    /// Whatever comes, no more is kept than may be; what is kept and what is
    /// left out, as far as it can be counted, is what is there; and this node's
    /// pods are kept.
    #[test]
    fn what_is_kept_and_what_is_left_out_is_all(
        steps in prop::collection::vec((object(), any::<bool>(), any::<bool>()), 1..60),
        most in 2_usize..4,
    ) {
        let mut cluster = bounded(most);
        let mut there = std::collections::BTreeMap::new();
        let mut is_full = false;
        for (mut value, is_deleted, is_far) in steps {
            if value["kind"] == "Pod" && (is_far || value["metadata"]["name"] != "a") {
                value["spec"]["nodeName"] = json!("node-2");
            }
            // As the API does, which changes the UID of what is made anew alone.
            if is_deleted {
                there.remove(&key(&value));
                delete(&mut cluster, value);
            } else {
                there.insert(key(&value), value.clone());
                apply(&mut cluster, value);
            }
            // Who is gone may be in one more.
            cluster.generation();
            for kind in Kind::ALL {
                let (kept, left) = counts(&cluster, kind);
                prop_assert!(kept <= 2 * most && left <= most);
                let all = there.values().filter(|value| value["kind"] == kind.kind()).count();
                prop_assert!(kept <= all);
                // Of a slice that is kept its addresses may be left out; and once
                // more was left out than is noted, nobody knows what is left of it.
                match kind {
                    Kind::EndpointSlice => {
                        is_full |= left == most;
                        prop_assert!(is_full || kept + left >= all);
                    }
                    _ => prop_assert_eq!(kept + left, all, "{:?}", kind),
                }
            }
            prop_assert!(cluster.endpoints.len() <= 2 * most);
            let is_own = |value: &&Value| value["kind"] == "Pod" && value["spec"]["nodeName"] == "node-1";
            let directory = cluster.generation().directory;
            for own in there.values().filter(is_own) {
                let uid = own["metadata"]["uid"].as_str().unwrap();
                prop_assert!(directory.pod(&PodUid(uid.into())).is_some());
            }
        }
        // Nothing stays of what is gone.
        for value in there.into_values() {
            delete(&mut cluster, value);
        }
        cluster.generation();
        cluster.generation();
        for kind in Kind::ALL {
            prop_assert_eq!(counts(&cluster, kind), (0, 0));
        }
        prop_assert!(cluster.spaces.is_empty() && cluster.endpoints.is_empty());
    }
}
