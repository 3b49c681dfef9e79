//! `nodespan check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::FAILED;
use super::args::CheckArgs;
use super::say::say;
use crate::config::{self, Finding, Report, Severity, resources};

/// What was found, as far as the exit code goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Worst {
    #[default]
    Fine,
    Warnings,
    Errors,
}

/// Validates the configuration and the resources, and says all that is wrong.
pub(super) fn check(args: &CheckArgs) -> ExitCode {
    if args.config.is_none() && args.resources.is_empty() {
        say!(
            "nothing to check: no --config, no --resources; the defaults trace everything to the \
             console"
        );
        return ExitCode::SUCCESS;
    }
    let mut worst = Worst::default();
    let mut has_policies = false;
    if !args.resources.is_empty() {
        let (found, any) = resources_of(&args.resources);
        worst = worst.max(found);
        has_policies = any;
    }
    if let Some(path) = &args.config {
        worst = worst.max(config_of(path, has_policies));
    }
    match worst {
        Worst::Errors => ExitCode::from(FAILED),
        Worst::Warnings if args.strict => ExitCode::from(FAILED),
        Worst::Warnings | Worst::Fine => ExitCode::SUCCESS,
    }
}

/// Also whether there is a Mesh or a TrafficTrace.
fn resources_of(paths: &[PathBuf]) -> (Worst, bool) {
    match resources::load(paths) {
        Ok(loaded) => {
            for report in &loaded.reports {
                say!("{report}");
            }
            let set = &loaded.resources;
            say!(
                "resources: {} in {}: {}, {}, {}",
                if loaded.reports.is_empty() {
                    "fine"
                } else {
                    "usable"
                },
                count(loaded.files.len(), "file"),
                count_as(set.meshes().count(), "Mesh", "Meshes"),
                count(set.all_traffic_traces().count(), "TrafficTrace"),
                count(set.all_dataplanes().count(), "Dataplane"),
            );
            let worst = match loaded.reports.is_empty() {
                true => Worst::Fine,
                false => Worst::Warnings,
            };
            let mut policies = set.all_traffic_traces();
            let any = set.meshes().next().is_some() || policies.next().is_some();
            (worst, any)
        }
        Err(refused) => {
            say!("{refused}");
            (Worst::Errors, false)
        }
    }
}

fn config_of(path: &Path, has_policies: bool) -> Worst {
    match config::load(path) {
        Ok(loaded) => {
            let mut report = loaded.report;
            if has_policies {
                unused_tracing(&mut report);
            }
            if report.findings.is_empty() {
                say!("{}: fine", path.display());
                return Worst::Fine;
            }
            say!("{report}");
            Worst::Warnings
        }
        Err(error) => {
            say!("{error}");
            Worst::Errors
        }
    }
}

/// With a Mesh or a TrafficTrace, policies decide where spans go.
fn unused_tracing(report: &mut Report) {
    let (document, _) = toml::de::DeTable::parse_recoverable(&report.text);
    let tracing = document
        .get_ref()
        .keys()
        .find(|key| key.get_ref().eq_ignore_ascii_case("tracing"));
    let Some(span) = tracing.map(toml::Spanned::span) else {
        return;
    };
    report.findings.push(Finding {
        severity: Severity::Warning,
        field: "tracing".to_owned(),
        message:
            "[tracing] is unused: with a Mesh or a TrafficTrace among the resources, policies \
             choose the backend"
                .to_owned(),
        hint: Some("remove the table, or the resources".to_owned()),
        span,
    });
    report.findings.sort_by_key(|finding| finding.span.start);
}

fn count(n: usize, what: &str) -> String {
    count_as(n, what, &format!("{what}s"))
}

fn count_as(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_beside_a_mesh_is_shown_at_its_place() {
        for (text, place) in [
            (
                "[agent]\nservice = \"x\"\n[tracing]\nbackend = \"zipkin\"",
                "3:2",
            ),
            ("tracing.backend = \"zipkin\"", "1:1"),
            ("[Tracing]\nBackend = \"zipkin\"", "1:2"),
        ] {
            let loaded = config::parse("n.toml", text, Path::new("")).unwrap();
            let mut report = loaded.report;
            unused_tracing(&mut report);
            let drawn = report.to_string();
            let shown = format!("n.toml:{place}, field tracing");
            assert!(drawn.starts_with("warning: [tracing] is unused"), "{drawn}");
            assert!(drawn.contains(&shown), "{drawn}");
        }
        let mut report = config::parse("n.toml", "[agent]\n", Path::new(""))
            .unwrap()
            .report;
        unused_tracing(&mut report);
        assert_eq!(report.findings, []);
    }
}
