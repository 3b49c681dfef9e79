use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::Headerless;

fn read(text: &str) -> Result<Loaded, String> {
    parse("nodespan.toml", text, Path::new("")).map_err(|error| error.to_string())
}

fn settings(text: &str) -> Settings {
    let loaded = read(text).unwrap();
    assert_eq!(loaded.report.findings, [], "{}", loaded.report);
    loaded.settings
}

#[test]
fn nothing_configured_traces_everything() {
    for text in ["", "[agent]\n[capture]\n[export]\n[admin]\n"] {
        let settings = settings(text);
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.export.output(), Output::Console);
        assert!(settings.capture.redact_query);
        assert_eq!(settings.export.trace_width, TraceWidth::Bits128);
        assert!(!settings.export.shared_spans);
    }
}

#[test]
fn every_key() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key"), "0123456789abcdef\n").unwrap();
    fs::write(folder.path().join("token"), "fedcba9876543210\n").unwrap();
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
        sharedSpans = true
        traceId128 = false
        batchSpans = 10
        batchBytes = 100_000
        batchDelay = "2s"
        queueSpans = 99
        queueBytes = 1_000_000
        connectTimeout = "1s"
        answerTimeout = "20s"
        giveUpAfter = "1h"
        [admin]
        listen = "[::1]:9000"
        api = "0.0.0.0:5681"
        apiTokenFile = "token"
        stateFolder = "state"
        "#,
    )
    .unwrap();
    let Settings {
        agent,
        capture,
        export,
        admin,
    } = load(&path).unwrap().settings;
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
            shared_spans: true,
            trace_width: TraceWidth::Bits64,
            debug: false,
            batch_spans: 10,
            batch_bytes: 100_000,
            batch_delay: Duration::from_secs(2),
            queue_spans: 99,
            queue_bytes: 1_000_000,
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(20),
            give_up_after: Duration::from_secs(3600),
        }
    );
    assert_eq!(admin.listen, Listen::At("[::1]:9000".parse().unwrap()));
    assert_eq!(admin.api, Some("0.0.0.0:5681".parse().unwrap()));
    assert!(admin.api_token.unwrap().is(b"fedcba9876543210"));
    assert_eq!(admin.state_folder, folder.path().join("state"));
}

#[test]
fn traefiks_table() {
    let zipkin = |text: &str| settings(text).export;
    let export = zipkin("[tracing]\nbackend = \"zipkin\"");
    assert_eq!(
        export.zipkin.as_deref(),
        Some("http://localhost:9411/api/v2/spans")
    );
    assert_eq!(export.output(), Output::None);
    assert!(!export.shared_spans && !export.debug);
    assert_eq!(export.trace_width, TraceWidth::Bits128);

    let text = r#"
        [Tracing]
        Backend = "Zipkin"
        servicename = "edge"
        [Tracing.Zipkin]
        HTTPEndpoint = "http://z:1/api/v2/spans"
        sameSpan = true
        id128bit = false
        debug = true
        "#;
    let all = settings(text);
    assert_eq!(all.agent.service.as_deref(), Some("edge"));
    assert_eq!(
        all.export.zipkin.as_deref(),
        Some("http://z:1/api/v2/spans")
    );
    assert!(all.export.shared_spans && all.export.debug);
    assert_eq!(all.export.trace_width, TraceWidth::Bits64);
}

#[test]
fn traefiks_own_example_works() {
    let text = r#"
        [tracing]
        backend = "zipkin"
        serviceName = "traefik"
        [tracing.zipkin]
        httpEndpoint = "http://localhost:9411/api/v1/spans"
        debug = false
        sameSpan = false
        id128Bit = true
        "#;
    let loaded = read(text).unwrap();
    assert_eq!(
        loaded.settings.export.zipkin.as_deref(),
        Some("http://localhost:9411/api/v2/spans")
    );
    let findings = &loaded.report.findings;
    assert_eq!(
        (findings.len(), findings[0].severity),
        (1, Severity::Warning)
    );
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
            "[export]\nzipkinEndpoint = \"https://z/\"",
            "2:18",
            "https is not supported yet",
        ),
        (
            "[export]\nzipkinEndpoint = \"ftp://z/\"",
            "2:18",
            "the scheme is not http",
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
            "[tracing]",
            "1:2, field tracing",
            "no `backend` means \"jaeger\", which is not supported yet",
        ),
        (
            "[tracing]\nbackend = \"jaeger\"",
            "2:11, field tracing.backend",
            "not supported yet",
        ),
        (
            "[tracing]\nbackend = \"zpkin\"",
            "2:11, field tracing.backend",
            "unknown backend \"zpkin\"",
        ),
        (
            "[tracing]\nbackend = \"zipkin\"\nBACKEND = \"zipkin\"",
            "2:1, field tracing.backend",
            "there twice, in different case",
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
    }
}

#[test]
fn warnings_do_not_refuse() {
    for (text, says) in [
        (
            "[tracing]\nbackend = \"zipkin\"\nservicName = \"x\"",
            "did you mean `serviceName`?",
        ),
        (
            "[tracing]\nbackend = \"zipkin\"\n[tracing.jaeger]\nsamplingParam = 1.0",
            "[tracing.jaeger] is ignored",
        ),
        (
            "[agent]\nservice = \"a\"\n[tracing]\nbackend = \"zipkin\"\nserviceName = \"b\"",
            "service = \"a\" wins",
        ),
        (
            "[export]\nzipkinEndpoint = \"http://z:9411/api/v1/spans\"",
            "spans go to http://z:9411/api/v2/spans",
        ),
    ] {
        let loaded = read(text).unwrap();
        let report = loaded.report.to_string();
        assert!(
            report.starts_with("warning: ") && report.contains(says),
            "{report}"
        );
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
    let error = read("[agent]\nnope = \"\u{7f}\" # \u{9b}31m").unwrap_err();
    assert!(!error.contains('\u{9b}') && !error.contains('\u{7f}'));
}

proptest! {
    #[test]
    fn nothing_panics(text in "(\\[(agent|capture|export|tracing|tracing.zipkin)\\]\n|(service|ports|backend|output|batchDelay|é) ?= ?(\"[a-z3é]{0,6}\"|[0-9]{1,4}|\\[\"?[a-z]{0,3}\"?\\]|true|\\{a=1\\})\n|.{0,8}){0,8}") {
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
