//! The API without a kubectl for each call, which takes a second in a guest:
//! by a `kubectl proxy` on the host. The agent sees these calls; they are
//! nobody's that a policy selects.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// What a body is.
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// The API, as its administrator has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Api(pub(super) SocketAddr);

impl Api {
    /// Makes an object in the collection at `path`.
    pub(super) fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.call("POST", path, Some((JSON, object)))
    }

    /// Changes the object at `path`.
    pub(super) fn patch(&self, path: &str, change: &Value) -> Result<Value> {
        self.call("PATCH", path, Some((MERGE, change)))
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.call("GET", path, None)
    }

    /// At once: no kubelet says that a pod has ended.
    pub(super) fn delete(&self, path: &str) -> Result<()> {
        let at_once = serde_json::json!({"gracePeriodSeconds": 0});
        self.call("DELETE", path, Some((JSON, &at_once))).map(drop)
    }

    fn call(&self, method: &str, path: &str, body: Option<(&str, &Value)>) -> Result<Value> {
        let mut stream = TcpStream::connect(self.0).context("connecting to the proxy")?;
        stream.set_read_timeout(Some(LIMIT))?;
        // The old version, because its answers end with the connection.
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n");
        if let Some((kind, body)) = body {
            let text = body.to_string();
            let length = text.len();
            request += &format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}");
        } else {
            request += "\r\n";
        }
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {status}: {body}");
        serde_json::from_str(body).with_context(|| format!("{method} {path}: {body}"))
    }
}
