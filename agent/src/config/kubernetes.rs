//! `[kubernetes]`.

use std::path::Path;

use super::settings::Kubernetes;
use super::table::Reader;

pub(super) fn kubernetes(mut table: Reader<'_>, folder: &Path) -> Kubernetes {
    let enabled = table.bool("enabled").is_some_and(|enabled| enabled.value);
    let kubeconfig = table.name("kubeconfig");
    let assume_http = table.bool("assumeHttp").is_some_and(|assume| assume.value);
    let kubernetes = Kubernetes {
        enabled,
        kubeconfig: kubeconfig.map(|file| folder.join(file.value)),
        assume_http,
        zone: table.name("zone").map(|zone| zone.value.into()),
    };
    table.finish();
    kubernetes
}
