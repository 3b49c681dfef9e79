//! What knowing a cluster costs: `kubernetes-bench [PODS]`, by default 10,000.
//!
//! Objects come as the API writes them, in pages; so what decoding them leaves
//! behind in the allocator counts, too. Memory is the growth of this process;
//! times are of the processor. One JSON object is printed.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;

use kube_client::core::ObjectList;
use nodespan::kubernetes::objects::{
    EndpointSlice, Mesh, Namespace, Node, Pod, Service, TrafficTrace,
};
use nodespan::kubernetes::{Cluster, Event, Kept, Options};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// Pods behind a Service, and of a namespace's Services.
const PODS_OF_SERVICE: usize = 20;
const SERVICES_OF_NAMESPACE: usize = 10;
const PODS_OF_NODE: usize = 30;
/// As the agent asks for them.
const PAGE: usize = 250;

fn main() -> anyhow::Result<()> {
    let pods: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10_000,
    };
    let before = resident()?;
    let mut cluster = Cluster::new(Options {
        node: Some("node-3".into()),
        ..Options::default()
    });
    let services = pods.div_ceil(PODS_OF_SERVICE);
    let namespaces = services.div_ceil(SERVICES_OF_NAMESPACE);
    let decoding = micros();
    list::<Namespace>(&mut cluster, namespaces, namespace)?;
    list::<Node>(&mut cluster, pods.div_ceil(PODS_OF_NODE), node)?;
    list::<Service>(&mut cluster, services, service)?;
    list::<EndpointSlice>(&mut cluster, services, slice)?;
    list::<Mesh>(&mut cluster, 0, |_| String::new())?;
    list::<TrafficTrace>(&mut cluster, 0, |_| String::new())?;
    list::<Pod>(&mut cluster, pods, pod)?;
    let decoded = micros() - decoding;

    let first = micros();
    let mut generation = cluster.generation();
    let first = micros() - first;
    anyhow::ensure!(generation.directory.pods().count() == pods);
    let after = resident()?;

    // One pod changes, and the generation before is still in use, as it is in
    // the pipeline.
    const ROUNDS: usize = 200;
    let one_pod = micros();
    for round in 0..ROUNDS {
        let text = pod(7).replace(
            "\"app\":\"s0\"",
            &format!("\"app\":\"s0\",\"round\":\"{round}\""),
        );
        cluster.apply(Event::Apply(serde_json::from_str::<Pod>(&text)?));
        generation = cluster.generation();
    }
    let one_pod = (micros() - one_pod) / ROUNDS as f64;
    let one_service = micros();
    for round in 0..ROUNDS {
        let text = service(3).replace(
            "\"appProtocol\":\"http\"",
            ["\"appProtocol\":\"grpc\"", "\"appProtocol\":\"http\""][round % 2],
        );
        cluster.apply(Event::Apply(serde_json::from_str::<Service>(&text)?));
        generation = cluster.generation();
    }
    let one_service = (micros() - one_service) / ROUNDS as f64;
    // Everything is listed anew, and nothing has changed.
    list::<Pod>(&mut cluster, pods, pod)?;
    let again = cluster.generation();
    anyhow::ensure!(again.directory.pods().count() == pods);
    let relisted = resident()?;
    black_box((generation, again));
    let figures = json!({
        "pods": pods,
        "services": services,
        "pod_bytes": pod(0).len(),
        "memory_bytes": after - before,
        "memory_after_new_list_bytes": relisted - before,
        "peak_bytes": status("VmHWM")? - before,
        "decode_us": decoded,
        "first_generation_us": first,
        "one_pod_us": one_pod,
        "one_service_us": one_service,
    });
    #[expect(clippy::print_stdout, reason = "this is what it is for")]
    {
        println!("{figures}");
    }
    Ok(())
}

/// Pages of a list, as they come from the API, taken in one after the other.
fn list<K: Kept>(
    cluster: &mut Cluster,
    many: usize,
    object: impl Fn(usize) -> String,
) -> anyhow::Result<()> {
    cluster.apply(Event::<K>::Init);
    for page in 0..many.div_ceil(PAGE) {
        let numbers = page * PAGE..many.min((page + 1) * PAGE);
        let mut text = String::from(
            "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"metadata\": {\"resourceVersion\": \"1\"}, \"items\": [",
        );
        for (place, number) in numbers.enumerate() {
            let separator = if place > 0 { "," } else { "" };
            write!(text, "{separator}{}", object(number))?;
        }
        text.push_str("]}");
        let list: ObjectList<K> = serde_json::from_str(&text)?;
        for object in list.items {
            cluster.apply(Event::InitApply(object));
        }
    }
    cluster.apply(Event::<K>::InitDone);
    Ok(())
}

