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
}

type Sides = (Arc<Resources>, Arc<Resources>);

impl Joined {
    pub(super) fn new(mirror: Arc<Mirror>) -> Self {
        Self {
            mirror,
            last: None,
            hidden: HashSet::new(),
        }
    }

    /// Adds what is known of the cluster now to what files say. A file's
    /// resource stands before the cluster's of the same identity: it was put
    /// on this node on purpose, and is the way to change something while the
    /// API is away.
    pub(super) fn join(&mut self, loaded: &mut Loaded) {
        let generation = self.mirror.generation();
        loaded.directory = Some(generation.directory);
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
