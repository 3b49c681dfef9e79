//! What was acknowledged survives `kill -9` at any moment.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::api::{Api, Server};
use crate::admin::store::{Store, mesh_key};
use crate::config::resources;
use crate::policy::Kind;

const KILLS: u64 = 60;
const FOLDER: &str = "NODESPAN_TEST_FOLDER";
const NAMES: u64 = 8;

/// The process that is killed: the API over a folder.
fn serve_until_killed(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let api = Api {
            store: Arc::new(Store::open(folder).unwrap()),
            token: None,
            hostname: String::new(),
            read_only: None,
        };
        let server = Server::open("127.0.0.1:0".parse().unwrap(), Arc::new(api));
        let server = server.await.unwrap();
        println!("\nlistening {}", server.address());
        // Not for ever, should nobody be left to kill it.
        let _ = tokio::time::timeout(Duration::from_secs(60), server.serve()).await;
    });
}

fn spawn(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("admin::api::tests::killed::what_was_acknowledged_survives_every_kill")
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listening ").map(str::to_owned));
    (child, address.unwrap())
}

/// What is asked of one policy: a version, or that it be gone.
type Wanted = Option<u64>;

fn policy(name: u64, version: u64) -> Value {
    // Long enough that a half of it is likely to be caught.
    let padding = "x".repeat((version % 7) as usize * 20_000);
    json!({"type": "TrafficTrace", "mesh": "default", "name": format!("t{name}"),
        "selectors": [{"match": {"a": "b"}}], "conf": {"backend": format!("v{version}")},
        "padding": padding})
}

/// One request; true if it was acknowledged, false if the connection ended.
fn ask(stream: &mut TcpStream, method: &str, path: &str, body: &str) -> Option<u16> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(status)
}

/// xorshift64: which requests and which moments does not matter, that they
/// can be repeated does.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Changes resources until the connection ends. Gives back what was
/// acknowledged and what was not.
fn change(
    address: &str,
    mut random: u64,
    begun: &mpsc::SyncSender<()>,
) -> (Vec<(u64, Wanted)>, (u64, Wanted)) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut done = Vec::new();
    loop {
        let name = next(&mut random) % NAMES;
        let version = next(&mut random) % 1_000_000;
        let path = format!("/meshes/default/traffic-traces/t{name}");
        let wanted = (!next(&mut random).is_multiple_of(4)).then_some(version);
        let status = match wanted {
            Some(version) => {
                let body = policy(name, version).to_string();
                ask(&mut stream, "PUT", &path, &body)
            }
            None => ask(&mut stream, "DELETE", &path, ""),
        };
        match status {
            Some(200 | 201 | 404) => done.push((name, wanted)),
            Some(other) => panic!("{path}: {other}"),
            None => return (done, (name, wanted)),
        }
        let _ = begun.try_send(());
    }
}

/// What the folder says, by the store and by `load`.
fn read(folder: &Path) -> BTreeMap<u64, (u64, Value)> {
    let store = Store::open(folder).unwrap();
    let loaded = resources::load(&[folder]).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(*loaded.resources, store.resources());
    assert!(store.get(&mesh_key(&"default".into())).is_some());
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".tmp"), "{name}");
    }
    let mut found = BTreeMap::new();
    for item in store.list(Kind::TrafficTrace, None) {
        let mut value = item.value.clone();
        let created = value.remove("creationTime").unwrap();
        value.remove("modificationTime").unwrap();
        let number = |text: &Value| text.as_str().unwrap()[1..].parse::<u64>().unwrap();
        let name = number(&value["name"]);
        let version = number(&value["conf"]["backend"]);
        // Whole, to the last byte.
        assert_eq!(Value::Object(value), policy(name, version));
        found.insert(name, (version, created));
    }
    found
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return serve_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    {
        let store = Store::open(path).unwrap();
        let mesh = json!({"type": "Mesh", "name": "default"});
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let mesh = mesh.as_object().unwrap().clone();
        store.put(&mesh_key(&"default".into()), mesh, now).unwrap();
    }
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let mut before: BTreeMap<u64, (u64, Value)> = BTreeMap::new();
    let (mut acknowledged, mut took_effect) = (0, 0);
    for kill in 0..KILLS {
        let (mut child, address) = spawn(path);
        let (begun, has_begun) = mpsc::sync_channel(1);
        let seed = next(&mut random);
        let client = thread::spawn(move || change(&address, seed, &begun));
        has_begun.recv().unwrap();
        thread::sleep(Duration::from_micros(next(&mut random) % 80_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let (done, (open_name, open_wanted)) = client.join().unwrap();
        acknowledged += done.len();

        let after = read(path);
        let mut wanted: BTreeMap<u64, Wanted> = before
            .iter()
            .map(|(name, (version, _))| (*name, Some(*version)))
            .collect();
        wanted.extend(done.iter().copied());
        for name in 0..NAMES {
            let found = after.get(&name).map(|(version, _)| *version);
            let acknowledged = wanted.get(&name).copied().flatten();
            // What nobody acknowledged may have happened, or not.
            let open = name == open_name && found == open_wanted;
            took_effect += u64::from(open && found != acknowledged);
            assert!(
                found == acknowledged || open,
                "kill {kill}, t{name}: {found:?}, acknowledged {acknowledged:?}"
            );
        }
        // Who was never deleted is as old as before.
        let deleted = |name: u64| {
            let open = [(open_name, open_wanted)];
            let mut all = done.iter().chain(&open);
            all.any(|(other, wanted)| *other == name && wanted.is_none())
        };
        for (name, (_, created)) in before.iter().filter(|(name, _)| !deleted(**name)) {
            assert_eq!(after[name].1, *created, "kill {kill}, t{name}");
        }
        before = after;
    }
    println!(
        "{KILLS} kills, {acknowledged} changes acknowledged, {took_effect} of those that were not took effect"
    );
    assert!(acknowledged as u64 > KILLS);
}
