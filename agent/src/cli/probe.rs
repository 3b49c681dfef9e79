//! `nodespan probe`: what this kernel offers, for people or as JSON.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{ProbeArgs, Show};
use super::say::say;
use super::{finish, live_options};
use crate::capture::live::{Live, LiveError, Report};

/// Loads, attaches and tests the probes, and takes them away again.
pub(super) fn probe(args: &ProbeArgs) -> ExitCode {
    match Live::start(&live_options(args.probes)) {
        Ok((_live, _control, _gauges, report)) => {
            match args.output {
                Show::Text => say!("{report}"),
                Show::Json => say!("{:#}", able(&report)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            if args.output == Show::Json {
                say!("{:#}", unable(&error));
            }
            finish(Err(error.into()))
        }
    }
}

/// What the probes are, as `probes` of the status.
pub(super) fn probes(report: &Report) -> Value {
    let programs: Vec<_> = report
        .programs
        .iter()
        .map(|program| {
            json!({
                "name": program.name,
                "function": program.function,
                "verified_instructions": program.verified,
                "instructions": program.instructions,
            })
        })
        .collect();
    json!({
        "kernel": report.release,
        "hooks": if report.kprobes { "kprobe" } else { "fentry" },
        "twice": report.twice,
        "owners": if report.by_cgroup { "cgroup" } else { "process" },
        "programs": programs,
        "degraded": report.degraded,
        "self_test": report.self_test,
    })
}

fn able(report: &Report) -> Value {
    let mut shown = probes(report);
    shown["runs"] = json!(true);
    shown
}

/// `kernel_can`: whether it is something else than the kernel that is in the
/// way, as the exit code says, too.
fn unable(error: &LiveError) -> Value {
    json!({
        "kernel": rustix::system::uname().release().to_string_lossy(),
        "runs": false,
        "reason": error.to_string(),
        "kernel_can": if error.is_kernel() { json!(false) } else { Value::Null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_probes_do_not_run_is_said_as_json_too() {
        for (error, kernel_can) in [
            (LiveError::NoProbes("x".to_owned()), json!(false)),
            (LiveError::NotPermitted { uid: 7 }, json!(null)),
        ] {
            let shown = unable(&error);
            assert_eq!(shown["runs"], false);
            assert_eq!(shown["reason"], error.to_string());
            assert_eq!(shown["kernel_can"], kernel_can);
            assert!(
                shown["kernel"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
    }
}
