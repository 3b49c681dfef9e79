//! `nodespan install`: manifests on standard output.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nodespan_deploy::kubernetes::{self, ConfigText, Image, Refused};

use super::FAILED;
use super::args::{Install, InstallAgentArgs};
use super::say::{complain, say};
use crate::config::{self, Listen, LoadError, Report, Severity};

/// Prints what was asked for.
pub(super) fn install(what: &Install) -> ExitCode {
    let text = match what {
        Install::Agent(args) => agent(args),
        Install::Crds => Ok(kubernetes::CRDS.to_owned()),
        Install::Tracing(args) => Ok(kubernetes::tracing(&args.namespace)),
    };
    match text {
        Ok(text) => {
            say!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("nodespan: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Config(LoadError),
    #[error("{}: {refused}", path.display())]
    Text { path: PathBuf, refused: Refused },
}

fn agent(args: &InstallAgentArgs) -> Result<String, InstallError> {
    let text = match &args.config {
        Some(path) => read(path)?,
        None => kubernetes::CONFIG.to_owned(),
    };
    let text = text.parse::<ConfigText>().map_err(|refused| {
        let path = args.config.clone().unwrap_or_default();
        InstallError::Text { path, refused }
    })?;
    if let Some(unfit) = no_registry(&args.image) {
        complain!("{unfit}");
    }
    Ok(kubernetes::agent(&args.namespace, &args.image, &text))
}

/// What is to be said of the image that nobody named: nodes would look for it
/// in Docker's registry.
fn no_registry(image: &Image) -> Option<String> {
    (image.to_string() == kubernetes::AGENT_IMAGE).then(|| {
        format!(
            "warning: no registry has {image}: nodes take it for docker.io/library/{image}; \
             name yours with --image (deploy/Dockerfile makes it), or load it into every node"
        )
    })
}

/// Reads a configuration that agents will not refuse, as far as can be told
/// here: files that it names are those of their pods.
fn read(path: &Path) -> Result<String, InstallError> {
    let text = fs::read_to_string(path).map_err(|source| InstallError::Read {
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    match config::parse(&path.display().to_string(), &text, folder) {
        Ok(loaded) => {
            complain_of(&loaded.report);
            complain_of_files(&text);
            if !hears_probes(&loaded.settings.admin.listen) {
                complain!(
                    "warning: the kubelet's probes will fail and the pods be started again and again: they need [admin] listen = \"[::]:{PROBED}\""
                );
            }
        }
        Err(LoadError::Invalid(report)) if report.findings.iter().all(is_of_elsewhere) => {
            complain_of(&report);
            complain_of_files(&text);
        }
        Err(error) => return Err(InstallError::Config(error)),
    }
    Ok(text)
}

/// The port that the manifest's probes ask, at the pod's address.
const PROBED: u16 = 9903;

fn hears_probes(listen: &Listen) -> bool {
    matches!(listen, Listen::At(at) if at.ip().is_unspecified() && at.port() == PROBED)
}

fn complain_of_files(text: &str) {
    for key in files_of(text) {
        complain!(
            "warning: {key} names a file, which the manifest does not mount: give the DaemonSet a volume from a Secret of yours"
        );
    }
}

/// The keys of a configuration that name files of the pod.
fn files_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left: Vec<(String, toml::Value)> = match text.parse::<toml::Table>() {
        Ok(table) => table.into_iter().collect(),
        // Whoever reads the configuration says why.
        Err(_) => Vec::new(),
    };
    while let Some((key, value)) = left.pop() {
        match value {
            toml::Value::Table(table) => {
                left.extend(
                    table
                        .into_iter()
                        .map(|(of, value)| (format!("{key}.{of}"), value)),
                );
            }
            toml::Value::Array(all) => left.extend(all.into_iter().map(|one| (key.clone(), one))),
            toml::Value::String(_) if key.ends_with("File") || key.ends_with(".kubeconfig") => {
                found.push(key);
            }
            _ => {}
        }
    }
    found.sort();
    found
}

fn complain_of(report: &Report) {
    if !report.findings.is_empty() {
        complain!("{report}");
    }
}

fn is_of_elsewhere(finding: &config::Finding) -> bool {
    finding.severity == Severity::Warning || finding.field.ends_with("File")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(config: Option<&str>) -> Result<String, InstallError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodespan.toml");
        if let Some(config) = config {
            fs::write(&path, config).unwrap();
        }
        agent(&InstallAgentArgs {
            namespace: "here".parse().unwrap(),
            image: "image".parse().unwrap(),
            config: Some(path),
        })
    }

    #[test]
    fn files_that_no_pod_has_are_named() {
        let text = r#"
            [agent]
            identityKeyFile = "/etc/key"
            service = "File"
            [export.zipkin]
            url = "http://x:9411/api/v2/spans"
            bearerTokenFile = "/etc/token"
            [kubernetes]
            kubeconfig = "admin.conf"
        "#;
        let all = [
            "agent.identityKeyFile",
            "export.zipkin.bearerTokenFile",
            "kubernetes.kubeconfig",
        ];
        assert_eq!(files_of(text), all);
        assert!(files_of(kubernetes::CONFIG).is_empty());
        assert!(files_of("=").is_empty());
    }

    #[test]
    fn probes_are_heard_at_the_pods_address() {
        let listen = |text: &str| {
            let loaded = config::parse("nodespan.toml", text, Path::new("")).unwrap();
            loaded.settings.admin.listen
        };
        assert!(hears_probes(&listen(kubernetes::CONFIG)));
        assert!(hears_probes(&listen(
            "[admin]\nlisten = \"0.0.0.0:9903\"\n"
        )));
        // Pods of IPv6 are asked by IPv6.
        let Listen::At(at) = listen(kubernetes::CONFIG) else {
            panic!("nowhere");
        };
        assert!(at.is_ipv6());
        for text in [
            "",
            "[admin]\nlisten = \"127.0.0.1:9903\"\n",
            "[admin]\nlisten = \"0.0.0.0:9904\"\n",
            "[admin]\nlisten = \"off\"\n",
        ] {
            assert!(!hears_probes(&listen(text)), "{text}");
        }
        let port = format!("containerPort: {PROBED}");
        let (_, manifest) = &kubernetes::rendered()[0];
        assert!(manifest.contains(&port));
    }

    #[test]
    fn an_image_that_nobody_named_is_warned_of() {
        let said = |image: &str| no_registry(&image.parse().unwrap());
        let warning = said(kubernetes::AGENT_IMAGE).unwrap();
        assert!(warning.contains("--image"), "{warning}");
        assert_eq!(said("registry:5000/nodespan:0.1.0"), None);
    }

    #[test]
    fn a_configuration_is_checked_before_it_is_applied() {
        let text = installed(Some("[agent]\nservice = \"shop\"\n")).unwrap();
        assert!(text.contains("\n    [agent]\n    service = \"shop\"\n"));
        let of_pods =
            "[export]\nzipkinEndpoint = \"http://z:9411/api/v2/spans\"\ncaFile = \"/etc/ca.pem\"\n";
        assert!(installed(Some(of_pods)).unwrap().contains("/etc/ca.pem"));
        let error = installed(Some("[agent]\nservise = \"shop\"\n")).unwrap_err();
        assert!(
            error.to_string().contains("did you mean `service`?"),
            "{error}"
        );
        assert!(matches!(installed(None), Err(InstallError::Read { .. })));
        let odd = installed(Some("# \u{2028}kind: Pod\n")).unwrap_err();
        assert!(matches!(odd, InstallError::Text { .. }), "{odd}");
    }
}
