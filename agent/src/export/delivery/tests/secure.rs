//! TLS, proxies, credentials and compression.

use std::fs;
use std::path::Path;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

impl Peer for TlsStream<TcpStream> {}

/// A Zipkin behind TLS, with a certificate for these names.
struct Secure {
    server: Server,
    folder: TempDir,
}

impl Secure {
    async fn start(names: &[&str]) -> Self {
        Self::until(names, 2100).await
    }

    /// With a certificate that is good until this year.
    async fn until(names: &[&str], year: i32) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert = params.self_signed(&signing_key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                // An answer behind session tickets would wait for the client's
                // delayed acknowledgement, while the clock runs on.
                stream.set_nodelay(true).unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(serve(stream, Arc::clone(&shared)));
                }
            }
        });
        let server = Server {
            address,
            seen,
            task,
        };
        Self { server, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

/// A proxy that makes tunnels to one place, and what it was asked.
async fn tunnels(to: SocketAddr, answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            shared
                .lock()
                .unwrap()
                .push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                let mut behind = TcpStream::connect(to).await.unwrap();
                stream.set_nodelay(true).unwrap();
                behind.set_nodelay(true).unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        }
    });
    (address, asked)
}

fn proxy(address: SocketAddr, credentials: Option<Credentials>) -> Option<Proxy> {
    Some(Proxy::parse(&format!("http://{address}"), credentials).unwrap())
}

fn secret(folder: &Path, content: &str) -> PathBuf {
    let path = folder.join("secret");
    fs::write(&path, content).unwrap();
    path
}

/// Waits for a failure and returns its text.
async fn failure(ledger: &BackendLedger) -> String {
    while ledger.failures.get() == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    ledger.last_error().unwrap().text
}

