//! What the running agent says about a workload.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;

use super::super::args::Show;
use super::super::say::{complain, say};
use super::super::workloads::Seen;
use super::super::{FAILED, runtime};
use super::{clean, render};
use crate::admin::status::{self, Status};
use crate::nearest::nearest;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// The agent says nothing about its workloads.
    #[error("the agent at {agent} says nothing about its workloads")]
    NoWorkloads {
        /// Which agent.
        agent: String,
    },
    /// It has seen none of this name.
    #[error("the agent at {agent} has seen no workload \"{workload}\"; {others}")]
    Unseen {
        /// Which agent.
        agent: String,
        /// What was asked for.
        workload: String,
        /// What there is.
        others: String,
    },
}

/// Asks and prints.
pub(super) fn explain(agent: &str, workload: &str, show: Show) -> ExitCode {
    match ask(agent, workload) {
        Ok((status, seen)) => {
            match show {
                Show::Text => say!("{}", text(workload, &seen, &status)),
                Show::Json => say!("{}", json(&seen)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("nodespan: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn ask(agent: &str, workload: &str) -> anyhow::Result<(Status, Seen)> {
    let status = runtime()?.block_on(status::fetch(agent))?;
    let seen = find(&status, agent, workload)?;
    Ok((status, seen))
}

fn find(status: &Status, agent: &str, workload: &str) -> Result<Seen, AskError> {
    let section = status.sections.get("workloads").cloned();
    let all: Option<BTreeMap<String, Seen>> =
        section.and_then(|section| serde_json::from_value(section).ok());
    let all = all.ok_or_else(|| AskError::NoWorkloads {
        agent: agent.to_owned(),
    })?;
    if let Some(seen) = all.get(workload) {
        return Ok(seen.clone());
    }
    let others = match nearest(workload, all.keys().map(String::as_str)) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None if all.is_empty() => "it has seen no request yet".to_owned(),
        None => {
            let names: Vec<&str> = all.keys().take(20).map(String::as_str).collect();
            format!("it has seen {}", names.join(", "))
        }
    };
    Err(AskError::Unseen {
        agent: agent.to_owned(),
        workload: workload.to_owned(),
        others,
    })
}

fn text(workload: &str, seen: &Seen, status: &Status) -> String {
    let mut lines = vec![format!("\"{}\", {}", clean(workload), clean(&seen.origin))];
    match &seen.dataplane {
        Some((mesh, name)) => {
            lines.push(format!(
                "Dataplane \"{}\" of mesh \"{}\"",
                clean(name),
                clean(mesh)
            ));
        }
        None => lines.push("no Dataplane names it".to_owned()),
    }
    if let Some(explanation) = &seen.explanation {
        lines.push(render(explanation).trim_end().to_owned());
    }
    lines.push(match (seen.traced, seen.not_traced.is_empty()) {
        (true, true) => "seen:     all of its exchanges are selected".to_owned(),
        (true, false) => format!(
            "seen:     some of its exchanges are selected, others not: {}",
            seen.not_traced.join(", ")
        ),
        (false, _) => format!("seen:     not selected: {}", seen.not_traced.join(", ")),
    });
    let mut backends = status.ledger.backends.iter();
    let backend = backends.find(|backend| Some(&backend.name) == seen.backend.as_ref());
    if let Some(backend) = backend {
        let dropped: u64 = backend.dropped.values().sum();
        lines.push(format!(
            "delivery: {} spans sent, {} wait, {dropped} dropped",
            backend.sent, backend.queued
        ));
        if let Some(error) = &backend.last_error {
            lines.push(format!("          last error: {}", clean(&error.text)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn json(seen: &Seen) -> serde_json::Value {
    match &seen.explanation {
        Some(explanation) => json!(explanation.summary()),
        None => json!({
            "mesh": null,
            "policy": null,
            "backend": null,
            "traced": seen.traced,
            "reason": if seen.traced {
                "no policies: everything is traced".to_owned()
            } else {
                seen.not_traced.join(", ")
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::View;
    use crate::ledger::Ledger;

    #[test]
    fn a_workload_is_found_or_the_nearest_is_named() {
        let ledger = Ledger::new();
        ledger
            .backend("default/main")
            .note_error(&"answers 400: bad span");
        let view = View::new(ledger);
        let seen = json!({
            "origin": "unit web.service", "traced": false, "not_traced": ["no_policy"],
            "dataplane": ["default", "web-1"], "backend": "default/main", "explanation": null,
        });
        let error = find(&view.status(), "a:1", "web").unwrap_err().to_string();
        assert!(error.contains("says nothing"), "{error}");
        view.set_section("workloads", json!({ "web": seen }));
        let status = view.status();
        let found = find(&status, "a:1", "web").unwrap();
        let drawn = text("web", &found, &status);
        assert!(
            drawn.contains("Dataplane \"web-1\" of mesh \"default\""),
            "{drawn}"
        );
        assert!(drawn.contains("not selected: no_policy"), "{drawn}");
        assert!(drawn.contains("answers 400: bad span"), "{drawn}");
        assert_eq!(json(&found)["reason"], "no_policy");
        let error = find(&status, "a:1", "wbe").unwrap_err().to_string();
        assert!(error.contains("did you mean \"web\"?"), "{error}");
    }
}
