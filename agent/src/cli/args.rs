//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nodespan_deploy::kubernetes::{self, Image, Namespace};

use crate::capture::live;
use crate::capture::pcap::Observe;
use crate::config;
use crate::policy::{Kind, Tags};

/// Traces HTTP on a Linux node without sidecars.
#[derive(Debug, Parser)]
#[command(name = "nodespan", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr: -v debug, -vv trace. `RUST_LOG` says it in detail.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trace this node until it is told to stop.
    Run(RunArgs),
    /// Do the same with a packet capture; needs no root.
    Replay(ReplayArgs),
    /// Validate a configuration and Kuma resources.
    Check(CheckArgs),
    /// Say why a workload is or is not traced.
    Explain(ExplainArgs),
    /// Say what this kernel offers and what would become of it.
    Probe(ProbeArgs),
    /// Show what the running agent does.
    Status(StatusArgs),
    /// Create or change resources of the running agent (`[admin] api`).
    Apply(ApplyArgs),
    /// Show resources of the running agent.
    Get(GetArgs),
    /// Delete a resource of the running agent.
    Delete(DeleteArgs),
    /// Print manifests for `kubectl apply -f -`.
    #[command(subcommand)]
    Install(Install),
}

/// Arguments of `nodespan run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What `run` and `replay` have in common.
    #[command(flatten)]
    pub common: Common,
    /// Ask the Kubernetes API who pods are and what is traced (`[kubernetes]`).
    #[arg(long)]
    pub kubernetes: bool,
    /// Trace only exchanges of this server port; may be repeated.
    #[arg(long = "port", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Vec<u16>,
    /// Trace only this systemd unit (`nginx` or `nginx.service`, with `*`);
    /// may be repeated.
    #[arg(long = "unit", value_name = "NAME")]
    pub units: Vec<String>,
    /// Trace only this container (name, or 12 digits of its id, with `*`); may
    /// be repeated.
    #[arg(long = "container", value_name = "NAME")]
    pub containers: Vec<String>,
    /// How the probes are loaded.
    #[command(flatten)]
    pub probes: ProbeOptions,
}

/// Arguments of `nodespan replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The capture, pcap or pcapng.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose view of each connection.
    #[arg(long, value_enum, default_value_t = End::Server)]
    pub observe: End,
    /// What `run` and `replay` have in common.
    #[command(flatten)]
    pub common: Common,
}

/// What `run` and `replay` have in common.
#[derive(Debug, Args)]
pub struct Common {
    /// `nodespan.toml`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file or folder of resources (`Mesh`, `TrafficTrace`, `Dataplane`);
    /// may be repeated.
    #[arg(long, value_name = "PATH")]
    pub resources: Vec<PathBuf>,
    /// Service of every span; otherwise each workload has its own name.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// What to print of each span.
    #[arg(long, value_enum)]
    pub output: Option<Print>,
}

/// Arguments of `nodespan check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// `nodespan.toml`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file or folder of Kuma resources; may be repeated.
    #[arg(long = "resources", value_name = "PATH")]
    pub resources: Vec<PathBuf>,
    /// Warnings are errors.
    #[arg(long)]
    pub strict: bool,
}

/// Arguments of `nodespan explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file or folder of Kuma resources; may be repeated.
    #[arg(
        long = "resources",
        value_name = "PATH",
        required_unless_present = "agent"
    )]
    pub resources: Vec<PathBuf>,
    /// Ask the running agent, at its default address if none is given, about a
    /// workload that it has seen.
    #[arg(long, value_name = "HOST:PORT", num_args = 0..=1,
          default_missing_value = "127.0.0.1:9903",
          requires = "workload", conflicts_with_all = ["resources", "mesh", "tags"])]
    pub agent: Option<String>,
    /// The service of that workload.
    #[arg(long, value_name = "NAME", requires = "agent")]
    pub workload: Option<String>,
    /// The workload's mesh.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub mesh: String,
    /// Tags of an inbound of the workload; once for each inbound.
    #[arg(long = "tags", value_name = "K=V,K=V", required_unless_present = "agent",
          value_parser = super::explain::parse_tags)]
    pub tags: Vec<Tags>,
    /// How to show it; `json` is the decision alone.
    #[arg(long, value_enum, default_value_t = Show::Text)]
    pub output: Show,
}

/// Arguments of `nodespan probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// How the probes are loaded.
    #[command(flatten)]
    pub probes: ProbeOptions,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Show::Text)]
    pub output: Show,
}

/// How the probes are loaded.
#[derive(Clone, Copy, Debug, Args)]
pub struct ProbeOptions {
    /// Kernel programs log what they do (the slower of the two objects).
    #[arg(long)]
    pub kernel_log: bool,
    /// Use kprobes even where fentry works.
    #[arg(long)]
    pub force_kprobes: bool,
    /// Room for what the programs report, until it is read; a power of two
    /// (`lost{ring_full}` counts what found none).
    #[arg(long, value_name = "BYTES", default_value_t = live::Options::default().ring_bytes,
          value_parser = clap::value_parser!(u32).range(4096..=1 << 30))]
    pub ring_bytes: u32,
    /// Sockets that are tracked at once (`missed{map_full}` counts the calls on
    /// those beyond).
    #[arg(long, value_name = "N", default_value_t = live::Options::default().sockets,
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub sockets: u32,
}

