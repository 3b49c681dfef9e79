//! `nodespan probe --output json` where probes can run and where they cannot.

use std::process::Command;

use serde_json::Value;

#[test]
fn whatever_comes_of_it_is_json() {
    let output = Command::new(env!("CARGO_BIN_EXE_nodespan"))
        .args(["probe", "--output", "json"])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["runs"], output.status.success(), "{said}");
    assert!(said["kernel"].is_string(), "{said}");
    let complaint = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => assert!(said["programs"].is_array(), "{said}"),
        Some(code) => {
            let reason = said["reason"].as_str().unwrap();
            assert!(complaint.contains(reason), "{complaint}\n{said}");
            assert_eq!(said["kernel_can"] == false, code == 3, "{code}: {said}");
        }
        None => panic!("{}", output.status),
    }
}
