//! A set of resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::resource::{Dataplane, Kind, Mesh, Resource, ResourceKey, TrafficTrace};

/// All resources that are known, each identity once.
///
/// Iterates in the order of meshes and names, so nothing depends on the order
/// in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    meshes: BTreeMap<Arc<str>, Arc<Mesh>>,
    traffic_traces: Named<TrafficTrace>,
    dataplanes: Named<Dataplane>,
}

/// By mesh, then by name.
type Named<T> = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<T>>>;

impl Resources {
    /// Adds or replaces a resource; what was there under its identity comes
    /// back.
    pub fn insert(&mut self, resource: Resource) -> Option<Resource> {
        match resource {
            Resource::Mesh(mesh) => {
                let old = self.meshes.insert(Arc::clone(&mesh.name), mesh);
                old.map(Resource::Mesh)
            }
            Resource::TrafficTrace(trace) => {
                let of_mesh = self.traffic_traces.entry(Arc::clone(&trace.mesh));
                let old = of_mesh.or_default().insert(Arc::clone(&trace.name), trace);
                old.map(Resource::TrafficTrace)
            }
            Resource::Dataplane(dataplane) => {
                let of_mesh = self.dataplanes.entry(Arc::clone(&dataplane.mesh));
                let name = Arc::clone(&dataplane.name);
                let old = of_mesh.or_default().insert(name, dataplane);
                old.map(Resource::Dataplane)
            }
        }
    }

    /// Takes a resource out.
    pub fn remove(&mut self, key: &ResourceKey) -> Option<Resource> {
        match key.kind {
            Kind::Mesh => self.meshes.remove(&key.name).map(Resource::Mesh),
            Kind::TrafficTrace => remove(&mut self.traffic_traces, key).map(Resource::TrafficTrace),
            Kind::Dataplane => remove(&mut self.dataplanes, key).map(Resource::Dataplane),
        }
    }

    /// The resource of this identity.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> Option<Resource> {
        match key.kind {
            Kind::Mesh => self.meshes.get(&key.name).cloned().map(Resource::Mesh),
            Kind::TrafficTrace => get(&self.traffic_traces, key).map(Resource::TrafficTrace),
            Kind::Dataplane => get(&self.dataplanes, key).map(Resource::Dataplane),
        }
    }

    /// A mesh.
    #[must_use]
    pub fn mesh(&self, name: &str) -> Option<&Arc<Mesh>> {
        self.meshes.get(name)
    }

    /// All meshes, sorted by name.
    pub fn meshes(&self) -> impl Iterator<Item = &Arc<Mesh>> {
        self.meshes.values()
    }

    /// The policies of a mesh, sorted by name.
    pub fn traffic_traces(&self, mesh: &str) -> impl Iterator<Item = &Arc<TrafficTrace>> {
        let of_mesh = self.traffic_traces.get(mesh);
        of_mesh.into_iter().flat_map(BTreeMap::values)
    }

    /// The policies of all meshes, sorted by mesh and name.
    pub fn all_traffic_traces(&self) -> impl Iterator<Item = &Arc<TrafficTrace>> {
        self.traffic_traces.values().flat_map(BTreeMap::values)
    }

    /// The workloads of a mesh, sorted by name.
    pub fn dataplanes(&self, mesh: &str) -> impl Iterator<Item = &Arc<Dataplane>> {
        let of_mesh = self.dataplanes.get(mesh);
        of_mesh.into_iter().flat_map(BTreeMap::values)
    }

    /// The workloads of all meshes, sorted by mesh and name.
    pub fn all_dataplanes(&self) -> impl Iterator<Item = &Arc<Dataplane>> {
        self.dataplanes.values().flat_map(BTreeMap::values)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.meshes.len() + self.all_traffic_traces().count() + self.all_dataplanes().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<Resource> for Resources {
    /// Of an identity that comes twice the last counts.
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut set = Self::default();
        for resource in resources {
            set.insert(resource);
        }
        set
    }
}

fn remove<T>(named: &mut Named<T>, key: &ResourceKey) -> Option<Arc<T>> {
    let of_mesh = named.get_mut(&key.mesh)?;
    let resource = of_mesh.remove(&key.name);
    if of_mesh.is_empty() {
        named.remove(&key.mesh);
    }
    resource
}

fn get<T>(named: &Named<T>, key: &ResourceKey) -> Option<Arc<T>> {
    named.get(&key.mesh)?.get(&key.name).cloned()
}
