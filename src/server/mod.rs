//! The local server: our own implementation of the image service, over real HTTP, or called in the
//! same process.
//!
//! One account, `local`, which is an admin and a member of every team; its images, builds, limits,
//! signed upload URLs and quotas are as `api.md` has them. Nothing is really built or pulled: a
//! builder checks what a real build would trip over. What goes wrong on purpose is in `fault`. Only
//! the structs of the wire are shared with the client.
//!
//! ```text
//! request ─► app (token, budgets, faults, log) ─► endpoint ─► initiate │ builds │ images │ update │ account │ upload
//!                                                         │            ▲
//!                            store (state + its files) ◄──┴─ worker ───┘  one task a running build
//!                                                              └► builder (archive, Dockerfile, bases)
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

mod state;
mod store;
mod traffic;
mod update;
mod upload;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use self::app::App;
pub use self::builds::ServerBuild;
pub use self::config::{BulkShape, ServerConfig};
pub use self::error::ServerError;
pub use self::fault::{Fault, FaultClass, FaultKind, check_faults};
pub use self::inject::ConnectionCut;
pub use self::traffic::{ClassCounts, LoggedRequest, RequestCounts};
use crate::base::limit::Class;

/// How long [`Server::stop`] waits for requests that are being answered.
const GRACE: Duration = Duration::from_secs(10);

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    /// `None`: it listens nowhere.
    serving: Option<JoinHandle<std::io::Result<()>>>,
    _stop: DropGuard,
}

/// Binds, restores the state, goes on with builds that were running, and serves.
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
    let serving = listener.map(|(_, listener)| {
        let (router, stopping) = (app::router(Arc::clone(&app)), app.stopping.clone());
        tokio::spawn(async move {
            let signal = stopping.cancelled_owned();
            axum::serve(listener, router).with_graceful_shutdown(signal).await
        })
    });
    let stop = app.stopping.clone().drop_guard();
    Ok(Server { app, serving, _stop: stop })
}

impl Server {
    /// The URL to give to a client: `http://127.0.0.1:PORT`, or `http://in-process` where it
    /// listens nowhere.
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// Answers one request without a network, in the caller's task: as over HTTP, but that nothing
    /// waits for a socket, which lets a paused clock run ahead. Fails where a fault cuts the
    /// request off. The request's `Content-Length` is added where the body has one.
    pub fn call(
        &self,
        mut request: Request,
    ) -> impl Future<Output = Result<Response, ConnectionCut>> + Send + use<> {
        if let Some(length) = request.body().size_hint().exact() {
            let headers = request.headers_mut();
            headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
        }
        let answer = app::handle(State(Arc::clone(&self.app)), request);
        async move {
            let response = answer.await;
            if inject::is_cut(&response) { Err(ConnectionCut) } else { Ok(response) }
        }
    }

    /// What the server itself counted, and its log: a copy, which takes its time.
    pub fn counts(&self) -> RequestCounts {
        self.app.traffic().counts()
    }

    /// What the server itself counted of one class; costs nothing.
    pub fn counts_of(&self, class: Class) -> ClassCounts {
        self.app.traffic().counts_of(class)
    }

    /// All builds and transfers that were accepted and not deleted, in the order in which they
    /// were.
    pub fn builds(&self) -> Vec<ServerBuild> {
        self.app.store().state().builds().rev().map(ServerBuild::from).collect()
    }

    /// Changes how many images the account, and each team, may have.
    pub fn set_quota(&self, quota: Option<u32>) {
        self.app.set_quota(quota);
    }

    /// Waits until no build is running, nor any request on its way that was answered before it took
    /// effect. Builds that wait for their context do not run.
    pub async fn idle(&self) {
        let mut running = self.app.running.subscribe();
        // The sender lives in the app, which lives in this server.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    /// Stops: takes no more requests, finishes those that it has, saves the state. Builds that
    /// run go on at the next start.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.app.stopping.cancel();
        if let Some(mut serving) = self.serving
            && tokio::time::timeout(GRACE, &mut serving).await.is_err()
        {
            serving.abort();
        }
        self.app.tasks.close();
        self.app.tasks.wait().await;
        Ok(self.app.store().fold()?)
    }
}
