//! The local server: an implementation of the image service, over HTTP or called in the same process.
//!
//! It has one account, `local`, which is a member of every team, and by default an admin. Images,
//! builds, limits, signed upload URLs and quotas follow the API contract, in the version that
//! `ServerConfig::api` selects. An engine makes the images; the default one, `check`, builds and pulls
//! nothing, and checks for the errors that a real build would have. With a registry
//! (`ServerConfig::registry`), transfers are real copies, and renames and deletions happen there too
//! (`registry_images`). The server shares only the types of the API with the client.
//!
//! ```text
//! request ─► routes (log, token, limits) ─► inject (faults) ─► initiate │ builds │ images │ update │ account │ upload
//!                                                                 │            ▲
//!                                    store (state + its files) ◄──┴─ worker ───┘  a task for each running build
//!                                                                      ├► engine (check, buildah, buildx)
//!                                                                      └► mirror (copies to the registry)
//! ```

mod account;
mod app;
mod bases;
mod body;
mod build_log;
pub(crate) mod builds;
mod cancel;
mod clock;
pub(crate) mod config;
mod connections;
mod descriptors;
mod disk;
mod durable;
mod endpoint;
pub(crate) mod engine;
pub(crate) mod error;
pub(crate) mod fault;
mod images;
mod index;
mod initiate;
pub(crate) mod inject;
mod limits;
mod location;
mod log_layout;
mod mirror;
mod model;
#[cfg(feature = "test-support")]
mod observe;
mod order;
mod page;
pub(crate) mod registry_client;
mod registry_images;
mod routes;
mod source;
mod state;
mod state_folder;
mod store;
pub(crate) mod traffic;
mod transfer;
mod unpublish;
mod update;
mod upload;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

pub(crate) use self::app::EndedBuild;
use self::app::{App, url_of};
pub(crate) use self::build_log::stored_log;
pub(crate) use self::config::{ApiVersion, BulkShape, DockerHub, ServerConfig, StateOrigin};
use self::connections::BoundedListener;
pub(crate) use self::disk::running;
pub(crate) use self::engine::Capabilities;
pub(crate) use self::engine::choose::check_installed;
use self::engine::choose::{self, OwnRegistry, StartedEngine};
pub(crate) use self::engine::config::{
    BuildNetwork, EngineConfig, EngineKind, PushRegistry, RegistryTrust,
};
pub(crate) use self::error::ServerError;
pub(crate) use self::fault::{Fault, check_faults};
pub(crate) use self::registry_client::ServerRegistryConfig;
pub(crate) use self::state_folder::new_token;
use self::store::ServerStore;

/// Maximum time that [`Server::stop`] waits for active requests.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    #[cfg(feature = "test-support")]
    router: axum::Router,
    /// `None` without a network.
    serving: Option<JoinHandle<std::io::Result<()>>>,
    /// The registry that this server has started.
    own_registry: Option<OwnRegistry>,
    _stop: DropGuard,
}

/// Starts a server: binds, restores the state, and resumes the builds that were running.
///
/// # Errors
/// Fails if the address is not loopback and there is no token, if it cannot be bound, if the state cannot be read or written or is used by another
/// server, or if the fault rates of a class add up to more than 1.
///
/// ```
/// use imgplan::test_support::base::limit::Class;
/// use imgplan::test_support::server::{self, ServerConfig};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = server::start(ServerConfig::default()).await.unwrap();
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(server.counts_of(Class::Initiate).peak, 0);
/// server.stop().await.unwrap();
/// # });
/// ```
pub async fn start(mut config: ServerConfig) -> Result<Server, ServerError> {
    if let Some(addr) = config.listen
        && !addr.ip().is_loopback()
        && config.token.is_none()
    {
        return Err(ServerError::Open(addr));
    }
    let listener = match config.listen {
        None => None,
        Some(addr) => {
            let bound = TcpListener::bind(addr).await;
            let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
            Some(bound.map_err(|source| ServerError::Listen { addr, source })?)
        }
    };
    let addr = listener.as_ref().map(|(addr, _)| *addr);
    let mut store = open_store(&config, addr)?;
    // After the state, whose lock keeps other servers from the folder of the engine.
    let started = choose::start(&config.engine, config.state.as_deref()).await?;
    let StartedEngine { engine, registry: own_registry } = started;
    if let Some(own) = &own_registry {
        let registry = PushRegistry::new(own.address.clone());
        let upstream = config.upstream.clone();
        config.registry = Some(ServerRegistryConfig { registry, upstream });
    }
    if engine.capabilities().registry.is_some() {
        store.forget_missing(own_registry.as_ref().is_some_and(|registry| registry.is_new))?;
    }
    let app = Arc::new(App::new(&config, addr, store, engine)?);
    worker::resume(&app);
    let router = routes::router(Arc::clone(&app));
    let serving = listener.map(|(_, listener)| {
        let (router, stopping) = (router.clone(), app.stopping.clone());
        tokio::spawn(async move {
            let signal = stopping.cancelled_owned();
            let listener = BoundedListener::new(listener);
            axum::serve(listener, router).with_graceful_shutdown(signal).await
        })
    });
    let stop = app.stopping.clone().drop_guard();
    Ok(Server {
        app,
        #[cfg(feature = "test-support")]
        router,
        serving,
        own_registry,
        _stop: stop,
    })
}

fn open_store(config: &ServerConfig, addr: Option<SocketAddr>) -> Result<ServerStore, ServerError> {
    let Some(dir) = &config.state else { return ServerStore::in_memory() };
    let is_in_checkout = config.origin == StateOrigin::Checkout;
    if is_in_checkout && config.engine.kind != EngineKind::Check {
        state_folder::ensure_made_here(dir)?;
    }
    let store = ServerStore::open(dir, &url_of(addr), config.sync)?;
    if let Some(folder) = store.folder() {
        let token = config.token.as_ref().filter(|_| is_in_checkout);
        state_folder::share_token(folder, token)?;
    }
    Ok(store)
}

impl Server {
    /// Returns the URL for clients: `http://127.0.0.1:PORT`, or `http://in-process` without a network.
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// True if the server has started a registry, which ends with it.
    pub fn has_own_registry(&self) -> bool {
        self.own_registry.is_some()
    }

    /// Returns the abilities of the server's engine.
    pub fn capabilities(&self) -> &Capabilities {
        self.app.engine.capabilities()
    }

    /// Returns the builds that end from now on.
    pub fn ended_builds(&self) -> broadcast::Receiver<EndedBuild> {
        self.app.ended.subscribe()
    }

    /// Returns the reason for which the state cannot be stored at present, as it changes. Requests that
    /// change something are refused meanwhile.
    pub fn storage_problem(&self) -> watch::Receiver<Option<String>> {
        self.app.problem.subscribe()
    }

    /// Stops the server: accepts no more requests, finishes the active ones, and writes the state.
    /// Running builds are resumed at the next start.
    ///
    /// # Errors
    /// Fails if the state cannot be written.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.app.stopping.cancel();
        if let Some(mut serving) = self.serving
            && tokio::time::timeout(STOP_GRACE, &mut serving).await.is_err()
        {
            serving.abort();
        }
        self.app.tasks.close();
        self.app.tasks.wait().await;
        if let Some(registry) = self.own_registry {
            registry.stop().await;
        }
        Ok(self.app.store().close()?)
    }
}
