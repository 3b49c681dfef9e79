//! What is traced, and to where. Pure.
//!
//! On a plain host without policies, [`Selection`] says what. With Kuma's
//! resources ([`Resources`]) an [`Engine`] gives each workload a [`Decision`];
//! [`Decisions`] remembers them. A workload that a selection refuses is not
//! asked about.

mod addresses;
mod backend;
mod decisions;
mod engine;
mod explain;
mod glob;
mod index;
mod protocol;
mod resource;
mod resources;
mod selection;
mod tags;
#[cfg(test)]
mod tests;

pub use backend::{BackendKind, TracingBackend, ZipkinApi};
pub use decisions::{Decisions, Subject, SubjectId};
pub(crate) use engine::nearest_backend;
pub use engine::{DataplaneRef, Decision, Engine, Outcome, Refused};
pub use explain::{
    Candidate, ExplainedBackend, ExplainedInbound, Explanation, Fate, NearMiss, Summary, Unmet,
};
pub use glob::{EmptyPattern, Glob};
pub use protocol::Protocol;
pub use resource::{
    Created, Dataplane, Host, Inbound, Kind, Listener, Mesh, Outbound, Resource, ResourceKey,
    TrafficTrace,
};
pub use resources::Resources;
pub use selection::{Headerless, NotSelected, OwnerVerdict, Selection};
pub use tags::{ANY, PROTOCOL_TAG, Rank, SERVICE_TAG, Selector, Tags};
