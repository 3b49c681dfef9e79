//! `nodespan apply`, `get` and `delete`: the resources of the running agent,
//! through its HTTP API, as `kumactl` does it.

mod source;
mod table;
mod template;
mod yaml;

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use self::source::{Source, SourceError};
use self::template::Variables;
use super::args::{AgentArgs, ApplyArgs, Collection, DeleteArgs, Format, GetArgs, Type};
use super::say::{complain, say};
use super::{FAILED, RunError, USAGE, runtime};
use crate::admin::api::Token;
use crate::admin::api::client::{Client, ClientError};
use crate::config::resources;
use crate::policy::{Kind, ResourceKey};

/// Why resources were not applied, shown or deleted.
#[derive(Debug, thiserror::Error)]
enum ResourcesError {
    /// What was typed does not go together.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A template cannot be filled in.
    #[error("{file}: {source}")]
    Template {
        /// Which file.
        file: String,
        /// What is wrong.
        source: template::TemplateError,
    },
    /// Files are wrong; the reports have been shown.
    #[error("nothing was applied")]
    Invalid,
    /// There is nothing in the files.
    #[error("no resource in {0}")]
    Nothing(String),
    /// The file of the token is none.
    #[error("the token file {file}: {reason}")]
    Token {
        /// Which file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The agent says no, of this resource.
    #[error("{resource}: {}{source}", side(source))]
    Put {
        /// As `kumactl` names it.
        resource: String,
        /// What it says.
        source: ClientError,
    },
    /// There is none.
    #[error("there is no {kind} with name {name:?}")]
    NotThere {
        /// What.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The agent does not answer as wanted.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system refuses what a client needs.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Who failed: `kumactl`'s words for an agent that says no.
const fn side(source: &ClientError) -> &'static str {
    match source {
        ClientError::Refused { .. } => "failed server side: ",
        _ => "",
    }
}

pub(super) fn apply(args: &ApplyArgs) -> ExitCode {
    finish(try_apply(args))
}

pub(super) fn get(args: &GetArgs) -> ExitCode {
    finish(try_get(args))
}

pub(super) fn delete(args: &DeleteArgs) -> ExitCode {
    finish(try_delete(args))
}

fn finish(outcome: Result<(), ResourcesError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("nodespan: {error}");
            ExitCode::from(match error {
                ResourcesError::Usage(_) => USAGE,
                _ => FAILED,
            })
        }
    }
}

fn try_apply(args: &ApplyArgs) -> Result<(), ResourcesError> {
    let mut sources = Vec::new();
    for file in &args.files {
        sources.extend(source::read(file)?);
    }
    let mut found = resources(sources, &args.variables)?;
    if found.is_empty() {
        return Err(ResourcesError::Nothing(args.files.join(", ")));
    }
    // A mesh must be there before what is of it.
    found.sort_by_key(|(key, _)| key.kind);
    if args.dry_run {
        for (n, (_, value)) in found.into_iter().enumerate() {
            let separator = if n > 0 { "---\n" } else { "" };
            say!("{separator}{}", yaml::write(&Value::Object(value)));
        }
        return Ok(());
    }
    let client = client(&args.agent)?;
    runtime()?.block_on(async {
        for (key, value) in &found {
            let resource = named(key);
            match client.put(key, value).await {
                Ok((created, warnings)) => {
                    let action = if created { "Created" } else { "Updated" };
                    say!("{resource} {action}");
                    for warning in warnings {
                        complain!("warning: {resource}: {warning}");
                    }
                }
                Err(source) => return Err(ResourcesError::Put { resource, source }),
            }
        }
        Ok(())
    })
}

/// A resource in its Universal form.
type Keyed = (ResourceKey, Map<String, Value>);

/// The valid resources of these texts. What is wrong with any of them is
/// shown, at its place.
fn resources(
    sources: Vec<Source>,
    variables: &[(String, String)],
) -> Result<Vec<Keyed>, ResourcesError> {
    let variables = Variables::new(variables);
    let mut found = Vec::new();
    let mut wrong = false;
    for Source { name, text } in sources {
        let text = variables
            .fill(&text)
            .map_err(|source| ResourcesError::Template {
                file: name.clone(),
                source,
            })?;
        let report = resources::parse(&name, &text).report;
        if report.has_errors() {
            complain!("{report}");
            wrong = true;
            continue;
        }
        for value in resources::values(&name, &text).unwrap_or_default() {
            match key(&value) {
                Some(key) => found.push((key, value)),
                None => complain!("warning: {name}: {} is skipped", skipped(&value)),
            }
        }
    }
    match wrong {
        true => Err(ResourcesError::Invalid),
        false => Ok(found),
    }
}

