//! `Dataplane` (`pkg/core/resources/apis/mesh/dataplane_validator.go`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::document::{Meta, Placed};
use super::fields::Fields;
use super::traffic_trace::{is_name_char, name_rules};
use crate::config::table;
use crate::policy::{
    Dataplane, Host, Inbound, Listener, Outbound, PROTOCOL_TAG, Protocol, Resource, SERVICE_TAG,
    Tags,
};

const PORT: &str = "port must be in the range [1, 65535]";
const IP: &str = "address has to be valid IP address";
const DIFFER: &str = "serviceAddress and servicePort has to differ from address and port";
const ANYWHERE: Host = Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

pub(super) fn read(mut meta: Meta, mut fields: Fields<'_>) -> Placed {
    let mut dataplane = Dataplane {
        mesh: Arc::clone(&meta.mesh),
        name: Arc::clone(&meta.name),
        created: meta.created,
        address: ANYWHERE,
        advertised: None,
        listeners: Vec::new(),
        inbounds: Arc::from([]),
        outbounds: Vec::new(),
    };
    match fields.map("networking") {
        Some(networking) => {
            meta.places.inbounds = self::networking(networking, &mut dataplane);
        }
        None if fields.has("networking") => {}
        None => fields.error("networking", "must be defined", ""),
    }
    fields.ignore(&["metrics", "probes", "envoy"]);
    fields.finish();
    Placed {
        resource: Resource::Dataplane(Arc::new(dataplane)),
        places: meta.places,
    }
}

fn networking(mut fields: Fields<'_>, dataplane: &mut Dataplane) -> Vec<table::At> {
    dataplane.address = address(&mut fields);
    if let Some(advertised) = fields
        .text("advertisedAddress")
        .filter(|a| !a.value.is_empty())
    {
        match host(advertised.value) {
            Some(host) => dataplane.advertised = Some(host),
            None => {
                let message = "address has to be valid IP address or domain name";
                fields.error("advertisedAddress", message, "");
            }
        }
    }
    let mut places = Vec::new();
    let mut inbounds = Vec::new();
    let errors = fields.findings().errors();
    let maps = fields.maps("inbound");
    let any = !maps.is_empty();
    for inbound in maps {
        places.push(inbound.at.clone());
        let (listener, inbound) = self::inbound(inbound, &dataplane.address);
        dataplane.listeners.push(listener);
        inbounds.push(inbound);
    }
    for outbound in fields.maps("outbound") {
        dataplane.outbounds.extend(self::outbound(outbound));
    }
    match fields.map("gateway") {
        Some(gateway) => {
            let builtin = gateway_kind(&gateway);
            if any {
                let message = format!("inbound cannot be defined for {builtin} gateways");
                fields.error("inbound", message, "");
            }
            if builtin == "builtin" && !dataplane.outbounds.is_empty() {
                let message = "outbound cannot be defined for builtin gateways";
                fields.error("outbound", message, "");
            }
            places = vec![gateway.at.clone()];
            inbounds = vec![self::gateway(gateway)];
            dataplane.listeners.clear();
        }
        None if any || fields.has("gateway") || fields.findings().errors() > errors => {}
        None => {
            let message = "has to contain at least one inbound interface or gateway";
            fields.findings().error(&fields.at, message, "");
        }
    }
    fields.ignore(&["transparentProxying", "admin", "ingress", "egress"]);
    fields.finish();
    dataplane.inbounds = inbounds.into();
    places
}

/// `networking.address`.
fn address(fields: &mut Fields<'_>) -> Host {
    let text = match fields.text("address") {
        Some(text) if !text.value.is_empty() => text,
        None if fields.has("address") => return ANYWHERE,
        _ => {
            fields.error("address", "address can't be empty", "");
            return ANYWHERE;
        }
    };
    if matches!(text.value, "0.0.0.0" | "::") {
        fields.error("address", "must not be 0.0.0.0 or ::", "");
    }
    host(text.value).unwrap_or_else(|| {
        let message = "address has to be valid IP address or domain name";
        fields.error("address", message, "");
        ANYWHERE
    })
}

fn inbound(mut fields: Fields<'_>, networking: &Host) -> (Listener, Inbound) {
    let port = port(&mut fields, "port", true);
    let service_port = self::port(&mut fields, "servicePort", false);
    let service = ip(
        &mut fields,
        "serviceAddress",
        "serviceAddress has to be valid IP address",
    );
    let address = ip(&mut fields, "address", IP);
    let same_port = service_port == 0 || service_port == port;
    for own in [Some(networking), address.as_ref()].into_iter().flatten() {
        if service.as_ref() == Some(own) && same_port {
            fields.error("serviceAddress", DIFFER, "");
        }
    }
    let tags = fields.strings("tags");
    let pairs: Tags = tags
        .iter()
        .map(|(name, value)| (name.value, value.value))
        .collect();
    if !tags.is_empty() && pairs.service().is_none() {
        missing_service(&fields, "tag has to exist");
    }
    if let Some((_, value)) = tags.iter().find(|(name, _)| name.value == PROTOCOL_TAG)
        && Protocol::parse(value.value) == Protocol::Unknown
    {
        let message = format!(
            "tag \"{PROTOCOL_TAG}\" has an invalid value \"{}\". Allowed values: grpc, http, http2, kafka, tcp",
            value.value
        );
        fields.findings().error(&value.at, message, "");
    }
    check(&fields, &tags);
    let mut protocol = pairs.protocol();
    let mut says_protocol = pairs.get(PROTOCOL_TAG).is_some();
    // GetProtocolFallback: the field wins.
    if let Some(field) = fields
        .text("protocol")
        .filter(|field| !field.value.is_empty())
    {
        protocol = Protocol::parse(field.value);
        says_protocol = true;
        if protocol == Protocol::Unknown {
            let message = format!("unknown protocol \"{}\"", field.value);
            let hint = "one of grpc, http, http2, kafka, tcp";
            fields.findings().warning(&field.at, message, hint);
        }
    }
    let state = fields.text("state").map_or("", |state| state.value);
    fields.ignore(&["health", "serviceProbe", "name", "interface"]);
    fields.finish();
    let address = address.unwrap_or_else(|| networking.clone());
    let listener = Listener {
        service_address: service.unwrap_or_else(|| address.clone()),
        service_port: if service_port == 0 {
            port
        } else {
            service_port
        },
        address,
        port,
        ignored: state.eq_ignore_ascii_case("Ignored"),
        says_protocol,
    };
    let inbound = Inbound {
        tags: pairs,
        protocol,
    };
    (listener, inbound)
}

