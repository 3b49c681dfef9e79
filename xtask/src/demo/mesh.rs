//! The mesh: every service in a network namespace and a cgroup of its own.
//!
//! The namespaces have no names: they go with their processes, which the
//! kernel ends with the thread that started them. So nothing is left even if
//! this process is killed outright, but for empty cgroups, which the next run
//! takes over.

use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{daemon::Daemon, sh};

/// This machine's end of the network.
const LINK: &str = "nodespan-demo";

/// The cgroups' parent. The agent names a service by its unit, which a cgroup
/// called NAME.service is to anybody who reads the tree.
const SLICE: &str = "nodespan-demo.slice";

/// Of the network 198.18.83.0/24, which is set aside for tests between
/// network devices (RFC 2544), so that nobody has it at home.
const fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 83, host)
}

/// Every service has a namespace, so all of them can listen here.
const PORT: u16 = 80;

/// Name and program of each service; `@HERE@` is the scenario's folder.
const SERVICES: &[(&str, &[&str])] = &[
    ("inventory", &["python3", "-B", "@HERE@/inventory.py", "80"]),
    ("pricing", &["node", "@HERE@/pricing.js", "80"]),
    ("payment", &["python3", "-B", "@HERE@/payment.py", "80"]),
    (
        "shop",
        &[
            "node",
            "@HERE@/shop.js",
            "80",
            "inventory:80",
            "pricing:80",
            "payment:80",
        ],
    ),
    // One process instead of a master and its workers: one to end.
    (
        "front",
        &[
            "nginx",
            "-c",
            "@DIR@/nginx.conf",
            "-g",
            "master_process off;",
        ],
    ),
];

/// The running mesh; gone when dropped, in this order.
#[derive(Debug)]
pub(super) struct Mesh {
    services: Vec<Service>,
    switch: Daemon,
    _cgroups: Cgroups,
    hosts: PathBuf,
}

#[derive(Debug)]
struct Service {
    name: &'static str,
    address: Ipv4Addr,
    process: Daemon,
}

impl Mesh {
    /// Starts all services; `dir` is for their files.
    ///
    /// # Errors
    /// If this is not root or a program is missing.
    pub(super) fn start(scenarios: &Path, dir: &Path) -> Result<Self> {
        let hosts = dir.join("hosts");
        fs::write(&hosts, hosts_file())?;
        fs::write(
            dir.join("nginx.conf"),
            nginx_conf(&fs::read_to_string(scenarios.join("nginx.conf"))?, dir)?,
        )?;
        let cgroups = Cgroups::make()?;
        let switch = start_switch(dir)?;
        let mut mesh = Self {
            services: Vec::new(),
            switch,
            _cgroups: cgroups,
            hosts,
        };
        let switch = mesh.switch.pid();
        for ((name, words), host) in SERVICES.iter().zip(10..) {
            let words: Vec<String> = words
                .iter()
                .map(|word| {
                    word.replace("@HERE@", &scenarios.to_string_lossy())
                        .replace("@DIR@", &dir.to_string_lossy())
                })
                .collect();
            let service = mesh
                .start_service(name, address(host), &words, switch, dir)
                .with_context(|| format!("the service {name}"))?;
            mesh.services.push(service);
        }
        Ok(mesh)
    }

    /// Waits until every service takes connections.
    ///
    /// # Errors
    /// If one ends or takes too long.
    pub(super) fn wait_ready(&mut self) -> Result<()> {
        for service in &mut self.services {
            let to = SocketAddr::new(IpAddr::V4(service.address), PORT);
            service
                .process
                .wait_until(|| Ok(TcpStream::connect_timeout(&to, SECOND).is_ok()))
                .with_context(|| format!("the service {}", service.name))?;
        }
        Ok(())
    }

    /// Has every service serve something, so that what is shown afterwards is
    /// not the loading of their own code. Nobody reports such a request: it
    /// says so itself.
    ///
    /// # Errors
    /// If no answer comes.
    pub(super) fn warm_up(&self, product: u32) -> Result<()> {
        let front = self.services.last().context("there is no front")?;
        let to = SocketAddr::new(IpAddr::V4(front.address), PORT);
        let mut socket = TcpStream::connect_timeout(&to, SECOND)?;
        socket.set_read_timeout(Some(60 * SECOND))?;
        write!(
            socket,
            "POST /buy/{product} HTTP/1.1\r\nHost: front\r\nb3: 0\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        socket
            .read_to_end(&mut answer)
            .context("front does not answer")?;
        Ok(())
    }

    /// The services' names.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SERVICES.iter().map(|(name, _)| *name)
    }

    /// A program's words, so that it knows the services' names.
    pub(super) fn with_hosts(&self, words: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = vec![
            "--mount".into(),
            "sh".into(),
            "-c".into(),
            WITH_HOSTS.into(),
            "sh".into(),
            self.hosts.clone().into(),
        ];
        all.extend(words.iter().map(OsString::from));
        all
    }

