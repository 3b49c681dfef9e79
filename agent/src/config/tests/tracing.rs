//! Traefik's `[tracing]`.

mod findings;

use super::*;
use crate::export::NameLimit;
use crate::sample::{SamplerConfig, SamplingUrl};

/// The files of the seed documents, word for word.
const JAEGER: &str = include_str!("../../../../tests/data/seeds/traefik-jaeger.toml");
const ZIPKIN: &str = include_str!("../../../../tests/data/seeds/traefik-zipkin.toml");

fn tracing(text: &str) -> Tracing {
    settings(text).tracing.unwrap()
}

/// `[tracing]` and nothing else.
fn jaeger() -> Tracing {
    Tracing {
        backend: TracingBackend::Jaeger {
            agent: "127.0.0.1:6831".into(),
        },
        sampler: SamplerConfig::Const(true),
        name_limit: None,
        context_header: None,
        trace_width: TraceWidth::Bits64,
        shared_spans: false,
        debug: false,
    }
}

fn zipkin() -> Tracing {
    Tracing {
        backend: TracingBackend::Zipkin {
            endpoint: "http://localhost:9411/api/v1/spans".into(),
        },
        trace_width: TraceWidth::Bits128,
        ..jaeger()
    }
}

fn otlp() -> Tracing {
    Tracing {
        backend: TracingBackend::Otlp {
            endpoint: "http://127.0.0.1:4318/v1/traces".into(),
        },
        ..zipkin()
    }
}

fn remote(url: &str, initial: f64) -> SamplerConfig {
    SamplerConfig::Remote {
        url: SamplingUrl::parse(url).unwrap(),
        initial,
    }
}

#[test]
fn the_seeds_files_say_what_they_document() {
    for (text, expected) in [(JAEGER, jaeger()), (ZIPKIN, zipkin())] {
        let settings = settings(text);
        assert_eq!(settings.tracing, Some(expected));
        assert_eq!(settings.agent.service.as_deref(), Some("traefik"));
        assert_eq!(settings.output(), Output::None);
        assert_eq!(settings.capture.context_order, []);
        assert_eq!(settings.export, Export::default());
    }
}

#[test]
fn every_default_is_the_documented_one() {
    for (text, expected) in [
        ("[tracing]", jaeger()),
        ("[tracing]\n[tracing.jaeger]", jaeger()),
        ("[tracing]\nbackend = \"jaeger\"", jaeger()),
        ("[tracing]\nbackend = \"zipkin\"", zipkin()),
        (
            "[tracing]\nbackend = \"zipkin\"\n[tracing.zipkin]",
            zipkin(),
        ),
        ("[tracing]\nbackend = \"otlp\"", otlp()),
        ("[tracing]\nbackend = \"otlp\"\n[tracing.otlp]", otlp()),
    ] {
        let settings = settings(text);
        assert_eq!(settings.trace_width(), expected.trace_width);
        assert_eq!(settings.tracing, Some(expected), "{text}");
        assert_eq!(settings.agent.service, None);
    }
    // Of the seed's keys, each one alone leaves the others as they are.
    for (file, expected) in [(JAEGER, jaeger()), (ZIPKIN, zipkin())] {
        let keys = file
            .lines()
            .filter(|line| line.contains(" = ") && !line.contains('#'));
        let section = file
            .lines()
            .find(|line| line.contains("[tracing."))
            .unwrap();
        for key in keys.skip(2) {
            let (head, _) = file.split_once("  # Service").unwrap();
            let text = format!("{head}\n{section}\n{key}\n");
            assert_eq!(tracing(&text), expected, "{key}");
        }
    }
}

#[test]
fn every_key_of_tracing_works() {
    let every_key = r#"
        [tracing]
        backend = "jaeger"
        serviceName = "edge"
        spanNameLimit = 60
        [tracing.jaeger]
        samplingServerURL = "http://agent:5778/sampling"
        samplingType = "remote"
        samplingParam = 0.25
        localAgentHostPort = "agent:6831"
        traceContextHeaderName = "My-Trace"
        gen128Bit = true
        propagation = "b3"
        disableAttemptReconnecting = false
        "#;
    let all = settings(every_key);
    assert_eq!(
        all.tracing,
        Some(Tracing {
            backend: TracingBackend::Jaeger {
                agent: "agent:6831".into()
            },
            sampler: remote("http://agent:5778/sampling", 0.25),
            name_limit: NameLimit::new(60),
            context_header: Some("my-trace".into()),
            trace_width: TraceWidth::Bits128,
            shared_spans: false,
            debug: false,
        })
    );
    assert_eq!(all.agent.service.as_deref(), Some("edge"));
    assert_eq!(
        all.capture.context_order,
        [Format::B3Single, Format::B3Multi]
    );
    let every_key = r#"
        [tracing]
        backend = "zipkin"
        [tracing.zipkin]
        httpEndpoint = "https://zipkin:9411/api/v2/spans"
        debug = true
        sameSpan = true
        id128Bit = false
        sampleRate = 0.5
        "#;
    let all = settings(every_key);
    assert!(all.shared_spans());
    assert_eq!(
        all.tracing,
        Some(Tracing {
            backend: TracingBackend::Zipkin {
                endpoint: "https://zipkin:9411/api/v2/spans".into()
            },
            sampler: SamplerConfig::Probabilistic(0.5),
            trace_width: TraceWidth::Bits64,
            shared_spans: true,
            debug: true,
            ..zipkin()
        })
    );
    let every_key = r#"
        [tracing]
        backend = "otlp"
        sampleRate = 0.5
        [tracing.otlp]
        endpoint = "http://collector:4318/v1/traces"
        "#;
    let expected = Tracing {
        backend: TracingBackend::Otlp {
            endpoint: "http://collector:4318/v1/traces".into(),
        },
        sampler: SamplerConfig::Probabilistic(0.5),
        ..otlp()
    };
    assert_eq!(tracing(every_key), expected);
    // As Traefik 3 writes it.
    let nested = every_key.replace("[tracing.otlp]", "[tracing.otlp.http]");
    assert_eq!(tracing(&nested), expected);
}

