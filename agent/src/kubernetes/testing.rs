//! Objects as the API writes them, for tests.

#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are passed"
)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{EndpointSlice, Mesh, Namespace, Node, Pod, Service, TrafficTrace};
use super::{Cluster, Event, Kept, Options};
use crate::identify::{Pod as Known, PodUid};

/// An object of whichever kind it says.
pub(crate) fn apply(cluster: &mut Cluster, value: Value) {
    match value["kind"].as_str().unwrap() {
        "Pod" => cluster.apply(Event::Apply(read::<Pod>(value))),
        "Service" => cluster.apply(Event::Apply(read::<Service>(value))),
        "EndpointSlice" => cluster.apply(Event::Apply(read::<EndpointSlice>(value))),
        "Namespace" => cluster.apply(Event::Apply(read::<Namespace>(value))),
        "Node" => cluster.apply(Event::Apply(read::<Node>(value))),
        "Mesh" => cluster.apply(Event::Apply(read::<Mesh>(value))),
        "TrafficTrace" => cluster.apply(Event::Apply(read::<TrafficTrace>(value))),
        other => panic!("{other}"),
    }
}

/// The same, deleted.
pub(crate) fn delete(cluster: &mut Cluster, value: Value) {
    match value["kind"].as_str().unwrap() {
        "Pod" => cluster.apply(Event::Delete(read::<Pod>(value))),
        "Service" => cluster.apply(Event::Delete(read::<Service>(value))),
        "EndpointSlice" => cluster.apply(Event::Delete(read::<EndpointSlice>(value))),
        "Namespace" => cluster.apply(Event::Delete(read::<Namespace>(value))),
        "Node" => cluster.apply(Event::Delete(read::<Node>(value))),
        "Mesh" => cluster.apply(Event::Delete(read::<Mesh>(value))),
        "TrafficTrace" => cluster.apply(Event::Delete(read::<TrafficTrace>(value))),
        other => panic!("{other}"),
    }
}

pub(crate) fn read<K: Kept>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A complete list of a kind.
pub(crate) fn list<K: Kept>(cluster: &mut Cluster, values: &[Value]) {
    cluster.apply(Event::<K>::Init);
    for value in values {
        cluster.apply(Event::InitApply(read::<K>(value.clone())));
    }
    cluster.apply(Event::<K>::InitDone);
}

/// A cluster of node `node-1` in which every kind has been listed, and had
/// nothing, and then these came.
pub(crate) fn cluster(values: &[Value]) -> Cluster {
    let mut cluster = Cluster::new(Options {
        node: Some("node-1".into()),
        ..Options::default()
    });
    settle(&mut cluster);
    for value in values {
        apply(&mut cluster, value.clone());
    }
    cluster
}

/// Empty lists of all kinds.
pub(crate) fn settle(cluster: &mut Cluster) {
    list::<Pod>(cluster, &[]);
    list::<Service>(cluster, &[]);
    list::<EndpointSlice>(cluster, &[]);
    list::<Namespace>(cluster, &[]);
    list::<Node>(cluster, &[]);
    list::<Mesh>(cluster, &[]);
    list::<TrafficTrace>(cluster, &[]);
}

/// A pod of namespace `demo` with the UID `uid-NAME`, at node-1.
pub(crate) fn pod(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "demo",
            "uid": format!("uid-{name}"),
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels,
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [{
                "name": "app",
                "image": "app:1",
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                    {"containerPort": 9090},
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                ],
            }],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "podIPs": [{"ip": "10.0.0.1"}],
            "containerStatuses": [{"name": "app", "containerID": format!("containerd://{name}-id")}],
        },
    })
}

/// A Service of namespace `demo` with the selector `app: NAME`.
pub(crate) fn service(name: &str, ports: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-svc-{name}")},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.1",
            "clusterIPs": ["10.96.0.1"],
            "selector": {"app": name},
            "ports": ports,
        },
    })
}

/// The slice of a Service of namespace `demo`, with these pods.
pub(crate) fn slice(service: &str, pods: &[&str]) -> Value {
    let endpoints = pods.iter().map(|name| {
        json!({
            "addresses": ["10.0.0.1"],
            "targetRef": {"kind": "Pod", "name": name, "uid": format!("uid-{name}")},
        })
    });
    let endpoints = endpoints.collect::<Vec<_>>().into();
    endpoint_slice(service, "x", endpoints, json!([]))
}

/// A slice of a Service of namespace `demo`, with addresses that are no pods'.
pub(crate) fn outside(service: &str, ips: &[&str], ports: Value) -> Value {
    let endpoints = json!([{"addresses": ips, "conditions": {"ready": true}}]);
    endpoint_slice(service, "y", endpoints, ports)
}

fn endpoint_slice(service: &str, suffix: &str, endpoints: Value, ports: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{suffix}"),
            "namespace": "demo",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    })
}

/// The namespace `demo`.
pub(crate) fn namespace(labels: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "demo", "labels": labels, "annotations": annotations},
    })
}

/// A Mesh with one backend.
pub(crate) fn mesh(name: &str, backend: &str) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1",
        "kind": "Mesh",
        "metadata": {"name": name, "uid": format!("uid-mesh-{name}"), "resourceVersion": backend},
        "spec": {"tracing": {"defaultBackend": backend, "backends": [{
            "name": backend,
            "type": "zipkin",
            "conf": {"url": "http://zipkin:9411/api/v2/spans"},
        }]}},
    })
}

/// A policy of mesh `default` for everything.
pub(crate) fn policy(name: &str, backend: &str) -> Value {
    json!({
        "apiVersion": "kuma.io/v1alpha1",
        "kind": "TrafficTrace",
        "mesh": "default",
        "metadata": {
            "name": name,
            "uid": format!("uid-{name}"),
            "resourceVersion": format!("version-{backend}"),
            "generation": 1,
        },
        "spec": {
            "selectors": [{"match": {"kuma.io/service": "*"}}],
            "conf": {"backend": backend},
        },
    })
}

/// What is known of a pod that [`pod`] made.
pub(crate) fn known(cluster: &mut Cluster, name: &str) -> Option<Arc<Known>> {
    let generation = cluster.generation();
    let uid = PodUid(format!("uid-{name}").into());
    generation.directory.pod(&uid).cloned()
}
