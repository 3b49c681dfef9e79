//! Files that are broken, or mean harm.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{findings, fine, parse, seed};
use crate::config::Severity;
use crate::config::resources::fuzz_resources;
use crate::http::fuzz::Random;

fn refused(text: &str) -> String {
    let report = parse("r.yaml", text).report;
    assert!(report.has_errors(), "{report}");
    report.to_string()
}

#[test]
fn alias_bombs() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..30 {
        let before = format!("*a{}", n - 1);
        let list = vec![before; 10].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    let start = Instant::now();
    assert!(refused(&text).contains("anchors and aliases copy more than 4194304 bytes"));
    // One long text, many times.
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(500_000),
        vec!["*a"; 1000].join(", ")
    );
    assert!(refused(&long).contains("anchors and aliases copy more than"));
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(refused("a: &a [*a]").contains("this alias stands within what it refers to"));
    assert!(refused("a: *nobody").contains("r.yaml:1:4"));
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for depth in [100, 10_000, 100_000] {
            let text = format!("{}x{}", open.repeat(depth), close.repeat(depth));
            let report = parse("r.yaml", &text).report;
            assert!(report.has_errors(), "{open} {depth}");
        }
    }
    let block: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(parse("r.yaml", &block).report.has_errors());
    // What is deep enough for anybody.
    let deep = format!(
        "type: Mesh\nname: a\nmtls: {}{}",
        "[".repeat(50),
        "]".repeat(50)
    );
    fine(&deep);
}

