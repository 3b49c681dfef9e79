//! What a sampling server answers.

use serde::Deserialize;

/// How the traces of a service are sampled.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// This share.
    Probabilistic(f64),
    /// So many a second.
    RateLimiting(f64),
    /// A share for each operation.
    Operations {
        /// The share of operations that are not listed.
        default: f64,
        /// Traces a second that each operation has at least.
        lower_bound: f64,
        /// The listed ones.
        rates: Vec<OperationRate>,
    },
}

/// The share of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationRate {
    /// The name of its spans.
    pub operation: Box<str>,
    /// The share.
    pub rate: f64,
}

/// Why an answer is no strategy.
#[derive(Debug, thiserror::Error)]
pub enum StrategyError {
    /// It is no JSON of the kind.
    #[error("the answer is not a sampling strategy: {0}")]
    Json(#[from] serde_json::Error),
    /// It holds nothing.
    #[error(
        "the answer has none of operationSampling, probabilisticSampling and rateLimitingSampling"
    )]
    Empty,
}

impl Strategy {
    /// Reads the answer of Jaeger's HTTP sampling server, in any of its forms:
    /// what is there decides, in the order in which Jaeger's clients ask, and
    /// `strategyType` (a word, or a number from old agents) does not, because
    /// it does not know of operations. Missing and `null` are the same; a
    /// number that is missing is 0, which encoders of Protocol Buffers leave
    /// out (`jaegertracing/jaeger`, `model/converter/json/sampling.go`).
    ///
    /// # Errors
    /// It is no such JSON, or has no strategy in it.
    pub fn parse(json: &[u8]) -> Result<Self, StrategyError> {
        let answer: Answer = serde_json::from_slice(json)?;
        if let Some(operations) = answer.operation_sampling {
            let listed = operations.per_operation_strategies.unwrap_or_default();
            let rate = |listed: Listed| {
                // One without a share has the default one.
                let share = listed.probabilistic_sampling?;
                Some(OperationRate {
                    operation: listed.operation.unwrap_or_default().into(),
                    rate: share.sampling_rate.unwrap_or_default(),
                })
            };
            return Ok(Self::Operations {
                default: operations.default_sampling_probability.unwrap_or_default(),
                lower_bound: operations
                    .default_lower_bound_traces_per_second
                    .unwrap_or_default(),
                rates: listed.into_iter().filter_map(rate).collect(),
            });
        }
        if let Some(share) = answer.probabilistic_sampling {
            return Ok(Self::Probabilistic(share.sampling_rate.unwrap_or_default()));
        }
        if let Some(limit) = answer.rate_limiting_sampling {
            let limit = limit.max_traces_per_second.unwrap_or_default();
            return Ok(Self::RateLimiting(limit));
        }
        Err(StrategyError::Empty)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    operation_sampling: Option<PerOperation>,
    probabilistic_sampling: Option<Share>,
    rate_limiting_sampling: Option<Limit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PerOperation {
    default_sampling_probability: Option<f64>,
    default_lower_bound_traces_per_second: Option<f64>,
    per_operation_strategies: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    operation: Option<String>,
    probabilistic_sampling: Option<Share>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Share {
    sampling_rate: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    max_traces_per_second: Option<f64>,
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::*;

    fn parse(json: &str) -> Result<Strategy, StrategyError> {
        Strategy::parse(json.as_bytes())
    }

    fn operations(default: f64, lower_bound: f64, rates: &[(&str, f64)]) -> Strategy {
        let rate = |&(operation, rate): &(&str, f64)| OperationRate {
            operation: operation.into(),
            rate,
        };
        Strategy::Operations {
            default,
            lower_bound,
            rates: rates.iter().map(rate).collect(),
        }
    }

    #[test]
    fn every_form_is_read() {
        use Strategy::{Probabilistic, RateLimiting};
        for (json, wanted) in [
            (
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.42}}"#,
                Probabilistic(0.42),
            ),
            (
                r#"{"strategyType":"RATE_LIMITING","rateLimitingSampling":{"maxTracesPerSecond":42}}"#,
                RateLimiting(42.0),
            ),
            // Agents of old: numbers, and nulls.
            (
                r#"{"strategyType":0,"probabilisticSampling":{"samplingRate":0.001},"rateLimitingSampling":null,"operationSampling":null}"#,
                Probabilistic(0.001),
            ),
            (
                r#"{"strategyType":1,"probabilisticSampling":null,"rateLimitingSampling":{"maxTracesPerSecond":2}}"#,
                RateLimiting(2.0),
            ),
            // The type is not asked, nor is it needed.
            (
                r#"{"strategyType":"RATE_LIMITING","probabilisticSampling":{"samplingRate":1}}"#,
                Probabilistic(1.0),
            ),
            (
                r#"{"strategyType":"NEW","rateLimitingSampling":{}}"#,
                RateLimiting(0.0),
            ),
            (r#"{"probabilisticSampling":{}}"#, Probabilistic(0.0)),
            (
                r#"{"probabilisticSampling":{"samplingRate":null},"rateLimitingSampling":{"maxTracesPerSecond":1}}"#,
                Probabilistic(0.0),
            ),
            // Operations come first.
            (
                r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5},"operationSampling":{
                   "defaultSamplingProbability":0.42,"defaultLowerBoundTracesPerSecond":2,
                   "perOperationStrategies":[{"operation":"foo","probabilisticSampling":{"samplingRate":0.43}},
                       {"operation":"GET b","probabilisticSampling":{}},{"operation":"none","probabilisticSampling":null},
                       {"probabilisticSampling":{"samplingRate":1}}],
                   "defaultUpperBoundTracesPerSecond":11.2}}"#,
                operations(0.42, 2.0, &[("foo", 0.43), ("GET b", 0.0), ("", 1.0)]),
            ),
            (
                r#"{"operationSampling":{"defaultSamplingProbability":1,"perOperationStrategies":null,"defaultUpperBoundTracesPerSecond":null}}"#,
                operations(1.0, 0.0, &[]),
            ),
            (
                "{\"operationSampling\":{}, \"other\":[1]}\n",
                operations(0.0, 0.0, &[]),
            ),
        ] {
            assert_eq!(parse(json).unwrap(), wanted, "{json}");
        }
    }

    #[test]
    fn what_is_no_strategy_is_refused() {
        for (json, says) in [
            ("{}", "none of operationSampling"),
            (r#"{"strategyType":"PROBABILISTIC"}"#, "none of"),
            (
                r#"{"strategyType":"X","probabilisticSampling":null,"operationSampling":null}"#,
                "none of",
            ),
            ("", "not a sampling strategy: EOF"),
            ("[]", "not a sampling strategy"),
            ("null", "not a sampling strategy"),
            ("no such service", "not a sampling strategy"),
            (
                r#"{"probabilisticSampling":{"samplingRate":"0.5"}}"#,
                "invalid type: string",
            ),
            (
                r#"{"probabilisticSampling":{"samplingRate":0.5}}x"#,
                "trailing",
            ),
            (
                r#"{"probabilisticSampling":{"samplingRate":1e999}}"#,
                "out of range",
            ),
            (
                r#"{"operationSampling":{"perOperationStrategies":{}}}"#,
                "invalid type",
            ),
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, text in "[{}\\[\\]\":,0-9a-z]{0,60}") {
            let _ = Strategy::parse(&bytes);
            let _ = parse(&text);
        }
    }
}
