//! `cargo xtask build` and `run`: the kernel object first, then the agent
//! with the object inside.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{apt, cache::Cache, setup::bpf, sh, strip, workspace::Workspace};

/// The target of what is released: it runs on any distribution, since its C
/// library is inside.
pub(crate) const RELEASE_TARGET: &str = "x86_64-unknown-linux-musl";

pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";
pub(crate) const BPF_PACKAGE: &str = "agent-ebpf";
const BPF_BINARY: &str = "nodespan-ebpf";

/// The kernel objects: the usual one, and one whose programs log what they do.
/// Two, so that the usual one has not an instruction of the other's.
const OBJECTS: [Variant; 2] = [
    Variant {
        feature: "log",
        file: "nodespan-log.o",
        variable: "NODESPAN_BPF_LOG_OBJECT",
    },
    Variant {
        feature: "probes",
        file: "nodespan.o",
        variable: "NODESPAN_BPF_OBJECT",
    },
];

struct Variant {
    /// Of the package.
    feature: &'static str,
    /// In the objects' target folder.
    file: &'static str,
    /// Where the agent's build script finds it.
    variable: &'static str,
}

/// Build the agent with its kernel programs.
#[derive(Args, Debug)]
pub(crate) struct Build {
    /// Optimised.
    #[arg(long)]
    release: bool,
}

impl Build {
    /// Prints the path of the binary.
    ///
    /// # Errors
    /// If a part does not build.
    pub(crate) fn run(&self) -> Result<i32> {
        let workspace = Workspace::load()?;
        println!("{}", agent(&workspace, self.release)?.display());
        Ok(0)
    }
}

/// Build, then `nodespan run ARGS` (as root where this user is not).
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Optimised.
    #[arg(long)]
    release: bool,
    /// Arguments of `nodespan run`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

impl Run {
    /// The agent's exit status.
    ///
    /// # Errors
    /// If it does not build or start.
    pub(crate) fn run(&self) -> Result<i32> {
        let workspace = Workspace::load()?;
        let binary = agent(&workspace, self.release)?;
        let binary = binary
            .to_str()
            .context("the target folder's name is not UTF-8")?;
        let status = sh::root(binary).arg("run").args(&self.arguments).status()?;
        Ok(status.code().unwrap_or(1))
    }
}

/// Builds the kernel object and the agent; returns the agent's binary.
///
/// # Errors
/// If either does not build.
pub(crate) fn agent(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    let folder = kernel_objects(workspace)?;
    binary(workspace, "nodespan", "nodespan", release, Some(&folder))
}

/// Builds one binary of the workspace, with the folder of the kernel objects
/// if it embeds them.
///
/// # Errors
/// If it does not build.
pub(crate) fn binary(
    workspace: &Workspace,
    package: &str,
    name: &str,
    release: bool,
    objects: Option<&Path>,
) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "-p", package, "--bin", name]);
    if release {
        cargo.arg("--release");
    }
    if let Some(folder) = objects {
        cargo.envs(object_variables(folder));
    }
    sh::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(workspace.target.join(profile).join(name))
}

fn object_variables(folder: &Path) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let variable = |object: &Variant| (object.variable, folder.join(object.file));
    OBJECTS.iter().map(variable)
}

/// The agent as it is released: static, without symbols, and without a word of
/// where it was built. Builds in `target`, a folder of its own.
///
/// # Errors
/// If the target cannot be had, or it does not build.
pub(crate) fn released(workspace: &Workspace, target: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    // What links with musl, and the headers for what is written in C.
    apt::install(&["musl-tools"])?;
    let installed = sh::capture(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if !installed.lines().any(|line| line == RELEASE_TARGET) {
        sh::step(&format!("rustup target add {RELEASE_TARGET}"), || {
            sh::quiet(Command::new("rustup").args(["target", "add", RELEASE_TARGET]))
        })?;
    }
    let objects = kernel_objects(workspace)?;
    let places = remapped(workspace, target)?;
    let flags = places.iter().map(|(path, name)| remap(path, name));
    let of_c = places.iter().map(|(path, name)| {
        let path = path.display();
        format!("-ffile-prefix-map={path}={name}")
    });
    sh::run(
        workspace
            .cargo()
            .args(["build", "--locked", "--release", "-p", "nodespan"])
            .args(["--bin", "nodespan", "--target", RELEASE_TARGET])
            .env("CARGO_TARGET_DIR", target)
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                flags.collect::<Vec<_>>().join("\u{1f}"),
            )
            .env_remove("RUSTFLAGS")
            .env(
                "CFLAGS_x86_64_unknown_linux_musl",
                of_c.collect::<Vec<_>>().join(" "),
            )
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env("CARGO_INCREMENTAL", "0")
            .envs(object_variables(&objects)),
    )?;
    let kept = object_variables(&objects).map(|(_, path)| path).collect();
    Ok((target.join(RELEASE_TARGET).join("release/nodespan"), kept))
}

