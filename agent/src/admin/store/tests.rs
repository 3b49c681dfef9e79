use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::policy::Created;

pub(crate) fn key(kind: Kind, mesh: &str, name: &str) -> ResourceKey {
    let (mesh, name) = (mesh.into(), name.into());
    ResourceKey { kind, mesh, name }
}

fn mesh(name: &str) -> (ResourceKey, Map<String, Value>) {
    let value = json!({"type": "Mesh", "name": name, "mtls": {"enabledBackend": "ca-1"}, "tracing": {
        "backends": [{"name": "z", "type": "zipkin", "conf": {"url": "http://z:9411/api/v2/spans"}}]}});
    (key(Kind::Mesh, name, name), object(value))
}

fn trace(mesh: &str, name: &str, backend: &str) -> (ResourceKey, Map<String, Value>) {
    let value = json!({"type": "TrafficTrace", "mesh": mesh, "name": name,
        "selectors": [{"match": {"kuma.io/service": "*"}}], "conf": {"backend": backend}});
    (key(Kind::TrafficTrace, mesh, name), object(value))
}

fn dataplane(mesh: &str, name: &str) -> (ResourceKey, Map<String, Value>) {
    let value = json!({"type": "Dataplane", "mesh": mesh, "name": name, "networking": {
        "address": "10.0.0.1", "inbound": [{"port": 80, "tags": {"kuma.io/service": "web"}}]}});
    (key(Kind::Dataplane, mesh, name), object(value))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path()).unwrap()
}

fn put(store: &Store, (key, value): (ResourceKey, Map<String, Value>), seconds: i64) -> Put {
    store.put(&key, value, at(seconds)).unwrap()
}

/// What was applied is given back, but for the times.
fn without_times(item: &Item) -> Map<String, Value> {
    let mut value = item.value.clone();
    value.retain(|name, _| name != CREATED && name != MODIFIED);
    value
}

#[test]
fn what_was_put_is_there_after_a_restart_with_all_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        mesh("default"),
        trace("default", "all", "z"),
        dataplane("default", "web"),
    ];
    let store = open(&folder);
    for resource in all.clone() {
        assert!(put(&store, resource, 10).created);
    }
    let before = store.list(Kind::Mesh, None);
    drop(store);
    let store = open(&folder);
    for (key, value) in &all {
        assert_eq!(without_times(&store.get(key).unwrap()), *value);
    }
    assert_eq!(store.list(Kind::Mesh, None), before);
}

#[test]
fn the_creation_time_is_that_of_the_first_put() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, mesh("default"), 10);
    let (key, mut value) = trace("default", "all", "z");
    // What a body says of times does not count, however it is written.
    for name in NOT_KEPT {
        value.insert(name.to_owned(), json!("2001-01-01T00:00:00Z"));
    }
    assert!(put(&store, (key.clone(), value.clone()), 20).created);
    assert!(!put(&store, (key.clone(), value), 30).created);
    for store in [&store.get(&key).unwrap(), &{
        drop(store);
        open(&folder).get(&key).unwrap()
    }] {
        assert_eq!(store.value[CREATED], "1970-01-01T00:00:20Z");
        assert_eq!(store.value[MODIFIED], "1970-01-01T00:00:30Z");
        assert!(!store.value.contains_key("creation_time") && !store.value.contains_key("kri"));
        let Resource::TrafficTrace(trace) = &store.resource else {
            panic!("{:?}", store.resource);
        };
        assert_eq!(trace.created, Created(20_000_000_000));
    }
}

#[test]
fn the_folder_is_a_path_for_load_and_says_what_the_store_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for resource in [
        mesh("default"),
        trace("default", "all", "z"),
        dataplane("default", "web"),
    ] {
        put(&store, resource, 10);
    }
    let loaded =
        resources::load(&[store.folder().unwrap()]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(*loaded.resources, store.resources());
    assert_eq!(loaded.resources.len(), 3);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn each_change_is_told_and_a_refusal_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut changes = store.changes();
    put(&store, mesh("default"), 10);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let (key, value) = trace("nowhere", "all", "z");
    store.put(&key, value, at(1)).unwrap_err();
    store.delete(&key).unwrap_err();
    assert!(!changes.has_changed().unwrap());
    store.delete(&mesh("default").0).unwrap();
    assert!(changes.has_changed().unwrap());
}

#[test]
fn what_is_wrong_is_refused_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, mesh("default"), 10);
    let (key, good) = trace("default", "all", "z");
    put(&store, (key.clone(), good.clone()), 20);
    for wrong in [
        json!({"selectors": []}),
        json!({"selectors": [{"match": {}}]}),
    ] {
        let mut value = good.clone();
        value.extend(object(wrong));
        let refusal = store.put(&key, value, at(30)).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Invalid(found) if !found.is_empty()),
            "{refusal:?}"
        );
    }
    // Nor may a body be of somebody else.
    let (_, other) = trace("default", "other", "z");
    assert!(matches!(
        store.put(&key, other, at(30)),
        Err(Refusal::Invalid(_))
    ));
    assert_eq!(
        store.get(&key).unwrap().value[MODIFIED],
        "1970-01-01T00:00:20Z"
    );
    drop(store);
    assert_eq!(without_times(&open(&folder).get(&key).unwrap()), good);
}

