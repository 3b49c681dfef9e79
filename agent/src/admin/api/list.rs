//! Pages of a list (`pkg/api-server/pagination.go`).

use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use hyper::header::HOST;
use serde_json::{Value, json};

use super::error::Problem;
use super::route::Query;
use crate::admin::store::Item;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1000;
const TITLE: &str = "Could not retrieve resources";

/// What of a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    items: Vec<Arc<Item>>,
    total: usize,
    next: Option<String>,
}

/// The page of those items whose names contain `name`.
pub(super) fn page(mut items: Vec<Arc<Item>>, query: &Query) -> Result<Page, Problem> {
    let size = size(query.get("size").unwrap_or_default())?;
    let offset = match query.get("offset") {
        None | Some("") => 0,
        Some(text) => text.parse::<usize>().map_err(|_not_a_number| {
            Problem::bad(TITLE, "Invalid offset").parameter("offset", "Invalid format")
        })?,
    };
    if let Some(part) = query.get("name") {
        items.retain(|item| item.resource.key().name.contains(part));
    }
    let total = items.len();
    let items: Vec<_> = items.into_iter().skip(offset).take(size).collect();
    let end = offset.saturating_add(size);
    let next = (end < total).then(|| query.with("offset", &end.to_string()));
    Ok(Page { items, total, next })
}

fn size(text: &str) -> Result<usize, Problem> {
    let wrong = |reason: String| Problem::bad(TITLE, "Invalid page size").parameter("size", reason);
    match text.parse::<i64>().map(usize::try_from) {
        // What sets no size in Go: absent or 0.
        _ if text.is_empty() => Ok(DEFAULT_SIZE),
        Ok(Ok(0)) => Ok(DEFAULT_SIZE),
        Ok(Ok(size)) if size <= MAX_SIZE => Ok(size),
        Ok(Ok(size)) => Err(wrong(format!(
            "invalid page size of {size}. Maximum page size is {MAX_SIZE}"
        ))),
        _ => Err(wrong("Invalid format".to_owned())),
    }
}

impl Page {
    /// The answer, with each item as `show` has it.
    pub(super) fn answer(&self, show: impl Fn(&Item) -> Value, request: &Request<Bytes>) -> Value {
        let next = self.next.as_ref().map(|query| {
            let host = request
                .headers()
                .get(HOST)
                .and_then(|host| host.to_str().ok());
            let path = request.uri().path();
            format!("http://{}{path}?{query}", host.unwrap_or("localhost"))
        });
        let items: Vec<Value> = self.items.iter().map(|item| show(item)).collect();
        json!({ "total": self.total, "items": items, "next": next })
    }
}
