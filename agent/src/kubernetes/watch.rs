//! Watches of an API, one for each kind, each by itself: what happens to one
//! does not stop another.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Api, Client, Config};
use kube_runtime::watcher;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::Event;
use super::cluster::Kept;
use super::failure::Failure;
use super::mirror::Mirror;
use super::objects::{EndpointSlice, Mesh, Namespace, Node, Pod, Service, TrafficTrace};

/// Why no API can be asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A kubeconfig cannot be used.
    #[error("the kubeconfig {file}: {source}")]
    Kubeconfig {
        /// Which file.
        file: String,
        /// What is wrong with it.
        source: Box<kube_client::config::KubeconfigError>,
    },
    /// This is no pod of a cluster.
    #[error(
        "no Kubernetes API to ask: {0}; outside of a cluster name a file in `[kubernetes] kubeconfig`"
    )]
    InCluster(#[source] kube_client::config::InClusterError),
    /// The credentials cannot be used.
    #[error("the credentials for the Kubernetes API: {0}")]
    Client(#[source] Box<kube_client::Error>),
}

/// A client of the API that a kubeconfig names (its current context), or else
/// of the cluster that this process runs in. Nothing is asked yet.
///
/// # Errors
/// There is no such API, or no usable credentials.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ApiError> {
    let config = match kubeconfig {
        None => Config::incluster().map_err(ApiError::InCluster)?,
        Some(path) => {
            let wrong = |source| ApiError::Kubeconfig {
                file: path.display().to_string(),
                source: Box::new(source),
            };
            let read = Kubeconfig::read_from(path).map_err(wrong)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(wrong)?
        }
    };
    Client::try_from(config).map_err(|error| ApiError::Client(Box::new(error)))
}

/// How patient watches are.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The pause after a first failure; it doubles with each that follows.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// The pause where the API says that there is no such kind, or that it
    /// will not tell: that changes rarely, and many agents ask.
    pub refused: Duration,
    /// Objects in a page of a list.
    pub page: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
            refused: Duration::from_secs(30),
            page: 250,
        }
    }
}

/// Watches everything, until the set is dropped. Must run within a tokio
/// runtime.
#[must_use]
pub fn start(client: &Client, mirror: &Arc<Mirror>, timing: Timing) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    macro_rules! follow {
        ($($kind:ident)*) => {$(
            tasks.spawn(follow::<$kind>(client.clone(), Arc::clone(mirror), timing));
        )*};
    }
    follow! { Pod Service EndpointSlice Namespace Node Mesh TrafficTrace }
    tasks
}

/// Objects that are taken in at one go; between them others have their turn.
const AT_ONCE: u32 = 64;

async fn follow<K: Kept>(client: Client, mirror: Arc<Mirror>, timing: Timing) {
    let config = watcher::Config::default().page_size(timing.page);
    let mut failures = 0;
    loop {
        let api = Api::<K>::all(client.clone());
        let mut events = pin!(watcher(api, config.clone()));
        let mut taken = 0_u32;
        while let Some(event) = events.next().await {
            let (failure, said) = match event {
                Ok(event) => {
                    if !matches!(event, Event::Init) {
                        failures = 0;
                    }
                    mirror.take(event);
                    taken = taken.wrapping_add(1);
                    if taken.is_multiple_of(AT_ONCE) {
                        yield_now().await;
                    }
                    continue;
                }
                Err(error) => Failure::of(&error),
            };
            mirror.failed::<K>(failure, &said);
            sleep(pause(timing, failures, failure)).await;
            failures = failures.saturating_add(1);
            if failure.begins_anew() {
                break;
            }
        }
    }
}

/// How long to wait after so many failures before this one: between half of
/// the time and all of it, so that agents do not come all at once.
fn pause(timing: Timing, failures: u32, failure: Failure) -> Duration {
    let whole = match failure {
        Failure::Forbidden | Failure::Absent => timing.refused,
        // Nothing is wrong: there is just no other way on.
        Failure::Expired if failures == 0 => timing.first / 2,
        _ => {
            let doubled = timing.first.saturating_mul(1 << failures.min(16));
            doubled.min(timing.most)
        }
    };
    // A fresh state of it hashes nothing to something that nobody foresees.
    let random = RandomState::new().build_hasher().finish() % 1024;
    let half = whole / 2;
    half + half * u32::try_from(random).unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_differ() {
        let timing = Timing::default();
        for (failures, failure, least, most) in [
            (0, Failure::Away, 250, 500),
            (1, Failure::Away, 500, 1000),
            (5, Failure::Refused, 8_000, 16_000),
            (6, Failure::Away, 15_000, 30_000),
            (u32::MAX, Failure::Away, 15_000, 30_000),
            (0, Failure::Absent, 15_000, 30_000),
            (0, Failure::Forbidden, 15_000, 30_000),
            (0, Failure::Expired, 125, 250),
            (3, Failure::Expired, 2_000, 4_000),
        ] {
            let range = Duration::from_millis(least)..=Duration::from_millis(most);
            let pauses: Vec<_> = (0..20).map(|_| pause(timing, failures, failure)).collect();
            assert!(
                pauses.iter().all(|pause| range.contains(pause)),
                "{pauses:?}"
            );
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
