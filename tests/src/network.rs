//! Network namespaces, routed through this one, with DNAT and masquerading
//! between the first three: "pods" and two "services".

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::children::{command, program, run};

/// The namespaces. Pod N has 10.77.N.2 and fd77:N::2; pod 2 has 10.77.2.3, too.
pub const PODS: [&str; 3] = ["nodespan-a", "nodespan-b", "nodespan-c"];
/// Those of a wider network.
pub const WIDE: [&str; 5] = [PODS[0], PODS[1], PODS[2], "nodespan-d", "nodespan-e"];

/// Reaches port 8080 of the second pod, by DNAT.
pub const DNAT: &str = "10.96.0.10:80";
/// Reaches port 8080 of the third pod, by DNAT and masquerading.
pub const DNAT_SNAT: &str = "10.96.0.11:80";
/// Reaches port 8081 of the second pod, by DNAT over IPv6.
pub const DNAT6: &str = "[fd96::10]:80";
/// The second pod, by masquerading.
pub const SNAT: &str = "10.77.2.3:8080";

const LIMIT: Duration = Duration::from_secs(60);
const FORWARD: [&str; 2] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
];

/// The network; taken down when dropped.
#[derive(Debug)]
pub struct Network {
    forward: [String; 2],
}

impl Network {
    /// Sets everything up.
    ///
    /// # Errors
    /// If a command fails: not root, or no such features in this kernel.
    pub fn new() -> Result<Self> {
        Self::of(&PODS)
    }

    /// The same with [`WIDE`].
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn wide() -> Result<Self> {
        Self::of(&WIDE)
    }

    fn of(pods: &[&str]) -> Result<Self> {
        let network = Self {
            forward: FORWARD.map(read_setting),
        };
        clear();
        for file in FORWARD {
            std::fs::write(file, "1\n")?;
        }
        for (n, pod) in (1..).zip(pods) {
            let ip = program(&["ip"])?;
            let set = |words: &str| {
                let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
                run(Command::new(&ip).args(words), LIMIT)
            };
            set(&format!("netns add {pod}"))?;
            set(&format!(
                "link add {pod} type veth peer name eth0 netns {pod}"
            ))?;
            set(&format!("addr add 10.77.{n}.1/24 dev {pod}"))?;
            set(&format!("addr add fd77:{n}::1/64 dev {pod} nodad"))?;
            set(&format!("link set {pod} up"))?;
            set(&format!("-n {pod} link set lo up"))?;
            set(&format!("-n {pod} addr add 10.77.{n}.2/24 dev eth0"))?;
            set(&format!("-n {pod} addr add 10.77.{n}.3/24 dev eth0"))?;
            set(&format!("-n {pod} addr add fd77:{n}::2/64 dev eth0 nodad"))?;
            set(&format!("-n {pod} link set eth0 up"))?;
            set(&format!("-n {pod} route add default via 10.77.{n}.1"))?;
            set(&format!("-n {pod} route add default via fd77:{n}::1"))?;
        }
        run(command([program(&["nft"])?]).arg(RULES), LIMIT)?;
        Ok(network)
    }

    /// A command that runs inside a pod.
    ///
    /// # Errors
    /// If there is no `ip` program.
    pub fn inside(pod: &str) -> Result<Command> {
        let mut command = Command::new(program(&["ip"])?);
        command.args(["netns", "exec", pod]);
        Ok(command)
    }

    /// Address of the pod with this number, from 1.
    #[must_use]
    pub fn pod(n: u8, v6: bool) -> IpAddr {
        if v6 {
            Ipv6Addr::new(0xfd77, u16::from(n), 0, 0, 0, 0, 0, 2).into()
        } else {
            Ipv4Addr::new(10, 77, n, 2).into()
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        clear();
        for (file, before) in FORWARD.into_iter().zip(&self.forward) {
            // A guest ends anyway, and nothing better can be done on a host.
            let _ = std::fs::write(file, before);
        }
    }
}

const RULES: &str = "
table ip nodespan_suite {
    chain pre {
        type nat hook prerouting priority -100;
        ip daddr 10.96.0.10 tcp dport 80 dnat to 10.77.2.2:8080
        ip daddr 10.96.0.11 tcp dport 80 dnat to 10.77.3.2:8080
        ip daddr 10.96.0.12 tcp dport 80 dnat to 10.77.2.2:8081
        ip daddr 10.96.0.13 tcp dport 80 dnat to 10.77.3.2:8081
    }
    chain post {
        type nat hook postrouting priority 100;
        ip daddr 10.77.3.2 ct status dnat masquerade
        ip daddr 10.77.2.3 masquerade
    }
}
table ip6 nodespan_suite {
    chain pre {
        type nat hook prerouting priority -100;
        ip6 daddr fd96::10 tcp dport 80 dnat to [fd77:2::2]:8081
    }
}
";

/// Removes what is there, of this run or of an earlier one.
fn clear() {
    for pod in WIDE {
        // Its end of the veth pair takes the other one with it.
        let _ = run(&mut command(["ip", "link", "del", pod]), LIMIT);
        let _ = run(&mut command(["ip", "netns", "del", pod]), LIMIT);
    }
    if let Ok(nft) = program(&["nft"]) {
        for family in ["ip", "ip6"] {
            let delete = ["delete", "table", family, "nodespan_suite"];
            let _ = run(command([&nft]).args(delete), LIMIT);
        }
    }
}

fn read_setting(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|_| "0\n".to_owned())
}
