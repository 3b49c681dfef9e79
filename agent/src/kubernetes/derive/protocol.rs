//! The protocol of a port of a Service.

use std::borrow::Cow;

use super::{PortFacts, ServiceFacts, get};
use crate::policy::Protocol;

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
    let annotation = format!("{}.service.kuma.io/protocol", port.port);
    match get(&service.annotations, &annotation) {
        Some(said) if !said.is_empty() => Cow::Owned(said.to_lowercase()),
        _ => Cow::Borrowed(Protocol::Tcp.as_str()),
    }
}
