//! Watches of an API, one for each kind, each by itself: what happens to one
//! does not stop another.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube_client::api::{ListParams, WatchEvent, WatchParams};
use kube_client::config::{KubeConfigOptions, Kubeconfig};
use kube_client::{Api, Client, Config, ResourceExt as _};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Event, Kept};
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
    /// How long an answer's head, or a page, may take.
    pub answer: Duration,
    /// How long a watch may be silent: the API says something every minute.
    pub silence: Duration,
    /// How long after a list the next one may come that looks for what had no
    /// room then.
    pub again: Duration,
    /// The same of what this node's pods need.
    pub needed: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
            refused: Duration::from_secs(30),
            page: 250,
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(150),
            again: Duration::from_secs(300),
            needed: Duration::from_secs(30),
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
const AT_ONCE: usize = 64;
/// The API ends a watch after this time, and one of it is begun where it ended.
const LENGTH: u32 = 290;
/// A watch that ends sooner, without a word, has not worked.
const SHORT: Duration = Duration::from_secs(1);

/// Why a watch does not go on, and what was said.
type Failed = (Failure, String);

async fn follow<K: Kept>(client: Client, mirror: Arc<Mirror>, timing: Timing) {
    let mut watch = Watch {
        api: Api::<K>::all(client),
        mirror,
        timing,
        version: None,
        listed: Instant::now(),
        failures: 0,
    };
    loop {
        let Err((failure, said)) = watch.round().await else {
            continue;
        };
        watch.mirror.failed::<K>(failure, &said);
        if failure.begins_anew() {
            watch.version = None;
        }
        sleep(pause(timing, watch.failures, failure)).await;
        watch.failures = watch.failures.saturating_add(1);
    }
}

/// A watch of a kind. `kube-runtime` has such a thing, which does not tell when
/// the API has taken a watch, so nobody could say whether it works; and it goes
/// on asking for a version of which the API has said in its answer's head that
/// it is gone.
struct Watch<K> {
    api: Api<K>,
    mirror: Arc<Mirror>,
    timing: Timing,
    /// What is known is of this version; nothing is without.
    version: Option<String>,
    /// When the last complete list came.
    listed: Instant,
    /// Since something worked.
    failures: u32,
}

impl<K: Kept> Watch<K> {
    /// Lists everything if need be, and watches until the API ends it.
    async fn round(&mut self) -> Result<(), Failed> {
        let version = match &self.version {
            Some(version) if !self.should_list() => version.clone(),
            _ => self.list().await?,
        };
        if self.mirror.should_list_at_once(K::KIND) {
            self.list().await?;
            return Ok(());
        }
        let params = WatchParams {
            bookmarks: true,
            timeout: Some(LENGTH),
            ..WatchParams::default()
        };
        let events = self.in_time(self.api.watch(&params, &version)).await?;
        let mut events = pin!(events.map_err(|error| Failure::of_client(&error)));
        self.mirror.heard(K::KIND);
        let (mut taken, began) = (0, Instant::now());
        loop {
            let event = match timeout(self.timing.silence, events.next()).await {
                Ok(Some(event)) => event?,
                Ok(None) => break,
                // It may be dead, or the API one that has nothing to say: asking
                // again, on another connection and for what came behind the last
                // word, tells which.
                Err(_elapsed) => {
                    self.mirror.silent(K::KIND, self.timing.silence);
                    return Ok(());
                }
            };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.version = object.resource_version();
                    self.mirror.take(Event::Apply(object));
                }
                WatchEvent::Deleted(object) => {
                    self.version = object.resource_version();
                    self.mirror.take(Event::Delete(object));
                }
                WatchEvent::Bookmark(bookmark) => {
                    self.version = Some(bookmark.metadata.resource_version);
                    self.mirror.heard(K::KIND);
                }
                WatchEvent::Error(status) => return Err(Failure::of_status(&status)),
            }
            self.failures = 0;
            taken += 1;
            if self.should_list() {
                return Ok(());
            }
            if taken % AT_ONCE == 0 {
                yield_now().await;
            }
        }
        if taken == 0 && began.elapsed() < SHORT {
            return Err((Failure::Away, "the watch ended at once".to_owned()));
        }
        Ok(())
    }

    /// Whether a list would tell what a watch does not: what had no room before.
    fn should_list(&self) -> bool {
        let since = self.listed.elapsed();
        since >= self.timing.needed && self.mirror.should_list(K::KIND, since >= self.timing.again)
    }

    /// Lists everything, page by page; its version.
    async fn list(&mut self) -> Result<String, Failed> {
        self.mirror.take(Event::<K>::Init);
        let mut params = ListParams::default().limit(self.timing.page);
        let version = loop {
            let page = self.in_time(self.api.list(&params)).await?;
            for (place, object) in page.items.into_iter().enumerate() {
                self.mirror.take(Event::InitApply(object));
                if place % AT_ONCE == AT_ONCE - 1 {
                    yield_now().await;
                }
            }
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params.continue_token = Some(more),
                None => break page.metadata.resource_version,
            }
        };
        let Some(version) = version.filter(|version| !version.is_empty()) else {
            let said = "a list without a resourceVersion".to_owned();
            return Err((Failure::Malformed, said));
        };
        self.mirror.take(Event::<K>::InitDone);
        self.version = Some(version.clone());
        self.listed = Instant::now();
        Ok(version)
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = kube_client::Result<T>>,
    ) -> Result<T, Failed> {
        match timeout(self.timing.answer, asked).await {
            Ok(answer) => answer.map_err(|error| Failure::of_client(&error)),
            Err(_elapsed) => {
                let said = format!("no answer within {:?}", self.timing.answer);
                Err((Failure::Away, said))
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
mod tests;
