//! Files and folders.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn named(name: &str) -> String {
    format!("{{type: Mesh, name: {name}}}\n")
}

fn names(loaded: &Loaded) -> Vec<String> {
    loaded
        .resources
        .meshes()
        .map(|mesh| mesh.name.to_string())
        .collect()
}

#[test]
fn a_folder_is_searched() {
    let folder = folder(&[
        ("a.yaml", &named("a")),
        ("b.yml", &named("b")),
        ("c.json", "{\"type\": \"Mesh\", \"name\": \"c\"}"),
        ("inner/deeper/d.yaml", &named("d")),
        ("notes.txt", "not a resource"),
        (".hidden.yaml", "["),
        (".git/x.yaml", "["),
        ("e.yaml~", "["),
    ]);
    let loaded = load(&[folder.path()]).unwrap();
    assert_eq!(names(&loaded), ["a", "b", "c", "d"]);
    assert_eq!(loaded.files.len(), 4);
    assert_eq!(loaded.reports, []);
    // A file that is named may be called anything.
    fs::rename(folder.path().join("a.yaml"), folder.path().join("a.conf")).unwrap();
    let loaded = load(&[folder.path().join("a.conf")]).unwrap();
    assert_eq!(names(&loaded), ["a"]);
}

#[test]
fn a_file_by_two_names_is_one() {
    let folder = folder(&[("a.yaml", &named("a"))]);
    std::os::unix::fs::symlink("a.yaml", folder.path().join("b.yaml")).unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    let file = folder.path().join("a.yaml");
    let loaded = load(&[&file, &file, &folder.path().join("b.yaml")]).unwrap();
    assert_eq!(names(&loaded), ["a"]);
    assert_eq!(loaded.files, [file]);
}

#[test]
fn of_very_many_wrong_files_some_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..60 {
        write(folder.path(), &format!("{n:02}.yaml"), "type: Mesh\n");
    }
    let refused = load(&[folder.path()]).unwrap_err();
    assert_eq!(refused.reports.len(), 60);
    let shown = refused.to_string();
    assert_eq!(shown.matches("error: cannot be empty").count(), 50);
    assert!(
        shown.ends_with("10 more files with findings are not shown\n"),
        "{shown}"
    );
}

#[test]
fn links_that_lead_back_up_lead_nowhere() {
    let folder = folder(&[("a.yaml", &named("a")), ("inner/b.yaml", &named("b"))]);
    for link in ["loop", "again", "inner/up", "inner/more"] {
        std::os::unix::fs::symlink(folder.path(), folder.path().join(link)).unwrap();
    }
    let loaded = load(&[folder.path(), &folder.path().join("inner")]).unwrap();
    assert_eq!(names(&loaded), ["a", "b"]);
    assert_eq!(loaded.files.len(), 2);
}

