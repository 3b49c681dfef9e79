//! Which policy selects which workload (`pkg/api-server/inspect_endpoints.go`).

use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use serde_json::{Value, json};

use super::COULD_NOT_RETRIEVE;
use super::error::Problem;
use super::list;
use super::route::Query;
use crate::admin::store::{Item, Store};
use crate::policy::{Engine, Kind, Resource, ResourceKey};

/// The name of the policy that wins for a workload.
fn winner(engine: &Engine, item: &Item) -> Option<Arc<str>> {
    let Resource::Dataplane(dataplane) = &item.resource else {
        return None;
    };
    let decision = engine.decide(&dataplane.mesh, &dataplane.inbounds);
    decision.policy.clone()
}

/// The workloads for which a policy wins: `kumactl inspect traffic-trace`.
pub(super) fn dataplanes(
    store: &Store,
    key: &ResourceKey,
    query: &Query,
    request: &Request<Bytes>,
) -> Result<Value, Problem> {
    if store.get(key).is_none() {
        return Err(Problem::not_found(COULD_NOT_RETRIEVE));
    }
    let engine = Engine::new(Arc::new(store.resources()));
    let mut selected = store.list(Kind::Dataplane, Some(&key.mesh));
    selected.retain(|item| winner(&engine, item).is_some_and(|name| name == key.name));
    let page = list::page(selected, query)?;
    let show = |item: &Item| {
        let key = item.resource.key();
        json!({
            "kind": "SidecarDataplane",
            "dataplane": { "mesh": &*key.mesh, "name": &*key.name },
            "attachments": [{ "type": "dataplane" }],
        })
    };
    Ok(page.answer(show, request))
}

/// The policy of a workload: `kumactl inspect dataplane`.
pub(super) fn policies(store: &Store, key: &ResourceKey) -> Result<Value, Problem> {
    let Some(item) = store.get(key) else {
        return Err(Problem::not_found(COULD_NOT_RETRIEVE));
    };
    let engine = Engine::new(Arc::new(store.resources()));
    let policy = winner(&engine, &item).and_then(|name| {
        store.get(&ResourceKey {
            kind: Kind::TrafficTrace,
            mesh: Arc::clone(&key.mesh),
            name,
        })
    });
    let items: Vec<Value> = policy
        .iter()
        .map(|policy| {
            json!({
                "type": "dataplane",
                "name": "",
                "matchedPolicies": { "TrafficTrace": [policy.value] },
            })
        })
        .collect();
    Ok(json!({ "kind": "SidecarDataplane", "total": items.len(), "items": items }))
}