#[test]
fn a_mesh_must_exist_and_one_with_workloads_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (policy, value) = trace("default", "all", "z");
    let refusal = store.put(&policy, value.clone(), at(1)).unwrap_err();
    assert_eq!(refusal.to_string(), "mesh of name default is not found");
    put(&store, mesh("default"), 10);
    put(&store, mesh("other"), 10);
    put(&store, (policy.clone(), value), 10);
    put(&store, trace("other", "all", "z"), 10);
    put(&store, dataplane("default", "web"), 10);
    let of_mesh = mesh("default").0;
    assert!(matches!(store.delete(&of_mesh), Err(Refusal::Attached)));
    assert!(store.get(&policy).is_some());
    store.delete(&dataplane("default", "web").0).unwrap();
    // Its policies go with it; those of others stay.
    store.delete(&of_mesh).unwrap();
    let left = |store: &Store| {
        let names = store.resources();
        (names.meshes().count(), names.all_traffic_traces().count())
    };
    assert_eq!(left(&store), (1, 1));
    assert!(matches!(store.delete(&of_mesh), Err(Refusal::NotFound(_))));
    drop(store);
    assert_eq!(left(&open(&folder)), (1, 1));
}

#[test]
fn what_a_file_defines_is_shown_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let given = tempfile::tempdir().unwrap();
    let file = given.path().join("mesh.yaml");
    fs::write(&file, "type: Mesh\nname: default\nmetrics: {x: 1}\n---\ntype: TrafficTrace\nname: all\nmesh: default\nselectors: [{match: {a: b}}]\n").unwrap();
    let store = open(&folder);
    let paths = [file.as_path(), store.folder().unwrap()];
    store.set_files(&resources::load(&paths).unwrap().files);
    // A mesh of a file is a mesh, also for what is put.
    put(&store, trace("default", "mine", "z"), 10);
    store.set_files(&resources::load(&paths).unwrap().files);
    let names: Vec<_> = store.list(Kind::TrafficTrace, Some("default"));
    let names: Vec<_> = names
        .iter()
        .map(|item| item.resource.key().name.to_string())
        .collect();
    assert_eq!(names, ["all", "mine"]);

    let (key, value) = mesh("default");
    let shown = store.get(&key).unwrap();
    assert_eq!(shown.value["metrics"], json!({"x": 1}));
    assert_eq!(shown.value[CREATED], "1970-01-01T00:00:00Z");
    for refusal in [
        store.put(&key, value, at(1)).unwrap_err(),
        store.delete(&key).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("mesh.yaml"), "{refusal}");
    }
    // What is the store's own stays so, though `load` reads it.
    store.delete(&trace("default", "mine", "z").0).unwrap();
    fs::remove_file(&file).unwrap();
    store.set_files(&resources::load(&[store.folder().unwrap()]).unwrap().files);
    assert!(store.resources().is_empty());
}

#[test]
fn what_a_cluster_has_is_shown_behind_files() {
    let folder = tempfile::tempdir().unwrap();
    let given = tempfile::tempdir().unwrap();
    let file = given.path().join("mesh.yaml");
    fs::write(&file, "type: Mesh\nname: default\nmetrics: {x: 1}\n").unwrap();
    let store = open(&folder);
    store.set_files(&resources::load(&[&file]).unwrap().files);
    let metadata = |name: &str| json!({"name": name, "creationTimestamp": "2026-01-02T03:04:05Z", "uid": "u", "resourceVersion": "7"});
    let object = |kind: &str, name: &str, rest: Value| {
        let mut object =
            json!({"apiVersion": "kuma.io/v1alpha1", "kind": kind, "metadata": metadata(name)});
        object
            .as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        object.to_string()
    };
    let all = json!({"mesh": "default", "spec": {"selectors": [{"match": {"a": "b"}}]}});
    let objects = [
        object("Mesh", "default", json!({"spec": {"logging": {}}})),
        object("Mesh", "other", json!({"spec": {"logging": {}}})),
        object("TrafficTrace", "all", all),
    ];
    store.set_cluster(&objects);
    let names = |kind| {
        let all = store.list(kind, None).into_iter();
        all.map(|item| item.resource.key().name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Kind::Mesh), ["default", "other"]);
    assert_eq!(names(Kind::TrafficTrace), ["all"]);
    let shown = store.get(&mesh("default").0).unwrap();
    assert_eq!(shown.value.get("metrics"), Some(&json!({"x": 1})));
    let shown = store.get(&mesh("other").0).unwrap();
    assert_eq!(shown.value.get("logging"), Some(&json!({})));
    assert_eq!(shown.value[CREATED], "2026-01-02T03:04:05Z");
    assert_eq!(store.resources().len(), 3);
    store.set_cluster(&objects[1..2]);
    assert_eq!(names(Kind::TrafficTrace), [""; 0]);
    assert_eq!(names(Kind::Mesh), ["default", "other"]);
}

