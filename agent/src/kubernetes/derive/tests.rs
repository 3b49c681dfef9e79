//! Kuma's table, from objects as the API writes them.

use serde_json::{Value, json};

use crate::kubernetes::testing::{cluster, known, namespace, pod, service, slice};
use crate::policy::{Dataplane, Protocol};
use std::sync::Arc;

/// What becomes of a pod among these objects.
fn derive(name: &str, values: &[Value]) -> Option<Arc<Dataplane>> {
    known(&mut cluster(values), name)?.dataplane.clone()
}

/// Mesh, then port and tags of each inbound.
fn shown(name: &str, values: &[Value]) -> String {
    let Some(dataplane) = derive(name, values) else {
        return "none".to_owned();
    };
    let ports = dataplane.listeners.iter().map(|at| at.port.to_string());
    let mut ports = ports.collect::<Vec<_>>().into_iter();
    let inbounds = dataplane.inbounds.iter().map(|inbound| {
        assert_eq!(inbound.protocol, inbound.tags.protocol());
        let port = ports.next().unwrap_or("gateway".to_owned());
        format!("\n{port} {}", inbound.tags)
    });
    format!("{}{}", dataplane.mesh, inbounds.collect::<String>())
}

fn with(mut value: Value, path: &str, new: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[key] = new;
    value
}

/// A pod `example` of Service `example`, and a port of that.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a value is written where it is passed"
)]
fn port(port: Value) -> [Value; 2] {
    let pod = pod("example", json!({"app": "example"}));
    [pod, service("example", json!([port]))]
}

fn protocol_of(values: &[Value]) -> String {
    let dataplane = derive("example", values).unwrap();
    let [inbound] = &*dataplane.inbounds else {
        panic!("{:?}", dataplane.inbounds);
    };
    inbound.tags.get("kuma.io/protocol").unwrap().to_string()
}

