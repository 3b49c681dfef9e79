use serde_json::json;

use super::*;
use crate::admin::View;
use crate::admin::status::tests::example;
use crate::ledger::{Ledger, Lost, Missed};

/// Without the first line, which has the process and its time.
fn shown(view: &View) -> String {
    let mut status = view.status();
    for backend in &mut status.ledger.backends {
        if let Some(error) = &mut backend.last_error {
            error.unix_seconds = 0;
        }
    }
    let text = render(&status);
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(first.ends_with("up 0s, ready"), "{first}");
    rest.to_owned()
}

#[test]
fn people_read_it() {
    let view = example();
    view.set_ready(true);
    let wanted = "
exchanges
  observed      5
  spans         3
  not selected  2  no_policy 2
  not sampled   0
  dropped       0

backends
  BACKEND  SENT  WAITING  DROPPED  FAILURES  ANSWERS HALF  99 %
  zipkin      0        2        1         1          5 ms  longer
  dropped: queue_full 1
  answers: 2 in 5 ms, 1 longer
  last error, 1970-01-01 00:00:00Z: status 503

records
  seen    0
  read    0
  lost    0
  missed  0

events
  lenient_head  4

workloads
  SERVICE   TRACED  BACKEND     WHAT IT IS       NOT TRACED FOR
  front     yes     default/eu  2 pods           -
  shop\u{fffd}[2J  partly  -           unit shop        port, no_policy
  worker    no      -           pod a/worker-1/  protocol
  `nodespan explain --agent --workload SERVICE` says why

seen but not traced (connections)
  postgres  1 tls

probes
  hooks      fentry tcp_sendmsg, fexit tcp_recvmsg
  kernel     6.12.0
  self test  12,345
  twice      no
";
    assert_eq!(shown(&view), wanted);
}

#[test]
fn what_another_room_shows_becomes_tables() {
    let view = View::new(Ledger::new());
    view.set_ready(true);
    view.set_section(
        "bytes",
        json!({"moved": 20_971_520, "ring": 1_048_576, "skipped": 0, "ignored_calls": 1234}),
    );
    view.set_section(
        "configuration",
        json!({"refused": "error: no\n  --> \u{7}a.toml:1"}),
    );
    view.set_section("workloads", json!({}));
    view.set_section(
        "kubernetes",
        json!({
            "synced": true,
            "kinds": {
                "pods": {"objects": 10_000, "state": "watching"},
                "nodes": {"objects": 7, "state": "listing", "failing": {"why": "away", "seconds": 9}},
            },
            "refused": [{"kind": "Mesh", "name": "a", "stays": false}],
        }),
    );
    view.set_section("odd", json!(7));
    let text = shown(&view);
    for part in [
        "
bytes
  moved by watched sockets             20.0 MiB
  of them read                          1.0 MiB  5.00 %
  of them skipped                           0 B  0.00 %
  calls on sockets that speak no HTTP     1,234
",
        "
configuration: the last change was REFUSED, what was before is in force
  error: no
    --> \u{fffd}a.toml:1
",
        "
kubernetes
  synced  yes
  KINDS  FAILING              OBJECTS  STATE
  nodes  seconds 9, why away        7  listing
  pods   -                     10,000  watching
  refused
    KIND  NAME  STAYS
    Mesh  a     no
",
        "\nodd\n  7\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(
        !text.contains("workloads") && !text.contains("backends"),
        "{text}"
    );
    view.set_section("configuration", json!({"refused": null}));
    assert!(!shown(&view).contains("configuration"));
}

#[test]
fn nothing_that_an_agent_of_another_version_says_panics() {
    for odd in [
        json!(null),
        json!([1, [2]]),
        json!({"a": [[]], "b": {"c": 1}, "": {}}),
        json!("x"),
    ] {
        let view = View::new(Ledger::new());
        view.set_ready(true);
        for name in [
            "bytes",
            "workloads",
            "configuration",
            "kubernetes",
            "probes",
        ] {
            view.set_section(name, odd.clone());
        }
        shown(&view);
    }
}

#[test]
fn reasons_of_records_stand_beside_their_sum() {
    let view = example();
    view.set_ready(true);
    let ledger = &view.ledger;
    ledger.records.seen.set(1_000_000);
    ledger.records.read.set(999_000);
    ledger.records.lost.add(Lost::RingFull, 1000);
    ledger.records.missed.add(Missed::Mptcp, 2);
    let text = shown(&view);
    let wanted = "
records
  seen    1,000,000
  read      999,000
  lost        1,000  ring_full 1,000
  missed          2  mptcp 2
";
    assert!(text.contains(wanted), "{text}");
}
