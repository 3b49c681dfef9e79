//! Policies, configuration and the resource API, end to end: which spans reach
//! which backend, and what a change, a wrong file or a kill does to that.

mod api;
mod collector;
mod load;
pub(crate) mod node;
mod relay;
pub(crate) mod scene;
mod seeds;
mod several;
mod thrift;
mod turned;
mod wrong;

use std::path::Path;

use anyhow::Result;

use crate::report::Report;
use crate::targets::Places;
use crate::zipkin::Zipkin;

/// The checks of a group.
type Group = fn(&mut Report, &scene::Site<'_>) -> Result<()>;

/// Runs all checks. The second Zipkin is a server that only this suite uses.
///
/// # Errors
/// If the port that Zipkin has by default is taken.
pub fn run(
    report: &mut Report,
    places: &Places,
    nodespan: &Path,
    zipkins: &[Zipkin; 2],
) -> Result<()> {
    relay::start(zipkins[0].addr())?;
    let site = scene::Site {
        places,
        nodespan,
        zipkins,
    };
    let groups: [(&str, Group); 6] = [
        ("several/", several::run),
        ("seeds/", seeds::run),
        ("wrong-files/", wrong::run),
        ("api/", api::run),
        ("turned/", turned::run),
        ("reload/", load::run),
    ];
    for (group, run) in groups {
        if report.wants(group)
            && let Err(error) = run(report, &site)
        {
            report.result(&format!("{group}start"), Err(error));
        }
    }
    Ok(())
}
