//! The protocol of a port of a Service.

use std::borrow::Cow;

use super::{PortFacts, ServiceFacts, get};
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
