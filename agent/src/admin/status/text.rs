//! The status for people: aligned, with units, and without what is zero.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Status;
use super::words::{bytes, columns, duration, grouped, utc, visible};
use crate::ledger::{BOUNDS_MS, BackendSnapshot, LatencySnapshot, Snapshot};

/// The status for people. Machines take its JSON.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let _ = writeln!(
        text,
        "nodespan {}, pid {}, up {}, {ready}",
        status.version,
        status.pid,
        duration(status.uptime_seconds)
    );
    exchanges(&mut text, &status.ledger);
    backends(&mut text, &status.ledger.backends);
    records(&mut text, &status.ledger);
    let mut sections = status.sections.clone();
    if let Some(moved) = sections.remove("bytes") {
        moved_bytes(&mut text, &moved);
    }
    if let Some(workloads) = sections.remove("workloads") {
        self::workloads(&mut text, &workloads);
    }
    opaque(&mut text, &status.ledger);
    if let Some(configuration) = sections.remove("configuration") {
        self::configuration(&mut text, &configuration);
    }
    for (name, value) in &sections {
        let _ = writeln!(text, "\n{}", visible(name));
        any(&mut text, value);
    }
    text
}

fn exchanges(text: &mut String, ledger: &Snapshot) {
    let exchanges = &ledger.exchanges;
    let mut rows = vec![
        row("observed", exchanges.observed),
        row("spans", exchanges.spans),
    ];
    rows.push(with_reasons("not selected", &exchanges.not_selected));
    rows.push(with_reasons("not sampled", &exchanges.not_sampled));
    rows.push(with_reasons("dropped", &exchanges.dropped));
    titled(text, "exchanges", &rows);
}

fn records(text: &mut String, ledger: &Snapshot) {
    let records = &ledger.records;
    let rows = [
        row("seen", records.seen),
        row("read", records.read),
        with_reasons("lost", &records.lost),
        with_reasons("missed", &records.missed),
    ];
    titled(text, "records", &rows);
    let events: Vec<_> = ledger.events.iter().filter(|(_, n)| **n > 0).collect();
    if !events.is_empty() {
        let rows: Vec<_> = events.iter().map(|(event, n)| row(event, **n)).collect();
        titled(text, "events", &rows);
    }
}

type Number = fn(&BackendSnapshot) -> u64;

fn backends(text: &mut String, backends: &[BackendSnapshot]) {
    if backends.is_empty() {
        return;
    }
    // Columns that say nothing of any backend are left out.
    let numbers: [(&str, Number); 7] = [
        ("SENT", |backend| backend.sent),
        ("WAITING", |backend| backend.queued),
        ("DROPPED", |backend| crate::ledger::total(&backend.dropped)),
        ("FAILURES", |backend| backend.failures),
        ("RETRIES", |backend| backend.retries),
        ("REPEATED", |backend| backend.repeated),
        ("SPLITS", |backend| backend.splits),
    ];
    let shown =
        |place: usize, of: Number| place < 3 || backends.iter().any(|backend| of(backend) > 0);
    let kept: Vec<_> = numbers
        .iter()
        .enumerate()
        .filter(|(place, (_, of))| shown(*place, *of))
        .map(|(_, column)| column)
        .collect();
    let waits = backends.iter().any(|backend| backend.queued_bytes > 0);
    let answers = backends.iter().any(|backend| backend.latency.count() > 0);
    let mut header = vec![String::from("BACKEND")];
    header.extend(kept.iter().map(|(name, _)| (*name).to_owned()));
    header.extend(waits.then(|| "WAITING BYTES".to_owned()));
    if answers {
        header.extend(["ANSWERS HALF".to_owned(), "99 %".to_owned()]);
    }
    let mut rows = vec![header];
    for backend in backends {
        let mut row = vec![visible(&backend.name)];
        row.extend(kept.iter().map(|(_, of)| grouped(of(backend))));
        row.extend(waits.then(|| bytes(backend.queued_bytes)));
        if answers {
            row.extend([
                within(&backend.latency, 0.5),
                within(&backend.latency, 0.99),
            ]);
        }
        rows.push(row);
    }
    let _ = writeln!(text, "\nbackends");
    text.push_str(&columns(&rows, "  "));
    let is_alone = backends.len() == 1;
    for backend in backends {
        let name = match is_alone {
            true => String::new(),
            false => format!("{}: ", visible(&backend.name)),
        };
        let dropped = reasons(&backend.dropped);
        if !dropped.is_empty() {
            let _ = writeln!(text, "  {name}dropped: {dropped}");
        }
        if backend.latency.count() > 0 {
            let _ = writeln!(text, "  {name}answers: {}", histogram(&backend.latency));
        }
        if let Some(error) = &backend.last_error {
            let (said, at) = (visible(&error.text), utc(error.unix_seconds));
            let _ = writeln!(text, "  {name}last error, {at}: {said}");
        }
    }
}

