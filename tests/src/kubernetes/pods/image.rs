//! The agent as its DaemonSet runs it: its image in a container of the real
//! runtime, with what the manifest grants and nothing else.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::Cluster;
use super::super::node::container;
use super::manifest::{Mount, environment, mounts};
use super::network::is_network;
use super::place::{Class, Driver};
use super::scene::Scene;
use crate::agent::Agent;
use crate::children::{command, run};
use crate::ledger::imbalance;
use crate::raw::Client;
use crate::report::Verdict;
use crate::wait;

const DOCKERFILE: &str = include_str!("../../../../deploy/Dockerfile");
/// Where `install agent` puts everything, and what it calls it.
const INSTALLED: &str = "nodespan";
/// What `install agent` makes last.
pub(super) const DAEMON_SET: &str = "/apis/apps/v1/namespaces/nodespan/daemonsets/nodespan";
const ADMIN: u16 = 9903;
const LIMIT: Duration = Duration::from_secs(60);

/// What containerd gives a container of itself (`oci.defaultUnixCaps`).
const USUAL: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Numbers of what the manifest may add (`linux/capability.h`).
const NUMBERS: [(&str, u32); 5] = [
    ("DAC_READ_SEARCH", 2),
    ("SYS_PTRACE", 19),
    ("SYS_RESOURCE", 24),
    ("PERFMON", 38),
    ("BPF", 39),
];

/// The agent in its container.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) agent: Agent,
    /// Of the manifest.
    capabilities: Vec<String>,
    pid: u32,
    address: SocketAddr,
}

/// What it takes to start it.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) scene: &'a Scene,
    /// The image's root file system as an archive.
    pub(super) archive: &'a Path,
    /// What its container and its files are called.
    pub(super) name: &'a str,
}

impl Start<'_> {
    /// Runs it, and waits until it is ready.
    pub(super) fn run(&self) -> Result<Image> {
        let Scene {
            api,
            runtime,
            network,
            out,
            node,
            ..
        } = self.scene;
        let root = runtime.dir().join("image");
        fs::create_dir_all(&root)?;
        run(
            command(["tar", "-xf"])
                .arg(self.archive)
                .arg("-C")
                .arg(&root),
            LIMIT,
        )?;
        let set = api.get(DAEMON_SET)?;
        let pod = &set["spec"]["template"]["spec"];
        let of = &pod["containers"][0];
        let security = &of["securityContext"];
        // What is done for it below without its asking.
        for (asked, value) in [
            (&pod["hostPID"], true),
            (&security["readOnlyRootFilesystem"], true),
            (&security["privileged"], false),
            (&security["allowPrivilegeEscalation"], false),
        ] {
            ensure!(*asked == value, "the manifest is another: {pod}");
        }
        ensure!(security["capabilities"]["drop"] == json!(["ALL"]));
        ensure!(security["seccompProfile"]["type"] == "RuntimeDefault");
        let capabilities = texts(&security["capabilities"]["add"])?;

        let ip = network.ip(2);
        if !is_network(INSTALLED) {
            network.pod(INSTALLED, ip, out)?;
        }
        let id = container(self.name);
        let cgroup = Driver::Systemd
            .with(Class::Burstable)
            .path("00000000-0000-4000-8000-000000000001", &id);
        let mut words: Vec<String> = runtime.words().into();
        let plain = "run --rootfs --read-only --seccomp --with-ns pid:/proc/1/ns/pid";
        words.extend(plain.split(' ').map(str::to_owned));
        words.push(format!("--with-ns=network:/run/netns/{INSTALLED}"));
        words.push(format!("--cgroup={cgroup}"));
        words.extend(USUAL.iter().map(|name| format!("--cap-drop=CAP_{name}")));
        words.extend(
            capabilities
                .iter()
                .map(|name| format!("--cap-add=CAP_{name}")),
        );
        // A kubelet does this one unasked.
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        let account = Mount::read_only(self.account()?, account);
        let mounts = mounts(pod, |name| self.config(name))?;
        for mount in mounts.iter().chain([&account]) {
            words.push(mount.word());
        }
        let (host, port) = self.server()?;
        let service = [
            ("KUBERNETES_SERVICE_HOST".to_owned(), host),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port),
        ];
        for (name, value) in environment(of, node)?.into_iter().chain(service) {
            words.push(format!("--env={name}={value}"));
        }
        words.extend([root.display().to_string(), id.clone()]);
        let arguments = texts(&of["args"])?;
        ensure!(
            arguments.first().is_some_and(|first| first == "run"),
            "{of}"
        );
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut agent = Agent::start_by(&words, &entrypoint()?, self.name, &arguments[1..], out)?;
        let address = SocketAddr::from((ip, ADMIN));
        agent.wait_stderr("tracing")?;
        wait::until_true("the agent to be ready", LIMIT, || {
            Ok(Client::connect(address)?
                .exchange("GET", "/readyz", "")?
                .status
                == 200)
        })
        .with_context(|| agent.said())?;
        Ok(Image {
            pid: runtime.pid(&id)?,
            agent,
            capabilities,
            address,
        })
    }

    /// The files of a ConfigMap.
    fn config(&self, name: &str) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{INSTALLED}/configmaps/{name}");
        let map = self.scene.api.get(&path)?;
        let files = map["data"].as_object().context("no data")?;
        let dir = self.scene.runtime.dir().join("config");
        fs::create_dir_all(&dir)?;
        for (name, text) in files {
            fs::write(dir.join(name), text.as_str().unwrap_or_default())?;
        }
        Ok(dir)
    }

    /// What a kubelet mounts for its service account.
    fn account(&self) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{INSTALLED}/serviceaccounts/{INSTALLED}/token");
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"});
        let given = self.scene.api.create(&path, &asked)?;
        let token = given["status"]["token"].as_str().context("no token")?;
        let config = self.kubeconfig()?;
        let authority = "certificate-authority-data";
        let authority = config["clusters"][0]["cluster"][authority].as_str();
        let dir = self.scene.runtime.dir().join("account");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("namespace"), INSTALLED)?;
        fs::write(dir.join("token"), token)?;
        let encoded = dir.join("ca.base64");
        fs::write(&encoded, authority.context("no authority")?)?;
        let decoded = run(command(["base64", "-d"]).arg(&encoded), LIMIT)?;
        fs::write(dir.join("ca.crt"), decoded)?;
        Ok(dir)
    }

    fn kubeconfig(&self) -> Result<Value> {
        let text = fs::read_to_string(self.cluster.kubeconfig())?;
        serde_json::from_str(&text).context("the kubeconfig")
    }

    /// Where the API is.
    fn server(&self) -> Result<(String, String)> {
        let config = self.kubeconfig()?;
        let url = config["clusters"][0]["cluster"]["server"].as_str();
        let at = url.and_then(|url| url.strip_prefix("https://")?.split_once(':'));
        let (host, port) = at.with_context(|| format!("no server: {url:?}"))?;
        Ok((host.to_owned(), port.to_owned()))
    }
}

