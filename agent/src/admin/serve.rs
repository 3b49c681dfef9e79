//! Four paths over HTTP/1.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use super::{View, connections, metrics};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

pub(super) async fn serve(listener: TcpListener, view: Arc<View>) {
    let answer = move |request| ready(answer(&request, &view));
    connections::accept(listener, "admin port", answer).await;
}

fn answer<B>(request: &Request<B>, view: &View) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => reply(StatusCode::OK, metrics::CONTENT_TYPE, metrics::render(view)),
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if view.ready() => reply(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
        "/status" => match serde_json::to_vec_pretty(&view.status()) {
            Ok(json) => reply(StatusCode::OK, JSON, json),
            Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        _ => reply(
            StatusCode::NOT_FOUND,
            TEXT,
            "/metrics /healthz /readyz /status\n",
        ),
    }
}

fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::connections::MAX_CONNECTIONS;
    use crate::admin::{Admin, Listen};
    use crate::ledger::Ledger;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn start() -> (SocketAddr, Arc<View>) {
        let listen = Listen::At("127.0.0.1:0".parse().unwrap());
        let admin = Admin::open(listen).await.unwrap().unwrap();
        let (address, view) = (admin.address(), View::new(Ledger::new()));
        tokio::spawn(admin.serve(Arc::clone(&view)));
        (address, view)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn every_path_has_its_answer() {
        let (address, view) = start().await;
        let status = |answer: String| answer.lines().next().unwrap().to_owned();
        assert!(ask(address, "GET /healthz").await.ends_with("\r\n\r\nok\n"));
        assert!(status(ask(address, "GET /readyz").await).contains("503"));
        view.set_ready(true);
        assert!(status(ask(address, "GET /readyz").await).contains("200"));
        let metrics = ask(address, "GET /metrics?x=1").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
        assert!(metrics.contains("\nnodespan_exchanges_observed_total 0\n"));
        let json = ask(address, "GET /status").await;
        assert!(json.contains("application/json") && json.contains("\"ready\": true"));
        assert!(status(ask(address, "GET /nothing").await).contains("404"));
        assert!(ask(address, "HEAD /healthz").await.ends_with("\r\n\r\n"));
        let refused = ask(address, "DELETE /status").await;
        assert!(refused.contains("405") && refused.contains("allow: GET, HEAD"));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_do_not_shut_others_out() {
        let (address, _) = start().await;
        let mut silent = Vec::new();
        for _ in 0..3 * MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, "GET /healthz").await.contains("200"));
    }
}
