//! What is shown with a real API server (`suites kubernetes`, `suites node` and
//! `suites pods`).

mod cluster;
mod crds;
mod install;
mod node;
mod pods;
mod relay;
mod server;
mod watcher;
mod watches;

use std::path::Path;

use crate::report::Report;

pub use cluster::Cluster;
pub use node::run as run_node;
pub use pods::{Site as PodsSite, run as run_pods};

/// Runs all checks. The later ones stand on what the earlier ones have applied.
pub fn run(report: &mut Report, nodespan: &Path, cluster: &Cluster, out: &Path) {
    install::run(report, nodespan, cluster, out);
    crds::run(report, nodespan, cluster, out);
    install::examples(report, cluster, out);
    server::run(report, cluster, out);
    watches::run(report, cluster, out);
}
