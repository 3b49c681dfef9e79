//! For comparison: Envoy in front of nginx, with its Zipkin tracer.

use std::{fs, net::TcpStream, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    nginx,
    place::{Unit, wait_until},
    sink,
};
use crate::daemon::Daemon;

pub(super) const PORT: u16 = 8081;

/// A running Envoy of one worker.
#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) unit: Unit,
    _daemon: Daemon,
}

impl Envoy {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(program: &Path, out: &Path) -> Result<Self> {
        let unit = Unit::new("envoy", out)?;
        let file = out.join("envoy.json");
        fs::write(&file, serde_json::to_vec_pretty(&configure())?)?;
        let mut arguments = vec!["-c".into(), file.into_os_string()];
        arguments.extend(
            [
                "--concurrency 1 --log-level error --use-dynamic-base-id",
                "--service-cluster envoy --service-node envoy",
            ]
            .iter()
            .flat_map(|text| text.split(' '))
            .map(Into::into),
        );
        let daemon = unit.start(program, &arguments)?;
        wait_until("Envoy", || {
            Ok(TcpStream::connect(("127.0.0.1", PORT)).is_ok())
        })?;
        Ok(Self {
            unit,
            _daemon: daemon,
        })
    }
}

fn configure() -> Value {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{
            "match": { "prefix": "/" }, "route": { "cluster": "nginx" },
        }] }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
        "tracing": { "provider": {
            "name": "envoy.tracers.zipkin",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "zipkin",
                "collector_endpoint": "/api/v2/spans",
                "collector_endpoint_version": "HTTP_JSON",
            },
        } },
    });
    json!({ "static_resources": {
        "listeners": [{
            "address": address(PORT),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        }],
        "clusters": [cluster("nginx", nginx::PORT), cluster("zipkin", sink::PORT)],
    } })
}

fn cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": address(port) },
        }] }] },
    })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}
