//! What deciding by policies costs, and how that grows.
//!
//! Measured in processor time, in one process (`agent/examples/policy-bench.rs`); only
//! ratios have limits, because a machine's speed is its own.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::limits::{Check, float};
use crate::workspace::Workspace;

const EXAMPLE: &str = "policy-bench";

/// How much more than the workloads the recomputation may grow.
const LINEAR: f64 = 1.5;
/// How much a look-up may grow from the fewest workloads to the most.
const FLAT: f64 = 2.0;
/// How much policies that cannot match may add to a recomputation.
const STRANGERS: f64 = 1.5;

/// What the example prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Policy {
    /// Policies of the mesh.
    policies: u64,
    /// To index them.
    index_ns: f64,
    sizes: Vec<Size>,
    /// Policies that select services of other names, beside the others.
    strangers: u64,
    /// To decide 1,000 workloads beside them.
    recompute_beside_strangers_ns: f64,
}

/// Figures for a number of workloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Size {
    workloads: u64,
    /// To decide them all anew.
    recompute_ns: f64,
    /// To look one decision up, as each exchange does.
    lookup_ns: f64,
}

/// Builds the example and runs it.
///
/// # Errors
/// If it does not build, or fails.
pub(super) fn measure(workspace: &Workspace) -> Result<Policy> {
    super::figures_of_example(workspace, EXAMPLE)
}

impl Policy {
    /// Every ratio with its limit.
    pub(super) fn checks(&self) -> Vec<Check> {
        let check = |what, figure: Option<f64>, limit, note| Check {
            what,
            figure,
            limit,
            unit: "times",
            fine: figure.is_some_and(|figure| figure <= limit),
            note,
        };
        // From each size to the next, so that one cannot hide the other.
        let steps = self.sizes.windows(2).filter_map(|pair| match pair {
            [less, more] => Some(
                (more.recompute_ns / less.recompute_ns)
                    / (float(more.workloads) / float(less.workloads)),
            ),
            _ => None,
        });
        let lookup = match (self.sizes.first(), self.sizes.last()) {
            (Some(first), Some(last)) => Some(last.lookup_ns / first.lookup_ns),
            _ => None,
        };
        let alone = self.sizes.iter().find(|size| size.workloads == 1000);
        let beside = alone.map(|size| self.recompute_beside_strangers_ns / size.recompute_ns);
        vec![
            check(
                "recomputation, to ten times the workloads",
                steps.reduce(f64::max),
                LINEAR,
                "of linear growth, the worse step".to_owned(),
            ),
            check(
                "look-up at 10,000 workloads, to 100",
                lookup,
                FLAT,
                String::new(),
            ),
            check(
                "recomputation beside unrelated policies",
                beside,
                STRANGERS,
                format!("{} of them", self.strangers),
            ),
        ]
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\ndeciding by {} policies (indexed in {:.2} ms)\n{:<30} {:>14} {:>16} {:>10}",
            self.policies,
            self.index_ns / 1e6,
            "workloads",
            "all anew, ms",
            "each, ns",
            "look-up, ns"
        )?;
        for size in &self.sizes {
            writeln!(
                f,
                "{:<30} {:>14.2} {:>16.0} {:>10.1}",
                size.workloads,
                size.recompute_ns / 1e6,
                size.recompute_ns / float(size.workloads),
                size.lookup_ns
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(sizes: [(u64, f64, f64); 3], beside: f64) -> Policy {
        let size = |(workloads, recompute_ns, lookup_ns)| Size {
            workloads,
            recompute_ns,
            lookup_ns,
        };
        Policy {
            policies: 1000,
            index_ns: 1.0,
            sizes: sizes.into_iter().map(size).collect(),
            strangers: 9000,
            recompute_beside_strangers_ns: beside,
        }
    }

    impl Policy {
        /// Within all limits.
        pub(in crate::bench) fn good() -> Self {
            policy([(100, 1e5, 3.0), (1000, 1e6, 4.0), (10_000, 1e7, 5.0)], 1e6)
        }
    }

    fn fine(policy: &Policy) -> Vec<bool> {
        policy.checks().iter().map(|check| check.fine).collect()
    }

    #[test]
    fn limits() {
        let linear = [(100, 1e5, 3.0), (1000, 1.4e6, 4.0), (10_000, 1.5e7, 5.9)];
        assert_eq!(fine(&policy(linear, 2e6)), [true, true, true]);
        // The second step makes up for the first one, but is not asked to.
        let step = [(100, 1e5, 3.0), (1000, 1.6e6, 3.0), (10_000, 1e7, 3.0)];
        assert_eq!(fine(&policy(step, 1e6)), [false, true, true]);
        let quadratic = [(100, 1e5, 3.0), (1000, 1e7, 3.0), (10_000, 1e9, 6.1)];
        assert_eq!(fine(&policy(quadratic, 1.6e7)), [false, false, false]);
    }
}
