//! Packet captures as a source of records.

pub mod write;