/// `DELEGATED` is the default.
fn gateway_kind(fields: &Fields<'_>) -> &'static str {
    match fields.peek("type") {
        Some(kind) if kind.eq_ignore_ascii_case("BUILTIN") => "builtin",
        _ => "delegated",
    }
}

fn gateway(mut fields: Fields<'_>) -> Inbound {
    let tags = fields.strings("tags");
    if let Some((_, value)) = tags.iter().find(|(name, _)| name.value == PROTOCOL_TAG)
        && value.value != "tcp"
    {
        let message = format!(
            "other values than tcp are not allowed, provided value \"{}\"",
            value.value
        );
        fields.findings().error(&value.at, message, "");
    }
    check(&fields, &tags);
    let tags: Tags = tags
        .iter()
        .map(|(name, value)| (name.value, value.value))
        .collect();
    if tags.service().is_none() {
        let message = format!("mandatory tag \"{SERVICE_TAG}\" is missing");
        fields.error("tags", message, "");
    }
    fields.ignore(&["type"]);
    fields.finish();
    tags.into()
}

fn outbound(mut fields: Fields<'_>) -> Option<Outbound> {
    let port = port(&mut fields, "port", true);
    let address = ip(&mut fields, "address", IP);
    let tags = fields.strings("tags");
    let legacy = fields
        .text("service")
        .filter(|service| !service.value.is_empty());
    let by_reference = fields.has("backendRef");
    if by_reference && (!tags.is_empty() || legacy.is_some()) {
        let message = "both backendRef and tags/service cannot be defined";
        fields.error("backendRef", message, "");
    }
    check(&fields, &tags);
    let pairs: Tags = tags
        .iter()
        .map(|(name, value)| (name.value, value.value))
        .collect();
    let service = pairs.service().cloned();
    let service = service.or_else(|| legacy.map(|service| Arc::from(service.value)));
    if service.is_none() && !by_reference {
        let message = format!("mandatory tag \"{SERVICE_TAG}\" is missing");
        fields.error("tags", message, "");
    }
    fields.ignore(&["backendRef", "interface"]);
    fields.finish();
    let address = match address {
        Some(Host::Ip(ip)) => ip,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    (port != 0).then_some(Outbound {
        address,
        port,
        service,
    })
}

fn missing_service(fields: &Fields<'_>, message: &str) {
    let mut at = fields.place("tags");
    at.field = format!("{}[\"{SERVICE_TAG}\"]", at.field);
    fields.findings().error(&at, message, "");
}

type Pair<'d> = (table::Placed<&'d str>, table::Placed<&'d str>);

/// The rules of a workload's tags, whose values have no slashes.
fn check(fields: &Fields<'_>, tags: &[Pair<'_>]) {
    let mut tags: Vec<_> = tags.iter().collect();
    tags.sort_by_key(|(name, _)| name.value);
    for (name, value) in tags {
        name_rules(fields, "tags", name);
        if value.value.is_empty() {
            let message = "tag value must be non-empty";
            fields.findings().error(&value.at, message, "");
        }
        if !value.value.chars().all(|c| is_name_char(c) && c != '/') {
            let message =
                "tag value must consist of alphanumeric characters, dots, dashes and underscores";
            fields.findings().error(&value.at, message, "");
        }
    }
}

/// A port; 0 if there is none, or a wrong one.
fn port(fields: &mut Fields<'_>, key: &'static str, required: bool) -> u16 {
    match fields.whole(key).map(u16::try_from) {
        Some(Ok(port)) if port != 0 => port,
        Some(Ok(_)) if !required => 0,
        None if !required || fields.has(key) => 0,
        _ => {
            fields.error(key, PORT, "");
            0
        }
    }
}

/// An IP address, if one is given.
fn ip(fields: &mut Fields<'_>, key: &'static str, message: &str) -> Option<Host> {
    let text = fields.text(key).filter(|text| !text.value.is_empty())?;
    match text.value.parse() {
        Ok(ip) => Some(Host::Ip(ip)),
        Err(_) => {
            fields.error(key, message, "");
            None
        }
    }
}

/// An IP address or a DNS name (`govalidator.IsDNSName`).
fn host(text: &str) -> Option<Host> {
    if let Ok(ip) = text.parse() {
        return Some(Host::Ip(ip));
    }
    let is_label = |label: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric() || c == '_';
        label.len() <= 63
            && label.starts_with(edge)
            && label.ends_with(edge)
            && label.chars().all(|c| edge(c) || c == '-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = name.len() <= 255 && name.split('.').all(is_label);
    is_name.then(|| Host::Name(text.into()))
}
