//! What files say and what a cluster says, together.

use std::sync::Arc;

use hashbrown::HashSet;

use super::load::Loaded;
use crate::kubernetes::Mirror;
use crate::policy::{Resource, ResourceKey, Resources};

/// Puts a cluster beside what was loaded.
#[derive(Debug)]
pub(super) struct Joined {
    mirror: Arc<Mirror>,
    /// What was put together last, and what came of it: both sides stay for
    /// long while pods come and go.
    last: Option<(Sides, Arc<Resources>)>,
    /// Resources of the cluster that a file stands before.
    hidden: HashSet<ResourceKey>,
    /// What the cluster says, and of that what was shown last.
    of_cluster: Option<Arc<Resources>>,
    shown: Option<Arc<Resources>>,
}

type Sides = (Arc<Resources>, Arc<Resources>);

impl Joined {
    pub(super) fn new(mirror: Arc<Mirror>) -> Self {
        Self {
            mirror,
            last: None,
            hidden: HashSet::new(),
            of_cluster: None,
            shown: None,
        }
    }

    /// The cluster's own resources, each as JSON, if they are others than last
    /// time.
    pub(super) fn said(&mut self) -> Option<Vec<Arc<str>>> {
        let place = |of: &Option<Arc<Resources>>| of.as_ref().map(Arc::as_ptr);
        if place(&self.of_cluster) == place(&self.shown) {
            return None;
        }
        self.shown.clone_from(&self.of_cluster);
        Some(self.mirror.said())
    }

    /// Adds what is known of the cluster now to what files say. A file's
    /// resource stands before the cluster's of the same identity: it was put
    /// on this node on purpose, and is the way to change something while the
    /// API is away.
    pub(super) fn join(&mut self, loaded: &mut Loaded) {
        let generation = self.mirror.generation();
        loaded.directory = Some(generation.directory);
        loaded.withheld = generation.withheld;
        self.of_cluster.clone_from(&generation.resources);
        loaded.resources = match (loaded.resources.take(), generation.resources) {
            (Some(files), Some(cluster)) => Some(self.both(files, cluster)),
            (files, cluster) => files.or(cluster),
        };
    }

    fn both(&mut self, files: Arc<Resources>, cluster: Arc<Resources>) -> Arc<Resources> {
        if let Some(((of_files, of_cluster), both)) = &self.last
            && Arc::ptr_eq(of_files, &files)
            && Arc::ptr_eq(of_cluster, &cluster)
        {
            return Arc::clone(both);
        }
        let mut both = Resources::clone(&cluster);
        let mut hidden = HashSet::new();
        for resource in all(&files) {
            let key = resource.key();
            if both.insert(resource).is_some() {
                if !self.hidden.contains(&key) {
                    tracing::warn!("{key} of a file stands before the cluster's");
                }
                hidden.insert(key);
            }
        }
        self.hidden = hidden;
        let both = Arc::new(both);
        self.last = Some(((files, cluster), Arc::clone(&both)));
        both
    }
}

