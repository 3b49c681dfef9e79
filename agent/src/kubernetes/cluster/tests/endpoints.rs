//! Endpoints that are no pods.

use super::*;

/// What is known of an address.
fn end(cluster: &mut Cluster, text: &str) -> Option<String> {
    let directory = cluster.generation().directory;
    let port = directory.endpoint(text.parse().unwrap())?;
    let said = if port.says_protocol { "" } else { " (unsaid)" };
    Some(format!(
        "{} {} {}{said}",
        port.service, port.mesh, port.protocol
    ))
}

/// Without a selector.
fn bare(name: &str, ports: Value) -> Value {
    let service = with(service(name, ports), "/spec/selector", json!(null));
    let service = with(service, "/spec/clusterIPs", json!(["None"]));
    with(service, "/spec/clusterIP", json!("None"))
}

#[test]
fn they_are_of_the_service_whose_slice_names_them() {
    let db = bare(
        "db",
        json!([{"name": "api", "port": 80, "appProtocol": "http"}]),
    );
    let ends = outside("db", &["192.0.2.7"], json!([{"name": "api", "port": 8080}]));
    let mut cluster = cluster(std::slice::from_ref(&ends));
    // Nobody knows the Service yet.
    assert_eq!(end(&mut cluster, "192.0.2.7:8080"), None);
    apply(&mut cluster, db.clone());
    let found = "db_demo_svc_80 default http";
    assert_eq!(end(&mut cluster, "192.0.2.7:8080").unwrap(), found);
    assert_eq!(end(&mut cluster, "[::ffff:192.0.2.7]:8080").unwrap(), found);
    assert_eq!(end(&mut cluster, "192.0.2.7:80"), None);
    let at = "192.0.2.7:8080".parse().unwrap();
    let name = |cluster: &mut Cluster| cluster.generation().directory.name(at);
    assert_eq!(name(&mut cluster).as_deref(), Some("db_demo_svc_80"));
    // Its mesh is its namespace's.
    let labels = json!({"kuma.io/mesh": "mine"});
    apply(&mut cluster, namespace(labels, json!({})));
    let mine = "db_demo_svc_80 mine http";
    assert_eq!(end(&mut cluster, "192.0.2.7:8080").unwrap(), mine);
    // A node's name says less, a pod's more.
    apply(&mut cluster, node("node-7", &["192.0.2.7"]));
    assert_eq!(name(&mut cluster).as_deref(), Some("db_demo_svc_80"));
    apply(&mut cluster, with_ip(pod("p", json!({})), "192.0.2.7"));
    assert_eq!(name(&mut cluster).as_deref(), Some("p_demo_svc"));
    delete(&mut cluster, pod("p", json!({})));
    // Other addresses, another Service, and none.
    let ports = json!([{"name": "api", "port": 8080}]);
    apply(&mut cluster, outside("db", &["192.0.2.8"], ports));
    assert_eq!(end(&mut cluster, "192.0.2.7:8080"), None);
    assert_eq!(name(&mut cluster).as_deref(), Some("node-7"));
    assert_eq!(end(&mut cluster, "192.0.2.8:8080").unwrap(), mine);
    let ignored = json!({"kuma.io/ignore": "true"});
    apply(
        &mut cluster,
        with(db.clone(), "/metadata/annotations", ignored),
    );
    assert_eq!(end(&mut cluster, "192.0.2.8:8080"), None);
    apply(&mut cluster, db.clone());
    assert_eq!(end(&mut cluster, "192.0.2.8:8080").unwrap(), mine);
    delete(&mut cluster, db.clone());
    assert_eq!(end(&mut cluster, "192.0.2.8:8080"), None);
    apply(&mut cluster, db);
    delete(&mut cluster, ends);
    assert_eq!(end(&mut cluster, "192.0.2.8:8080"), None);
    assert!(cluster.endpoints.is_empty());
}

#[test]
fn what_is_spoken_there() {
    let annotated = |said: &str| json!({"80.service.kuma.io/protocol": said});
    for (of_service, annotations, of_slice, found) in [
        (json!("http"), json!({}), json!(null), "http"),
        // The slice is about this endpoint, the Service about all.
        (json!("tcp"), json!({}), json!("HTTP"), "http"),
        (json!("http"), annotated("grpc"), json!("tcp"), "tcp"),
        (json!("http"), json!({}), json!("strange"), "http"),
        (json!(null), annotated("http"), json!(null), "http"),
        (json!(null), annotated("http"), json!("strange"), "http"),
        (json!(null), json!({}), json!("strange"), "tcp"),
        (json!(null), json!({}), json!(null), "tcp (unsaid)"),
        (json!(null), json!({}), json!(""), "tcp (unsaid)"),
    ] {
        let ports = json!([{"port": 80, "appProtocol": of_service}]);
        let service = with(bare("a", ports), "/metadata/annotations", annotations);
        let ports = json!([{"port": 8080, "appProtocol": of_slice}]);
        let slice = outside("a", &["192.0.2.7"], ports.clone());
        let mut cluster = cluster(&[service.clone(), slice]);
        let shown = end(&mut cluster, "192.0.2.7:8080").unwrap();
        assert_eq!(
            shown,
            format!("a_demo_svc_80 default {found}"),
            "{service} {ports}"
        );
    }
}

