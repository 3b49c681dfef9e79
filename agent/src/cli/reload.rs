//! A changed configuration takes effect; a wrong one does not.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use hashbrown::HashSet;
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};

use super::backends::{Backends, Change};
use super::cluster::Joined;
use super::load::{Loaded, Source};
use super::pipeline::Update;
use super::plan::{self, PlanError};
use super::printing::Printing;
use super::watch::Watch;
use crate::admin::store::Store;
use crate::config::{Kubernetes, Report};
use crate::decide::Plan;
use crate::identify::Directory;
use crate::kubernetes::Mirror;
use crate::ledger::Ledger;
use crate::policy::Resources;
use crate::sample::Sampler;

/// Reads the configuration when it changes, and tells the pipeline.
pub(super) struct Reloader {
    source: Source,
    /// What is applied over the API; one of the source's folders.
    store: Option<Arc<Store>>,
    watch: Watch,
    /// What a cluster says, if one is asked.
    cluster: Option<Joined>,
    current: Loaded,
    /// What files say of it.
    of_files: Option<Arc<Resources>>,
    /// Why what the cluster says is not in force, as it was told last.
    refused: Option<String>,
    backends: Backends,
    ledger: Arc<Ledger>,
    /// This host's addresses.
    own: HashSet<IpAddr>,
    /// What the pipeline has not taken yet.
    pending: Option<Update>,
    /// Workers of backends and pollers of samplers.
    tasks: JoinSet<()>,
}

/// What became of a reload.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The files say what they said.
    Same,
    /// The new state is in force as soon as the pipeline has taken it.
    Changed,
    /// The old state stays, and why.
    Refused(PlanError),
}

impl Outcome {
    /// As `configuration` of the status.
    pub(super) fn shown(&self) -> Value {
        match self {
            Self::Same | Self::Changed => json!({ "refused": null }),
            Self::Refused(error) => json!({ "refused": error.to_string() }),
        }
    }
}

/// What a pipeline starts with.
pub(super) struct Start {
    pub(super) plan: Arc<Plan>,
    pub(super) sampler: Sampler,
    pub(super) change: Change,
}

impl Reloader {
    /// Reads the configuration for the first time. Must run within a tokio
    /// runtime.
    ///
    /// # Errors
    /// It is wrong.
    pub(super) fn start(
        mut source: Source,
        store: Option<Arc<Store>>,
        cluster: Option<Arc<Mirror>>,
        own: HashSet<IpAddr>,
        ledger: &Arc<Ledger>,
    ) -> Result<(Self, Start), PlanError> {
        if let Some(folder) = store.as_ref().and_then(|store| store.folder()) {
            source.add_resources(folder.to_owned());
        }
        // Before it is read, so that no change falls between.
        let watch = Watch::new(source.paths());
        let mut current = source.load()?;
        warn(&current.reports);
        let of_files = current.resources.clone();
        let mut cluster = cluster.map(Joined::new);
        if let Some(cluster) = &mut cluster {
            cluster.join(&mut current);
        }
        let mut backends = Backends::new(Arc::clone(ledger));
        let (plan, mut change) = plan::plan(&current, own.clone(), &mut backends)?;
        if let Some(store) = &store {
            store.set_files(&current.files);
        }
        let mut reloader = Self {
            source,
            store,
            watch,
            backends,
            ledger: Arc::clone(ledger),
            own,
            pending: None,
            tasks: JoinSet::new(),
            cluster,
            current,
            of_files,
            refused: None,
        };
        reloader.run_workers(&mut change);
        let sampler = reloader.sampler();
        let start = Start {
            plan: Arc::new(plan),
            sampler,
            change,
        };
        Ok((reloader, start))
    }

    /// The configuration in force.
    pub(super) const fn current(&self) -> &Loaded {
        &self.current
    }

    /// Whether resources are read from files, now or after a reload.
    pub(super) const fn has_resources(&self) -> bool {
        self.of_files.is_some()
    }

