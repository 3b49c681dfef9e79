//! The agent's spans, read from Zipkin v2 JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lines::{Line, case_of, path_of};

/// Which half of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `CLIENT`.
    Client,
    /// `SERVER`.
    Server,
    /// Neither.
    Local,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// `traceId`.
    pub trace: String,
    /// `id`.
    pub id: String,
    /// `parentId`.
    pub parent: Option<String>,
    /// `kind`.
    pub kind: Kind,
    /// `name`.
    pub name: String,
    /// `shared`.
    pub shared: bool,
    /// `debug`.
    pub debug: bool,
    /// `timestamp`, microseconds.
    pub timestamp: u64,
    /// `duration`, microseconds.
    pub duration: u64,
    /// `localEndpoint.serviceName`.
    pub service: String,
    /// `remoteEndpoint.serviceName`.
    pub remote_service: String,
    /// `remoteEndpoint.port`.
    pub remote_port: Option<u64>,
    /// `tags`.
    pub tags: BTreeMap<String, String>,
}

impl Span {
    /// Reads one span.
    ///
    /// # Errors
    /// If a field that every span must have is missing.
    pub fn from_json(json: &Value) -> Result<Self> {
        let text = |at: &str| json.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let number = |at: &str| json.pointer(at).and_then(Value::as_u64);
        let flag = |at: &str| json.pointer(at).and_then(Value::as_bool).unwrap_or(false);
        let tags = json.get("tags").and_then(Value::as_object);
        let tags = tags.into_iter().flatten().map(|(key, value)| {
            let value = value
                .as_str()
                .with_context(|| format!("tag {key} is not a string"))?;
            Ok((key.clone(), value.to_owned()))
        });
        Ok(Self {
            trace: text("/traceId").context("no traceId")?,
            id: text("/id").context("no id")?,
            parent: text("/parentId"),
            kind: match text("/kind").as_deref() {
                Some("CLIENT") => Kind::Client,
                Some("SERVER") => Kind::Server,
                None => Kind::Local,
                Some(other) => bail!("kind {other}"),
            },
            name: text("/name").unwrap_or_default(),
            shared: flag("/shared"),
            debug: flag("/debug"),
            timestamp: number("/timestamp").context("no timestamp")?,
            duration: number("/duration").unwrap_or_default(),
            service: text("/localEndpoint/serviceName").unwrap_or_default(),
            remote_service: text("/remoteEndpoint/serviceName").unwrap_or_default(),
            remote_port: number("/remoteEndpoint/port"),
            tags: tags.collect::<Result<_>>()?,
        })
    }

    /// A tag, empty if it is not there.
    #[must_use]
    pub fn tag(&self, key: &str) -> &str {
        self.tags.get(key).map_or("", String::as_str)
    }

    /// Path of its URL, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        path_of(self.tag("http.url"))
    }

    /// The tag of the case it belongs to.
    #[must_use]
    pub fn case(&self) -> &str {
        case_of(self.path())
    }

    /// What an access log would have said.
    #[must_use]
    pub fn line(&self) -> Line {
        Line {
            method: self.tag("http.method").to_owned(),
            path: self.path().to_owned(),
            status: self.tag("http.status_code").parse().ok(),
        }
    }
}

/// Reads one span per line; a last line that is not complete yet is left out.
///
/// # Errors
/// If the file cannot be read or a line is not a span.
pub fn read(path: &Path) -> Result<Vec<Span>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8(bytes).context("output is not UTF-8")?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            let json = serde_json::from_str(line);
            json.context("not JSON")
                .and_then(|json| Span::from_json(&json))
                .with_context(|| format!("line of {}: {line}", path.display()))
        })
        .collect()
}
