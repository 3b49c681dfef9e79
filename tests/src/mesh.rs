//! The demonstration's mesh (`scenarios/mesh`) in network namespaces: nginx,
//! Node and Python, which know no tracer and copy headers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::children::{Running, program};
use crate::network::{Network, WIDE};
use crate::raw::Client;
use crate::targets::{Places, python_program};

/// Where each service listens, in its own namespace.
const PORT: u16 = 8080;

/// Its services, each in the namespace of its place.
pub const SERVICES: [&str; 5] = ["front", "shop", "inventory", "pricing", "payment"];

/// Spans of a request for `/buy`: both ends of the four calls below the front,
/// and the front's own. The caller is not of the mesh.
pub const SPANS: usize = 9;

/// The running mesh, and its network.
#[derive(Debug)]
pub struct Mesh {
    services: Vec<Running>,
    _network: Network,
    folder: PathBuf,
}

impl Mesh {
    /// Starts all services and waits until each has served something.
    ///
    /// # Errors
    /// If this is not root, or a program is missing.
    pub fn start(places: &Places) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("nodespan-mesh-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut mesh = Self {
            services: Vec::new(),
            _network: Network::wide().context("network namespaces")?,
            folder,
        };
        let here = places.scenarios.join("mesh");
        for (place, name) in SERVICES.iter().enumerate() {
            let words = words(name, &here, &mesh.folder)?;
            let mut start = Network::inside(WIDE[place])?;
            start.args(words);
            let service = Running::start(&format!("mesh-{name}"), &mut start, &places.out)?;
            mesh.services.push(service);
        }
        for (place, service) in mesh.services.iter_mut().enumerate() {
            service.wait_listening(address(place))?;
        }
        // What they load for their first request takes its time.
        let mut client = Client::connect(address(0))?;
        let served = client.exchange("POST", "/buy/1", "b3: 0\r\nContent-Length: 0\r\n")?;
        ensure!(served.status == 200, "the front says {}", served.status);
        Ok(mesh)
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // A guest ends anyway.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the service at this place listens.
#[must_use]
pub fn address(place: usize) -> SocketAddr {
    let pod = u8::try_from(place + 1).unwrap_or_default();
    (Network::pod(pod, false), PORT).into()
}

fn words(name: &str, here: &Path, folder: &Path) -> Result<Vec<String>> {
    let text = |path: &Path| path.display().to_string();
    let port = PORT.to_string();
    Ok(match name {
        "front" => {
            let template = fs::read_to_string(here.join("nginx.conf"))?;
            let conf = folder.join("nginx.conf");
            let filled = template
                .replace("@PORT@", &port)
                .replace("@SHOP@", &address(1).to_string())
                .replace("@DIR@", &text(folder));
            fs::write(&conf, filled)?;
            let nginx = text(&program(&["nginx"])?);
            // One process instead of a master and its workers: one to end.
            [&nginx, "-c", &text(&conf), "-g", "master_process off;"]
                .map(str::to_owned)
                .to_vec()
        }
        "shop" | "pricing" => {
            let node = text(&program(&["node", "nodejs"])?);
            let mut words = vec![node, text(&here.join(format!("{name}.js"))), port];
            if name == "shop" {
                words.extend((2..5).map(|place| address(place).to_string()));
            }
            words
        }
        _ => {
            let script = text(&here.join(format!("{name}.py")));
            vec![text(&python_program()?), "-B".to_owned(), script, port]
        }
    })
}
