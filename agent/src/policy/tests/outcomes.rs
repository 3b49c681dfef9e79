//! What follows from a winner.

use std::sync::Arc;

use super::{engine, inbounds, mesh, policies, policy, zipkin};
use crate::policy::*;

fn resources(meshes: Vec<Resource>, of: &str) -> Engine {
    let traces = policies(of)
        .into_iter()
        .map(|p| Resource::TrafficTrace(Arc::new(p)));
    Engine::new(Arc::new(meshes.into_iter().chain(traces).collect()))
}

fn without_default(name: &str, backends: &[&str]) -> Resource {
    let Resource::Mesh(mesh) = mesh(name, backends) else {
        panic!("not a Mesh")
    };
    let mut mesh = Mesh::clone(&mesh);
    mesh.default_backend = None;
    Resource::Mesh(Arc::new(mesh))
}

const HTTP: &str = "kuma.io/service=web,kuma.io/protocol=http";

#[test]
fn backends() {
    let default = || vec![mesh("default", &["first", "second"])];
    let no_default = || vec![without_default("default", &["first", "second"])];
    let lone = || vec![without_default("default", &["first"])];
    for (what, meshes, of, backend, outcome) in [
        (
            "no mesh",
            vec![],
            "p: kuma.io/service=*",
            None,
            Outcome::NoMesh,
        ),
        (
            "another mesh",
            vec![mesh("other", &["first"])],
            "p: kuma.io/service=*",
            None,
            Outcome::NoMesh,
        ),
        (
            "a defaultBackend alone traces nothing",
            default(),
            "",
            None,
            Outcome::NoPolicy,
        ),
        (
            "no policy matches",
            default(),
            "p: kuma.io/service=api",
            None,
            Outcome::NoPolicy,
        ),
        (
            "the default fills what is not said",
            default(),
            "p: kuma.io/service=*",
            Some("first"),
            Outcome::Selected,
        ),
        (
            "a named one",
            default(),
            "p: kuma.io/service=* -> second",
            Some("second"),
            Outcome::Selected,
        ),
        (
            "named, without a default",
            no_default(),
            "p: kuma.io/service=* -> second",
            Some("second"),
            Outcome::Selected,
        ),
        (
            "nothing said, no default",
            no_default(),
            "p: kuma.io/service=*",
            None,
            Outcome::NoBackend,
        ),
        (
            "the only one is no default",
            lone(),
            "p: kuma.io/service=*",
            None,
            Outcome::NoBackend,
        ),
        (
            "an unknown one is not replaced by the default",
            default(),
            "p: kuma.io/service=* -> secnd",
            None,
            Outcome::UnknownBackend {
                wanted: "secnd".into(),
                nearest: Some("second".into()),
            },
        ),
        (
            "nor by the next policy's",
            default(),
            "p: kuma.io/service=web -> third; q: kuma.io/service=* -> first",
            None,
            Outcome::UnknownBackend {
                wanted: "third".into(),
                nearest: None,
            },
        ),
        (
            "names of backends have case",
            default(),
            "p: kuma.io/service=* -> First",
            None,
            Outcome::UnknownBackend {
                wanted: "First".into(),
                nearest: Some("first".into()),
            },
        ),
    ] {
        let decision = resources(meshes, of).decide("default", &inbounds(HTTP));
        assert_eq!(
            decision.backend.as_ref().map(|b| &*b.name),
            backend,
            "{what}"
        );
        assert_eq!(decision.outcome, outcome, "{what}");
        assert_eq!(decision.is_traced(), backend.is_some(), "{what}");
        let server = decision.backend_for(Protocol::Http).map(|b| &*b.name);
        assert_eq!(server.ok(), backend, "{what}");
    }
}

