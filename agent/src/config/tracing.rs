//! Traefik's `[tracing]`: the keys of 1.6 and 1.7, what 2.x and 3.x added to
//! them, and our own `[tracing.otlp]`.
//!
//! The defaults are Traefik's (`research/backends.md` 1.1). What the sections
//! hold is in [`super::sections`].

use super::nearest;
use super::sections::{Section, jaeger, otlp, share, zipkin};
use super::settings::{Settings, Tracing, TracingBackend};
use super::table::{Findings, Keys, Placed, Reader};
use crate::export::NameLimit;
use crate::sample::SamplerConfig;

/// Backends that `backend` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Jaeger,
    Zipkin,
    Otlp,
}

impl Backend {
    const ALL: [(&str, Self); 3] = [
        ("jaeger", Self::Jaeger),
        ("zipkin", Self::Zipkin),
        ("otlp", Self::Otlp),
    ];

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, backend)| *backend == self);
        found.map_or("", |(name, _)| *name)
    }

    /// The Traefik that takes the backend for its section alone. 3.x has no
    /// other than OTLP, which 2.x has not.
    const fn unnamed_in(self) -> &'static str {
        match self {
            Self::Jaeger | Self::Zipkin => "Traefik 2",
            Self::Otlp => "Traefik 3",
        }
    }
}

/// Backends of Traefik's that take no format that is spoken here.
const OTHERS: [&str; 4] = ["datadog", "instana", "haystack", "elastic"];

const USE_OTLP: &str = "if it takes OTLP: backend = \"otlp\" and, below [tracing.otlp], endpoint = \"http://HOST:4318/v1/traces\"";

/// Reads the table into the settings.
pub(super) fn tracing(mut table: Reader<'_>, settings: &mut Settings, findings: &Findings) {
    let named = table.has("backend");
    let mut sections = Vec::new();
    for (name, of) in Backend::ALL {
        let section = table.table(name, Keys::Traefik);
        sections.extend(section.map(|section| (Some(of), section)));
    }
    for name in OTHERS {
        let section = table.table(name, Keys::Traefik);
        sections.extend(section.map(|section| (None, section)));
    }
    let backend = match named {
        true => backend(&mut table, findings),
        false => unnamed(&sections, findings),
    };
    service(&mut table, settings, findings);
    let name_limit = name_limit(&mut table, findings);
    let rate = table.number("sampleRate");
    let mut chosen = None;
    for (of, section) in sections {
        match backend {
            Some(_) if backend == of => chosen = Some(section),
            Some(backend) => ignored(&section, backend, of, findings),
            // Nobody knows which backend is meant: what is wrong with each is
            // said all the same.
            None => checked(of, section, findings),
        }
    }
    let mut section = match backend {
        Some(backend) => read(backend, chosen, findings),
        None => Section::of(TracingBackend::Otlp {
            endpoint: String::new(),
        }),
    };
    if let Some(rate) = rate {
        match backend {
            Some(Backend::Otlp) => section.sampler = sample_rate(&rate, findings),
            Some(Backend::Zipkin) => {
                let hint = "move it below [tracing.zipkin]";
                findings.warning(&rate.at, "this does nothing here", hint);
            }
            Some(Backend::Jaeger) => {
                let hint = "write samplingType and samplingParam below [tracing.jaeger]";
                findings.warning(&rate.at, "this does nothing here", hint);
            }
            None => {
                share(&rate, findings);
            }
        }
    }
    if let Some(propagation) = section.propagation {
        if settings.capture.context_order.is_empty() {
            settings.capture.context_order = propagation.value;
        } else {
            let message = "[capture] contextOrder decides this";
            findings.warning(&propagation.at, message, "remove one of them");
        }
    }
    settings.tracing = Some(Tracing {
        backend: section.backend,
        sampler: section.sampler,
        name_limit,
        context_header: section.context_header,
        trace_width: section.trace_width,
        shared_spans: section.shared_spans,
        debug: section.debug,
    });
    table.finish();
}

