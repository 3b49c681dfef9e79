//! Inbounds of a pod, and their tags (`inbound_converter.go`).

use std::sync::Arc;

use super::{PodFacts, PortFacts, ServiceFacts, ServiceKind, is_gateway, owner};
use super::{protocol, says_protocol, service_tag};
use crate::kubernetes::facts::TargetPort;
use crate::kubernetes::intern::Interner;
use crate::policy::{Host, Inbound, Listener, PROTOCOL_TAG, Protocol, SERVICE_TAG, Tags};

const NAMESPACE_TAG: &str = "k8s.kuma.io/namespace";
const SERVICE_NAME_TAG: &str = "k8s.kuma.io/service-name";
const SERVICE_PORT_TAG: &str = "k8s.kuma.io/service-port";
const ZONE_TAG: &str = "kuma.io/zone";
const INSTANCE_TAG: &str = "kuma.io/instance";

/// The port of a pod without a Service (`TCPPortReserved`,
/// `api/mesh/v1alpha1/dataplane_helpers.go`): nobody listens there.
pub(super) const SERVICELESS_PORT: u16 = 49151;

pub(super) struct Built {
    pub(super) listeners: Vec<Listener>,
    pub(super) inbounds: Vec<Inbound>,
}

/// One inbound for each TCP port of each Service that the pod could have, in
/// their order; the one of a pod without any; or the tags of a gateway.
pub(super) fn build(
    pod: &PodFacts,
    services: &[&ServiceFacts],
    zone: Option<&str>,
    address: &Host,
    intern: &mut Interner,
) -> Built {
    let mut built = Built {
        listeners: Vec::new(),
        inbounds: Vec::new(),
    };
    for service in services {
        for port in service.ports.iter().filter(|port| port.is_tcp) {
            if let Some(number) = target(pod, port) {
                let said = says_protocol(service, port);
                built.listeners.push(listener(address, number, said));
                let tags = of_service(pod, service, port, zone, intern);
                built
                    .inbounds
                    .push(tags.into_iter().collect::<Tags>().into());
            }
        }
    }
    if built.inbounds.is_empty() {
        built
            .listeners
            .push(listener(address, SERVICELESS_PORT, false));
        let tags = serviceless(pod, zone, intern);
        built
            .inbounds
            .push(tags.into_iter().collect::<Tags>().into());
    }
    if is_gateway(pod) {
        built.listeners.clear();
        built.inbounds.truncate(1);
        // The tags of a gateway may say tcp, or nothing
        // (`dataplane_validator.go`).
        if let Some(first) = built.inbounds.first_mut()
            && first.protocol != Protocol::Tcp
        {
            let tags = first.tags.iter();
            let others = tags.filter(|(name, _)| &***name != PROTOCOL_TAG);
            let tags: Tags = others
                .map(|(name, value)| (Arc::clone(name), Arc::clone(value)))
                .collect();
            *first = tags.into();
        }
    }
    built
}

/// The container's port behind a Service's.
fn target(pod: &PodFacts, port: &PortFacts) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut named = pod.ports.iter().filter(|(known, _)| known == name);
            named.next().map(|(_, number)| *number)
        }
    }
}

fn listener(address: &Host, port: u16, says_protocol: bool) -> Listener {
    Listener {
        address: address.clone(),
        port,
        service_address: address.clone(),
        service_port: port,
        ignored: false,
        says_protocol,
    }
}

type Owned = (Arc<str>, Arc<str>);

fn of_service(
    pod: &PodFacts,
    service: &ServiceFacts,
    port: &PortFacts,
    zone: Option<&str>,
    intern: &mut Interner,
) -> Vec<Owned> {
    let labels = pod.labels.iter();
    let mut tags: Vec<Owned> = labels
        .filter(|(name, value)| !value.is_empty() && !name.contains("kuma.io/"))
        .cloned()
        .collect();
    let mut add = |name, value: &str| tags.push((intern.text(name), intern.text(value)));
    add(NAMESPACE_TAG, &pod.namespace);
    add(SERVICE_NAME_TAG, &service.name);
    add(SERVICE_PORT_TAG, &port.port.to_string());
    add(SERVICE_TAG, &service_tag(service, port.port));
    add(PROTOCOL_TAG, &protocol(service, port));
    if let Some(zone) = zone {
        add(ZONE_TAG, zone);
    }
    if service.kind == ServiceKind::Headless {
        add(INSTANCE_TAG, &pod.name);
    }
    tags
}

/// Here labels of Kuma's are tags, too.
fn serviceless(pod: &PodFacts, zone: Option<&str>, intern: &mut Interner) -> Vec<Owned> {
    let labels = pod.labels.iter();
    let mut tags: Vec<Owned> = labels
        .filter(|(_, value)| !value.is_empty())
        .cloned()
        .collect();
    let service = format!("{}_{}_svc", owner::name(pod), pod.namespace);
    let mut add = |name, value: &str| tags.push((intern.text(name), intern.text(value)));
    add(NAMESPACE_TAG, &pod.namespace);
    add(SERVICE_TAG, &service);
    add(PROTOCOL_TAG, Protocol::Tcp.as_str());
    add(INSTANCE_TAG, &pod.name);
    if let Some(zone) = zone {
        add(ZONE_TAG, zone);
    }
    tags
}
