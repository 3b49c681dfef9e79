//! Where a workload listens: how a `Dataplane` of a plain host finds its
//! processes, and thereby their outgoing calls.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use hashbrown::HashSet;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

/// Processes of one cgroup that are asked at most.
const MAX_PROCESSES: usize = 256;
/// Sockets that are named at most.
const MAX_SOCKETS: usize = 1024;

/// The sockets that any of these processes listens on. One that listens on
/// all addresses is named once for each address of the process's network
/// namespace. Without a process that can be looked into: none.
pub(super) fn listening(root: &Path, pids: &[u32]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for pid in pids.iter().take(MAX_PROCESSES) {
        let path = root.join("proc").join(pid.to_string());
        if let Ok(process) = Process::new_with_root(path.clone()) {
            of_process(&process, &path, &mut found);
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_SOCKETS);
    found
}

/// The addresses of this host, as far as the agent's own network namespace has
/// them; loopback addresses, which every host has, are left out.
#[must_use]
pub fn own_addresses() -> HashSet<IpAddr> {
    let addresses = local_addresses(Path::new("/proc/self"));
    let real = addresses
        .into_iter()
        .filter(|address| !address.is_loopback());
    real.collect()
}

fn of_process(process: &Process, path: &Path, found: &mut Vec<SocketAddr>) {
    let inodes = sockets(process);
    if inodes.is_empty() {
        return;
    }
    let mut locals: Option<Vec<IpAddr>> = None;
    let tables = [process.tcp(), process.tcp6()];
    for entry in tables.into_iter().flatten().flatten() {
        if entry.state != TcpState::Listen || !inodes.contains(&entry.inode) {
            continue;
        }
        let address = canonical(&entry);
        if !address.ip().is_unspecified() {
            found.push(address);
            continue;
        }
        // `::` takes IPv4 too, unless IPV6_V6ONLY says otherwise, which
        // `/proc` does not show.
        let both = address.is_ipv6();
        let locals = locals.get_or_insert_with(|| local_addresses(path));
        let reached = locals.iter().filter(|local| both || local.is_ipv4());
        found.extend(reached.map(|local| SocketAddr::new(*local, address.port())));
    }
}

fn canonical(entry: &TcpNetEntry) -> SocketAddr {
    let address = entry.local_address;
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn sockets(process: &Process) -> HashSet<u64> {
    let descriptors = process.fd().into_iter().flatten().flatten();
    descriptors
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect()
}

/// The addresses of a process's network namespace, from `net/fib_trie` (lines
/// `|-- ADDRESS` followed by `/32 host LOCAL`) and `net/if_inet6`.
fn local_addresses(path: &Path) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    if let Ok(text) = fs::read_to_string(path.join("net/fib_trie")) {
        addresses.extend(of_fib_trie(&text).map(IpAddr::V4));
    }
    if let Ok(text) = fs::read_to_string(path.join("net/if_inet6")) {
        addresses.extend(text.lines().filter_map(of_if_inet6));
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn of_fib_trie(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
            return None;
        }
        (line == "/32 host LOCAL").then_some(last).flatten()
    })
}

fn of_if_inet6(line: &str) -> Option<IpAddr> {
    let digits = line.split_whitespace().next()?;
    (digits.len() == 32)
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
        .map(|bits| IpAddr::V6(bits.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn own() -> Vec<SocketAddr> {
        listening(Path::new("/"), &[std::process::id()])
    }

    #[test]
    fn a_listener_is_found_and_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(own().contains(&address));
        // A connected socket is none.
        let client = std::net::TcpStream::connect(address).unwrap();
        assert!(!own().contains(&client.local_addr().unwrap()));
        drop((client, listener));
        assert!(!own().contains(&address));
    }

    #[test]
    fn a_listener_on_all_addresses_is_found_at_each() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = own();
        assert!(found.contains(&SocketAddr::from(([127, 0, 0, 1], port))));
        assert!(!found.iter().any(|address| address.ip().is_unspecified()));
    }

    #[test]
    fn no_process_no_sockets() {
        assert!(listening(Path::new("/nowhere"), &[1]).is_empty());
        assert!(listening(Path::new("/"), &[u32::MAX]).is_empty());
    }

    #[test]
    fn the_trie_tells_local_addresses() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     \
                    |-- 10.0.0.7\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        let found: Vec<_> = of_fib_trie(trie).collect();
        assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 7)]);
        assert!(
            of_fib_trie("/32 host LOCAL\n|-- x\n/32 host LOCAL")
                .next()
                .is_none()
        );
        let line = "fe800000000000000000000000000001 02 40 20 80     eth0";
        assert_eq!(of_if_inet6(line), Some("fe80::1".parse().unwrap()));
        assert_eq!(of_if_inet6(""), None);
        assert_eq!(of_if_inet6("äääääääääääääääää"), None);
    }
}
