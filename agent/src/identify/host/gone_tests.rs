//! Processes that were over before anybody could ask about them.

use super::tests::{Host, ask, replace, service};
use super::*;

const PID: u32 = 20;
const OWNER: u64 = OWNER_PROCESS | 20;

fn introduce(identifier: &mut Identifier, comm: &str) {
    identifier.introduce(OwnerId(OWNER), PID, Comm::new(comm.as_bytes()));
}

#[test]
fn who_is_gone_is_called_what_the_kernel_called_it() {
    let host = Host::new();
    let session = host.cgroup("/user.slice/user-0.slice/session-3.scope");
    let mut identifier = host.identifier();
    for (pid, comm, name) in [
        (30, "curl", "curl"),
        (31, "", "pid-31"),
        // What it runs is in its arguments, which are gone, too.
        (32, "python3", "python3"),
        (33, "a-name-that-is-cut", "a-name-that-is-"),
    ] {
        identifier.introduce(OwnerId(session), pid, Comm::new(comm.as_bytes()));
        let known = ask(&mut identifier, session, pid, 1);
        assert_eq!(service(&known), name);
        assert_eq!(known.workload.kind, WorkloadKind::Command);
        assert_eq!(known.origin, Origin::Gone);
        let owner = OWNER_PROCESS | u64::from(pid);
        for second in [1, 3, 30] {
            assert_eq!(ask(&mut identifier, owner, pid, second), known);
        }
    }
    assert_eq!(identifier.counters().gone, 4);
    // Of a cgroup without a process nothing is known by that.
    identifier.introduce(OwnerId(session), 0, Comm::new(b"swapper"));
    let known = ask(&mut identifier, session, 0, 1);
    assert_eq!(service(&known), format!("cgroup-{session}"));
}

#[test]
fn who_is_there_says_itself_what_it_is_called() {
    let host = Host::new();
    let mut identifier = host.identifier();
    introduce(&mut identifier, "python3");
    host.process(
        PID,
        "python3",
        &["python3", "/srv/app.py"],
        "0::/user.slice\n",
    );
    let known = ask(&mut identifier, OWNER, PID, 0);
    assert_eq!(service(&known), "app.py");
    // Its last connection, of which is read when it has ended.
    introduce(&mut identifier, "python3");
    host.kill(PID);
    for second in [1, 20] {
        assert_eq!(ask(&mut identifier, OWNER, PID, second), known);
    }
}

#[test]
fn the_newest_of_an_id_is_who_it_is_of() {
    let host = Host::new();
    let mut identifier = host.identifier();
    let named = |identifier: &mut Identifier, second| ask(identifier, OWNER, PID, second);
    replace(&host, PID, "server", 100);
    let server = named(&mut identifier, 0);
    assert_eq!(service(&server), "server");
    // It ends, and so does the next of its id, before what is known is old.
    replace(&host, PID, "", 200);
    introduce(&mut identifier, "curl");
    let curl = named(&mut identifier, 1);
    assert_eq!(service(&curl), "curl");
    introduce(&mut identifier, "wget");
    let wget = named(&mut identifier, 1);
    assert_eq!(service(&wget), "wget");
    // Another connection of the same one.
    introduce(&mut identifier, "wget");
    assert_eq!(named(&mut identifier, 9), wget);
    assert!(server.key != curl.key && curl.key != wget.key);
    // One that is there, and then no more.
    replace(&host, PID, "sleeper", 300);
    let sleeper = named(&mut identifier, 9);
    assert_eq!(service(&sleeper), "sleeper");
    replace(&host, PID, "", 400);
    introduce(&mut identifier, "curl");
    assert_eq!(service(&named(&mut identifier, 10)), "curl");
}

#[test]
fn who_was_called_after_its_id_is_named_when_its_name_comes() {
    let host = Host::new();
    let mut identifier = host.identifier();
    let mut named = || service(&ask(&mut identifier, OWNER, PID, 0)).to_owned();
    assert_eq!(named(), "pid-20");
    introduce(&mut identifier, "curl");
    let mut named = || service(&ask(&mut identifier, OWNER, PID, 0)).to_owned();
    assert_eq!(named(), "curl");
}

/// A connection that it opened itself would have told; this one was handed to
/// it.
#[test]
fn an_id_that_is_used_again_without_a_word_never_has_the_old_name() {
    let host = Host::new();
    let mut identifier = host.identifier();
    // Nobody asked while it was there, nor has anybody since.
    introduce(&mut identifier, "old");
    replace(&host, PID, "new", 200);
    let new = ask(&mut identifier, OWNER, PID, 0);
    assert_eq!(service(&new), "new");
    // That it was found counts, whatever becomes of it.
    replace(&host, PID, "", 300);
    assert_eq!(ask(&mut identifier, OWNER, PID, 1), new);
    identifier.owners.clear();
    assert_eq!(service(&ask(&mut identifier, OWNER, PID, 2)), "pid-20");
    // Nor a minute later, if it was never found.
    introduce(&mut identifier, "old");
    identifier.owners.clear();
    for second in [31, 62, 93] {
        identifier.look(MonoNanos(second * SECOND));
    }
    let unknown = ask(&mut identifier, OWNER, PID, 93);
    assert_eq!(service(&unknown), "pid-20");
}

#[test]
fn a_name_is_there_for_half_a_minute() {
    let host = Host::new();
    let mut identifier = host.identifier();
    identifier.look(MonoNanos(30 * SECOND));
    introduce(&mut identifier, "curl");
    for second in 31..=60 {
        identifier.look(MonoNanos(second * SECOND));
    }
    assert_eq!(service(&ask(&mut identifier, OWNER, PID, 60)), "curl");
}

#[test]
fn who_is_known_by_its_cgroup_takes_no_room() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/nginx.service");
    let mut identifier = host.identifier();
    assert_eq!(service(&ask(&mut identifier, unit, 0, 0)), "nginx");
    identifier.introduce(OwnerId(unit), PID, Comm::new(b"nginx"));
    assert_eq!(identifier.introduced.get(PID), None);
    identifier.introduce(OwnerId(unit + 1), PID, Comm::new(b"nginx"));
    assert_eq!(identifier.introduced.get(PID), Some(Comm::new(b"nginx")));
}