#[test]
fn a_mounted_config_map() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, "..2024_05_31/mesh.yaml", &named("old"));
    std::os::unix::fs::symlink("..2024_05_31", root.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/mesh.yaml", root.join("mesh.yaml")).unwrap();
    let old = load(&[root]).unwrap();
    assert_eq!(names(&old), ["old"]);
    // As the kubelet replaces it.
    write(root, "..2024_06_01/mesh.yaml", &named("new"));
    std::os::unix::fs::symlink("..2024_06_01", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    let new = load(&[root]).unwrap();
    assert_eq!(names(&new), ["new"]);
    assert_ne!(old.fingerprint, new.fingerprint);
}

#[test]
fn one_bad_file_refuses_all_and_all_of_them_are_told() {
    let folder = folder(&[
        ("a.yaml", &named("a")),
        ("b.yaml", &named("B")),
        ("c.yaml", "{"),
        ("d.yaml", "type: Mesh\nname: d\ntracng: 1\n"),
    ]);
    fs::write(folder.path().join("e.yaml"), b"a: \xff").unwrap();
    fs::write(folder.path().join("f.yaml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    let missing = folder.path().join("missing");
    let refused = load(&[folder.path(), &missing]).unwrap_err();
    let shown = refused.to_string();
    for says in [
        "b.yaml:1:20, field name",
        "c.yaml:",
        "warning: unknown field `tracng`",
        "error: is not UTF-8 text: byte 3 is 0xff\n  --> ",
        "error: is longer than 1048576 bytes\n  --> ",
        "error: cannot be read: No such file or directory (os error 2)\n  --> ",
    ] {
        assert!(shown.contains(says), "{says}\n{shown}");
    }
    assert!(!shown.contains("a.yaml"));
    for file in ["e.yaml", "f.yaml", "missing"] {
        let line = shown.lines().find(|line| line.ends_with(file));
        assert!(
            line.is_some_and(|line| line.starts_with("  --> ")),
            "{file}\n{shown}"
        );
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.yaml");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let shown = load(&[folder.path()]).unwrap_err().to_string();
    assert!(shown.contains("neither a file nor a folder"), "{shown}");
    assert!(load(&[Path::new("/dev/zero")]).is_err());
}

#[test]
fn an_empty_folder_may_be_filled_later() {
    let folder = tempfile::tempdir().unwrap();
    let empty = load(&[folder.path()]).unwrap();
    assert!(empty.resources.is_empty());
    write(folder.path(), "a.yaml", &named("a"));
    assert_ne!(fingerprint(&[folder.path()]), empty.fingerprint);
}

#[test]
fn a_fingerprint_is_of_what_files_say() {
    let folder = folder(&[("a.yaml", &named("a")), ("b.yaml", &named("b"))]);
    let paths = [folder.path()];
    let first = load(&paths).unwrap().fingerprint;
    assert_eq!(fingerprint(&paths), first);
    // Written again, or something else beside it.
    write(folder.path(), "a.yaml", &named("a"));
    write(folder.path(), "c.txt", "x");
    assert_eq!(fingerprint(&paths), first);
    // Of the same length, within the same tick.
    write(folder.path(), "a.yaml", &named("c"));
    let second = fingerprint(&paths);
    assert_ne!(second, first);
    // Also of what cannot be used.
    write(folder.path(), "a.yaml", "[");
    let third = fingerprint(&paths);
    assert_ne!(third, second);
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    assert_ne!(fingerprint(&paths), third);
    // What moves from one file to another.
    let (one, two) = (
        [("a.yaml", "x"), ("b.yaml", "")],
        [("a.yaml", ""), ("b.yaml", "x")],
    );
    let of = |files: &[(&str, &str)]| {
        for (name, text) in files {
            write(folder.path(), name, text);
        }
        fingerprint(&paths)
    };
    assert_ne!(of(&one), of(&two));
}

const DOCUMENTS: [&str; 7] = [
    "{type: Mesh, name: default, tracing: {defaultBackend: a, backends: [{name: a, type: zipkin, conf: {url: 'http://a:1/'}}, {name: b, type: zipkin, conf: {url: 'http://b:1/'}}]}}",
    "{type: TrafficTrace, name: p, mesh: default, selectors: [{match: {kuma.io/service: '*'}}]}",
    "{type: TrafficTrace, name: q, mesh: default, selectors: [{match: {kuma.io/service: '*'}}], conf: {backend: b}}",
    "{type: TrafficTrace, name: r, mesh: default, creationTime: 2024-01-01T00:00:00Z, selectors: [{match: {zone: eu}}], conf: {backend: b}}",
    "{type: TrafficTrace, name: s, mesh: default, selectors: [{match: {kuma.io/service: web, zone: '*'}}]}",
    "{type: Dataplane, name: web, mesh: default, networking: {address: 10.0.0.1, inbound: [{port: 1, tags: {kuma.io/service: web, kuma.io/protocol: http}}]}}",
    "{type: Dataplane, name: eu, mesh: default, networking: {address: 10.0.0.2, inbound: [{port: 1, tags: {kuma.io/service: web, zone: eu, kuma.io/protocol: http}}]}}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However documents are spread over files, and in whatever order, they
    /// are the same resources.
    #[test]
    fn permuting_files_and_documents_changes_nothing(
        order in Just((0..DOCUMENTS.len()).collect::<Vec<_>>()).prop_shuffle(),
        files in proptest::collection::vec(0..4usize, DOCUMENTS.len()),
    ) {
        let whole = DOCUMENTS.join("\n---\n");
        let (expected, _) = relations::together(vec![("all.yaml".to_owned(), whole)]);
        let folder = tempfile::tempdir().unwrap();
        let mut texts = vec![String::new(); 4];
        for document in order {
            texts[files[document]].push_str(&format!("---\n{}\n", DOCUMENTS[document]));
        }
        for (n, text) in texts.iter().enumerate() {
            write(folder.path(), &format!("{n}.yaml"), text);
        }
        let loaded = load(&[folder.path()]).unwrap();
        prop_assert_eq!(&*loaded.resources, &expected);
        let (here, there) = (Engine::new(loaded.resources), Engine::new(Arc::new(expected)));
        for dataplane in here.resources().all_dataplanes() {
            let decide = |engine: &Engine| engine.decide("default", &dataplane.inbounds);
            prop_assert_eq!(decide(&here), decide(&there));
        }
    }
}
