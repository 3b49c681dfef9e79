//! The tables of `nodespan.toml`, one by one.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::nearest;
use super::report::{Finding, Severity};
use super::settings::{Agent, Capture, Export, Output, Settings};
use super::table::{At, Findings, Keys, Placed, Reader};
use super::{MAX_KEY, read_at_most};
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::{Glob, Headerless};

/// Settings and all findings; the settings are of use if none is an error.
pub(super) fn read(text: &str, folder: &Path) -> (Settings, Vec<Finding>) {
    let findings = Findings::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let field = String::new();
        findings.error(&At { field, span }, error.message(), "");
    }
    let mut root = Reader::new(&document, &findings);
    let mut settings = Settings::default();
    if let Some(table) = root.table("agent", Keys::Strict) {
        settings.agent = agent(table, folder, &findings);
    }
    if let Some(table) = root.table("capture", Keys::Strict) {
        settings.capture = capture(table, &findings);
    }
    let tracing = root.table("tracing", Keys::Traefik);
    if let Some(table) = root.table("export", Keys::Strict) {
        settings.export = export(table, tracing.is_some(), &findings);
    }
    if let Some(table) = tracing {
        super::tracing::tracing(table, &mut settings, &findings);
    }
    if let Some(table) = root.table("admin", Keys::Strict) {
        settings.admin = super::admin::admin(table, folder, &findings);
    }
    root.finish();
    (settings, findings.into_sorted())
}

fn agent(mut table: Reader<'_>, folder: &Path, findings: &Findings) -> Agent {
    let agent = Agent {
        service: table.name("service").map(|service| service.value.into()),
        node: table.name("node").map(|node| node.value.into()),
        identity_key: table
            .name("identityKeyFile")
            .and_then(|file| identity_key(&file, folder, findings))
            .unwrap_or_default(),
    };
    table.finish();
    agent
}

fn identity_key(file: &Placed<&str>, folder: &Path, findings: &Findings) -> Option<IdentityKey> {
    let path = folder.join(file.value);
    let message = match read_at_most(&path, MAX_KEY) {
        Ok(Some(content)) => match IdentityKey::derive(&content) {
            Ok(key) => return Some(key),
            Err(short) => format!("the key file {}: {short}", path.display()),
        },
        Ok(None) => format!(
            "the key file {} is longer than {MAX_KEY} bytes",
            path.display()
        ),
        Err(error) => format!("cannot read the key file {}: {error}", path.display()),
    };
    let hint = "make one with `openssl rand -hex 32`, the same for all nodes";
    findings.error(&file.at, message, hint);
    None
}

fn capture(mut table: Reader<'_>, findings: &Findings) -> Capture {
    let mut capture = Capture::default();
    let selection = &mut capture.selection;
    selection.ports = table.ports("ports").unwrap_or_default();
    selection.include = globs(table.strings("include"), findings);
    selection.exclude = globs(table.strings("exclude"), findings);
    selection.exclude_paths = globs(table.strings("excludePaths"), findings);
    if let Some(word) = table.string("headerless") {
        let known = [
            ("new-trace", Headerless::NewTrace),
            ("ignore", Headerless::Ignore),
        ];
        selection.headerless = one_of(&word, &known, findings).unwrap_or_default();
    }
    for word in table.strings("contextOrder").unwrap_or_default() {
        let known = [
            ("b3", Format::B3Single),
            ("b3-multi", Format::B3Multi),
            ("traceparent", Format::TraceParent),
            ("uber-trace-id", Format::Uber),
        ];
        let Some(format) = one_of(&word, &known, findings) else {
            continue;
        };
        if capture.context_order.contains(&format) {
            findings.error(&word.at, format!("\"{}\" is there twice", word.value), "");
        } else {
            capture.context_order.push(format);
        }
    }
    if let Some(redact) = table.bool("redactQuery") {
        capture.redact_query = redact.value;
    }
    table.finish();
    capture
}

fn globs(patterns: Option<Vec<Placed<&str>>>, findings: &Findings) -> Vec<Glob> {
    let mut globs = Vec::new();
    for pattern in patterns.unwrap_or_default() {
        match pattern.value.parse() {
            Ok(glob) => globs.push(glob),
            Err(empty) => findings.error(&pattern.at, format!("{empty}"), ""),
        }
    }
    globs
}

