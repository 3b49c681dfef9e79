//! The agent's own watches, in this process.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nodespan::identify::{Pod, PodUid};
use nodespan::kubernetes::{Kind, Mirror, Notices, Options, Timing, connect, start};
use nodespan::policy::{Resource, ResourceKey};
use serde_json::Value;
use tokio::sync::oneshot;

/// A mirror of the API and what keeps it up to date, until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) mirror: Arc<Mirror>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Impatient, and with small pages.
const TIMING: Timing = Timing {
    first: Duration::from_millis(100),
    most: Duration::from_secs(2),
    refused: Duration::from_secs(1),
    page: 3,
    answer: Duration::from_secs(20),
    silence: Duration::from_secs(150),
    again: Duration::from_secs(5),
    needed: Duration::from_secs(1),
};

/// Whatever is waited for is there by then.
const LIMIT: Duration = Duration::from_secs(30);

impl Watcher {
    /// Watches as the user of this kubeconfig, as the agent of this node.
    ///
    /// # Errors
    /// If there is no client, or no thread.
    pub(super) fn start(kubeconfig: &Path, node: &str) -> Result<Self> {
        let mirror = Mirror::new(Options {
            node: Some(node.into()),
            ..Options::default()
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(connect(Some(kubeconfig)))?;
        let of_thread = Arc::clone(&mirror);
        let node: Arc<str> = node.into();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let _tasks = start(&client, &of_thread, TIMING);
                let mut changes = of_thread.changes();
                let mut notices = Notices::start(client, &of_thread, Some(node));
                let tell = async {
                    while changes.changed().await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        if let Some(resources) = of_thread.generation().resources {
                            notices.tell(of_thread.notices(&resources));
                        }
                    }
                };
                tokio::select! {
                    () = tell => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            mirror,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Waits until something is so; how long that took.
    ///
    /// # Errors
    /// If it is not so within [`LIMIT`].
    pub(super) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<Duration> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if is_so(self) {
                return Ok(began.elapsed());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("not within {LIMIT:?}: {what}; {:#}", self.mirror.status());
    }

    /// The same, of what has been changed just now: at once means in a second.
    ///
    /// # Errors
    /// If it is not so, or too late.
    pub(super) fn at_once(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let took = self.until(what, is_so)?;
        if took > Duration::from_secs(1) {
            bail!("{what}: it took {took:?}");
        }
        Ok(())
    }

    /// Whether everything has been listed.
    pub(super) fn is_synced(&self) -> bool {
        self.mirror.generation().directory.synced
    }

    /// A pod by its UID.
    pub(super) fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        let directory = self.mirror.generation().directory;
        directory.pod(&PodUid(uid.into())).cloned()
    }

    /// The service that Kuma would call a pod.
    pub(super) fn service(&self, uid: &str) -> Option<String> {
        let pod = self.pod(uid)?;
        let dataplane = pod.dataplane.as_ref()?;
        dataplane.service().map(ToString::to_string)
    }

    /// Whether a resource is in force.
    pub(super) fn resource(&self, key: &ResourceKey) -> Option<Resource> {
        self.mirror.generation().resources?.get(key)
    }

    /// `kubernetes` of the status, of a kind.
    pub(super) fn shown(&self, kind: Kind) -> Value {
        self.mirror.status()["kinds"][kind.plural()].clone()
    }

    /// A metric with these values of labels.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(super) fn metric(&self, name: &str, labels: &[&str]) -> Result<u64> {
        let families = self.mirror.families();
        let family = families.iter().find(|family| family.name == name);
        let family = family.with_context(|| format!("no metric {name}"))?;
        let sample = family.samples.iter().find(|sample| {
            sample
                .labels
                .iter()
                .map(|(_, value)| *value)
                .eq(labels.iter().copied())
        });
        Ok(sample.map_or(0, |sample| sample.value))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