#[test]
fn names_that_are_paths_or_too_long_for_files_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let long = format!("{}.{}", "a".repeat(60), "b".repeat(60));
    let twin = format!("{}.{}", "a".repeat(60), "c".repeat(60));
    put(&store, mesh(&long), 1);
    put(&store, mesh(&twin), 1);
    for mesh in ["..", "/etc", "a/b", ""] {
        let (key, value) = trace(mesh, "all", "z");
        assert!(store.put(&key, value, at(1)).is_err(), "{mesh}");
        let name = file_name(&key);
        assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
    }
    let (key, value) = mesh("../x");
    assert!(store.put(&key, value, at(1)).is_err());
    drop(store);
    assert_eq!(open(&folder).resources().len(), 2);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for entry in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_folder_is_one_stores_and_a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    put(&store, mesh("default"), 1);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
    let path = folder.path().join(file_name(&mesh("default").0));
    drop(store);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let error = Store::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("mesh_default_"), "{error}");
    fs::write(&path, "{\"type\": \"Nothing\", \"name\": \"x\"}").unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn leftovers_are_removed_and_other_files_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".mesh_x.json.tmp"), "{\"type\": \"Me").unwrap();
    fs::write(
        folder.path().join("mine.json"),
        "{\"type\": \"Mesh\", \"name\": \"mine\"}",
    )
    .unwrap();
    fs::write(folder.path().join("notes.txt"), "hello").unwrap();
    let store = open(&folder);
    assert!(!folder.path().join(".mesh_x.json.tmp").exists());
    assert!(store.resources().is_empty());
    store.set_files(&resources::load(&[store.folder().unwrap()]).unwrap().files);
    let refusal = store.delete(&mesh("mine").0).unwrap_err();
    assert!(refusal.to_string().contains("mine.json"), "{refusal}");
    assert!(folder.path().join("notes.txt").exists());
}

#[test]
fn what_load_would_not_read_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let (key, mut value) = mesh("default");
    value.insert(
        "metrics".to_owned(),
        json!({"x": "y".repeat(MAX_FILE as usize)}),
    );
    let refusal = store.put(&key, value, at(1)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooLong(_)), "{refusal}");
    assert!(store.get(&key).is_none());
}

#[test]
fn a_full_store_still_takes_updates() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let big = |name: &str, len: usize| {
        let (key, mut value) = mesh(name);
        value.insert("metrics".to_owned(), json!({"x": "y".repeat(len)}));
        (key, value)
    };
    let size = 1_000_000;
    for n in 0..MAX_BYTES / (size + 1000) {
        put(&store, big(&format!("m{n}"), size), 1);
    }
    let (key, value) = big("more", size);
    let refusal = store.put(&key, value, at(1)).unwrap_err();
    assert!(matches!(refusal, Refusal::Full), "{refusal}");
    assert!(!put(&store, big("m0", 10), 2).created);
    assert!(put(&store, big("more", 900_000), 3).created);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, any::<u8>()).prop_map(|(name, what)| Step::Put(name, what)),
        2 => (0..6_u8).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The store, its folder as `load` reads it, and a plain map agree.
    #[test]
    fn store_folder_and_model_agree(steps in prop::collection::vec(step(), 1..25)) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder);
        put(&store, mesh("default"), 1);
        let mut model: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for (now, step) in (2..).zip(steps) {
            match step {
                Step::Put(name, what) => {
                    let (name, what) = (format!("t{name}"), format!("b{what}"));
                    let put = put(&store, trace("default", &name, &what), now);
                    prop_assert_eq!(put.created, !model.contains_key(&name));
                    let created = model.get(&name).map_or(now, |(created, _)| *created);
                    model.insert(name, (created, what));
                }
                Step::Delete(name) => {
                    let name = format!("t{name}");
                    let key = key(Kind::TrafficTrace, "default", &name);
                    let deleted = store.delete(&key).is_ok();
                    prop_assert_eq!(deleted, model.remove(&name).is_some());
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&folder);
                }
            }
            let loaded = resources::load(&[store.folder().unwrap()]).unwrap();
            prop_assert_eq!(&*loaded.resources, &store.resources());
            let found: BTreeMap<_, _> = loaded
                .resources
                .all_traffic_traces()
                .map(|trace| {
                    let created = (trace.created.0 / 1_000_000_000) as i64;
                    (trace.name.to_string(), (created, trace.backend.as_ref().unwrap().to_string()))
                })
                .collect();
            prop_assert_eq!(&found, &model);
        }
    }
}
