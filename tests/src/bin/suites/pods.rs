//! `suites pods --out DIR --kernel NAME [--only NAME]… [--except NAME]…`: pods of a
//! real container runtime, with the agent in one of its own. Needs a guest: root, cgroup v2,
//! and a machine on which namespaces, addresses and rules may stay.
//!
//! `--only pods/v1/ --only pods/hybrid/` mounts cgroup v1 instead; nothing else can
//! be shown in that guest.
//!
//! The API is `NODESPAN_KUBERNETES`, spans go to `NODESPAN_ZIPKIN` and `NODESPAN_JAEGER`, the runtime's
//! packages are unpacked in `NODESPAN_RUNTIME`, the agent's image is
//! `NODESPAN_IMAGE`, a root file system's archive (`cargo xtask test` sets them).

use std::path::PathBuf;

use anyhow::{Result, ensure};
use nodespan_tests::backends::jaeger::Jaeger;
use nodespan_tests::kubernetes::{self, Cluster, PodsSite};
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments};
use nodespan_tests::zipkin::Zipkin;

/// Pods that come and go, where all of them do.
const ALL: usize = 1000;
/// Elsewhere.
const SOME: usize = 50;
/// The kernel that has all.
const THOROUGH: &str = "6.12";

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let kernel = &arguments.kernel;
    ensure!(kernel != suite::UNKNOWN, "--kernel NAME is needed");
    let site = PodsSite {
        kernel,
        cluster: &Cluster::new(&suite::needed("NODESPAN_KUBERNETES")?)?,
        places: &arguments.places(),
        packages: &PathBuf::from(suite::needed("NODESPAN_RUNTIME")?),
        zipkin: &Zipkin::new(&suite::needed("NODESPAN_ZIPKIN")?)?,
        jaeger: &Jaeger::new(&suite::needed("NODESPAN_JAEGER")?)?,
        image: &PathBuf::from(suite::needed("NODESPAN_IMAGE")?),
        churns: if kernel == THOROUGH { ALL } else { SOME },
        leaks: kernel == THOROUGH,
    };
    if let Err(error) = kubernetes::run_pods(report, &site) {
        report.result("pods", Err(error));
    }
    Ok(())
}