#[test]
fn a_policy_selects_workloads_of_its_own_mesh_alone() {
    let mut other = policy("p: kuma.io/service=*");
    other.mesh = "other".into();
    let meshes = [mesh("default", &["a"]), mesh("other", &["b"])];
    let all = meshes
        .into_iter()
        .chain([Resource::TrafficTrace(Arc::new(other))]);
    let engine = Engine::new(Arc::new(all.collect()));
    let inbounds = inbounds(HTTP);
    assert_eq!(
        engine.decide("default", &inbounds).outcome,
        Outcome::NoPolicy
    );
    let decision = engine.decide("other", &inbounds);
    let backend = decision.backend.as_ref().map(|b| (&*b.mesh, &*b.name));
    assert_eq!(backend, Some(("other", "b")));
    let reason = engine.explain("default", &inbounds).reason;
    assert!(
        reason.contains("policy \"p\" would match, but it is of mesh \"other\""),
        "{reason}"
    );
}

#[test]
fn protocols() {
    let engine = engine(policies("p: kuma.io/service=*"));
    for (protocol, traced) in [
        ("http", true),
        ("HTTP", true),
        ("Http2", true),
        ("http2", true),
        ("grpc", true),
        ("GRPC", true),
        ("tcp", false),
        ("tls", false),
        ("kafka", false),
        ("mysql", false),
        ("https", false),
        ("websocket", false),
        ("", false),
    ] {
        let inbound = inbounds(&format!("kuma.io/service=web,kuma.io/protocol={protocol}"));
        let decision = engine.decide("default", &inbound);
        assert_eq!(decision.is_traced(), traced, "{protocol}");
        // The backend is found all the same: outgoing calls use it.
        assert!(decision.backend.is_some(), "{protocol}");
        let of_server = decision.backend_for(Protocol::parse(protocol));
        assert_eq!(of_server.is_ok(), traced, "{protocol}");
        if !traced {
            assert_eq!(of_server, Err(Refused::NotHttp));
            assert_eq!(decision.outcome, Outcome::OutgoingOnly);
        }
    }
    let missing = engine.decide("default", &inbounds("kuma.io/service=web"));
    assert_eq!(missing.outcome, Outcome::OutgoingOnly);
    assert!(missing.backend_for(Protocol::Http).is_ok());
    // One inbound that is HTTP makes the workload one.
    let mixed = inbounds("kuma.io/service=db / kuma.io/service=web,kuma.io/protocol=http");
    assert!(engine.decide("default", &mixed).is_traced());
}

#[test]
fn why_an_exchange_is_refused() {
    let none = engine(policies("")).decide("default", &inbounds(HTTP));
    assert_eq!(none.backend_for(Protocol::Http), Err(Refused::NoPolicy));
    let unknown = engine(policies("p: kuma.io/service=* -> nowhere"));
    let unknown = unknown.decide("default", &inbounds(HTTP));
    assert_eq!(
        unknown.backend_for(Protocol::Http),
        Err(Refused::UnknownBackend)
    );
}

#[test]
fn what_is_common_to_two_protocols() {
    use Protocol::*;
    for (a, b, common) in [
        (Http, Http, Http),
        (Grpc, Http2, Http2),
        (Grpc, Grpc, Grpc),
        (Http, Http2, Tcp),
        (Http, Grpc, Tcp),
        (Http, Tcp, Tcp),
        (Kafka, Http, Tcp),
        (Kafka, Kafka, Kafka),
        (Tls, Tcp, Tcp),
        (Tls, Http, Tcp),
        (Http, Unknown, Unknown),
        (Unknown, Unknown, Unknown),
        (Mysql, Tcp, Unknown),
        (Mysql, Mysql, Mysql),
    ] {
        assert_eq!(a.common(b), common, "{a} {b}");
        assert_eq!(b.common(a), common, "{b} {a}");
    }
    assert_eq!(Protocol::common_of([]), Unknown);
    assert_eq!(Protocol::common_of([Http, Http, Tcp]), Tcp);
}

#[test]
fn sampling_is_the_backends() {
    let sampled = Mesh {
        name: "default".into(),
        created: Created::default(),
        default_backend: Some("b".into()),
        backends: vec![zipkin("default", "b", 30.5)],
    };
    let engine = resources(
        vec![Resource::Mesh(Arc::new(sampled))],
        "p: kuma.io/service=*",
    );
    assert_eq!(engine.decide("default", &inbounds(HTTP)).sampling, 30.5);
    assert_eq!(engine.decide("default", &inbounds("x=1")).sampling, 0.0);
}

