//! What a release consists of, as a CycloneDX 1.6 document
//! (<https://cyclonedx.org/docs/1.6/json/>).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    digest,
    packages::{Id, Package},
};

/// Something that was built.
#[derive(Debug)]
pub(crate) struct Built<'a> {
    pub(crate) name: &'a str,
    /// An SPDX expression.
    pub(crate) license: &'a str,
    pub(crate) content: &'a [u8],
    /// What is linked into it.
    pub(crate) packages: &'a [Package],
    /// The standard library in it: its name, and the compiler it came with.
    pub(crate) library: (&'a str, &'a str),
}

/// The document: `agent`, and the kernel objects inside of it. `time` is in the
/// form of RFC 3339.
pub(crate) fn document(
    version: &str,
    time: &str,
    agent: &Built<'_>,
    objects: &[Built<'_>],
) -> Value {
    let subject = json!({
        "type": "application",
        "bom-ref": reference(agent.name, version),
        "name": agent.name,
        "version": version,
        "description": "HTTP tracing of a Linux node without sidecars; a static binary for x86-64",
        "licenses": [{"expression": agent.license}],
        "hashes": hashes(&digest(agent.content)),
    });
    let mut components = BTreeMap::new();
    let mut dependencies = BTreeMap::new();
    let mut of_agent = uses(agent);
    for object in objects {
        let key = reference(object.name, version);
        let component = json!({
            "type": "file",
            "bom-ref": key,
            "name": object.name,
            "version": version,
            "description": "eBPF programs, a part of the binary; GPL-2.0-only together with a kernel",
            "licenses": [{"expression": object.license}],
            "hashes": hashes(&digest(object.content)),
        });
        components.insert(key.clone(), component);
        dependencies.insert(key.clone(), uses(object));
        of_agent.insert(key);
    }
    dependencies.insert(reference(agent.name, version), of_agent);
    for built in objects.iter().chain([agent]) {
        let (name, compiler) = built.library;
        let component = json!({
            "type": "framework",
            "bom-ref": reference(name, compiler),
            "name": name,
            "version": compiler,
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        });
        components.insert(reference(name, compiler), component);
        dependencies.entry(reference(name, compiler)).or_default();
        let inside: BTreeSet<&Id> = built.packages.iter().map(|package| &package.id).collect();
        for package in built.packages {
            let key = key_of(&package.id, package.checksum.is_some());
            let used = package.uses.iter().filter(|id| inside.contains(id));
            let used = used.map(|id| key_within(built, id));
            dependencies.entry(key.clone()).or_default().extend(used);
            components.insert(key, component_of(package));
        }
    }
    // The package of the binary is what the document is about.
    components.remove(&reference(agent.name, version));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [{
                "type": "application",
                "name": "cargo xtask dist",
                "version": version,
            }]},
            "component": subject,
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies
            .into_iter()
            .map(|(key, on)| json!({"ref": key, "dependsOn": on}))
            .collect::<Vec<_>>(),
    })
}

fn component_of(package: &Package) -> Value {
    let Id { name, version } = &package.id;
    let key = key_of(&package.id, package.checksum.is_some());
    let mut component = json!({
        "type": "library",
        "bom-ref": key,
        "name": name,
        "version": version,
    });
    if let Some(license) = &package.license {
        // Before SPDX expressions Cargo had a slash between alternatives.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{"expression": expression}]);
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = hashes(checksum);
        component["purl"] = json!(key);
    }
    if let Some(url) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
    }
    component
}

/// What a built thing depends on directly.
fn uses(built: &Built<'_>) -> BTreeSet<String> {
    let used: BTreeSet<&Id> = built.packages.iter().flat_map(|p| &p.uses).collect();
    // Its own packages are those that nobody else uses.
    let own = built.packages.iter().filter(|p| !used.contains(&p.id));
    own.flat_map(|package| &package.uses)
        .filter(|id| built.packages.iter().any(|package| package.id == **id))
        .map(|id| key_within(built, id))
        .chain([reference(built.library.0, built.library.1)])
        .collect()
}

fn key_within(built: &Built<'_>, id: &Id) -> String {
    let package = built.packages.iter().find(|package| package.id == *id);
    key_of(id, package.is_some_and(|p| p.checksum.is_some()))
}

/// A package URL where there is a registry.
fn key_of(id: &Id, published: bool) -> String {
    if !published {
        return reference(&id.name, &id.version);
    }
    // The one character of versions that the grammar of such URLs wants escaped.
    let version = id.version.replace('+', "%2B");
    format!("pkg:cargo/{}@{version}", id.name)
}

