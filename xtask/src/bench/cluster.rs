//! What knowing a Kubernetes cluster costs (`agent/examples/kubernetes-bench.rs`).

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::limits::{Check, float};
use crate::workspace::Workspace;

const EXAMPLE: &str = "kubernetes-bench";

/// Pods of the cluster that is measured.
pub(super) const PODS: u32 = 10_000;
/// MB over an agent that knows no cluster.
pub(super) const MEMORY: f64 = 40.0;

/// What the example prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cluster {
    pods: u64,
    services: u64,
    /// Of a pod, as the API writes it.
    pod_bytes: u64,
    /// Growth of the process once everything is listed and derived.
    memory_bytes: u64,
    /// And once all pods have been listed again.
    memory_after_new_list_bytes: u64,
    /// At the most.
    peak_bytes: u64,
    /// To decode and take in all lists, with making them up, in microseconds.
    decode_us: f64,
    /// To derive everything.
    first_generation_us: f64,
    /// To decode one pod and derive what follows, while the generation before
    /// is in use.
    one_pod_us: f64,
    /// The same of a Service, with its pods.
    one_service_us: f64,
}

/// Builds the example and runs it.
///
/// # Errors
/// If it does not build, or fails.
pub(super) fn measure(workspace: &Workspace) -> Result<Cluster> {
    super::figures_of_example(workspace, EXAMPLE)
}

impl Cluster {
    /// The memory that is promised, also after a new list.
    pub(super) fn checks(&self) -> Vec<Check> {
        let most = self.memory_bytes.max(self.memory_after_new_list_bytes);
        let figure = float(most) / 1e6;
        vec![Check {
            what: "memory for 10,000 pods",
            figure: Some(figure),
            limit: MEMORY,
            unit: "MB",
            fine: self.pods >= u64::from(PODS) && figure <= MEMORY,
            note: format!("{} pods, {} Services", self.pods, self.services),
        }]
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| float(bytes) / 1e6;
        writeln!(
            f,
            "\na cluster of {} pods ({} bytes each, as the API writes them) and {} Services: {:.1} MB,\n\
             {:.1} MB after a new list, {:.1} MB at the most; lists taken in in {:.0} ms, derived in {:.1} ms;\n\
             a changed pod costs {:.2} ms, a changed Service {:.2} ms",
            self.pods,
            self.pod_bytes,
            self.services,
            mb(self.memory_bytes),
            mb(self.memory_after_new_list_bytes),
            mb(self.peak_bytes),
            self.decode_us / 1e3,
            self.first_generation_us / 1e3,
            self.one_pod_us / 1e3,
            self.one_service_us / 1e3,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let cluster = |pods, memory, again| Cluster {
            pods,
            services: 500,
            pod_bytes: 3000,
            memory_bytes: memory,
            memory_after_new_list_bytes: again,
            peak_bytes: 0,
            decode_us: 1.0,
            first_generation_us: 1.0,
            one_pod_us: 1.0,
            one_service_us: 1.0,
        };
        for (pods, memory, again, fine) in [
            (10_000, 39_000_000, 40_000_000, true),
            (10_000, 39_000_000, 40_100_000, false),
            (10_000, 41_000_000, 1, false),
            (9_999, 1, 1, false),
        ] {
            let checks = cluster(pods, memory, again).checks();
            assert!(checks.iter().all(|check| check.fine == fine));
        }
    }
}
