//! A span as a flat list of facts, whatever format it was read from, so that
//! what was sent and what a server gives back can be laid side by side.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// What is known of one span: `trace`, `id`, `parent`, `kind`, `name`,
/// `service`, `timestamp` and `duration` (microseconds), `shared`, `debug`,
/// `local` and `remote` (addresses), `remote port`, `status`, and one fact for
/// each `tag NAME`, `annotation TEXT` (microseconds) and `resource NAME`.
///
/// A tag's value that is no text says of what type it is: `int 200`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads a span in Zipkin's v2 JSON.
    ///
    /// # Errors
    /// If a part of it is of another type than it should be.
    pub fn from_zipkin(span: &Value) -> Result<Self> {
        let mut fields = Self::default();
        for (from, to) in [
            ("/traceId", "trace"),
            ("/id", "id"),
            ("/parentId", "parent"),
            ("/kind", "kind"),
            ("/name", "name"),
            ("/timestamp", "timestamp"),
            ("/duration", "duration"),
            ("/shared", "shared"),
            ("/debug", "debug"),
            ("/localEndpoint/serviceName", "service"),
            ("/localEndpoint/ipv4", "local"),
            ("/localEndpoint/ipv6", "local"),
            ("/localEndpoint/port", "local port"),
            ("/remoteEndpoint/serviceName", "remote service"),
            ("/remoteEndpoint/ipv4", "remote"),
            ("/remoteEndpoint/ipv6", "remote"),
            ("/remoteEndpoint/port", "remote port"),
        ] {
            match span.pointer(from) {
                None | Some(Value::Bool(false)) => {}
                Some(Value::String(text)) => fields.set(to, text),
                Some(other) => fields.set(to, &other.to_string()),
            }
        }
        for (name, value) in span["tags"].as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .with_context(|| format!("tag {name}: {value}"))?;
            fields.set(&format!("tag {name}"), value);
        }
        for annotation in span["annotations"].as_array().into_iter().flatten() {
            let text = annotation["value"].as_str().context("no value")?;
            let at = annotation["timestamp"].as_u64().context("no timestamp")?;
            fields.set(&format!("annotation {text}"), &at.to_string());
        }
        Ok(fields)
    }

    /// Reads a span in OTLP's JSON, with what its resource says.
    ///
    /// # Errors
    /// If it is not what the protocol says.
    pub fn from_otlp(span: &Value, resource: &Value) -> Result<Self> {
        let mut fields = Self::default();
        for (from, to) in [
            ("traceId", "trace"),
            ("spanId", "id"),
            ("parentSpanId", "parent"),
            ("name", "name"),
            ("traceState", "tracestate"),
        ] {
            if let Some(text) = span[from].as_str().filter(|text| !text.is_empty()) {
                fields.set(to, text);
            }
        }
        match span["kind"].as_u64().unwrap_or_default() {
            0 => {}
            2 => fields.set("kind", "SERVER"),
            3 => fields.set("kind", "CLIENT"),
            other => fields.set("kind", &format!("int {other}")),
        }
        match span["status"]["code"].as_u64().unwrap_or_default() {
            0 => {}
            1 => fields.set("status", "ok"),
            2 => fields.set("status", "error"),
            other => fields.set("status", &format!("int {other}")),
        }
        if let Some(text) = span["status"]["message"].as_str().filter(|s| !s.is_empty()) {
            fields.set("status message", text);
        }
        let start = nanos(&span["startTimeUnixNano"])?;
        let end = nanos(&span["endTimeUnixNano"])?;
        fields.set("timestamp", &micros(start));
        fields.set("duration", &micros(end.saturating_sub(start)));
        for event in span["events"].as_array().into_iter().flatten() {
            let name = event["name"].as_str().unwrap_or_default();
            let at = micros(nanos(&event["timeUnixNano"])?);
            fields.set(&format!("annotation {name}"), &at);
        }
        for (list, group) in [(span, "tag"), (resource, "resource")] {
            for attribute in list["attributes"].as_array().into_iter().flatten() {
                let key = attribute["key"].as_str().context("a key")?;
                let value = scalar(&attribute["value"])?;
                if (group, key) == ("resource", "service.name") {
                    fields.set("service", &value);
                } else {
                    fields.set(&format!("{group} {key}"), &value);
                }
            }
        }
        Ok(fields)
    }

    /// A fact, empty if it is not known.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Knows a fact.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Forgets a fact; what it was.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Calls a fact, if it is known, by another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.take(from) {
            self.0.insert(to.to_owned(), value);
        }
    }

    /// Rewrites a fact, if it is known.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&str) -> String) {
        if let Some(value) = self.0.get_mut(name) {
            *value = change(value);
        }
    }

    /// Forgets what `keep` does not want, by names.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// Which span of a trace it is: both halves of a call may have one id.
    fn key(&self) -> [&str; 3] {
        ["trace", "id", "kind"].map(|name| self.get(name))
    }
}

