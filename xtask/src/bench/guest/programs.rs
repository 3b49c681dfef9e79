//! What each kernel program costs, by the kernel's own accounts.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::agent::Agent;
use crate::bench::figures::Program;

/// The kernel takes the time of each run while this is 1; that costs.
const ACCOUNTS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Runs a load of `load()` requests with accounts and returns what each
/// program of the agent did.
///
/// # Errors
/// If the load fails, or the kernel keeps no accounts.
pub(super) fn measure(agent: &Agent, load: impl FnOnce() -> Result<u64>) -> Result<Vec<Program>> {
    let known = agent.status()?["probes"]["programs"].clone();
    let process = agent.process()?;
    fs::write(ACCOUNTS, "1").context("switching the programs' accounts on")?;
    let before = read(process);
    let requests = load();
    let after = read(process);
    fs::write(ACCOUNTS, "0").context("switching the programs' accounts off")?;
    let (before, after, requests) = (before?, after?, requests?);
    let mut programs = Vec::new();
    for program in known.as_array().into_iter().flatten() {
        let verified = program["verified_instructions"].as_u64();
        let find = |accounts: &[Account]| {
            accounts
                .iter()
                .copied()
                .find(|one| Some(one.verified) == verified)
        };
        let (Some(before), Some(after)) = (find(&before), find(&after)) else {
            continue;
        };
        programs.push(Program {
            name: text(program, "name"),
            function: text(program, "function"),
            verified: after.verified,
            requests,
            runs: after.runs - before.runs,
            spent: after.nanos - before.nanos,
        });
    }
    Ok(programs)
}

/// One program's account. Its name is not in it; how many instructions the
/// verifier has walked tells the agent's few apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    verified: u64,
    nanos: u64,
    runs: u64,
}

fn read(process: u32) -> Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // A file that was closed meanwhile is no program.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        accounts.extend(parse(&text));
    }
    Ok(accounts)
}

fn parse(text: &str) -> Option<Account> {
    let number = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
    };
    Some(Account {
        verified: number("verified_insns")?,
        nanos: number("run_time_ns")?,
        runs: number("run_cnt")?,
    })
}

fn text(program: &Value, name: &str) -> String {
    program[name].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_in_the_file_descriptors() {
        let text = "pos:\t0\nprog_type:\t26\nprog_jited:\t1\nrun_time_ns:\t500\nrun_cnt:\t5\n\
                    recursion_misses:\t0\nverified_insns:\t139\n";
        let account = Account {
            verified: 139,
            nanos: 500,
            runs: 5,
        };
        assert_eq!(parse(text), Some(account));
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
    }
}