    fn start_service(
        &self,
        name: &'static str,
        address: Ipv4Addr,
        words: &[String],
        switch: u32,
        dir: &Path,
    ) -> Result<Service> {
        let program = sh::which(&words[0]).with_context(|| format!("{} is missing", words[0]))?;
        let group = Cgroups::of(name)?;
        fs::create_dir_all(&group)?;
        let program = program.to_string_lossy();
        let mut service: Vec<&str> = vec![&program];
        service.extend(words[1..].iter().map(String::as_str));
        let mut arguments: Vec<OsString> = vec![
            "-c".into(),
            // Before the program is there, so that all it does is the group's.
            "echo $$ >\"$1/cgroup.procs\" && shift && exec unshare --net \"$@\"".into(),
            "sh".into(),
            group.into_os_string(),
        ];
        arguments.extend(self.with_hosts(&service));
        let mut process = Daemon::start(
            Command::new("setpriv"),
            Path::new("/bin/sh"),
            &arguments,
            &dir.join(format!("{name}.log")),
        )?;
        wait_for_namespace(&mut process)?;
        let pid = process.pid();
        ip(
            switch,
            &format!("link add {name} type veth peer name eth0 netns {pid}"),
        )?;
        ip(switch, &format!("link set {name} master switch up"))?;
        ip(pid, "link set lo up")?;
        ip(pid, &format!("address add {address}/24 dev eth0"))?;
        ip(pid, "link set eth0 up")?;
        Ok(Service {
            name,
            address,
            process,
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // It would go with the switch, but a moment later.
        let _ = ip(std::process::id(), &format!("link delete {LINK}"));
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A mount namespace's own /etc/hosts.
const WITH_HOSTS: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

fn hosts_file() -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for (name, host) in Mesh::names().zip(10..) {
        text.push_str(&format!("{} {name}\n", address(host)));
    }
    text
}

fn nginx_conf(template: &str, dir: &Path) -> Result<String> {
    let dir = dir.to_str().context("the temporary folder is not UTF-8")?;
    Ok(template
        .replace("@PORT@", &PORT.to_string())
        .replace("@SHOP@", "shop:80")
        .replace("@DIR@", dir))
}

/// The bridge, in a namespace of its own, where no firewall of this machine's
/// has a say; a veth pair joins it to this machine's own network.
fn start_switch(dir: &Path) -> Result<Daemon> {
    // An earlier run's goes a moment after that run.
    let deadline = Instant::now() + 5 * SECOND;
    while Path::new("/sys/class/net").join(LINK).exists() {
        if Instant::now() > deadline {
            bail!("there is an interface {LINK} already: is another demonstration running?");
        }
        thread::sleep(Duration::from_millis(50));
    }
    let mut switch = Daemon::start(
        Command::new("setpriv"),
        Path::new("/bin/sh"),
        &["-c", "exec unshare --net sleep infinity"],
        &dir.join("switch.log"),
    )?;
    wait_for_namespace(&mut switch)?;
    let pid = switch.pid();
    ip(pid, "link add switch type bridge")?;
    ip(pid, "link set switch up")?;
    let own = std::process::id();
    ip(
        pid,
        &format!("link add host type veth peer name {LINK} netns {own}"),
    )?;
    ip(pid, "link set host master switch up")?;
    ip(own, &format!("address add {}/24 dev {LINK}", address(1)))?;
    ip(own, &format!("link set {LINK} up"))?;
    Ok(switch)
}

/// Runs `ip` in the network of a process.
fn ip(pid: u32, words: &str) -> Result<()> {
    sh::quiet(
        Command::new("nsenter")
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(sh::which("ip").context("ip is missing")?)
            .args(words.split(' ')),
    )
}

fn wait_for_namespace(process: &mut Daemon) -> Result<()> {
    let pid = process.pid();
    let own = fs::read_link("/proc/self/ns/net")?;
    process.wait_until(|| {
        let of_process = fs::read_link(format!("/proc/{pid}/ns/net"));
        Ok(of_process.is_ok_and(|of_process| of_process != own))
    })
}

/// The services' cgroups; removed when dropped.
#[derive(Debug)]
struct Cgroups {
    slice: PathBuf,
}

impl Cgroups {
    fn make() -> Result<Self> {
        let slice = Self::slice()?;
        fs::create_dir_all(&slice).with_context(|| format!("making {}", slice.display()))?;
        Ok(Self { slice })
    }

    fn slice() -> Result<PathBuf> {
        // Unified, or beside v1 (systemd's hybrid layout).
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find(|root| Path::new(root).join("cgroup.procs").exists())
            .context("this machine has no cgroup v2 tree")?;
        Ok(Path::new(root).join(SLICE))
    }

    fn of(name: &str) -> Result<PathBuf> {
        Ok(Self::slice()?.join(format!("{name}.service")))
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let groups = Mesh::names().map(|name| self.slice.join(format!("{name}.service")));
        for group in groups.chain([self.slice.clone()]) {
            // A process that has just ended may still count for a moment.
            for _ in 0..20 {
                if !group.exists() || fs::remove_dir(&group).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_agree() {
        let hosts = hosts_file();
        assert!(hosts.contains("198.18.83.10 inventory\n"), "{hosts}");
        assert!(hosts.contains("198.18.83.14 front\n"), "{hosts}");
    }

    #[test]
    fn the_fronts_template_has_no_holes_left() {
        let template = include_str!("../../../tests/scenarios/mesh/nginx.conf");
        let conf = nginx_conf(template, Path::new("/tmp/d")).unwrap();
        let configuration = conf.lines().filter(|line| !line.trim().starts_with('#'));
        assert!(
            configuration.clone().all(|line| !line.contains('@')),
            "{conf}"
        );
        assert!(conf.contains("server shop:80;"));
    }
}
