//! What is needed to run nodespan somewhere, as text a program can print.

pub mod kubernetes;

/// The unit for systemd.
pub const SYSTEMD_UNIT: &str = include_str!("../nodespan.service");

/// The configuration that the unit begins with.
pub const SYSTEMD_CONFIG: &str = include_str!("../nodespan.toml");

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use nodespan::config::{self, Settings};
    use nodespan::sample::SamplerConfig;

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

    /// Values of a key of the unit.
    fn of_unit(key: &str) -> Vec<&'static str> {
        let lines = SYSTEMD_UNIT.lines();
        let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.collect()
    }

    #[test]
    fn the_unit_grants_what_is_needed_and_no_more() {
        let words = |key: &str| -> Vec<&str> {
            let values = of_unit(key);
            assert_eq!(values.len(), 1, "{key}");
            values[0].split_whitespace().collect()
        };
        assert_eq!(
            words("CapabilityBoundingSet"),
            [
                "CAP_BPF",
                "CAP_PERFMON",
                "CAP_SYS_PTRACE",
                "CAP_DAC_READ_SEARCH"
            ]
        );
        assert!(words("AmbientCapabilities").is_empty());
        assert_eq!(words("LimitMEMLOCK"), ["infinity"]);
        assert_eq!(words("NoNewPrivileges"), ["yes"]);
        assert_eq!(words("ProtectSystem"), ["strict"]);
        assert_eq!(
            words("SystemCallFilter"),
            ["@system-service", "bpf", "perf_event_open"]
        );
        // No try at what cannot get better (README, exit codes).
        assert_eq!(words("RestartPreventExitStatus"), ["2", "3"]);
        // Each of these would hide what it is there to see: other processes, or
        // the calls of other users.
        for key in [
            "ProtectProc",
            "ProcSubset",
            "PrivateUsers",
            "PrivateNetwork",
            "RootDirectory",
            "InaccessiblePaths",
        ] {
            assert!(of_unit(key).is_empty(), "{key}");
        }
        for (key, of_all) in [("User", "root"), ("DynamicUser", "no")] {
            assert!(of_unit(key).iter().all(|value| *value == of_all), "{key}");
        }
    }

    /// Instructions of the Dockerfile: their name and the rest, lines joined.
    fn dockerfile() -> Vec<(String, String)> {
        let text = include_str!("../Dockerfile");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", "");
        let instructions = joined.lines().filter_map(|line| line.split_once(' '));
        let own = |(name, rest): (&str, &str)| {
            let words: Vec<&str> = rest.split_whitespace().collect();
            (name.to_owned(), words.join(" "))
        };
        instructions.map(own).collect()
    }

    #[test]
    fn the_image_is_the_root_file_system_and_nothing_else() {
        let file = dockerfile();
        let names: Vec<&str> = file.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["FROM", "ARG", "ADD", "LABEL", "USER", "ENTRYPOINT", "CMD"];
        assert_eq!(names, expected);
        let of = |name: &str| {
            let found = file.iter().find(|(other, _)| other == name);
            found.map_or("", |(_, rest)| rest.as_str())
        };
        assert_eq!(of("FROM"), "scratch");
        assert_eq!(of("ADD"), "${ROOTFS} /");
        assert_eq!(of("USER"), "65532:65532");
        assert_eq!(of("ENTRYPOINT"), "[\"/usr/bin/nodespan\"]");
        let version = env!("CARGO_PKG_VERSION");
        let label = format!("org.opencontainers.image.version=\"{version}\"");
        assert!(of("LABEL").contains(&label));
        // What is named is all that is sent to who builds it.
        let (_, rootfs) = of("ARG").split_once('=').unwrap();
        let ignored = include_str!("../../.dockerignore");
        let lines = ignored.lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines, ["*", &format!("!{rootfs}")]);
    }

    #[test]
    fn the_configuration_in_clusters_is_valid() {
        let settings = settings(kubernetes::CONFIG, Path::new(""));
        assert_eq!(settings.output(), config::Output::None);
    }

    /// Whatever a page calls a configuration of nodespan's.
    #[test]
    fn the_pages_examples_are_valid() {
        let pages = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        let mut count = 0;
        for page in pages {
            let path = page.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            for block in text.split("\n```toml").skip(1) {
                let (name, rest) = block.split_once('\n').unwrap();
                // Traefik's own, which is read by others.
                if name.trim() != "traefik.toml" {
                    let example = rest.split("\n```").next().unwrap();
                    settings(example, Path::new(""));
                    count += 1;
                }
            }
        }
        assert!(count >= 4, "{count}");
    }

    #[test]
    fn the_readmes_examples_are_valid() {
        assert!(examples().len() >= 2);
        for example in examples() {
            settings(example, Path::new(""));
        }
    }

    /// The keys that a reader's test sets, by the name of the test.
    fn tested_keys<'a>(tests: &'a str, function: &str) -> Vec<&'a str> {
        let body = tests.split(function).nth(1).unwrap();
        let body = body.split("\n}\n").next().unwrap();
        // Files stand in raw strings.
        let files = body.split("r#\"").skip(1);
        let files = files.filter_map(|rest| rest.split("\"#").next());
        let keys: Vec<&str> = files.flat_map(str::lines).filter_map(key).collect();
        assert!(keys.len() > 3);
        keys
    }

    /// The key that a line sets, or would if it were not commented out.
    fn key(line: &str) -> Option<&str> {
        let (name, _) = line.trim().trim_start_matches('#').split_once(" = ")?;
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric());
        is_name.then_some(name)
    }

    #[test]
    fn the_readme_lists_every_key_of_tracing_with_its_default() {
        let of_tracing: Vec<_> = examples()
            .into_iter()
            .filter(|text| text.contains("[tracing]"))
            .collect();
        let tracing = |text: &str| settings(text, Path::new("")).tracing.unwrap();
        for backend in ["jaeger", "zipkin", "otlp"] {
            let least = format!("[tracing]\nbackend = \"{backend}\"\n");
            let list = of_tracing.iter().find(|text| text.contains(least.trim()));
            let list = tracing(list.unwrap());
            let default = tracing(&least);
            assert_eq!(list.backend, default.backend);
            assert_eq!(list.trace_width, default.trace_width);
            assert_eq!(list.name_limit, default.name_limit);
            assert_eq!(list.context_header, default.context_header);
            let flags = |tracing: &config::Tracing| (tracing.shared_spans, tracing.debug);
            assert_eq!(flags(&list), flags(&default));
            // A rate of 1 is everything too.
            let all = [
                SamplerConfig::Const(true),
                SamplerConfig::Probabilistic(1.0),
            ];
            assert!(all.contains(&list.sampler) && all.contains(&default.sampler));
            let uncommented = |text: &str| text.replace("\n#", "\n");
            let full = of_tracing.iter().find(|text| text.contains(least.trim()));
            tracing(&uncommented(full.unwrap()));
        }
        let tests = include_str!("../../agent/src/config/tests/tracing.rs");
        for name in tested_keys(tests, "fn every_key_of_tracing_works()") {
            let listed = |text: &&str| text.lines().any(|line| key(line) == Some(name));
            assert!(of_tracing.iter().any(listed), "{name} is not in the README");
        }
    }

    /// What is commented out in the list has no default to show.
    #[test]
    fn the_readme_lists_every_key_with_its_default() {
        let all = |text: &&&str| text.contains("giveUpAfter");
        let list = *examples().iter().find(all).unwrap();
        assert_eq!(settings(list, Path::new("")), Settings::default());

        let folder = tempfile::tempdir().unwrap();
        let authority = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        for (name, content) in [
            ("identity.key", "0123456789abcdef"),
            ("api.token", "0123456789abcdef"),
            ("ca.pem", &authority.cert.pem()),
            ("token", "secret"),
            ("proxy.auth", "user:secret"),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let uncommented = list.replace("\n#", "\n");
        let full = settings(&uncommented, folder.path());
        assert!(full.agent.service.is_some() && full.export.printed.is_some());

        // The names in the list are the names in the reader's own test.
        let tests = include_str!("../../agent/src/config/tests.rs");
        for name in tested_keys(tests, "fn every_key()") {
            let listed = |line: &str| key(line) == Some(name);
            assert!(list.lines().any(listed), "{name} is not in the README");
        }
    }

    #[test]
    fn the_readme_names_every_metric() {
        let source = include_str!("../../agent/src/admin/metrics.rs");
        let source = source.split("#[cfg(test)]").next().unwrap();
        let mut names = 0;
        for literal in source.split('"').skip(1).step_by(2) {
            let of_metric = literal.ends_with("_total") || literal.starts_with("backend_");
            if of_metric && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                names += 1;
                assert!(README.contains(&format!("nodespan_{literal}")), "{literal}");
            }
        }
        assert!(names > 10);
        let source = include_str!("../../agent/src/kubernetes/mirror.rs");
        let literals = source.split('"').skip(1).step_by(2);
        let of_metrics = literals.filter(|literal| literal.starts_with("kubernetes_"));
        let mut names = 0;
        for literal in of_metrics {
            names += 1;
            assert!(README.contains(&format!("nodespan_{literal}")), "{literal}");
        }
        assert!(names >= 10);
    }
}
