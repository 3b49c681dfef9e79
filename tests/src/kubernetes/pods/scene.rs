//! Pods as API, kubelet, runtime and network plugin make them together.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::super::node::container;
use super::api::Api;
use super::network::{NODE_IP, Network, PORT, is_network};
use super::place::{Class, Driver, Place};
use super::runtime::{Container, Runtime};
use crate::wait;

const CGROUPS: &str = "/sys/fs/cgroup";
const LIMIT: Duration = Duration::from_secs(60);

/// Everything that pods are made with.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) api: Api,
    pub(super) runtime: Runtime,
    pub(super) network: Network,
    /// The namespace, the mesh and the policy bear it, and so they are apart
    /// from those of other guests.
    pub(super) name: String,
    pub(super) node: String,
    /// Where the mesh's spans go, URLs.
    pub(super) zipkin: String,
    /// See above.
    pub(super) otlp: String,
    pub(super) out: PathBuf,
}

/// What a pod is to be.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    /// Which Service it belongs to.
    pub(super) app: &'static str,
    /// Whether the policy selects it.
    pub(super) selected: bool,
    pub(super) ip: Ipv4Addr,
    pub(super) place: Place,
    pub(super) programs: Vec<Program>,
}

/// A container's program: a server that says who it is, `POD/CONTAINER`.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Of the container.
    pub(super) name: &'static str,
    /// What Services call its port.
    pub(super) target: &'static str,
    pub(super) port: u16,
    /// Whom it asks, as the server's argument.
    pub(super) routes: Vec<String>,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) plan: Plan,
    pub(super) uid: String,
    /// By the plan's programs.
    pub(super) ids: Vec<String>,
    restarts: usize,
}

impl Plan {
    /// One container that serves.
    pub(super) fn new(name: &str, app: &'static str, ip: Ipv4Addr) -> Self {
        Self {
            name: name.to_owned(),
            app,
            selected: true,
            ip,
            place: Driver::Cgroupfs.with(Class::Burstable),
            programs: vec![Program::new("app", PORT)],
        }
    }
}

impl Program {
    pub(super) const fn new(name: &'static str, port: u16) -> Self {
        Self {
            name,
            target: name,
            port,
            routes: Vec::new(),
        }
    }
}

