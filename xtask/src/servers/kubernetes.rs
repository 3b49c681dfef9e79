//! A Kubernetes API on this machine's loopback: `kube-apiserver` over an `etcd`
//! of its own, with TLS, RBAC and tokens of service accounts as in a cluster.
//! There are no controllers and no nodes but those that a test makes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    FROM_GUEST, LOOPBACK,
    authority::{Authority, Certified, token_keys, write},
    fresh_log,
};
use crate::{
    cache::Cache,
    daemon::Daemon,
    scratch::ScratchDir,
    setup::kubernetes::{self, Kubernetes as Programs},
    sh,
};

/// Names under which programs in pods know the API.
const CLUSTER_NAMES: [&str; 3] = [
    "localhost",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Who asked what: so a test can compare what was used with what was granted.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts']
- level: None
";

/// A Kubernetes API; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    dir: PathBuf,
    kubectl: PathBuf,
    control: SocketAddr,
    proxy: u16,
    ends: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Kubernetes {
    /// Starts one at free ports and waits until it is ready (about 5 s). Its
    /// logs, the audit log and the administrator's kubeconfigs are in `dir`.
    ///
    /// # Errors
    /// If the set-up is missing or a program does not start.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let programs = kubernetes::find(&Cache::open()?)?;
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a control port")?;
        let control = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let (ready, started) = mpsc::sync_channel(1);
        let ports = Ports::free()?;
        let keeper = thread::spawn({
            let (dir, programs, ends) = (dir.to_owned(), programs.clone(), Arc::clone(&ends));
            // What a thread has started ends with it: so this one starts
            // everything, whenever that is.
            move || match Servers::start(&dir, &programs, ports) {
                Ok(mut servers) => {
                    let _gone = ready.send(Ok(()));
                    servers.serve(&listener, &ends);
                }
                Err(error) => {
                    let _gone = ready.send(Err(error));
                }
            }
        });
        let this = Self {
            dir: dir.to_owned(),
            kubectl: programs.kubectl,
            control,
            proxy: ports.proxy,
            ends,
            keeper: Some(keeper),
        };
        started.recv().context("the keeper of the API is gone")??;
        Ok(this)
    }

    /// Where it is for programs on this machine, as `NODESPAN_KUBERNETES` says
    /// it: `kubectl=FILE kubeconfig=FILE control=HOST:PORT proxy=HOST:PORT
    /// audit=FILE`.
    ///
    /// The kubeconfig is an administrator's. The control port takes a line and
    /// answers `ok` or `error WHY`: `stop` kills the API server, `start [FLAG]…`
    /// starts it with more flags than usual and waits until it is ready, and
    /// `restart [FLAG]…` is both. The proxy's port takes HTTP and is the
    /// administrator, too: what asks often is spared TLS, and a kubectl for each
    /// call.
    pub(crate) fn places(&self) -> String {
        self.at(LOOPBACK, "admin")
    }

    /// The same for programs in a guest with a network.
    pub(crate) fn places_from_guest(&self) -> String {
        self.at(FROM_GUEST, "admin-from-guest")
    }

    /// The administrator's kubeconfig for programs on this machine.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    fn at(&self, host: &str, kubeconfig: &str) -> String {
        let Self {
            dir,
            kubectl,
            control,
            proxy,
            ..
        } = self;
        format!(
            "kubectl={} kubeconfig={} control={host}:{} proxy={host}:{} audit={}",
            kubectl.display(),
            dir.join(format!("{kubeconfig}.kubeconfig")).display(),
            control.port(),
            proxy,
            dir.join("audit.log").display(),
        )
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.control);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// The running programs, all of which one thread has started.
#[derive(Debug)]
struct Servers {
    dir: PathBuf,
    programs: Programs,
    ports: Ports,
    api: Option<Daemon>,
    // Dropped in this order: the API before what it stands on.
    _proxy: Daemon,
    _etcd: Daemon,
    scratch: ScratchDir,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    api: u16,
    etcd: u16,
    peers: u16,
    proxy: u16,
}