/// Every span that was expected came back once, with equal facts.
///
/// # Errors
/// With how many were missing, too many and different, and one example.
pub fn equal(got: Vec<Fields>, expected: Vec<Fields>) -> Result<()> {
    let (gots, expecteds) = (got.len(), expected.len());
    let (mut strange, mut twice) = (Vec::new(), 0);
    let mut waiting: BTreeMap<[String; 3], Fields> = BTreeMap::new();
    for one in expected {
        let key = one.key().map(str::to_owned);
        if waiting.insert(key, one).is_some() {
            bail!("the test expects one span twice");
        }
    }
    let mut differ = Vec::new();
    let mut met = std::collections::BTreeSet::new();
    for one in got {
        let key = one.key().map(str::to_owned);
        match waiting.remove(&key) {
            Some(wanted) => {
                let difference = difference(&one, &wanted);
                if !difference.is_empty() {
                    differ.push(format!(
                        "{} of {}: {difference}",
                        one.get("kind"),
                        one.get("id")
                    ));
                }
                met.insert(key);
            }
            None if met.contains(&key) => twice += 1,
            None => strange.push(key.join(" ")),
        }
    }
    if waiting.is_empty() && strange.is_empty() && differ.is_empty() && twice == 0 {
        return Ok(());
    }
    let example = |list: &[String]| list.first().cloned().unwrap_or_default();
    let missing: Vec<String> = waiting.into_keys().map(|key| key.join(" ")).collect();
    bail!(
        "{gots} spans, {expecteds} expected; {} missing [{}], {} not expected [{}], \
         {twice} twice, {} different [{}]",
        missing.len(),
        example(&missing),
        strange.len(),
        example(&strange),
        differ.len(),
        example(&differ),
    )
}

/// The facts in which two spans differ, as `NAME is GOT, not WANTED`.
fn difference(got: &Fields, wanted: &Fields) -> String {
    let names: std::collections::BTreeSet<&String> = got.0.keys().chain(wanted.0.keys()).collect();
    let odd = names.into_iter().filter_map(|name| {
        let (got, wanted) = (got.0.get(name), wanted.0.get(name));
        (got != wanted).then(|| match (got, wanted) {
            (Some(got), Some(wanted)) => format!("{name} is {got:?}, not {wanted:?}"),
            (Some(got), None) => format!("{name} is {got:?}, not expected"),
            (None, wanted) => format!("{name} is missing, not {:?}", wanted.map_or("", |s| s)),
        })
    });
    odd.collect::<Vec<_>>().join(", ")
}

fn nanos(value: &Value) -> Result<u64> {
    // 64-bit numbers are strings in protobuf's JSON.
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.with_context(|| format!("no time: {value}"))
}

/// Microseconds, with what is left over if there is anything.
fn micros(nanos: u64) -> String {
    match nanos % 1000 {
        0 => (nanos / 1000).to_string(),
        rest => format!("{}.{rest:03}", nanos / 1000),
    }
}

