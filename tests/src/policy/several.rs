//! Two policies side by side, each with a real Zipkin of its own: every span
//! is where its workload's policy says, and nowhere else.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::node::Node;
use super::scene::{FIRST, Site, ask, dataplane, mesh, nothing, policy, services_of};
use crate::children::Running;
use crate::ledger::at;
use crate::network::{Network, PODS};
use crate::report::{Report, Verdict};
use crate::zipkin::Zipkin;

/// Everything of the mesh, but for what is in the region.
const SHOP: &str = "policy-shop";
/// In the region `eu`: must not leave its backend.
const ORDERS: &str = "policy-orders";
/// In the region, too, and no HTTP server.
const BOOKS: &str = "policy-books";
/// Requests of each kind.
const COUNT: usize = 10;

/// What was asked for.
struct Asked {
    /// The shop calls the orders.
    across: Vec<String>,
    /// The books, which are tagged as TCP, call the orders.
    from_tcp: Vec<String>,
    /// The shop calls the books.
    to_tcp: Vec<String>,
    /// A server without a Dataplane.
    stranger: Vec<String>,
}

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let _network = Network::new()?;
    let _services = services(site)?;
    let stranger = site.server("policy-stranger", FIRST)?;
    let folder = site.folder("policy-several")?;
    let [wide, narrow] = site.zipkins;
    let pod = |n| SocketAddr::from((Network::pod(n, false), 8080));
    let http = |region: &str| format!("kuma.io/protocol: http, region: {region}");
    for (file, text) in [
        (
            "mesh.yaml",
            mesh(&[("wide", &wide.spans_url()), ("narrow", &narrow.spans_url())]),
        ),
        ("all.yaml", policy("all", "kuma.io/service: '*'", "wide")),
        (
            "eu.yaml",
            policy("eu", "kuma.io/service: '*', region: eu", "narrow"),
        ),
        ("shop.yaml", dataplane(pod(1), SHOP, &http("us"))),
        ("orders.yaml", dataplane(pod(2), ORDERS, &http("eu"))),
        (
            "books.yaml",
            dataplane(pod(3), BOOKS, "kuma.io/protocol: tcp, region: eu"),
        ),
    ] {
        fs::write(folder.join(file), text)?;
    }
    let resources = folder.display().to_string();
    let agent = site.agent("policy-several", &["--resources", &resources])?;
    report.note("two policies are in force");
    let asked = Asked {
        across: ask(pod(1), "/chain/orders", COUNT)?,
        from_tcp: ask(pod(3), "/chain/orders", COUNT)?,
        to_tcp: ask(pod(1), "/chain/books", COUNT)?,
        stranger: stranger.ask(COUNT)?,
    };
    // Two exchanges for each call: its two ends.
    let observed = agent.wait_ledger("/exchanges/observed", 14 * COUNT as u64);
    report.check("several/all-observed", || {
        observed?;
        agent.in_order()?;
        Ok(Verdict::Passed)
    });
    // Of one trace, what is here may be there: the ids alone would not do.
    let both = |traces: &[String], at_wide: &[&str], at_narrow: &[&str]| -> Result<Verdict> {
        for (zipkin, services) in [(wide, at_wide), (narrow, at_narrow)] {
            if services.is_empty() {
                nothing(zipkin, traces)?;
            } else {
                super::scene::arrived(zipkin, traces, services)?;
            }
        }
        Ok(Verdict::Passed)
    };
    report.check("several/each-to-its-own", || {
        both(&asked.across, &[SHOP, SHOP], &[ORDERS])
    });
    report.check("several/tcp-calls-http", || {
        both(&asked.from_tcp, &[], &[BOOKS, ORDERS])
    });
    report.check("several/http-calls-tcp", || {
        both(&asked.to_tcp, &[SHOP], &[])
    });
    report.check("several/no-dataplane", || both(&asked.stranger, &[], &[]));
    report.check("several/reasons", || reasons(&agent));
    let stopped = agent.stop();
    report.check("several/ledger-at-end", || {
        stopped.map(|()| Verdict::Passed)
    });
    report.check("several/no-strangers", || {
        only(wide, &asked, &[SHOP], &[ORDERS, BOOKS])?;
        only(narrow, &asked, &[ORDERS, BOOKS], &[SHOP])?;
        Ok(Verdict::Passed)
    });
    Ok(())
}

