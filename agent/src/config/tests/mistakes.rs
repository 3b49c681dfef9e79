//! What is wrong, at its place and with advice, and all at once.

use super::*;

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
