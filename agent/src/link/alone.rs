//! Spans that wait for nothing.

use super::inbound::{SpanIds, server_ids};
use super::{ClockOffset, Decided, Identity, Linked, duration_micros};
use crate::assemble::Exchange;
use crate::export::Span;

/// The span of a server's exchange where no clients are observed: there is
/// neither another half nor a call that looks for its parent, so nothing has to
/// be held.
#[must_use]
#[inline(always)]
pub fn alone(
    exchange: Box<Exchange>,
    identity: &Identity,
    decided: Decided,
    offset: ClockOffset,
) -> Linked {
    let ids = server_ids(identity, &decided, decided.peer_observed);
    linked(exchange, identity, decided, ids, offset)
}

/// A span of these parts.
#[inline(always)]
pub(super) fn linked(
    exchange: Box<Exchange>,
    identity: &Identity,
    decided: Decided,
    ids: SpanIds,
    offset: ClockOffset,
) -> Linked {
    let is_root = ids.parent.is_none() && !ids.shared;
    Linked {
        backend: decided.backend,
        span: Span {
            trace: identity.trace,
            id: ids.id,
            parent: ids.parent,
            shared: ids.shared,
            debug: decided.debug,
            sampler: decided.sampler.filter(|_| is_root),
            timestamp: offset.micros(exchange.began.start),
            first_byte: exchange.first_byte.map(|at| offset.micros(at)),
            duration: duration_micros(exchange.began.start, exchange.end),
            workload: decided.workload,
            remote: decided.remote,
            exchange,
        },
    }
}
