//! Kuma's tags of a workload, and selectors over them.

use std::fmt;
use std::sync::Arc;

use super::protocol::Protocol;

/// The tag with a workload's service (`api/mesh/v1alpha1/dataplane_helpers.go`).
pub const SERVICE_TAG: &str = "kuma.io/service";
/// The tag with an inbound's protocol.
pub const PROTOCOL_TAG: &str = "kuma.io/protocol";
/// A selector's value for "the tag exists".
pub const ANY: &str = "*";

/// The tags of one inbound, or of a gateway: names and values, each name once.
///
/// Sorted by name; equal if they say the same. A clone shares them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tags(Arc<[(Arc<str>, Arc<str>)]>);

impl Tags {
    /// The value of a tag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(tag, _)| (**tag).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `kuma.io/service`.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<str>> {
        self.get(SERVICE_TAG)
    }

    /// What `kuma.io/protocol` says; [`Protocol::Unknown`] without it.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.get(PROTOCOL_TAG)
            .map_or(Protocol::Unknown, |value| Protocol::parse(value))
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl<N: Into<Arc<str>>, V: Into<Arc<str>>> FromIterator<(N, V)> for Tags {
    /// Of a name that comes twice the last value counts.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(tags: I) -> Self {
        let sorted: std::collections::BTreeMap<Arc<str>, Arc<str>> = tags
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self(sorted.into_iter().collect())
    }
}

/// `{kuma.io/service=web, version=1}`
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        display(self.iter(), f)
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn display<'a>(
    tags: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    f.write_str("{")?;
    for (n, (name, value)) in tags.enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{name}={value}")?;
    }
    f.write_str("}")
}

/// What a policy asks of tags: all of these, in one tag set.
///
/// A value of [`ANY`] asks that the tag exists; any other value that it is
/// equal. There are no patterns (`TagSelector.Matches`, `dataplane_helpers.go`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Selector(Tags);

impl Selector {
    /// A selector for these tags.
    #[must_use]
    pub const fn new(tags: Tags) -> Self {
        Self(tags)
    }

    /// Whether it matches a tag set.
    #[must_use]
    pub fn matches(&self, tags: &Tags) -> bool {
        // Both are sorted by name.
        let mut has = tags.0.iter();
        self.0.0.iter().all(|(name, wanted)| {
            has.by_ref()
                .find(|(tag, _)| tag >= name)
                .is_some_and(|(tag, value)| tag == name && (&**wanted == ANY || wanted == value))
        })
    }

    /// How specific it is.
    #[must_use]
    pub fn rank(&self) -> Rank {
        let any = self.0.0.iter().filter(|(_, value)| &**value == ANY).count();
        Rank::new(self.0.len() - any, any)
    }

    /// What it asks for, sorted by name.
    #[must_use]
    pub const fn tags(&self) -> &Tags {
        &self.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How specific a selector is: the number of its tags counts first, then the
/// number of those with an exact value (`TagSelectorRank.CompareTo`,
/// `dataplane_helpers.go`).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Rank {
    // The order of the fields is the order of comparison.
    total: usize,
    exact: usize,
}

impl Rank {
    /// The rank of a selector with so many exact values and so many [`ANY`].
    #[must_use]
    pub const fn new(exact: usize, any: usize) -> Self {
        Self {
            total: exact + any,
            exact,
        }
    }

    /// Tags with an exact value.
    #[must_use]
    pub const fn exact(self) -> usize {
        self.exact
    }

    /// All tags.
    #[must_use]
    pub const fn total(self) -> usize {
        self.total
    }
}
