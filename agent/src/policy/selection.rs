//! What is traced on a plain host, where no policy says so.

use std::sync::Arc;

use crate::assemble::Began;
use crate::http::context::Decision;
use crate::identify::{Known, Origin};
use crate::units::Side;

use super::Glob;

/// Narrows what is traced; the default lets everything through.
///
/// `units`, `containers` and `include` add up: if any of them says something,
/// a workload must be named by one of them. `exclude` beats all three. Ports
/// and paths narrow further.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `--port`, `[capture] ports`: server ports, all if empty.
    pub ports: Vec<u16>,
    /// `--unit`: systemd units, with or without `.service`.
    pub units: Vec<Glob>,
    /// `--container`: container names, or ids of 12 digits or more.
    pub containers: Vec<Glob>,
    /// `[capture] include`: services, units, containers, pods or commands.
    pub include: Vec<Glob>,
    /// `[capture] exclude`: the same.
    pub exclude: Vec<Glob>,
    /// `[capture] excludePaths`: paths without their query.
    pub exclude_paths: Vec<Glob>,
    /// `[capture] headerless`.
    pub headerless: Headerless,
}

/// What becomes of requests without a trace context (ARCHITECTURE.md,
/// Identity, rule 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Headerless {
    /// Each begins a trace.
    #[default]
    NewTrace,
    /// They are not traced.
    Ignore,
}

/// What the kernel is told about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerVerdict {
    /// Bring its calls.
    Watch,
    /// No call of it is of interest.
    Ignore(NotSelected),
}

/// Why an exchange is not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotSelected {
    /// Others are named by `--unit`, `--container` or `include`.
    NotIncluded,
    /// `exclude` names the workload.
    Excluded,
    /// The server's port is not among the ports.
    Port,
    /// `excludePaths` names the path.
    Path,
    /// There is no trace context, and `headerless` is `ignore`.
    Headerless,
}

impl Selection {
    /// Whether anything of a workload can be traced. What a single exchange
    /// decides (ports, paths, context) is not part of it.
    #[must_use]
    #[inline]
    pub fn owner(&self, known: &Known) -> OwnerVerdict {
        match self.workload(known) {
            Ok(()) => OwnerVerdict::Watch,
            Err(reason) => OwnerVerdict::Ignore(reason),
        }
    }

    /// Whether an exchange that began is traced, as far as that is known
    /// without its path.
    ///
    /// # Errors
    /// The reason why not.
    #[inline]
    pub fn began(&self, known: &Known, began: &Began) -> Result<(), NotSelected> {
        self.workload(known)?;
        if !self.ports.is_empty() {
            let server = match began.side {
                Side::Client => began.peer,
                Side::Server => began.local,
            };
            if !server.is_some_and(|server| self.ports.contains(&server.port)) {
                return Err(NotSelected::Port);
            }
        }
        // A bare decision for a new trace is a wish for one.
        if self.headerless == Headerless::Ignore
            && began.context.ids.is_none()
            && began.context.decision == Decision::Defer
        {
            return Err(NotSelected::Headerless);
        }
        Ok(())
    }

    /// Whether a request target is traced.
    ///
    /// # Errors
    /// [`NotSelected::Path`].
    #[inline]
    pub fn target(&self, target: &[u8]) -> Result<(), NotSelected> {
        if self.exclude_paths.is_empty() {
            return Ok(());
        }
        let path = path_of(target);
        if self.exclude_paths.iter().any(|glob| glob.matches(path)) {
            return Err(NotSelected::Path);
        }
        Ok(())
    }

    /// Whether nothing is left out, whatever it is.
    #[must_use]
    #[inline(always)]
    pub fn is_everything(&self) -> bool {
        self.names_nothing()
            && self.ports.is_empty()
            && self.exclude_paths.is_empty()
            && self.headerless != Headerless::Ignore
    }

    /// Whether no workload is named, neither to be traced nor to be left out.
    #[must_use]
    #[inline(always)]
    pub fn names_nothing(&self) -> bool {
        let named = [&self.exclude, &self.units, &self.containers, &self.include];
        named.map(Vec::len) == [0; 4]
    }

    #[inline]
    fn workload(&self, known: &Known) -> Result<(), NotSelected> {
        if self.names_nothing() {
            return Ok(());
        }
        self.named(known)
    }

    /// The same where workloads are named.
    #[inline(never)]
    fn named(&self, known: &Known) -> Result<(), NotSelected> {
        if self.exclude.iter().any(|glob| is_named(known, glob)) {
            return Err(NotSelected::Excluded);
        }
        let all = self.units.is_empty() && self.containers.is_empty() && self.include.is_empty();
        let included = || {
            let container = |glob| {
                matches!(known.origin, Origin::Container { .. } | Origin::Pod { .. })
                    && is_origin(&known.origin, glob)
            };
            let unit =
                |glob| matches!(known.origin, Origin::Unit(_)) && is_origin(&known.origin, glob);
            self.units.iter().any(unit)
                || self.containers.iter().any(container)
                || self.include.iter().any(|glob| is_named(known, glob))
        };
        if all || included() {
            Ok(())
        } else {
            Err(NotSelected::NotIncluded)
        }
    }
}

/// Digits of the short id that container runtimes print.
const SHORT_ID: usize = 12;

fn is_named(known: &Known, glob: &Glob) -> bool {
    glob.matches(known.workload.service.as_bytes()) || is_origin(&known.origin, glob)
}

fn is_origin(origin: &Origin, glob: &Glob) -> bool {
    match origin {
        Origin::Container { id, name } => is_container(id, name.as_ref(), glob),
        // A pod by its name, alone or behind its namespace.
        Origin::Pod { pod, id, container } => {
            is_container(id, container.as_ref(), glob)
                || glob.matches(pod.name.as_bytes())
                || glob.matches(format!("{}/{}", pod.namespace, pod.name).as_bytes())
        }
        Origin::Unit(unit) => {
            let short = unit.strip_suffix(".service").unwrap_or(unit);
            glob.matches(unit.as_bytes()) || glob.matches(short.as_bytes())
        }
        Origin::Command(command) => glob.matches(command.as_bytes()),
        Origin::Address(address) => glob.matches(address.to_string().as_bytes()),
        Origin::Gone => false,
    }
}

fn is_container(id: &str, name: Option<&Arc<str>>, glob: &Glob) -> bool {
    name.is_some_and(|name| glob.matches(name.as_bytes()))
        || glob.matches(id.as_bytes())
        || (glob.as_str().len() >= SHORT_ID && id.starts_with(glob.as_str()))
}

/// The path of a request target without its query: of the absolute form what
/// follows the authority, `/` if that is nothing; of `*` and of an authority
/// (CONNECT) the whole (RFC 9112 section 3.2).
fn path_of(target: &[u8]) -> &[u8] {
    let target = match target.iter().position(|b| matches!(b, b'?' | b'#')) {
        Some(end) => &target[..end],
        None => target,
    };
    if target.starts_with(b"/") {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|w| w == b"://") else {
        return target;
    };
    let rest = &target[scheme + 3..];
    match rest.iter().position(|b| *b == b'/') {
        Some(path) => &rest[path..],
        None => b"/",
    }
}

#[cfg(test)]
mod tests;