fn all(resources: &Resources) -> impl Iterator<Item = Resource> {
    let meshes = resources.meshes().cloned().map(Resource::Mesh);
    let traces = resources.all_traffic_traces().cloned();
    let dataplanes = resources.all_dataplanes().cloned();
    meshes
        .chain(traces.map(Resource::TrafficTrace))
        .chain(dataplanes.map(Resource::Dataplane))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::cli::load::{Source, Typed};
    use crate::cli::reload::{Outcome, Reloader};
    use crate::decide::{Destinations, Plan};
    use crate::kubernetes::Options;
    use crate::kubernetes::testing::{apply, delete, mesh, pod, policy, settle};
    use crate::ledger::Ledger;
    use crate::policy::Kind;
    use clap::Parser as _;

    /// What is configured by these arguments of `run`.
    fn source(words: &[&str]) -> Source {
        let words = [&["nodespan", "run"][..], words].concat();
        match Cli::parse_from(words).command {
            Command::Run(run) => Source::new(
                &run.common,
                Typed {
                    kubernetes: run.kubernetes,
                    ..Typed::default()
                },
            ),
            other => panic!("{other:?}"),
        }
    }

    fn trace(reloader: &Reloader, name: &str) -> Option<String> {
        let resources = reloader.current().resources.as_ref()?;
        let found = resources.get(&ResourceKey {
            kind: Kind::TrafficTrace,
            mesh: "default".into(),
            name: name.into(),
        })?;
        match found {
            Resource::TrafficTrace(trace) => trace.backend.as_deref().map(str::to_owned),
            _ => None,
        }
    }

    fn is_nothing(plan: &Plan) -> bool {
        match &plan.destinations {
            Destinations::Policies(_) => true,
            Destinations::One(_) => false,
        }
    }

    fn files(texts: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn it_is_typed_or_configured() {
        let enabled = |words: &[&str]| source(words).load().unwrap().settings.kubernetes.enabled;
        assert!(!enabled(&[]));
        assert!(enabled(&["--kubernetes"]));
        let folder = files(&[(
            "a.toml",
            "[kubernetes]\nenabled = true\nassumeHttp = true\n",
        )]);
        let path = folder.path().join("a.toml");
        let words = ["--config", path.to_str().unwrap()];
        assert!(enabled(&words));
        assert!(source(&words).load().unwrap().assume_http);
    }

    #[tokio::test]
    async fn nothing_is_traced_before_the_cluster_has_spoken_and_then_what_it_says() {
        let mirror = Mirror::new(Options::default());
        let ledger = Ledger::new();
        let cluster = Some(Arc::clone(&mirror));
        let (mut reloader, start) =
            Reloader::start(source(&[]), None, cluster, HashSet::default(), &ledger).unwrap();
        assert!(is_nothing(&start.plan));
        assert!(!start.plan.directory.as_ref().unwrap().synced);
        assert!(!reloader.has_resources());

        mirror.change(|cluster| {
            settle(cluster);
            apply(cluster, pod("p", json!({})));
            apply(cluster, mesh("default", "zipkin"));
            apply(cluster, policy("all", "zipkin"));
        });
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert!(matches!(reloader.take_cluster(), Outcome::Same));
        let current = reloader.current();
        assert_eq!(current.directory.as_ref().unwrap().pods().count(), 1);
        assert_eq!(trace(&reloader, "all").as_deref(), Some("zipkin"));
        mirror.change(|cluster| delete(cluster, policy("all", "zipkin")));
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert_eq!(trace(&reloader, "all"), None);
        // A reload of the files forgets nothing of the cluster.
        assert!(matches!(reloader.reload(), Outcome::Same));
        assert_eq!(reloader.current().resources.as_ref().unwrap().len(), 1);
        drop(start);
        reloader.finish().await;
    }

    #[tokio::test]
    async fn without_kumas_kinds_everything_goes_where_tracing_says() {
        let folder = files(&[(
            "a.toml",
            "[tracing]\nbackend = 'zipkin'\n[tracing.zipkin]\n",
        )]);
        let path = folder.path().join("a.toml");
        let mirror = Mirror::new(Options::default());
        let ledger = Ledger::new();
        let words = ["--config", path.to_str().unwrap()];
        let cluster = Some(Arc::clone(&mirror));
        let own = HashSet::default();
        let (mut reloader, start) =
            Reloader::start(source(&words), None, cluster, own, &ledger).unwrap();
        assert!(is_nothing(&start.plan));
        mirror.change(|cluster| {
            settle(cluster);
            cluster.withdraw::<crate::kubernetes::objects::Mesh>();
            cluster.withdraw::<crate::kubernetes::objects::TrafficTrace>();
        });
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert!(reloader.current().resources.is_none());
        let (updates, taken) = std::sync::mpsc::sync_channel(1);
        reloader.hand_over(&updates);
        assert!(!is_nothing(&taken.recv().unwrap().plan));
        drop((start, taken));
        reloader.finish().await;
    }

    /// What a cluster that has this comes to, where `[tracing]` names a
    /// backend: whether policies choose.
    async fn policies_choose(change: impl FnOnce(&mut crate::kubernetes::Cluster)) -> bool {
        let folder = files(&[(
            "a.toml",
            "[tracing]\nbackend = 'zipkin'\n[tracing.zipkin]\n",
        )]);
        let path = folder.path().join("a.toml");
        let words = ["--config", path.to_str().unwrap()];
        let mirror = Mirror::new(Options::default());
        let cluster = Some(Arc::clone(&mirror));
        let (mut reloader, start) = Reloader::start(
            source(&words),
            None,
            cluster,
            HashSet::default(),
            &Ledger::new(),
        )
        .unwrap();
        mirror.change(change);
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        let plan = reloader.take().unwrap().plan;
        let choose = is_nothing(&plan);
        drop((start, plan));
        reloader.finish().await;
        choose
    }

    #[tokio::test]
    async fn what_policies_want_is_never_everything_for_want_of_a_mesh() {
        use crate::kubernetes::objects::{Mesh, TrafficTrace};
        use crate::kubernetes::{Kind as Of, Missing};
        // The kinds are there and nobody has made anything of them.
        assert!(!policies_choose(settle).await);
        // The last Mesh is deleted while policies remain.
        let policy_alone = |cluster: &mut crate::kubernetes::Cluster| {
            settle(cluster);
            apply(cluster, policy("all", "zipkin"));
        };
        assert!(policies_choose(policy_alone).await);
        // The role does not let them be read.
        for kind in [Of::Mesh, Of::TrafficTrace] {
            let forbidden = |cluster: &mut crate::kubernetes::Cluster| {
                settle(cluster);
                cluster.withdraw::<Mesh>();
                cluster.withdraw::<TrafficTrace>();
                cluster.refuse(kind, Missing::Forbidden);
            };
            assert!(policies_choose(forbidden).await, "{kind:?}");
        }
    }

    /// Although no pod has changed.
    #[tokio::test]
    async fn what_is_forbidden_no_more_counts_at_once() {
        use crate::kubernetes::objects::{Mesh, TrafficTrace};
        use crate::kubernetes::{Kind as Of, Missing};
        let mirror = Mirror::new(Options::default());
        let cluster = Some(Arc::clone(&mirror));
        let (mut reloader, start) = Reloader::start(
            source(&[]),
            None,
            cluster,
            HashSet::default(),
            &Ledger::new(),
        )
        .unwrap();
        mirror.change(|cluster| {
            settle(cluster);
            cluster.withdraw::<TrafficTrace>();
            cluster.refuse(Of::TrafficTrace, Missing::Forbidden);
        });
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert!(is_nothing(&reloader.take().unwrap().plan));
        mirror.change(|cluster| {
            cluster.withdraw::<Mesh>();
            crate::kubernetes::testing::list::<TrafficTrace>(cluster, &[]);
        });
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert!(!is_nothing(&reloader.take().unwrap().plan));
        drop(start);
        reloader.finish().await;
    }

    #[tokio::test]
    async fn the_resource_api_shows_what_the_cluster_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::admin::store::Store::open(folder.path()).unwrap());
        let mirror = Mirror::new(Options::default());
        let ledger = Ledger::new();
        let (mut reloader, start) = Reloader::start(
            source(&[]),
            Some(Arc::clone(&store)),
            Some(Arc::clone(&mirror)),
            HashSet::default(),
            &ledger,
        )
        .unwrap();
        let names = || {
            let all = store.list(Kind::Mesh, None).into_iter();
            let all = all.chain(store.list(Kind::TrafficTrace, None));
            all.map(|item| item.resource.key().name.to_string())
                .collect::<Vec<_>>()
        };
        mirror.change(|cluster| {
            settle(cluster);
            apply(cluster, mesh("default", "zipkin"));
            apply(cluster, policy("all", "zipkin"));
        });
        assert_eq!(names(), [""; 0]);
        reloader.take_cluster();
        assert_eq!(names(), ["default", "all"]);
        // What is invalid now shows what is in force.
        let mut wrong = policy("all", "zipkin");
        wrong["metadata"]["resourceVersion"] = json!("99");
        wrong["spec"]["selectors"] = json!([]);
        mirror.change(|cluster| {
            apply(cluster, wrong);
            delete(cluster, mesh("default", "zipkin"));
        });
        reloader.take_cluster();
        assert_eq!(names(), ["all"]);
        drop(start);
        reloader.finish().await;
    }

    #[tokio::test]
    async fn a_file_stands_before_the_cluster() {
        let of_file = "{type: TrafficTrace, mesh: default, name: all, \
                       selectors: [{match: {kuma.io/service: '*'}}], conf: {backend: mine}}";
        let folder = files(&[("all.yaml", of_file)]);
        let words = ["--resources", folder.path().to_str().unwrap()];
        let mirror = Mirror::new(Options::default());
        let ledger = Ledger::new();
        let cluster = Some(Arc::clone(&mirror));
        let own = HashSet::default();
        let (mut reloader, start) =
            Reloader::start(source(&words), None, cluster, own, &ledger).unwrap();
        assert_eq!(trace(&reloader, "all").as_deref(), Some("mine"));
        mirror.change(|cluster| {
            settle(cluster);
            apply(cluster, mesh("default", "zipkin"));
            apply(cluster, policy("all", "zipkin"));
            apply(cluster, policy("other", "zipkin"));
        });
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        assert_eq!(trace(&reloader, "all").as_deref(), Some("mine"));
        assert_eq!(trace(&reloader, "other").as_deref(), Some("zipkin"));
        // What has been put together stays while pods come and go.
        let before = reloader.current().resources.clone().unwrap();
        mirror.change(|cluster| apply(cluster, pod("p", json!({}))));
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        let after = reloader.current().resources.clone().unwrap();
        assert!(Arc::ptr_eq(&before, &after));
        let (updates, taken) = std::sync::mpsc::sync_channel(1);
        reloader.hand_over(&updates);
        assert!(!taken.try_recv().unwrap().awaited);
        // Without the file the cluster's counts. Whoever changed it is told when
        // that is in force, and not before, however late the pipeline takes it.
        std::fs::remove_file(folder.path().join("all.yaml")).unwrap();
        assert!(matches!(reloader.reload(), Outcome::Changed));
        mirror.change(|cluster| apply(cluster, pod("p", json!({"a": "b"}))));
        assert!(matches!(reloader.take_cluster(), Outcome::Changed));
        reloader.hand_over(&updates);
        assert!(taken.try_recv().unwrap().awaited);
        assert!(reloader.take().is_none());
        assert_eq!(trace(&reloader, "all").as_deref(), Some("zipkin"));
        drop(start);
        reloader.finish().await;
    }
}
