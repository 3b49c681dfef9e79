//! Hands the kernel object to the crate if there is one.
//!
//! `cargo xtask build` names it in `NODESPAN_BPF_OBJECT`. Without it the crate
//! builds and tests all the same; only the live probes then say what is
//! missing.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bpf_object)");
    println!("cargo::rustc-check-cfg=cfg(bpf_log_object)");
    for (variable, cfg) in [
        ("NODESPAN_BPF_OBJECT", "bpf_object"),
        ("NODESPAN_BPF_LOG_OBJECT", "bpf_log_object"),
    ] {
        println!("cargo::rerun-if-env-changed={variable}");
        if let Ok(path) = std::env::var(variable) {
            println!("cargo::rerun-if-changed={path}");
            println!("cargo::rustc-env={variable}={path}");
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
