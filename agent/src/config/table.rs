//! TOML tables, read key by key with the place of everything.
//!
//! Not serde's derive: it stops at the first mistake, and knows the names of
//! fields but not the places of values that are wrong for another reason than
//! their type.

use std::cell::{Cell, RefCell};
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest;
use super::report::{Finding, Severity, in_order};

/// Where findings are collected.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: RefCell<Vec<Finding>>,
    errors: Cell<usize>,
}

impl Findings {
    pub(super) fn add(
        &self,
        severity: Severity,
        at: &At,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        self.list.borrow_mut().push(Finding {
            severity,
            field: at.field.clone(),
            message: message.into(),
            hint,
            span: at.span.clone(),
        });
    }

    pub(super) fn error(&self, at: &At, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.add(Severity::Error, at, message, hint);
    }

    pub(super) fn warning(&self, at: &At, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.add(Severity::Warning, at, message, hint);
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// In the order of their places; of very many, some.
    pub(super) fn into_sorted(self) -> Vec<Finding> {
        in_order(self.list.into_inner())
    }
}

/// A field and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) field: String,
    pub(super) span: Range<usize>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// What is switched on or off, or on in a certain way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch<'d> {
    On(bool),
    Text(&'d str),
}

/// How keys are compared, and what becomes of those that nobody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Our own tables: exactly; an unknown key is an error.
    Strict,
    /// Traefik's: without regard to case (`BurntSushi/toml` `decode.go`); an
    /// unknown key is a warning, for Traefik itself says nothing.
    Traefik,
}

/// One table, of which keys are taken by name.
#[derive(Debug)]
pub(super) struct Reader<'d> {
    table: &'d DeTable<'d>,
    pub(super) at: At,
    keys: Keys,
    asked: Vec<(&'static str, Keys)>,
    /// Keys that somebody else asks for.
    left: Vec<&'static str>,
    findings: &'d Findings,
}

impl Keys {
    fn same(self, key: &str, text: &str) -> bool {
        match self {
            Self::Strict => key == text,
            Self::Traefik => key.eq_ignore_ascii_case(text),
        }
    }
}

impl<'d> Reader<'d> {
    pub(super) fn new(table: &'d Spanned<DeTable<'d>>, findings: &'d Findings) -> Self {
        Self {
            table: table.get_ref(),
            at: At {
                field: String::new(),
                span: 0..0,
            },
            keys: Keys::Strict,
            asked: Vec::new(),
            left: Vec::new(),
            findings,
        }
    }

    fn get(&mut self, key: &'static str) -> Option<(At, &'d DeValue<'d>)> {
        self.get_as(key, self.keys)
    }

    fn get_as(&mut self, key: &'static str, keys: Keys) -> Option<(At, &'d DeValue<'d>)> {
        self.asked.push((key, keys));
        let mut found = None;
        for (name, value) in self.table {
            let name_text = name.get_ref().as_ref();
            if !keys.same(key, name_text) {
                continue;
            }
            let mut at = self.field(name_text, value.span());
            // A table's own span is that of its header only sometimes.
            if value.get_ref().is_table() {
                at.span = name.span();
            }
            if found.is_some() {
                self.findings.error(
                    &At {
                        span: name.span(),
                        ..at
                    },
                    format!("`{key}` is there twice, in different case"),
                    "remove one of them",
                );
                continue;
            }
            found = Some((at, value.get_ref()));
        }
        found
    }

