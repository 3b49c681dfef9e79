use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::*;
use crate::assemble::Seed;
use crate::http::context::TraceContext;
use crate::identify::{Workload, WorkloadKey, WorkloadKind};
use crate::units::{Endpoint, MonoNanos, OwnerId, WireId};

fn known(service: &str, origin: Origin) -> Known {
    Known {
        key: WorkloadKey(1),
        workload: Arc::new(Workload {
            service: service.into(),
            kind: WorkloadKind::Command,
            node: "node".into(),
            address: None,
            pod: None,
        }),
        origin,
    }
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|p| p.parse().unwrap()).collect()
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn workloads() {
    let unit = known("nginx", Origin::Unit("nginx.service".into()));
    let container = known(
        "web",
        Origin::Container {
            id: ID.into(),
            name: Some("web".into()),
        },
    );
    let renamed = known("shop", Origin::Unit("nginx.service".into()));
    let command = known("app.py", Origin::Command("app.py".into()));
    let address = known(
        "10.0.0.1",
        Origin::Address(Ipv4Addr::new(10, 0, 0, 1).into()),
    );
    let gone = known("pid-7", Origin::Gone);
    let all = [&unit, &container, &renamed, &command, &address, &gone];

    let units = |p: &[&str]| Selection {
        units: globs(p),
        ..Selection::default()
    };
    let containers = |p: &[&str]| Selection {
        containers: globs(p),
        ..Selection::default()
    };
    let include = |p: &[&str]| Selection {
        include: globs(p),
        ..Selection::default()
    };
    let exclude = |p: &[&str]| Selection {
        exclude: globs(p),
        ..Selection::default()
    };
    for (selection, expected) in [
        (Selection::default(), "++++++"),
        (units(&["nginx"]), "+-+---"),
        (units(&["nginx.service"]), "+-+---"),
        (units(&["ngin*"]), "+-+---"),
        (units(&["web"]), "------"),
        (units(&["app.py"]), "------"),
        (containers(&["web"]), "-+----"),
        (containers(&["0123456789ab"]), "-+----"),
        (containers(&["0123456789a"]), "------"),
        (containers(&[ID]), "-+----"),
        (containers(&["nginx"]), "------"),
        (include(&["nginx"]), "+-+---"),
        (include(&["shop"]), "--+---"),
        (include(&["web", "*.py"]), "-+-+--"),
        (include(&["10.0.*"]), "----+-"),
        (include(&["pid-*"]), "-----+"),
        (exclude(&["nginx"]), "-+-+++"),
        (exclude(&["*"]), "------"),
        (
            Selection {
                containers: globs(&["web"]),
                ..units(&["nginx"])
            },
            "+++---",
        ),
        (
            Selection {
                exclude: globs(&["shop"]),
                ..units(&["nginx"])
            },
            "+-----",
        ),
    ] {
        let verdicts: String = all
            .iter()
            .map(|known| {
                if selection.owner(known) == OwnerVerdict::Watch {
                    '+'
                } else {
                    '-'
                }
            })
            .collect();
        assert_eq!(verdicts, expected, "{selection:?}");
    }
    assert_eq!(
        exclude(&["web"]).owner(&container),
        OwnerVerdict::Ignore(NotSelected::Excluded)
    );
    assert_eq!(
        units(&["x"]).owner(&container),
        OwnerVerdict::Ignore(NotSelected::NotIncluded)
    );
}

fn began(side: Side, local: u16, peer: u16) -> Began {
    let end = |port| {
        Some(Endpoint {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port,
        })
    };
    Began {
        serial: 1,
        side,
        wire: WireId::default(),
        context: TraceContext::default(),
        seed: Seed::Head(1),
        owner: OwnerId(1),
        pid: 1,
        local: end(local),
        peer: end(peer),
        start: MonoNanos(1),
    }
}

#[test]
fn ports_are_those_of_servers() {
    let selection = Selection {
        ports: vec![80, 8080],
        ..Selection::default()
    };
    let known = known("x", Origin::Command("x".into()));
    for (side, local, peer, expected) in [
        (Side::Server, 80, 50_000, Ok(())),
        (Side::Server, 8080, 50_000, Ok(())),
        (Side::Server, 50_000, 80, Err(NotSelected::Port)),
        (Side::Client, 50_000, 80, Ok(())),
        (Side::Client, 80, 50_000, Err(NotSelected::Port)),
    ] {
        assert_eq!(selection.began(&known, &began(side, local, peer)), expected);
    }
    let unknown = Began {
        local: None,
        ..began(Side::Server, 80, 1)
    };
    assert_eq!(selection.began(&known, &unknown), Err(NotSelected::Port));
    assert_eq!(Selection::default().began(&known, &unknown), Ok(()));
}

#[test]
fn headerless_requests() {
    let selection = Selection {
        headerless: Headerless::Ignore,
        ..Selection::default()
    };
    let known = known("x", Origin::Command("x".into()));
    let mut began = began(Side::Server, 80, 1);
    assert_eq!(
        selection.began(&known, &began),
        Err(NotSelected::Headerless)
    );
    assert_eq!(Selection::default().began(&known, &began), Ok(()));
    began.context.decision = Decision::Accept;
    assert_eq!(selection.began(&known, &began), Ok(()));
}

#[test]
fn paths() {
    let selection = Selection {
        exclude_paths: globs(&["/healthz", "/probe/*", "*.ico", "/"]),
        ..Selection::default()
    };
    for (target, excluded) in [
        ("/healthz", true),
        ("/healthz?full=1", true),
        ("/healthz/", false),
        ("/healthz2", false),
        ("/x?to=/healthz", false),
        ("/probe/live", true),
        ("/probe", false),
        ("/favicon.ico", true),
        ("/", true),
        ("/?a", true),
        ("http://host:80/healthz", true),
        ("http://host:80/healthz?x", true),
        ("http://host", true),
        ("http://host?x", true),
        ("*", false),
        ("host:443", false),
        ("/a?u=http://h/healthz", false),
        ("", false),
    ] {
        let expected = if excluded {
            Err(NotSelected::Path)
        } else {
            Ok(())
        };
        assert_eq!(selection.target(target.as_bytes()), expected, "{target}");
    }
    assert_eq!(Selection::default().target(b"/"), Ok(()));
}
