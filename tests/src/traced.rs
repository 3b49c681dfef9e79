//! Runs whose spans go to a real Zipkin: chains of services that only copy
//! headers, in network namespaces, and Envoy with a tracer of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};

use crate::agent::Agent;
use crate::children::{Running, program};
use crate::identity::Talks;
use crate::network::{DNAT, DNAT_SNAT, Network, PODS, SNAT};
use crate::origin::Origin;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::{Kind, Span};
use crate::targets::{EnvoyListener, PORTS, Places, python_program, start_envoy};
use crate::tree::{is_chain, is_one_tree, show};
use crate::zipkin::{Zipkin, callers_span};

/// Port of the origin that finds out whether the agent is ready.
const PROBE: u16 = PORTS + 20;
/// Port of Envoy with `shared_span_context`; without it is the next one.
const ENVOY: u16 = PORTS + 21;

/// How a chain is called.
#[derive(Clone, Copy, Debug)]
struct Route {
    name: &'static str,
    calls: usize,
    carries: Carries,
}

/// What the caller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    B3,
    SingleB3,
    RequestId,
}

const ROUTES: &[Route] = &[
    Route {
        name: "direct",
        calls: 100,
        carries: Carries::B3,
    },
    Route {
        name: "nat",
        calls: 100,
        carries: Carries::B3,
    },
    Route {
        name: "snat",
        calls: 100,
        carries: Carries::SingleB3,
    },
    Route {
        name: "v6",
        calls: 20,
        carries: Carries::B3,
    },
    Route {
        name: "request-id",
        calls: 20,
        carries: Carries::RequestId,
    },
];

/// Runs the agent once with separate and once with shared spans. Without an
/// agent, only the traffic is judged.
///
/// # Errors
/// If the services or the agent cannot be started.
pub fn run(
    report: &mut Report,
    places: &Places,
    nodespan: Option<&PathBuf>,
    zipkin: &Zipkin,
) -> Result<()> {
    if !["chain/", "shared-chain/", "envoy-tracer/", "identity/"]
        .iter()
        .any(|group| report.wants(group))
    {
        return Ok(());
    }
    let _network = Network::new().context("network namespaces")?;
    let mut services = start_services(places)?;
    let origin = Origin::start(&[[127, 0, 0, 1].into()], PROBE)?;
    let envoys = report
        .wants("envoy-tracer/")
        .then(|| envoys(places, zipkin))
        .transpose();
    let mut envoys = envoys.unwrap_or_else(|error| {
        report.result("envoy-tracer/start", Err(error));
        None
    });
    for (service, n) in services.iter_mut().zip(1..) {
        service.wait_listening((Network::pod(n, false), 8080).into())?;
    }
    if let Some(envoy) = &mut envoys {
        envoy.wait_listening(([127, 0, 0, 1], ENVOY).into())?;
    }
    let mut talks = report
        .wants("identity/")
        .then(|| Talks::start(places))
        .transpose()?;
    report.note("the chain is up");

    for shared in [false, true] {
        let name = if shared { "shared-chain" } else { "chain" };
        let mut agent = nodespan
            .map(|nodespan| start_agent(places, nodespan, zipkin, name, shared))
            .transpose()?;
        let mut called = Vec::new();
        for route in ROUTES {
            let check = format!("{name}/{}", route.name);
            if report.wants(&check) {
                called.push((check, *route, call_all(*route, shared)));
            }
        }
        let mut through_envoy = Vec::new();
        if envoys.is_some() && !shared {
            for own_shared in [true, false] {
                through_envoy.push((own_shared, call_envoy(own_shared)));
            }
        }
        // Only the first agent is younger than their first connections.
        let mut talked = talks.take();
        talked.as_mut().map_or(Ok(()), Talks::talk)?;
        let spans = agent.as_mut().map(Agent::stop).transpose()?;
        let traced = spans.is_some();
        report.note(&format!("{name} was called"));
        if let (Some(talks), Some(spans)) = (&mut talked, &spans) {
            talks.judge(report, spans)?;
        }
        if let Some(agent) = &agent {
            report.check(&format!("{name}/ledger-at-end"), || agent.balanced());
        }
        for (check, route, calls) in called {
            let judged = calls.and_then(|calls| {
                if traced {
                    judge(zipkin, route, &calls, shared)
                } else {
                    Ok(())
                }
            });
            report.result(&check, judged.map(|()| Verdict::Passed));
        }
        for (own_shared, calls) in through_envoy {
            let name = if own_shared {
                "shared-context"
            } else {
                "own-context"
            };
            let judged = calls.and_then(|calls| {
                if traced {
                    judge_envoy(zipkin, &calls, own_shared)
                } else {
                    Ok(())
                }
            });
            report.result(
                &format!("envoy-tracer/{name}"),
                judged.map(|()| Verdict::Passed),
            );
        }
    }
    for service in &mut services {
        service.must_live()?;
    }
    drop(origin);
    Ok(())
}

