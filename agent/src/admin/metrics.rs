//! The ledger in Prometheus' text format (exposition format 0.0.4).
//!
//! Names carry their unit and `_total` where they only grow. Labels are
//! reasons from closed lists, configured backends, and workloads that the
//! ledger bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::View;
use crate::ledger::{BOUNDS_MS, BackendSnapshot};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn render(view: &View) -> String {
    let status = view.status();
    let ledger = &status.ledger;
    let mut page = Page(String::with_capacity(8 * 1024));
    page.gauge("build_info", "The agent that runs, always 1.");
    page.sample("build_info", &[("version", &status.version)], 1);
    page.gauge("uptime_seconds", "Time since the agent started.");
    page.sample("uptime_seconds", &[], status.uptime_seconds);
    page.gauge("ready", "Whether the agent does its work.");
    page.sample("ready", &[], u64::from(status.ready));

    let records = &ledger.records;
    page.counter(
        "records_seen_total",
        "Records the probes wanted to hand over.",
    );
    page.sample("records_seen_total", &[], records.seen);
    page.counter("records_read_total", "Records that the agent decoded.");
    page.sample("records_read_total", &[], records.read);
    page.by_reason(
        "records_lost_total",
        "Records that were made but not read.",
        &records.lost,
    );
    page.by_reason(
        "records_missed_total",
        "What the probes could not make a record of.",
        &records.missed,
    );

    let exchanges = &ledger.exchanges;
    page.counter(
        "exchanges_observed_total",
        "HTTP exchanges that the agent saw whole or cut short.",
    );
    page.sample("exchanges_observed_total", &[], exchanges.observed);
    page.by_reason(
        "exchanges_not_selected_total",
        "Exchanges that nobody wants traced.",
        &exchanges.not_selected,
    );
    page.by_reason(
        "exchanges_not_sampled_total",
        "Exchanges left out by sampling.",
        &exchanges.not_sampled,
    );
    page.by_reason(
        "exchanges_dropped_total",
        "Exchanges lost before they became a span.",
        &exchanges.dropped,
    );
    page.counter("spans_total", "Exchanges that became a span.");
    page.sample("spans_total", &[], exchanges.spans);
    page.by_label(
        "events_total",
        "Things that happened which balance nothing.",
        "event",
        &ledger.events,
    );
    page.backends(&ledger.backends);
    page.counter(
        "opaque_connections_total",
        "Connections that are seen but not traced.",
    );
    for (workload, protocols) in &ledger.opaque {
        for (protocol, n) in protocols {
            let labels = [("workload", workload), ("protocol", protocol)];
            page.sample(
                "opaque_connections_total",
                &labels.map(|(k, v)| (k, v.as_str())),
                *n,
            );
        }
    }
    for family in view.families() {
        page.head(family.name, family.help, family.kind);
        for sample in &family.samples {
            page.sample(family.name, &sample.labels, sample.value);
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn counter(&mut self, name: &str, help: &str) {
        self.head(name, help, "counter");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, help, "gauge");
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(
            self.0,
            "# HELP nodespan_{name} {help}\n# TYPE nodespan_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let _ = write!(self.0, "nodespan_{name}");
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    fn by_reason(&mut self, name: &str, help: &str, numbers: &BTreeMap<String, u64>) {
        self.by_label(name, help, "reason", numbers);
    }

    fn by_label(&mut self, name: &str, help: &str, label: &str, numbers: &BTreeMap<String, u64>) {
        self.counter(name, help);
        for (text, n) in numbers {
            self.sample(name, &[(label, text)], *n);
        }
    }

    fn backends(&mut self, backends: &[BackendSnapshot]) {
        type Number = fn(&BackendSnapshot) -> u64;
        let counters: [(&str, &str, Number); 7] = [
            (
                "backend_spans_pushed_total",
                "Spans handed to the backend.",
                |b| b.pushed,
            ),
            (
                "backend_spans_sent_total",
                "Spans the backend has accepted; over UDP, spans the kernel has taken.",
                |b| b.sent,
            ),
            (
                "backend_batches_sent_total",
                "Batches the backend has accepted.",
                |b| b.batches,
            ),
            (
                "backend_failures_total",
                "Attempts to deliver that failed: no answer, or another than success.",
                |b| b.failures,
            ),
            (
                "backend_splits_total",
                "Refused batches that were cut in two to find the bad span.",
                |b| b.splits,
            ),
            (
                "backend_retries_total",
                "Attempts to deliver after the first.",
                |b| b.retries,
            ),
            (
                "backend_spans_repeated_total",
                "Spans the backend may have twice, because an answer was lost.",
                |b| b.repeated,
            ),
        ];
        let gauges: [(&str, &str, Number); 3] = [
            (
                "backend_queue_spans",
                "Spans that wait for delivery.",
                |b| b.queued,
            ),
            (
                "backend_queue_bytes",
                "Encoded bytes that wait for delivery.",
                |b| b.queued_bytes,
            ),
            (
                "backend_last_error_timestamp_seconds",
                "When something last went wrong, in seconds since 1970; 0 if nothing ever did.",
                |b| b.last_error.as_ref().map_or(0, |error| error.unix_seconds),
            ),
        ];
        for (name, help, number) in counters {
            self.counter(name, help);
            for backend in backends {
                self.sample(name, &[("backend", &backend.name)], number(backend));
            }
        }
        for (name, help, number) in gauges {
            self.gauge(name, help);
            for backend in backends {
                self.sample(name, &[("backend", &backend.name)], number(backend));
            }
        }
        let name = "backend_spans_dropped_total";
        self.counter(name, "Spans that did not reach the backend.");
        for backend in backends {
            for (reason, n) in &backend.dropped {
                self.sample(name, &[("backend", &backend.name), ("reason", reason)], *n);
            }
        }
        self.latencies(backends);
    }

    fn latencies(&mut self, backends: &[BackendSnapshot]) {
        const NAME: &str = "backend_request_seconds";
        let help = "Time from sending a request to the answer's head.";
        self.head(NAME, help, "histogram");
        for backend in backends {
            let latency = &backend.latency;
            let name = escaped(&backend.name);
            let mut below = 0;
            for (place, n) in latency.buckets.iter().enumerate() {
                below += n;
                let bound = BOUNDS_MS.get(place);
                let bound = bound.map_or("+Inf".to_owned(), |ms| seconds(ms * 1000));
                let _ = writeln!(
                    self.0,
                    "nodespan_{NAME}_bucket{{backend=\"{name}\",le=\"{bound}\"}} {below}"
                );
            }
            let sum = seconds(latency.total_microseconds);
            let _ = writeln!(
                self.0,
                "nodespan_{NAME}_sum{{backend=\"{name}\"}} {sum}\nnodespan_{NAME}_count{{backend=\"{name}\"}} {below}"
            );
        }
    }
}

/// Microseconds as seconds, without zeros at the end.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::Opaque;
    use crate::ledger::{Ledger, NotSelected, Reason as _, Undelivered};
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn every_sample_belongs_to_a_declared_metric_and_stands_once() {
        let ledger = Ledger::new();
        let view = View::new(std::sync::Arc::clone(&ledger));
        let zipkin = ledger.backend("zipkin");
        zipkin.dropped.add(Undelivered::GaveUp, 7);
        zipkin.latency.observe(Duration::from_micros(1500));
        zipkin.latency.observe(Duration::from_secs(70));
        ledger.opaque("we\"ird\n", Opaque::Tls);
        ledger.exchanges.not_selected.add(NotSelected::NoPolicy, 3);
        let page = render(&view);
        let (mut declared, mut seen) = (HashSet::new(), HashSet::new());
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                assert!(declared.insert(name.to_owned()), "{name}");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                if name.ends_with("_seconds_sum") {
                    value.parse::<f64>().unwrap();
                } else {
                    value.parse::<u64>().unwrap();
                }
                assert!(seen.insert(series.to_owned()), "{series}");
                let of_histogram = ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|end| name.strip_suffix(end))
                    .any(|name| name.ends_with("_seconds") && declared.contains(name));
                assert!(of_histogram || declared.contains(name), "{series}");
            }
        }
        assert!(page.contains("\nnodespan_exchanges_not_selected_total{reason=\"no_policy\"} 3\n"));
        assert!(page.contains(
            "\nnodespan_backend_spans_dropped_total{backend=\"zipkin\",reason=\"gave_up\"} 7\n"
        ));
        assert!(page.contains(
            "\nnodespan_opaque_connections_total{workload=\"we\\\"ird\\n\",protocol=\"tls\"} 1\n"
        ));
        for line in [
            "backend_request_seconds_bucket{backend=\"zipkin\",le=\"0.001\"} 0",
            "backend_request_seconds_bucket{backend=\"zipkin\",le=\"0.002\"} 1",
            "backend_request_seconds_bucket{backend=\"zipkin\",le=\"10\"} 1",
            "backend_request_seconds_bucket{backend=\"zipkin\",le=\"+Inf\"} 2",
            "backend_request_seconds_sum{backend=\"zipkin\"} 70.0015",
            "backend_request_seconds_count{backend=\"zipkin\"} 2",
            "backend_last_error_timestamp_seconds{backend=\"zipkin\"} 0",
        ] {
            assert!(page.contains(&format!("\nnodespan_{line}\n")), "{line}");
        }
        for reason in NotSelected::ALL {
            assert!(page.contains(reason.name()));
        }
    }
}
