use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::export::delivery::{Credentials, DeliveryConfig, Gzip, Proxy, Retry, Timeouts};
use crate::export::{BatchLimits, Limits, Overflow, QueueLimits};
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::Headerless;

mod mistakes;
mod tracing;

fn read(text: &str) -> Result<Loaded, String> {
    parse("nodespan.toml", text, Path::new("")).map_err(|error| error.to_string())
}

fn settings(text: &str) -> Settings {
    let loaded = read(text).unwrap();
    assert_eq!(loaded.report.findings, [], "{}", loaded.report);
    loaded.settings
}

/// PEM of an authority made for this run.
fn certificate() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
    made.cert.pem()
}

/// Whether every finding has its line drawn, with a mark below it, and advice.
fn is_drawn(report: &str) -> bool {
    report.split("\n\n").all(|finding| {
        let mut lines = finding.lines().skip(3);
        let drawn = lines.next().is_some_and(|line| line.contains(" | "));
        let marked = lines.next().is_some_and(|line| line.trim().ends_with('^'));
        let advice = lines.next().and_then(|line| line.split_once(" = help: "));
        drawn && marked && advice.is_some_and(|(_, advice)| !advice.is_empty())
    })
}

#[test]
fn nothing_configured_traces_everything() {
    for text in ["", "[agent]\n[capture]\n[export]\n[admin]\n"] {
        let settings = settings(text);
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.output(), Output::Console);
        assert_eq!(settings.tracing, None);
        assert!(settings.capture.redact_query);
        assert_eq!(settings.export.trace_width, TraceWidth::Bits128);
        assert!(!settings.export.shared_spans);
    }
}

#[test]
fn every_key() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "0123456789abcdef\n").unwrap();
    fs::write(folder.path().join("ca.pem"), certificate()).unwrap();
    fs::write(folder.path().join("token"), "fedcba9876543210\n").unwrap();
    fs::write(folder.path().join("proxy.auth"), "user:password\n").unwrap();
    let proxy_auth = Credentials::Basic(folder.path().join("proxy.auth"));
    let path = folder.path().join("nodespan.toml");
    fs::write(
        &path,
        r#"
        [agent]
        service = "shop"
        node = "n1"
        identityKeyFile = "key"
        [capture]
        ports = [80, 0x1f90]
        include = ["web-*"]
        exclude = ["db"]
        excludePaths = ["/healthz", "/probe/*"]
        headerless = "ignore"
        contextOrder = ["traceparent", "b3"]
        redactQuery = false
        [export]
        output = "jsonl"
        zipkinEndpoint = "http://zipkin:9411/api/v2/spans"
        zipkinFormat = "proto"
        sharedSpans = true
        traceId128 = false
        batchSpans = 10
        batchBytes = 100_000
        batchDelay = "2s"
        datagramBytes = 1400
        queueSpans = 99
        queueBytes = 1_000_000
        connectTimeout = "1s"
        answerTimeout = "20s"
        giveUpAfter = "1h"
        shutdownGrace = "30s"
        overflow = "oldest"
        gzip = "on"
        caFile = "ca.pem"
        proxy = "http://proxy:3128"
        proxyAuthFile = "proxy.auth"
        bearerTokenFile = "token"
        [admin]
        listen = "[::1]:9000"
        api = "0.0.0.0:5681"
        apiTokenFile = "token"
        stateFolder = "state"
        [kubernetes]
        enabled = true
        kubeconfig = "admin.conf"
        assumeHttp = true
        zone = "east"
        maxObjects = 5000
        "#,
    )
    .unwrap();
    let Settings {
        agent,
        capture,
        tracing,
        export,
        admin,
        kubernetes,
    } = load(&path).unwrap().settings;
    assert_eq!(tracing, None);
    assert_eq!(agent.service.as_deref(), Some("shop"));
    assert_eq!(agent.node.as_deref(), Some("n1"));
    assert_eq!(
        agent.identity_key,
        IdentityKey::derive(b"0123456789abcdef").unwrap()
    );
    assert_eq!(capture.selection.ports, [80, 8080]);
    assert_eq!(capture.selection.include[0].as_str(), "web-*");
    assert_eq!(capture.selection.exclude[0].as_str(), "db");
    assert_eq!(capture.selection.exclude_paths.len(), 2);
    assert_eq!(capture.selection.headerless, Headerless::Ignore);
    assert_eq!(
        capture.context_order,
        [Format::TraceParent, Format::B3Single]
    );
    assert!(!capture.redact_query);
    assert_eq!(
        export,
        Export {
            printed: Some(Output::Jsonl),
            zipkin: Some("http://zipkin:9411/api/v2/spans".into()),
            zipkin_format: ZipkinFormat::Proto,
            shared_spans: true,
            trace_width: TraceWidth::Bits64,
            limits: Limits { datagram: 1400 },
            delivery: DeliveryConfig {
                batch: BatchLimits {
                    spans: 10,
                    bytes: 100_000,
                    delay: Duration::from_secs(2),
                },
                queue: QueueLimits {
                    spans: 99,
                    bytes: 1_000_000,
                },
                overflow: Overflow::Oldest,
                timeouts: Timeouts {
                    connect: Duration::from_secs(1),
                    answer: Duration::from_secs(20),
                },
                retry: Retry {
                    give_up_after: Duration::from_hours(1),
                    ..Retry::default()
                },
                grace: Duration::from_secs(30),
                gzip: Gzip::On,
                ca: Some(folder.path().join("ca.pem")),
                proxy: Some(Proxy::parse("http://proxy:3128", Some(proxy_auth)).unwrap()),
                credentials: Some(Credentials::Bearer(folder.path().join("token"))),
            },
        }
    );
    assert_eq!(admin.listen, Listen::At("[::1]:9000".parse().unwrap()));
    assert_eq!(admin.api, Some("0.0.0.0:5681".parse().unwrap()));
    assert!(admin.api_token.unwrap().is(b"fedcba9876543210"));
    assert_eq!(admin.state_folder, folder.path().join("state"));
    assert_eq!(
        kubernetes,
        Kubernetes {
            enabled: true,
            kubeconfig: Some(folder.path().join("admin.conf")),
            assume_http: true,
            zone: Some("east".into()),
            max_objects: 5000,
        }
    );
}

