//! What is needed to run nodespan somewhere, as text a program can print.

/// The unit for systemd.
pub const SYSTEMD_UNIT: &str = include_str!("../systemd/nodespan.service");

/// The configuration that the unit begins with.
pub const SYSTEMD_CONFIG: &str = include_str!("../systemd/nodespan.toml");

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nodespan::config::{self, Settings};

    use super::*;

    const README: &str = include_str!("../../README.md");

    fn settings(text: &str, folder: &Path) -> Settings {
        let loaded = config::parse("nodespan.toml", text, folder).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.report.findings, [], "{}", loaded.report);
        loaded.settings
    }

    /// The README's blocks of TOML.
    fn examples() -> Vec<&'static str> {
        let blocks = README.split("\n```toml\n").skip(1);
        blocks.filter_map(|rest| rest.split("```").next()).collect()
    }

    #[test]
    fn the_units_configuration_is_valid() {
        let settings = settings(SYSTEMD_CONFIG, Path::new(""));
        assert!(settings.export.zipkin.is_some());
        assert!(SYSTEMD_UNIT.contains("nodespan run --config /etc/nodespan/nodespan.toml"));
    }

    #[test]
    fn the_readmes_examples_are_valid() {
        assert!(examples().len() >= 2);
        for example in examples() {
            settings(example, Path::new(""));
        }
    }

    /// What is commented out in the list has no default to show.
    #[test]
    fn the_readme_lists_every_key_with_its_default() {
        let all = |text: &&&str| text.contains("giveUpAfter");
        let list = *examples().iter().find(all).unwrap();
        assert_eq!(settings(list, Path::new("")), Settings::default());

        let folder = tempfile::tempdir().unwrap();
        for name in ["identity.key", "api.token"] {
            fs::write(folder.path().join(name), "0123456789abcdef").unwrap();
        }
        let uncommented = list.replace("\n#", "\n");
        let full = settings(&uncommented, folder.path());
        assert!(full.agent.service.is_some() && full.export.printed.is_some());

        // The names in the list are the names in the reader's own test.
        let tests = include_str!("../../agent/src/config/tests.rs");
        let every = tests.split("fn every_key()").nth(1).unwrap();
        let every = every.split("\"#").next().unwrap();
        let key = |line: &str| {
            let (name, _) = line.trim().trim_start_matches('#').split_once(" = ")?;
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric());
            is_name.then(|| name.to_owned())
        };
        for name in every.lines().filter_map(key) {
            let listed = |line: &str| key(line).is_some_and(|listed| listed == name);
            assert!(list.lines().any(listed), "{name} is not in the README");
        }
    }

    #[test]
    fn the_readme_names_every_metric() {
        let source = include_str!("../../agent/src/admin/metrics.rs");
        let source = source.split("#[cfg(test)]").next().unwrap();
        let mut names = 0;
        for literal in source.split('"').skip(1).step_by(2) {
            let of_metric = literal.ends_with("_total") || literal == "backend_queue_spans";
            if of_metric && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                names += 1;
                assert!(README.contains(&format!("nodespan_{literal}")), "{literal}");
            }
        }
        assert!(names > 10);
    }
}
