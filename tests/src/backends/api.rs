//! The JSON that servers answer with.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::raw::Client;

/// A server with a JSON API.
#[derive(Clone, Debug)]
pub struct Api {
    addr: SocketAddr,
    authority: String,
}

impl Api {
    /// At `HOST:PORT`.
    ///
    /// # Errors
    /// If that is not what `authority` is.
    pub fn new(authority: &str) -> Result<Self> {
        let mut addresses = authority
            .to_socket_addrs()
            .with_context(|| authority.to_owned())?;
        let addr = addresses
            .next()
            .with_context(|| format!("no address: {authority}"))?;
        Ok(Self {
            addr,
            authority: authority.to_owned(),
        })
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is there, or nothing if it says 404.
    ///
    /// # Errors
    /// On any other status than 200, and if the answer is not JSON.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        let mut client = Client::connect(self.addr)?;
        client.keep_all();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.authority
        ))?;
        let response = client.response("GET")?;
        let body = String::from_utf8_lossy(&response.body);
        if response.status == 404 {
            return Ok(None);
        }
        ensure!(response.status == 200, "{path}: {} {body}", response.status);
        serde_json::from_str(&body)
            .map(Some)
            .with_context(|| format!("{path}: {body}"))
    }
}