/// The identity of a valid resource, if it is of a kind that is known.
fn key(value: &Map<String, Value>) -> Option<ResourceKey> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let kind = text("type")?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    let name: Arc<str> = text("name")?.into();
    let mesh = match kind {
        Kind::Mesh => Arc::clone(&name),
        _ => text("mesh")?.into(),
    };
    Some(ResourceKey { kind, mesh, name })
}

fn skipped(value: &Map<String, Value>) -> String {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("type={:?} name={:?}", text("type"), text("name"))
}

/// As `kumactl` names a resource: a Mesh is of no mesh.
fn named(key: &ResourceKey) -> String {
    let mesh = match key.kind {
        Kind::Mesh => "",
        _ => &*key.mesh,
    };
    let (kind, name) = (key.kind.as_str(), &key.name);
    format!("resource type={kind:?} mesh={mesh:?} name={name:?}")
}

fn try_get(args: &GetArgs) -> Result<(), ResourcesError> {
    let (kind, many) = args.collection.means();
    let client = client(&args.agent)?;
    let shown = match (&args.name, many) {
        (Some(name), false) => {
            let key = of_args(kind, &args.mesh, name);
            let found = runtime()?.block_on(client.get(&key))?;
            found.ok_or_else(|| ResourcesError::NotThere {
                kind,
                name: name.clone(),
            })?
        }
        (None, true) => {
            let mesh = (kind != Kind::Mesh).then_some(&*args.mesh);
            let items = runtime()?.block_on(client.list(kind, mesh))?;
            json!({ "total": items.len(), "items": items, "next": null })
        }
        (Some(_), true) => {
            let one = Collection::one(kind);
            let text = format!("a list has no name; `nodespan get {one} NAME` shows one");
            return Err(ResourcesError::Usage(text));
        }
        (None, false) => {
            let all = Collection::all(kind);
            let text = format!("which {kind}? give its NAME; `nodespan get {all}` shows all");
            return Err(ResourcesError::Usage(text));
        }
    };
    match args.output {
        Format::Json => say!("{shown:#}"),
        Format::Yaml => say!("{}", yaml::write(&shown)),
        Format::Table => {
            let one = [shown.clone()];
            let items = match many {
                true => shown
                    .get("items")
                    .and_then(Value::as_array)
                    .map(Vec::as_slice),
                false => Some(&one[..]),
            };
            let now = OffsetDateTime::now_utc();
            say!("{}", table::write(kind, items.unwrap_or_default(), now));
        }
    }
    Ok(())
}

fn try_delete(args: &DeleteArgs) -> Result<(), ResourcesError> {
    let kind = match args.kind {
        Type::Mesh => Kind::Mesh,
        Type::TrafficTrace => Kind::TrafficTrace,
        Type::Dataplane => Kind::Dataplane,
    };
    let client = client(&args.agent)?;
    let key = of_args(kind, &args.mesh, &args.name);
    if !runtime()?.block_on(client.delete(&key))? {
        let name = args.name.clone();
        return Err(ResourcesError::NotThere { kind, name });
    }
    say!("deleted {kind} {:?}", args.name);
    Ok(())
}

fn of_args(kind: Kind, mesh: &str, name: &str) -> ResourceKey {
    let mesh = match kind {
        Kind::Mesh => name,
        _ => mesh,
    };
    ResourceKey {
        kind,
        mesh: mesh.into(),
        name: name.into(),
    }
}

fn client(args: &AgentArgs) -> Result<Client, ResourcesError> {
    let token = args.token_file.as_ref().map(|file| {
        let wrong = |reason: String| ResourcesError::Token {
            file: file.display().to_string(),
            reason,
        };
        let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
        Token::new(&text).map_err(|error| wrong(error.to_string()))
    });
    Ok(Client::new(&args.agent, token.transpose()?))
}
