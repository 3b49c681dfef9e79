//! A Kubernetes API: what it says about pods, Services and nodes, and Kuma's
//! resources in it.
//!
//! [`Cluster`] is pure: objects come in, a [`Generation`] comes out. [`start`]
//! watches an API and keeps a [`Mirror`] of it; [`Notices`] tells people there
//! what is wrong with their policies.

mod cluster;
mod derive;
mod facts;
mod failure;
mod intern;
mod kind;
mod mirror;
mod notices;
pub mod objects;
#[cfg(test)]
pub(crate) mod testing;
mod watch;

pub use cluster::{
    Cluster, Event, Generation, Kept, MOST_OBJECTS, Missing, Notice, Options, Refusal,
};
pub use failure::Failure;
pub use kind::{Kind, RULES, Rule};
pub use mirror::Mirror;
pub use notices::{Notices, Outcome};
pub use objects::Watched;
pub use watch::{ApiError, Timing, connect, start};