impl Scene {
    /// Where pods are in the API.
    pub(super) fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.name)
    }

    /// Makes a Service of the pods of an application; its address.
    pub(super) fn service(&self, app: &str, ports: &[(u16, &str)]) -> Result<Ipv4Addr> {
        let ports = ports.iter().map(|(port, target)| {
            json!({"name": target, "port": port, "targetPort": target, "appProtocol": "http"})
        });
        let made = self.api.create(
            &format!("/api/v1/namespaces/{}/services", self.name),
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": app},
                "spec": {"selector": {"app": app}, "ports": ports.collect::<Vec<_>>()},
            }),
        )?;
        let address = made["spec"]["clusterIP"].as_str().context("no address")?;
        Ok(address.parse()?)
    }

    /// What spans of an application's pods are called.
    pub(super) fn service_name(&self, app: &str) -> String {
        format!("{app}_{}_svc_{PORT}", self.name)
    }

    /// Makes a pod in the API; its UID.
    pub(super) fn create(&self, plan: &Plan) -> Result<String> {
        let containers = plan.programs.iter().map(|program| {
            json!({
                "name": program.name, "image": "app",
                "ports": [{"name": program.target, "containerPort": program.port}],
                "resources": plan.place.class.resources(),
            })
        });
        let mut labels = json!({"app": plan.app, "pod-template-hash": "5d9c7b8f6"});
        if plan.selected {
            labels["traced"] = "yes".into();
        }
        let made = self.api.create(
            &self.pods(),
            &json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": plan.name, "labels": labels},
                "spec": {
                    "nodeName": self.node,
                    "hostNetwork": plan.ip == NODE_IP,
                    "terminationGracePeriodSeconds": 0,
                    "containers": containers.collect::<Vec<_>>(),
                },
            }),
        )?;
        let class = &made["status"]["qosClass"];
        ensure!(class == plan.place.class.name(), "{}: {class}", plan.name);
        let uid = made["metadata"]["uid"].as_str().context("no uid")?;
        Ok(uid.to_owned())
    }

    /// Makes a pod, starts its containers and tells the API.
    pub(super) fn pod(&self, plan: Plan) -> Result<Pod> {
        let pod = self.untold(plan)?;
        self.status(&pod)?;
        Ok(pod)
    }

    /// A pod that serves, of which its kubelet has not said anything yet.
    pub(super) fn untold(&self, plan: Plan) -> Result<Pod> {
        if plan.ip != NODE_IP && !is_network(&plan.name) {
            self.network.pod(&plan.name, plan.ip, &self.out)?;
        }
        let mut pod = Pod {
            uid: self.create(&plan)?,
            ids: Vec::new(),
            restarts: 0,
            plan,
        };
        self.start(&mut pod)?;
        Ok(pod)
    }

    /// Starts all containers of a pod; each has a new id.
    pub(super) fn start(&self, pod: &mut Pod) -> Result<()> {
        let Plan { name, programs, .. } = &pod.plan;
        pod.ids.clear();
        for (n, program) in programs.iter().enumerate() {
            // What is unique of a pod's UID, and what tells its containers.
            let unique = pod.uid.replace('-', "");
            let id = container(&format!("{}{n}{}", &unique[..16], pod.restarts));
            let port = program.port.to_string();
            let says = format!("{name}/{}", program.name);
            let mut words = vec!["/goserver", "chain", &port, &says];
            words.extend(program.routes.iter().map(String::as_str));
            self.runtime.run(&Container {
                id: &id,
                cgroup: &pod.plan.place.path(&pod.uid, &id),
                network: (pod.plan.ip != NODE_IP).then_some(name),
                words: &words,
            })?;
            pod.ids.push(id);
        }
        for program in &pod.plan.programs {
            let address = SocketAddr::from((pod.plan.ip, program.port));
            wait::until_true(name, LIMIT, || Ok(listens(address)))?;
        }
        Ok(())
    }

    /// Says of a pod what its kubelet does.
    pub(super) fn status(&self, pod: &Pod) -> Result<()> {
        let containers = pod.plan.programs.iter().zip(&pod.ids);
        let containers = containers.map(|(program, id)| {
            json!({
                "name": program.name, "image": "app", "imageID": "", "ready": true,
                "restartCount": pod.restarts, "containerID": format!("containerd://{id}"),
            })
        });
        let ip = pod.plan.ip.to_string();
        let status = json!({
            "phase": "Running", "hostIP": NODE_IP.to_string(),
            "podIP": ip, "podIPs": [{"ip": ip}],
            "containerStatuses": containers.collect::<Vec<Value>>(),
        });
        let path = format!("{}/{}/status", self.pods(), pod.plan.name);
        self.api.patch(&path, &json!({"status": status})).map(drop)
    }

    /// Its containers die and are started again; the API is not told yet.
    pub(super) fn restart(&self, pod: &mut Pod) -> Result<()> {
        self.kill(pod)?;
        pod.restarts += 1;
        self.start(pod)
    }

    pub(super) fn kill(&self, pod: &Pod) -> Result<()> {
        pod.ids.iter().try_for_each(|id| self.runtime.kill(id))
    }

    /// Takes a pod away: its containers, then what the API knows of it.
    pub(super) fn remove(&self, pod: &Pod) -> Result<()> {
        self.kill(pod)?;
        self.api
            .delete(&format!("{}/{}", self.pods(), pod.plan.name))
    }
}

impl Pod {
    /// One of a container that no runtime looks after.
    pub(super) fn made(plan: Plan, uid: String, id: String) -> Self {
        Self {
            plan,
            uid,
            ids: vec![id],
            restarts: 0,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        let port = self.plan.programs.first().map_or(PORT, |first| first.port);
        SocketAddr::from((self.plan.ip, port))
    }

    /// The kernel's ids of its containers' cgroups.
    pub(super) fn cgroups(&self) -> Result<Vec<u64>> {
        let paths = self
            .ids
            .iter()
            .map(|id| self.plan.place.path(&self.uid, id));
        let ids = paths.map(|path| {
            let path = format!("{CGROUPS}{path}");
            let found = fs::metadata(&path).with_context(|| path.clone())?;
            Ok(found.ino())
        });
        ids.collect()
    }
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok()
}
