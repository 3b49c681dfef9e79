//! The cluster that `nodespan run` asks.

use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::reload::{Outcome, Reloader};
use crate::admin::View;
use crate::config::Settings;
use crate::kubernetes::{ApiError, Mirror, Notices, Options, Timing, connect, start};

/// What changes within this time is taken over together.
const GATHER: Duration = Duration::from_millis(50);
/// Between two generations: a cluster that is being rolled out changes all the
/// time.
const BETWEEN: Duration = Duration::from_millis(200);

/// A way to a cluster's API, which nobody has asked yet.
pub(super) struct Cluster {
    client: Client,
    mirror: Arc<Mirror>,
    node: Option<Arc<str>>,
}

impl Cluster {
    /// The cluster that the settings want asked, as the agent of the node that
    /// a DaemonSet calls `node_name`. Must run within a tokio runtime; files are
    /// read, and nothing is started.
    ///
    /// # Errors
    /// There is no such API, or no usable credentials.
    pub(super) async fn connect(
        settings: &Settings,
        node_name: Option<Arc<str>>,
    ) -> Result<Option<Self>, ApiError> {
        let kubernetes = &settings.kubernetes;
        if !kubernetes.enabled {
            return Ok(None);
        }
        let node = node(node_name, settings);
        let options = Options {
            node: node.clone(),
            zone: kubernetes.zone.clone(),
            most: kubernetes.max_objects,
        };
        Ok(Some(Self {
            client: connect(kubernetes.kubeconfig.as_deref()).await?,
            mirror: Mirror::new(options),
            node,
        }))
    }

    /// What will be known of it.
    pub(super) const fn mirror(&self) -> &Arc<Mirror> {
        &self.mirror
    }

    /// Watches it.
    pub(super) fn watch(self) -> Watched {
        let Self {
            client,
            mirror,
            node,
        } = self;
        let changes = mirror.changes();
        Watched {
            tasks: start(&client, &mirror, Timing::default()),
            notices: Notices::start(client, &mirror, node),
            changes,
            mirror,
            due: None,
            last: None,
            refused: None,
            is_stranger: false,
        }
    }
}

/// What the API calls this node: as it has told the DaemonSet's pod, else
/// `[agent] node`, which is the tag of spans first of all, or the host's name.
fn node(node_name: Option<Arc<str>>, settings: &Settings) -> Option<Arc<str>> {
    let host = || Some(Arc::from(rustix::system::uname().nodename().to_str().ok()?));
    let configured = || settings.agent.node.clone();
    node_name.or_else(configured).or_else(host)
}

/// A cluster that is being watched, until this is dropped.
pub(super) struct Watched {
    mirror: Arc<Mirror>,
    changes: Receiver<u64>,
    notices: Notices,
    tasks: JoinSet<()>,
    /// When the next generation is taken.
    due: Option<Instant>,
    last: Option<Instant>,
    /// Why not all of it is in force.
    refused: Option<String>,
    /// It has been said that no Node has this one's name.
    is_stranger: bool,
}

impl Watched {
    /// Returns when it is time for another generation. Nothing is lost if it
    /// is not waited for to the end.
    async fn due(&mut self) {
        let due = match self.due {
            Some(due) => due,
            None => {
                if self.changes.changed().await.is_err() {
                    // Nobody watches any more.
                    std::future::pending::<()>().await;
                }
                let due = Instant::now() + GATHER;
                let due = self.last.map_or(due, |last| due.max(last + BETWEEN));
                *self.due.insert(due)
            }
        };
        sleep_until(due).await;
        self.due = None;
        self.last = Some(Instant::now());
        self.changes.mark_unchanged();
    }

    /// Takes over what is known now.
    pub(super) fn take(&mut self, reloader: &mut Reloader) {
        match reloader.take_cluster() {
            Outcome::Same => {}
            Outcome::Changed => {
                self.refused = None;
                tracing::debug!("the cluster has changed");
            }
            Outcome::Refused(error) => self.refused = Some(error.to_string()),
        }
        if !self.is_stranger
            && let Some(name) = self.mirror.unknown_node()
        {
            self.is_stranger = true;
            tracing::warn!(
                "the cluster has no node \"{name}\": pods of this node are not told by their \
                 containers; set NODE_NAME (or `[agent] node`) to the node's name"
            );
        }
        if let Some(resources) = &reloader.current().resources {
            self.notices.tell(self.mirror.notices(resources));
        }
    }

    /// Shows how its watches fare.
    pub(super) fn show(&mut self, view: &View) {
        while let Some(ended) = self.tasks.try_join_next() {
            tracing::error!("a watch of the cluster has ended: {ended:?}");
        }
        self.notices.again();
        let mut status = self.mirror.status();
        if let (Value::Object(status), Some(refused)) = (&mut status, &self.refused) {
            status.insert("not_in_force".to_owned(), json!(refused));
        }
        view.set_section("kubernetes", status);
        view.set_families(self.mirror.families());
    }
}

/// Returns when it is time for another generation; never without a cluster.
pub(super) async fn due(watched: &mut Option<Watched>) {
    match watched {
        Some(watched) => watched.due().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_set_says_of_the_node_stands_before_the_tag() {
        let mut settings = Settings::default();
        let host = node(None, &settings).unwrap();
        assert!(!host.is_empty());
        let told = || Some(Arc::from("node-1"));
        assert_eq!(node(told(), &settings), told());
        settings.agent.node = Some("rack-7".into());
        assert_eq!(node(told(), &settings), told());
        assert_eq!(node(None, &settings).as_deref(), Some("rack-7"));
    }
}
