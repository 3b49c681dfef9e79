//! Of a TrafficTrace.

use super::all_of;

/// What follows `type: TrafficTrace`, `name` and `mesh`.
const POLICIES: &[(&str, &[(&str, &str)])] = &[
    ("selectors: [{match: {kuma.io/service: '*'}}]", &[]),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: {}",
        &[],
    ),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: {backend: ''}",
        &[],
    ),
    (
        "selectors: [{match: {kuma.io/service: '*'}}]\nconf: null",
        &[],
    ),
    (
        "selectors: [{match: {a.b/c-d_e:F: 'a.b/c-d_e:F'}}]\nconf: {backend: nobody-checks-this}",
        &[],
    ),
    ("selectors: [{match: {region: us}}]", &[]),
    (
        "conf: {backend: x}",
        &[("selectors", "must have at least one element")],
    ),
    (
        "selectors: []",
        &[("selectors", "must have at least one element")],
    ),
    (
        "selectors: [{}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: {}}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: null}]",
        &[("selectors[0].match", "must have at least one tag")],
    ),
    (
        "selectors: [{match: {region: ''}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "selectors: [{match: {region: }}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must be non-empty",
        )],
    ),
    (
        "selectors: [{match: {'': x}}]",
        &[("selectors[0].match", "tag name must be non-empty")],
    ),
    (
        "selectors: [{match: {'a b': x}}]",
        &[(
            "selectors[0].match[\"a b\"]",
            "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores",
        )],
    ),
    (
        "selectors: [{match: {region: 'web*'}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
        )],
    ),
    (
        "selectors: [{match: {region: 'a b'}}]",
        &[(
            "selectors[0].match[\"region\"]",
            "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
        )],
    ),
    (
        "selectors: [{match: {version: 1}}]",
        &[(
            "selectors[0].match[\"version\"]",
            "this is a number, wanted a string",
        )],
    ),
    (
        "selectors: {match: {a: b}}",
        &[("selectors", "this is a mapping, wanted a list")],
    ),
    (
        "selectors: [match]",
        &[("selectors[0]", "this is a string, wanted a mapping")],
    ),
    (
        "selectors: [{match: {a: ''}}, {match: {b: 'x y'}}, {}]",
        &[
            ("selectors[0].match[\"a\"]", "tag value must be non-empty"),
            (
                "selectors[1].match[\"b\"]",
                "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"",
            ),
            ("selectors[2].match", "must have at least one tag"),
        ],
    ),
];

#[test]
fn of_a_policy() {
    for (rest, expected) in POLICIES {
        all_of(
            &format!("type: TrafficTrace\nname: p\nmesh: default\n{rest}"),
            &format!(
                "apiVersion: kuma.io/v1alpha1\nkind: TrafficTrace\nmesh: default\nmetadata: {{name: p}}\nspec:\n  {}",
                rest.replace('\n', "\n  ")
            ),
            expected,
        );
    }
}
