//! Body of the fuzz target of this module.

use std::sync::Arc;

use super::parse;
use crate::policy::{Engine, Resource, Resources};

/// Reads these bytes as a file of resources, draws what is wrong with them,
/// and lets what is right decide.
///
/// # Panics
///
/// If the text is read in two ways, a place lies outside it, or an explanation
/// contradicts its decision.
pub fn fuzz_resources(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = parse("fuzz.yaml", &text);
    for finding in &parsed.report.findings {
        assert!(finding.span.start <= text.len(), "{:?}", finding.span);
        assert!(!finding.message.is_empty());
    }
    let drawn = parsed.report.to_string();
    assert_eq!(drawn.is_empty(), parsed.report.findings.is_empty());
    let again = parse("fuzz.yaml", &text);
    assert_eq!(parsed.report, again.report);
    if parsed.report.has_errors() {
        return;
    }
    let resources: Resources = parsed.resources.iter().cloned().collect();
    let engine = Engine::new(Arc::new(resources));
    for resource in parsed.resources {
        let Resource::Dataplane(dataplane) = resource else {
            continue;
        };
        let decision = engine.decide(&dataplane.mesh, &dataplane.inbounds);
        let explanation = engine.explain(&dataplane.mesh, &dataplane.inbounds);
        assert_eq!(explanation.policy.as_deref(), decision.policy.as_deref());
        assert_eq!(explanation.traced, decision.is_traced());
    }
}
