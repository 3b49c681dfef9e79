//! A Kubernetes API that `cargo xtask` runs (`xtask/src/servers/kubernetes.rs`).

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::children::{output, run};

/// For one call of kubectl, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(60);

/// The API, as its administrator sees it.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    control: SocketAddr,
    proxy: SocketAddr,
    audit: PathBuf,
}

impl Cluster {
    /// From what `NODESPAN_KUBERNETES` says:
    /// `kubectl=FILE kubeconfig=FILE control=HOST:PORT proxy=HOST:PORT audit=FILE`.
    ///
    /// # Errors
    /// If something of it is missing.
    pub fn new(places: &str) -> Result<Self> {
        let place = |name: &str| {
            let of = |word: &'_ str| {
                let value = word.strip_prefix(name)?.strip_prefix('=')?;
                Some(value.to_owned())
            };
            let found = places.split_whitespace().find_map(of);
            found.with_context(|| format!("NODESPAN_KUBERNETES has no {name}: {places:?}"))
        };
        Ok(Self {
            kubectl: place("kubectl")?.into(),
            kubeconfig: place("kubeconfig")?.into(),
            control: place("control")?.parse().context("control")?,
            proxy: place("proxy")?.parse().context("proxy")?,
            audit: place("audit")?.into(),
        })
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where the administrator's calls need no TLS.
    #[must_use]
    pub const fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// kubectl as the administrator.
    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> Command {
        self.kubectl_as(&self.kubeconfig, words)
    }

    /// kubectl as somebody else.
    #[must_use]
    pub fn kubectl_as(&self, kubeconfig: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(kubeconfig).args(words);
        // What it learns of this server is of no use for the next one.
        let cache = self.kubeconfig.with_extension("cache");
        command.arg("--cache-dir").arg(cache);
        command
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        run(&mut self.kubectl(words), LIMIT)
    }

    /// What `kubectl get` shows, as JSON.
    ///
    /// # Errors
    /// If it fails.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let words = [&["get", "-o", "json"], words].concat();
        Ok(serde_json::from_str(&self.run(&words)?)?)
    }

    /// `kubectl apply` of a text, which is kept as `NAME.yaml` in `out`.
    ///
    /// # Errors
    /// If it cannot be run; how it ended is the caller's to judge.
    pub fn try_apply(&self, out: &Path, name: &str, text: &str, more: &[&str]) -> Result<Output> {
        let file = out.join(format!("{name}.yaml"));
        fs::write(&file, text)?;
        let mut command = self.kubectl(&["apply", "--validate=strict"]);
        output(command.args(more).arg("-f").arg(file), LIMIT)
    }

    /// [`Self::try_apply`] that must succeed without a warning; what it printed.
    ///
    /// # Errors
    /// If it does not.
    pub fn apply(&self, out: &Path, name: &str, text: &str, more: &[&str]) -> Result<String> {
        let done = self.try_apply(out, name, text, more)?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{name}: {}", said.trim());
        ensure!(said.is_empty(), "{name}: kubectl warns: {}", said.trim());
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Makes a namespace in which pods can be made: with the service account
    /// that a controller would add. One that is there stays.
    ///
    /// # Errors
    /// If the API refuses.
    pub fn namespace(&self, out: &Path, name: &str) -> Result<()> {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n\
             apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: default, namespace: {name}}}\n"
        );
        let file = format!("namespace-{name}");
        self.apply(out, &file, &text, &[]).map(drop)
    }

    /// A kubeconfig with a token of a service account, as its pods have it.
    ///
    /// # Errors
    /// If the API gives no token.
    pub fn account(&self, out: &Path, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.run(&["create", "token", name, "-n", namespace])?;
        let text = fs::read_to_string(&self.kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text).context("the kubeconfig")?;
        let user = json!({"name": "admin", "user": {"token": token.trim()}});
        config["users"] = json!([user]);
        let path = out.join(format!("{namespace}-{name}.kubeconfig"));
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// Who asked the API what: the audit events of service accounts.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.audit)?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events = whole.lines().map(serde_json::from_str);
        Ok(events.collect::<Result<_, _>>()?)
    }

    /// Kills the API server.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&self) -> Result<()> {
        self.control("stop")
    }

    /// Starts it again, with more flags than usual; it is ready then.
    ///
    /// # Errors
    /// If it runs already, or does not start.
    pub fn start(&self, flags: &[&str]) -> Result<()> {
        self.control(&[&["start"], flags].concat().join(" "))
    }

    fn control(&self, line: &str) -> Result<()> {
        let mut control = TcpStream::connect(self.control).context("the control port")?;
        control.set_read_timeout(Some(Duration::from_secs(90)))?;
        control.write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(control).read_line(&mut answer)?;
        match answer.trim_end() {
            "ok" => Ok(()),
            other => bail!("{line}: {other}"),
        }
    }
}
