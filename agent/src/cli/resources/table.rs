//! Resources as a table, with the columns of `kumactl get`
//! (`app/kumactl/cmd/get/table_printer.go`); of a Mesh what concerns tracing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy::Kind;

/// A table of resources in their Universal form.
pub(super) fn write(kind: Kind, items: &[Value], now: OffsetDateTime) -> String {
    let text = |item: &Value, name: &str| {
        let value = item.get(name).and_then(Value::as_str);
        printable(value.unwrap_or_default())
    };
    let age = |item: &Value| age(&text(item, "modificationTime"), now);
    let headers: &[&str] = match kind {
        Kind::Mesh => &["NAME", "TRACING", "AGE"],
        Kind::TrafficTrace => &["MESH", "NAME", "AGE"],
        Kind::Dataplane => &["MESH", "NAME", "TAGS", "ADDRESS", "AGE"],
    };
    let mut rows = vec![headers.iter().map(|name| (*name).to_owned()).collect()];
    for item in items {
        let (mesh, name) = (text(item, "mesh"), text(item, "name"));
        rows.push(match kind {
            Kind::Mesh => vec![name, tracing(item), age(item)],
            Kind::TrafficTrace => vec![mesh, name, age(item)],
            Kind::Dataplane => vec![mesh, name, tags(item), address(item), age(item)],
        });
    }
    columns(&rows)
}

/// `type/name` of every backend (kuma#3345).
fn tracing(mesh: &Value) -> String {
    let backends = mesh.pointer("/tracing/backends").and_then(Value::as_array);
    let backends = backends.into_iter().flatten().map(|backend| {
        let text = |name: &str| {
            backend
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        printable(&format!("{}/{}", text("type"), text("name")))
    });
    let all: Vec<String> = backends.collect();
    match all.is_empty() {
        true => "off".to_owned(),
        false => all.join(", "),
    }
}

/// All values of every tag: `kuma.io/service=api,web version=1`.
fn tags(dataplane: &Value) -> String {
    let networking = dataplane.get("networking");
    let inbounds = networking.and_then(|networking| networking.get("inbound")?.as_array());
    let gateway = networking.and_then(|networking| networking.get("gateway"));
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for owner in inbounds.into_iter().flatten().chain(gateway) {
        let pairs = owner.get("tags").and_then(Value::as_object);
        for (name, value) in pairs.into_iter().flatten() {
            tags.entry(name).or_default().extend(value.as_str());
        }
    }
    let one = |(name, values): (&str, BTreeSet<&str>)| {
        let values: Vec<&str> = values.into_iter().collect();
        printable(&format!("{name}={}", values.join(",")))
    };
    tags.into_iter().map(one).collect::<Vec<_>>().join(" ")
}

fn address(dataplane: &Value) -> String {
    let text = |path: &str| dataplane.pointer(path).and_then(Value::as_str);
    let address = text("/networking/advertisedAddress").filter(|address| !address.is_empty());
    printable(
        address
            .or_else(|| text("/networking/address"))
            .unwrap_or_default(),
    )
}

/// How long ago it was changed, in the greatest unit.
fn age(time: &str, now: OffsetDateTime) -> String {
    let Ok(time) = OffsetDateTime::parse(time, &Rfc3339) else {
        return "never".to_owned();
    };
    let seconds = (now - time).whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// No escape sequence for the terminal.
fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(safe).collect()
}

/// Columns three spaces apart, the last one as long as it is.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(kind: Kind, items: &[Value]) -> String {
        write(
            kind,
            items,
            OffsetDateTime::from_unix_timestamp(200_000).unwrap(),
        )
    }

    #[test]
    fn tables_have_kumactls_columns() {
        let at = |time: &str| json!(format!("1970-01-0{time}Z"));
        let dataplane = |name: &str, time: Value| {
            json!({"mesh": "default", "name": name, "modificationTime": time, "networking": {
                "address": "10.0.0.1", "inbound": [
                    {"tags": {"kuma.io/service": "web", "version": "1"}},
                    {"tags": {"kuma.io/service": "api", "version": "1"}}]}})
        };
        let mut advertised = dataplane("b", at("3T07:33:00"));
        advertised["networking"]["advertisedAddress"] = json!("192.0.2.1");
        let wanted = "\
MESH      NAME            TAGS                                ADDRESS     AGE
default   a\u{fffd}longer-name   kuma.io/service=api,web version=1   10.0.0.1    20s
default   b               kuma.io/service=api,web version=1   192.0.2.1   20s
";
        let found = table(
            Kind::Dataplane,
            &[
                dataplane("a\u{1b}longer-name", at("3T07:33:00")),
                advertised,
            ],
        );
        assert_eq!(found, wanted);
        let trace = json!({"mesh": "default", "name": "all", "modificationTime": at("1T00:00:00")});
        assert_eq!(
            table(Kind::TrafficTrace, &[trace]),
            "MESH      NAME   AGE\ndefault   all    2d\n"
        );
        assert_eq!(table(Kind::TrafficTrace, &[]), "MESH   NAME   AGE\n");
    }

    #[test]
    fn a_mesh_shows_its_backends() {
        let mesh = json!({"name": "default", "modificationTime": "1970-01-03T04:00:00Z", "tracing": {
            "backends": [{"name": "z", "type": "zipkin"}, {"name": "d", "type": "datadog"}]}});
        let bare = json!({"name": "bare", "modificationTime": "1970-01-03T07:00:00Z"});
        assert_eq!(
            table(Kind::Mesh, &[mesh, bare, json!({})]),
            "NAME      TRACING               AGE\n\
             default   zipkin/z, datadog/d   3h\n\
             bare      off                   33m\n          off                   never\n"
        );
    }
}
