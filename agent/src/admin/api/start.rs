//! The API of an agent, from its settings.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Api, ApiError, Server};
use crate::admin::store::{Store, StoreError};
use crate::config::Admin;

/// The API as it runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// It ends when this is aborted.
    pub task: JoinHandle<()>,
}

/// Opens the store of `[admin] stateFolder` if `[admin] api` is on; else there
/// is none, and the folder is not looked at. Neither is it where nothing can be
/// changed (`read_only`). Comes before resources are loaded:
///
/// - [`Store::folder`] is one more path of [`crate::config::resources::load`];
/// - after each load [`Store::set_files`] gets `Loaded::files`;
/// - [`Store::changes`] tells when to load again.
///
/// # Errors
/// The folder cannot be used, or another agent has it.
pub fn store(admin: &Admin, read_only: bool) -> Result<Option<Arc<Store>>, StoreError> {
    match admin.api {
        Some(_) if read_only => Ok(Some(Arc::new(Store::without_folder()))),
        Some(_) => Store::open(&admin.state_folder).map(Arc::new).map(Some),
        None => Ok(None),
    }
}

/// Opens the port of `[admin] api` and answers in a task of this runtime.
/// Nothing if it is off. `read_only` is why nothing can be changed, if so.
/// Needs no probes and no privilege.
///
/// # Errors
/// The address cannot be used.
pub async fn start(
    admin: &Admin,
    store: Arc<Store>,
    read_only: Option<&'static str>,
) -> Result<Option<Running>, ApiError> {
    let Some(address) = admin.api else {
        return Ok(None);
    };
    let name = rustix::system::uname();
    let api = Api {
        store,
        token: admin.api_token.clone(),
        hostname: name.nodename().to_string_lossy().into_owned(),
        read_only,
    };
    let server = Server::open(address, Arc::new(api)).await?;
    Ok(Some(Running {
        address: server.address(),
        task: tokio::spawn(server.serve()),
    }))
}
