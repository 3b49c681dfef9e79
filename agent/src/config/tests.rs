use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::export::delivery::{Credentials, DeliveryConfig, Gzip, Proxy, Retry, Timeouts};
use crate::export::{BatchLimits, Limits, Overflow, QueueLimits};
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::Headerless;

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
fn mistakes_are_drawn() {
    let text = "[capture]\nports = [80, 70000]\n\texlude = [\"db\"]\n";
    let expected = "\
error: 70000 is not within 1 to 65535
  --> nodespan.toml:2:14, field capture.ports[1]
   |
 2 | ports = [80, 70000]
   |              ^^^^^
   = help: write a whole number from 1 to 65535

error: unknown key `exlude` in [capture]
  --> nodespan.toml:3:2, field capture.exlude
   |
 3 |  exlude = [\"db\"]
   |  ^^^^^^
   = help: did you mean `exclude`?
";
    assert_eq!(read(text).unwrap_err(), expected);
}

#[test]
fn each_mistake_has_its_place_and_advice() {
    for (text, place, says) in [
        ("[agnet]", "1:2, field agnet", "did you mean `agent`?"),
        (
            "x = 1",
            "1:1, field x",
            "known here: agent, capture, tracing, export, admin",
        ),
        (
            "agent = 1",
            "1:9, field agent",
            "this is an integer, wanted a table",
        ),
        (
            "[agent]\nservice = 1",
            "2:11, field agent.service",
            "wanted a string",
        ),
        (
            "[agent]\nservice = \" \"",
            "2:11, field agent.service",
            "this is empty",
        ),
        (
            "[agent]\nidentityKeyFile = \"/no/such\"",
            "2:19, field agent.identityKeyFile",
            "cannot read the key file /no/such: No such file",
        ),
        (
            "[agent]\nidentityKeyFile = \"/\"",
            "2:19, field agent.identityKeyFile",
            "Is a directory",
        ),
        (
            "[agent]\nidentityKeyFile = \"/dev/null\"",
            "2:19, field agent.identityKeyFile",
            "the key has 0 bytes, at least 16 are needed",
        ),
        (
            "[agent]\nidentityKeyFile = \"/dev/zero\"",
            "2:19, field agent.identityKeyFile",
            "longer than 65536 bytes",
        ),
        (
            "[capture]\nports = 80",
            "2:9, field capture.ports",
            "write it in brackets",
        ),
        (
            "[capture]\nports = [\"80\"]",
            "2:10, field capture.ports[0]",
            "this is a string, wanted an integer",
        ),
        (
            "[capture]\nports = [0]",
            "2:10, field capture.ports[0]",
            "0 is not within 1 to 65535",
        ),
        (
            "[capture]\nports = [-1]",
            "2:10, field capture.ports[0]",
            "-1 is not within",
        ),
        (
            "[capture]\nports = [99999999999999999999]",
            "2:10",
            "is not within",
        ),
        (
            "[capture]\nexclude = [\"a\", \"\"]",
            "2:17, field capture.exclude[1]",
            "an empty pattern matches nothing",
        ),
        (
            "[capture]\nheaderless = \"new\"",
            "2:14, field capture.headerless",
            "one of \"new-trace\", \"ignore\"",
        ),
        (
            "[capture]\nheaderless = \"new_trace\"",
            "2:14",
            "did you mean \"new-trace\"?",
        ),
        (
            "[capture]\ncontextOrder = [\"b3\", \"b3\"]",
            "2:23, field capture.contextOrder[1]",
            "is there twice",
        ),
        (
            "[capture]\ncontextOrder = [\"w3c\"]",
            "2:17",
            "\"traceparent\"",
        ),
        (
            "[capture]\nredactQuery = \"yes\"",
            "2:15, field capture.redactQuery",
            "wanted true or false",
        ),
        (
            "[export]\noutput = \"json\"",
            "2:10, field export.output",
            "did you mean \"jsonl\"?",
        ),
        (
            "[export]\nzipkinEndpoint = \"zipkin:9411\"",
            "2:18, field export.zipkinEndpoint",
            "is not a URL",
        ),
        (
            "[export]\noverflow = \"newst\"",
            "2:12, field export.overflow",
            "did you mean \"newest\"?",
        ),
        (
            "[export]\ngzip = true",
            "2:8, field export.gzip",
            "this is a boolean, wanted a string",
        ),
        (
            "[export]\nshutdownGrace = \"1h\"",
            "2:17, field export.shutdownGrace",
            "is not within \"0ns\" to \"600s\"",
        ),
        (
            "[export]\ncaFile = \"no-such-file\"",
            "2:10, field export.caFile",
            "cannot read the authorities in no-such-file",
        ),
        (
            "[export]\nbasicAuthFile = \"no-such-file\"",
            "2:17, field export.basicAuthFile",
            "cannot read the secret no-such-file",
        ),
        (
            "[export]\nbearerTokenFile = \"/dev/null\"",
            "2:19, field export.bearerTokenFile",
            "the secret /dev/null is not a file",
        ),
        (
            "[export]\nproxyAuthFile = \"/dev/null\"",
            "2:17, field export.proxyAuthFile",
            "there is no proxy that is shown this",
        ),
        (
            "[export]\nproxy = \"https://p:1\"",
            "2:9, field export.proxy",
            "unknown scheme `https`, wanted http",
        ),
        (
            "[export]\nproxy = \"http://u:secret@p:1\"",
            "2:9, field export.proxy",
            "the endpoint at `p:1` has credentials in its URL",
        ),
        (
            "[tracing]\nbackend = \"zipkin\"\n[export]\nzipkinFormat = \"proto\"",
            "4:16, field export.zipkinFormat",
            "proto to /api/v2/spans",
        ),
        (
            "[export]\nzipkinFormat = \"thrift\"\nzipkinEndpoint = \"http://z/api/v2/spans\"",
            "2:16, field export.zipkinFormat",
            "does not take this format",
        ),
        (
            "[export]\nzipkinEndpoint = \"ftp://z/\"",
            "2:18",
            "the scheme is not http or https",
        ),
        (
            "[export]\nzipkinEndpoint = \"http:///x\"",
            "2:18",
            "names no host",
        ),
        (
            "[export]\nzipkinEndpoint = \"http://z:x/\"",
            "2:18",
            "the port is not a number",
        ),
        (
            "[export]\nzipkinEndpoint = \"http://[::1]:0/\"",
            "2:18",
            "the port is not a number",
        ),
        (
            "[export]\nzipkinEndpoint = \"http://u:p@z/\"",
            "2:18",
            "a name and password",
        ),
        (
            "[export]\nbatchSpans = 0",
            "2:14, field export.batchSpans",
            "0 is not within 1 to 100000",
        ),
        (
            "[export]\nbatchDelay = 5",
            "2:14, field export.batchDelay",
            "write it with its unit",
        ),
        (
            "[export]\nbatchDelay = \"5 s\"",
            "2:14",
            "a whole number and one of ms, s, m, h",
        ),
        (
            "[export]\nbatchDelay = \"2m\"",
            "2:14",
            "is not within \"1ms\" to \"60s\"",
        ),
        (
            "[export]\nsharedSpans = true\n[tracing]\nbackend = \"zipkin\"",
            "2:15, field export.sharedSpans",
            "`sameSpan` there decides this",
        ),
        (
            "[admin]\napi = \"5681\"",
            "2:7, field admin.api",
            "write \"127.0.0.1:5681\"",
        ),
        (
            "[admin]\napi = 5681",
            "2:7, field admin.api",
            "wanted true, false or a string",
        ),
        (
            "[admin]\napi = \"0.0.0.0:5681\"",
            "2:7, field admin.api",
            "this needs a token",
        ),
        (
            "[admin]\napiTokenFile = \"/nothing\"",
            "2:16, field admin.apiTokenFile",
            "cannot read the token file /nothing",
        ),
        (
            "[admin]\napiTokenFile = \"/dev/null\"",
            "2:16, field admin.apiTokenFile",
            "it has 0 characters, fewer than 16",
        ),
        (
            "[admin]\nlisten = \"9903\"",
            "2:10, field admin.listen",
            "write \"127.0.0.1:9903\"",
        ),
        ("[agent\nservice = 1", "1:7", "nodespan.toml"),
        (
            "[agent]\nservice = \"a\"\nservice = \"b\"",
            "3:1",
            "duplicate key",
        ),
        ("\u{e9} = 1", "1:1", "nodespan.toml"),
    ] {
        let error = read(text).unwrap_err();
        assert!(
            error.contains(&format!("nodespan.toml:{place}")),
            "{place}\n{error}"
        );
        assert!(error.contains(says), "{says}\n{error}");
        assert!(is_drawn(&error), "{error}");
    }
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
fn what_is_not_toml_has_no_other_error() {
    for (text, place) in [
        ("[tracing", "1:9"),
        ("[tracing\nbackend = \"zipkin\"\n[agnet]\n", "1:9"),
        ("[tracing]\nbackend = zipkin\n[tracing.zipkin]\n", "2:11"),
        ("[agent]\nnope = 1\nservice =", "3:10"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.matches("error: ").count(), 1, "{error}");
        assert!(error.contains(&format!("nodespan.toml:{place}")), "{error}");
        assert!(!error.contains("warning: ") && is_drawn(&error), "{error}");
    }
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
fn all_mistakes_come_at_once_and_in_order() {
    let error =
        read("[admin]\nx = 1\n[agent]\ny = 1\nservice = 2\n[capture]\nports = 3\n").unwrap_err();
    let lines: Vec<&str> = error.lines().filter(|line| line.contains("-->")).collect();
    let places: Vec<_> = lines
        .iter()
        .map(|line| line.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(places, ["2", "4", "5", "7"]);
}

#[test]
fn files_of_the_wrong_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    let fails = |path: &Path| load(path).unwrap_err().to_string();
    assert!(fails(&path).contains("c.toml: No such file"));
    assert!(fails(folder.path()).contains("is a directory, wanted a TOML file"));
    fs::write(&path, b"[agent]\nservice = \"\xff\"").unwrap();
    assert!(fails(&path).contains("is not UTF-8 text: byte 19 is 0xff"));
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(fails(&path).contains("is longer than 1048576 bytes"));
}

#[test]
fn lines_that_are_too_long_or_hostile_are_not_drawn_as_they_are() {
    let long = format!("[agent]\nservice = [{}]", "1,".repeat(1000));
    let error = read(&long).unwrap_err();
    assert!(
        error.lines().all(|line| line.chars().count() < 200),
        "{error}"
    );
    assert!(is_drawn(&error), "{error}");
    let far = format!("[capture]\nports = [{} 70000, 1]", "1, ".repeat(100));
    let error = read(&far).unwrap_err();
    let mut lines = error.lines().skip(3);
    let (line, marks) = (lines.next().unwrap(), lines.next().unwrap());
    let at = marks.chars().position(|c| c == '^').unwrap();
    let marked: String = line.chars().skip(at).take(5).collect();
    assert_eq!((marked.as_str(), marks.matches('^').count()), ("70000", 5));
    assert!(line.contains("| \u{2026}"), "{error}");
    let error = read("[agent]\nnope = \"\u{7f}\" # \u{9b}31m").unwrap_err();
    assert!(!error.contains('\u{9b}') && !error.contains('\u{7f}'));
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\[(agent|capture|export|tracing|tracing.zipkin|tracing.jaeger|Tracing.OTLP)\\]\n|(service|ports|backend|output|batchDelay|samplingParam|SamplingType|spannamelimit|é) ?= ?(\"[a-z3é]{0,6}\"|-?[0-9]{1,4}(\\.[0-9])?|nan|\\[\"?[a-z]{0,3}\"?\\]|true|\\{a=1\\})\n|.{0,8}){0,8}") {
        if let Err(error) = read(&text) {
            prop_assert!(error.contains("nodespan.toml:"));
        }
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

#[test]
fn a_file_in_which_all_is_wrong_is_told_about_soon() {
    let start = std::time::Instant::now();
    for text in [
        "x\n".repeat(100_000),
        (0..50_000).map(|n| format!("k{n} = 1\n")).collect(),
        format!("[capture]\nports = [{}]\n", "0, ".repeat(100_000)),
    ] {
        let LoadError::Invalid(report) = parse("n.toml", &text, Path::new("")).unwrap_err() else {
            panic!("not of its text");
        };
        assert_eq!(report.findings.len(), 100);
        let drawn = report.to_string();
        assert!(drawn.ends_with("more findings are not shown\n"), "{drawn}");
    }
    // In a test build, on a busy machine; each took minutes once.
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}
