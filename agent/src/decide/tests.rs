use std::net::IpAddr;

use super::*;
use crate::assemble::{Began, Seed};
use crate::config::resources;
use crate::http::context::TraceContext;
use crate::identify::{Known, Origin, Workload, WorkloadKey, WorkloadKind};
use crate::ledger::NotSelected;
use crate::link::Backend;
use crate::policy::{Engine, Resources, Selection};
use crate::sample::Percentage;
use crate::units::{Endpoint, MonoNanos, OwnerId, Side, WireId};
use std::sync::Arc;

const RESOURCES: &str = r"
type: Mesh
name: default
tracing:
  defaultBackend: main
  backends:
  - {name: main, type: zipkin, sampling: 50, conf: {url: 'http://zipkin:9411/api/v2/spans'}}
  - {name: eu, type: zipkin, conf: {url: 'http://eu:9411/api/v2/spans', sharedSpanContext: false}}
  - {name: dog, type: datadog, conf: {address: 127.0.0.1, port: 8126}}
---
{type: TrafficTrace, mesh: default, name: all, selectors: [{match: {kuma.io/service: '*'}}]}
---
{type: TrafficTrace, mesh: default, name: eu, selectors: [{match: {kuma.io/service: '*', region: eu}}], conf: {backend: eu}}
---
{type: TrafficTrace, mesh: default, name: typo, selectors: [{match: {kuma.io/service: '*', region: typo}}], conf: {backend: mian}}
---
{type: TrafficTrace, mesh: default, name: dog, selectors: [{match: {kuma.io/service: '*', region: dog}}], conf: {backend: dog}}
---
type: Dataplane
mesh: default
name: web
networking:
  address: 10.0.0.1
  inbound:
  - {port: 80, servicePort: 8080, tags: {kuma.io/service: web, kuma.io/protocol: http}}
  - {port: 81, servicePort: 8081, tags: {kuma.io/service: web-admin, kuma.io/protocol: tcp}}
  outbound:
  - {port: 5000, tags: {kuma.io/service: db}}
  - {port: 5001, tags: {kuma.io/service: eu}}
---
type: Dataplane
mesh: default
name: eu
networking:
  address: 10.0.0.2
  inbound: [{port: 80, tags: {kuma.io/service: eu, kuma.io/protocol: HTTP, region: eu}}]
---
type: Dataplane
mesh: default
name: db
networking:
  address: 10.0.0.3
  inbound: [{port: 5432, tags: {kuma.io/service: db}}]
---
type: Dataplane
mesh: default
name: typo
networking:
  address: 10.0.0.4
  inbound: [{port: 80, tags: {kuma.io/service: typo, kuma.io/protocol: http, region: typo}}]
---
type: Dataplane
mesh: default
name: dog
networking:
  address: 10.0.0.5
  inbound: [{port: 80, tags: {kuma.io/service: dog, kuma.io/protocol: http, region: dog}}]
---
type: Dataplane
mesh: nowhere
name: lost
networking:
  address: 10.0.0.6
  inbound: [{port: 80, tags: {kuma.io/service: lost, kuma.io/protocol: http}}]
---
type: Dataplane
mesh: default
name: eu-2
networking:
  address: 10.0.0.8
  inbound: [{port: 80, tags: {kuma.io/service: eu, kuma.io/protocol: http, region: eu}}]
---
type: Dataplane
mesh: default
name: web-2
networking:
  address: 10.0.0.7
  inbound: [{port: 80, tags: {kuma.io/service: web, kuma.io/protocol: http}}]
";

const MAIN: Backend = Backend(7);
const EU: Backend = Backend(8);

fn policies() -> Policies {
    let parsed = resources::parse("resources", RESOURCES);
    assert!(!parsed.report.has_errors(), "{}", parsed.report);
    let resources: Resources = parsed.resources.into_iter().collect();
    let engine = Arc::new(Engine::new(Arc::new(resources)));
    Policies::new(engine, Default::default(), |backend| {
        let number = match &*backend.name {
            "main" => MAIN,
            "eu" => EU,
            _ => return None,
        };
        Some(Route {
            backend: number,
            sampling: Sampling::Percentage(Percentage::new(backend.sampling)),
            shared_spans: number == MAIN,
            ..Route::default()
        })
    })
}

fn decider() -> Decider {
    Decider::new(Arc::new(Plan {
        destinations: Destinations::Policies(policies()),
        ..Plan::default()
    }))
}

pub(super) fn known(key: u64, origin: Origin) -> Known {
    Known {
        key: WorkloadKey(key),
        workload: Arc::new(Workload {
            service: "process".into(),
            kind: WorkloadKind::Command,
            node: "node".into(),
            address: None,
            pod: None,
        }),
        origin,
    }
}

fn process() -> Known {
    known(1, Origin::Command("server".into()))
}

