//! `nodespan explain`.

mod asked;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use super::FAILED;
use super::args::{ExplainArgs, Show};
use super::say::{complain, say};
use crate::config::resources;
use crate::policy::{ANY, Candidate, Engine, Explanation, Fate, Inbound, NearMiss, Tags};

/// Says why a workload is or is not traced.
pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    if let (Some(agent), Some(workload)) = (&args.agent, &args.workload) {
        return asked::explain(agent, workload, args.output);
    }
    let loaded = match resources::load(&args.resources) {
        Ok(loaded) => loaded,
        Err(refused) => {
            complain!("{refused}");
            return ExitCode::from(FAILED);
        }
    };
    let inbounds: Vec<Inbound> = args.tags.iter().cloned().map(Inbound::from).collect();
    let engine = Engine::new(Arc::clone(&loaded.resources));
    let explanation = engine.explain(&args.mesh, &inbounds);
    match args.output {
        Show::Text => say!("{}", render(&explanation)),
        Show::Json => match serde_json::to_string(&explanation.summary()) {
            Ok(json) => say!("{json}"),
            Err(error) => {
                complain!("nodespan: {error}");
                return ExitCode::from(FAILED);
            }
        },
    }
    ExitCode::SUCCESS
}

/// The value of `--tags`: `k=v,k=v`.
pub(super) fn parse_tags(text: &str) -> Result<Tags, String> {
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for tag in text.split(',').filter(|tag| !tag.is_empty()) {
        let Some((name, value)) = tag.split_once('=') else {
            return Err(format!("`{tag}` is not NAME=VALUE"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.is_empty() {
            return Err(format!("`{tag}` lacks a name or a value"));
        }
        if value == ANY {
            return Err(format!("`{tag}`: a workload's own tags have no `*`"));
        }
        if tags.iter().any(|(other, _)| *other == name) {
            return Err(format!("`{name}` is there twice"));
        }
        tags.push((name, value));
    }
    Ok(tags.into_iter().collect())
}

/// An explanation for people.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible = write_all(&mut text, explanation);
    text
}

fn write_all(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation {
        mesh,
        inbounds,
        matched,
        near,
        policies,
        policy,
        backend,
        traced,
        reason,
        notes: _,
    } = explanation;
    writeln!(text, "workload of mesh \"{}\"", clean(mesh))?;
    for (n, inbound) in inbounds.iter().enumerate() {
        let tags = pairs(inbound.tags.iter());
        writeln!(
            text,
            "  inbound {}  {}  {tags}",
            n + 1,
            clean(&inbound.protocol)
        )?;
    }
    writeln!(text, "policies: {} of {policies} match", matched.len())?;
    for candidate in matched {
        self::candidate(text, candidate)?;
    }
    for miss in near {
        near_miss(text, miss)?;
    }
    writeln!(
        text,
        "policy:   {}",
        clean(policy.as_deref().unwrap_or("none"))
    )?;
    match backend {
        Some(backend) => writeln!(
            text,
            "backend:  {}, {} at {}\nsampling: {} %",
            clean(&backend.name),
            backend.kind,
            clean(&backend.url),
            backend.sampling
        )?,
        None => writeln!(text, "backend:  none")?,
    }
    let answer = if *traced { "yes" } else { "no" };
    writeln!(text, "traced:   {answer}: {}", clean(reason))
}

fn candidate(text: &mut String, candidate: &Candidate) -> std::fmt::Result {
    let Candidate {
        policy,
        selector,
        rank,
        fate,
    } = candidate;
    let mark = if *fate == Fate::Won { '*' } else { '-' };
    let fate = match fate {
        Fate::Won => "wins",
        Fate::FewerTags => "loses: fewer tags",
        Fate::FewerExact => "loses: as many tags, fewer of them exact",
        Fate::Older => "loses: as specific, but created earlier",
        Fate::LaterName => "loses: as specific and as old, later by name",
        Fate::NoMesh => "does not count: there is no such Mesh",
    };
    let tags = if rank.total() == 1 { "tag" } else { "tags" };
    writeln!(
        text,
        "  {mark} {}  {{{}}}  {} {tags}, {} exact  {fate}",
        clean(policy),
        pairs(selector.iter()),
        rank.total(),
        rank.exact(),
    )
}

fn near_miss(text: &mut String, miss: &NearMiss) -> std::fmt::Result {
    write!(text, "    {}  does not match:", clean(&miss.policy))?;
    for (n, unmet) in miss.unmet.iter().enumerate() {
        let separator = if n > 0 { "," } else { "" };
        let tag = clean(&unmet.tag);
        match &unmet.found {
            None => write!(text, "{separator} there is no {tag}")?,
            Some(found) => write!(
                text,
                "{separator} {tag} is {}, wanted {}",
                clean(found),
                clean(&unmet.wanted)
            )?,
        }
    }
    writeln!(text)
}

fn pairs<'a>(tags: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let tags = tags.map(|(name, value)| format!("{}={}", clean(name), clean(value)));
    tags.collect::<Vec<_>>().join(", ")
}

/// No escape sequence for the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resources::parse;
    use crate::policy::Resources;

    const RESOURCES: &str = "
type: Mesh
name: default
tracing:
  backends:
  - {name: jaeger-collector, type: zipkin, sampling: 30.5, conf: {url: 'http://u:secret@z:9411/api/v2/spans'}}
---
{type: TrafficTrace, mesh: default, name: all, selectors: [{match: {kuma.io/service: '*'}}], conf: {backend: jager-collector}}
---
{type: TrafficTrace, mesh: default, name: web, selectors: [{match: {kuma.io/service: web}}], conf: {backend: jaeger-collector}}
---
{type: TrafficTrace, mesh: default, name: web-old, selectors: [{match: {kuma.io/service: web}}]}
---
{type: TrafficTrace, mesh: default, name: eu, selectors: [{match: {kuma.io/service: web, zone: eu}}]}
";

    fn explanation(tags: &[&str]) -> Explanation {
        let parsed = parse("r.yaml", RESOURCES);
        assert!(!parsed.report.has_errors(), "{}", parsed.report);
        let resources: Resources = parsed.resources.into_iter().collect();
        let inbounds: Vec<Inbound> = tags
            .iter()
            .map(|text| parse_tags(text).unwrap().into())
            .collect();
        Engine::new(Arc::new(resources)).explain("default", &inbounds)
    }

    #[test]
    fn the_text_says_who_won_and_why() {
        let text = render(&explanation(&["kuma.io/service=web,kuma.io/protocol=HTTP"]));
        assert_eq!(
            text,
            "workload of mesh \"default\"
  inbound 1  http  kuma.io/protocol=HTTP, kuma.io/service=web
policies: 3 of 4 match
  * web  {kuma.io/service=web}  1 tag, 1 exact  wins
  - web-old  {kuma.io/service=web}  1 tag, 1 exact  loses: as specific and as old, later by name
  - all  {kuma.io/service=*}  1 tag, 0 exact  loses: as many tags, fewer of them exact
    eu  does not match: there is no zone
policy:   web
backend:  jaeger-collector, zipkin at http://z:9411/api/v2/spans
sampling: 30.5 %
traced:   yes: policy \"web\" sends its spans to backend \"jaeger-collector\"
"
        );
    }

    #[test]
    fn the_json_is_as_designed() {
        let json = |tags: &[&str]| serde_json::to_string(&explanation(tags).summary()).unwrap();
        assert_eq!(
            json(&["kuma.io/service=web,kuma.io/protocol=http"]),
            r#"{"mesh":"default","policy":"web","backend":{"name":"jaeger-collector","type":"zipkin","url":"http://z:9411/api/v2/spans","sampling":30.5},"traced":true,"reason":"policy \"web\" sends its spans to backend \"jaeger-collector\""}"#
        );
        assert_eq!(
            json(&["kuma.io/service=api,kuma.io/protocol=http"]),
            r#"{"mesh":"default","policy":"all","backend":null,"traced":false,"reason":"policy \"all\" names backend \"jager-collector\", which mesh \"default\" does not have; the nearest is \"jaeger-collector\""}"#
        );
        assert_eq!(
            json(&["version=1"]),
            r#"{"mesh":"default","policy":null,"backend":null,"traced":false,"reason":"none of the 4 TrafficTraces of mesh \"default\" matches"}"#
        );
    }

    #[test]
    fn an_explanation_can_be_sent() {
        let explanation = explanation(&["kuma.io/service=web,kuma.io/protocol=grpc"]);
        let json = serde_json::to_string(&explanation).unwrap();
        assert_eq!(
            serde_json::from_str::<Explanation>(&json).unwrap(),
            explanation
        );
        assert!(!json.contains("secret"));
    }

    #[test]
    fn policies_of_a_mesh_that_does_not_exist_are_told_of() {
        let lost = "{type: TrafficTrace, mesh: defualt, name: lost, selectors: [{match: {a: b}}]}";
        let parsed = parse("r.yaml", &format!("{RESOURCES}---\n{lost}\n"));
        let resources: Resources = parsed.resources.into_iter().collect();
        let engine = Engine::new(Arc::new(resources));
        let inbounds: [Inbound; 1] = [parse_tags("a=b").unwrap().into()];
        let explain = |mesh: &str| render(&engine.explain(mesh, &inbounds));
        let text = explain("default");
        let says = "policy \"lost\" would match, but it is of mesh \"defualt\"";
        assert!(text.contains(says), "{text}");
        let text = explain("defualt");
        assert!(
            text.contains("  - lost  {a=b}  1 tag, 1 exact  does not count"),
            "{text}"
        );
        assert!(
            text.contains("there is no Mesh \"defualt\"; did you mean \"default\"?"),
            "{text}"
        );
    }

    #[test]
    fn tags_that_cannot_be() {
        for (text, says) in [
            ("web", "`web` is not NAME=VALUE"),
            ("=web", "lacks a name"),
            ("a=", "lacks a name or a value"),
            ("a=*", "no `*`"),
            ("a=1,a=2", "`a` is there twice"),
        ] {
            let error = parse_tags(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(
            parse_tags(" a = b=c ,d=e").unwrap().to_string(),
            "{a=b=c, d=e}"
        );
        assert!(parse_tags("").unwrap().is_empty());
    }
}