fn scalar(value: &Value) -> Result<String> {
    let (kind, inner) = value
        .as_object()
        .and_then(|object| object.iter().next())
        .with_context(|| format!("no value: {value}"))?;
    let text = inner
        .as_str()
        .map_or_else(|| inner.to_string(), str::to_owned);
    Ok(match kind.as_str() {
        "stringValue" => text,
        "intValue" => format!("int {text}"),
        "boolValue" => format!("bool {text}"),
        "arrayValue" => {
            let items = inner["values"].as_array().into_iter().flatten();
            format!(
                "list {}",
                items.map(scalar).collect::<Result<Vec<_>>>()?.join(", ")
            )
        }
        other => format!("{other} {text}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_formats_say_the_same_of_a_span() {
        let zipkin = json!({
            "traceId": "000000000000000a000000000000000b", "id": "000000000000000c",
            "parentId": "000000000000000d", "kind": "SERVER", "name": "GET h", "shared": true,
            "timestamp": 5, "duration": 7, "localEndpoint": {"serviceName": "s", "ipv4": "1.2.3.4"},
            "remoteEndpoint": {"ipv6": "::1", "port": 8}, "tags": {"a": "1"},
            "annotations": [{"timestamp": 6, "value": "first"}],
        });
        let mut zipkin = Fields::from_zipkin(&zipkin).unwrap();
        for (name, value) in [
            ("shared", "true"),
            ("local", "1.2.3.4"),
            ("remote", "::1"),
            ("remote port", "8"),
        ] {
            assert_eq!(zipkin.take(name).as_deref(), Some(value));
        }
        let otlp = json!({
            "traceId": "000000000000000a000000000000000b", "spanId": "000000000000000c",
            "parentSpanId": "000000000000000d", "kind": 2, "name": "GET h",
            "startTimeUnixNano": "5000", "endTimeUnixNano": "12000",
            "attributes": [{"key": "a", "value": {"stringValue": "1"}}],
            "events": [{"timeUnixNano": "6000", "name": "first"}], "status": {},
        });
        let resource = json!({
            "attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]
        });
        assert_eq!(Fields::from_otlp(&otlp, &resource).unwrap(), zipkin);
    }

    #[test]
    fn values_of_other_types_and_lost_precision_show() {
        let otlp = json!({
            "kind": 5, "startTimeUnixNano": "1500", "endTimeUnixNano": 2500,
            "status": {"code": 2},
            "attributes": [
                {"key": "i", "value": {"intValue": "200"}},
                {"key": "b", "value": {"boolValue": true}},
                {"key": "l", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}},
            ],
        });
        let fields = Fields::from_otlp(&otlp, &json!({})).unwrap();
        assert_eq!(fields.get("timestamp"), "1.500");
        assert_eq!(fields.get("duration"), "1");
        assert_eq!(fields.get("kind"), "int 5");
        assert_eq!(fields.get("status"), "error");
        assert_eq!(fields.get("tag i"), "int 200");
        assert_eq!(fields.get("tag b"), "bool true");
        assert_eq!(fields.get("tag l"), "list x");
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let span = |id: &str, name: &str| {
            let json = json!({"traceId": "1", "id": id, "kind": "CLIENT", "name": name});
            Fields::from_zipkin(&json).unwrap()
        };
        let say = |got: &[Fields], expected: &[Fields]| {
            equal(got.to_vec(), expected.to_vec()).map_err(|error| error.to_string())
        };
        let (a, b) = (span("a", "x"), span("b", "x"));
        assert_eq!(
            say(&[b.clone(), a.clone()], &[a.clone(), b.clone()]),
            Ok(())
        );
        let missing = say(std::slice::from_ref(&a), &[a.clone(), b.clone()]).unwrap_err();
        assert!(missing.contains("1 missing [1 b CLIENT]"), "{missing}");
        let strange = say(&[a.clone(), b.clone()], std::slice::from_ref(&a)).unwrap_err();
        assert!(strange.contains("1 not expected [1 b CLIENT]"), "{strange}");
        let twice = say(&[a.clone(), a.clone()], std::slice::from_ref(&a)).unwrap_err();
        assert!(twice.contains("1 twice"), "{twice}");
        let other = say(&[span("a", "y")], &[a]).unwrap_err();
        assert!(other.contains("name is \"y\", not \"x\""), "{other}");
    }
}
