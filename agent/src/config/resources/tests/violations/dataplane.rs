//! Of a Dataplane.

use super::all_of;

/// The `networking` of a Dataplane.
const DATAPLANES: &[(&str, &[(&str, &str)])] = &[
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: web.example.com, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    ("{address: 10.0.0.1, inbound: [{port: 80}]}", &[]),
    ("null", &[("networking", "must be defined")]),
    (
        "{address: 10.0.0.1}",
        &[(
            "networking",
            "has to contain at least one inbound interface or gateway",
        )],
    ),
    (
        "{inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "address can't be empty")],
    ),
    (
        "{address: 0.0.0.0, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "must not be 0.0.0.0 or ::")],
    ),
    (
        "{address: '::', inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[("networking.address", "must not be 0.0.0.0 or ::")],
    ),
    (
        "{address: '..>_<..', inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.address",
            "address has to be valid IP address or domain name",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 65536, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: -1, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 99999999999999999999999, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].port",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, servicePort: 70000, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].servicePort",
            "port must be in the range [1, 65535]",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, servicePort: 0, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: x, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress has to be valid IP address",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, address: x, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].address",
            "address has to be valid IP address",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: 10.0.0.1, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress and servicePort has to differ from address and port",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, address: 10.0.0.2, serviceAddress: 10.0.0.2, servicePort: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound[0].serviceAddress",
            "serviceAddress and servicePort has to differ from address and port",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, serviceAddress: 10.0.0.1, servicePort: 81, tags: {kuma.io/service: a}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {version: '1'}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/service\"]",
            "tag has to exist",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, kuma.io/protocol: x}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/protocol\"]",
            "tag \"kuma.io/protocol\" has an invalid value \"x\". Allowed values: grpc, http, http2, kafka, tcp",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, kuma.io/protocol: HtTp}}]}",
        &[],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a/b}}]}",
        &[(
            "networking.inbound[0].tags[\"kuma.io/service\"]",
            "tag value must consist of alphanumeric characters, dots, dashes and underscores",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, v: ''}}]}",
        &[(
            "networking.inbound[0].tags[\"v\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "{address: 10.0.0.1, inbound: [{port: 80, tags: {kuma.io/service: a, 'v w': x}}]}",
        &[(
            "networking.inbound[0].tags[\"v w\"]",
            "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}}",
        &[],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {}}}",
        &[(
            "networking.gateway.tags",
            "mandatory tag \"kuma.io/service\" is missing",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a, kuma.io/protocol: http}}}",
        &[(
            "networking.gateway.tags[\"kuma.io/protocol\"]",
            "other values than tcp are not allowed, provided value \"http\"",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, inbound: [{port: 80, tags: {kuma.io/service: a}}]}",
        &[(
            "networking.inbound",
            "inbound cannot be defined for delegated gateways",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {type: BUILTIN, tags: {kuma.io/service: a}}, outbound: [{port: 1, tags: {kuma.io/service: b}}]}",
        &[(
            "networking.outbound",
            "outbound cannot be defined for builtin gateways",
        )],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, outbound: [{port: 0, tags: {x: y}}, {port: 1, address: z, service: b}]}",
        &[
            (
                "networking.outbound[0].port",
                "port must be in the range [1, 65535]",
            ),
            (
                "networking.outbound[0].tags",
                "mandatory tag \"kuma.io/service\" is missing",
            ),
            (
                "networking.outbound[1].address",
                "address has to be valid IP address",
            ),
        ],
    ),
    (
        "{address: 10.0.0.1, gateway: {tags: {kuma.io/service: a}}, outbound: [{port: 1, backendRef: {kind: MeshService, name: b, port: 1}}]}",
        &[],
    ),
];

#[test]
fn of_a_dataplane() {
    for (networking, expected) in DATAPLANES {
        all_of(
            &format!("type: Dataplane\nname: d\nmesh: default\nnetworking: {networking}"),
            &format!(
                "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: default\nmetadata: {{name: d, namespace: n}}\nspec:\n  networking: {networking}"
            ),
            expected,
        );
    }
}
