//! `suites NAME --out DIR [--kernel NAME] [--only NAME]… [--except NAME]…`: the
//! end-to-end suites. They are one program, for linking is most of what building
//! them costs.
//!
//! `suites talk ADDRESS ROUTE DIR` is a client that one of the checks starts.

mod guest;
mod host;
mod kubernetes;
mod node;
mod pods;
mod policy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::identity;
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments};

type Run = fn(&Arguments, &mut Report) -> Result<()>;

const SUITES: [(&str, Run); 6] = [
    ("guest", guest::run),
    ("host", host::run),
    ("kubernetes", kubernetes::run),
    ("node", node::run),
    ("pods", pods::run),
    ("policy", policy::run),
];

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, address, route, dir] = &words[..]
        && verb == "talk"
    {
        identity::client(address, route, Path::new(dir))?;
        return Ok(ExitCode::SUCCESS);
    }
    let names = SUITES.map(|(name, _)| name).join(", ");
    let (wanted, words) = words
        .split_first()
        .with_context(|| format!("which suite? There are {names}"))?;
    let Some((_, run)) = SUITES.iter().find(|(name, _)| name == wanted) else {
        bail!("there is no suite {wanted:?}, but {names}");
    };
    let arguments = Arguments::of(words)?;
    let mut report = arguments.report();
    run(&arguments, &mut report)?;
    Ok(suite::finish(&report))
}
