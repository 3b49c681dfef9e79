//! The sampler of a run.

use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::memory::Memory;
use super::probability::{Percentage, Probabilistic};
use super::remote::Feed;
use super::service::{RateLimiting, Service};
use super::{SamplerTag, SamplerVerdict};
use crate::units::{MonoNanos, TraceId};

/// Services that a server is asked about at most. What comes behind them has
/// the initial sampler.
const SERVICES: usize = 500;
/// Operations that are remembered for all services together, those that
/// servers list not counted: whoever sends requests can make them up.
const OPERATIONS: usize = 50_000;
/// A service without new traces for so many nanoseconds makes room.
const IDLE: u64 = 600_000_000_000;
/// Nanoseconds between two looks for idle services.
const LOOK: u64 = 10_000_000_000;

/// Decides where the request does not.
#[derive(Debug)]
pub struct Sampler {
    kind: Kind,
    memory: Memory,
    crowded: u64,
}

#[derive(Debug)]
enum Kind {
    Const(bool),
    Probabilistic(Probabilistic),
    Percentage(Percentage),
    RateLimiting(RateLimiting),
    Remote(Box<Remote>),
}

/// Counts of what was not ideal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplerCounters {
    /// Decisions forgotten before their minute was over, for room.
    pub forgotten: u64,
    /// Traces decided by the initial sampler, because too many services are
    /// asked about already.
    pub crowded: u64,
}

impl Default for Sampler {
    /// Everything is traced.
    fn default() -> Self {
        Self::always(true)
    }
}

impl Sampler {
    /// All traces or none.
    #[must_use]
    pub fn always(sampled: bool) -> Self {
        Self::of(Kind::Const(sampled))
    }

    /// Jaeger's share of the traces, from 0 to 1.
    #[must_use]
    pub fn probabilistic(rate: f64) -> Self {
        Self::of(Kind::Probabilistic(Probabilistic::new(rate)))
    }

    /// A percentage of the traces, from 0 to 100. Root spans do not speak of
    /// it: Kuma's data planes have no tag for it.
    #[must_use]
    pub fn percentage(percent: f64) -> Self {
        Self::of(Kind::Percentage(Percentage::new(percent)))
    }

    /// At most so many traces a second.
    #[must_use]
    pub fn rate_limiting(rate: f64) -> Self {
        Self::of(Kind::RateLimiting(RateLimiting::new(rate)))
    }

    /// What a server says for each service, and until it has said something a
    /// share of the traces.
    pub(super) fn remote(feed: Feed, initial: f64) -> Self {
        Self::of(Kind::Remote(Box::new(Remote {
            feed,
            initial: Service::Probabilistic(Probabilistic::new(initial)),
            services: HashMap::default(),
            looked: MonoNanos::default(),
            learned: 0,
            buffer: Vec::new(),
        })))
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            memory: Memory::default(),
            crowded: 0,
        }
    }

    /// Decides about a trace that no request has decided about, by the first
    /// of its exchanges that this agent sees: one of `service`, begun at
    /// `now`, whose span's name `operation` writes, if it is asked.
    ///
    /// What it says is the same for every exchange of a trace; where it is no
    /// function of the id, for a minute.
    #[inline(never)]
    pub fn decide(
        &mut self,
        service: &str,
        operation: impl FnOnce(&mut Vec<u8>),
        trace: TraceId,
        now: MonoNanos,
    ) -> SamplerVerdict {
        match &mut self.kind {
            Kind::Const(always) => SamplerVerdict::new(*always, SamplerTag::Const(*always)),
            Kind::Probabilistic(share) => {
                let tag = SamplerTag::Probabilistic(share.rate());
                SamplerVerdict::new(share.sample(trace), tag)
            }
            Kind::Percentage(percentage) => SamplerVerdict {
                sampled: percentage.sample(trace),
                limited: false,
                tag: None,
            },
            Kind::RateLimiting(limiting) => self.memory.recall(trace, now, || limiting.decide(now)),
            Kind::Remote(remote) => {
                let mut buffer = std::mem::take(&mut remote.buffer);
                let may_learn = remote.learned < OPERATIONS;
                let sampler = match remote.of(service, now) {
                    Some(sampler) => sampler,
                    None => {
                        self.crowded += 1;
                        &mut remote.initial
                    }
                };
                let before = sampler.learned();
                let memory = &mut self.memory;
                let verdict = sampler.decide(memory, &mut buffer, operation, may_learn, trace, now);
                remote.learned += sampler.learned() - before;
                remote.buffer = buffer;
                verdict
            }
        }
    }

    /// Counts since the last time.
    pub fn take_counters(&mut self) -> SamplerCounters {
        SamplerCounters {
            forgotten: self.memory.take_forgotten(),
            crowded: std::mem::take(&mut self.crowded),
        }
    }
}

/// The samplers of all services, which a server decides about.
#[derive(Debug)]
struct Remote {
    feed: Feed,
    initial: Service,
    services: HashMap<Arc<str>, Followed, FxBuildHasher>,
    /// When idle services were last looked for.
    looked: MonoNanos,
    /// Operations that are remembered and not listed.
    learned: usize,
    /// Where names of operations are written.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Followed {
    sampler: Service,
    used: MonoNanos,
}

impl Remote {
    /// The sampler of a service; none if there are too many.
    fn of(&mut self, service: &str, now: MonoNanos) -> Option<&mut Service> {
        if self.feed.has_news() {
            for (service, strategy) in self.feed.take() {
                if let Some(followed) = self.services.get_mut(&service) {
                    self.learned -= followed.sampler.learned();
                    followed.sampler.update(&strategy, now);
                }
            }
        }
        if !self.services.contains_key(service) && !self.meet(service, now) {
            return None;
        }
        let followed = self.services.get_mut(service)?;
        followed.used = followed.used.max(now);
        Some(&mut followed.sampler)
    }

    #[cold]
    fn meet(&mut self, service: &str, now: MonoNanos) -> bool {
        if self.services.len() >= SERVICES {
            self.leave_idle(now);
            if self.services.len() >= SERVICES {
                return false;
            }
        }
        let service: Arc<str> = service.into();
        self.feed.follow(&service);
        let followed = Followed {
            sampler: self.initial.clone(),
            used: now,
        };
        self.services.insert(service, followed);
        true
    }

    fn leave_idle(&mut self, now: MonoNanos) {
        if now.since(self.looked) < LOOK {
            return;
        }
        self.looked = now;
        let Self { feed, learned, .. } = self;
        self.services.retain(|service, followed| {
            let stays = now.since(followed.used) < IDLE;
            if !stays {
                *learned -= followed.sampler.learned();
                feed.leave(service);
            }
            stays
        });
    }
}
