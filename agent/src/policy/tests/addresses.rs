//! Which Dataplane an address is of.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::resources::parse;
use crate::policy::*;

const DATAPLANES: &str = "
type: Dataplane
mesh: default
name: web
networking:
  address: 10.0.0.1
  advertisedAddress: 192.0.2.1
  inbound:
  - port: 8080
    servicePort: 80
    serviceAddress: 127.0.0.1
    tags: {kuma.io/service: web, kuma.io/protocol: http}
  - port: 9090
    tags: {kuma.io/service: admin, kuma.io/protocol: tcp}
  - address: 10.0.0.11
    port: 7070
    tags: {kuma.io/service: web, kuma.io/protocol: http}
---
type: Dataplane
mesh: default
name: other-host
networking:
  address: 10.0.0.2
  inbound:
  - {port: 8080, servicePort: 80, serviceAddress: 127.0.0.1, tags: {kuma.io/service: other, kuma.io/protocol: grpc}}
---
type: Dataplane
mesh: default
name: six
networking:
  address: 'fd00::6'
  inbound:
  - {port: 80, tags: {kuma.io/service: other, kuma.io/protocol: http2}}
---
type: Dataplane
mesh: default
name: named
networking:
  address: db.example.com
  inbound:
  - {port: 5432, serviceAddress: 127.0.0.1, tags: {kuma.io/service: db}}
---
type: Dataplane
mesh: default
name: gateway
networking:
  address: 10.0.0.9
  gateway: {tags: {kuma.io/service: edge}}
  outbound:
  - {port: 33033, tags: {kuma.io/service: web}}
---
type: Dataplane
mesh: default
name: ignored
networking:
  address: 10.0.0.8
  inbound:
  - {port: 80, state: Ignored, tags: {kuma.io/service: web, kuma.io/protocol: tcp}}
";

fn engine() -> Engine {
    let parsed = parse("dataplanes.yaml", DATAPLANES);
    assert_eq!(parsed.report.findings, [], "{}", parsed.report);
    Engine::new(Arc::new(parsed.resources.into_iter().collect()))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn names(found: &[DataplaneRef]) -> Vec<(&str, Option<usize>)> {
    found
        .iter()
        .map(|found| (&*found.dataplane.name, found.inbound))
        .collect()
}

#[test]
fn where_a_process_listens() {
    let engine = engine();
    for (address, expected) in [
        // serviceAddress and servicePort.
        (
            "127.0.0.1:80",
            vec![("other-host", Some(0)), ("web", Some(0))],
        ),
        // The proxy listens there, not the process.
        ("10.0.0.1:8080", vec![]),
        ("10.0.0.1:80", vec![]),
        // Neither is given: networking.address and port.
        ("10.0.0.1:9090", vec![("web", Some(1))]),
        // The inbound's own address.
        ("10.0.0.11:7070", vec![("web", Some(2))]),
        ("10.0.0.1:7070", vec![]),
        ("[fd00::6]:80", vec![("six", Some(0))]),
        // A socket of both families shows an IPv4 address like this.
        ("[::ffff:10.0.0.1]:9090", vec![("web", Some(1))]),
        // A name is not resolved, but its serviceAddress is an address.
        ("127.0.0.1:5432", vec![("named", Some(0))]),
        ("10.0.0.9:33033", vec![]),
    ] {
        assert_eq!(
            names(engine.dataplanes_at(at(address))),
            expected,
            "{address}"
        );
    }
}

#[test]
fn of_several_the_one_on_this_host() {
    let engine = engine();
    let on = |host: &str| -> Option<String> {
        let host: IpAddr = host.parse().unwrap();
        let found = engine.dataplane_at(at("127.0.0.1:80"), |ip| ip == host);
        found.map(|found| found.dataplane.name.to_string())
    };
    assert_eq!(on("10.0.0.1").as_deref(), Some("web"));
    assert_eq!(on("10.0.0.2").as_deref(), Some("other-host"));
    assert_eq!(on("10.0.0.3"), None);
    let both = engine.dataplane_at(at("127.0.0.1:80"), |_| true);
    assert_eq!(both, None);
    // The only one needs no answer about hosts.
    assert!(
        engine
            .dataplane_at(at("10.0.0.1:9090"), |_| false)
            .is_some()
    );
}

#[test]
fn where_others_reach_it() {
    let engine = engine();
    for (address, expected) in [
        ("10.0.0.1:8080", vec![("web", Some(0))]),
        ("192.0.2.1:8080", vec![("web", Some(0))]),
        ("192.0.2.1:9090", vec![("web", Some(1))]),
        ("10.0.0.1:9090", vec![("web", Some(1))]),
        ("10.0.0.1:1", vec![]),
    ] {
        assert_eq!(
            names(engine.endpoints_at(at(address))),
            expected,
            "{address}"
        );
    }
    let found = &engine.endpoints_at(at("192.0.2.1:9090"))[0];
    assert_eq!(found.inbound().unwrap().protocol, Protocol::Tcp);
}

#[test]
fn who_has_an_address() {
    let engine = engine();
    for (ip, expected) in [
        ("10.0.0.1", vec![("web", None)]),
        ("10.0.0.11", vec![("web", None)]),
        ("192.0.2.1", vec![("web", None)]),
        ("::ffff:10.0.0.1", vec![("web", None)]),
        ("10.0.0.9", vec![("gateway", None)]),
        ("127.0.0.1", vec![]),
        ("10.0.0.3", vec![]),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        assert_eq!(names(engine.dataplanes_of(ip)), expected, "{ip}");
    }
}

#[test]
fn a_services_protocol_is_common_to_its_endpoints() {
    let engine = engine();
    for (service, protocol) in [
        // The ignored one, tcp, does not count.
        ("web", Protocol::Http),
        ("admin", Protocol::Tcp),
        ("other", Protocol::Http2),
        ("db", Protocol::Unknown),
        // A gateway is no endpoint.
        ("edge", Protocol::Unknown),
        ("nobody", Protocol::Unknown),
    ] {
        assert_eq!(
            engine.service_protocol("default", service),
            protocol,
            "{service}"
        );
    }
    assert_eq!(
        engine.service_protocol("other-mesh", "web"),
        Protocol::Unknown
    );
}

#[test]
fn the_first_service_names_a_dataplane() {
    let engine = engine();
    let web = &engine.dataplanes_at(at("10.0.0.1:9090"))[0].dataplane;
    assert_eq!(web.service().map(|s| &**s), Some("admin"));
    let edge = &engine.dataplanes_of("10.0.0.9".parse().unwrap())[0].dataplane;
    assert_eq!(edge.service().map(|s| &**s), Some("edge"));
    assert_eq!(edge.outbounds[0].service.as_deref(), Some("web"));
    assert_eq!(edge.outbounds[0].address, IpAddr::from([127, 0, 0, 1]));
}