/// Python calls Node calls Go, each in a pod of its own, by several routes.
pub(crate) fn start_services(places: &Places) -> Result<Vec<Running>> {
    let mut services = Vec::new();
    let (python, node) = (python_program()?, program(&["node", "nodejs"])?);
    let go = places.programs.join("goserver");
    let (b, c) = (Network::pod(2, false), Network::pod(3, false));
    let (b6, c6) = (Network::pod(2, true), Network::pod(3, true));
    let next_of_a = format!(
        "direct=http://{b}:8080 request-id=http://{b}:8080 nat=http://{DNAT} \
         snat=http://{SNAT} v6=http://[{b6}]:8080"
    );
    let next_of_b = format!(
        "direct=http://{c}:8080 request-id=http://{c}:8080 nat=http://{DNAT_SNAT} \
         snat=http://{c}:8080 v6=http://[{c6}]:8080"
    );
    let chain_py = places.scenarios.join("chain.py");
    let chain_js = places.scenarios.join("chain.js");
    let programs = [
        (
            "a",
            vec![python.as_os_str(), chain_py.as_os_str()],
            next_of_a,
        ),
        ("b", vec![node.as_os_str(), chain_js.as_os_str()], next_of_b),
        ("c", vec![go.as_os_str(), "chain".as_ref()], String::new()),
    ];
    for (pod, (name, program, next)) in PODS.into_iter().zip(programs) {
        let mut start = Network::inside(pod)?;
        start
            .args(program)
            .args(["8080", name])
            .args(next.split_whitespace());
        services.push(Running::start(
            &format!("chain-{name}"),
            &mut start,
            &places.out,
        )?);
    }
    Ok(services)
}

/// Two listeners with Zipkin tracers of their own, in front of the third pod.
fn envoys(places: &Places, zipkin: &Zipkin) -> Result<Running> {
    let listeners = [true, false].map(|shared| {
        let addr = zipkin.addr();
        EnvoyListener {
            address: ("127.0.0.1".to_owned(), ENVOY + u16::from(!shared)),
            upstream: (Network::pod(3, false).to_string(), 8080),
            log: places.out.join("envoy-tracer.log"),
            zipkin: Some((addr.ip().to_string(), addr.port(), shared)),
        }
    });
    start_envoy("envoy-tracer", places, &listeners)
}

fn start_agent(
    places: &Places,
    nodespan: &Path,
    zipkin: &Zipkin,
    name: &str,
    shared: bool,
) -> Result<Agent> {
    let file = places.out.join(format!("{name}.toml"));
    let url = zipkin.spans_url();
    let config = format!(
        "[tracing]\nbackend = \"zipkin\"\n\n[tracing.zipkin]\nhttpEndpoint = \"{url}\"\n\
         sameSpan = {shared}\n"
    );
    fs::write(&file, config)?;
    let arguments = ["--config".as_ref(), file.as_os_str()];
    let mut agent = Agent::start(nodespan, name, arguments, &places.out)?;
    agent.wait_ready(([127, 0, 0, 1], PROBE).into())?;
    Ok(agent)
}

/// One call of a caller that has a span of its own, and its ids.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    trace: String,
    span: String,
    started: u64,
}

impl Call {
    pub(crate) fn new(series: u16, n: usize) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let started = u64::try_from(now.as_micros()).unwrap_or_default();
        Self {
            // Zipkin keeps the traces of all guests of a run.
            trace: format!(
                "{started:016x}{:08x}{series:04x}{n:04x}",
                std::process::id()
            ),
            span: format!("{:08x}{series:04x}{n:04x}", started & 0xffff_ffff | 1),
            started,
        }
    }

    /// Its trace's id.
    pub(crate) fn trace(&self) -> &str {
        &self.trace
    }

    pub(crate) fn headers(&self, carries: Carries) -> String {
        let Self { trace, span, .. } = self;
        match carries {
            Carries::B3 => {
                format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n")
            }
            Carries::SingleB3 => format!("b3: {trace}-{span}-1\r\n"),
            Carries::RequestId => format!("X-Request-Id: {trace}\r\n"),
        }
    }
}

/// Calls the chain's first service, all calls at once.
fn call_all(route: Route, shared: bool) -> Result<Vec<Call>> {
    let first = SocketAddr::from((Network::pod(1, route.name == "v6"), 8080));
    let position = ROUTES
        .iter()
        .position(|one| one.name == route.name)
        .unwrap_or_default();
    let series = u16::try_from(position)? + if shared { 0x100 } else { 0 };
    let calls: Vec<Call> = (0..route.calls).map(|n| Call::new(series, n)).collect();
    let threads: Vec<_> = calls
        .iter()
        .cloned()
        .enumerate()
        .map(|(n, call)| std::thread::spawn(move || call_chain(first, route, n, &call)))
        .collect();
    for thread in threads {
        let Ok(result) = thread.join() else {
            bail!("a caller panicked")
        };
        result?;
    }
    Ok(calls)
}

