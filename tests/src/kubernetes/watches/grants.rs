//! What the agent's account may do, and what it has done.

use std::collections::BTreeSet;

use anyhow::Result;
use nodespan::kubernetes::RULES;
use serde_json::Value;

use super::Scene;
use crate::compare::same;
use crate::report::Verdict;

const AGENT: &str = "system:serviceaccount:nodespan:nodespan";
/// What `kubectl auth can-i` of `install/agent-rights` asks with the same
/// account, and everybody may.
const OF_KUBECTL: &str = "create selfsubjectaccessreviews.authorization.k8s.io";

impl Scene<'_> {
    /// All that it was granted it has used by now, and nothing else has been
    /// allowed it. It stands on all checks before.
    pub(super) fn grants(&self) -> Result<Verdict> {
        let named = |verb: &str, resource: &str, group: &str, namespace: &str| {
            let dot = if group.is_empty() { "" } else { "." };
            let place = if namespace.is_empty() { "" } else { " in " };
            format!("{verb} {resource}{dot}{group}{place}{namespace}")
        };
        let granted: BTreeSet<String> = RULES
            .iter()
            .flat_map(|rule| {
                let namespace = rule.namespace.unwrap_or_default();
                rule.resources.iter().flat_map(move |resource| {
                    let verbs = rule.verbs.iter();
                    verbs.map(move |verb| named(verb, resource, rule.group, namespace))
                })
            })
            .collect();
        let events = self.cluster.audit()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let done: BTreeSet<String> = events
            .iter()
            .filter(|event| event["user"]["username"] == AGENT)
            .filter(|event| {
                let code = event["responseStatus"]["code"].as_u64();
                code.is_some_and(|code| (200..300).contains(&code))
            })
            // What is no object, such as the API's version, is everybody's.
            .filter(|event| event["objectRef"].is_object())
            .map(|event| {
                let object = &event["objectRef"];
                named(
                    &text(&event["verb"]),
                    &text(&object["resource"]),
                    &text(&object["apiGroup"]),
                    &text(&object["namespace"]),
                )
            })
            .filter(|done| done != OF_KUBECTL)
            .collect();
        same("what was granted and done", done, granted)?;
        Ok(Verdict::Passed)
    }
}