/// No shape of a text takes much longer than another.
#[test]
fn large_texts_take_no_time() {
    let size = 1 << 18;
    for unit in [
        "a: b\n",
        "- a\n",
        "[],",
        "{},",
        "---\n",
        "&a ",
        "? ",
        "'",
        "\"",
        "a",
        "\u{e9}",
        "{",
        "#\n",
        "- - ",
        "\t",
        "!x ",
        "%",
        "|\n a\n",
        ": ",
        "k: {a: 1}\n",
        "\"\\u0041\"",
        "--- x\n",
        "type: Mesh\nname: a\n---\n",
    ] {
        let text = unit.repeat(size / unit.len());
        let start = Instant::now();
        let parsed = parse("r.yaml", &text);
        let drawn = parsed.report.to_string();
        let took = start.elapsed();
        // In a test build, on a busy machine; a quadratic one takes hours.
        assert!(took < Duration::from_secs(60), "{unit:?}: {took:?}");
        assert!(drawn.len() < 100_000, "{unit:?}: {}", drawn.len());
    }
    // A list in which everything is wrong.
    let start = Instant::now();
    let head = "type: TrafficTrace\nname: a\nmesh: a\nselectors:\n";
    let parsed = parse(
        "r.yaml",
        &format!("{head}{}", "- match: {}\n".repeat(20_000)),
    );
    assert_eq!(parsed.report.findings.len(), 100);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    // Keys that are all different.
    let keys: String = (0..20_000).map(|n| format!("k{n}: 1\n")).collect();
    let start = Instant::now();
    let parsed = parse("r.yaml", &format!("type: Mesh\nname: a\n{keys}"));
    assert_eq!(parsed.report.findings.len(), 100);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn many_findings_are_cut_but_not_the_errors() {
    let unknown: String = (0..500).map(|n| format!("unknown{n}: 1\n")).collect();
    let text = format!("{unknown}type: Mesh\nname: A\n");
    let report = parse("r.yaml", &text).report;
    assert_eq!(report.findings.len(), 100);
    assert!(report.has_errors());
    assert!(
        report
            .to_string()
            .contains("401 more findings are not shown"),
        "{report}"
    );
}

#[test]
fn keys_that_come_twice() {
    for text in [
        "type: Mesh\nname: a\nname: b\n",
        "{\"type\": \"Mesh\", \"name\": \"a\", \"name\": \"b\"}",
        "type: Mesh\nname: a\n\"name\": b\n",
    ] {
        let found = findings(text);
        let wanted = [(
            Severity::Error,
            String::new(),
            "`name` is there twice".to_owned(),
        )];
        assert_eq!(found, wanted, "{text}");
    }
    let tags = "type: TrafficTrace\nname: a\nmesh: a\nselectors: [{match: {a: b, a: c}}]";
    assert_eq!(findings(tags)[0].2, "`a` is there twice");
}

#[test]
fn syntax_errors_have_a_place_and_hide_nothing_behind() {
    let text = format!(
        "type: Mesh\nname: [a\n---\ntype: Mesh\nname: B\n---\n{}",
        seed("mesh-universal.yaml")
    );
    let parsed = parse("r.yaml", &text);
    let lines: Vec<_> = parsed
        .report
        .findings
        .iter()
        .map(|f| parsed.report.place(f.span.start).line)
        .collect();
    assert!(lines[0] <= 3 && lines[1..] == [5], "{}", parsed.report);
    assert_eq!(parsed.resources.len(), 2);
    for text in [
        "\t- a: b",
        "a: b: c",
        "'",
        "\"\\q\"",
        "{a: b",
        "[a",
        "a: 'b\nc: d",
        "\u{0}",
        "@a",
        "%YAML 9\n---\na",
    ] {
        let report = parse("r.yaml", text).report;
        assert!(report.has_errors(), "{text:?}");
        assert!(report.to_string().contains("r.yaml:"), "{report}");
    }
}

#[test]
fn usual_mistakes_have_a_hint() {
    let any =
        "type: TrafficTrace\nmesh: a\nname: a\nselectors:\n- match:\n    kuma.io/service: *\n";
    for (text, place, says) in [
        (any, "6:22", "any value is written in quotes: '*'"),
        (
            "type: Mesh\nname: a\ntracing:\n\tbackends: []\n",
            "4:",
            "indent with spaces",
        ),
        ("type: Mesh\nname: @a\n", "2:7", "write it in quotes"),
    ] {
        let drawn = refused(text);
        assert!(drawn.contains(&format!("r.yaml:{place}")), "{drawn}");
        assert!(drawn.contains(&format!("= help: {says}")), "{drawn}");
    }
}

#[test]
fn keys_and_tags_of_other_types() {
    assert!(
        refused("type: Mesh\nname: a\n? [a]\n: b").contains("a list as a key, wanted a string")
    );
    assert!(refused("type: Mesh\nname: !secret a").contains("unknown tag `!secret`"));
    assert!(
        refused("type: Mesh\nname: !!binary aGVsbG8=\ntracing: 1")
            .contains("this is a number, wanted a mapping")
    );
    fine("type: !!str Mesh\nname: !!str 12\n");
    fine("type: Mesh\nname: '12'\nlabels: {1: a, true: b}\n");
    assert!(refused("type: Mesh\nname: 12\n").contains("this is a number, wanted a string"));
    assert!(refused("type: 1\nname: a\n").contains("field type"));
    assert!(refused("kind: [Mesh]\n").contains("field kind"));
}

#[test]
fn a_byte_order_mark_and_line_ends_of_dos() {
    let text = format!(
        "\u{feff}{}",
        seed("mesh-universal.yaml").replace('\n', "\r\n")
    );
    assert_eq!(fine(&text), fine(&seed("mesh-universal.yaml")));
}

#[test]
fn terminals_are_safe() {
    let drawn = refused("type: Mesh\nname: \"\\e[31m\\u009b\" # \u{7f}\n");
    assert!(
        !drawn.contains('\u{1b}') && !drawn.contains('\u{9b}') && !drawn.contains('\u{7f}'),
        "{drawn:?}"
    );
    let skipped = parse("r.yaml", "type: \"\\e[31m\"\nname: a\n")
        .report
        .to_string();
    assert!(!skipped.contains('\u{1b}'), "{skipped:?}");
}

#[test]
fn a_short_seeded_fuzz_run() {
    let mut random = Random::new(2024);
    let seeds: Vec<String> = [
        "mesh-kubernetes.yaml",
        "mesh-universal.yaml",
        "traffic-trace-kubernetes.yaml",
        "traffic-trace-universal.yaml",
    ]
    .map(seed)
    .into_iter()
    .chain([
        "type: Dataplane\nmesh: default\nname: d\nnetworking: {address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, kuma.io/protocol: http}}]}\n".to_owned(),
        "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{\"type\": \"Mesh\", \"name\": \"a\\u0041\"}]}".to_owned(),
        "a: &a {b: *a, <<: [*a]}\n? - x\n: |\n  text\n".to_owned(),
    ])
    .collect();
    const TOKENS: [&str; 16] = [
        "---\n", ": ", "- ", "&a ", "*a", "{", "}", "[", "]", "<<: ", "'", "\"", "\n  ", "\u{e9}",
        "!!str ", "~",
    ];
    for _ in 0..1500 {
        let mut text = seeds[random.below(seeds.len())].clone().into_bytes();
        for _ in 0..random.below(6) {
            let at = random.below(text.len() + 1);
            match random.below(4) {
                0 if at < text.len() => text[at] = random.next() as u8,
                1 => text.truncate(at),
                2 => {
                    let end = at + random.below(text.len() - at + 1);
                    let piece = text[at..end].to_vec();
                    text.splice(at..at, piece);
                }
                _ => {
                    let token = TOKENS[random.below(TOKENS.len())];
                    text.splice(at..at, token.bytes());
                }
            }
        }
        fuzz_resources(&text);
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "((type|kind|name|mesh|tracing|backends|conf|selectors|match|networking|inbound|tags|apiVersion|spec|metadata|a): ?(Mesh|TrafficTrace|Dataplane|kuma.io/v1alpha1|x|1|\\{a: b\\}|\\[\\{match: \\{a: '\\*'\\}\\}\\]|&a|\\*a)?\n|  |- |---\n|.{0,6}\n?){0,16}") {
        fuzz_resources(text.as_bytes());
    }
}