/// Within what time this share of the answers came.
fn within(latency: &LatencySnapshot, share: f64) -> String {
    match latency.quantile_ms(share) {
        _ if latency.count() == 0 => "-".to_owned(),
        Some(ms) => format!("{} ms", grouped(ms)),
        None => "longer".to_owned(),
    }
}

/// `3 in 1 ms, 2 in 5 ms, 1 longer`: how many took up to each bound and longer
/// than the one before.
fn histogram(latency: &LatencySnapshot) -> String {
    let places = latency.buckets.iter().enumerate();
    let counted = places.filter(|(_, n)| **n > 0);
    let all: Vec<_> = counted
        .map(|(place, n)| match BOUNDS_MS.get(place) {
            Some(bound) => format!("{n} in {bound} ms"),
            None => format!("{n} longer"),
        })
        .collect();
    all.join(", ")
}

fn moved_bytes(text: &mut String, moved: &Value) {
    let number = |name: &str| moved.get(name).and_then(Value::as_u64).unwrap_or_default();
    let all = number("moved");
    let share = |part: u64| match all {
        0 => String::new(),
        _ => format!("{:.2} %", part as f64 * 100.0 / all as f64),
    };
    let (ring, skipped) = (number("ring"), number("skipped"));
    let rows = [
        vec!["moved by watched sockets".to_owned(), bytes(all)],
        vec!["of them read".to_owned(), bytes(ring), share(ring)],
        vec!["of them skipped".to_owned(), bytes(skipped), share(skipped)],
        row(
            "calls on sockets that speak no HTTP",
            number("ignored_calls"),
        ),
    ];
    titled(text, "bytes", &rows);
}

fn workloads(text: &mut String, workloads: &Value) {
    let Some(all) = workloads.as_object().filter(|all| !all.is_empty()) else {
        return;
    };
    let word = |seen: &Value, name: &str| {
        let word = seen.get(name).and_then(Value::as_str);
        word.map_or_else(|| "-".to_owned(), visible)
    };
    let names = |seen: &Value, name: &str| -> Vec<String> {
        let all = seen
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        all.filter_map(Value::as_str).map(visible).collect()
    };
    let header = [
        "SERVICE",
        "TRACED",
        "BACKEND",
        "WHAT IT IS",
        "NOT TRACED FOR",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (service, seen) in all {
        let not = names(seen, "not_traced");
        let traced = match seen.get("traced").and_then(Value::as_bool) {
            Some(true) if not.is_empty() => "yes",
            Some(true) => "partly",
            _ => "no",
        };
        let what = match names(seen, "pods").as_slice() {
            [] | [_] => word(seen, "origin"),
            pods => format!("{} pods", pods.len()),
        };
        rows.push(vec![
            visible(service),
            traced.to_owned(),
            word(seen, "backend"),
            what,
            match not.is_empty() {
                true => "-".to_owned(),
                false => not.join(", "),
            },
        ]);
    }
    let _ = writeln!(text, "\nworkloads");
    text.push_str(&columns(&rows, "  "));
    if all
        .values()
        .any(|seen| !names(seen, "not_traced").is_empty())
    {
        let _ = writeln!(
            text,
            "  `nodespan explain --agent --workload SERVICE` says why"
        );
    }
}

fn opaque(text: &mut String, ledger: &Snapshot) {
    let mut rows = Vec::new();
    for (workload, protocols) in &ledger.opaque {
        let all: Vec<_> = protocols
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(protocol, n)| format!("{} {protocol}", grouped(*n)))
            .collect();
        rows.push(vec![visible(workload), all.join(", ")]);
    }
    if !rows.is_empty() {
        titled(text, "seen but not traced (connections)", &rows);
    }
}

