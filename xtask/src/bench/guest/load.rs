//! wrk, and what it says.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{nginx::Nginx, place::Unit};
use crate::{
    bench::figures::{Latency, Load},
    sh,
};

/// Connections of the load.
const CONNECTIONS: u32 = 8;

/// As a caller that is traced sends them.
const HEADERS: [&str; 3] = [
    "X-B3-TraceId: 463ac35c9f6413ad48485a3953bb6124",
    "X-B3-SpanId: a2fb4a1d1a96d312",
    "X-B3-Sampled: 1",
];

/// Where and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) port: u16,
    pub(super) seconds: u32,
}

/// The one who calls.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) unit: Unit,
}

impl Caller {
    /// A caller in a unit of its own.
    ///
    /// # Errors
    /// If there is no cgroup v2.
    pub(super) fn new(out: &Path) -> Result<Self> {
        let unit = Unit::new("wrk", out)?;
        Ok(Self { unit })
    }

    /// Calls for that long.
    ///
    /// # Errors
    /// If a call failed.
    pub(super) fn call(&self, target: Target) -> Result<Load> {
        let mut arguments = vec![
            "-t1".to_owned(),
            format!("-c{CONNECTIONS}"),
            format!("-d{}s", target.seconds),
            "--latency".to_owned(),
        ];
        for header in HEADERS {
            arguments.extend(["-H".to_owned(), header.to_owned()]);
        }
        arguments.push(format!("http://127.0.0.1:{}/", target.port));
        let wrk = sh::which("wrk").context("wrk is missing")?;
        read(&self.unit.run(&wrk, &arguments)?)
    }

    /// A load as [`Self::call`] makes it, with nginx's count and the
    /// processor time of all parties, once `drained` says that nothing is
    /// left to do.
    ///
    /// # Errors
    /// If a call failed, or it never drains.
    pub(super) fn measure(
        &self,
        nginx: &Nginx,
        target: Target,
        others: &[&Unit],
        drained: impl FnOnce(u64) -> Result<()>,
    ) -> Result<Load> {
        let parties: Vec<&Unit> = [&nginx.unit, &self.unit]
            .into_iter()
            .chain(others.iter().copied())
            .collect();
        let used = || {
            parties
                .iter()
                .map(|unit| unit.used())
                .collect::<Result<Vec<_>>>()
        };
        let requests = nginx.requests()?;
        let before = used()?;
        let mut load = self.call(target)?;
        let ended = used()?;
        // The question itself is counted.
        load.served = nginx.requests()? - requests - 1;
        drained(load.served)?;
        let after = used()?;
        for (n, unit) in parties.iter().enumerate() {
            load.parties
                .insert(unit.name().to_owned(), after[n] - before[n]);
        }
        load.left_over = (2..parties.len()).map(|n| after[n] - ended[n]).sum();
        Ok(load)
    }
}

/// Reads wrk's report.
fn read(text: &str) -> Result<Load> {
    if let Some(line) = text
        .lines()
        .find(|line| line.contains("Socket errors") || line.contains("Non-2xx"))
    {
        bail!("wrk reports {}", line.trim());
    }
    let whole = || format!("wrk said:\n{text}");
    let answered = text
        .lines()
        .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
        .with_context(whole)?;
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())
        .with_context(whole)?;
    let percentile = |name: &str| {
        text.lines()
            .find_map(|line| micros(line.trim().strip_prefix(name)?.trim()))
            .with_context(whole)
    };
    Ok(Load {
        answered,
        rate,
        latency: Some(Latency {
            p50: percentile("50%")?,
            p75: percentile("75%")?,
            p90: percentile("90%")?,
            p99: percentile("99%")?,
        }),
        ..Load::default()
    })
}

/// `1.27ms` in microseconds.
fn micros(text: &str) -> Option<f64> {
    [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   327.04us   29.52us   1.06ms   90.93%
    Req/Sec    24.57k   144.26    24.73k    61.90%
  Latency Distribution
     50%  323.00us
     75%  1.50ms
     90%  352.00us
     99%  2.00s
  48890 requests in 2.00s, 8.06MB read
Requests/sec:  24439.60
Transfer/sec:      4.03MB
";

    #[test]
    fn wrk_is_understood() {
        let load = read(REPORT).unwrap();
        assert_eq!(load.answered, 48890);
        assert!((load.rate - 24439.6).abs() < 1e-9);
        let latency = load.latency.unwrap();
        assert!((latency.p50 - 323.0).abs() < 1e-9);
        assert!((latency.p75 - 1500.0).abs() < 1e-9);
        assert!((latency.p99 - 2e6).abs() < 1e-9);
    }

    #[test]
    fn failed_calls_are_no_measurement() {
        let report = format!("{REPORT}  Socket errors: connect 0, read 3, write 0, timeout 0\n");
        assert!(read(&report).is_err());
        assert!(read("nothing\n").is_err());
    }
}
