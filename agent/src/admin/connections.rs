//! Connections of HTTP/1 clients, as many as are good for the agent.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Connections served at once; more wait in the listener's backlog.
pub(super) const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to send a request's head, idle time included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Gives every request to `answer`, until it is cancelled. `port` is what the
/// listener is called in the log.
pub(super) async fn accept<A, F>(listener: TcpListener, port: &'static str, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, perhaps: it will pass, or not.
                tracing::warn!(%error, "{port}: cannot accept");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "{port}: connection failed");
            }
            drop(place);
        });
    }
}