pub(super) fn at(address: &str) -> Endpoint {
    let address: std::net::SocketAddr = address.parse().unwrap();
    Endpoint {
        ip: address.ip(),
        port: address.port(),
    }
}

pub(super) fn began(side: Side, local: &str, peer: &str) -> Began {
    Began {
        serial: 1,
        side,
        wire: WireId::default(),
        context: TraceContext::default(),
        seed: Seed::Head(1),
        owner: OwnerId(1),
        pid: 1,
        local: Some(at(local)),
        peer: Some(at(peer)),
        start: MonoNanos(1),
    }
}

/// Service, backend and whether the peer is observed; or the reason, and
/// whether it holds forever.
fn choose(
    decider: &mut Decider,
    known: &Known,
    side: Side,
    local: &str,
    peer: &str,
) -> Result<(String, Backend, bool), (NotSelected, bool)> {
    match decider.choose(known, &began(side, local, peer), b"/") {
        Ok(chosen) => Ok((
            chosen.workload.service.to_string(),
            chosen.route.backend,
            chosen.peer_observed,
        )),
        Err(not) => Err((not.reason, not.forever)),
    }
}

#[test]
fn servers_go_where_their_policy_says() {
    use NotSelected::{
        NoDataplane, NoInbound, NoPolicy, NotHttp, UnknownBackend, UnsupportedBackend,
    };
    let stranger = "192.0.2.1:4000";
    let ok = |service: &str, backend, observed| Ok((service.to_owned(), backend, observed));
    for (local, peer, expected) in [
        ("10.0.0.1:8080", stranger, ok("web", MAIN, false)),
        // The callers: one of the same backend, one of another.
        ("10.0.0.1:8080", "10.0.0.7:4000", ok("web", MAIN, true)),
        ("10.0.0.1:8080", "10.0.0.2:4000", ok("web", MAIN, false)),
        ("10.0.0.1:8081", stranger, Err((NotHttp, false))),
        ("10.0.0.2:80", stranger, ok("eu", EU, false)),
        // Whether they share ids is another question.
        ("10.0.0.2:80", "10.0.0.8:4000", ok("eu", EU, true)),
        ("10.0.0.3:5432", stranger, Err((NotHttp, false))),
        ("10.0.0.4:80", stranger, Err((UnknownBackend, true))),
        ("10.0.0.5:80", stranger, Err((UnsupportedBackend, true))),
        ("10.0.0.6:80", stranger, Err((NoPolicy, true))),
        // Its proxy's port is not the process's.
        ("10.0.0.1:80", stranger, Err((NoDataplane, false))),
        ("192.0.2.9:80", stranger, Err((NoDataplane, false))),
    ] {
        let got = choose(&mut decider(), &process(), Side::Server, local, peer);
        assert_eq!(got, expected, "{local} from {peer}");
    }
    // It listens on all addresses, so others than its Dataplane's reach it.
    let mut decider = decider();
    let process = process();
    let listens = ["10.0.0.1:8080".parse().unwrap()];
    decider.learn(process.key, &listens, MonoNanos(1));
    for (local, expected) in [
        ("127.0.0.1:8080", ok("web", MAIN, false)),
        ("127.0.0.1:9999", Err((NoInbound, false))),
    ] {
        let got = choose(&mut decider, &process, Side::Server, local, stranger);
        assert_eq!(got, expected, "{local}");
    }
}

#[test]
fn outgoing_calls_go_by_their_destination() {
    use NotSelected::{NoDataplane, NotHttp, UnknownDestination};
    let mut decider = decider();
    let process = process();
    let local = "10.0.0.1:40000";
    // Nobody knows yet where it listens.
    assert!(decider.asks(&process, MonoNanos(1)));
    let early = choose(&mut decider, &process, Side::Client, local, "10.0.0.2:80");
    assert_eq!(early, Err((NoDataplane, false)));
    decider.learn(process.key, &[], MonoNanos(1));
    assert!(!decider.asks(&process, MonoNanos(2)));
    assert!(decider.asks(&process, MonoNanos(6_000_000_000)));
    let listens = ["10.0.0.1:8080".parse().unwrap()];
    decider.learn(process.key, &listens, MonoNanos(1));
    assert!(!decider.asks(&process, MonoNanos(6_000_000_000)));
    let traced = Ok(("web".to_owned(), MAIN, false));
    for (peer, expected) in [
        ("10.0.0.2:80", traced.clone()),
        // Another instance of the same service.
        ("10.0.0.7:80", traced.clone()),
        // By its proxy's outbounds.
        ("127.0.0.1:5001", traced),
        ("127.0.0.1:5000", Err((NotHttp, false))),
        ("10.0.0.3:5432", Err((NotHttp, false))),
        ("10.0.0.6:80", Err((UnknownDestination, false))),
        ("192.0.2.1:80", Err((UnknownDestination, false))),
    ] {
        let got = choose(&mut decider, &process, Side::Client, local, peer);
        assert_eq!(got, expected, "{peer}");
    }
}