#[test]
fn keys_match_without_regard_to_case() {
    for (file, expected) in [(JAEGER, jaeger()), (ZIPKIN, zipkin())] {
        for change in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
            let lines = file.lines().map(|line| {
                let key = line.split(['=', '#']).next().unwrap();
                line.replacen(key, &change(key), 1)
            });
            let text = lines.collect::<Vec<_>>().join("\n");
            assert_eq!(tracing(&text), expected, "{text}");
        }
    }
    // So do the values that are words.
    let text = "[tracing]\nbackend = \"Jaeger\"\n[tracing.jaeger]\nsamplingType = \"RATELIMITING\"";
    assert_eq!(tracing(text).sampler, SamplerConfig::RateLimiting(1.0));
}

#[test]
fn a_whole_file_of_traefik_works() {
    let first = "
        debug = true
        defaultEntryPoints = ['http']
        [entryPoints]
          [entryPoints.http]
          address = ':80'
        [docker]
        [tracing]
          backend = 'zipkin'
          [tracing.zipkin]
          httpEndpoint = 'http://zipkin:9411/api/v1/spans'";
    let second = "
        [log]
          level = 'DEBUG'
        [providers.docker]
        [Tracing]
          ServiceName = 'edge'
          [Tracing.Zipkin]
            HTTPEndpoint = 'http://zipkin:9411/api/v1/spans'";
    let expected = Tracing {
        backend: TracingBackend::Zipkin {
            endpoint: "http://zipkin:9411/api/v1/spans".into(),
        },
        ..zipkin()
    };
    for text in [first, second] {
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let loaded = read(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(loaded.settings.tracing.as_ref(), Some(&expected));
        let findings = &loaded.report.findings;
        assert!(findings.iter().all(|f| f.severity == Severity::Warning));
    }
}

#[test]
fn a_file_in_yaml_is_told_once() {
    let text = "tracing:\n  zipkin:\n    httpEndpoint: http://zipkin:9411/api/v2/spans\n";
    for name in ["traefik.yml", "traefik.yaml"] {
        let error = parse(name, text, Path::new("")).unwrap_err().to_string();
        assert!(
            error.starts_with("error: this is YAML, wanted TOML\n"),
            "{error}"
        );
        assert_eq!(error.matches("error: ").count(), 1, "{error}");
    }
}

#[test]
fn every_sampler() {
    use SamplerConfig::{Const, Probabilistic, RateLimiting};
    let default = "http://localhost:5778/sampling";
    for (keys, expected) in [
        ("", Const(true)),
        ("samplingType = \"const\"", Const(true)),
        ("samplingParam = 0", Const(false)),
        ("samplingParam = 0.0", Const(false)),
        ("samplingType = \"const\"\nsamplingParam = 1", Const(true)),
        ("samplingType = \"probabilistic\"", Probabilistic(1.0)),
        (
            "samplingType = \"probabilistic\"\nsamplingParam = 0.001",
            Probabilistic(0.001),
        ),
        (
            "samplingType = \"probabilistic\"\nsamplingParam = 0",
            Probabilistic(0.0),
        ),
        (
            "samplingType = \"probabilistic\"\nsamplingParam = 1",
            Probabilistic(1.0),
        ),
        ("samplingType = \"rateLimiting\"", RateLimiting(1.0)),
        (
            "samplingType = \"ratelimiting\"\nsamplingParam = 0.1",
            RateLimiting(0.1),
        ),
        (
            "samplingType = \"rateLimiting\"\nsamplingParam = 1_000",
            RateLimiting(1000.0),
        ),
        ("samplingType = \"remote\"", remote(default, 1.0)),
        (
            "samplingType = \"remote\"\nsamplingParam = 0.001\nsamplingServerURL = \"http://[::1]:5778/\"",
            remote("http://[::1]:5778/", 0.001),
        ),
        // The server's URL is only of use to `remote`.
        (
            "samplingServerURL = \"http://elsewhere:5778/\"",
            Const(true),
        ),
    ] {
        let text = format!("[tracing]\n[tracing.jaeger]\n{keys}");
        assert_eq!(tracing(&text).sampler, expected, "{keys}");
    }
}

#[test]
fn what_is_empty_is_the_default_and_the_usual_header_is_no_other() {
    let text = "[tracing]\n[tracing.jaeger]\nlocalAgentHostPort = \"\"\ntraceContextHeaderName = \"Uber-Trace-Id\"";
    assert_eq!(tracing(text), jaeger());
    // jaeger-client-go takes its own defaults then (`config/config.go`).
    let text = "[tracing]\n[tracing.jaeger]\nsamplingType = \"remote\"\nsamplingServerURL = \"\"\ntraceContextHeaderName = \"\"\npropagation = \"\"";
    let remote = remote("http://localhost:5778/sampling", 1.0);
    assert_eq!(
        tracing(text),
        Tracing {
            sampler: remote,
            ..jaeger()
        }
    );
    assert_eq!(settings(text).capture.context_order, []);
    let text = "[tracing]\n[tracing.jaeger]\npropagation = \"jaeger\"";
    assert_eq!(settings(text).capture.context_order, [Format::Uber]);
}