fn call_chain(first: SocketAddr, route: Route, n: usize, call: &Call) -> Result<()> {
    let mut client = Client::connect(first)?;
    let path = format!("/chain/{}/{n}", route.name);
    let response = client.exchange("GET", &path, &call.headers(route.carries))?;
    let said = String::from_utf8_lossy(&response.body);
    ensure!(
        response.status == 200 && said.trim() == "a b c",
        "the chain said {said:?}"
    );
    Ok(())
}

fn judge(zipkin: &Zipkin, route: Route, calls: &[Call], shared: bool) -> Result<()> {
    let by_request_id = route.carries == Carries::RequestId;
    if !by_request_id {
        post_callers(zipkin, calls, None)?;
    }
    let mut broken = Vec::new();
    for call in calls {
        let judged = if by_request_id {
            trace_with_request_id(zipkin, &call.trace)
                .and_then(|trace| is_chain(&trace, None, 3, shared))
        } else {
            zipkin.trace_of(&call.trace, 7).and_then(|trace| {
                is_chain(&trace, Some(&call.span), 3, shared).and_then(|()| is_one_tree(&trace))
            })
        };
        if let Err(error) = judged {
            broken.push(error.context(format!("trace {}", call.trace)));
        }
    }
    let count = broken.len();
    match broken.pop() {
        Some(error) => Err(error.context(format!("{count} of {} traces", calls.len()))),
        None => Ok(()),
    }
}

fn post_callers(zipkin: &Zipkin, calls: &[Call], kind: Option<Kind>) -> Result<()> {
    let spans: Vec<_> = calls
        .iter()
        .map(|call| callers_span(&call.trace, &call.span, kind, call.started))
        .collect();
    zipkin.post(&spans)
}

fn trace_with_request_id(zipkin: &Zipkin, request_id: &str) -> Result<Vec<Span>> {
    let mut last = Vec::new();
    // Zipkin stores what it has accepted a little later.
    let _ = crate::wait::until_true("the trace", Duration::from_secs(60), || {
        last = zipkin.traces_with("guid:x-request-id", request_id)?;
        Ok(last.iter().map(Vec::len).sum::<usize>() >= 6)
    });
    ensure!(
        last.len() == 1,
        "{} traces with x-request-id {request_id}",
        last.len()
    );
    Ok(last.remove(0))
}

fn call_envoy(own_shared: bool) -> Result<Vec<Call>> {
    let port = ENVOY + u16::from(!own_shared);
    let calls: Vec<Call> = (0..10).map(|n| Call::new(0x200 + port, n)).collect();
    let mut client = Client::connect(([127, 0, 0, 1], port).into())?;
    for (n, call) in calls.iter().enumerate() {
        let path = format!("/chain/envoy/{n}");
        let response = client.exchange("GET", &path, &call.headers(Carries::B3))?;
        ensure!(
            response.status == 200,
            "status {} from Envoy",
            response.status
        );
    }
    Ok(calls)
}

/// The caller's own span, Envoy's own span, and both halves of both hops.
fn judge_envoy(zipkin: &Zipkin, calls: &[Call], own_shared: bool) -> Result<()> {
    // Envoy joins the caller's span, so that one is the client half.
    post_callers(zipkin, calls, own_shared.then_some(Kind::Client))?;
    for call in calls {
        let trace = zipkin.trace_of(&call.trace, 6)?;
        envoy_tree(&trace, &call.span, own_shared)
            .and_then(|()| is_one_tree(&trace))
            .with_context(|| format!("trace {}", call.trace))?;
    }
    Ok(())
}

fn envoy_tree(trace: &[Span], carried: &str, own_shared: bool) -> Result<()> {
    let tree = || {
        ensure!(trace.len() == 6, "{} spans, not 6", trace.len());
        let ours = |kind, parent: &str| {
            let of = |span: &&Span| {
                span.kind == kind
                    && span.parent.as_deref() == Some(parent)
                    && span.tags.contains_key("node_id") // Envoy's spans say so, too ...
                    && !span.tags.contains_key("upstream_cluster") // ... but not without this.
            };
            trace
                .iter()
                .find(of)
                .with_context(|| format!("our {kind:?} below {parent}"))
        };
        let envoys = trace
            .iter()
            .find(|span| span.tags.contains_key("upstream_cluster"));
        let envoys = envoys.context("Envoy's own span")?;
        let inbound_client = ours(Kind::Client, carried)?;
        let inbound_server = ours(Kind::Server, &inbound_client.id)?;
        let above = if own_shared {
            ensure!(envoys.id == carried, "Envoy did not join the carried span");
            &inbound_server.id
        } else {
            ensure!(
                envoys.parent.as_deref() == Some(carried),
                "Envoy's span has another parent"
            );
            &envoys.id
        };
        let outbound_client = ours(Kind::Client, above)?;
        ours(Kind::Server, &outbound_client.id)?;
        Ok(())
    };
    tree().with_context(|| show(trace))
}