/// Arguments of `nodespan status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the agent listens.
    #[arg(long, value_name = "HOST:PORT", default_value_t = crate::admin::DEFAULT_ADDRESS.to_string())]
    pub agent: String,
    /// How to show it.
    #[arg(long, value_enum, default_value_t = Show::Text)]
    pub output: Show,
}

/// Where the resources are.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Where the agent answers: its `[admin] api`.
    #[arg(long, value_name = "HOST:PORT", default_value_t = crate::admin::api::DEFAULT_ADDRESS.to_string())]
    pub agent: String,
    /// A file with its token: its `[admin] apiTokenFile`.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `nodespan apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// YAML or JSON of either form, a folder of such files, or - for standard
    /// input; may be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// Put VALUE where {{ NAME }} stands; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Only validate and print; asks no agent.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the resources are.
    #[command(flatten)]
    pub agent: AgentArgs,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Arguments of `nodespan get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to show.
    #[arg(value_enum, value_name = "TYPE")]
    pub collection: Collection,
    /// Which one.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The mesh that it is of.
    #[arg(short, long, default_value = "default")]
    pub mesh: String,
    /// How to show it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Where the resources are.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// Arguments of `nodespan delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// What it is.
    #[arg(value_enum, value_name = "TYPE")]
    pub kind: Type,
    /// Its name.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The mesh that it is of.
    #[arg(short, long, default_value = "default")]
    pub mesh: String,
    /// Where the resources are.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// What can be installed in a cluster.
#[derive(Debug, Subcommand)]
pub enum Install {
    /// An agent on every node: namespace, rights, configuration, `DaemonSet`.
    Agent(InstallAgentArgs),
    /// `Mesh` and `TrafficTrace` for clusters without Kuma, which has its own.
    Crds,
    /// A Jaeger to try things out with, where `kumactl install tracing` put it.
    Tracing(InstallTracingArgs),
}

/// Arguments of `nodespan install agent`.
#[derive(Debug, Args)]
pub struct InstallAgentArgs {
    /// Where the agents are put.
    #[arg(long, value_name = "NAME", default_value = kubernetes::AGENT_NAMESPACE)]
    pub namespace: Namespace,
    /// What they are made from; no registry has one, see deploy/Dockerfile.
    #[arg(long, value_name = "IMAGE", default_value = kubernetes::AGENT_IMAGE)]
    pub image: Image,
    /// Their `nodespan.toml`, in place of one that sends to the meshes' backends.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `nodespan install tracing`.
#[derive(Debug, Args)]
pub struct InstallTracingArgs {
    /// Where it is put.
    #[arg(long, value_name = "NAME", default_value = kubernetes::TRACING_NAMESPACE)]
    pub namespace: Namespace,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, as in kumactl")]
pub enum Collection {
    Meshes,
    Mesh,
    TrafficTraces,
    TrafficTrace,
    Dataplanes,
    Dataplane,
}

impl Collection {
    /// Which kind, and whether all of it.
    #[must_use]
    pub const fn means(self) -> (Kind, bool) {
        match self {
            Self::Meshes => (Kind::Mesh, true),
            Self::Mesh => (Kind::Mesh, false),
            Self::TrafficTraces => (Kind::TrafficTrace, true),
            Self::TrafficTrace => (Kind::TrafficTrace, false),
            Self::Dataplanes => (Kind::Dataplane, true),
            Self::Dataplane => (Kind::Dataplane, false),
        }
    }

    /// What is typed for all of a kind.
    #[must_use]
    pub const fn all(kind: Kind) -> &'static str {
        match kind {
            Kind::Mesh => "meshes",
            Kind::TrafficTrace => "traffic-traces",
            Kind::Dataplane => "dataplanes",
        }
    }

    /// What is typed for one of a kind.
    #[must_use]
    pub const fn one(kind: Kind) -> &'static str {
        match kind {
            Kind::Mesh => "mesh",
            Kind::TrafficTrace => "traffic-trace",
            Kind::Dataplane => "dataplane",
        }
    }
}

/// What can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, as in kumactl")]
pub enum Type {
    Mesh,
    TrafficTrace,
    Dataplane,
}

/// How resources are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line each.
    Table,
    /// Everything, for people.
    Yaml,
    /// Everything, for programs.
    Json,
}

/// Which end of a captured connection is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// The server's.
    Server,
    /// The client's.
    Client,
    /// Both.
    Both,
}

impl From<End> for Observe {
    fn from(end: End) -> Self {
        match end {
            End::Server => Self::Server,
            End::Client => Self::Client,
            End::Both => Self::Both,
        }
    }
}

/// What is printed of each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Print {
    /// A line for people.
    Console,
    /// A Zipkin v2 JSON object in a line.
    Jsonl,
    /// Nothing.
    None,
}

impl From<Print> for config::Output {
    fn from(print: Print) -> Self {
        match print {
            Print::Console => Self::Console,
            Print::Jsonl => Self::Jsonl,
            Print::None => Self::None,
        }
    }
}

/// How a report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Show {
    /// For people.
    Text,
    /// For programs.
    Json,
}
