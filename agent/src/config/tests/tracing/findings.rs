//! What `[tracing]` warns of, and what it refuses.

use super::super::{is_drawn, read};

#[test]
fn what_has_no_effect_is_a_warning() {
    let zipkin = "[tracing]\nbackend = \"zipkin\"\n";
    for (text, place, says) in [
        (
            format!("{zipkin}servicName = \"x\""),
            "3:1",
            "did you mean `serviceName`?",
        ),
        (
            format!("[agent]\nservice = \"a\"\n{zipkin}serviceName = \"b\""),
            "5:15",
            "service = \"a\" wins",
        ),
        (
            format!("{zipkin}[tracing.jaeger]\nsamplingType = 7"),
            "3:10",
            "[tracing.jaeger] is ignored: the backend is \"zipkin\"",
        ),
        (
            format!("{zipkin}[tracing.otlp]"),
            "3:10",
            "write backend = \"otlp\"",
        ),
        (
            format!("{zipkin}[tracing.datadog]\ndebug = true"),
            "3:10",
            "[tracing.datadog] is ignored",
        ),
        // As files of Traefik 2 and 3 have it.
        (
            "[tracing]\n[tracing.zipkin]\nsampleRate = 0.5".into(),
            "2:10",
            "no backend is named: \"zipkin\" is taken, as in Traefik 2",
        ),
        (
            "[tracing]\n[tracing.otlp.http]".into(),
            "2:10",
            "no backend is named: \"otlp\" is taken, as in Traefik 3",
        ),
        (
            "[tracing]\n[tracing.otlp.http]".into(),
            "2:10",
            "write backend = \"otlp\" below [tracing]; without it, Traefik 1 takes \"jaeger\"",
        ),
        (
            "[tracing]\n[tracing.zipkin]\nsampleRate = 2\n[tracing.jaeger]".into(),
            "2:10",
            "remove it, or write backend = \"zipkin\"",
        ),
        // The rest of Traefik's file.
        (
            "[entryPoints.web]\naddress = ':80'\n[tracing]\n".into(),
            "1:2",
            "`entryPoints` is Traefik's own and not read here",
        ),
        (
            "DEBUG = true\nlogLevel = 'INFO'\n[docker]\n[tracing]\n[acme]\n".into(),
            "1:1",
            "`DEBUG` and 3 more (logLevel, docker, acme) are Traefik's own and not read here",
        ),
        (
            "[tracing]\n[kubernetes]\nendpoint = 'http://localhost:8080'\nlabelselector = 'a=b'\n".into(),
            "3:1",
            "`kubernetes.endpoint` and 1 more (kubernetes.labelselector) are Traefik's own and not read here",
        ),
        (
            "[tracing]\nspanNameLimit = 20".into(),
            "2:17",
            "as in Traefik, 24 is taken",
        ),
        (
            "[tracing]\n[tracing.jaeger]\nsamplingParam = 0.5".into(),
            "3:17",
            "0.5 is taken for 1",
        ),
        (
            "[tracing]\n[tracing.jaeger]\nsamplingType = \"\"".into(),
            "3:16",
            "an empty type means \"remote\"",
        ),
        (
            "[tracing]\n[tracing.jaeger]\ndisableAttemptReconnecting = true".into(),
            "3:30",
            "this has no effect",
        ),
        (
            "[tracing]\n[tracing.jaeger.collector]\nuser = \"u\"".into(),
            "3:8",
            "without an endpoint this does nothing",
        ),
        (
            "[tracing]\n[tracing.jaeger.collector]\nendpoint = \"\"\npassword = \"p\"".into(),
            "4:12",
            "without an endpoint this does nothing",
        ),
        (
            "[tracing]\n[tracing.jaeger]\nprioritySampling = true".into(),
            "3:1",
            "unknown key `prioritySampling` in [tracing.jaeger]",
        ),
        (
            format!("sampleRate = 1\n{zipkin}").replace("sampleRate = 1\n", "")
                + "sampleRate = 0.5",
            "3:14",
            "move it below [tracing.zipkin]",
        ),
        (
            "[tracing]\nsampleRate = 0.5".into(),
            "2:14",
            "write samplingType and samplingParam",
        ),
        (
            "[capture]\ncontextOrder = [\"b3\"]\n[tracing]\n[tracing.jaeger]\npropagation = \"jaeger\"".into(),
            "5:15",
            "[capture] contextOrder decides this",
        ),
    ] {
        let loaded = read(&text).unwrap_or_else(|error| panic!("{error}"));
        let report = loaded.report.to_string();
        assert_eq!(loaded.report.findings.len(), 1, "{report}");
        assert!(report.starts_with("warning: "), "{report}");
        assert!(report.contains(&format!("nodespan.toml:{place}, field ")), "{place}\n{report}");
        assert!(report.contains(says), "{says}\n{report}");
        assert!(is_drawn(&report), "{report}");
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_place() {
    let jaeger = |keys: &str| format!("[tracing]\n[tracing.jaeger]\n{keys}");
    let zipkin = |keys: &str| format!("[tracing]\nbackend = \"zipkin\"\n[tracing.zipkin]\n{keys}");
    let otlp = |keys: &str| format!("[tracing]\nbackend = \"otlp\"\n[tracing.otlp{keys}");
    for (text, place, says) in [
        (
            "[tracing]\nbackend = \"zpkin\"".into(),
            "2:11, field tracing.backend",
            "did you mean \"zipkin\"?",
        ),
        (
            "[tracing]\nbackend = \"x\"".into(),
            "2:11",
            "one of \"jaeger\", \"zipkin\", \"otlp\"",
        ),
        (
            "[tracing]\nbackend = \"\"\n[tracing.zipkin]".into(),
            "2:11",
            "unknown backend \"\"",
        ),
        (
            "[tracing]\nbackend = 9411\n[tracing.zipkin]".into(),
            "2:11",
            "this is an integer, wanted a string",
        ),
        (
            "[tracing]\nbackend = \"Datadog\"\n[tracing.datadog]".into(),
            "2:11",
            "if it takes OTLP: backend = \"otlp\"",
        ),
        (
            "[tracing]\nbackend = \"zipkin\"\nBACKEND = \"zipkin\"".into(),
            "2:1, field tracing.backend",
            "there twice, in different case",
        ),
        (
            "[tracing]\n[tracing.datadog]\ndebug = true".into(),
            "2:10, field tracing.datadog",
            "write backend = \"jaeger\" if that is meant",
        ),
        (
            "tracing = true".into(),
            "1:11, field tracing",
            "write [tracing]",
        ),
        (
            "[tracing]\nserviceName = \"\"".into(),
            "2:15, field tracing.serviceName",
            "this is empty",
        ),
        (
            "[tracing]\nspanNameLimit = -1".into(),
            "2:17, field tracing.spanNameLimit",
            "-1 is not within 0",
        ),
        (
            "[tracing]\nspanNameLimit = \"9\"".into(),
            "2:17",
            "write it without quotes",
        ),
        (
            "[tracing]\njaeger = 1".into(),
            "2:10, field tracing.jaeger",
            "wanted a table",
        ),
        (
            "[export]\nsharedSpans = true\n[tracing]\nbackend = \"zipkin\"".into(),
            "2:15, field export.sharedSpans",
            "`sameSpan` there decides this",
        ),
        (
            jaeger("samplingType = \"probabilisitc\""),
            "3:16, field tracing.jaeger.samplingType",
            "did you mean \"probabilistic\"?",
        ),
        (
            jaeger("samplingType = \"sometimes\""),
            "3:16",
            "one of \"const\", \"probabilistic\", \"rateLimiting\", \"remote\"",
        ),
        (jaeger("samplingType = 1"), "3:16", "wanted a string"),
        (
            jaeger("samplingType = \"probabilistic\"\nsamplingParam = 1.01"),
            "4:17, field tracing.jaeger.samplingParam",
            "1.01 is not within 0 to 1",
        ),
        (
            jaeger("samplingType = \"probabilistic\"\nsamplingParam = -0.1"),
            "4:17",
            "-0.1 is not within 0 to 1",
        ),
        (
            jaeger("samplingType = \"remote\"\nsamplingParam = 50"),
            "4:17",
            "50 is not within 0 to 1",
        ),
        (
            jaeger("samplingType = \"rateLimiting\"\nsamplingParam = -1"),
            "4:17",
            "-1 traces a second are no limit",
        ),
        (
            jaeger("samplingParam = \"1.0\""),
            "3:17",
            "this is a string, wanted a number",
        ),
        (jaeger("samplingParam = nan"), "3:17", "no finite number"),
        (jaeger("samplingParam = -inf"), "3:17", "no finite number"),
        (
            jaeger("samplingServerURL = \"localhost:5778\""),
            "3:21, field tracing.jaeger.samplingServerURL",
            "is not a URL",
        ),
        (
            jaeger("samplingServerURL = \"https://a/sampling\""),
            "3:21",
            "over http only",
        ),
        (
            jaeger("localAgentHostPort = \"agent\""),
            "3:22, field tracing.jaeger.localAgentHostPort",
            "is not a host and a port",
        ),
        (
            jaeger("localAgentHostPort = \"a:0\""),
            "3:22",
            "is not a host",
        ),
        (
            jaeger("localAgentHostPort = \"a:+1\""),
            "3:22",
            "is not a host",
        ),
        (
            jaeger("localAgentHostPort = \":6831\""),
            "3:22",
            "is not a host",
        ),
        (
            jaeger("localAgentHostPort = \"::1:6831\""),
            "3:22",
            "\"[::1]:6831\"",
        ),
        (
            jaeger("localAgentHostPort = \"http://a:1\""),
            "3:22",
            "is not a host",
        ),
        (
            jaeger("traceContextHeaderName = \"x trace\""),
            "3:26, field tracing.jaeger.traceContextHeaderName",
            "no name of a header",
        ),
        (
            jaeger("traceContextHeaderName = \"X-B3-TraceId\""),
            "3:26",
            "is read in another format",
        ),
        (
            jaeger("traceContextHeaderName = \" \""),
            "3:26",
            "no name of a header",
        ),
        (
            jaeger("gen128Bit = \"true\""),
            "3:13, field tracing.jaeger.gen128Bit",
            "write it without quotes",
        ),
        (
            jaeger("propagation = \"w3c\""),
            "3:15, field tracing.jaeger.propagation",
            "one of \"jaeger\", \"b3\"",
        ),
        (
            jaeger("disableAttemptReconnecting = 1"),
            "3:30, field tracing.jaeger.disableAttemptReconnecting",
            "wanted true or false",
        ),
        (
            jaeger(
                "[tracing.jaeger.collector]\nendpoint = \"http://c:14268/api/traces?format=jaeger.thrift\"\nuser = \"u\"\npassword = \"p\"",
            ),
            "4:12, field tracing.jaeger.collector.endpoint",
            "collectors take OTLP: backend = \"otlp\"",
        ),
        (
            zipkin("httpEndpoint = \"zipkin:9411\""),
            "4:16, field tracing.zipkin.httpEndpoint",
            "is not a URL",
        ),
        (
            zipkin("httpEndpoint = \"http://u:p@z/\""),
            "4:16",
            "name and password",
        ),
        (
            zipkin("httpEndpoint = \"http://z:99999/\""),
            "4:16",
            "the port is not",
        ),
        (
            zipkin("debug = 1"),
            "4:9, field tracing.zipkin.debug",
            "wanted true or false",
        ),
        (
            zipkin("sameSpan = \"no\""),
            "4:12, field tracing.zipkin.sameSpan",
            "wanted true",
        ),
        (
            zipkin("id128Bit = 128"),
            "4:12, field tracing.zipkin.id128Bit",
            "wanted true",
        ),
        (
            zipkin("sampleRate = 100"),
            "4:14, field tracing.zipkin.sampleRate",
            "100 is not within 0 to 1",
        ),
        (
            otlp("]\nendpoint = \"grpc://c:4317\""),
            "4:12, field tracing.otlp.endpoint",
            "the scheme is not http",
        ),
        (
            otlp(".http]\nendpoint = \"\""),
            "4:12, field tracing.otlp.http.endpoint",
            "this is empty",
        ),
        (
            otlp(".grpc]\nendpoint = \"c:4317\""),
            "3:15, field tracing.otlp.grpc",
            "OTLP is not spoken over gRPC",
        ),
        (
            otlp("]\nendpoint = \"http://a/\"\n[tracing.otlp.http]\nendpoint = \"http://b/\""),
            "6:12, field tracing.otlp.http.endpoint",
            "there twice",
        ),
        (
            "[tracing]\nbackend = \"otlp\"\nsampleRate = 2".into(),
            "3:14, field tracing.sampleRate",
            "2 is not within 0 to 1",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert_eq!(error.matches("error: ").count(), 1, "{error}");
        assert!(!error.contains("warning: "), "{error}");
        assert!(
            error.contains(&format!("nodespan.toml:{place}")),
            "{place}\n{error}"
        );
        assert!(
            error.contains(", field tracing") || error.contains(", field export"),
            "{error}"
        );
        assert!(error.contains(says), "{says}\n{error}");
        assert!(is_drawn(&error), "{error}");
    }
}

#[test]
fn an_unknown_backend_hides_no_other_mistake() {
    let rest = "sampleRate = 2\nspanNameLimit = -1\n\
         [tracing.jaeger]\nsamplingType = \"sometimes\"\n\
         [tracing.zipkin]\nhttpEndpoint = \"zipkin:9411\"\nsampleRate = 7\n\
         [tracing.otlp]\nendpoint = \"\"\n\
         [tracing.datadog]\ndebug = \"what may be there nobody knows\"\n";
    for backend in ["\"zpkin\"", "\"datadog\"", "7"] {
        let error = read(&format!("[tracing]\nbackend = {backend}\n{rest}")).unwrap_err();
        for place in [
            "2:11, field tracing.backend",
            "3:14, field tracing.sampleRate",
            "4:17, field tracing.spanNameLimit",
            "6:16, field tracing.jaeger.samplingType",
            "8:16, field tracing.zipkin.httpEndpoint",
            "9:14, field tracing.zipkin.sampleRate",
            "11:12, field tracing.otlp.endpoint",
        ] {
            assert!(error.contains(place), "{place}\n{error}");
        }
        assert_eq!(error.matches("error: ").count(), 7, "{error}");
    }
}
