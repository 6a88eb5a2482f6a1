//! The local server: an implementation of the image service, over HTTP or called in the same process.
//!
//! It has one account, `local`, which is an admin and a member of every team. Images, builds, limits,
//! signed upload URLs and quotas follow the API contract. Nothing is built or pulled: `builder` checks
//! for the errors that a real build would have. The server shares only the types of the API with the
//! client.
//!
//! ```text
//! request ─► routes (log, token, limits) ─► inject (faults) ─► initiate │ builds │ images │ update │ account │ upload
//!                                                                 │            ▲
//!                                    store (state + its files) ◄──┴─ worker ───┘  a task for each running build
//!                                                                      └► builder (archive, Dockerfile, bases)
//! ```

mod account;
mod app;
mod body;
mod builder;
mod builds;
mod clock;
mod config;
mod endpoint;
mod error;
mod fault;
mod images;
mod index;
mod initiate;
mod inject;
mod limits;
mod location;
mod model;
mod routes;

mod state;
mod store;
mod traffic;
mod update;
mod upload;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;
use tower::ServiceExt;

use self::app::App;
pub use self::builds::ServerBuild;
pub use self::config::{BulkShape, ServerConfig};
pub use self::error::ServerError;
pub use self::fault::{Fault, FaultClass, FaultKind, check_faults};
pub use self::inject::ConnectionCut;
pub use self::traffic::{ClassCounts, LoggedRequest, RequestCounts};
use crate::base::limit::Class;

/// Maximum time that [`Server::stop`] waits for active requests.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    router: Router,
    /// `None` without a network.
    serving: Option<JoinHandle<std::io::Result<()>>>,
    _stop: DropGuard,
}

/// Starts a server: binds, restores the state, and resumes the builds that were running.
///
/// # Errors
/// Fails if the address cannot be bound, if the state cannot be read or written or is used by another
/// server, or if the fault rates of a class add up to more than 1.
///
/// ```
/// use imgplan::base::limit::Class;
/// use imgplan::server::{self, ServerConfig};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = server::start(ServerConfig::default()).await.unwrap();
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(server.counts_of(Class::Initiate).peak, 0);
/// server.stop().await.unwrap();
/// # });
/// ```
pub async fn start(config: ServerConfig) -> Result<Server, ServerError> {
    let listener = match config.listen {
        None => None,
        Some(addr) => {
            let bound = TcpListener::bind(addr).await;
            let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
            Some(bound.map_err(|source| ServerError::Listen { addr, source })?)
        }
    };
    let app = Arc::new(App::new(&config, listener.as_ref().map(|(addr, _)| *addr))?);
    worker::resume(&app);
    let router = routes::router(Arc::clone(&app));
    let serving = listener.map(|(_, listener)| {
        let (router, stopping) = (router.clone(), app.stopping.clone());
        tokio::spawn(async move {
            let signal = stopping.cancelled_owned();
            axum::serve(listener, router).with_graceful_shutdown(signal).await
        })
    });
    let stop = app.stopping.clone().drop_guard();
    Ok(Server { app, router, serving, _stop: stop })
}

impl Server {
    /// Returns the URL for clients: `http://127.0.0.1:PORT`, or `http://in-process` without a network.
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// Answers a request without a network, in the caller's task. Nothing waits for a socket, so that a
    /// paused clock can run ahead. Adds `Content-Length` if the length of the body is known.
    ///
    /// # Errors
    /// Fails if an injected fault closes the connection.
    pub fn call(
        &self,
        mut request: Request,
    ) -> impl Future<Output = Result<Response, ConnectionCut>> + Send + use<> {
        if let Some(length) = request.body().size_hint().exact() {
            let headers = request.headers_mut();
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let response = self.router.clone().oneshot(request);
        async move {
            let Ok(response) = response.await;
            if inject::is_cut(&response) { Err(ConnectionCut) } else { Ok(response) }
        }
    }

    /// Returns a copy of the server's counts and its log.
    pub fn counts(&self) -> RequestCounts {
        self.app.traffic().counts()
    }

    /// Returns the server's counts of one class, without copying the log.
    pub fn counts_of(&self, class: Class) -> ClassCounts {
        self.app.traffic().counts_of(class)
    }

    /// Returns all accepted builds and transfers that were not deleted, in order of acceptance.
    pub fn builds(&self) -> Vec<ServerBuild> {
        self.app.store().state().builds().rev().map(ServerBuild::from).collect()
    }

    /// Changes the maximum number of images of the account and of each team.
    pub fn set_quota(&self, quota: Option<u32>) {
        self.app.set_quota(quota);
    }

    /// Waits until no build is running and every `late` request has taken effect. A build that waits for
    /// its context is not running.
    pub async fn idle(&self) {
        let mut running = self.app.running.subscribe();
        // Does not fail: the sender is in the app, which this server owns.
        let _ = running.wait_for(|running| *running == 0).await;
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
        Ok(self.app.store().fold()?)
    }
}