fn export(mut table: Reader<'_>, beside_tracing: bool, findings: &Findings) -> Export {
    let mut export = Export::default();
    if let Some(word) = table.string("output") {
        export.printed = one_of(&word, &OUTPUTS, findings);
    }
    // What Traefik's table decides must not be decided twice.
    let not_beside = |at: &At, theirs: &str| {
        if beside_tracing {
            let message = format!("with [tracing] in the file, `{theirs}` there decides this");
            findings.error(at, message, "remove this key, or [tracing]");
        }
    };
    if let Some(url) = table.name("zipkinEndpoint") {
        not_beside(&url.at, "httpEndpoint");
        export.zipkin = endpoint(&url, findings);
    }
    if let Some(shared) = table.bool("sharedSpans") {
        not_beside(&shared.at, "sameSpan");
        export.shared_spans = shared.value;
    }
    if let Some(wide) = table.bool("traceId128") {
        not_beside(&wide.at, "id128Bit");
        export.trace_width = width(wide.value);
    }
    let mut number = |key, limits, setting: &mut u64| {
        if let Some(value) = table.integer(key, limits) {
            *setting = value;
        }
    };
    number("batchSpans", 1..=100_000, &mut export.batch_spans);
    number("batchBytes", 1000..=50_000_000, &mut export.batch_bytes);
    number("queueSpans", 1..=10_000_000, &mut export.queue_spans);
    number("queueBytes", 10_000..=4 << 30, &mut export.queue_bytes);
    let mut duration = |key, from, to, setting: &mut Duration| {
        if let Some(value) = table.duration(key, from..=to) {
            *setting = value;
        }
    };
    let (ms, min, hours) = (
        Duration::from_millis,
        Duration::from_mins,
        Duration::from_hours,
    );
    duration("batchDelay", ms(1), min(1), &mut export.batch_delay);
    duration(
        "connectTimeout",
        ms(10),
        min(5),
        &mut export.connect_timeout,
    );
    duration("answerTimeout", ms(10), min(5), &mut export.answer_timeout);
    duration("giveUpAfter", ms(0), hours(24), &mut export.give_up_after);
    table.finish();
    export
}

const OUTPUTS: [(&str, Output); 3] = [
    ("console", Output::Console),
    ("jsonl", Output::Jsonl),
    ("none", Output::None),
];

pub(super) const fn width(wide: bool) -> TraceWidth {
    if wide {
        TraceWidth::Bits128
    } else {
        TraceWidth::Bits64
    }
}

/// Traefik's path of Zipkin's first API, and the second one's.
const V1: &str = "/api/v1/spans";
pub(super) const V2: &str = "/api/v2/spans";

/// A URL of Zipkin's second API. Traefik's files name the first one
/// (`httpEndpoint`'s default); every server that has it has the second beside
/// it (`ZipkinHttpCollector.java`).
pub(super) fn endpoint(url: &Placed<&str>, findings: &Findings) -> Option<String> {
    let example = "write http://HOST:PORT/api/v2/spans";
    let value = url.value.trim();
    let Some((scheme, rest)) = value.split_once("://") else {
        findings.error(&url.at, format!("\"{value}\" is not a URL"), example);
        return None;
    };
    let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
    let problem = if scheme.eq_ignore_ascii_case("https") {
        "https is not supported yet"
    } else if !scheme.eq_ignore_ascii_case("http") {
        "the scheme is not http"
    } else if authority.contains('@') {
        "a name and password in the URL are not supported"
    } else if authority.is_empty() || authority.starts_with(':') {
        "the URL names no host"
    } else if value.contains(char::is_whitespace) || value.contains(char::is_control) {
        "there is white space in the URL"
    } else if port_is_wrong(authority) {
        "the port is not a number from 1 to 65535"
    } else {
        if let Some(base) = value.strip_suffix(V1) {
            let endpoint = format!("{base}{V2}");
            let message = format!("Zipkin's first API is not spoken; spans go to {endpoint}");
            findings.warning(&url.at, message, "name that URL to be rid of this warning");
            return Some(endpoint);
        }
        return Some(value.to_owned());
    };
    findings.error(&url.at, problem, example);
    None
}

fn port_is_wrong(authority: &str) -> bool {
    let after_host = match authority.rsplit_once(']') {
        Some((_, after)) => after,
        None => authority,
    };
    let Some((_, port)) = after_host.rsplit_once(':') else {
        return false;
    };
    !port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn one_of<T: Copy>(word: &Placed<&str>, known: &[(&str, T)], findings: &Findings) -> Option<T> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == word.value) {
        return Some(*value);
    }
    let names = || known.iter().map(|(name, _)| *name);
    let hint = match nearest(word.value, names()) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => {
            let names: Vec<String> = names().map(|name| format!("\"{name}\"")).collect();
            format!("one of {}", names.join(", "))
        }
    };
    let message = format!("unknown value \"{}\"", word.value);
    findings.add(Severity::Error, &word.at, message, Some(hint));
    None
}
