//! End-to-end tests of nodespan: real servers, real clients, real kernels.
//!
//! A program, `suites`, uses this library. `suites guest` runs as root on a kernel that
//! can run the probes (in a guest that `cargo xtask vm` starts): it starts
//! servers and the agent, drives clients, and compares the agent's spans with
//! the servers' own access logs. `suites host` needs neither root nor probes.
//!
//! Every request of every case has a path of its own, `/VERB/CASE/N`: VERB says
//! what the server does, CASE is the tag by which lines and spans are found
//! again. So one run of the agent serves many cases, and a span that belongs to
//! no case is noticed.

pub mod agent;
pub mod answer;
pub mod backends;
pub mod brief;
pub mod cases;
pub mod children;
pub mod clients;
pub mod compare;
pub mod contained;
pub mod everywhere;
pub mod full;
pub mod handed;
pub mod host;
pub mod identity;
pub mod kubernetes;
pub mod ledger;
pub mod legacy;
pub mod lines;
pub mod mesh;
pub mod narrow;
pub mod network;
pub mod opaque;
pub mod origin;
pub mod past;
pub mod pcap;
pub mod placed;
pub mod policies;
pub mod policy;
pub mod raw;
pub mod replay;
pub mod report;
pub mod run;
pub mod selected;
pub mod spans;
pub mod special;
pub mod suite;
pub mod targets;
pub mod traced;
pub mod traffic;
pub mod tree;
pub mod verified;
pub mod wait;
pub mod workloads;
pub mod wrong;
pub mod zipkin;
