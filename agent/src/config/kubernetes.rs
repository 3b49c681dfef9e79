//! `[kubernetes]`.

use std::path::Path;

use super::read::not_read;
use super::settings::Kubernetes;
use super::table::{Findings, Reader};
use crate::kubernetes::MOST_OBJECTS;

/// What a file of Traefik 1.7 has in a table of this name, its provider
/// (`provider/kubernetes/kubernetes.go`, `provider/provider.go`).
const TRAEFIK: [&str; 16] = [
    "certAuthFilePath",
    "constraints",
    "debugLogGeneratedTemplate",
    "disablePassHostHeaders",
    "enablePassTLSCert",
    "endpoint",
    "filename",
    "ingressClass",
    "ingressEndpoint",
    "labelSelector",
    "namespaces",
    "templateVersion",
    "throttleDuration",
    "token",
    "trace",
    "watch",
];

pub(super) fn kubernetes(mut table: Reader<'_>, folder: &Path, findings: &Findings) -> Kubernetes {
    let enabled = table.bool("enabled").is_some_and(|enabled| enabled.value);
    let kubeconfig = table.name("kubeconfig");
    let assume_http = table.bool("assumeHttp").is_some_and(|assume| assume.value);
    // Fewer than that is a mistake: then most of any cluster would be unknown.
    let most = table.integer("maxObjects", 1_000..=10_000_000);
    let kubernetes = Kubernetes {
        enabled,
        kubeconfig: kubeconfig.map(|file| folder.join(file.value)),
        assume_http,
        zone: table.name("zone").map(|zone| zone.value.into()),
        max_objects: most
            .and_then(|most| most.try_into().ok())
            .unwrap_or(MOST_OBJECTS),
    };
    not_read(&table.leave(&TRAEFIK), findings);
    table.finish();
    kubernetes
}
