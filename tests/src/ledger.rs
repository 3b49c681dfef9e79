//! The running agent's own accounts, from `nodespan status`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::cases::Go;
use crate::children::run;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::targets::Target;
use crate::wait;

/// The status as it is now.
///
/// # Errors
/// If the agent does not give it.
pub fn status(nodespan: &Path) -> Result<Value> {
    let mut status = Command::new(nodespan);
    status.args(["status", "--output", "json"]);
    let said = run(&mut status, Duration::from_secs(30))?;
    serde_json::from_str(&said).with_context(|| format!("status said {said}"))
}

/// A number of the status.
///
/// # Errors
/// If there is none at that place.
pub fn at(status: &Value, place: &str) -> Result<u64> {
    let number = status.pointer(place).and_then(Value::as_u64);
    number.with_context(|| format!("no {place} in the status"))
}

/// Everything observed is accounted for, and no record was lost.
///
/// # Errors
/// With the account that does not add up.
pub fn balances(nodespan: &Path) -> Result<Verdict> {
    let mut why = String::new();
    let balanced = wait::until_true("the ledger to balance", Duration::from_secs(60), || {
        let status = status(nodespan)?;
        why = imbalance(&status["ledger"])
            .err()
            .map_or_else(String::new, |e| format!("{e:#}"));
        Ok(why.is_empty())
    });
    balanced.context(why)?;
    // Runs that the kernel skipped are in no account: whatever they would have
    // seen is missing. Where programs are attached twice the count is a bound;
    // there the comparisons with the servers' logs must do.
    let status = status(nodespan)?;
    let skipped = at(&status, "/ledger/records/missed/recursion")?;
    ensure!(
        skipped == 0 || status["probes"]["twice"] == true,
        "the kernel skipped {skipped} runs of the programs"
    );
    Ok(Verdict::Passed)
}

/// The account that does not add up, if one does not, or in which something was
/// lost.
///
/// # Errors
/// It.
pub(crate) fn imbalance(ledger: &Value) -> Result<()> {
    adds_up(ledger)?;
    ensure!(
        sum(ledger, "/exchanges/dropped") == 0,
        "exchanges were dropped: {}",
        ledger["exchanges"]
    );
    ensure!(
        sum(ledger, "/records/lost") == 0,
        "records were lost: {}",
        ledger["records"]
    );
    Ok(())
}

/// The account that does not add up, if one does not.
///
/// # Errors
/// It.
pub(crate) fn adds_up(ledger: &Value) -> Result<()> {
    let one = |place: &str| at(ledger, place);
    let accounted = one("/exchanges/spans")?
        + sum(ledger, "/exchanges/not_selected")
        + sum(ledger, "/exchanges/not_sampled")
        + sum(ledger, "/exchanges/dropped");
    ensure!(
        one("/exchanges/observed")? == accounted,
        "exchanges: {}",
        ledger["exchanges"]
    );
    let records = one("/records/read")? + sum(ledger, "/records/lost");
    ensure!(
        one("/records/seen")? == records,
        "records: {}",
        ledger["records"]
    );
    Ok(())
}

/// All reasons of an account together.
fn sum(ledger: &Value, place: &str) -> u64 {
    let by_reason = ledger.pointer(place).and_then(Value::as_object);
    let counts = by_reason.into_iter().flatten();
    counts.filter_map(|(_, n)| n.as_u64()).sum()
}

/// How much of bodies crosses the ring, by size.
pub fn body_share(report: &mut Report, nodespan: &Path, nginx: &Target, origin: &Target) {
    let mut shares = Vec::new();
    for (name, verb, size, times, text) in [
        ("1k", "kb", 1_u64 << 10, 100, "b"),
        ("64k", "kb64", 1 << 16, 50, "b"),
        ("10m", "big", 10 << 20, 3, "b"),
        // As much as can be that looks like the start of a message.
        (
            "10m-of-lines",
            "big",
            10 << 20,
            3,
            "GET /lines HTTP/1.1 200 he has.\n",
        ),
    ] {
        report.check(&format!("body-share/{name}"), || {
            let go = Go::at(nginx.addr(), format!("nginx-body-{name}"));
            let back = Go::at(origin.addr(), format!("origin-body-{name}"));
            // Calls that look like a start come up whole until the reader, who is
            // woken, has said that they need not.
            let is_small = size <= 1 << 20;
            let most = if text.len() > 1 { 3.0 } else { 1.0 };
            let mut least = f64::MAX;
            for _ in 0..TRIES {
                let share = moved(nodespan, [&go, &back], (verb, text), size, times)?;
                least = least.min(share);
                if is_small || least <= most {
                    break;
                }
            }
            shares.push(format!("{name} {least:.2} %"));
            ensure!(
                is_small || least <= most,
                "{least:.2} % of the bytes crossed the ring, at the least of {TRIES}"
            );
            Ok(Verdict::Passed)
        });
    }
    report.note(&format!(
        "of bodies crossed the ring: {}",
        shares.join(", ")
    ));
}

/// Times that a share is measured: others may have the reader's processor.
const TRIES: usize = 5;

/// Moves bodies down and up; how much of them crossed the ring, in percent.
fn moved(
    nodespan: &Path,
    [go, back]: [&Go; 2],
    (verb, text): (&str, &str),
    size: u64,
    times: u64,
) -> Result<f64> {
    let before = bytes(nodespan)?;
    let mut down = Client::connect(go.addr)?;
    let mut up = Client::connect(back.addr)?;
    let body: Vec<u8> = text.bytes().cycle().take(usize::try_from(size)?).collect();
    for _ in 0..times {
        let got = down.exchange("GET", &go.path(verb), "")?;
        ensure!(got.length == size, "{} bytes of {verb}", got.length);
        let length = format!("Content-Length: {size}\r\n");
        up.request("POST", &back.path("echo"), &length)?;
        for block in body.chunks(1 << 16) {
            up.send(block)?;
        }
        up.response("POST")?;
    }
    // Every body is sent once and received once, downwards and up.
    let moved = 4 * times * size;
    let ring = crossed(nodespan, before, moved)?;
    Ok(100.0 * share(ring, moved))
}

#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Bytes that calls moved, and bytes that crossed the ring.
fn bytes(nodespan: &Path) -> Result<Moved> {
    let status = status(nodespan)?;
    Ok(Moved {
        moved: at(&status, "/bytes/moved")?,
        ring: at(&status, "/bytes/ring")?,
    })
}

#[derive(Clone, Copy, Debug)]
struct Moved {
    moved: u64,
    ring: u64,
}

/// Waits until the agent has counted `expected` more bytes; how many of them
/// crossed the ring.
fn crossed(nodespan: &Path, before: Moved, expected: u64) -> Result<u64> {
    let mut last = before;
    let counted = wait::until_true("the agent to count", Duration::from_secs(60), || {
        last = bytes(nodespan)?;
        Ok(last.moved - before.moved >= expected)
    });
    if counted.is_err() {
        bail!("{} of {expected} bytes counted", last.moved - before.moved);
    }
    Ok(last.ring - before.ring)
}
