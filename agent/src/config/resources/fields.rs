//! Mappings, read key by key with the place of everything.

use std::ops::Range;

use super::yaml::{Entry, Node, Value};
use crate::config::nearest;
use crate::config::table::{At, Findings, Placed};

/// Unknown fields of a mapping of which it is guessed what they should be.
const GUESSED: usize = 100;

/// One mapping, of which keys are taken by name.
///
/// `null` is as good as absent, and a key may also be written in snake case,
/// as protobuf's JSON has it.
#[derive(Debug)]
pub(super) struct Fields<'d> {
    entries: &'d [Entry],
    /// The field, and what is shown where something is missing: the key that
    /// the mapping stands behind.
    pub(super) at: At,
    asked: Vec<&'static str>,
    findings: &'d Findings,
    /// A wrong type is Kuma's "could not parse config" of this field.
    config: Option<String>,
}

impl<'d> Fields<'d> {
    pub(super) const fn new(entries: &'d [Entry], at: At, findings: &'d Findings) -> Self {
        Self {
            entries,
            at,
            asked: Vec::new(),
            findings,
            config: None,
        }
    }

    pub(super) const fn findings(&self) -> &'d Findings {
        self.findings
    }

    /// Something that is wrong with a key that need not be there.
    pub(super) fn error(&self, key: &str, message: impl Into<String>, hint: &str) {
        self.findings.error(&self.place(key), message, hint);
    }

    /// A key, whether or not it is there.
    pub(super) fn place(&self, key: &str) -> At {
        let entry = self.entries.iter().find(|entry| is(&entry.key, key));
        let span = entry.map_or(&self.at.span, |entry| shown(entry));
        At {
            field: join(&self.at.field, key),
            span: span.clone(),
        }
    }

    /// Whether a key is there; asked for or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| is(&entry.key, key) && entry.value.value != Value::Null)
    }

    /// Names that are known and do not matter here.
    pub(super) fn ignore(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys);
    }

    fn get(&mut self, key: &'static str) -> Option<(At, &'d Node)> {
        self.asked.push(key);
        let mut found = None;
        for entry in self.entries.iter().filter(|entry| is(&entry.key, key)) {
            let at = At {
                field: join(&self.at.field, key),
                span: shown(entry).clone(),
            };
            if found.is_some() {
                let message = format!("`{key}` is there twice, in two spellings");
                self.findings.error(&at, message, "remove one of them");
                continue;
            }
            found = Some((at, &entry.value));
        }
        found.filter(|(_, node)| node.value != Value::Null)
    }

    pub(super) fn map(&mut self, key: &'static str) -> Option<Fields<'d>> {
        let (at, node) = self.get(key)?;
        match &node.value {
            Value::Map(entries) => Some(Fields {
                config: self.config.clone(),
                ..Fields::new(entries, at, self.findings)
            }),
            other => {
                self.wrong_type(&at, other, "a mapping");
                None
            }
        }
    }

    /// A backend's `conf`, which Kuma's messages call `config`.
    pub(super) fn conf(&mut self) -> Option<Fields<'d>> {
        let (mut at, node) = self.get("conf")?;
        at.field = join(&self.at.field, "config");
        match &node.value {
            Value::Map(entries) => Some(Fields {
                config: Some(at.field.clone()),
                ..Fields::new(entries, at, self.findings)
            }),
            other => {
                let message = format!(
                    "could not parse config: this is {}, wanted a mapping",
                    other.name()
                );
                self.findings.error(&at, message, "");
                None
            }
        }
    }

    /// All entries of a mapping of strings, with their places; the keys are
    /// shown as `field["key"]`. Absent is none.
    pub(super) fn strings(&mut self, key: &'static str) -> Vec<(Placed<&'d str>, Placed<&'d str>)> {
        let Some((at, node)) = self.get(key) else {
            return Vec::new();
        };
        let Value::Map(entries) = &node.value else {
            self.wrong_type(&at, &node.value, "a mapping of strings");
            return Vec::new();
        };
        let mut strings = Vec::new();
        for entry in entries {
            let place = |span: &Range<usize>| At {
                field: format!("{}[\"{}\"]", at.field, entry.key),
                span: span.clone(),
            };
            let value = match &entry.value.value {
                Value::Text(text) => text.as_str(),
                // As protobuf's JSON has it.
                Value::Null => "",
                other => {
                    let hint = match other {
                        Value::Number(text) => format!("write \"{text}\""),
                        Value::Bool(value) => format!("write \"{value}\""),
                        _ => String::new(),
                    };
                    let message = format!("this is {}, wanted a string", other.name());
                    let at = place(&entry.value.span);
                    self.findings.error(&at, message, &hint);
                    continue;
                }
            };
            let name = Placed {
                value: entry.key.as_str(),
                at: place(&entry.key_span),
            };
            let value = Placed {
                value,
                at: place(shown(entry)),
            };
            strings.push((name, value));
        }
        strings
    }

    /// The mappings of a list.
    pub(super) fn maps(&mut self, key: &'static str) -> Vec<Fields<'d>> {
        let Some((at, node)) = self.get(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong_type(&at, &node.value, "a list");
            return Vec::new();
        };
        let mut maps = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let at = At {
                field: format!("{}[{n}]", at.field),
                span: item.span.clone(),
            };
            match &item.value {
                Value::Map(entries) => {
                    // A mapping's own place is a point; its first key shows it.
                    let first = entries.first().map(|entry| entry.key_span.clone());
                    let span = first.unwrap_or_else(|| at.span.clone());
                    maps.push(Fields::new(entries, At { span, ..at }, self.findings));
                }
                other => self.wrong_type(&at, other, "a mapping"),
            }
        }
        maps
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Placed<&'d str>> {
        let (at, node) = self.get(key)?;
        match &node.value {
            Value::Text(value) => Some(Placed { value, at }),
            other => {
                let hint = match other {
                    Value::Number(text) => format!("write \"{text}\""),
                    Value::Bool(value) => format!("write \"{value}\""),
                    _ => String::new(),
                };
                self.mistaken(&at, other, "a string", &hint);
                None
            }
        }
    }

    pub(super) fn bool(&mut self, key: &'static str) -> Option<bool> {
        let (at, node) = self.get(key)?;
        match &node.value {
            Value::Bool(value) => Some(*value),
            other => {
                self.wrong_type(&at, other, "true or false");
                None
            }
        }
    }

    /// A number, also in quotes as protobuf's JSON allows. What is too large
    /// for one is infinite.
    pub(super) fn number(&mut self, key: &'static str) -> Option<Placed<f64>> {
        let (at, node) = self.get(key)?;
        let value = match &node.value {
            Value::Number(text) => parse(text),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.wrong_type(&at, &node.value, "a number");
        }
        value.map(|value| Placed { value, at })
    }

    /// A whole number; what is none, or negative, is [`u64::MAX`].
    pub(super) fn whole(&mut self, key: &'static str) -> Option<u64> {
        let number = self.number(key)?.value;
        let whole = number.fract() == 0.0 && (0.0..1e15).contains(&number);
        Some(if whole { number as u64 } else { u64::MAX })
    }

    /// A string, without asking for it.
    pub(super) fn peek(&self, key: &str) -> Option<&'d str> {
        let entry = self.entries.iter().find(|entry| is(&entry.key, key))?;
        match &entry.value.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Warns of all keys that were not asked for.
    pub(super) fn finish(self) {
        let known = || self.asked.iter().copied();
        let unknown = |entry: &&Entry| !known().any(|key| is(&entry.key, key));
        for (n, entry) in self.entries.iter().filter(unknown).enumerate() {
            let hint = match nearest(&entry.key, known().filter(|_| n < GUESSED)) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if n < GUESSED => {
                    format!("known here: {}", known().collect::<Vec<_>>().join(", "))
                }
                None => String::new(),
            };
            let at = At {
                field: join(&self.at.field, &entry.key),
                span: entry.key_span.clone(),
            };
            let message = format!("unknown field `{}`, which is ignored", entry.key);
            self.findings.warning(&at, message, &hint);
        }
    }

    fn wrong_type(&self, at: &At, found: &Value, wanted: &str) {
        self.mistaken(at, found, wanted, "");
    }

    fn mistaken(&self, at: &At, found: &Value, wanted: &str, hint: &str) {
        let found = found.name();
        match &self.config {
            None => {
                let message = format!("this is {found}, wanted {wanted}");
                self.findings.error(at, message, hint);
            }
            Some(config) => {
                let name = at.field.rsplit('.').next().unwrap_or_default();
                let message = format!("could not parse config: {name} is {found}, wanted {wanted}");
                let at = At {
                    field: config.clone(),
                    span: at.span.clone(),
                };
                self.findings.error(&at, message, hint);
            }
        }
    }
}

/// What is marked for an entry: its value if that has a place of its own.
fn shown(entry: &Entry) -> &Range<usize> {
    match entry.value.value {
        Value::List(_) | Value::Map(_) | Value::Null => &entry.key_span,
        _ => &entry.value.span,
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Whether a key of a file is this name, or this name in snake case.
fn is(written: &str, name: &str) -> bool {
    if written == name {
        return true;
    }
    let mut written = written.chars();
    for c in name.chars() {
        if c.is_ascii_uppercase() && written.next() != Some('_') {
            return false;
        }
        if written.next() != Some(c.to_ascii_lowercase()) {
            return false;
        }
    }
    written.next().is_none()
}

/// A number as YAML writes it.
fn parse(text: &str) -> Option<f64> {
    let radix = |digits, radix| {
        u64::from_str_radix(digits, radix).map_or(f64::INFINITY, |number| number as f64)
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return Some(radix(digits, 8));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return Some(radix(digits, 16));
    }
    let lower = text.to_ascii_lowercase();
    lower
        .replacen(".inf", "inf", 1)
        .replacen(".nan", "nan", 1)
        .parse()
        .ok()
}
