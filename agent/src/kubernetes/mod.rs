//! A Kubernetes API: what it says about pods, Services and nodes, and Kuma's
//! resources in it.
//!
//! [`Cluster`] is pure: objects come in, a [`Generation`] comes out.

mod cluster;
mod derive;
mod facts;
mod intern;
mod kind;
pub mod objects;
#[cfg(test)]
mod testing;

pub use cluster::{Cluster, Generation, Kept, Notice, Options, Refusal};
pub use kind::{Kind, RULES, Rule};
pub use kube_runtime::watcher::Event;
pub use objects::Watched;
