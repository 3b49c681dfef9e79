//! What was typed and what files say, read together and again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::Common;
use super::plan::PlanError;
use crate::config::{self, LoadError, Report, Settings, resources};
use crate::identify::Directory;
use crate::policy::{Glob, Resources};

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    config: Option<PathBuf>,
    resources: Vec<PathBuf>,
    typed: Typed,
}

/// What the command line says; it is laid over what the file says, each time
/// that is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Typed {
    /// `--service`
    pub(super) service: Option<Arc<str>>,
    /// `--output`
    pub(super) output: Option<config::Output>,
    /// `--port`
    pub(super) ports: Vec<u16>,
    /// `--unit`
    pub(super) units: Vec<Glob>,
    /// `--container`
    pub(super) containers: Vec<Glob>,
    /// `--kubernetes`
    pub(super) kubernetes: bool,
    /// What a DaemonSet says of the node, in `NODE_NAME`; counts in a cluster
    /// where the file says nothing.
    pub(super) node: Option<Arc<str>>,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// The file's settings under what was typed.
    pub(super) settings: Settings,
    /// The resources; none if no path to any was given.
    pub(super) resources: Option<Arc<Resources>>,
    /// What a cluster's API says; none where there is no cluster.
    pub(super) directory: Option<Arc<Directory>>,
    /// The cluster may have meshes or policies that it does not tell of.
    pub(super) withheld: bool,
    /// `[kubernetes] assumeHttp`
    pub(super) assume_http: bool,
    /// The files that they are from.
    pub(super) files: Vec<PathBuf>,
    /// Warnings.
    pub(super) reports: Vec<Report>,
}

impl Source {
    /// The files that were named, under what was typed.
    pub(super) fn new(common: &Common, typed: Typed) -> Self {
        Self {
            config: common.config.clone(),
            resources: common.resources.clone(),
            typed: Typed {
                service: common.service.as_deref().map(Into::into),
                output: common.output.map(Into::into),
                ..typed
            },
        }
    }

    /// One more file or folder of resources.
    pub(super) fn add_resources(&mut self, path: PathBuf) {
        self.resources.push(path);
    }

    /// All files and folders that are read.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.config.iter().chain(&self.resources).cloned().collect()
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Any of it is wrong.
    pub(super) fn load(&self) -> Result<Loaded, PlanError> {
        let mut reports = Vec::new();
        let mut settings = match &self.config {
            None => Settings::default(),
            Some(path) => {
                if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
                    let path = path.clone();
                    return Err(LoadError::NotAFile { path }.into());
                }
                let loaded = config::load(path)?;
                reports.push(loaded.report);
                loaded.settings
            }
        };
        let mut files = Vec::new();
        let resources = if self.resources.is_empty() {
            None
        } else {
            let loaded = resources::load(&self.resources)?;
            reports.extend(loaded.reports);
            files = loaded.files;
            Some(loaded.resources)
        };
        reports.retain(|report| !report.findings.is_empty());
        self.typed.lay_over(&mut settings);
        Ok(Loaded {
            assume_http: settings.kubernetes.assume_http,
            settings,
            resources,
            directory: None,
            withheld: false,
            files,
            reports,
        })
    }
}

impl Typed {
    fn lay_over(&self, settings: &mut Settings) {
        if let Some(service) = &self.service {
            settings.agent.service = Some(Arc::clone(service));
        }
        if let Some(output) = self.output {
            settings.export.printed = Some(output);
        }
        let selection = &mut settings.capture.selection;
        selection.ports.extend(&self.ports);
        selection.units.extend_from_slice(&self.units);
        selection.containers.extend_from_slice(&self.containers);
        settings.kubernetes.enabled |= self.kubernetes;
        if settings.kubernetes.enabled && settings.agent.node.is_none() {
            settings.agent.node.clone_from(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_no_configuration_for_it_could_not_be_read_again() {
        let (pipe, _kept) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        let source = Source {
            config: Some(path.into()),
            ..Source::default()
        };
        let error = source.load().unwrap_err().to_string();
        assert!(error.contains("is not a file"), "{error}");
    }

    #[test]
    fn what_was_typed_lies_over_every_load() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("nodespan.toml");
        let resources = folder.path().join("resources");
        fs::create_dir(&resources).unwrap();
        let source = Source {
            config: Some(config.clone()),
            resources: vec![resources.clone()],
            typed: Typed {
                service: Some("typed".into()),
                output: Some(config::Output::None),
                ports: vec![8080],
                ..Typed::default()
            },
        };
        assert!(matches!(source.load(), Err(PlanError::Config(_))));
        fs::write(
            &config,
            "[agent]\nservice = 'file'\n[capture]\nports = [80]\n",
        )
        .unwrap();
        for _ in 0..2 {
            let loaded = source.load().unwrap();
            assert_eq!(loaded.settings.agent.service.as_deref(), Some("typed"));
            assert_eq!(loaded.settings.capture.selection.ports, [80, 8080]);
            assert_eq!(loaded.settings.output(), config::Output::None);
            assert!(loaded.resources.unwrap().is_empty());
        }
        fs::write(resources.join("a.yaml"), "type: Mesh\n").unwrap();
        assert!(matches!(source.load(), Err(PlanError::Resources(_))));
        fs::write(
            resources.join("a.yaml"),
            "{type: Mesh, name: a, color: 1}\n",
        )
        .unwrap();
        let loaded = source.load().unwrap();
        assert_eq!(loaded.resources.unwrap().len(), 1);
        assert_eq!(loaded.reports.len(), 1);
        // Nothing was named, nothing is read.
        let loaded = Source::default().load().unwrap();
        assert!(loaded.resources.is_none());
        assert_eq!(loaded.settings, Settings::default());
    }
}
