//! A configuration that changes while the agent runs, as a process that reads a
//! capture from a pipe: each change reaches everything that it is about.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nodespan::capture::pcap::write::{Conversation, Precision, Writer};
use nodespan::units::Side;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// For what comes at once, on a machine that has much to do.
const SOON: Duration = Duration::from_secs(60);

/// `nodespan replay` of a connection that goes on.
struct Replay {
    child: Child,
    folder: TempDir,
    packets: Writer<ChildStdin>,
    connection: Conversation,
    clock: u64,
    out: Receiver<String>,
    said: Receiver<String>,
}

impl Replay {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nodespan.toml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nodespan"))
            .args(["-v", "replay", "/dev/stdin", "--config"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = lines(child.stdout.take().unwrap());
        let said = lines(child.stderr.take().unwrap());
        let mut packets = Writer::new(child.stdin.take().unwrap(), Precision::Nanos).unwrap();
        let at = |host, port| SocketAddr::from((Ipv4Addr::new(10, 1, 0, host), port));
        let mut connection = Conversation::new(at(2, 40_000), at(1, 80), 1000, 2000);
        let mut clock = 1_704_067_200_000_000_000;
        connection.open(&mut packets, &mut clock).unwrap();
        Self {
            child,
            folder,
            packets,
            connection,
            clock,
            out,
            said,
        }
    }

    /// Writes the configuration and waits until the agent has said this of it.
    fn configure(&self, config: &str, until: &str) {
        let file = self.file("nodespan.toml");
        fs::write(self.file("new"), config).unwrap();
        fs::rename(self.file("new"), file).unwrap();
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::HUP).unwrap();
        while !self.said.recv_timeout(SOON).unwrap().contains(until) {}
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A request and its answer on the one connection.
    fn ask(&mut self) {
        let request = "GET /a?token=secret HTTP/1.1\r\nHost: a-rather-long-name.example\r\n\
             b3: 000000000000000a-000000000000000b-1\r\n\
             traceparent: 00-0000000000000000000000000000000c-000000000000000d-01\r\n\
             uber-trace-id: e:f:0:1\r\nmy-trace: 10:11:0:1\r\n\r\n";
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for (side, text) in [(Side::Client, request), (Side::Server, answer)] {
            let (packets, clock) = (&mut self.packets, &mut self.clock);
            let sent = self.connection.send(side, text.as_bytes(), packets, clock);
            sent.unwrap();
        }
    }

    fn line(&mut self) -> String {
        self.ask();
        self.out.recv_timeout(SOON).unwrap()
    }

    /// Trace, service, node, name and URL of the next request's span.
    fn span(&mut self) -> [String; 5] {
        let line = self.line();
        let span: Value = serde_json::from_str(&line).unwrap();
        let field = |place| span.pointer(place).and_then(Value::as_str).unwrap();
        let all = [
            "/traceId",
            "/localEndpoint/serviceName",
            "/tags/node_id",
            "/name",
            "/tags/http.url",
        ];
        all.map(|place| field(place).to_owned())
    }

    /// Its end; what it printed after the last line that was read, and what it
    /// said.
    fn end(self) -> (Vec<String>, Vec<String>) {
        drop(self.packets);
        let mut child = self.child;
        assert!(child.wait().unwrap().success());
        (self.out.iter().collect(), self.said.iter().collect())
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1000);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    receiver
}

const IN_FORCE: &str = "is in force";

#[test]
fn names_context_and_wording_change_on_a_connection_that_goes_on() {
    let jaeger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let jaeger = jaeger.local_addr().map(|at| (jaeger, at)).unwrap().1;
    let agent = "[agent]\nnode = 'n'\n[export]\noutput = 'jsonl'\n";
    let mut replay = Replay::start(agent);
    let host = "a-rather-long-name.example";
    assert_eq!(
        replay.span(),
        [
            "000000000000000a",
            "10.1.0.1",
            "n",
            &format!("GET {host}"),
            &format!("http://{host}/a?token=***"),
        ]
    );
    let more = "[capture]\ncontextOrder = ['traceparent']\nredactQuery = false\n";
    let config = format!("{more}{}", agent.replace("'n'", "'m'\nservice = 'shop'"));
    replay.configure(&config, IN_FORCE);
    assert_eq!(
        replay.span(),
        [
            "000000000000000c",
            "shop",
            "m",
            &format!("GET {host}"),
            &format!("http://{host}/a?token=secret"),
        ]
    );
    let traefik = format!(
        "[tracing]\nserviceName = 'edge'\nspanNameLimit = 24\n[tracing.jaeger]\n\
         localAgentHostPort = '{jaeger}'\npropagation = 'jaeger'\n\
         traceContextHeaderName = 'My-Trace'\n"
    );
    replay.configure(&format!("{agent}{traefik}"), IN_FORCE);
    let [trace, service, node, name, url] = replay.span();
    assert_eq!(
        [trace, service, node, url],
        [
            "0000000000000010",
            "edge",
            "n",
            &format!("http://{host}/a?token=***")
        ]
    );
    assert!(name.len() <= 24 && name.starts_with("GET a-r"), "{name}");
    replay.configure(agent, IN_FORCE);
    let [trace, service, ..] = replay.span();
    assert_eq!([trace, service], ["000000000000000a", "10.1.0.1"]);
    assert_eq!(replay.end().0, [""; 0]);
}

#[test]
fn what_is_printed_changes() {
    let jaeger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let jaeger = jaeger.local_addr().map(|at| (jaeger, at)).unwrap().1;
    let backend = format!("[tracing.jaeger]\nlocalAgentHostPort = '{jaeger}'\n");
    let printing = |output| format!("[export]\noutput = '{output}'\n");
    let mut replay = Replay::start(&printing("jsonl"));
    assert!(replay.line().starts_with('{'));
    replay.configure("", IN_FORCE); // The console, because there is no backend.
    assert!(replay.line().contains(" 200 "));
    replay.configure(
        &format!("{backend}[capture]\nredactQuery = false"),
        IN_FORCE,
    );
    replay.ask();
    replay.configure(&printing("none"), IN_FORCE);
    replay.ask();
    replay.configure(
        &(printing("console") + "[capture]\nredactQuery = false"),
        IN_FORCE,
    );
    assert!(replay.line().contains("token=secret"));
    replay.configure(&printing("console"), IN_FORCE);
    assert!(replay.line().contains("token=***"));
    replay.configure(&format!("{backend}{}", printing("jsonl")), IN_FORCE);
    assert!(replay.line().starts_with('{'));
    assert_eq!(replay.end().0, [""; 0]);
}

#[test]
fn the_admin_port_alone_stays_where_it_is_and_what_is_wrong_changes_nothing() {
    let mut replay = Replay::start("[agent]\nservice = 'shop'\n[export]\noutput = 'jsonl'\n");
    // It has begun when it prints.
    assert_eq!(replay.span()[1], "shop");
    let config =
        "[agent]\nservice = 'other'\n[export]\noutput = 'jsonl'\n[admin]\nlisten = 'off'\n";
    replay.configure(
        config,
        "[admin] has changed, which has no effect before the next start",
    );
    assert_eq!(replay.span()[1], "other");
    replay.configure(
        "[agent]\nservise = 'third'\n",
        "the configuration stays as it was",
    );
    assert_eq!(replay.span()[1], "other");
    let (_, said) = replay.end();
    let said = said.join("\n");
    assert!(said.contains("service"), "{said}");
}
