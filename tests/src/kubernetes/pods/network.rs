//! A pod network: a namespace for each pod, routed through the node; Services
//! by DNAT, as kube-proxy has them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::children::{command, run};

/// The node's own address.
pub(super) const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Where a pod's way out begins.
const GATEWAY: &str = "169.254.1.1";
/// Where pods listen, and so do Services.
pub(super) const PORT: u16 = 8080;
const LIMIT: Duration = Duration::from_secs(30);

/// Addresses of a guest's pods, apart from those of other guests, because the
/// cluster's agents are told of all pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network(pub(super) u8);

/// Whether there is a namespace of this name.
pub(super) fn is_network(name: &str) -> bool {
    Path::new("/run/netns").join(name).exists()
}

impl Network {
    /// Lets the node route, and hides pods from what is beyond it.
    pub(super) fn new(own: u8, out: &Path) -> Result<Self> {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1\n")?;
        let rules = format!(
            "table ip pods {{\nchain post {{\n\
             type nat hook postrouting priority 100;\n\
             ip saddr 10.{own}.0.0/16 ip daddr 10.0.2.0/24 masquerade\n}}\n}}\n"
        );
        nft(&out.join("pods.nft"), &rules)?;
        Ok(Self(own))
    }

    /// The address with this number.
    pub(super) fn ip(self, number: u16) -> Ipv4Addr {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(10, self.0, high, low)
    }

    /// Makes the namespace of a pod with this address.
    pub(super) fn pod(self, name: &str, ip: Ipv4Addr, out: &Path) -> Result<()> {
        // The name of an interface has 15 characters.
        let device = format!("pod{}", u32::from(ip) & 0xffff);
        let outside = format!(
            "netns add {name}\n\
             link add {device} type veth peer name eth0 netns {name}\n\
             addr add {GATEWAY}/32 dev {device}\n\
             link set {device} up\n\
             route add {ip}/32 dev {device} src {NODE_IP}\n"
        );
        let inside = format!(
            "link set lo up\n\
             addr add {ip}/32 dev eth0\n\
             link set eth0 up\n\
             route add {GATEWAY}/32 dev eth0 scope link\n\
             route add default via {GATEWAY} dev eth0\n"
        );
        let file = out.join(format!("net-{name}"));
        for (of, text) in [(&[][..], outside), (&["-n", name][..], inside)] {
            fs::write(&file, text)?;
            run(command(["ip"]).args(of).arg("-batch").arg(&file), LIMIT)?;
        }
        Ok(())
    }

    /// Sends connections to a Service to these pods in turn.
    pub(super) fn service(self, address: Ipv4Addr, pods: &[Ipv4Addr], out: &Path) -> Result<()> {
        let name = format!("service{}", u32::from(address));
        let count = pods.len();
        let turns = pods.iter().enumerate();
        let turns: Vec<String> = turns.map(|(n, ip)| format!("{n} : {ip}")).collect();
        let turns = turns.join(", ");
        let chains = [("prerouting", "pre"), ("output", "out")].map(|(hook, chain)| {
            format!(
                "chain {chain} {{\ntype nat hook {hook} priority -100;\n\
                 ip daddr {address} tcp dport {PORT} dnat to numgen inc mod {count} map {{ {turns} }}\n}}\n"
            )
        });
        // An empty one first, so that there is one to be deleted.
        let text = format!(
            "table ip {name} {{}}\ndelete table ip {name}\ntable ip {name} {{\n{}}}\n",
            chains.concat()
        );
        nft(&out.join(format!("{name}.nft")), &text)
    }
}

fn nft(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text)?;
    run(command(["nft", "-f"]).arg(file), LIMIT).map(drop)
}