    /// Whether there is such a key, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        let names = self.table.keys();
        names
            .into_iter()
            .any(|name| self.keys.same(key, name.get_ref()))
    }

    fn field(&self, key: &str, span: Range<usize>) -> At {
        let field = match self.at.field.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        At { field, span }
    }

    /// The table under this key; `keys` is how its name and its keys are
    /// compared.
    pub(super) fn table(&mut self, key: &'static str, keys: Keys) -> Option<Reader<'d>> {
        let (at, value) = self.get_as(key, keys)?;
        let Some(table) = value.as_table() else {
            self.wrong_type(&at, value, "a table", &format!("write [{}]", at.field));
            return None;
        };
        Some(Reader {
            table,
            at,
            keys,
            asked: Vec::new(),
            left: Vec::new(),
            findings: self.findings,
        })
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Placed<&'d str>> {
        let (at, value) = self.get(key)?;
        let Some(value) = value.as_str() else {
            self.wrong_type(&at, value, "a string", "write it in quotes");
            return None;
        };
        Some(Placed { value, at })
    }

    /// A string that says something.
    pub(super) fn name(&mut self, key: &'static str) -> Option<Placed<&'d str>> {
        let name = self.string(key)?;
        if name.value.trim().is_empty() {
            self.findings.error(
                &name.at,
                "this is empty",
                "remove the key, or give it a value",
            );
            return None;
        }
        Some(name)
    }

    pub(super) fn bool(&mut self, key: &'static str) -> Option<Placed<bool>> {
        let (at, value) = self.get(key)?;
        let Some(value) = value.as_bool() else {
            self.wrong_type(&at, value, "true or false", "write it without quotes");
            return None;
        };
        Some(Placed { value, at })
    }

    /// True, false, or something that a string says.
    pub(super) fn switch(&mut self, key: &'static str) -> Option<Placed<Switch<'d>>> {
        let (at, value) = self.get(key)?;
        let value = match (value.as_bool(), value.as_str()) {
            (Some(on), _) => Switch::On(on),
            (None, Some(text)) => Switch::Text(text),
            (None, None) => {
                self.wrong_type(&at, value, "true, false or a string", "write true or false");
                return None;
            }
        };
        Some(Placed { value, at })
    }

    pub(super) fn integer(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<u64>,
    ) -> Option<u64> {
        Some(self.placed_integer(key, limits)?.value)
    }

    pub(super) fn placed_integer(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<u64>,
    ) -> Option<Placed<u64>> {
        let (at, value) = self.get(key)?;
        let value = self.integer_at(&at, value, limits)?;
        Some(Placed { value, at })
    }

    /// A finite number, with a point or without.
    pub(super) fn number(&mut self, key: &'static str) -> Option<Placed<f64>> {
        let (at, value) = self.get(key)?;
        let number = match value {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => {
                let whole = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
                whole.map(|whole| whole as f64)
            }
            _ => {
                self.wrong_type(&at, value, "a number", "write it without quotes");
                return None;
            }
        };
        let Some(value) = number.filter(|number| number.is_finite()) else {
            self.findings
                .error(&at, "this is no finite number", "write one such as 0.5");
            return None;
        };
        Some(Placed { value, at })
    }

    fn integer_at(&self, at: &At, value: &DeValue<'_>, limits: RangeInclusive<u64>) -> Option<u64> {
        let (from, to) = (limits.start(), limits.end());
        let Some(text) = value.as_integer() else {
            let wanted = format!("an integer from {from} to {to}");
            self.wrong_type(at, value, &wanted, "write it without quotes");
            return None;
        };
        let number = i128::from_str_radix(text.as_str(), text.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        let within = number.filter(|number| limits.contains(number));
        if within.is_none() {
            let message = format!("{text} is not within {from} to {to}", text = text.as_str());
            let hint = format!("write a whole number from {from} to {to}");
            self.findings.error(at, message, &hint);
        }
        within
    }

    /// `"500ms"`, `"10s"`, `"2m"`, `"1h"`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (at, value) = self.get(key)?;
        let (from, to) = (limits.start(), limits.end());
        let wanted = format!("a duration from \"{from:?}\" to \"{to:?}\"");
        let Some(text) = value.as_str() else {
            self.wrong_type(
                &at,
                value,
                &wanted,
                "write it with its unit: \"500ms\", \"10s\", \"2m\"",
            );
            return None;
        };
        let Some(duration) = duration(text) else {
            let message = format!("\"{text}\" is not {wanted}");
            self.findings.error(
                &at,
                message,
                "a whole number and one of ms, s, m, h: \"500ms\", \"10s\"",
            );
            return None;
        };
        if !limits.contains(&duration) {
            let message = format!("\"{text}\" is not within \"{from:?}\" to \"{to:?}\"");
            self.findings
                .error(&at, message, &format!("write {wanted}"));
            return None;
        }
        Some(duration)
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<Placed<&'d str>>> {
        let values = self.array(key, "an array of strings")?;
        let mut strings = Vec::new();
        for (at, value) in values {
            match value.as_str() {
                Some(value) => strings.push(Placed { value, at }),
                None => self.wrong_type(&at, value, "a string", "write it in quotes"),
            }
        }
        Some(strings)
    }

    pub(super) fn ports(&mut self, key: &'static str) -> Option<Vec<u16>> {
        let values = self.array(key, "an array of port numbers")?;
        let mut ports = Vec::new();
        for (at, value) in values {
            let port = self.integer_at(&at, value, 1..=u16::MAX.into());
            ports.extend(port.and_then(|port| u16::try_from(port).ok()));
        }
        Some(ports)
    }

    fn array(&mut self, key: &'static str, wanted: &str) -> Option<Vec<(At, &'d DeValue<'d>)>> {
        let (at, value) = self.get(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(&at, value, wanted, "write it in brackets: [\u{2026}]");
            return None;
        };
        let place = |(n, value): (usize, &'d Spanned<DeValue<'d>>)| {
            let field = format!("{}[{n}]", at.field);
            let span = value.span();
            (At { field, span }, value.get_ref())
        };
        Some(array.iter().enumerate().map(place).collect())
    }

    /// Leaves out keys of these names, in any case; those that are there and
    /// were not asked for.
    pub(super) fn leave(&mut self, names: &[&'static str]) -> Vec<At> {
        let mut left = Vec::new();
        for key in self.table.keys() {
            let text = key.get_ref().as_ref();
            if self.asked.iter().any(|(key, keys)| keys.same(key, text)) {
                continue;
            }
            let same = |name: &&&'static str| Keys::Traefik.same(name, text);
            if let Some(name) = names.iter().find(same) {
                self.left.push(name);
                left.push(self.field(text, key.span()));
            }
        }
        left.sort_by_key(|at| at.span.start);
        left
    }

    /// Complains about all keys that were not asked for.
    pub(super) fn finish(self) {
        for name in self.table.keys() {
            let text = name.get_ref().as_ref();
            if self.asked.iter().any(|(key, keys)| keys.same(key, text)) {
                continue;
            }
            if self.left.iter().any(|key| Keys::Traefik.same(key, text)) {
                continue;
            }
            let known = || self.asked.iter().map(|(key, _)| *key);
            let hint = match nearest(text, known()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
            };
            let at = self.field(text, name.span());
            let severity = match self.keys {
                Keys::Strict => Severity::Error,
                Keys::Traefik => Severity::Warning,
            };
            let message = match self.at.field.as_str() {
                "" => format!("unknown table or key `{text}`"),
                table => format!("unknown key `{text}` in [{table}]"),
            };
            self.findings.add(severity, &at, message, Some(hint));
        }
    }

    fn wrong_type(&self, at: &At, value: &DeValue<'_>, wanted: &str, hint: &str) {
        let found = match value {
            DeValue::Integer(_) | DeValue::Array(_) => "an",
            _ => "a",
        };
        let message = format!("this is {found} {}, wanted {wanted}", value.type_str());
        self.findings.error(at, message, hint);
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}
