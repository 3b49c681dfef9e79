//! The workload under observation: an nginx of one worker.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{http, place::Unit, place::wait_until};
use crate::{daemon::Daemon, sh};

/// Where it listens.
pub(super) const PORT: u16 = 8080;

/// A running nginx.
#[derive(Debug)]
pub(super) struct Nginx {
    pub(super) unit: Unit,
    /// Files under `/files/`.
    pub(super) files: PathBuf,
    _daemon: Daemon,
}

impl Nginx {
    /// Starts it, with everything it writes in memory.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(out: &Path) -> Result<Self> {
        let unit = Unit::new("nginx", out)?;
        let dir = Path::new("/run/nodespan-bench");
        let files = dir.join("root/files");
        fs::create_dir_all(&files)?;
        let configuration = dir.join("nginx.conf");
        fs::write(&configuration, configure(dir))?;
        let program = sh::which("nginx").context("nginx is missing")?;
        let arguments = [
            "-e".as_ref(),
            "stderr".as_ref(),
            "-c".as_ref(),
            configuration.as_os_str(),
        ];
        let daemon = unit.start(&program, &arguments)?;
        wait_until("nginx", || Ok(http::get(PORT, "/").is_ok()))?;
        Ok(Self {
            unit,
            files,
            _daemon: daemon,
        })
    }

    /// How many requests it has received, with this question.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn requests(&self) -> Result<u64> {
        let text = http::get(PORT, "/count")?;
        // The third line: accepted, handled, requests.
        text.lines()
            .nth(2)
            .and_then(|line| line.split_whitespace().nth(2)?.parse().ok())
            .with_context(|| format!("nginx counts: {text}"))
    }
}

fn configure(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{PORT};
        location / {{ return 200 \"hello\\n\"; }}
        location = /count {{ stub_status; }}
        location /files/ {{ root {dir}/root; dav_methods PUT; }}
    }}
}}
"
    )
}
