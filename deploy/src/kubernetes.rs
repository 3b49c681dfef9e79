//! Manifests for `kubectl apply -f -`.
//!
//! Their text is in `templates/` and `kubernetes/crds.yaml`; what `install`
//! prints without options lies rendered in `kubernetes/`, written by
//! `cargo xtask gen manifests`.

use std::fmt;
use std::str::FromStr;

/// `Mesh` and `TrafficTrace` as custom resources.
pub const CRDS: &str = include_str!("../kubernetes/crds.yaml");

/// The configuration of agents whose manifest names no other.
pub const CONFIG: &str = include_str!("../kubernetes/nodespan.toml");

const AGENT: &str = include_str!("../templates/agent.yaml");
const TRACING: &str = include_str!("../templates/tracing.yaml");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where `kumactl install tracing` has put its Jaeger.
pub const TRACING_NAMESPACE: &str = "kuma-tracing";

/// Where agents are put.
pub const AGENT_NAMESPACE: &str = "nodespan";

/// What agents are made from, until a registry is named.
pub const AGENT_IMAGE: &str = concat!("nodespan:", env!("CARGO_PKG_VERSION"));

/// The files that lie rendered in `deploy/kubernetes`, with their content.
#[must_use]
pub fn rendered() -> [(&'static str, String); 2] {
    // Both names are checked by a test.
    let name = |text: &str| Namespace(text.to_owned());
    let image = Image(AGENT_IMAGE.to_owned());
    let config = ConfigText(CONFIG.to_owned());
    [
        ("agent.yaml", agent(&name(AGENT_NAMESPACE), &image, &config)),
        ("tracing.yaml", tracing(&name(TRACING_NAMESPACE))),
    ]
}

/// An agent on every node: namespace, service account, its rights,
/// configuration and DaemonSet.
#[must_use]
pub fn agent(namespace: &Namespace, image: &Image, config: &ConfigText) -> String {
    render(
        AGENT,
        &[
            ("namespace", &namespace.0),
            ("image", &image.0),
            ("version", VERSION),
            ("config", &config.0),
        ],
    )
}

/// A Jaeger to try things out with.
#[must_use]
pub fn tracing(namespace: &Namespace) -> String {
    render(TRACING, &[("namespace", &namespace.0)])
}

/// The name of a namespace: a label of RFC 1123.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

/// A reference to a container image, such as `registry:5000/nodespan:0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image(String);

/// A configuration that can stand in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigText(String);

/// Why something cannot stand in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edges = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || text.len() > 63 || edges || !text.chars().all(is_label) {
            return Err(Refused(format!(
                "{text:?} is no name of a namespace: 1 to 63 of a-z, 0-9 and -, not - at the ends"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Image {
    type Err = Refused;

    /// Takes what a reference is made of, and leaves the rest to the runtime.
    fn from_str(text: &str) -> Result<Self, Refused> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts || text.ends_with([':', '/', '@']) || !text.chars().all(fits) {
            return Err(Refused(format!(
                "{text:?} is no image: wanted something like registry/nodespan:{VERSION}"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ConfigText {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let text = text.replace("\r\n", "\n");
        // In a block of YAML the first line says how far all are indented.
        let text = text.trim_start_matches(['\n', ' ', '\t']).trim_end();
        // Readers of YAML 1.1 take U+2028 and U+2029 for ends of lines, too.
        let unfit = |c: char| match c {
            '\n' | '\t' => false,
            '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => true,
            other => other.is_control(),
        };
        if let Some(wrong) = text.chars().find(|c| unfit(*c)) {
            return Err(Refused(format!(
                "the configuration has a {wrong:?} in it, which YAML cannot hold"
            )));
        }
        Ok(Self(format!("{text}\n")))
    }
}

/// Puts values where their names stand in double braces. A value of several
/// lines keeps the indentation of its place.
fn render(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    for line in template.lines() {
        let indent = line.len() - line.trim_start().len();
        let (indent, rest) = line.split_at(indent);
        let mut rest = rest.to_owned();
        for (name, value) in values {
            rest = rest.replace(&format!("{{{{ {name} }}}}"), value);
        }
        for line in rest.lines().chain(rest.is_empty().then_some("")) {
            if !line.is_empty() {
                text.push_str(indent);
                text.push_str(line);
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_lies_rendered_is_what_is_printed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes");
        for (name, printed) in rendered() {
            let lies = fs::read_to_string(folder.join(name)).unwrap();
            assert!(lies == printed, "{name}: cargo xtask gen manifests");
            assert!(!printed.contains("{{"), "{name}");
        }
    }

    #[test]
    fn events_may_be_written_where_they_are_and_nowhere_else() {
        let (_, manifest) = &rendered()[0];
        let documents: Vec<&str> = manifest.split("\n---\n").collect();
        let of = |kind: &str| -> Vec<&&str> {
            let line = format!("\nkind: {kind}\n");
            let found = documents.iter().filter(|text| text.contains(&line));
            found.collect()
        };
        let writes = |text: &&&str| text.contains("create") || text.contains("events");
        assert!(of("ClusterRole").iter().all(|text| !writes(text)));
        let [role] = of("Role")[..] else {
            panic!("not one Role");
        };
        assert!(writes(&role) && role.contains("\n  namespace: default\n"));
        let [binding] = of("RoleBinding")[..] else {
            panic!("not one RoleBinding");
        };
        assert!(binding.contains("\n  namespace: default\n"));
    }

    #[test]
    fn defaults_are_what_may_be_given() {
        for namespace in [AGENT_NAMESPACE, TRACING_NAMESPACE] {
            assert_eq!(
                namespace.parse(),
                Ok(Namespace(namespace.to_owned())),
                "{namespace}"
            );
        }
        assert_eq!(AGENT_IMAGE.parse(), Ok(Image(AGENT_IMAGE.to_owned())));
        assert_eq!(CONFIG.parse(), Ok(ConfigText(CONFIG.to_owned())));
    }

    #[test]
    fn nothing_that_is_given_leaves_its_place() {
        for wrong in ["", "-a", "a-", "A", "a.b", "a b", "a\n", &"a".repeat(64)] {
            assert!(wrong.parse::<Namespace>().is_err(), "{wrong:?}");
        }
        for wrong in [
            "",
            ":1",
            "a b",
            "a:",
            "a\nb: c",
            "a#b",
            "'a'",
            "{{ config }}",
        ] {
            assert!(wrong.parse::<Image>().is_err(), "{wrong:?}");
        }
        for right in ["nodespan", "r:5000/team/nodespan:0.1.0", "n@sha256:0a1b"] {
            assert!(right.parse::<Image>().is_ok(), "{right:?}");
        }
        for wrong in [
            "a = 1\u{0}",
            "\u{1b}",
            "a\u{85}b",
            "a\rb",
            "# \u{2028}kind: X",
            "\u{ffff}",
        ] {
            assert!(wrong.parse::<ConfigText>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_configuration_stands_in_its_block_line_by_line() {
        let config = "\u{feff}\r\n  [capture]\r\nports = [1]\n\n  # {{ image }}\n\n".parse();
        let text = agent(
            &"elsewhere".parse().unwrap(),
            &"registry/n:1".parse().unwrap(),
            &config.unwrap(),
        );
        let block =
            "  nodespan.toml: |\n    [capture]\n    ports = [1]\n\n      # {{ image }}\n---\n";
        assert!(text.contains(block), "{text}");
        assert!(text.contains("\n        image: registry/n:1\n"));
        assert_eq!(text.matches("namespace: elsewhere\n").count(), 5);
        assert!(text.contains("\n  name: elsewhere\n"));
    }
}
