//! Encodes one typical span N times: `valgrind --tool=callgrind` on two values
//! of N gives the instructions a span costs.

#[path = "../tests/spans/mod.rs"]
mod spans;

use nodespan::export::Queries;
use nodespan::export::zipkin::Zipkin;
use nodespan::units::UnixMicros;

fn main() -> Result<(), &'static str> {
    let mut arguments = std::env::args().skip(1);
    let times: u64 = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or("usage: encode N [TARGET]")?;
    let target = arguments
        .next()
        .unwrap_or_else(|| "/api/orders/4711".to_owned());
    let mut span = spans::span(0, &target, &spans::workload(0)).ok_or("zero id")?;
    let mut encoder = Zipkin::new(Queries::Redacted);
    let mut out = Vec::new();
    let mut bytes = 0;
    for n in 0..times {
        span.timestamp = UnixMicros(1_794_000_000_000_000 + n);
        out.clear();
        encoder.object(std::hint::black_box(&span), &mut out);
        bytes += out.len();
    }
    if std::hint::black_box(bytes) == 0 {
        return Err("nothing was encoded");
    }
    Ok(())
}