#[tokio::test(start_paused = true)]
async fn https_with_a_given_authority() {
    let backend = Secure::start(&["localhost", "127.0.0.1"]).await;
    let port = backend.server.address.port();
    for host in ["localhost", "127.0.0.1"] {
        let mut rig = Rig::to(&format!("https://{host}:{port}/api/v2/spans"), |delivery| {
            delivery.ca = Some(backend.ca());
        });
        rig.push(25);
        let ledger = rig.end().await;
        let error = ledger.last_error();
        assert_eq!(
            (ledger.sent.get(), ledger.failures.get()),
            (25, 0),
            "{error:?}"
        );
    }
    assert_eq!(backend.server.spans(), 50);
    assert_eq!(backend.server.seen.lock().unwrap().connections, 2);
    assert!(
        backend
            .server
            .requests()
            .iter()
            .all(|request| request.has("b3: 0"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_trusted_is_a_failure_that_says_so() {
    let backend = Secure::start(&["localhost"]).await;
    let port = backend.server.address.port();
    // Signed by nobody that the system knows; for another name.
    for (host, ca, wanted) in [
        ("localhost", None, "UnknownIssuer"),
        ("127.0.0.1", Some(backend.ca()), "not valid for name"),
    ] {
        let mut rig = Rig::to(&format!("https://{host}:{port}/"), |delivery| {
            delivery.ca = ca;
            delivery.grace = Duration::from_secs(1);
        });
        rig.push(10);
        let text = failure(&rig.ledger).await;
        assert!(text.contains("TLS") && text.contains(wanted), "{text}");
        let ledger = rig.end().await;
        assert_eq!(dropped(&ledger, Undelivered::Shutdown), 10);
        assert_eq!(ledger.repeated.get(), 0);
    }
    assert_eq!(backend.server.requests().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_has_expired_is_a_failure_that_says_so() {
    let backend = Secure::until(&["localhost"], 2020).await;
    let port = backend.server.address.port();
    let mut rig = Rig::to(&format!("https://localhost:{port}/"), |delivery| {
        delivery.ca = Some(backend.ca());
        delivery.grace = Duration::from_secs(1);
    });
    rig.push(10);
    let text = failure(&rig.ledger).await;
    assert!(text.contains("TLS") && text.contains("expired"), "{text}");
    assert_eq!(rig.end().await.dropped.total(), 10);
}

/// Who speaks no TLS, and who says nothing at all.
#[tokio::test(start_paused = true)]
async fn a_server_without_tls_is_a_failure_that_says_so() {
    for (answer, wanted) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "TLS"),
        (b"", "within 5s"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let mut streams = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer).await.unwrap();
                streams.push(stream);
            }
        });
        let mut rig = Rig::to(&format!("https://127.0.0.1:{port}/"), |delivery| {
            delivery.grace = Duration::from_secs(1);
        });
        rig.push(10);
        let text = failure(&rig.ledger).await;
        assert!(text.contains(wanted), "{text}");
        let ledger = rig.end().await;
        assert_eq!((ledger.dropped.total(), ledger.repeated.get()), (10, 0));
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotated_authority_is_used_without_a_restart() {
    let (old, new) = (
        Secure::start(&["localhost"]).await,
        Secure::start(&["localhost"]).await,
    );
    let (ca, port) = (old.ca(), new.server.address.port());
    let mut rig = Rig::to(&format!("https://localhost:{port}/"), |delivery| {
        delivery.ca = Some(ca.clone());
    });
    rig.push(10);
    failure(&rig.ledger).await;
    fs::copy(new.ca(), &ca).unwrap();
    assert_eq!(rig.end().await.sent.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn https_goes_through_a_tunnel() {
    let backend = Secure::start(&["backend.test"]).await;
    let established = "HTTP/1.1 200 Connection established\r\n\r\n";
    let (address, asked) = tunnels(backend.server.address, established).await;
    let auth = secret(backend.folder.path(), "user:hunter2\n");
    // A name that only the proxy can know.
    let mut rig = Rig::to("https://backend.test/api/v2/spans", |delivery| {
        delivery.ca = Some(backend.ca());
        delivery.proxy = proxy(address, Some(Credentials::Basic(auth)));
    });
    rig.push(25);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), backend.server.spans()), (25, 25));
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].starts_with("CONNECT backend.test:443 HTTP/1.1\r\nhost: backend.test:443\r\n")
    );
    assert!(asked[0].contains("\r\nproxy-authorization: Basic dXNlcjpodW50ZXIy\r\n"));
    assert!(asked[0].contains("\r\nb3: 0\r\n"));
    // It is the proxy's business alone.
    for request in backend.server.requests() {
        assert!(request.head.starts_with("POST /api/v2/spans HTTP/1.1\r\n"));
        assert!(!request.head.contains("authorization"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_refuses_is_a_failure_that_says_so() {
    for (answer, wanted) in [
        (
            "HTTP/1.1 407 Authenticate\r\n\r\n",
            "answered 407 to CONNECT backend.test:443",
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n", "answered no HTTP"),
    ] {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let (address, _) = tunnels(nowhere, answer).await;
        let mut rig = Rig::to("https://backend.test/", |delivery| {
            delivery.proxy = proxy(address, None);
            delivery.grace = Duration::from_secs(1);
        });
        rig.push(10);
        let text = failure(&rig.ledger).await;
        assert!(text.contains(wanted), "{text}");
        assert_eq!(rig.end().await.dropped.total(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn http_goes_to_a_proxy_in_absolute_form() {
    // The server plays the proxy.
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let auth = secret(folder.path(), "user:hunter2");
    let mut rig = Rig::to("http://backend.test:9411/api/v2/spans?a=b", |delivery| {
        delivery.proxy = proxy(server.address, Some(Credentials::Basic(auth)));
    });
    rig.push(25);
    assert_eq!(rig.end().await.sent.get(), 25);
    for request in server.requests() {
        let line = "POST http://backend.test:9411/api/v2/spans?a=b HTTP/1.1\r\n";
        assert!(request.head.starts_with(line), "{}", request.head);
        assert!(request.has("host: backend.test:9411"));
        assert!(request.has("proxy-authorization: Basic dXNlcjpodW50ZXIy"));
    }
}

#[tokio::test(start_paused = true)]
async fn backends_on_this_host_need_no_proxy() {
    let server = Server::start(&[]).await;
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.proxy = proxy(nowhere, None);
    });
    rig.push(10);
    assert_eq!(rig.end().await.sent.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_shown_as_the_file_has_them_at_the_time() {
    let server = Server::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = secret(folder.path(), "token-1\n");
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.credentials = Some(Credentials::Bearer(path.clone()));
        delivery.gzip = Gzip::On;
    });
    rig.push(10);
    while rig.ledger.sent.get() < 10 {
        sleep(Duration::from_millis(100)).await;
    }
    // For a moment there is none: nothing is sent without it.
    fs::remove_file(&path).unwrap();
    rig.push(10);
    let text = failure(&rig.ledger).await;
    assert!(text.contains("cannot read the secret"), "{text}");
    fs::write(&path, "token-2").unwrap();
    assert_eq!(rig.end().await.sent.get(), 20);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].has("authorization: Bearer token-1"));
    assert!(requests[1].has("authorization: Bearer token-2"));
}

/// A server that cannot read gzip and says so like this, or takes noise for
/// malformed spans.
async fn without_gzip(answer: fn(&Request) -> Option<&'static str>) -> (Server, Rig) {
    let server = Server::judging(answer).await;
    let rig = Rig::to("http://backend.test/", |delivery| {
        // So that the backend counts as remote.
        delivery.proxy = proxy(server.address, None);
    });
    (server, rig)
}

fn zipped(request: &Request) -> bool {
    request.has("content-encoding: gzip")
}

#[tokio::test(start_paused = true)]
async fn bodies_are_compressed_where_the_server_reads_it() {
    let (server, mut rig) = without_gzip(|_| None).await;
    rig.push(25);
    assert_eq!(rig.end().await.sent.get(), 25);
    assert!(server.requests().iter().all(zipped));
    assert_eq!(server.spans(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_gzip_gets_plain_bodies_at_once_and_for_good() {
    for answer in [
        (|request| zipped(request).then_some("415 No\r\ncontent-length: 0\r\n\r\n"))
            as fn(&Request) -> Option<&'static str>,
        |request| {
            let text = "400 Bad\r\ncontent-length: 19\r\n\r\nCannot gunzip spans";
            zipped(request).then_some(text)
        },
        |request| zipped(request).then_some("400 Bad\r\ncontent-length: 5\r\n\r\nnoise"),
    ] {
        let (server, mut rig) = without_gzip(answer).await;
        rig.push(25);
        let ledger = rig.end().await;
        assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
        assert_eq!((ledger.splits.get(), ledger.retries.get()), (0, 0));
        let zipped: Vec<bool> = server.requests().iter().map(zipped).collect();
        assert_eq!(zipped, [true, false, false, false]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_span_is_not_blamed_on_gzip_for_good() {
    let (server, mut rig) = without_gzip(|request| {
        let bad = |span: &Value| span["duration"] == 3;
        request.spans().iter().any(bad).then_some(BAD_REQUEST)
    })
    .await;
    rig.push(25);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (24, 24));
    assert!(zipped(server.requests().last().unwrap()));
}