/// What the compiler of the kernel objects says it is.
///
/// # Errors
/// If there is none.
pub(crate) fn kernel_compiler() -> Result<String> {
    bpf::ensure(&Cache::open()?)?.version()
}

/// Folders of this machine, and how they are called in what is built. Of
/// several that fit, the last counts.
fn remapped(workspace: &Workspace, target: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    Ok(vec![
        (
            cargo.context("neither CARGO_HOME nor HOME is set")?,
            "/cargo",
        ),
        (workspace.root.clone(), "/nodespan"),
        (target.to_owned(), "/target"),
    ])
}

fn remap(path: &Path, name: &str) -> String {
    format!("--remap-path-prefix={}={name}", path.display())
}

/// Whether the workspace has kernel programs yet.
pub(crate) fn has_kernel_programs(workspace: &Workspace) -> bool {
    workspace.has_binary(BPF_PACKAGE, BPF_BINARY)
}

/// Builds the kernel objects and returns the folder they are in.
///
/// # Errors
/// If the toolchain is missing and cannot be had, or one does not build.
pub(crate) fn kernel_objects(workspace: &Workspace) -> Result<PathBuf> {
    if !has_kernel_programs(workspace) {
        bail!("the package {BPF_PACKAGE} has no binary {BPF_BINARY}");
    }
    // Apart from the rest, whose compiler is another.
    let target = workspace.target.join("bpf");
    for object in &OBJECTS {
        sh::run(
            kernel_cargo(workspace, &target, &[])?
                .arg("build")
                .args(kernel_arguments(object.feature)),
        )?;
        let built = fs::read(target.join(BPF_TARGET).join("release").join(BPF_BINARY))?;
        let built = strip::debug(&built)?;
        let kept = target.join(object.file);
        // Untouched if it is the same, or the agent would be built anew.
        if fs::read(&kept).ok().as_ref() != Some(&built) {
            fs::write(&kept, built).with_context(|| format!("writing {}", kept.display()))?;
        }
    }
    Ok(target)
}

/// Checks the kernel programs with warnings as errors.
///
/// # Errors
/// If there are any.
pub(crate) fn check_kernel_programs(workspace: &Workspace) -> Result<()> {
    // Other flags, another folder: or each would throw the other's core away.
    let target = workspace.target.join("bpf-check");
    sh::run(
        kernel_cargo(workspace, &target, &["-Dwarnings"])?
            .arg("check")
            .args(kernel_arguments("log")),
    )
}

fn kernel_cargo(workspace: &Workspace, target: &Path, flags: &[&str]) -> Result<Command> {
    let cache = Cache::open()?;
    let toolchain = {
        let _lock = cache.lock()?;
        bpf::ensure(&cache)?
    };
    let mut all = vec![
        "-Cdebuginfo=2".to_owned(),
        // Names and types of the programs' maps and functions.
        "-Clink-arg=--btf".to_owned(),
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        // The object is a part of the agent and says where its lines come from.
        remap(&toolchain.sysroot()?, "/rust"),
    ];
    let places = remapped(workspace, target)?;
    all.extend(places.iter().map(|(path, name)| remap(path, name)));
    all.extend(flags.iter().map(|&flag| flag.to_owned()));
    let mut cargo = toolchain.cargo()?;
    cargo
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", target)
        // A separator of its own, because one of the flags holds quotes.
        .env("CARGO_ENCODED_RUSTFLAGS", all.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        // bpf-linker links and optimises bitcode; rustc must not before it.
        .env("CARGO_PROFILE_RELEASE_LTO", "false");
    Ok(cargo)
}

fn kernel_arguments(feature: &'static str) -> [&'static str; 11] {
    [
        "-p",
        BPF_PACKAGE,
        "--bin",
        BPF_BINARY,
        "--features",
        feature,
        "--release",
        "--target",
        BPF_TARGET,
        "-Z",
        "build-std=core",
    ]
}
