//! Remote endpoints, remembered: a connection's requests share theirs, and so
//! do most connections of a keep-alive client.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::super::number::{IpText, push_u64};
use super::super::text::MAX_NAME;
use super::ip_key;
use super::json::Value;
use crate::units::Endpoint;

/// Places; an endpoint has exactly one, where it replaces the one before.
const PLACES: usize = 64;

/// Endpoints written lately.
#[derive(Debug)]
pub(super) struct Peers(Box<[Peer; PLACES]>);

/// An endpoint as text.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    endpoint: Option<Endpoint>,
    /// Its service, as far as a cluster says.
    name: Option<Arc<str>>,
    ip: IpText,
    remote: Vec<u8>,
}

impl Default for Peers {
    fn default() -> Self {
        let empty = Peer {
            endpoint: None,
            name: None,
            ip: IpText::new(IpAddr::from([0; 4])),
            remote: Vec::new(),
        };
        Self(Box::new(std::array::from_fn(|_| empty.clone())))
    }
}

impl Peers {
    #[inline]
    pub(super) fn of(&mut self, endpoint: Endpoint, name: Option<&Arc<str>>) -> &Peer {
        let key = match endpoint.ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()) << 16,
            IpAddr::V6(ip) => FxBuildHasher.hash_one(ip) << 16,
        } | u64::from(endpoint.port);
        let place = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % PLACES;
        let peer = &mut self.0[place];
        if peer.endpoint != Some(endpoint) || peer.name.as_ref() != name {
            peer.replace(endpoint, name);
        }
        peer
    }
}

impl Peer {
    fn replace(&mut self, endpoint: Endpoint, name: Option<&Arc<str>>) {
        self.endpoint = Some(endpoint);
        self.name = name.cloned();
        self.ip = IpText::new(endpoint.ip);
        let out = &mut self.remote;
        out.clear();
        out.extend_from_slice(b",\"remoteEndpoint\":{");
        if let Some(name) = name {
            out.extend_from_slice(b"\"serviceName\":\"");
            let mut value = Value::new(out, MAX_NAME);
            value.put(name.as_bytes());
            value.end();
            out.extend_from_slice(b"\",");
        }
        out.extend_from_slice(ip_key(endpoint.ip));
        self.ip.push(out);
        if endpoint.port == 0 {
            out.extend_from_slice(b"\"}");
        } else {
            out.extend_from_slice(b"\",\"port\":");
            push_u64(out, u64::from(endpoint.port));
            out.push(b'}');
        }
    }

    /// Appends `,"remoteEndpoint":{…}`.
    #[inline]
    pub(super) fn push_remote(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.remote);
    }

    /// Appends the address.
    #[inline]
    pub(super) fn push_ip(&self, out: &mut Vec<u8>) {
        self.ip.push(out);
    }
}