#[test]
fn which_port_of_the_service_leads_there() {
    let ports = json!([
        {"name": "api", "port": 80, "appProtocol": "http"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "db", "port": 5432},
    ]);
    let of_slice = json!([
        {"name": "db", "port": 1},
        {"name": "api", "port": 2},
        {"name": "dns", "port": 3, "protocol": "UDP"},
        // None of the Service's.
        {"name": "other", "port": 4, "appProtocol": "http"},
        {"name": "dns", "port": 5},
        {"name": "all", "port": null},
    ]);
    let mut cluster = cluster(&[bare("a", ports), outside("a", &["192.0.2.7"], of_slice)]);
    for (port, found) in [
        (1, Some("a_demo_svc_5432 default tcp (unsaid)")),
        (2, Some("a_demo_svc_80 default http")),
        (3, None),
        (4, Some("a_demo_svc_4 default http")),
        (5, Some("a_demo_svc_5 default tcp (unsaid)")),
        (0, None),
    ] {
        let at = format!("192.0.2.7:{port}");
        assert_eq!(end(&mut cluster, &at).as_deref(), found, "{port}");
    }
    // A headless Service need not have ports.
    let slice = outside("b", &["192.0.2.8"], json!([{"port": 80}]));
    apply(&mut cluster, slice);
    apply(&mut cluster, bare("b", json!(null)));
    let found = end(&mut cluster, "192.0.2.8:80").unwrap();
    assert_eq!(found, "b_demo_svc_80 default tcp (unsaid)");
}

/// What has a pod's is told by the pod, and a name is no address.
#[test]
fn which_addresses_count() {
    let service = bare("a", json!([{"port": 80}]));
    let mut ends = outside("a", &[], json!([{"port": 80}]));
    let reference = |kind: &str| json!({"kind": kind, "name": "x", "uid": "x"});
    ends["endpoints"] = json!([
        {"addresses": ["192.0.2.1"], "targetRef": reference("Pod")},
        {"addresses": ["192.0.2.2"], "targetRef": {"kind": "Pod", "name": "x"}},
        {"addresses": ["192.0.2.3"], "targetRef": reference("Node")},
        {"addresses": ["192.0.2.4", "192.0.2.5"], "targetRef": null},
        {"addresses": ["db.example.com"]},
        {"addresses": ["2001:db8::6"], "conditions": {"ready": false}},
        {"addresses": null},
    ]);
    let mut cluster = cluster(&[service, ends]);
    let ips = (1..=7).map(|n| format!("192.0.2.{n}:80"));
    let ips = ips.chain(["[2001:db8::6]:80".to_owned()]);
    let found: Vec<_> = ips.filter(|ip| end(&mut cluster, ip).is_some()).collect();
    let expected = [
        "192.0.2.3:80",
        "192.0.2.4:80",
        "192.0.2.5:80",
        "[2001:db8::6]:80",
    ];
    assert_eq!(found, expected);
}

#[test]
fn of_several_services_the_youngest_has_an_address() {
    let (old, mut new) = (
        bare("old", json!([{"port": 80}])),
        bare("new", json!([{"port": 81}])),
    );
    new["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    let of = |name| outside(name, &["192.0.2.7"], json!([{"port": 80}]));
    let at = "192.0.2.7:80";
    let (of_old, of_new) = ("old_demo_svc_80", "new_demo_svc_81");
    let name = |cluster: &mut Cluster| {
        end(cluster, at)
            .unwrap()
            .split(' ')
            .next()
            .map(str::to_owned)
    };
    let mut cluster = cluster(&[new.clone(), of("new"), old.clone(), of("old")]);
    assert_eq!(name(&mut cluster).unwrap(), of_new);
    delete(&mut cluster, of("new"));
    assert_eq!(name(&mut cluster).unwrap(), of_old);
    apply(&mut cluster, of("new"));
    assert_eq!(name(&mut cluster).unwrap(), of_new);
    delete(&mut cluster, new.clone());
    assert_eq!(name(&mut cluster).unwrap(), of_old);
    apply(&mut cluster, new);
    assert_eq!(name(&mut cluster).unwrap(), of_new);
    // Two slices of one Service.
    let twin = with(of("old"), "/metadata/name", json!("twin"));
    apply(&mut cluster, twin.clone());
    delete(&mut cluster, of("old"));
    delete(&mut cluster, of("new"));
    assert_eq!(name(&mut cluster).unwrap(), of_old);
    delete(&mut cluster, twin);
    assert_eq!(end(&mut cluster, at), None);
    assert!(cluster.endpoints.is_empty());
}

/// Most slices change often, and have nothing but pods.
#[test]
fn a_slice_of_pods_changes_nothing() {
    let mut cluster = cluster(&[
        service("web", json!([{"port": 80}])),
        pod("a", json!({"app": "web"})),
    ]);
    let before = cluster.generation().directory;
    apply(&mut cluster, slice("web", &["a"]));
    assert!(Arc::ptr_eq(&before, &cluster.generation().directory));
    // Nor does one of the same addresses as before.
    let ends = outside("web", &["192.0.2.7"], json!([{"port": 80}]));
    apply(&mut cluster, ends.clone());
    let before = cluster.generation().directory;
    let unready = with(ends, "/endpoints/0/conditions", json!({"ready": false}));
    apply(&mut cluster, unready);
    assert!(Arc::ptr_eq(&before, &cluster.generation().directory));
}
