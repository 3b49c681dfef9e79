//! The server on a port, asked by the client of the CLI and by hand.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Agent, mesh, trace};
use crate::admin::api::client::{Client, ClientError};
use crate::admin::api::{ApiError, MAX_BODY, Server, Token};
use crate::config::resources;
use crate::policy::{Kind, ResourceKey};

fn key(kind: Kind, mesh: &str, name: &str) -> ResourceKey {
    let (mesh, name) = (mesh.into(), name.into());
    ResourceKey { kind, mesh, name }
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

async fn start(agent: Agent) -> (SocketAddr, tempfile::TempDir) {
    let Agent { api, _folder } = agent;
    let server = Server::open("127.0.0.1:0".parse().unwrap(), Arc::new(api));
    let server = server.await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve());
    (address, _folder)
}

#[tokio::test]
async fn the_client_applies_gets_lists_and_deletes() {
    let (address, _folder) = start(Agent::new()).await;
    let client = Client::new(&format!("http://{address}/"), None);
    let default = key(Kind::Mesh, "default", "default");
    let value = mesh("default");
    assert_eq!(client.get(&default).await.unwrap(), None);
    let put = client.put(&default, object(&value)).await.unwrap();
    assert_eq!(put, (true, Vec::new()));
    for n in 0..1005 {
        let name = format!("t{n}");
        let key = key(Kind::TrafficTrace, "default", &name);
        // Straight into the store: it is the pages that are tested.
        let put = client.put(&key, object(&trace(&name))).await.unwrap();
        assert!(put.0);
    }
    let mut odd = trace("t7");
    odd["selecters"] = json!([]);
    let seventh = key(Kind::TrafficTrace, "default", "t7");
    let (created, warnings) = client.put(&seventh, object(&odd)).await.unwrap();
    assert!(
        !created && warnings[0].contains("selecters"),
        "{warnings:?}"
    );
    let found = client.get(&seventh).await.unwrap().unwrap();
    assert_eq!(found["selecters"], json!([]));

    let all = client
        .list(Kind::TrafficTrace, Some("default"))
        .await
        .unwrap();
    assert_eq!(all.len(), 1005);
    assert_eq!(client.list(Kind::TrafficTrace, None).await.unwrap(), all);
    assert_eq!(client.list(Kind::Mesh, None).await.unwrap().len(), 1);

    assert!(client.delete(&seventh).await.unwrap());
    assert!(!client.delete(&seventh).await.unwrap());
    let error = client.put(&seventh, object(&json!({}))).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("400") && text.contains("name from the URL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_token_opens_and_others_do_not() {
    let mut agent = Agent::filled();
    let token = Token::new(b"0123456789abcdef").unwrap();
    agent.api.token = Some(token.clone());
    let (address, _folder) = start(agent).await;
    let ask = async |token| {
        let client = Client::new(&address.to_string(), token);
        client.list(Kind::Mesh, None).await
    };
    assert_eq!(ask(Some(token)).await.unwrap().len(), 1);
    for wrong in [None, Some(Token::new(b"fedcba9876543210").unwrap())] {
        let error = ask(wrong).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Refused { status, .. } if *status == 401),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nobody_listens_where_others_reach_without_a_token() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let open = Server::open(address.parse().unwrap(), Arc::new(Agent::new().api));
        let error = open.await.unwrap_err();
        assert!(matches!(error, ApiError::NoToken { .. }), "{error}");
        assert!(error.to_string().contains("apiTokenFile"), "{error}");
    }
    let mut agent = Agent::new();
    agent.api.token = Some(Token::new(b"0123456789abcdef").unwrap());
    let open = Server::open("0.0.0.0:0".parse().unwrap(), Arc::new(agent.api));
    open.await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_helps() {
    let (address, _folder) = start(Agent::new()).await;
    let open = Server::open(address, Arc::new(Agent::new().api));
    let error = open.await.unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("[admin] api"),
        "{error}"
    );
    let client = Client::new("127.0.0.1:1", None);
    let error = client.list(Kind::Mesh, None).await.unwrap_err().to_string();
    assert!(
        error.contains("[admin] api") && error.contains("--agent"),
        "{error}"
    );
}

