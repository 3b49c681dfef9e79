//! Cases whose clients are programs as people use them, and many connections.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::cases::{Go, short_connections};
use crate::children::{command, output, program, run};
use crate::compare::Seen;
use crate::report::Report;
use crate::run::{Cases, whole};
use crate::targets::{Places, Target, python_program};

/// How long a client program may take.
const LIMIT: Duration = Duration::from_secs(90);

/// 1,000 connections of one request each.
pub fn thousand(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-thousand", target.name);
    let go = Go::at(target.addr(), tag.clone());
    let drive = || {
        let started = Instant::now();
        let done = short_connections(&go, 1000);
        let took = started.elapsed().as_secs_f32();
        report.note(&format!(
            "{} answered 1,000 connections in {took:.1} s",
            target.name
        ));
        done
    };
    let name = format!("{}/1000-connections", target.name);
    cases.drive(
        report,
        &name,
        &tag.clone(),
        Some(1000),
        drive,
        move |seen| whole(seen, &tag),
    );
}

/// curl, as people use it.
pub fn curl(cases: &mut Cases, report: &Report, target: &Target, out: &Path) {
    let tag = format!("{}-curl", target.name);
    let url = |verb: &str, n: u32| format!("http://{}/{verb}/{tag}/{n}", target.addr());
    let drive = || {
        let curl = || {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--fail", "--max-time", "60"]);
            curl
        };
        let body = out.join("curl-body");
        std::fs::write(&body, vec![b'c'; 2 << 20])?; // Large enough for an Expect header.
        run(
            curl().args([url("small", 1), url("small", 2), url("chunked", 3)]),
            LIMIT,
        )?;
        run(curl().arg("-I").arg(url("small", 4)), LIMIT)?;
        run(curl().arg("-0").arg(url("small", 5)), LIMIT)?;
        run(
            curl()
                .args(["-X", "POST", "-T"])
                .arg(&body)
                .arg(url("echo", 6)),
            LIMIT,
        )?;
        let chunked = [
            "-X",
            "POST",
            "-H",
            "Transfer-Encoding: chunked",
            "-d",
            "a=b",
        ];
        run(curl().args(chunked).arg(url("echo", 7)), LIMIT)?;
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| whole(seen, &tag)
    };
    cases.drive(
        report,
        &format!("{}/curl", target.name),
        &tag,
        Some(7),
        drive,
        verify,
    );
}

/// The clients of Python's and Node's libraries.
pub fn libraries(cases: &mut Cases, report: &Report, target: &Target, places: &Places) {
    for (library, script) in [("http.client", "client.py"), ("fetch", "client.js")] {
        let tag = format!("{}-{library}", target.name);
        let drive = || {
            let program = if library == "fetch" {
                program(&["node", "nodejs"])
            } else {
                python_program()
            };
            let mut client = command([program?]);
            client.arg(places.scenarios.join(script)).arg("127.0.0.1");
            client.arg(target.port.to_string()).arg(&tag);
            run(&mut client, LIMIT).map(drop)
        };
        let verify = {
            let tag = tag.clone();
            move |seen: &Seen| whole(seen, &tag)
        };
        cases.drive(
            report,
            &format!("{}/{library}", target.name),
            &tag,
            Some(6),
            drive,
            verify,
        );
    }
}

/// Connections of wrk.
const WRK: usize = 8;

/// A second of load over kept connections.
pub fn wrk(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-wrk", target.name);
    let drive = || {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-d1s", &format!("-c{WRK}")])
            .arg(format!("http://{}/small/{tag}/1", target.addr()));
        let done = output(&mut wrk, LIMIT)?;
        let said = String::from_utf8_lossy(&done.stdout);
        ensure!(
            done.status.success() && said.contains("requests in"),
            "wrk said: {said}"
        );
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        // When wrk's time is over, it waits for no more responses.
        move |seen: &Seen| {
            ensure!(
                // An emulated guest with little time of its own does no more.
                seen.lines(&tag).len() > 2 * WRK,
                "only {} requests",
                seen.lines(&tag).len()
            );
            seen.servers_equal_log(&tag)?;
            seen.joined_but(&tag, WRK)
        }
    };
    cases.drive(
        report,
        &format!("{}/wrk", target.name),
        &tag,
        None,
        drive,
        verify,
    );
}
