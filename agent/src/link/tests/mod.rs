mod chains;
mod halves;
mod identity;
mod parents;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::assemble::{Began, BodySize, Exchange, Seed, Text};
use crate::http::context::{Decision, Format, Ids, TraceContext};
use crate::identify::WorkloadKind;
use crate::sample::SamplerTag;
use crate::units::{ConnId, Endpoint, OwnerId, Side, SpanId, TcpSeq, TraceId, WireId};

const MS: u64 = 1_000_000;

fn span_id(n: u64) -> SpanId {
    SpanId::new(n).unwrap()
}

fn wire(n: u32) -> WireId {
    WireId {
        conn: ConnId {
            client: TcpSeq(n.wrapping_mul(7919)),
            server: TcpSeq(n.wrapping_mul(104_729) ^ 0x5555),
        },
        request: TcpSeq(n.wrapping_mul(7919).wrapping_add(10)),
    }
}

fn context(trace: (u64, u64), span: u64) -> TraceContext {
    TraceContext {
        ids: Some(Ids {
            trace: TraceId::new(trace.0, trace.1).unwrap(),
            span: span_id(span),
            parent: None,
            format: Format::B3Multi,
        }),
        decision: Decision::Accept,
    }
}

/// One end of one request in a made-up world.
#[derive(Clone, Copy, Debug)]
struct End {
    side: Side,
    workload: u64,
    hop: u32,
    context: TraceContext,
    seed: Seed,
    start: u64,
    end: u64,
    backend: u32,
    shared: bool,
}

impl End {
    fn new(side: Side, workload: u64, hop: u32, context: TraceContext) -> Self {
        Self {
            side,
            workload,
            hop,
            context,
            seed: Seed::Carried,
            start: 0,
            end: 0,
            backend: 0,
            shared: false,
        }
    }

    fn at(self, start_ms: u64, end_ms: u64) -> Self {
        Self {
            start: start_ms * MS,
            end: end_ms * MS,
            ..self
        }
    }

    fn began(&self, serial: u64) -> Began {
        Began {
            serial,
            side: self.side,
            wire: wire(self.hop),
            context: self.context,
            seed: self.seed,
            owner: OwnerId(self.workload),
            pid: 1,
            local: Some(Endpoint {
                ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
                port: 80,
            }),
            peer: None,
            start: MonoNanos(self.start),
        }
    }

    fn decided(&self) -> Decided {
        Decided {
            workload: Arc::new(Workload {
                service: format!("service-{}", self.workload).into(),
                kind: WorkloadKind::Command,
                node: "node".into(),
                address: None,
                pod: None,
            }),
            key: WorkloadKey(self.workload),
            backend: Backend(self.backend),
            shared_spans: self.shared,
            debug: false,
            sampler: Some(SamplerTag::Const(true)),
            remote: None,
            peer_observed: false,
        }
    }

    fn exchange(&self, serial: u64) -> Box<Exchange> {
        Box::new(Exchange {
            began: self.began(serial),
            text: Text::new(b"GET", b"/", b"h", b"", b""),
            first_byte: None,
            end: MonoNanos(self.end),
            status: Some(200),
            minor_version: 1,
            request_body: BodySize::default(),
            response_body: BodySize::default(),
            failure: None,
            lenient: false,
        })
    }
}

fn minter() -> Minter {
    Minter::new(IdentityKey::default())
}

fn linker() -> Linker {
    Linker::new(Timing::default(), Limits::default(), ClockOffset(0))
}

/// What a span's place in its trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    shared: bool,
}

#[derive(Clone, Copy)]
enum Step {
    Began(usize),
    Finished(usize),
}

/// Runs the ends through a linker; each record arrives `delay` after its
/// time. Spans come back in the order of the ends.
fn run(ends: &[End], delay: impl Fn(usize, bool) -> u64) -> (Vec<Option<Place>>, Counters) {
    let mut steps = Vec::new();
    for (n, end) in ends.iter().enumerate() {
        let began = end.start + delay(n, false);
        let finished = (end.end + delay(n, true)).max(began);
        steps.push((began, Step::Began(n)));
        steps.push((finished, Step::Finished(n)));
    }
    steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Finished(_))));
    let minter = minter();
    let mut linker = linker();
    let mut places = vec![None; ends.len()];
    let mut take = |linked: Linked| {
        let Span {
            trace,
            id,
            parent,
            shared,
            sampler,
            ..
        } = linked.span;
        // Only roots say who decided.
        assert_eq!(sampler.is_some(), parent.is_none() && !shared);
        let n = usize::try_from(linked.span.exchange.began.serial).unwrap();
        assert!(places[n].is_none());
        places[n] = Some(Place {
            trace,
            id,
            parent,
            shared,
        });
    };
    for (at, step) in steps {
        linker.advance(MonoNanos(at), &mut take);
        match step {
            Step::Began(n) => {
                let began = ends[n].began(n as u64);
                let identity = minter.mint(&began, TraceWidth::Bits128);
                linker.began(&began, identity, ends[n].decided()).unwrap();
            }
            Step::Finished(n) => linker.finished(ends[n].exchange(n as u64)).unwrap(),
        }
    }
    assert_eq!(linker.flush(&mut take), 0);
    linker.advance(MonoNanos(u64::MAX), |_| panic!("nothing is left"));
    assert!(linker.is_clean(), "{linker:?}");
    (places, linker.counters())
}

fn in_time(ends: &[End]) -> (Vec<Place>, Counters) {
    let (places, counters) = run(ends, |_, _| 0);
    (places.into_iter().map(Option::unwrap).collect(), counters)
}

/// A call with both halves seen: client first.
fn call(from: u64, to: u64, hop: u32, context: TraceContext, (start, end): (u64, u64)) -> [End; 2] {
    [
        End::new(Side::Client, from, hop, context).at(start, end),
        End::new(Side::Server, to, hop, context).at(start + 1, end - 1),
    ]
}

fn identity(end: &End) -> Identity {
    minter().mint(&end.began(0), TraceWidth::Bits128)
}
