//! What deciding by policies costs, for `cargo xtask bench`: prints JSON.
//!
//! Everything runs in this one process, the processor time of this thread is
//! counted, and each figure is the best of several runs: what is compared with
//! each other was measured alike, also beside others.

#![expect(clippy::print_stdout, reason = "the figures are what this prints")]
#![expect(clippy::cast_precision_loss, reason = "counts below 2^53")]

use std::hint::black_box;
use std::sync::Arc;

use nodespan::policy::{
    BackendKind, Created, Decisions, Engine, Mesh, Resource, Resources, Selector, Subject,
    SubjectId, Tags, TracingBackend, TrafficTrace, ZipkinApi,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const POLICIES: usize = 1000;
const SERVICES: usize = 500;
const RUNS: usize = 25;
const LOOKUPS: usize = 1_000_000;

fn main() {
    let engine = || Arc::new(Engine::new(Arc::new(resources(POLICIES))));
    let made = best(|| {
        let resources = Arc::new(resources(POLICIES));
        time(|| black_box(Engine::new(resources)))
    });
    let sizes: Vec<_> = [100, 1000, 10_000]
        .into_iter()
        .map(|workloads| {
            let (recompute, lookup) = measure(workloads, &engine());
            json!({"workloads": workloads, "recompute_ns": recompute, "lookup_ns": lookup})
        })
        .collect();
    // Policies for services that nobody has cost nothing.
    let strangers = Arc::new(Engine::new(Arc::new(with_strangers())));
    let (beside, _) = measure(1000, &strangers);
    let figures = json!({
        "policies": POLICIES,
        "index_ns": made,
        "sizes": sizes,
        "strangers": 9 * POLICIES,
        "recompute_beside_strangers_ns": beside,
    });
    println!("{figures}");
}

/// Nanoseconds to decide all of so many workloads, and to look one up.
fn measure(workloads: usize, engine: &Arc<Engine>) -> (f64, f64) {
    let mut decisions = Decisions::new(Arc::clone(engine));
    let ids: Vec<SubjectId> = (0..workloads)
        .map(|n| decisions.intern(&workload(n)))
        .collect();
    assert_eq!(decisions.len(), workloads, "each is a subject of its own");
    let recompute = best(|| time(|| decisions.replace(Arc::clone(engine))));

    // As exchanges come: of whichever workload, not in the order of memory.
    let order = shuffled(&ids);
    let all = best(|| {
        time(|| {
            let mut selected = 0usize;
            for id in order.iter().cycle().take(LOOKUPS) {
                let decision = decisions.get(*id);
                selected += usize::from(decision.is_some_and(|decision| decision.is_traced()));
            }
            black_box(selected)
        })
    });
    (recompute, all / LOOKUPS as f64)
}

fn best(mut run: impl FnMut() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn time<T>(run: impl FnOnce() -> T) -> f64 {
    let start = spent();
    black_box(run());
    spent() - start
}

/// Nanoseconds that this thread has had.
fn spent() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// A mesh-wide policy, and narrower ones by service, zone, team and version.
fn resources(policies: usize) -> Resources {
    let selector = |n: usize| -> Vec<(&str, String)> {
        let service = ("kuma.io/service", format!("svc-{}", n % SERVICES));
        match n % 10 {
            _ if n == 0 => vec![("kuma.io/service", "*".to_owned())],
            0..=4 => vec![service],
            5 | 6 => vec![service, ("kuma.io/zone", format!("zone-{}", n % 3))],
            7 => vec![service, ("version", "*".to_owned())],
            8 => vec![
                ("team", format!("team-{}", n % 50)),
                ("version", "v1".to_owned()),
            ],
            _ => vec![
                service,
                ("team", "*".to_owned()),
                ("kuma.io/zone", "*".to_owned()),
            ],
        }
    };
    let traces = (0..policies).map(|n| trace(format!("p-{n}"), selector(n)));
    traces.chain([mesh()]).collect()
}

/// The same, beside many that select services of other names.
fn with_strangers() -> Resources {
    let mut all = resources(POLICIES);
    for n in 0..9 * POLICIES {
        let service = ("kuma.io/service", format!("stranger-{n}"));
        all.insert(trace(format!("s-{n}"), vec![service]));
    }
    all
}

fn trace(name: String, tags: Vec<(&str, String)>) -> Resource {
    Resource::TrafficTrace(Arc::new(TrafficTrace {
        mesh: "default".into(),
        name: name.into(),
        created: Created::default(),
        selectors: vec![Selector::new(tags.into_iter().collect::<Tags>())],
        backend: None,
    }))
}

fn mesh() -> Resource {
    let backend = TracingBackend {
        mesh: "default".into(),
        name: "zipkin".into(),
        sampling: 100.0,
        kind: BackendKind::Zipkin {
            url: "http://zipkin:9411/api/v2/spans".into(),
            trace_id_128: false,
            api_version: ZipkinApi::Json,
            shared_span_context: true,
        },
    };
    Resource::Mesh(Arc::new(Mesh {
        name: "default".into(),
        created: Created::default(),
        default_backend: Some("zipkin".into()),
        backends: vec![Arc::new(backend)],
    }))
}

/// A pod with the tags that Kuma gives it.
fn workload(n: usize) -> Subject {
    let service = format!("svc-{}", n % SERVICES);
    let tags: Tags = [
        ("app", service.clone()),
        ("k8s.kuma.io/namespace", format!("ns-{}", n % 20)),
        ("k8s.kuma.io/service-name", service.clone()),
        ("k8s.kuma.io/service-port", "80".to_owned()),
        ("kuma.io/instance", format!("pod-{n}")),
        (
            "kuma.io/protocol",
            ["http", "http", "grpc", "tcp"][n % 4].to_owned(),
        ),
        ("kuma.io/service", service),
        ("kuma.io/zone", format!("zone-{}", n % 3)),
        ("pod-template-hash", format!("{:010x}", n * 7919)),
        ("team", format!("team-{}", n % 50)),
        ("version", format!("v{}", n % 4)),
    ]
    .into_iter()
    .collect();
    Subject::new("default", [tags])
}

/// An order that has nothing to do with the one that they have.
fn shuffled(ids: &[SubjectId]) -> Vec<SubjectId> {
    let mut ids = ids.to_vec();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..ids.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ids.swap(last, (state % (last as u64 + 1)) as usize);
    }
    ids
}
