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
        "Job" => cron_job(name).unwrap_or(name),
        // The node, of a static pod's mirror.
        "Node" => &pod.name,
        _ => name,
    }
}

/// A CronJob's Jobs are called by the minute of their time, counted from 1970:
/// eight digits until 2160 (`getJobName`,
/// `pkg/controller/cronjob/utils.go`); ten, by the second, up to 1.21.
fn cron_job(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = matches!(time.len(), 8 | 10) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}
