//! `cargo xtask`: everything that is done to nodespan rather than by it.
fn main() {}
