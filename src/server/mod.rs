//! The local server: our own implementation of the image service, over real HTTP.
//!
//! One account, `local`, which is an admin and a member of every team; its images, builds, limits,
//! signed upload URLs and quotas are as `api.md` has them. Nothing is really built or pulled: a
//! builder checks what a real build would trip over. Only the structs of the wire are shared with
//! the client.
//!
//! ```text
//! request ─► app (token, budgets, log) ─► endpoint ─► initiate │ builds │ images │ update │ account │ upload
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
mod endpoint;
mod error;
mod images;
mod initiate;
mod limits;
mod model;
mod place;
mod site;
mod state;
mod store;
mod traffic;
mod update;
mod upload;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use self::app::App;
pub use self::error::ServerError;
pub use self::traffic::{ClassCounts, Counts, Seen};
use crate::base::limit::ClassLimit;
use crate::base::secret::ApiKey;

/// How long [`Server::stop`] waits for requests that are being answered.
const GRACE: Duration = Duration::from_secs(10);

/// What a server should be like.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The one token that is accepted; `None` accepts any.
    pub token: Option<ApiKey>,
    /// Where the state is kept; `None` keeps it in memory, and uploads in a temporary folder.
    pub state: Option<PathBuf>,
    /// Limits other than the published ones. One for `images` holds for teams too.
    pub limits: Vec<ClassLimit>,
    /// How long a build or a transfer takes.
    pub build_time: Duration,
    /// How many images the account, and each team, may have.
    pub quota: Option<u32>,
    /// How a comma list of transfers is answered.
    pub bulk: BulkShape,
    /// For how long an upload URL is good.
    pub upload_ttl: Duration,
    /// How large an uploaded context may be, in bytes.
    pub max_upload: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            state: None,
            limits: Vec::new(),
            build_time: Duration::ZERO,
            quota: None,
            bulk: BulkShape::BuildIds,
            upload_ttl: Duration::from_secs(3600),
            max_upload: 10 << 30,
        }
    }
}

/// How a comma list of transfers is answered: three shapes were seen (`api.md` §1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BulkShape {
    /// a: one object with `buildIds`; all sources are taken or none.
    #[default]
    BuildIds,
    /// b: `results`, each flat, and `failed`; each source stands for itself.
    Results,
    /// c: `results`, each with a `build` inside; each source stands for itself.
    Builds,
}

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    serving: JoinHandle<std::io::Result<()>>,
    _stop: DropGuard,
}

/// Binds, restores the state, goes on with builds that were running, and serves.
///
/// ```
/// use imgplan::base::limit::Class;
/// use imgplan::server::{self, Config};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let server = server::start(Config::default()).await.unwrap();
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(server.counts().of(Class::Initiate).peak, 0);
/// server.stop().await.unwrap();
/// # });
/// ```
pub async fn start(config: Config) -> Result<Server, ServerError> {
    let listen = |source| ServerError::Listen { addr: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let app = Arc::new(App::new(&config, addr)?);
    worker::resume(&app);
    let stopping = app.stopping.clone();
    let router = app::router(Arc::clone(&app));
    let serving = tokio::spawn(async move {
        let signal = stopping.clone().cancelled_owned();
        axum::serve(listener, router).with_graceful_shutdown(signal).await
    });
    let stop = app.stopping.clone().drop_guard();
    Ok(Server { app, serving, _stop: stop })
}

impl Server {
    /// The URL to give to a client: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// What the server itself counted.
    pub fn counts(&self) -> Counts {
        self.app.traffic().counts()
    }

    /// Waits until no build is running. Builds that wait for their context do not run.
    pub async fn idle(&self) {
        let mut running = self.app.running.subscribe();
        // The sender lives in the app, which lives in this server.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    /// Stops: takes no more requests, finishes those that it has, saves the state. Builds that
    /// run go on at the next start.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.app.stopping.cancel();
        if tokio::time::timeout(GRACE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        self.app.tasks.close();
        self.app.tasks.wait().await;
        Ok(self.app.store().fold()?)
    }
}
