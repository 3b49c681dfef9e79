//! Traefik's `[tracing]`.

use super::read::{V2, endpoint, width};
use super::settings::Settings;
use super::table::{Findings, Keys, Reader};

/// Traefik's table, as far as this version speaks it: Zipkin.
pub(super) fn tracing(mut table: Reader<'_>, settings: &mut Settings, findings: &Findings) {
    let backend = table.string("backend");
    let at = backend
        .as_ref()
        .map_or_else(|| table.at.clone(), |backend| backend.at.clone());
    // Traefik's default.
    let name = backend.as_ref().map_or("jaeger", |backend| backend.value);
    let chosen = name.eq_ignore_ascii_case("zipkin");
    if !chosen {
        let message = match name.to_ascii_lowercase().as_str() {
            "jaeger" if backend.is_none() => {
                "no `backend` means \"jaeger\", which is not supported yet".to_owned()
            }
            "jaeger" | "datadog" => format!("the backend \"{name}\" is not supported yet"),
            _ => format!("unknown backend \"{name}\""),
        };
        findings.error(&at, message, "set backend = \"zipkin\"");
    }
    if let Some(service) = table.name("serviceName") {
        match &settings.agent.service {
            None => settings.agent.service = Some(service.value.into()),
            Some(ours) => {
                let message = format!("[agent] service = \"{ours}\" wins over this");
                findings.warning(&service.at, message, "remove one of them");
            }
        }
    }
    let export = &mut settings.export;
    if chosen {
        export.zipkin = Some(format!("http://localhost:9411{V2}"));
    }
    if let Some(mut zipkin) = table.table("zipkin", Keys::Traefik) {
        if let Some(url) = zipkin.name("httpEndpoint") {
            let url = endpoint(&url, findings);
            if chosen {
                export.zipkin = url;
            }
        }
        if let Some(same) = zipkin.bool("sameSpan") {
            export.shared_spans = same.value;
        }
        if let Some(wide) = zipkin.bool("id128Bit") {
            export.trace_width = width(wide.value);
        }
        if let Some(debug) = zipkin.bool("debug") {
            export.debug = debug.value;
        }
        zipkin.finish();
    }
    for other in ["jaeger", "datadog"] {
        if let Some(section) = table.table(other, Keys::Traefik)
            && chosen
        {
            let message = format!(
                "[{}] is ignored: the backend is \"{name}\"",
                section.at.field
            );
            findings.warning(&section.at, message, "");
        }
    }
    table.finish();
}