    /// Looks whether files have changed, and reads them if so.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Outcome> {
        self.watch.poll(now).then(|| self.reload())
    }

    /// Reads the files, because somebody asked for it.
    pub(super) fn reload(&mut self) -> Outcome {
        match self.try_reload() {
            Ok(false) => Outcome::Same,
            Ok(true) => {
                // The pipeline says when it is in force.
                if let Some(update) = &mut self.pending {
                    update.awaited = true;
                }
                Outcome::Changed
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                Outcome::Refused(error)
            }
        }
    }

    /// Takes what is known of the cluster now.
    ///
    /// If it cannot be in force as a whole (a backend cannot be opened), its
    /// pods count all the same, with the policies of before.
    pub(super) fn take_cluster(&mut self) -> Outcome {
        let Some(cluster) = &mut self.cluster else {
            return Outcome::Same;
        };
        let mut loaded = Loaded {
            resources: self.of_files.clone(),
            reports: Vec::new(),
            ..self.current.clone()
        };
        cluster.join(&mut loaded);
        if let (Some(store), Some(said)) = (&self.store, cluster.said()) {
            store.set_cluster(&said);
        }
        let directory = loaded.directory.clone();
        let error = match self.adopt(loaded) {
            Ok(changed) => {
                self.refused = None;
                return match changed {
                    true => Outcome::Changed,
                    false => Outcome::Same,
                };
            }
            Err(error) => error,
        };
        let text = error.to_string();
        if self.refused.as_ref() != Some(&text) {
            tracing::error!("the cluster's policies stay as they were: {text}");
            self.refused = Some(text);
        }
        let pods_alone = Loaded {
            directory,
            reports: Vec::new(),
            ..self.current.clone()
        };
        if let Err(error) = self.adopt(pods_alone) {
            tracing::error!("the cluster's pods stay as they were: {error}");
        }
        Outcome::Refused(error)
    }

    fn try_reload(&mut self) -> Result<bool, PlanError> {
        let mut loaded = self.source.load()?;
        if let Some(store) = &self.store {
            store.set_files(&loaded.files);
        }
        let of_files = loaded.resources.clone();
        if let Some(cluster) = &mut self.cluster {
            cluster.join(&mut loaded);
        }
        let changed = self.adopt(loaded)?;
        self.of_files = of_files;
        Ok(changed)
    }

    /// Puts a configuration in force, if it is another.
    fn adopt(&mut self, loaded: Loaded) -> Result<bool, PlanError> {
        let same_resources = loaded.resources == self.current.resources
            && loaded.withheld == self.current.withheld
            && same(&loaded.directory, &self.current.directory);
        if same_resources && loaded.settings == self.current.settings {
            return Ok(false);
        }
        warn(&loaded.reports);
        let (plan, mut change) = plan::plan(&loaded, self.own.clone(), &mut self.backends)?;
        if loaded.settings.admin != self.current.settings.admin {
            tracing::warn!("[admin] has changed, which has no effect before the next start");
        }
        let (old, new) = (&self.current.settings, &loaded.settings);
        if fixed(&old.kubernetes) != fixed(&new.kubernetes) {
            tracing::warn!("[kubernetes] has changed, which has no effect before the next start");
        }
        let other_sampler =
            plan::sampler(&loaded.settings) != plan::sampler(&self.current.settings);
        let printing = Printing::of(&loaded);
        let other_printing = printing != Printing::of(&self.current);
        self.current = loaded;
        self.run_workers(&mut change);
        let sampler = other_sampler.then(|| self.sampler());
        let settings = &self.current.settings;
        let update = Update {
            wish: plan::wish(settings),
            plan: Arc::new(plan),
            naming: plan::naming(settings),
            key: settings.agent.identity_key,
            sampler,
            printed: other_printing.then(|| printing.open(&self.ledger)),
            opened: change.opened,
            retired: change.retired,
            awaited: false,
        };
        self.pending = Some(match self.pending.take() {
            None => update,
            Some(earlier) => earlier.then(update),
        });
        Ok(true)
    }

    /// What has changed, for a pipeline that takes it at once.
    pub(super) fn take(&mut self) -> Option<Update> {
        self.pending.take()
    }

    /// Hands what has changed to the pipeline, if that has taken the last
    /// change. Call it now and then.
    pub(super) fn hand_over(&mut self, updates: &SyncSender<Update>) {
        if let Some(update) = self.pending.take()
            && let Err(TrySendError::Full(update)) = updates.try_send(update)
        {
            self.pending = Some(update);
        }
    }

    /// Notices tasks that have ended.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            complain(ended);
        }
    }

    /// Waits until all backends have delivered what they can. Their exporters
    /// and the sampler must be dropped by then.
    pub(super) async fn finish(mut self) {
        // An update that was never taken holds exporters, too.
        self.pending = None;
        while let Some(ended) = self.tasks.join_next().await {
            complain(ended);
        }
    }

    fn run_workers(&mut self, change: &mut Change) {
        for worker in change.workers.drain(..) {
            self.tasks.spawn(worker.run());
        }
    }

    fn sampler(&mut self) -> Sampler {
        let (sampler, poller) = plan::sampler(&self.current.settings).build(&self.ledger);
        if let Some(poller) = poller {
            self.tasks.spawn(poller.run());
        }
        sampler
    }
}

/// Says so once the pipeline has taken an update that somebody waits for: what
/// comes from now on is read, named and decided by it.
pub(super) fn tell_in_force(awaited: bool) {
    if awaited {
        tracing::info!("the configuration has changed and is in force");
    }
}

/// Whether this is one generation of a cluster.
fn same(one: &Option<Arc<Directory>>, other: &Option<Arc<Directory>>) -> bool {
    one.as_ref().map(Arc::as_ptr) == other.as_ref().map(Arc::as_ptr)
}

fn complain(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a backend's worker ended badly: {error}");
    }
}

fn warn(reports: &[Report]) {
    for report in reports {
        tracing::warn!("{report}");
    }
}

/// What of `[kubernetes]` counts from the next start only.
fn fixed(kubernetes: &Kubernetes) -> Kubernetes {
    Kubernetes {
        assume_http: false,
        ..kubernetes.clone()
    }
}