#[test]
fn tags_of_a_service_of_two_ports() {
    let labels = json!({
        "app": "example", "version": "0.1", "empty": "", "kuma.io/mesh": "mine",
        "k8s.kuma.io/x": "y",
    });
    let ports = json!([
        {"port": 80, "targetPort": 8080, "appProtocol": "http"},
        {"port": 6060, "targetPort": "http", "protocol": "TCP"},
        {"port": 53, "targetPort": "dns", "protocol": "UDP"},
        {"port": 7070, "targetPort": "nowhere"},
    ]);
    let values = [pod("p", labels), service("example", ports)];
    assert_eq!(
        shown("p", &values),
        "mine\n\
         8080 {app=example, k8s.kuma.io/namespace=demo, k8s.kuma.io/service-name=example, \
         k8s.kuma.io/service-port=80, kuma.io/protocol=http, \
         kuma.io/service=example_demo_svc_80, version=0.1}\n\
         8080 {app=example, k8s.kuma.io/namespace=demo, k8s.kuma.io/service-name=example, \
         k8s.kuma.io/service-port=6060, kuma.io/protocol=tcp, \
         kuma.io/service=example_demo_svc_6060, version=0.1}"
    );
    let dataplane = derive("p", &values).unwrap();
    assert_eq!(&*dataplane.name, "p.demo");
    assert_eq!(dataplane.created.0, 1_767_225_600_000_000_000);
    assert_eq!(dataplane.address.ip(), Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn services_go_by_name_and_their_ports_by_order() {
    let other = with(
        service("z", json!([{"port": 1}])),
        "/spec/selector",
        json!({"app": "example"}),
    );
    let first = with(
        service("a", json!([{"port": 9}, {"port": 3}])),
        "/spec/selector",
        json!({"app": "example"}),
    );
    let narrow = with(
        service("b", json!([{"port": 5}])),
        "/spec/selector",
        json!({"app": "example", "version": "2"}),
    );
    let elsewhere = with(
        service("c", json!([{"port": 4}])),
        "/metadata/namespace",
        json!("other"),
    );
    let elsewhere = with(elsewhere, "/spec/selector", json!({"app": "example"}));
    let external = with(
        service("d", json!([{"port": 4}])),
        "/spec/type",
        json!("ExternalName"),
    );
    let external = with(external, "/spec/selector", json!({"app": "example"}));
    let ignored = with(
        service("e", json!([{"port": 4}])),
        "/metadata/annotations",
        json!({"kuma.io/ignore": "true"}),
    );
    let ignored = with(ignored, "/spec/selector", json!({"app": "example"}));
    let pod = pod("p", json!({"app": "example", "version": "1"}));
    let values = [other, narrow, elsewhere, external, ignored, pod, first];
    let dataplane = derive("p", &values).unwrap();
    let services: Vec<_> = dataplane
        .inbounds
        .iter()
        .map(|inbound| inbound.tags.service().unwrap().to_string())
        .collect();
    assert_eq!(services, ["a_demo_svc_9", "a_demo_svc_3", "z_demo_svc_1"]);
    // The port is the Service's where no target is named.
    let ports: Vec<_> = dataplane.listeners.iter().map(|at| at.port).collect();
    assert_eq!(ports, [9, 3, 1]);
    assert_eq!(dataplane.service().unwrap().as_ref(), "a_demo_svc_3");
}

#[test]
fn protocols() {
    for (app_protocol, annotation, expected) in [
        (json!(null), json!({}), "tcp"),
        (json!("http"), json!({}), "http"),
        (json!("HtTp"), json!({}), "http"),
        (
            json!("grpc"),
            json!({"80.service.kuma.io/protocol": "http"}),
            "grpc",
        ),
        (json!("not-yet-supported-protocol"), json!({}), "tcp"),
        (
            json!("kubernetes.io/h2c"),
            json!({"80.service.kuma.io/protocol": "http2"}),
            "http2",
        ),
        (
            json!(null),
            json!({"80.service.kuma.io/protocol": "HTTP"}),
            "http",
        ),
        (
            json!(null),
            json!({"80.service.kuma.io/protocol": "not-yet-supported-protocol"}),
            "not-yet-supported-protocol",
        ),
        (
            json!(null),
            json!({"8080.service.kuma.io/protocol": "http"}),
            "tcp",
        ),
        (
            json!(null),
            json!({"80.service.kuma.io/protocol": ""}),
            "tcp",
        ),
    ] {
        let said = json!({"port": 80, "targetPort": 8080, "appProtocol": app_protocol});
        let [pod, service] = port(said);
        let service = with(service, "/metadata/annotations", annotation.clone());
        assert_eq!(
            protocol_of(&[pod, service]),
            expected,
            "{app_protocol} {annotation}"
        );
    }
    // A port's name says nothing, and neither does the pod's annotation.
    let [pod, service] = port(json!({"port": 80, "name": "http-web"}));
    let annotation = json!({"80.service.kuma.io/protocol": "http"});
    let pod = with(pod, "/metadata/annotations", annotation);
    assert_eq!(protocol_of(&[pod, service]), "tcp");
}

#[test]
fn what_somebody_has_said_is_no_default() {
    for (app_protocol, annotation, said) in [
        (json!(null), json!({}), false),
        (json!(""), json!({"80.service.kuma.io/protocol": ""}), false),
        (
            json!(null),
            json!({"81.service.kuma.io/protocol": "tcp"}),
            false,
        ),
        (json!("tcp"), json!({}), true),
        (json!("http"), json!({}), true),
        // Kuma does not know it, and takes it for tcp.
        (json!("mongo"), json!({}), true),
        (
            json!(null),
            json!({"80.service.kuma.io/protocol": "tcp"}),
            true,
        ),
    ] {
        let all = format!("{app_protocol} {annotation}");
        let [pod, service] = port(json!({"port": 80, "appProtocol": app_protocol}));
        let service = with(service, "/metadata/annotations", annotation);
        let mut cluster = cluster(&[pod, service]);
        let dataplane = known(&mut cluster, "example").unwrap().dataplane.clone();
        assert_eq!(dataplane.unwrap().listeners[0].says_protocol, said, "{all}");
        let directory = cluster.generation().directory;
        let of_service = directory.service("10.96.0.1:80".parse().unwrap()).unwrap();
        assert_eq!(of_service.says_protocol, said, "{all}");
    }
}

#[test]
fn a_named_port_may_be_a_sidecars() {
    let [pod, service] = port(json!({"port": 80, "targetPort": "side"}));
    let side = json!([
        {"name": "init", "ports": [{"name": "side", "containerPort": 1}]},
        {"name": "side", "restartPolicy": "Always",
         "ports": [{"name": "side", "containerPort": 15000}]},
    ]);
    let pod = with(pod, "/spec/initContainers", side);
    let dataplane = derive("example", &[pod, service]).unwrap();
    assert_eq!(dataplane.listeners[0].port, 15000);
}

#[test]
fn a_headless_service_tells_instances_apart() {
    let [pod, service] = port(json!({"port": 80, "targetPort": 8080}));
    let service = with(service, "/spec/clusterIP", json!("None"));
    let service = with(service, "/spec/clusterIPs", json!(["None"]));
    assert_eq!(
        shown("example", &[pod, service]),
        "default\n\
         8080 {app=example, k8s.kuma.io/namespace=demo, k8s.kuma.io/service-name=example, \
         k8s.kuma.io/service-port=80, kuma.io/instance=example, kuma.io/protocol=tcp, \
         kuma.io/service=example_demo_svc_80}"
    );
}

#[test]
fn a_service_without_selector_has_the_pods_of_its_slices() {
    let ports = json!([{"port": 80, "appProtocol": "http"}]);
    let bare = with(service("bare", ports), "/spec/selector", json!(null));
    let mine = [
        pod("p", json!({})),
        bare.clone(),
        slice("bare", &["q", "p"]),
    ];
    let dataplane = derive("p", &mine).unwrap();
    assert_eq!(dataplane.service().unwrap().as_ref(), "bare_demo_svc_80");
    assert_eq!(dataplane.inbounds[0].protocol, Protocol::Http);
    let others = [pod("p", json!({})), bare, slice("bare", &["q"])];
    let dataplane = derive("p", &others).unwrap();
    assert_eq!(dataplane.service().unwrap().as_ref(), "p_demo_svc");
    // With a selector slices say nothing.
    let selecting = service("bare", json!([{"port": 80}]));
    let both = [pod("p", json!({})), selecting, slice("bare", &["p"])];
    let dataplane = derive("p", &both).unwrap();
    assert_eq!(dataplane.service().unwrap().as_ref(), "p_demo_svc");
}

#[test]
fn a_pod_without_service_is_called_by_what_made_it() {
    for (kind, owner, labels, expected) in [
        (
            "ReplicaSet",
            "web-6d4cf56db6",
            json!({"pod-template-hash": "6d4cf56db6"}),
            "web",
        ),
        (
            "ReplicaSet",
            "web-6d4cf56db6",
            json!({"rollouts-pod-template-hash": "6d4cf56db6"}),
            "web",
        ),
        ("ReplicaSet", "web-6d4cf56db6", json!({}), "web-6d4cf56db6"),
        (
            "ReplicaSet",
            "bare",
            json!({"pod-template-hash": "other"}),
            "bare",
        ),
        // The pod is of 2026-01-01: these are of that minute, of a day before and
        // of 29 days later, and of the same second.
        ("Job", "nightly-29453760", json!({}), "nightly"),
        ("Job", "nightly-29452320", json!({}), "nightly"),
        ("Job", "nightly-29495520", json!({}), "nightly"),
        ("Job", "nightly-1767225600", json!({}), "nightly"),
        // Dates, a number, and a time of another year.
        ("Job", "report-20260101", json!({}), "report-20260101"),
        ("Job", "report-2026010112", json!({}), "report-2026010112"),
        ("Job", "report-12345678", json!({}), "report-12345678"),
        ("Job", "nightly-29012345", json!({}), "nightly-29012345"),
        ("Job", "29453760", json!({}), "29453760"),
        ("Job", "-29453760", json!({}), "-29453760"),
        ("Job", "once", json!({}), "once"),
        ("Job", "step-2", json!({}), "step-2"),
        ("DaemonSet", "agent", json!({}), "agent"),
        ("StatefulSet", "db", json!({}), "db"),
        ("Node", "node-1", json!({}), "p"),
    ] {
        let owners = json!([
            {"apiVersion": "x/v1", "kind": "Other", "name": "other", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "2", "controller": true},
        ]);
        let pod = with(pod("p", labels), "/metadata/ownerReferences", owners);
        let dataplane = derive("p", &[pod]).unwrap();
        let service = dataplane.service().unwrap().as_ref();
        assert_eq!(service, format!("{expected}_demo_svc"), "{kind} {owner}");
    }
    let labels = json!({"app": "x", "kuma.io/team": "a", "empty": ""});
    assert_eq!(
        shown("p", &[pod("p", labels)]),
        "default\n\
         49151 {app=x, k8s.kuma.io/namespace=demo, kuma.io/instance=p, kuma.io/protocol=tcp, \
         kuma.io/service=p_demo_svc, kuma.io/team=a}"
    );
    // As is one of whose Services no port could be its.
    let udp = json!([{"port": 53, "protocol": "UDP"}, {"port": 1, "targetPort": "nowhere"}]);
    let values = [pod("x", json!({"app": "x"})), service("x", udp)];
    let dataplane = derive("x", &values).unwrap();
    assert_eq!(dataplane.listeners[0].port, 49151);
}

#[test]
fn gateways_have_no_inbounds() {
    for said in ["enabled", "builtin"] {
        let ports = json!([{"port": 80, "appProtocol": "http"}, {"port": 81}]);
        let annotations = json!({"kuma.io/gateway": said});
        let gateway = with(
            pod("edge", json!({"app": "edge"})),
            "/metadata/annotations",
            annotations,
        );
        assert_eq!(
            shown("edge", &[gateway, service("edge", ports)]),
            "default\n\
             gateway {app=edge, k8s.kuma.io/namespace=demo, k8s.kuma.io/service-name=edge, \
             k8s.kuma.io/service-port=80, kuma.io/service=edge_demo_svc_80}"
        );
    }
    let ports = json!([{"port": 81}]);
    let gateway = with(
        pod("edge", json!({"app": "edge"})),
        "/metadata/annotations",
        json!({"kuma.io/gateway": "enabled"}),
    );
    let shown = shown("edge", &[gateway, service("edge", ports)]);
    assert!(shown.contains("kuma.io/protocol=tcp"), "{shown}");
}

#[test]
fn the_mesh_is_the_pods_or_its_namespaces() {
    let label = "kuma.io/mesh";
    for (labels, annotations, of_namespace, annotated, expected) in [
        (json!({}), json!({}), json!({}), json!({}), "default"),
        (json!({}), json!({}), json!({}), json!({label: "d"}), "d"),
        (
            json!({}),
            json!({}),
            json!({label: "c"}),
            json!({label: "d"}),
            "c",
        ),
        (
            json!({}),
            json!({label: "b"}),
            json!({label: "c"}),
            json!({}),
            "b",
        ),
        (
            json!({label: "a"}),
            json!({label: "b"}),
            json!({label: "c"}),
            json!({}),
            "a",
        ),
        (
            json!({label: ""}),
            json!({}),
            json!({}),
            json!({}),
            "default",
        ),
        // What is empty says nothing.
        (
            json!({label: ""}),
            json!({label: "b"}),
            json!({label: "c"}),
            json!({}),
            "b",
        ),
        (
            json!({label: ""}),
            json!({label: ""}),
            json!({label: ""}),
            json!({label: "d"}),
            "d",
        ),
    ] {
        let pod = with(pod("p", labels), "/metadata/annotations", annotations);
        let values = [pod, namespace(of_namespace, annotated)];
        assert_eq!(&*derive("p", &values).unwrap().mesh, expected);
    }
}

#[test]
fn who_is_in_no_mesh() {
    let injection = "kuma.io/sidecar-injection";
    let ignore = "kuma.io/ignore";
    for (labels, annotations, of_namespace, is_in) in [
        (json!({}), json!({}), json!({}), true),
        (json!({injection: "enabled"}), json!({}), json!({}), true),
        (json!({injection: "disabled"}), json!({}), json!({}), false),
        (json!({injection: "false"}), json!({}), json!({}), false),
        (json!({}), json!({injection: "no"}), json!({}), false),
        (json!({}), json!({}), json!({injection: "disabled"}), false),
        (
            json!({injection: "true"}),
            json!({}),
            json!({injection: "disabled"}),
            true,
        ),
        (json!({ignore: "true"}), json!({}), json!({}), false),
        (json!({}), json!({ignore: "enabled"}), json!({}), false),
        (json!({}), json!({ignore: "false"}), json!({}), true),
    ] {
        let all = format!("{labels} {annotations} {of_namespace}");
        let pod = with(pod("p", labels), "/metadata/annotations", annotations);
        let values = [pod, namespace(of_namespace, json!({}))];
        assert_eq!(derive("p", &values).is_some(), is_in, "{all}");
        // It is known who it is all the same.
        assert!(known(&mut cluster(&values), "p").is_some());
    }
}

#[test]
fn a_zone_is_a_tag() {
    use crate::kubernetes::testing::{apply, settle};
    use crate::kubernetes::{Cluster, Options};
    let mut cluster = Cluster::new(Options {
        node: None,
        zone: Some("east".into()),
        ..Options::default()
    });
    settle(&mut cluster);
    for value in port(json!({"port": 80})) {
        apply(&mut cluster, value);
    }
    apply(&mut cluster, pod("bare", json!({})));
    for name in ["example", "bare"] {
        let pod = known(&mut cluster, name).unwrap();
        let dataplane = pod.dataplane.as_ref().unwrap();
        let zone = dataplane.inbounds[0].tags.get("kuma.io/zone").unwrap();
        assert_eq!(&**zone, "east");
    }
}