/// Sends these bytes and reads until the end.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have said enough before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let (address, _folder) = start(Agent::new()).await;
    let length = MAX_BODY + 1;
    let announced = format!(
        "PUT /meshes/default HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    );
    let answer = raw(address, announced.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let head =
        "PUT /meshes/default HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut chunked = head.as_bytes().to_vec();
    for _ in 0..=MAX_BODY / 65_536 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b' '; 65_536]);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = raw(address, &chunked).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") || answer.is_empty(),
        "{answer}"
    );
    let after = raw(
        address,
        b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(after.starts_with("HTTP/1.1 200"), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (address, _folder) = start(Agent::new()).await;
    let head = b"PUT /meshes/default HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{";
    let answer = raw(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// As `nodespan run` does it: load, answer, load again when told.
/// As in a pod whose root is read-only.
#[tokio::test]
async fn where_nothing_can_be_changed_no_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    // No folder can be made below a file, whoever asks.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let settings = crate::config::Admin {
        state_folder: file.join("resources"),
        api: Some("127.0.0.1:0".parse().unwrap()),
        ..Default::default()
    };
    assert!(crate::admin::api::store(&settings, false).is_err());
    let store = crate::admin::api::store(&settings, true).unwrap().unwrap();
    assert!(store.folder().is_none());
    let shown = "{type: Mesh, name: default}".to_owned();
    store.set_cluster(&[shown]);
    let why = Some(crate::admin::api::KUBERNETES_IS_READ_ONLY);
    let started = crate::admin::api::start(&settings, Arc::clone(&store), why).await;
    let running = started.unwrap().unwrap();
    let client = Client::new(&running.address.to_string(), None);
    assert_eq!(client.list(Kind::Mesh, None).await.unwrap().len(), 1);
    let key = key(Kind::Mesh, "default", "default");
    assert!(client.put(&key, object(&mesh("default"))).await.is_err());
    // Whoever does not ask the API is told, too.
    let put = store.put(
        &key,
        object(&mesh("default")).clone(),
        time::OffsetDateTime::UNIX_EPOCH,
    );
    assert!(put.unwrap_err().to_string().contains("no folder"));
    running.task.abort();
}

#[tokio::test]
async fn what_is_applied_is_loaded_when_the_store_tells() {
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("given.yaml");
    std::fs::write(&given, "{type: Mesh, name: given}").unwrap();
    let mut settings = crate::config::Admin {
        state_folder: folder.path().join("a/b"),
        ..Default::default()
    };
    assert!(
        crate::admin::api::store(&settings, false)
            .unwrap()
            .is_none()
    );
    assert!(!settings.state_folder.exists());
    settings.api = Some("127.0.0.1:0".parse().unwrap());
    let store = crate::admin::api::store(&settings, false).unwrap().unwrap();
    let mode = std::fs::metadata(store.folder().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let load = || {
        let loaded = resources::load(&[given.as_path(), store.folder().unwrap()]).unwrap();
        store.set_files(&loaded.files);
        loaded.resources.len()
    };
    let mut changes = store.changes();
    assert_eq!(load(), 1);
    let started = crate::admin::api::start(&settings, Arc::clone(&store), None).await;
    let running = started.unwrap().unwrap();
    let client = Client::new(&running.address.to_string(), None);
    let key = key(Kind::Mesh, "default", "default");
    let put = client.put(&key, object(&mesh("default"))).await.unwrap();
    assert!(put.0);
    assert!(changes.has_changed().unwrap());
    changes.changed().await.unwrap();
    assert_eq!(load(), 2);
    assert_eq!(client.list(Kind::Mesh, None).await.unwrap().len(), 2);
    client.delete(&key).await.unwrap();
    changes.changed().await.unwrap();
    assert_eq!(load(), 1);
    running.task.abort();
}
