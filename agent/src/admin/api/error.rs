//! What is wrong, as Kuma says it.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::{COULD_NOT_PROCESS, MAX_BODY, Refusal};
use crate::config::{Finding, Severity};

/// An answer that is none.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    title: String,
    detail: String,
    /// Field and reason.
    parameters: Vec<(String, String)>,
    /// What can be asked instead, with 405.
    pub(super) allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            title: title.into(),
            detail: detail.into(),
            parameters: Vec::new(),
            allow: None,
        }
    }

    pub(super) fn bad(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, detail)
    }

    pub(super) fn not_found(title: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, "Not found")
    }

    pub(super) fn too_long() -> Self {
        let detail = format!("The body is longer than {MAX_BODY} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, COULD_NOT_PROCESS, detail)
    }

    pub(super) fn method_not_allowed(why: &str, allow: &'static str) -> Self {
        let title = match why {
            "" => "Method not allowed",
            why => why,
        };
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self {
            allow: Some(allow),
            ..Self::new(status, title, "Method not allowed")
        }
    }

    /// The answer to what the store refused, but for [`Refusal::Invalid`]'s
    /// title, which depends on the findings.
    pub(super) fn of(refusal: &Refusal, title: &str) -> Self {
        match refusal {
            Refusal::NotFound(_) => Self::not_found(title),
            Refusal::NoMesh(_) => {
                Self::bad(title, "Mesh is not found").parameter("mesh", refusal.to_string())
            }
            Refusal::Invalid(found) => findings(title, found),
            Refusal::InFile(_) => {
                let detail = "Resource is defined in a file";
                Self::new(StatusCode::CONFLICT, title, detail)
                    .parameter("name", refusal.to_string())
            }
            Refusal::Attached => {
                Self::bad(title, "Resource is not valid").parameter("mesh", refusal.to_string())
            }
            Refusal::TooLong(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, title, refusal.to_string())
            }
            Refusal::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, title, refusal.to_string())
            }
            Refusal::Store(error) => {
                tracing::error!("resource API: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, error.to_string())
            }
        }
    }

    pub(super) fn parameter(mut self, field: &str, reason: impl Into<String>) -> Self {
        self.parameters.push((field.to_owned(), reason.into()));
        self
    }

    /// The body. Clients up to 2.2 read `details` and `causes`, later ones
    /// `detail` and `invalid_parameters` (`pkg/core/rest/errors/types`).
    pub(super) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!("/std-errors"));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("title".to_owned(), json!(self.title));
        body.insert("detail".to_owned(), json!(self.detail));
        body.insert("details".to_owned(), json!(self.detail));
        if !self.parameters.is_empty() {
            let as_list = |name: &str| -> Value {
                let one =
                    |(field, reason): &(String, String)| json!({"field": field, name: reason});
                self.parameters.iter().map(one).collect()
            };
            body.insert("invalid_parameters".to_owned(), as_list("reason"));
            body.insert("causes".to_owned(), as_list("message"));
        }
        Value::Object(body)
    }
}

/// The answer to a resource that is wrong.
pub(super) fn findings(title: &str, found: &[Finding]) -> Problem {
    let errors = found.iter().filter(|f| f.severity == Severity::Error);
    let problem = Problem::bad(title, "Resource is not valid");
    errors.fold(problem, |problem, finding| {
        problem.parameter(&finding.field, &*finding.message)
    })
}