impl Servers {
    fn start(dir: &Path, programs: &Programs, ports: Ports) -> Result<Self> {
        let scratch = ScratchDir::new()?;
        prepare(dir, scratch.path(), ports.api)?;
        let etcd = start_etcd(dir, scratch.path(), &programs.etcd, ports)?;
        fresh_log(dir, "kube-apiserver.log")?;
        let mut this = Self {
            dir: dir.to_owned(),
            programs: programs.clone(),
            ports,
            api: None,
            _proxy: start_proxy(dir, &programs.kubectl, ports)?,
            _etcd: etcd,
            scratch,
        };
        this.start_api(&[])?;
        Ok(this)
    }

    fn start_api(&mut self, more: &[String]) -> Result<()> {
        if self.api.is_some() {
            bail!("it runs already");
        }
        let mut arguments = api_flags(self.scratch.path(), &self.dir, self.ports);
        arguments.extend_from_slice(more);
        let log = self.dir.join("kube-apiserver.log");
        let setpriv = Command::new("setpriv");
        let mut api = Daemon::start(setpriv, &self.programs.apiserver, &arguments, &log)?;
        let kubeconfig = self.dir.join("admin.kubeconfig");
        api.wait_until(|| {
            let mut kubectl = Command::new(&self.programs.kubectl);
            kubectl
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(["get", "--raw", "/readyz"]);
            let is_ready = sh::capture(&mut kubectl).is_ok_and(|said| said == "ok");
            if !is_ready {
                thread::sleep(Duration::from_millis(100)); // kubectl costs much.
            }
            Ok(is_ready)
        })?;
        self.api = Some(api);
        Ok(())
    }

    /// Obeys the control port until it shall end.
    fn serve(&mut self, listener: &TcpListener, ends: &AtomicBool) {
        for connection in listener.incoming() {
            if ends.load(Ordering::SeqCst) {
                return;
            }
            let _gone = connection.map_err(Into::into).and_then(|c| self.answer(&c));
        }
    }

    fn answer(&mut self, mut connection: &TcpStream) -> Result<()> {
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line)?;
        let answer = match self.obey(&line) {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("error {}\n", format!("{error:#}").replace('\n', " | ")),
        };
        Ok(connection.write_all(answer.as_bytes())?)
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let verb = words.next().unwrap_or_default();
        let flags: Vec<String> = words.collect();
        match verb.as_str() {
            // Dropped, it is killed.
            "stop" => self.api.take().map(drop).context("it does not run"),
            "start" => self.start_api(&flags),
            "restart" => {
                self.api = None;
                self.start_api(&flags)
            }
            other => bail!("{other:?} is not stop, start or restart"),
        }
    }
}

impl Ports {
    fn free() -> Result<Self> {
        let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port");
        // All are held until all are found.
        let held = [tcp()?, tcp()?, tcp()?, tcp()?];
        let [api, etcd, peers, proxy] = &held;
        Ok(Self {
            api: api.local_addr()?.port(),
            etcd: etcd.local_addr()?.port(),
            peers: peers.local_addr()?.port(),
            proxy: proxy.local_addr()?.port(),
        })
    }
}

/// Writes keys and certificates to `scratch`, and kubeconfigs to `dir`.
fn prepare(dir: &Path, scratch: &Path, port: u16) -> Result<()> {
    let authority = Authority::new()?;
    let names = [&CLUSTER_NAMES[..], &[LOOPBACK, FROM_GUEST, "10.96.0.1"]].concat();
    let server = authority.server(&names)?;
    write(&scratch.join("ca.crt"), &authority.certificate())?;
    write(&scratch.join("server.crt"), &server.certificate)?;
    write(&scratch.join("server.key"), &server.key)?;
    write(&scratch.join("audit.yaml"), AUDIT_POLICY)?;
    token_keys(scratch)?;
    let admin = authority.user("admin", "system:masters")?;
    for (name, host) in [("admin", LOOPBACK), ("admin-from-guest", FROM_GUEST)] {
        let url = format!("https://{host}:{port}");
        let text = kubeconfig(&url, &authority.certificate(), &admin);
        write(&dir.join(format!("{name}.kubeconfig")), &text)?;
    }
    fresh_log(dir, "audit.log").map(drop)
}

