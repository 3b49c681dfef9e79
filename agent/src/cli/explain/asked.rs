//! What the running agent says about a workload.

use std::collections::{BTreeMap, BTreeSet};
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
        Ok((status, found)) => {
            match show {
                Show::Text => say!("{}", text(workload, &found, &status)),
                Show::Json => say!("{}", json(&found)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("nodespan: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// What is known of a workload.
#[derive(Debug)]
struct Found {
    /// Of its exchanges; none if it had none.
    seen: Option<Seen>,
    /// `12 tls, 1 http2`: its connections that are not traced; empty without.
    opaque: String,
}

fn ask(agent: &str, workload: &str) -> anyhow::Result<(Status, Found)> {
    let status = runtime()?.block_on(status::fetch(agent))?;
    let found = find(&status, agent, workload)?;
    Ok((status, found))
}

fn find(status: &Status, agent: &str, workload: &str) -> Result<Found, AskError> {
    let section = status.sections.get("workloads").cloned();
    let all: Option<BTreeMap<String, Seen>> =
        section.and_then(|section| serde_json::from_value(section).ok());
    let all = all.ok_or_else(|| AskError::NoWorkloads {
        agent: agent.to_owned(),
    })?;
    let opaque = &status.ledger.opaque;
    // By its service, or by one of its pods: `NAMESPACE/NAME`.
    let is_pod = |pod: &String| {
        let of_pod = pod.rsplit_once('/').map(|(pod, _container)| pod);
        pod == workload || of_pod == Some(workload)
    };
    let of_pod = || all.iter().find(|(_, seen)| seen.pods.iter().any(is_pod));
    let found = all.get_key_value(workload).or_else(of_pod);
    let service = found.map_or(workload, |(service, _)| service);
    let seen = found.map(|(_, seen)| seen.clone());
    let of_this = opaque.get(service);
    if seen.is_some() || of_this.is_some() {
        let some = of_this
            .into_iter()
            .flatten()
            .filter(|(_, count)| **count > 0);
        let named: Vec<String> = some
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let opaque = named.join(", ");
        return Ok(Found { seen, opaque });
    }
    let names: BTreeSet<&str> = all
        .keys()
        .chain(opaque.keys())
        .map(String::as_str)
        .collect();
    let others = match nearest(workload, names.iter().copied()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None if names.is_empty() => "it has seen no request yet".to_owned(),
        None => {
            let names: Vec<&str> = names.into_iter().take(20).collect();
            format!("it has seen {}", names.join(", "))
        }
    };
    Err(AskError::Unseen {
        agent: agent.to_owned(),
        workload: workload.to_owned(),
        others,
    })
}

/// Said of connections that are seen and not traced.
const NOT_TRACED: &str = "seen, not traced: plain HTTP/1 is";

fn text(workload: &str, found: &Found, status: &Status) -> String {
    let Found { seen, opaque } = found;
    let mut lines = Vec::new();
    match seen {
        Some(seen) => lines.push(format!("\"{}\", {}", clean(workload), clean(&seen.origin))),
        None => lines.push(format!("\"{}\": no request was seen", clean(workload))),
    }
    for pod in seen.iter().flat_map(|seen| &seen.pods) {
        lines.push(format!("pod {}", clean(pod)));
    }
    if !opaque.is_empty() {
        lines.push(format!("connections: {opaque} ({NOT_TRACED})"));
    }
    if let Some(seen) = seen {
        of_exchanges(&mut lines, seen, status);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn of_exchanges(lines: &mut Vec<String>, seen: &Seen, status: &Status) {
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
}

fn json(found: &Found) -> serde_json::Value {
    let (traced, reason) = match &found.seen {
        Some(Seen {
            explanation: Some(explanation),
            ..
        }) => return json!(explanation.summary()),
        Some(seen) if seen.traced => (true, "no policies: everything is traced".to_owned()),
        Some(seen) => (false, seen.not_traced.join(", ")),
        None => (false, format!("{} connections {NOT_TRACED}", found.opaque)),
    };
    json!({
        "mesh": null,
        "policy": null,
        "backend": null,
        "traced": traced,
        "reason": reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::View;
    use crate::assemble::Opaque;
    use crate::ledger::Ledger;

    #[test]
    fn a_workload_is_found_or_the_nearest_is_named() {
        let ledger = Ledger::new();
        for _ in 0..12 {
            ledger.opaque("postgres", Opaque::Tls);
        }
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
        view.set_section("workloads", json!({ "web": &seen }));
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
        // One that speaks nothing that is traced.
        let found = find(&status, "a:1", "postgres").unwrap();
        let drawn = text("postgres", &found, &status);
        assert_eq!(
            drawn,
            "\"postgres\": no request was seen\n\
             connections: 12 tls (seen, not traced: plain HTTP/1 is)\n"
        );
        assert_eq!(json(&found)["traced"], false);
        let error = find(&status, "a:1", "postgers").unwrap_err().to_string();
        assert!(error.contains("did you mean \"postgres\"?"), "{error}");
        let mut of_pods = seen;
        of_pods["pods"] = json!(["shop/web-1/app", "shop/web-2/app"]);
        view.set_section("workloads", json!({ "web": of_pods }));
        let status = view.status();
        for name in ["web", "shop/web-2", "shop/web-1/app"] {
            let found = find(&status, "a:1", name).unwrap();
            let drawn = text(name, &found, &status);
            assert!(
                drawn.contains("\npod shop/web-1/app\npod shop/web-2/app\n"),
                "{drawn}"
            );
        }
        assert!(find(&status, "a:1", "shop/web").is_err());
        let error = find(&status, "a:1", "wbe").unwrap_err().to_string();
        assert!(error.contains("did you mean \"web\"?"), "{error}");
    }
}