#[test]
fn in_a_capture_an_address_finds_its_dataplane() {
    let mut decider = decider();
    let ip: IpAddr = "10.0.0.7".parse().unwrap();
    let host = known(2, Origin::Address(ip));
    assert!(!decider.asks(&host, MonoNanos(1)));
    let got = choose(
        &mut decider,
        &host,
        Side::Client,
        "10.0.0.7:4000",
        "10.0.0.2:80",
    );
    assert_eq!(got, Ok(("web".to_owned(), MAIN, false)));
    let standing = decider.standing(&host, MonoNanos(1));
    assert_eq!(&*standing.service, "web");
    assert_eq!(&*standing.selected.unwrap().dataplane.name, "web-2");
}

#[test]
fn all_spans_of_a_workload_share_its_name() {
    let mut decider = decider();
    let process = process();
    let began = began(Side::Server, "10.0.0.1:8080", "192.0.2.1:4000");
    let first = decider.choose(&process, &began, b"/").unwrap().workload;
    let second = decider.choose(&process, &began, b"/").unwrap().workload;
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(&*first.node, "node");
    // A configured service names all.
    let mut workload = Workload::clone(&process.workload);
    workload.kind = WorkloadKind::Configured;
    let configured = Known {
        workload: Arc::new(workload),
        ..process
    };
    let third = decider.choose(&configured, &began, b"/").unwrap().workload;
    assert_eq!(&*third.service, "process");
}

#[test]
fn selectors_narrow_what_policies_choose() {
    let plan = Plan {
        selection: Selection {
            ports: vec![8080],
            exclude_paths: vec!["/health*".parse().unwrap()],
            ..Selection::default()
        },
        destinations: Destinations::Policies(policies()),
        ..Plan::default()
    };
    let mut decider = Decider::new(Arc::new(plan));
    let process = process();
    let stranger = "192.0.2.1:4000";
    let got = choose(
        &mut decider,
        &process,
        Side::Server,
        "10.0.0.2:80",
        stranger,
    );
    assert_eq!(got, Err((NotSelected::ExcludedPort, false)));
    let began = began(Side::Server, "10.0.0.1:8080", stranger);
    let health = decider.choose(&process, &began, b"/healthz").unwrap_err();
    assert_eq!(health.reason, NotSelected::ExcludedPath);
    assert!(decider.choose(&process, &began, b"/").is_ok());
}

#[test]
fn who_serves_two_dataplanes_is_not_ignored_for_one_of_them() {
    let mut decider = decider();
    let (typo, web) = ("10.0.0.4:80", "10.0.0.1:8080");
    let learn = |decider: &mut Decider, addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|at| at.parse().unwrap()).collect();
        decider.learn(process().key, &addresses, MonoNanos(1));
    };
    let of = |decider: &mut Decider, local| {
        choose(decider, &process(), Side::Server, local, "192.0.2.1:4000")
    };
    let unknown = NotSelected::UnknownBackend;
    learn(&mut decider, &[typo]);
    assert_eq!(of(&mut decider, typo), Err((unknown, true)));
    learn(&mut decider, &[typo, web]);
    assert_eq!(of(&mut decider, typo), Err((unknown, false)));
    assert!(of(&mut decider, web).is_ok());
}

#[test]
fn who_cannot_be_named_is_not_ignored_for_good() {
    let mut decider = Decider::new(Arc::new(Plan {
        selection: Selection {
            include: vec!["shop".parse().unwrap()],
            ..Selection::default()
        },
        ..Plan::default()
    }));
    let (local, peer) = ("10.0.0.1:8080", "192.0.2.1:4000");
    let mut of = |known| choose(&mut decider, &known, Side::Server, local, peer);
    let excluded = NotSelected::ExcludedWorkload;
    assert_eq!(of(process()), Err((excluded, true)));
    assert_eq!(of(known(9, Origin::Gone)), Err((excluded, false)));
}

#[test]
fn without_policies_all_goes_one_way() {
    let route = Route {
        backend: Backend(3),
        ..Route::default()
    };
    let mut decider = Decider::new(Arc::new(Plan {
        destinations: Destinations::One(route),
        ..Plan::default()
    }));
    assert!(!decider.asks(&process(), MonoNanos(1)));
    let got = choose(
        &mut decider,
        &process(),
        Side::Client,
        "192.0.2.1:1",
        "192.0.2.2:2",
    );
    assert_eq!(got, Ok(("process".to_owned(), Backend(3), false)));
    // Another plan, and nothing of the first is left.
    decider.replace(Arc::new(Plan {
        destinations: Destinations::Policies(policies()),
        ..Plan::default()
    }));
    let got = choose(
        &mut decider,
        &process(),
        Side::Server,
        "10.0.0.2:80",
        "192.0.2.2:2",
    );
    assert_eq!(got, Ok(("eu".to_owned(), EU, false)));
}
