//! A real Jaeger: where it is, and reading traces back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::api::Api;
use super::fields::Fields;
use super::links::{Link, Links};

/// Where a Jaeger is, as `NODESPAN_JAEGER` says it.
#[derive(Clone, Debug)]
pub struct Jaeger {
    places: BTreeMap<String, String>,
    query: Api,
}

impl Jaeger {
    /// From `query=HOST:PORT sampling=… otlp=… zipkin=… udp=… strategies=FILE`.
    ///
    /// # Errors
    /// If that is not what `text` is.
    pub fn new(text: &str) -> Result<Self> {
        let places: BTreeMap<String, String> = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .map(|(name, place)| (name.to_owned(), place.to_owned()))
            .collect();
        let query = places
            .get("query")
            .with_context(|| format!("no query= in {text:?}"))?;
        Ok(Self {
            query: Api::new(query)?,
            places,
        })
    }

    /// `HOST:PORT` of one of its ports.
    ///
    /// # Errors
    /// If it does not listen there.
    pub fn at(&self, port: &str) -> Result<&str> {
        let place = self.places.get(port);
        Ok(place.with_context(|| format!("NODESPAN_JAEGER has no {port}="))?)
    }

    /// URL of one of its ports.
    ///
    /// # Errors
    /// If it does not listen there.
    pub fn url(&self, port: &str) -> Result<String> {
        Ok(format!("http://{}", self.at(port)?))
    }

    /// The file of its sampling strategies.
    ///
    /// # Errors
    /// If that is on another machine.
    pub fn strategies(&self) -> Result<PathBuf> {
        Ok(self.at("strategies")?.into())
    }

    /// Address of its query port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.query.addr()
    }

    /// The spans of a trace as they were stored, none if it does not know it.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn facts(&self, id: &str) -> Result<Vec<Fields>> {
        // Otherwise it gives shared ids new ones, and moves clocks.
        let path = format!("/api/v3/traces/{id}?raw_traces=true");
        let Some(answer) = self.query.get(&path)? else {
            return Ok(Vec::new());
        };
        let mut spans = Vec::new();
        for of_service in list(&answer["result"]["resourceSpans"]) {
            for of_scope in list(&of_service["scopeSpans"]) {
                for span in list(&of_scope["spans"]) {
                    spans.push(Fields::from_otlp(span, &of_service["resource"])?);
                }
            }
        }
        ensure!(!spans.is_empty(), "a trace without spans: {answer}");
        Ok(spans)
    }

    /// The share that it tells a service's samplers to take, if it tells one.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn rate(&self, service: &str) -> Result<Option<f64>> {
        let path = format!("/sampling?service={service}");
        let answer = Api::new(self.at("sampling")?)?.get(&path)?;
        let answer = answer.context("no strategy")?;
        Ok(answer["probabilisticSampling"]["samplingRate"].as_f64())
    }

    /// URLs of the spans of a service, at most 1500 traces.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn urls(&self, service: &str) -> Result<Vec<String>> {
        let path = format!("/api/traces?service={service}&limit=1500");
        let answer = self.query.get(&path)?.context("no traces")?;
        let tags = list(&answer["data"])
            .flat_map(|trace| list(&trace["spans"]))
            .flat_map(|span| list(&span["tags"]))
            .filter(|tag| tag["key"] == "http.url");
        Ok(tags
            .filter_map(|tag| tag["value"].as_str().map(str::to_owned))
            .collect())
    }

    /// Which services called which until now, since `lookback` ago.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn links(&self, now: Duration, lookback: Duration) -> Result<Links> {
        let (end, back) = (now.as_millis(), lookback.as_millis());
        let path = format!("/api/dependencies?endTs={end}&lookback={back}");
        let answer = self.query.get(&path)?.context("no dependencies")?;
        list(&answer["data"]).map(Link::from_json).collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