fn services(site: &Site<'_>) -> Result<Vec<Running>> {
    let at = |n| SocketAddr::from((Network::pod(n, false), 8080));
    let (orders, books) = (
        format!("orders=http://{}", at(2)),
        format!("books=http://{}", at(3)),
    );
    let programs = [
        ("a", vec![orders.as_str(), books.as_str()]),
        ("b", vec![]),
        ("c", vec![orders.as_str()]),
    ];
    let mut services = Vec::new();
    for ((pod, (name, routes)), n) in PODS.into_iter().zip(programs).zip(1..) {
        let mut start = Network::inside(pod)?;
        start
            .arg(site.places.programs.join("goserver"))
            .args(["chain", "8080", name])
            .args(routes);
        let name = format!("policy-{name}");
        let mut service = Running::start(&name, &mut start, &site.places.out)?;
        service.wait_listening(at(n))?;
        services.push(service);
    }
    Ok(services)
}

/// The ledger says why each of the others is no span.
fn reasons(agent: &Node) -> Result<Verdict> {
    let count = COUNT as u64;
    let status = agent.status()?;
    let exchanges = &status["ledger"]["exchanges"];
    let number = |place| at(exchanges, place).unwrap_or_default();
    // The books' inbound twice, and the shop's calls of it.
    let tcp = number("/not_selected/not_http");
    ensure!(tcp == 3 * count, "not {} not_http: {exchanges}", 3 * count);
    // The suite's own half of every request, the stranger's, and what the
    // suite asks Zipkin and the agent.
    let nobody = number("/not_selected/no_dataplane");
    ensure!(nobody >= 5 * count, "too few no_dataplane: {exchanges}");
    let spans = number("/spans");
    ensure!(spans == 6 * count, "not {} spans: {exchanges}", 6 * count);
    Ok(Verdict::Passed)
}

/// Of all that a server has, spans of these requests are of these services, and
/// no span at all is of the others.
fn only(zipkin: &Zipkin, asked: &Asked, may: &[&str], must_not: &[&str]) -> Result<()> {
    let services = zipkin.json("/api/v2/services")?;
    let knows = |service: &&&str| {
        let all = services.as_array().into_iter().flatten();
        all.filter_map(Value::as_str)
            .any(|known| known == **service)
    };
    let missing = may.iter().find(|service| !knows(service));
    ensure!(missing.is_none(), "no {missing:?} in {services}");
    let wrong = must_not.iter().find(|service| knows(service));
    ensure!(wrong.is_none(), "{wrong:?} is there: {services}");
    let Asked {
        across,
        from_tcp,
        to_tcp,
        stranger,
    } = asked;
    let ours: Vec<&String> = [across, from_tcp, to_tcp, stranger]
        .into_iter()
        .flatten()
        .collect();
    for trace in zipkin.all_traces()? {
        let is_ours = trace.iter().any(|span| ours.contains(&&span.trace));
        let found = services_of(&trace);
        ensure!(
            found.iter().all(|service| !must_not.contains(service)),
            "spans of {found:?}"
        );
        ensure!(
            !is_ours || found.iter().all(|service| may.contains(service)),
            "a trace of these requests has spans of {found:?}"
        );
        // An agent that reported its own deliveries would be here. The Zipkin
        // serves other suites, too: Envoy's deliveries there are traced, as
        // they should be.
        let delivery = trace.iter().find(|span| {
            let service = span.service.as_str();
            let here =
                service == "nodespan" || may.contains(&service) || must_not.contains(&service);
            here && span.path() == "/api/v2/spans"
        });
        ensure!(delivery.is_none(), "a delivery is reported: {delivery:?}");
    }
    Ok(())
}