fn reference(name: &str, version: &str) -> String {
    format!("{name}@{version}")
}

fn hashes(sha256: &str) -> Value {
    json!([{"alg": "SHA-256", "content": sha256}])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::{agent_packages, object_packages};
    use crate::workspace::Workspace;

    fn real() -> Value {
        let workspace = Workspace::load().unwrap();
        let packages = agent_packages(&workspace).unwrap();
        let of_object = object_packages(&workspace).unwrap();
        let agent = Built {
            name: "nodespan",
            license: "MIT OR Apache-2.0",
            content: b"agent",
            packages: &packages,
            library: ("rust-std", "1.95.0"),
        };
        let object = Built {
            name: "nodespan.o",
            license: "MIT OR GPL-2.0-only",
            content: b"object",
            packages: &of_object,
            library: ("rust-core", "1.99.0-nightly"),
        };
        document("0.1.0", "2026-01-02T03:04:05Z", &agent, &[object])
    }

    fn texts<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
        let list = list.as_array().unwrap();
        list.iter().map(|one| one[key].as_str().unwrap()).collect()
    }

    #[test]
    fn this_workspaces_own() {
        let document = real();
        let names = texts(&document["components"], "name");
        for inside in [
            "agent-ebpf",
            "aya",
            "aya-ebpf",
            "nodespan-deploy",
            "nodespan.o",
            "ring",
            "rust-core",
            "rust-std",
            "rustls",
        ] {
            assert!(names.contains(&inside), "{inside}");
        }
        // Tests, build scripts, macros and other systems' packages are not.
        for outside in ["nodespan", "proptest", "cc", "syn", "windows-sys", "xtask"] {
            assert!(!names.contains(&outside), "{outside}");
        }
    }

    #[test]
    fn every_component_is_whole() {
        let document = real();
        let components = document["components"].as_array().unwrap();
        assert!(components.len() > 50);
        for component in components {
            let of = |key: &str| component[key].as_str().unwrap_or_default();
            assert!(!of("version").is_empty(), "{component}");
            let license = &component["licenses"][0]["expression"];
            let license = license.as_str().unwrap_or_default();
            assert!(!license.is_empty() && !license.contains('/'), "{component}");
            if of("type") == "library" && component["purl"].is_string() {
                assert_eq!(component["purl"], component["bom-ref"]);
                let hash = component["hashes"][0]["content"].as_str().unwrap();
                assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
        let own = components.iter().filter(|one| one["type"] == "library");
        let own = own.filter(|one| one["purl"].is_null());
        let own: Vec<_> = own.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(own, ["agent-ebpf", "nodespan-deploy"]);
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_is_reached() {
        let document = real();
        let subject = document["metadata"]["component"]["bom-ref"].as_str();
        let subject = subject.unwrap();
        let mut keys = texts(&document["components"], "bom-ref");
        keys.push(subject);
        let unique: BTreeSet<&str> = keys.iter().copied().collect();
        assert_eq!(unique.len(), keys.len());
        let dependencies = document["dependencies"].as_array().unwrap();
        let from: BTreeSet<&str> = texts(&document["dependencies"], "ref")
            .into_iter()
            .collect();
        assert_eq!(from, unique);
        let mut reached = BTreeSet::from([subject]);
        let mut queue = vec![subject];
        while let Some(key) = queue.pop() {
            let on = dependencies.iter().find(|one| one["ref"] == key).unwrap();
            for next in on["dependsOn"].as_array().unwrap() {
                let next = next.as_str().unwrap();
                assert!(unique.contains(next), "{key} depends on {next}");
                if reached.insert(next) {
                    queue.push(next);
                }
            }
        }
        assert_eq!(reached, unique);
    }

    #[test]
    fn older_forms_are_brought_into_todays() {
        let package = Package {
            id: Id {
                name: "a".to_owned(),
                version: "1.0.0+b".to_owned(),
            },
            license: Some("MIT/Apache-2.0".to_owned()),
            repository: None,
            checksum: Some("00".to_owned()),
            folder: "/nowhere".into(),
            uses: BTreeSet::new(),
        };
        let component = component_of(&package);
        assert_eq!(component["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(component["purl"], "pkg:cargo/a@1.0.0%2Bb");
        assert_eq!(component["version"], "1.0.0+b");
    }
}
