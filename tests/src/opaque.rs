//! TLS and HTTP/2 are seen but not traced: `opaque/` of the guest suite, with
//! a real nginx and curl.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::children::{command, program, run as run_program};
use crate::compare::Seen;
use crate::ledger::status;
use crate::placed::{CGROUPS, Cgroup, Placed};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::targets::{PORTS, Places};
use crate::wait;

/// nginx: TLS (with HTTP/2 for those who ask), HTTP/2 without TLS, and HTTP/1.
const TLS: u16 = PORTS + 90;
const H2C: u16 = PORTS + 91;
const PLAIN: u16 = PORTS + 92;

/// The two workloads.
const SERVER: &str = "nodespan-secret";
const CLIENT: &str = "nodespan-curl";

/// What curl is asked for: options, the URL's start, and how many requests on
/// the connection. (curl 7.88 cannot use one of prior knowledge again.)
const CALLS: [(&[&str], &str, u32); 5] = [
    (&["--http1.1"], "https", 2),
    (&["--http2"], "https", 2),
    (&["--http1.1", "--tls-max", "1.2"], "https", 2),
    (&["--http2-prior-knowledge"], "http", 1),
    (&["--http2-prior-knowledge"], "http", 1),
];
/// Of each protocol, connections at each end.
const EXPECTED: [(&str, u64); 2] = [("tls", 3), ("http2", 2)];

/// All of them, with one agent.
///
/// # Errors
/// If nginx or the agent cannot be started, or curl fails.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("opaque/") {
        return Ok(());
    }
    let place = |unit: &str| Cgroup::make(CGROUPS, &format!("system.slice/{unit}.service"));
    let configuration = nginx(&places.out)?;
    let words = [
        program(&["nginx"])?.into_os_string(),
        "-e".into(),
        places.out.join("opaque/error.log").into_os_string(),
        "-c".into(),
        configuration.into_os_string(),
    ];
    let mut server = Placed::start("opaque-nginx", place(SERVER)?, words, &places.out)?;
    let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    for port in [TLS, H2C, PLAIN] {
        server.wait_listening(addr(port))?;
    }
    let mut agent = Agent::start(nodespan, "opaque", [""; 0], &places.out)?;
    agent.wait_ready(addr(PLAIN))?;
    report.note("nginx with TLS and HTTP/2 is up");
    {
        let cgroup = place(CLIENT)?;
        for (options, scheme, requests) in CALLS {
            let port = if scheme == "https" { TLS } else { H2C };
            let base = format!("{scheme}://127.0.0.1:{port}");
            curl(&cgroup, options, &base, requests)?;
        }
        // As long as its cgroup is there, whoever asks late learns its name.
        report.check("opaque/status", || counted(nodespan));
    }
    report.check("opaque/metrics", metrics);
    report.check("opaque/text", || {
        let said = run_program(command([nodespan]).arg("status"), Duration::from_secs(30))?;
        let lines = said
            .lines()
            .skip_while(|line| !line.starts_with("seen but not traced"));
        let line = lines.skip(1).find(|line| line.contains(SERVER));
        ensure!(
            line.is_some_and(|line| line.contains("3 tls") && line.contains("2 http2")),
            "nodespan status says {line:?}"
        );
        Ok(Verdict::Passed)
    });
    let spans = agent.stop()?;
    report.check("opaque/no-spans", || {
        // Those that found the agent ready show that the workload is watched.
        ensure!(
            spans.iter().any(|span| span.service == SERVER),
            "nginx is not watched"
        );
        let ports = [u64::from(TLS), u64::from(H2C)];
        let spans = Seen::new(spans, []).strangers(|span| {
            span.service != CLIENT
                && !span.remote_port.is_some_and(|port| ports.contains(&port))
                && !span.path().contains("/opaque/")
        });
        ensure!(spans.is_empty(), "spans: {}", spans.join(", "));
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// nginx's configuration, with a certificate.
fn nginx(out: &Path) -> Result<PathBuf> {
    let dir = out.join("opaque");
    fs::create_dir_all(&dir)?;
    let mut make = command(["openssl", "req", "-x509", "-nodes", "-days", "2"]);
    make.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    make.args(["-subj", "/CN=suite.test", "-keyout"]);
    make.arg(dir.join("key.pem")).arg("-out");
    make.arg(dir.join("cert.pem"));
    run_program(&mut make, Duration::from_secs(60))?;
    let at = dir.display();
    let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/temp-{kind};\n"))
        .concat();
    let text = format!(
        "daemon off; worker_processes 1; user root; pid {at}/pid;
error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
{temps}
access_log {at}/access.log;
ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
server {{ listen 127.0.0.1:{TLS} ssl http2; location / {{ return 200 \"hello\\n\"; }} }}
server {{ listen 127.0.0.1:{H2C} http2; location / {{ return 200 \"hello\\n\"; }} }}
server {{ listen 127.0.0.1:{PLAIN}; location / {{ return 200 \"hello\\n\"; }} }}
}}
"
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, text)?;
    Ok(file)
}

/// So many requests on one connection.
fn curl(cgroup: &Cgroup, options: &[&str], base: &str, requests: u32) -> Result<()> {
    let mut start = cgroup.start();
    start.args(["curl", "-sSk", "--fail", "--max-time", "30"]);
    start.args(options);
    start.args(["-w", "%{http_version} %{num_connects}\n"]);
    let mut expected = String::new();
    let version = if options.contains(&"--http1.1") {
        "1.1"
    } else {
        "2"
    };
    for n in 0..requests {
        start.arg(format!("{base}/small/opaque/{n}"));
        expected += &format!("hello\n{version} {}\n", u32::from(n == 0));
    }
    let said = run_program(&mut start, Duration::from_secs(60))?;
    ensure!(said == expected, "curl {options:?} said {said:?}");
    Ok(())
}

/// Each connection is counted once at each end, for its workload.
fn counted(nodespan: &Path) -> Result<Verdict> {
    let mut told = Value::Null;
    let all = wait::until_true("the counts", Duration::from_secs(60), || {
        told = status(nodespan)?["ledger"]["opaque"].take();
        let enough = |workload: &str, (protocol, count): (&str, u64)| {
            told[workload][protocol].as_u64() >= Some(count)
        };
        Ok([SERVER, CLIENT]
            .iter()
            .all(|workload| EXPECTED.iter().all(|one| enough(workload, *one))))
    });
    all.with_context(|| format!("counted are {told}"))?;
    for workload in [SERVER, CLIENT] {
        for (protocol, count) in [EXPECTED[0], EXPECTED[1], ("upgraded", 0), ("other", 0)] {
            let counted = told[workload][protocol].as_u64().unwrap_or_default();
            ensure!(
                counted == count,
                "{counted} connections of {workload} speak {protocol}, not {count}"
            );
        }
    }
    Ok(Verdict::Passed)
}

/// The same in Prometheus' words.
fn metrics() -> Result<Verdict> {
    let mut client = Client::connect(nodespan::admin::DEFAULT_ADDRESS)?;
    client.keep_all();
    let answer = client.exchange("GET", "/metrics", "Connection: close\r\n")?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for (protocol, count) in EXPECTED {
        let line = format!(
            "nodespan_opaque_connections_total{{workload=\"{SERVER}\",protocol=\"{protocol}\"}} {count}"
        );
        ensure!(
            text.lines().any(|one| one == line),
            "no line {line} in the metrics"
        );
    }
    Ok(Verdict::Passed)
}
