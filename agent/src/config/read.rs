//! The tables of `nodespan.toml`, one by one.

use std::path::Path;

use toml::de::DeTable;

use super::delivery::delivery;
use super::nearest;
use super::report::{Finding, Severity};
use super::settings::{Agent, Capture, Export, Output, Settings, ZipkinFormat};
use super::table::{At, Findings, Keys, Placed, Reader};
use super::url::backend_url;
use super::{MAX_KEY, read_at_most};
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::{Glob, Headerless};

/// What helps where a file is not TOML.
const TOML: &str =
    "a table is `[name]`, a key `name = value` with strings in quotes: https://toml.io/en/v1.0.0";

/// Settings and all findings; the settings are of use if none is an error.
/// `file` is the text's name.
pub(super) fn read(file: &str, text: &str, folder: &Path) -> (Settings, Vec<Finding>) {
    let findings = Findings::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    let extension = Path::new(file).extension().unwrap_or_default();
    if !errors.is_empty() && (extension == "yaml" || extension == "yml") {
        let at = At {
            field: String::new(),
            span: 0..0,
        };
        let hint = "write Traefik's `tracing:` as [tracing] in TOML; Kuma's resources are given with --resources";
        findings.error(&at, "this is YAML, wanted TOML", hint);
        return (Settings::default(), findings.into_sorted());
    }
    if !errors.is_empty() {
        // What is not TOML is not read any further: what can be made out of it
        // would give rise to errors that nobody made.
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let field = String::new();
            findings.error(&At { field, span }, error.message(), TOML);
        }
        return (Settings::default(), findings.into_sorted());
    }
    let mut root = Reader::new(&document, &findings);
    let mut settings = Settings::default();
    if let Some(table) = root.table("agent", Keys::Strict) {
        settings.agent = agent(table, folder, &findings);
    }
    if let Some(table) = root.table("capture", Keys::Strict) {
        settings.capture = capture(table, &findings);
    }
    let mut format_at = None;
    let tracing = root.table("tracing", Keys::Traefik);
    if let Some(table) = root.table("export", Keys::Strict) {
        settings.export = export(table, tracing.is_some(), folder, &mut format_at, &findings);
    }
    if let Some(table) = tracing {
        super::tracing::tracing(table, &mut settings, &findings);
    }
    if let Some(at) = &format_at {
        format_fits(&settings, at, &findings);
    }
    if let Some(table) = root.table("admin", Keys::Strict) {
        settings.admin = super::admin::admin(table, folder, &findings);
    }
    if let Some(table) = root.table("kubernetes", Keys::Strict) {
        settings.kubernetes = super::kubernetes::kubernetes(table, folder, &findings);
    }
    of_traefik(&mut root, &findings);
    root.finish();
    (settings, findings.into_sorted())
}

/// Says that the rest of Traefik's own file is of no account.
fn of_traefik(root: &mut Reader<'_>, findings: &Findings) {
    not_read(&root.leave(&TRAEFIK), findings);
}

/// Warns of what Traefik reads and nodespan does not.
pub(super) fn not_read(left: &[At], findings: &Findings) {
    let Some((first, others)) = left.split_first() else {
        return;
    };
    let names: Vec<&str> = others.iter().map(|at| at.field.as_str()).collect();
    let what = match names.as_slice() {
        [] => format!("`{}` is", first.field),
        names => format!(
            "`{}` and {} more ({}) are",
            first.field,
            names.len(),
            names.join(", ")
        ),
    };
    let message = format!("{what} Traefik's own and not read here");
    findings.warning(first, message, "of Traefik's file [tracing] alone counts");
}

