//! The protocol of a port of a Service.

use std::borrow::Cow;

use super::{EndFacts, PortFacts, ServiceFacts, get};
use crate::policy::Protocol;

/// Whether anybody has said what a port speaks, whatever it is.
pub(crate) fn says_protocol(service: &ServiceFacts, port: &PortFacts) -> bool {
    let annotation = get(&service.annotations, &annotation(port));
    [port.app_protocol.as_ref(), annotation]
        .into_iter()
        .flatten()
        .any(|said| !said.is_empty())
}

fn annotation(port: &PortFacts) -> String {
    format!("{}.service.kuma.io/protocol", port.port)
}

/// `appProtocol` if Kuma knows it, else what the Service's annotation says,
/// whatever that is, else `tcp`; in lower case (`ProtocolTagFor`,
/// `inbound_converter.go`).
pub(crate) fn protocol<'a>(service: &'a ServiceFacts, port: &'a PortFacts) -> Cow<'a, str> {
    if let Some(name) = &port.app_protocol {
        let known = Protocol::parse(name);
        if known != Protocol::Unknown {
            return Cow::Borrowed(known.as_str());
        }
    }
    match get(&service.annotations, &annotation(port)) {
        Some(said) if !said.is_empty() => Cow::Owned(said.to_lowercase()),
        _ => Cow::Borrowed(Protocol::Tcp.as_str()),
    }
}

/// What is at an endpoint that is no pod.
#[derive(Clone, Debug)]
pub(crate) struct End<'a> {
    /// The Service's port that leads there.
    pub(crate) port: u16,
    pub(crate) protocol: Cow<'a, str>,
    /// Somebody has said what it speaks.
    pub(crate) is_said: bool,
}

/// What is at a port of an EndpointSlice. Its name is that of the Service's port
/// that leads there; where the Service has none of that name, as a headless one
/// need not have, its number stands for it. What the slice says of the protocol
/// comes first, for it is about this endpoint.
pub(crate) fn end<'a>(service: &'a ServiceFacts, end: &'a EndFacts) -> End<'a> {
    let mut ports = service.ports.iter();
    let port = ports.find(|port| port.is_tcp && port.name == end.name);
    let said = end.app_protocol.as_deref().filter(|said| !said.is_empty());
    let known = said.map(Protocol::parse);
    let protocol = match (known, port) {
        (Some(known), _) if known != Protocol::Unknown => Cow::Borrowed(known.as_str()),
        (_, Some(port)) => protocol(service, port),
        (_, None) => Cow::Borrowed(Protocol::Tcp.as_str()),
    };
    End {
        port: port.map_or(end.port, |port| port.port),
        protocol,
        is_said: said.is_some() || port.is_some_and(|port| says_protocol(service, port)),
    }
}
