//! The samplers as the pipeline sees them.

mod remote;

use super::*;
use crate::ledger::Ledger;
use crate::units::{MonoNanos, TraceId};

const SECOND: u64 = 1_000_000_000;

fn trace(low: u64) -> TraceId {
    TraceId::new(0, low).unwrap()
}

/// What is said about a trace of service `s` and operation `GET a`.
fn ask(sampler: &mut Sampler, low: u64, at: u64) -> SamplerVerdict {
    let operation = |name: &mut Vec<u8>| name.extend(b"GET a");
    sampler.decide("s", operation, trace(low), MonoNanos(at * SECOND))
}

fn build(config: &SamplerConfig) -> Sampler {
    config.build(&Ledger::new()).0
}

#[test]
fn what_each_sampler_says() {
    use SamplerTag::{Const, Probabilistic, RateLimiting};
    let high = u64::MAX >> 1;
    for (config, low, sampled, limited, tag) in [
        (SamplerConfig::default(), 1, true, false, Some(Const(true))),
        (
            SamplerConfig::Const(false),
            1,
            false,
            false,
            Some(Const(false)),
        ),
        (
            SamplerConfig::Probabilistic(0.5),
            1,
            true,
            false,
            Some(Probabilistic(0.5)),
        ),
        (
            SamplerConfig::Probabilistic(0.5),
            high,
            false,
            false,
            Some(Probabilistic(0.5)),
        ),
        (SamplerConfig::Percentage(100.0), high, true, false, None),
        (SamplerConfig::Percentage(0.0), high, false, false, None),
        (
            SamplerConfig::RateLimiting(3.0),
            high,
            true,
            false,
            Some(RateLimiting(3.0)),
        ),
    ] {
        let verdict = ask(&mut build(&config), low, 0);
        let expected = SamplerVerdict {
            sampled,
            limited,
            tag,
        };
        assert_eq!(verdict, expected, "{config:?}");
    }
}

#[test]
fn functions_of_the_id_ask_for_no_name_and_remember_nothing() {
    for config in [
        SamplerConfig::Const(true),
        SamplerConfig::Probabilistic(0.5),
        SamplerConfig::Percentage(50.0),
        SamplerConfig::RateLimiting(1.0),
    ] {
        assert!(!config.needs_operations());
        let mut sampler = build(&config);
        for n in 1..1000 {
            let named = |_: &mut Vec<u8>| panic!("nobody needs the name");
            sampler.decide("s", named, trace(n), MonoNanos(n));
        }
    }
}

#[test]
fn one_credit_pays_for_a_trace() {
    let mut sampler = Sampler::rate_limiting(2.0);
    // Each trace is seen four times: both ends of two calls.
    let mut said = |low| {
        let verdicts = [(); 4].map(|()| ask(&mut sampler, low, 0));
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]));
        (verdicts[0].sampled, verdicts[0].limited)
    };
    assert_eq!(said(1), (true, false));
    assert_eq!(said(2), (true, false));
    assert_eq!(said(3), (false, true));
    // With 64 bits and with 128.
    let wide = TraceId::new(9, 2).unwrap();
    assert!(
        sampler
            .decide("other", |_| {}, wide, MonoNanos(59 * SECOND))
            .sampled
    );
    // What was denied stays denied, though there are credits again, for a
    // minute.
    assert!(!ask(&mut sampler, 3, 59).sampled);
    assert!(ask(&mut sampler, 3, 60).sampled);
}

#[test]
fn the_share_over_a_hundred_thousand_minted_traces() {
    use crate::assemble::{Began, Seed};
    use crate::http::context::TraceContext;
    use crate::link::{IdentityKey, Minter, TraceWidth};
    use crate::units::{OwnerId, Side, WireId};
    let minter = Minter::new(IdentityKey::default());
    let mut began = Began {
        serial: 0,
        side: Side::Server,
        wire: WireId::default(),
        context: TraceContext::default(),
        seed: Seed::Head(0),
        owner: OwnerId(1),
        pid: 1,
        local: None,
        peer: None,
        start: MonoNanos(0),
    };
    for share in [0.0001, 0.01, 0.305, 0.5, 0.9999] {
        let samplers = [
            SamplerConfig::Probabilistic(share),
            SamplerConfig::Percentage(share * 100.0),
        ];
        for config in samplers {
            let mut sampler = build(&config);
            let mut sampled = 0.0;
            for n in 0..100_000 {
                began.seed = Seed::Head(n);
                let width = match n % 2 {
                    0 => TraceWidth::Bits64,
                    _ => TraceWidth::Bits128,
                };
                let trace = minter.mint(&began, width).trace;
                let verdict = sampler.decide("s", |_| {}, trace, began.start);
                sampled += f64::from(u8::from(verdict.sampled));
            }
            let allowed = 4.0 * (1e5 * share * (1.0 - share)).sqrt();
            assert!(
                (sampled - 1e5 * share).abs() <= allowed,
                "{config:?}: {sampled}"
            );
        }
    }
}
