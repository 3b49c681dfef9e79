//! Which service calls which, as servers work it out from spans.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Links, sorted by whoever compares them.
pub type Links = Vec<Link>;

/// Calls of one service to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Who called.
    pub parent: String,
    /// Who was called.
    pub child: String,
    /// How often.
    pub calls: u64,
    /// How many of these failed. Jaeger does not say.
    pub errors: u64,
}

impl Link {
    /// Reads a link; Zipkin's and Jaeger's are alike.
    ///
    /// # Errors
    /// If a part is missing.
    pub fn from_json(json: &Value) -> Result<Self> {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        Ok(Self {
            parent: text("parent").with_context(|| format!("no parent: {json}"))?,
            child: text("child").with_context(|| format!("no child: {json}"))?,
            calls: json["callCount"]
                .as_u64()
                .with_context(|| format!("no count: {json}"))?,
            errors: json["errorCount"].as_u64().unwrap_or_default(),
        })
    }
}
