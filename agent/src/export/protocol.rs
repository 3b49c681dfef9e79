//! Which encoding a backend gets.

use std::str::FromStr;

use super::jaeger::{self, Jaeger};
use super::otlp::Otlp;
use super::zipkin::{Zipkin, ZipkinProto, ZipkinThrift, ZipkinV1};
use super::{Encoder, Wording};

/// An encoding, and by that a way of delivery: all but the last are bodies of
/// HTTP POSTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Zipkin v1, JSON.
    ZipkinV1Json,
    /// Zipkin v1, binary thrift: what Traefik 1 sends.
    ZipkinV1Thrift,
    /// Zipkin v2, JSON.
    ZipkinJson,
    /// Zipkin v2, Protocol Buffers.
    ZipkinProto,
    /// OpenTelemetry, Protocol Buffers over HTTP.
    Otlp,
    /// Jaeger's agent, compact thrift in UDP datagrams.
    JaegerCompact,
}

/// `apiVersion` of a Zipkin backend in a Kuma `Mesh`
/// (`pkg/core/resources/apis/mesh/mesh_validator.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// `httpJson`: v2.
    HttpJson,
    /// `httpJsonV1`.
    HttpJsonV1,
    /// `httpProto`: v2.
    HttpProto,
}

/// An `apiVersion` that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` has invalid value. Allowed values: httpJsonV1, httpJson, httpProto")]
pub struct UnknownApiVersion(pub String);

impl FromStr for ApiVersion {
    type Err = UnknownApiVersion;

    fn from_str(text: &str) -> Result<Self, UnknownApiVersion> {
        match text {
            "httpJson" => Ok(Self::HttpJson),
            "httpJsonV1" => Ok(Self::HttpJsonV1),
            "httpProto" => Ok(Self::HttpProto),
            _ => Err(UnknownApiVersion(text.to_owned())),
        }
    }
}

impl Protocol {
    /// What a Zipkin endpoint with this path is sent.
    ///
    /// `apiVersion` decides if there is one. Otherwise the path does, because
    /// a server decodes by it: `…/api/v1/spans` is v1 (JSON, or thrift if
    /// `thrift` is asked for), anything else is v2 JSON. A query or a slash
    /// behind the path makes no difference.
    #[must_use]
    pub fn of_zipkin(path: &str, api_version: Option<ApiVersion>, thrift: bool) -> Self {
        match api_version {
            Some(ApiVersion::HttpJson) => return Self::ZipkinJson,
            Some(ApiVersion::HttpJsonV1) => return Self::ZipkinV1Json,
            Some(ApiVersion::HttpProto) => return Self::ZipkinProto,
            None => {}
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        match path.trim_end_matches('/').ends_with("/api/v1/spans") {
            true if thrift => Self::ZipkinV1Thrift,
            true => Self::ZipkinV1Json,
            false => Self::ZipkinJson,
        }
    }

    /// Makes the encoder.
    #[must_use]
    pub fn encoder(self, wording: Wording, limits: Limits) -> Box<dyn Encoder> {
        match self {
            Self::ZipkinV1Json => Box::new(ZipkinV1::new(wording)),
            Self::ZipkinV1Thrift => Box::new(ZipkinThrift::new(wording)),
            Self::ZipkinJson => Box::new(Zipkin::new(wording)),
            Self::ZipkinProto => Box::new(ZipkinProto::new(wording)),
            Self::Otlp => Box::new(Otlp::new(wording)),
            Self::JaegerCompact => Box::new(Jaeger::new(wording, limits.datagram)),
        }
    }

    /// Whether the two halves of a call may share a span id. OpenTelemetry
    /// says that ids are unique, and Jaeger's agent protocol has no mark for
    /// the second half.
    #[must_use]
    pub const fn has_shared_spans(self) -> bool {
        match self {
            Self::ZipkinV1Json | Self::ZipkinV1Thrift | Self::ZipkinJson | Self::ZipkinProto => {
                true
            }
            Self::Otlp | Self::JaegerCompact => false,
        }
    }

    /// Whether batches go out as datagrams ([`datagrams`](super::datagrams)).
    #[must_use]
    pub const fn is_datagrams(self) -> bool {
        matches!(self, Self::JaegerCompact)
    }
}

/// What an encoding may be bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a datagram.
    pub datagram: usize,
}

impl Default for Limits {
    /// What Jaeger's clients send and its agent reads at most.
    fn default() -> Self {
        Self {
            datagram: jaeger::MAX_DATAGRAM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::typical;

    #[test]
    fn the_path_decides_unless_an_api_version_does() {
        let of = |path| Protocol::of_zipkin(path, None, false);
        assert_eq!(of("/api/v1/spans"), Protocol::ZipkinV1Json);
        assert_eq!(of("/zipkin/api/v1/spans/"), Protocol::ZipkinV1Json);
        assert_eq!(of("/api/v1/spans?a=/api/v2/spans"), Protocol::ZipkinV1Json);
        assert_eq!(of("/api/v2/spans"), Protocol::ZipkinJson);
        assert_eq!(of("/api/v2/spans?a=/api/v1/spans"), Protocol::ZipkinJson);
        assert_eq!(of("/"), Protocol::ZipkinJson);
        let thrift = |path| Protocol::of_zipkin(path, None, true);
        assert_eq!(thrift("/api/v1/spans"), Protocol::ZipkinV1Thrift);
        assert_eq!(thrift("/api/v2/spans"), Protocol::ZipkinJson);
        for (text, wanted) in [
            ("httpJson", Protocol::ZipkinJson),
            ("httpJsonV1", Protocol::ZipkinV1Json),
            ("httpProto", Protocol::ZipkinProto),
        ] {
            for path in ["/api/v1/spans", "/api/v2/spans"] {
                let version = Some(text.parse().unwrap());
                assert_eq!(Protocol::of_zipkin(path, version, true), wanted);
            }
        }
        let error = "httpproto".parse::<ApiVersion>().unwrap_err().to_string();
        assert!(error.starts_with("`httpproto` has invalid value. Allowed"));
    }

    #[test]
    fn each_protocol_has_its_encoder() {
        for (protocol, content_type, start) in [
            (
                Protocol::ZipkinV1Json,
                "application/json",
                &b"[{\"traceId"[..],
            ),
            (
                Protocol::ZipkinV1Thrift,
                "application/x-thrift",
                b"\x0c\0\0\0\x01\x0a",
            ),
            (Protocol::ZipkinJson, "application/json", b"[{\"traceId"),
            (Protocol::ZipkinProto, "application/x-protobuf", b"\x0a"),
            (Protocol::Otlp, "application/x-protobuf", b"\x0a"),
        ] {
            let mut encoder = protocol.encoder(Wording::default(), Limits::default());
            let mut batch = Vec::new();
            encoder.encode(&typical(), &mut batch).unwrap();
            encoder.finish(&mut batch);
            assert_eq!(encoder.content_type(), content_type);
            assert!(batch.starts_with(start), "{protocol:?}");
            assert_eq!(encoder.pending(), 0);
            assert!(!protocol.is_datagrams());
        }
        let mut encoder = Protocol::JaegerCompact.encoder(Wording::default(), Limits::default());
        let mut batch = Vec::new();
        encoder.encode(&typical(), &mut batch).unwrap();
        assert!(batch.is_empty() && encoder.pending() > 0);
        encoder.finish(&mut batch);
        assert_eq!(super::super::datagrams::iter(&batch).count(), 1);
        assert!(Protocol::JaegerCompact.is_datagrams());
    }
}