fn namespace_of(service: usize) -> usize {
    service / SERVICES_OF_NAMESPACE
}

fn uid(number: usize) -> String {
    format!("5f0d9a4e-6f0e-4f38-9d1e-{number:012x}")
}

fn address(number: usize) -> String {
    let [_, b, c, d] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

fn namespace(number: usize) -> String {
    json!({
        "metadata": {"name": format!("n{number}"), "resourceVersion": "1",
                     "labels": {"kubernetes.io/metadata.name": format!("n{number}")}},
        "status": {"phase": "Active"},
    })
    .to_string()
}

fn node(number: usize) -> String {
    json!({
        "metadata": {"name": format!("node-{number}"), "resourceVersion": "1"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": format!("192.168.{}.{}", number / 250, number % 250)}],
            "images": vec![json!({"names": ["registry/image@sha256:0123", "registry/image:1"], "sizeBytes": 1}); 50],
        },
    })
    .to_string()
}

fn service(number: usize) -> String {
    json!({
        "metadata": {"name": format!("s{number}"), "namespace": format!("n{}", namespace_of(number)),
                     "uid": uid(number), "resourceVersion": "1"},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": format!("10.96.{}.{}", number / 250, number % 250),
            "clusterIPs": [format!("10.96.{}.{}", number / 250, number % 250)],
            "selector": {"app": format!("s{number}")},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "appProtocol": "http"}],
        },
    })
    .to_string()
}

fn slice(number: usize) -> String {
    let pods = number * PODS_OF_SERVICE..(number + 1) * PODS_OF_SERVICE;
    let endpoints = pods.map(|pod| {
        json!({
            "addresses": [address(pod)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{}", pod / PODS_OF_NODE),
            "targetRef": {"kind": "Pod", "name": format!("p{pod}"), "namespace": "n", "uid": uid(pod)},
        })
    });
    json!({
        "metadata": {
            "name": format!("s{number}-abcde"), "namespace": format!("n{}", namespace_of(number)),
            "resourceVersion": "1", "labels": {"kubernetes.io/service-name": format!("s{number}")},
        },
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
    .to_string()
}

/// A pod as kubectl shows one of a Deployment, with what a kubelet and a
/// scheduler have written into it.
fn pod(number: usize) -> String {
    let service = number / PODS_OF_SERVICE;
    let node = number / PODS_OF_NODE;
    let name = format!("s{service}-6d4cf56db6-{number:05}");
    let id = format!("containerd://{number:064x}");
    let condition = json!({"type": "Ready", "status": "True", "lastProbeTime": null,
                           "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
        "f:ownerReferences": {".": {}, "k:{\"uid\":\"1\"}": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}, "f:name": {},
        "f:ports": {}, "f:resources": {}}}, "f:dnsPolicy": {}, "f:restartPolicy": {}}});
    let text = json!({
        "metadata": {
            "name": name,
            "generateName": format!("s{service}-6d4cf56db6-"),
            "namespace": format!("n{}", namespace_of(service)),
            "uid": uid(number),
            "resourceVersion": "123456",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": format!("s{service}"), "version": "v1", "team": "shop",
                       "pod-template-hash": "6d4cf56db6"},
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": format!("{number:064x}")},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "1",
                "name": format!("s{service}-6d4cf56db6"), "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [
                {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": fields},
                {"manager": "kubelet", "operation": "Update", "fieldsV1": fields},
            ],
        },
        "spec": {
            "nodeName": format!("node-{node}"),
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            "containers": [{
                "name": "app", "image": "registry.example/shop/app:1.2.3",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": vec![json!({"name": "SOME_VARIABLE", "value": "some value of it"}); 10],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets"}],
            }],
            "tolerations": vec![json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}); 2],
        },
        "status": {
            "phase": "Running",
            "conditions": vec![condition; 5],
            "hostIP": "192.168.0.1",
            "podIP": address(number),
            "podIPs": [{"ip": address(number)}],
            "startTime": "2026-01-01T00:00:00Z",
            "containerStatuses": [{"name": "app", "containerID": id, "ready": true,
                "image": "registry.example/shop/app:1.2.3", "restartCount": 0,
                "imageID": "registry.example/shop/app@sha256:0123456789abcdef",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        },
    });
    text.to_string()
}

fn micros() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn resident() -> anyhow::Result<u64> {
    status("VmRSS")
}

fn status(field: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let line = line.ok_or_else(|| anyhow::anyhow!("no {field}"))?;
    let number = line.trim_matches(|c: char| !c.is_ascii_digit());
    Ok(number.parse::<u64>()? * 1024)
}
