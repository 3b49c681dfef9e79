//! `nodespan apply`, `get` and `delete` against the API of an agent, as
//! processes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};

use nodespan::admin::api::{Api, Server, Token};
use nodespan::admin::store::Store;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef";

const UNIVERSAL: &str = "\
type: TrafficTrace
name: all
mesh: default
selectors: [{match: {kuma.io/service: '*'}}]
conf: {backend: zipkin}
---
type: Mesh
name: default
mtls: {enabledBackend: ca-1}
tracing:
  backends:
  - {name: zipkin, type: zipkin, sampling: 30.5, conf: {url: 'http://z:9411/api/v2/spans'}}
";

const KUBERNETES: &str = "\
apiVersion: kuma.io/v1alpha1
kind: TrafficTrace
mesh: default
metadata: {name: eu}
spec:
  selectors: [{match: {region: eu}}]
  conf: {backend: zipkin}
";

/// An agent's API, without an agent.
struct Agent {
    address: SocketAddr,
    folder: TempDir,
}

impl Agent {
    fn start(token: Option<Token>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state")).unwrap();
        let api = Arc::new(Api {
            store: Arc::new(store),
            token,
            hostname: "test".to_owned(),
            read_only: None,
        });
        let (address, has_started) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = Server::open("127.0.0.1:0".parse().unwrap(), api);
                let server = server.await.unwrap();
                address.send(server.address()).unwrap();
                server.serve().await;
            });
        });
        Self {
            address: has_started.recv().unwrap(),
            folder,
        }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let agent = self.address.to_string();
        run(&[args, &["--agent", &agent]].concat(), input)
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(args: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nodespan"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// It went well, and this is what it printed.
    #[track_caller]
    fn printed(&self, wanted: &str) {
        assert_eq!((self.code, &*self.out), (0, wanted), "{}", self.err);
    }

    /// It did not, and this is among what it said.
    #[track_caller]
    fn failed(&self, code: i32, wanted: &str) {
        assert!(self.code == code && self.err.contains(wanted), "{self:?}");
    }
}