#[test]
fn reasons() {
    let grpc = "kuma.io/service=web,kuma.io/protocol=grpc";
    let both =
        "kuma.io/service=web,kuma.io/protocol=http / kuma.io/service=rpc,kuma.io/protocol=grpc";
    let mesh_of = |backend: TracingBackend| {
        vec![Resource::Mesh(Arc::new(Mesh {
            name: "default".into(),
            created: Created::default(),
            default_backend: Some(Arc::clone(&backend.name)),
            backends: vec![Arc::new(backend)],
        }))]
    };
    let datadog = mesh_of(TracingBackend {
        mesh: "default".into(),
        name: "dd".into(),
        sampling: 100.0,
        kind: BackendKind::Datadog {
            address: "dd".into(),
            port: 8126,
            split_service: false,
        },
    });
    let never = mesh_of(TracingBackend {
        sampling: 0.0,
        ..TracingBackend::clone(&zipkin("default", "z", 0.0))
    });
    let all = "p: kuma.io/service=*";
    let jaeger = || vec![mesh("default", &["jaeger-collector"])];
    for (meshes, of, to, says) in [
        (vec![], "", HTTP, "there is no Mesh \"default\""),
        (
            vec![mesh("defalt", &[])],
            "",
            HTTP,
            "did you mean \"defalt\"?",
        ),
        (
            jaeger(),
            "",
            HTTP,
            "has no TrafficTrace (a defaultBackend alone traces nothing)",
        ),
        (
            jaeger(),
            "p: a=1",
            HTTP,
            "the one TrafficTrace of mesh \"default\" does not match",
        ),
        (
            jaeger(),
            "p: a=1; q: b=1",
            HTTP,
            "none of the 2 TrafficTraces",
        ),
        (
            jaeger(),
            "p: kuma.io/service=* -> jager-collector",
            HTTP,
            "names backend \"jager-collector\", which mesh \"default\" does not have; the nearest is \"jaeger-collector\"",
        ),
        (
            jaeger(),
            "p: kuma.io/service=* -> x",
            HTTP,
            "does not have; it has \"jaeger-collector\"",
        ),
        (
            vec![mesh("default", &[])],
            "p: kuma.io/service=* -> x",
            HTTP,
            "it has no tracing backends",
        ),
        (
            vec![without_default("default", &["a", "b"])],
            all,
            HTTP,
            "names no backend, and mesh \"default\" has no defaultBackend; it has \"a\", \"b\"",
        ),
        (
            jaeger(),
            all,
            "kuma.io/service=web",
            "none of its inbounds is http, http2 or grpc",
        ),
        (jaeger(), all, "kuma.io/service=web", "outgoing calls"),
        (
            jaeger(),
            all,
            grpc,
            "HTTP/2 is not captured by this version",
        ),
        (
            jaeger(),
            all,
            both,
            "its http2 and grpc inbounds are not captured",
        ),
        (
            datadog,
            all,
            HTTP,
            "nodespan does not send to datadog backends",
        ),
        (never, all, HTTP, "sampling is 0 %"),
    ] {
        let explanation = resources(meshes, of).explain("default", &inbounds(to));
        assert!(
            explanation.reason.contains(says),
            "{says}\n{}",
            explanation.reason
        );
    }
}

#[test]
fn near_misses_say_what_is_missing() {
    let engine = engine(policies(
        "far: a=1,b=2,c=3; near: kuma.io/service=api; nearer: kuma.io/service=web,zone=*",
    ));
    let near = engine.explain("default", &inbounds(HTTP)).near;
    let shown: Vec<_> = near
        .iter()
        .map(|miss| {
            let unmet = &miss.unmet[0];
            (
                miss.policy.as_str(),
                unmet.tag.as_str(),
                unmet.wanted.as_str(),
                unmet.found.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("near", "kuma.io/service", "api", Some("web")),
            ("nearer", "zone", "*", None),
            ("far", "a", "1", None),
        ]
    );
}
