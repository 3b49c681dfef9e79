//! Protocols of Kuma's tag `kuma.io/protocol`.

use std::fmt;

/// A protocol that a tag can name (`pkg/core/metadata/protocol.go`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// None is named, or one that Kuma does not know.
    #[default]
    Unknown,
    /// `tcp`
    Tcp,
    /// `tls`
    Tls,
    /// `http`: HTTP/1.
    Http,
    /// `http2`
    Http2,
    /// `grpc`
    Grpc,
    /// `kafka`
    Kafka,
    /// `mysql`
    Mysql,
}

impl Protocol {
    /// The protocol of this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        const KNOWN: [Protocol; 7] = [
            Protocol::Http,
            Protocol::Tcp,
            Protocol::Http2,
            Protocol::Grpc,
            Protocol::Tls,
            Protocol::Kafka,
            Protocol::Mysql,
        ];
        KNOWN
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(name))
            .unwrap_or(Self::Unknown)
    }

    /// The name as tags have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Kafka => "kafka",
            Self::Mysql => "mysql",
        }
    }

    /// Whether policies trace it: `http`, `http2` and `grpc`
    /// (`pkg/xds/generator/inbound_proxy_generator.go`).
    #[must_use]
    pub const fn is_traced(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// Whether this version can see its requests: HTTP/1 alone.
    #[must_use]
    pub const fn is_captured(self) -> bool {
        matches!(self, Self::Http)
    }

    /// What is common to both (`GetCommonProtocol`, `protocol.go`): the first
    /// protocol of one's stack that is in the other's.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        if self == other {
            return self;
        }
        let of_other = other.stack();
        self.stack()
            .iter()
            .copied()
            .find(|protocol| of_other.contains(protocol))
            .unwrap_or(Self::Unknown)
    }

    /// The protocol of a service with these endpoints: what is common to all;
    /// [`Protocol::Unknown`] without any (`inferServiceProtocol`,
    /// `pkg/xds/context/mesh_context_builder.go`).
    #[must_use]
    pub fn common_of(endpoints: impl IntoIterator<Item = Self>) -> Self {
        endpoints
            .into_iter()
            .reduce(Self::common)
            .unwrap_or_default()
    }

    /// What it is made of; nothing if Kuma does not say (`protocolStacks`).
    const fn stack(self) -> &'static [Self] {
        match self {
            Self::Grpc => &[Self::Grpc, Self::Http2, Self::Tcp],
            Self::Http2 => &[Self::Http2, Self::Tcp],
            Self::Http => &[Self::Http, Self::Tcp],
            Self::Kafka => &[Self::Kafka, Self::Tcp],
            Self::Tls | Self::Tcp => &[Self::Tcp],
            Self::Mysql | Self::Unknown => &[],
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