#[test]
fn apply_get_and_delete() {
    let agent = Agent::start(None);
    let universal = agent.file("u.yaml", UNIVERSAL);
    let created = "\
resource type=\"Mesh\" mesh=\"\" name=\"default\" Created
resource type=\"TrafficTrace\" mesh=\"default\" name=\"all\" Created
";
    agent.run(&["apply", "-f", &universal]).printed(created);
    let again = agent.run(&["apply", "-f", &universal]);
    again.printed(&created.replace("Created", "Updated"));
    let eu = "resource type=\"TrafficTrace\" mesh=\"default\" name=\"eu\" Created\n";
    agent
        .run_with(&["apply", "-f", "-"], KUBERNETES)
        .printed(eu);

    let all = agent.run(&["get", "traffic-traces"]);
    let ages = |text: &str| {
        text.lines()
            .map(|line| line.rsplit_once(' ').unwrap().0.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ages(&all.out),
        ["MESH      NAME", "default   all", "default   eu"]
    );
    let meshes = agent.run(&["get", "meshes"]);
    assert_eq!(
        ages(&meshes.out),
        ["NAME      TRACING", "default   zipkin/zipkin"]
    );
    assert_eq!(
        ages(&agent.run(&["get", "mesh", "default"]).out),
        ages(&meshes.out)
    );

    // What is shown can be applied again, as YAML and as JSON, one and all.
    for what in [
        &["mesh", "default"][..],
        &["meshes"],
        &["traffic-traces"],
        &["traffic-trace", "eu"],
    ] {
        for format in ["yaml", "json"] {
            let shown = agent.run(&[&["get"], what, &["-o", format]].concat());
            assert_eq!(shown.code, 0, "{shown:?}");
            let applied = agent.run_with(&["apply", "-f", "-"], &shown.out);
            assert!(
                applied.out.contains("Updated"),
                "{applied:?}\n{}",
                shown.out
            );
        }
    }
    let mesh = agent.run(&["get", "mesh", "default", "-o", "yaml"]).out;
    assert!(
        mesh.contains("enabledBackend: ca-1\n") && mesh.contains("sampling: 30.5\n"),
        "{mesh}"
    );

    agent
        .run(&["delete", "traffic-trace", "eu"])
        .printed("deleted TrafficTrace \"eu\"\n");
    let gone = "there is no TrafficTrace with name \"eu\"";
    agent
        .run(&["delete", "traffic-trace", "eu"])
        .failed(1, gone);
    agent.run(&["get", "traffic-trace", "eu"]).failed(1, gone);
    agent
        .run(&["get", "traffic-trace", "all", "-m", "other"])
        .failed(1, "there is no TrafficTrace");
    agent
        .run(&["delete", "mesh", "default"])
        .printed("deleted Mesh \"default\"\n");
    assert_eq!(agent.run(&["get", "meshes"]).out, "NAME   TRACING   AGE\n");
}

#[test]
fn folders_and_variables() {
    let agent = Agent::start(None);
    agent.file(
        "all/a-policy.yaml",
        &UNIVERSAL.replace("name: all", "name: '{{ name }}'"),
    );
    agent.file("all/b.json", r#"{"type": "Mesh", "name": "other"}"#);
    agent.file("all/ignored.txt", "no resource");
    let folder = agent.path("all").display().to_string();
    let ran = agent.run(&["apply", "-f", &folder, "--var", "name=mine"]);
    ran.printed(
        "\
resource type=\"Mesh\" mesh=\"\" name=\"default\" Created
resource type=\"Mesh\" mesh=\"\" name=\"other\" Created
resource type=\"TrafficTrace\" mesh=\"default\" name=\"mine\" Created
",
    );
    agent
        .run(&["apply", "-f", &folder, "--var", "nmae=x"])
        .failed(1, "line 2: no value for {{name}}");
    agent
        .run(&["apply", "-f", &folder, "--var", "=x"])
        .failed(2, "write NAME=VALUE");
}

#[test]
fn a_dry_run_prints_what_would_be_applied_and_asks_nobody() {
    let agent = Agent::start(None);
    let file = agent.file("k.yaml", KUBERNETES);
    let ran = run(
        &["apply", "-f", &file, "--dry-run", "--agent", "127.0.0.1:1"],
        "",
    );
    ran.printed(
        "\
conf:
  backend: zipkin
mesh: default
name: eu
selectors:
- match:
    region: eu
type: TrafficTrace
",
    );
}

#[test]
fn wrong_files_are_shown_at_their_place_and_nothing_is_applied() {
    let agent = Agent::start(None);
    let wrong = UNIVERSAL.replace("sampling: 30.5", "sampling: 130.5");
    let wrong = agent.file("wrong.yaml", &wrong);
    let good = agent.file("good.yaml", "{type: Mesh, name: good}");
    let ran = agent.run(&["apply", "-f", &good, "-f", &wrong]);
    ran.failed(1, "wrong.yaml:12:");
    ran.failed(1, "has to be in [0.0 - 100.0] range");
    assert_eq!(agent.run(&["get", "meshes"]).out, "NAME   TRACING   AGE\n");

    agent.run_with(&["apply", "-f", "-"], KUBERNETES).failed(
        1,
        "resource type=\"TrafficTrace\" mesh=\"default\" name=\"eu\": failed server side: 400 Bad Request: Failed to create a resource (Mesh is not found); mesh: mesh of name default is not found",
    );
    let unknown = "type: Mesh\nname: default\nbogus: 1\n---\ntype: Retry\nname: r\nmesh: default\n";
    let ran = agent.run_with(&["apply", "-f", "-"], unknown);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.err.contains("type=\"Retry\" name=\"r\" is skipped"),
        "{}",
        ran.err
    );
    agent
        .run_with(&["apply", "-f", "-"], "")
        .failed(1, "no resource in -");
    agent
        .run(&["apply", "-f", "/nothing.yaml"])
        .failed(1, "cannot read /nothing.yaml");
    run(&["get", "meshes", "--agent", "127.0.0.1:1"], "")
        .failed(1, "no agent answers at 127.0.0.1:1");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let agent = Agent::start(None);
    agent.run(&["apply"]).failed(2, "--file");
    agent.run(&["get"]).failed(2, "TYPE");
    agent.run(&["get", "mesh"]).failed(2, "nodespan get meshes");
    agent
        .run(&["get", "meshes", "default"])
        .failed(2, "nodespan get mesh NAME");
    agent.run(&["get", "retries"]).failed(2, "invalid value");
    agent
        .run(&["delete", "meshes", "default"])
        .failed(2, "invalid value");
}

#[test]
fn a_token_is_shown_to_the_agent() {
    let agent = Agent::start(Some(Token::new(TOKEN.as_bytes()).unwrap()));
    let right = agent.file("right", &format!("{TOKEN}\n"));
    let wrong = agent.file("wrong", "fedcba9876543210");
    let short = agent.file("short", "secret");
    assert_eq!(
        agent.run(&["get", "meshes", "--token-file", &right]).code,
        0
    );
    agent.run(&["get", "meshes"]).failed(1, "401");
    agent
        .run(&["get", "meshes", "--token-file", &wrong])
        .failed(1, "401");
    agent
        .run(&["get", "meshes", "--token-file", &short])
        .failed(1, "fewer than 16");
    agent
        .run(&["get", "meshes", "--token-file", "/nothing"])
        .failed(1, "/nothing");
}