/// A kubeconfig is YAML, and JSON is YAML.
fn kubeconfig(url: &str, authority: &str, user: &Certified) -> String {
    let base64 = |text: &str| STANDARD.encode(text);
    let cluster = json!({"server": url, "certificate-authority-data": base64(authority)});
    let user = json!({
        "client-certificate-data": base64(&user.certificate),
        "client-key-data": base64(&user.key),
    });
    let context = json!({"cluster": "tests", "user": "admin"});
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "tests", "context": context}],
        "current-context": "tests",
    });
    format!("{config:#}\n")
}

fn start_etcd(dir: &Path, scratch: &Path, program: &Path, ports: Ports) -> Result<Daemon> {
    let clients = format!("http://{LOOPBACK}:{}", ports.etcd);
    let peers = format!("http://{LOOPBACK}:{}", ports.peers);
    let arguments = [
        format!("--data-dir={}", scratch.join("etcd").display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // What a test wrote need not survive this machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let log = fresh_log(dir, "etcd.log")?;
    let mut etcd = Daemon::start(Command::new("setpriv"), program, &arguments, &log)?;
    etcd.wait_until(|| Ok(super::is_ok(ports.etcd, "/health")))?;
    Ok(etcd)
}

/// It asks the API whenever it is asked itself, and so outlives its restarts.
fn start_proxy(dir: &Path, kubectl: &Path, ports: Ports) -> Result<Daemon> {
    let arguments = [
        format!("--kubeconfig={}", dir.join("admin.kubeconfig").display()),
        "proxy".to_owned(),
        format!("--address={LOOPBACK}"),
        format!("--port={}", ports.proxy),
    ];
    let log = fresh_log(dir, "kubectl-proxy.log")?;
    let mut proxy = Daemon::start(Command::new("setpriv"), kubectl, &arguments, &log)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.proxy));
    proxy.wait_until(|| Ok(TcpStream::connect(address).is_ok()))?;
    Ok(proxy)
}

fn api_flags(scratch: &Path, dir: &Path, ports: Ports) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", scratch.join(name).display());
    let mut flags = vec![
        file("cert-dir", "certs"),
        file("client-ca-file", "ca.crt"),
        file("tls-cert-file", "server.crt"),
        file("tls-private-key-file", "server.key"),
        file("service-account-key-file", "tokens.pub"),
        file("service-account-signing-key-file", "tokens.key"),
        file("audit-policy-file", "audit.yaml"),
        format!("--audit-log-path={}", dir.join("audit.log").display()),
        format!("--etcd-servers=http://{LOOPBACK}:{}", ports.etcd),
        format!("--bind-address={LOOPBACK}"),
        format!("--secure-port={}", ports.api),
    ];
    let fixed = [
        // It may not be loopback, and nobody is told it.
        "--advertise-address=10.0.2.2",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=RBAC",
        // Watches without a time of their own end after 15 to 30 s, and what is
        // older than a few seconds cannot be watched from any more once the
        // server's own memory of it is gone (a restart).
        "--min-request-timeout=15",
        "--etcd-compaction-interval=10s",
        // It ends when it is killed; nobody waits for it to say goodbye.
        "--profiling=false",
        "--v=1",
    ];
    flags.extend(fixed.map(str::to_owned));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_names_server_authority_and_user() {
        let authority = Authority::new().unwrap();
        let admin = authority.user("admin", "system:masters").unwrap();
        let text = kubeconfig("https://127.0.0.1:1", &authority.certificate(), &admin);
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:1"
        );
        let decoded = |value: &serde_json::Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let user = &config["users"][0]["user"];
        assert_eq!(decoded(&user["client-key-data"]), admin.key);
        let authority = &config["clusters"][0]["cluster"]["certificate-authority-data"];
        assert!(decoded(authority).starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
