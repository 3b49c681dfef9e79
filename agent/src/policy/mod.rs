//! What is traced. Pure.
//!
//! For now what a plain host needs: [`Selection`]. Policies will join here;
//! they yield a backend, a sampler and tags for each workload, and a
//! workload that a selection refuses is not asked about.

mod glob;
mod selection;

pub use glob::{EmptyPattern, Glob};
pub use selection::{Headerless, NotSelected, OwnerVerdict, Selection};
