//! nodespan traces HTTP on a Linux node without sidecars.
//!
//! Data flows one way: `capture` → `assemble` → `identify` → `policy` and
//! `sample` → `link` → `export`. ARCHITECTURE.md has the picture and the
//! invariants.

pub mod admin;
pub mod assemble;
pub mod capture;
pub mod cli;
pub mod config;
pub mod decide;
pub mod export;
pub mod http;
pub mod identify;
pub mod kubernetes;
pub mod ledger;
pub mod link;
mod nearest;
pub mod policy;
pub mod sample;
pub mod units;