/// Only what was refused is worth a word; it is a report of several lines.
fn configuration(text: &mut String, configuration: &Value) {
    let Some(refused) = configuration.get("refused").and_then(Value::as_str) else {
        return;
    };
    let _ = writeln!(
        text,
        "\nconfiguration: the last change was REFUSED, what was before is in force"
    );
    for line in refused.lines() {
        let _ = writeln!(text, "  {}", visible(line));
    }
}

fn titled(text: &mut String, title: &str, rows: &[Vec<String>]) {
    let _ = writeln!(text, "\n{title}");
    text.push_str(&columns(rows, "  "));
}

fn row(name: &str, number: u64) -> Vec<String> {
    vec![name.to_owned(), grouped(number)]
}

fn with_reasons(what: &str, numbers: &BTreeMap<String, u64>) -> Vec<String> {
    let mut cells = row(what, crate::ledger::total(numbers));
    cells.push(reasons(numbers));
    cells
}

/// `no_policy 2, port 1`
fn reasons(numbers: &BTreeMap<String, u64>) -> String {
    let all: Vec<_> = numbers
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(reason, n)| format!("{} {}", visible(reason), grouped(*n)))
        .collect();
    all.join(", ")
}

/// What another room shows: its plain values as names and values, and what has
/// values of its own as tables.
fn any(text: &mut String, value: &Value) {
    let Some(members) = value.as_object() else {
        let _ = writeln!(text, "  {}", cell(value));
        return;
    };
    let (tables, plain): (Vec<_>, Vec<_>) = members.iter().partition(|(_, value)| is_table(value));
    let rows: Vec<_> = plain
        .into_iter()
        .map(|(name, value)| vec![words(name), cell(value)])
        .collect();
    text.push_str(&columns(&rows, "  "));
    for (name, value) in tables {
        match value {
            Value::Array(items) => {
                let items = items.iter().filter_map(Value::as_object);
                text.push_str(&table(
                    &words(name),
                    items.map(|item| (None, item)).collect(),
                ));
            }
            Value::Object(named) => {
                let items = named
                    .iter()
                    .filter_map(|(name, item)| Some((Some(visible(name)), item.as_object()?)));
                text.push_str(&table(&words(name), items.collect()));
            }
            _ => {}
        }
    }
}

fn is_table(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_object),
        Value::Object(named) => !named.is_empty() && named.values().all(Value::is_object),
        _ => false,
    }
}

/// A column for each name that any item has, behind the items' own names.
fn table(title: &str, items: Vec<(Option<String>, &Map<String, Value>)>) -> String {
    let mut names: Vec<&String> = Vec::new();
    for (_, item) in &items {
        for name in item.keys().filter(|name| !name.is_empty()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let title = title.to_uppercase();
    let is_named = items.iter().any(|(name, _)| name.is_some());
    let mut header: Vec<String> = is_named.then(|| title.clone()).into_iter().collect();
    header.extend(names.iter().map(|name| words(name).to_uppercase()));
    let mut rows = vec![header];
    for (name, item) in items {
        let mut row: Vec<String> = name.into_iter().collect();
        row.extend(names.iter().map(|name| match item.get(*name) {
            Some(value) => cell(value),
            None => "-".to_owned(),
        }));
        rows.push(row);
    }
    let text = columns(&rows, "  ");
    match is_named {
        true => text,
        false => format!("  {}\n{}", title.to_lowercase(), columns(&rows, "    ")),
    }
}

/// `self_test` as people write it.
fn words(name: &str) -> String {
    visible(name).replace('_', " ")
}

/// A value within a line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => visible(text),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), grouped),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            let one = |(name, value): (&String, &Value)| format!("{} {}", words(name), cell(value));
            members.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests;
