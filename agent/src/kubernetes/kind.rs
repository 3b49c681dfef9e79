//! What is watched, and what may be done.

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1/Pod`
    Pod,
    /// `v1/Service`
    Service,
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice,
    /// `v1/Namespace`
    Namespace,
    /// `v1/Node`
    Node,
    /// `kuma.io/v1alpha1/Mesh`
    Mesh,
    /// `kuma.io/v1alpha1/TrafficTrace`
    TrafficTrace,
}

impl Kind {
    /// All of them, in the order of [`Kind::index`].
    pub const ALL: [Self; 7] = [
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::Namespace,
        Self::Node,
        Self::Mesh,
        Self::TrafficTrace,
    ];

    /// Its place in [`Kind::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// `kind` in an object.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Mesh => "Mesh",
            Self::TrafficTrace => "TrafficTrace",
        }
    }

    /// Its name in paths, rules and metrics.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Mesh => "meshes",
            Self::TrafficTrace => "traffictraces",
        }
    }

    /// Its API group; nothing for the core's.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::Service | Self::Namespace | Self::Node => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Mesh | Self::TrafficTrace => "kuma.io",
        }
    }

    /// The version that is read.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Mesh | Self::TrafficTrace => "v1alpha1",
            _ => "v1",
        }
    }

    /// Whether it is one of Kuma's, which a cluster need not have.
    #[must_use]
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::Mesh | Self::TrafficTrace)
    }
}

/// What the agent asks of the API: a rule of a `ClusterRole`, or of a `Role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where, if not in the whole cluster.
    pub namespace: Option<&'static str>,
    /// `apiGroups`: one, nothing for the core's.
    pub group: &'static str,
    /// `resources`
    pub resources: &'static [&'static str],
    /// `verbs`
    pub verbs: &'static [&'static str],
}

/// All that the agent asks, and nothing else.
pub const RULES: [Rule; 4] = [
    Rule {
        namespace: None,
        group: "",
        resources: &["pods", "services", "namespaces", "nodes"],
        verbs: &["list", "watch"],
    },
    Rule {
        namespace: None,
        group: "discovery.k8s.io",
        resources: &["endpointslices"],
        verbs: &["list", "watch"],
    },
    Rule {
        namespace: None,
        group: "kuma.io",
        resources: &["meshes", "traffictraces"],
        verbs: &["list", "watch"],
    },
    // Where Events about cluster-wide objects go (`notices.rs`).
    Rule {
        namespace: Some("default"),
        group: "",
        resources: &["events"],
        verbs: &["create"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_allow_what_is_watched_and_nothing_else() {
        let mut allowed: Vec<_> = RULES
            .iter()
            .filter(|rule| rule.verbs == ["list", "watch"])
            .flat_map(|rule| rule.resources.iter().map(|name| (rule.group, *name)))
            .collect();
        let mut watched = Kind::ALL.map(|kind| (kind.group(), kind.plural()));
        allowed.sort_unstable();
        watched.sort_unstable();
        assert_eq!(allowed, watched);
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), place);
        }
    }
}
