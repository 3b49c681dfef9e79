//! One run of the agent and what is driven through it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::cases::{Case, Go};
use crate::compare::Seen;
use crate::report::{Report, Verdict};
use crate::targets::Target;
use crate::wait;

/// What must hold of a case once the agent has ended.
pub type Verify = Box<dyn FnOnce(&Seen) -> Result<()>>;

/// A case that was driven and waits for its verdict.
pub struct Driven {
    name: String,
    tag: String,
    lines: Option<usize>,
    result: Result<()>,
    verify: Verify,
}

/// The cases of one run.
#[derive(Default)]
pub struct Cases {
    driven: Vec<Driven>,
}

impl Cases {
    /// Drives `drive` now, to be judged by `verify` later. The server must
    /// have logged exactly `lines` requests with this tag, if that is known.
    pub fn drive(
        &mut self,
        report: &Report,
        name: &str,
        tag: &str,
        lines: Option<usize>,
        drive: impl FnOnce() -> Result<()>,
        verify: impl FnOnce(&Seen) -> Result<()> + 'static,
    ) {
        if report.wants(name) {
            self.driven.push(Driven {
                name: name.to_owned(),
                tag: tag.to_owned(),
                lines,
                result: drive(),
                verify: Box::new(verify),
            });
        }
    }

    /// Drives the cases of the table that `target` can serve.
    pub fn drive_table(&mut self, report: &Report, target: &Target, cases: &[Case]) {
        for case in cases
            .iter()
            .filter(|case| !target.lacks.contains(&case.verb))
        {
            let (go, sizes) = (Go::new(target, case), case.sizes);
            let tag = go.tag.clone();
            let name = format!("{}/{}", target.name, case.name);
            let verify = move |seen: &Seen| {
                whole(seen, &tag)?;
                seen.sizes(&tag, sizes)
            };
            self.drive(
                report,
                &name,
                &go.tag,
                Some(case.lines),
                || (case.run)(&go),
                verify,
            );
        }
    }

    /// Waits until the servers have logged what was driven: some log a request
    /// only when they notice that its connection is gone.
    pub fn wait_logged(&self, targets: &[Target]) {
        let logged = || {
            let seen = Seen::new([], all_lines(targets)?);
            Ok(self.driven.iter().all(|one| {
                one.result.is_err() || one.lines.is_none_or(|n| seen.lines(&one.tag).len() >= n)
            }))
        };
        // Whichever is missing then says so itself.
        let _ = wait::until_true("the logs", Duration::from_secs(60), logged);
    }

    /// Reports on every case; without spans, on the traffic alone.
    pub fn judge(self, report: &mut Report, seen: &Seen, with_spans: bool) {
        for one in self.driven {
            let logged = seen.lines(&one.tag).len();
            let result = one.result.and_then(|()| {
                if let Some(lines) = one.lines {
                    ensure!(
                        logged == lines,
                        "{logged} lines in the access log, not {lines}"
                    );
                }
                if with_spans {
                    (one.verify)(seen)
                } else {
                    Ok(())
                }
            });
            report.result(&one.name, result.map(|()| Verdict::Passed));
        }
    }
}

/// Spans of both ends equal the log, and each pair is joined.
///
/// # Errors
/// With the first that is not so.
pub fn whole(seen: &Seen, tag: &str) -> Result<()> {
    seen.servers_equal_log(tag)?;
    seen.clients_equal_log(tag)?;
    seen.joined(tag)
}

/// The lines of all servers.
///
/// # Errors
/// If one's log cannot be read.
pub fn all_lines(targets: &[Target]) -> Result<Vec<crate::lines::Line>> {
    let mut all = Vec::new();
    for target in targets {
        all.extend(target.lines()?);
    }
    Ok(all)
}