#[test]
fn one_authorization_is_enough_and_https_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("basic"), "user:hunter2").unwrap();
    fs::write(folder.path().join("token"), "hunter2").unwrap();
    let read = |text: &str| parse("nodespan.toml", text, folder.path());
    let both = "[export]\nbasicAuthFile = \"basic\"\nbearerTokenFile = \"token\"";
    let error = read(both).unwrap_err().to_string();
    assert!(
        error.contains("3:19, field export.bearerTokenFile"),
        "{error}"
    );
    assert!(error.contains("a second Authorization"), "{error}");
    let error = read("[export]\nbasicAuthFile = \"token\"").unwrap_err();
    assert!(error.to_string().contains("user:password"));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let text = "[export]\nzipkinEndpoint = \"https://z/\"\nbasicAuthFile = \"basic\"";
    let loaded = read(text).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let export = loaded.settings.export;
    assert_eq!(export.zipkin.as_deref(), Some("https://z/"));
    let basic = Credentials::Basic(folder.path().join("basic"));
    assert_eq!(export.delivery.credentials, Some(basic));
}

#[test]
fn warnings_do_not_refuse() {
    let text = "[tracing]\nbackend = \"zipkin\"\n[tracing.jaeger]\nsamplingParam = 1.0\n";
    let loaded = read(text).unwrap();
    let report = loaded.report.to_string();
    assert!(report.starts_with("warning: ") && is_drawn(&report));
}

#[test]
fn an_endpoint_of_either_api_and_scheme_is_taken_as_it_is() {
    for url in [
        "https://z/",
        "http://z:9411/api/v1/spans",
        "http://z:9411/api/v2/spans",
    ] {
        let loaded = read(&format!("[export]\nzipkinEndpoint = \"{url}\"")).unwrap();
        assert_eq!(loaded.settings.export.zipkin.as_deref(), Some(url));
        assert!(loaded.report.findings.is_empty());
    }
}

#[test]
fn the_api_is_off_unless_asked_for_and_on_loopback_needs_no_token() {
    let api = |text: &str| settings(&format!("[admin]\n{text}")).admin.api;
    for off in ["", "api = false", "api = \"off\""] {
        assert_eq!(api(off), None, "{off}");
    }
    for (on, address) in [
        ("api = true", "127.0.0.1:5681"),
        ("api = \"127.0.0.2:1\"", "127.0.0.2:1"),
        ("api = \"[::1]:5681\"", "[::1]:5681"),
        (
            "api = \"[::ffff:127.0.0.1]:5681\"",
            "[::ffff:127.0.0.1]:5681",
        ),
    ] {
        assert_eq!(api(on), Some(address.parse().unwrap()), "{on}");
    }
}

#[test]
fn where_others_reach_the_api_it_needs_a_token() {
    for address in [
        "0.0.0.0:5681",
        "10.0.0.1:5681",
        "[::]:5681",
        "[::ffff:10.0.0.1]:1",
    ] {
        let error = read(&format!("[admin]\napi = \"{address}\"")).unwrap_err();
        assert!(
            error.contains(address) && error.contains("apiTokenFile"),
            "{error}"
        );
    }
}
