//! The name of what made a pod, which is the service of one without a Service
//! (`serviceless_name_extractor.go`).

use super::{PodFacts, get};

/// Labels with the hash that a ReplicaSet's name ends in: a Deployment's
/// (`DefaultDeploymentUniqueLabelKey`), and that of a Rollout of Argo's.
const HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// The Deployment behind the ReplicaSet, the CronJob behind the Job, any other
/// owner, or the pod itself.
pub(super) fn name(pod: &PodFacts) -> &str {
    let Some((kind, name)) = &pod.owner else {
        return &pod.name;
    };
    match &**kind {
        "ReplicaSet" => {
            let hashes = HASHES.iter().filter_map(|label| get(&pod.labels, label));
            let mut deployments =
                hashes.filter_map(|hash| name.strip_suffix(&**hash)?.strip_suffix('-'));
            let deployment = deployments.find(|name| !name.is_empty());
            deployment.unwrap_or(name)
        }
        "Job" => cron_job(name, pod.created.get()).unwrap_or(name),
        // The node, of a static pod's mirror.
        "Node" => &pod.name,
        _ => name,
    }
}

/// A CronJob's Jobs are called by the minute of their time, counted from 1970:
/// eight digits until 2160 (`getJobName`,
/// `pkg/controller/cronjob/utils.go`); ten, by the second, up to 1.21.
///
/// A Job that somebody has named by a date (`report-20261125`) ends in eight
/// digits, too. As minutes those are of another year: a CronJob's time is when
/// its Job was due, at most [`NEAR`] before or after the pod was made.
fn cron_job(job: &str, created: i64) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let unit = match time.len() {
        8 => 60,
        10 => 1,
        _ => return None,
    };
    if name.is_empty() || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let due = time.parse::<i64>().ok()? * unit;
    (due.abs_diff(created) <= NEAR).then_some(name)
}

/// Thirty days, in seconds: a Job may be late, and its pods are made anew as
/// they fail. (The dates of this century, as minutes, are of 2008 and 2009, which
/// no pod is of.)
const NEAR: u64 = 30 * 24 * 3600;