/// The backend where no key names one: of Traefik 1.x Jaeger, whatever sections
/// there are; of 2.x and 3.x, which have no such key, the one that has a section
/// (`pkg/server/service/tracing`). Both mean the same, but for a file in which
/// Jaeger has none: nobody writes a section to have it ignored.
fn unnamed(sections: &[(Option<Backend>, Reader<'_>)], findings: &Findings) -> Option<Backend> {
    let jaeger = sections.iter().any(|(of, _)| *of == Some(Backend::Jaeger));
    let Some((of, section)) = sections.first().filter(|_| !jaeger) else {
        return Some(Backend::Jaeger);
    };
    match of {
        Some(of) => {
            let message = format!(
                "no backend is named: \"{}\" is taken, as in {}",
                of.name(),
                of.unnamed_in()
            );
            let hint = format!(
                "write backend = \"{}\" below [tracing]; without it, Traefik 1 takes \"jaeger\"",
                of.name()
            );
            findings.warning(&section.at, message, &hint);
        }
        None => {
            let message = format!(
                "[{}] is not supported, and no other backend is named",
                section.at.field
            );
            let hint = format!("write backend = \"jaeger\" if that is meant; {USE_OTLP}");
            findings.error(&section.at, message, &hint);
        }
    }
    *of
}

/// The backend that is named; none if that is wrong.
fn backend(table: &mut Reader<'_>, findings: &Findings) -> Option<Backend> {
    let word = table.string("backend")?;
    let lower = word.value.to_ascii_lowercase();
    if OTHERS.contains(&lower.as_str()) {
        let message = format!("the backend \"{}\" is not supported", word.value);
        findings.error(&word.at, message, USE_OTLP);
        return None;
    }
    let known = Backend::ALL.iter().find(|(name, _)| *name == lower);
    if known.is_none() {
        let hint = match nearest(&lower, Backend::ALL.map(|(name, _)| name)) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "one of \"jaeger\", \"zipkin\", \"otlp\"".to_owned(),
        };
        let message = format!("unknown backend \"{}\"", word.value);
        findings.error(&word.at, message, &hint);
    }
    known.map(|(_, backend)| *backend)
}

fn service(table: &mut Reader<'_>, settings: &mut Settings, findings: &Findings) {
    let Some(service) = table.name("serviceName") else {
        return;
    };
    match &settings.agent.service {
        None => settings.agent.service = Some(service.value.into()),
        Some(ours) => {
            let message = format!("[agent] service = \"{ours}\" wins over this");
            findings.warning(&service.at, message, "remove one of them");
        }
    }
}

fn name_limit(table: &mut Reader<'_>, findings: &Findings) -> Option<NameLimit> {
    let bytes = table.placed_integer("spanNameLimit", 0..=1_000_000)?;
    let limit = NameLimit::new(usize::try_from(bytes.value).unwrap_or(usize::MAX))?;
    if limit.get() as u64 != bytes.value {
        let message = format!("{} is too short for a name", bytes.value);
        let hint = format!("as in Traefik, {} is taken instead", limit.get());
        findings.warning(&bytes.at, message, &hint);
    }
    Some(limit)
}

/// Says what is wrong with a section, whichever backend is meant. What one of
/// an unsupported backend may hold nobody knows here.
fn checked(of: Option<Backend>, section: Reader<'_>, findings: &Findings) {
    if let Some(of) = of {
        read(of, Some(section), findings);
    }
}

fn read(of: Backend, section: Option<Reader<'_>>, findings: &Findings) -> Section {
    match of {
        Backend::Jaeger => jaeger(section, findings),
        Backend::Zipkin => zipkin(section, findings),
        Backend::Otlp => otlp(section, findings),
    }
}

/// Says that a section is not looked at: it is another backend's.
fn ignored(section: &Reader<'_>, backend: Backend, of: Option<Backend>, findings: &Findings) {
    let message = format!(
        "[{}] is ignored: the backend is \"{}\"",
        section.at.field,
        backend.name()
    );
    let hint = match of {
        None => "remove it".to_owned(),
        Some(of) => format!("remove it, or write backend = \"{}\"", of.name()),
    };
    findings.warning(&section.at, message, &hint);
}

/// A sampler of this share.
pub(super) fn sample_rate(rate: &Placed<f64>, findings: &Findings) -> SamplerConfig {
    share(rate, findings).map_or_else(SamplerConfig::default, SamplerConfig::Probabilistic)
}