/// What else stands in a file of Traefik, of its static configuration of 1.7
/// (`configuration/configuration.go`) and 2.x to 3.x
/// (`pkg/config/static/static_config.go`), and what 1.7 has beside it.
// Not `kubernetes`, which is a table of ours as well (`config::kubernetes`).
const TRAEFIK: [&str; 61] = [
    "accessLog",
    "accessLogsFile",
    "acme",
    "allowMinWeightZero",
    "api",
    "backends",
    "boltdb",
    "certificatesResolvers",
    "checkNewVersion",
    "cluster",
    "constraints",
    "consul",
    "consulCatalog",
    "core",
    "debug",
    "defaultEntryPoints",
    "docker",
    "dynamodb",
    "ecs",
    "entryPoints",
    "etcd",
    "eureka",
    "experimental",
    "file",
    "forwardingTimeouts",
    "frontends",
    "global",
    "graceTimeOut",
    "healthCheck",
    "hostResolver",
    "hub",
    "idleTimeout",
    "insecureSkipVerify",
    "keepTrailingSlash",
    "lifeCycle",
    "log",
    "logLevel",
    "marathon",
    "maxIdleConnsPerHost",
    "mesos",
    "metrics",
    "ocsp",
    "pilot",
    "ping",
    "providers",
    "providersThrottleDuration",
    "rancher",
    "respondingTimeouts",
    "rest",
    "retry",
    "rootCAs",
    "sendAnonymousUsage",
    "serversTransport",
    "serviceFabric",
    "spiffe",
    "tcpServersTransport",
    "tls",
    "traefikLog",
    "traefikLogsFile",
    "web",
    "zookeeper",
];

/// Says so if a Zipkin endpoint would refuse all that it is sent.
fn format_fits(settings: &Settings, at: &At, findings: &Findings) {
    if settings.export.zipkin_format == ZipkinFormat::default() {
        return;
    }
    let Some(endpoint) = settings.zipkin_endpoint() else {
        let hint = "remove it, or name a Zipkin endpoint";
        findings.warning(at, "no endpoint of Zipkin is configured", hint);
        return;
    };
    if !settings.export.zipkin_format.fits(endpoint) {
        let message = format!("{endpoint} does not take this format");
        let hint = "thrift goes to /api/v1/spans, proto to /api/v2/spans, json to either";
        findings.error(at, message, hint);
    }
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
            let message = format!("\"{}\" is there twice", word.value);
            findings.error(&word.at, message, "remove one of them");
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
            Err(empty) => {
                let hint = "remove it, or write a name, in which * stands for anything";
                findings.error(&pattern.at, format!("{empty}"), hint);
            }
        }
    }
    globs
}

fn export(
    mut table: Reader<'_>,
    beside_tracing: bool,
    folder: &Path,
    format_at: &mut Option<At>,
    findings: &Findings,
) -> Export {
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
        export.zipkin = backend_url(&url, ZIPKIN, findings);
    }
    if let Some(word) = table.string("zipkinFormat") {
        export.zipkin_format = one_of(&word, &FORMATS, findings).unwrap_or_default();
        *format_at = Some(word.at);
    }
    if let Some(shared) = table.bool("sharedSpans") {
        not_beside(&shared.at, "sameSpan");
        export.shared_spans = shared.value;
    }
    if let Some(wide) = table.bool("traceId128") {
        not_beside(&wide.at, "id128Bit");
        export.trace_width = width(wide.value);
    }
    export.delivery = delivery(&mut table, folder, findings);
    if let Some(bytes) = table.integer("datagramBytes", 1000..=65_507) {
        export.limits.datagram = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    table.finish();
    export
}

/// What an endpoint looks like. The path tells the format, as for Traefik's.
const ZIPKIN: &str = "http://HOST:PORT/api/v2/spans";

const FORMATS: [(&str, ZipkinFormat); 3] = [
    ("json", ZipkinFormat::Json),
    ("thrift", ZipkinFormat::Thrift),
    ("proto", ZipkinFormat::Proto),
];

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

pub(super) fn one_of<T: Copy>(
    word: &Placed<&str>,
    known: &[(&str, T)],
    findings: &Findings,
) -> Option<T> {
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