impl Image {
    /// What it shows at its admin port.
    pub(super) fn status(&self) -> Result<Value> {
        let mut client = Client::connect(self.address)?;
        client.keep_all();
        let answer = client.exchange("GET", "/status", "")?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Everything observed is accounted for, and nothing was lost.
    pub(super) fn balances(&self) -> Result<Verdict> {
        let mut why = String::new();
        wait::until_true("the ledger to balance", LIMIT, || {
            // Who asks is seen, too, and what was seen is noted once a second.
            std::thread::sleep(Duration::from_secs(2));
            let adds_up = imbalance(&self.status()?["ledger"]);
            why = adds_up.err().map_or_else(String::new, |e| format!("{e:#}"));
            Ok(why.is_empty())
        })
        .context(why)?;
        Ok(Verdict::Passed)
    }

    /// What it has in memory that is of no file, in KiB.
    pub(super) fn anonymous(&self) -> Result<u64> {
        let kib = self.proc("RssAnon")?;
        Ok(kib.trim_end_matches(" kB").parse()?)
    }

    /// A line of `/proc/PID/status`.
    fn proc(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(key, _)| *key == name);
        let (_, value) = line.with_context(|| format!("no {name}"))?;
        Ok(value.trim().to_owned())
    }

    /// It runs as the manifest says.
    pub(super) fn check(&self) -> Result<Verdict> {
        let within = |mask: &str| -> Result<u64> { Ok(u64::from_str_radix(mask, 16)?) };
        let number = |name: &String| NUMBERS.iter().find(|(known, _)| known == name);
        let granted = self.capabilities.iter().map(|name| {
            let (_, bit) = number(name).with_context(|| format!("{name} is new"))?;
            anyhow::Ok(1 << bit)
        });
        let granted: u64 = granted.sum::<Result<_>>()?;
        let bound = within(&self.proc("CapBnd")?)?;
        ensure!(bound == granted, "bounded by {bound:x}, not {granted:x}");
        // It gives up what it needs no more.
        let effective = within(&self.proc("CapEff")?)?;
        ensure!(
            effective & !granted == 0 && effective != granted,
            "{effective:x} of {granted:x} is left"
        );
        for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            let said = self.proc(name)?;
            ensure!(said == value, "{name} is {said}");
        }
        let link = |name: &str, of: &str| fs::read_link(format!("/proc/{of}/{name}"));
        let pid = self.pid.to_string();
        ensure!(link("ns/pid", &pid)? == link("ns/pid", "self")?, "hostPID");
        for name in ["ns/mnt", "ns/net"] {
            ensure!(link(name, &pid)? != link(name, "self")?, "{name} is ours");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let root = mounts
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root.and_then(|line| line.split(' ').nth(5));
        let options = options.context("no root")?;
        ensure!(options.split(',').any(|option| option == "ro"), "{options}");
        let degraded = &self.status()?["probes"]["degraded"];
        ensure!(
            !degraded.to_string().contains("CAP_"),
            "degraded: {degraded}"
        );
        Ok(Verdict::Passed)
    }
}

/// What the image runs.
fn entrypoint() -> Result<PathBuf> {
    let mut lines = DOCKERFILE.lines();
    let line = lines.find_map(|line| line.strip_prefix("ENTRYPOINT "));
    let words: Vec<PathBuf> = serde_json::from_str(line.context("no ENTRYPOINT")?)?;
    words.into_iter().next().context("an empty ENTRYPOINT")
}

fn texts(value: &Value) -> Result<Vec<String>> {
    let words = value.as_array().context("no array")?.iter();
    let words = words.map(|word| word.as_str().map(str::to_owned));
    words.collect::<Option<_>>().context("not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_an_entry() {
        assert_eq!(entrypoint().unwrap(), Path::new("/usr/bin/nodespan"));
    }
}
