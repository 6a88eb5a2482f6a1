//! What every request passes: the log, the token, the budgets; then its endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use regex::Regex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::ServerClock;
use super::endpoint::ServerEndpoint;
use super::error::{Refusal, ServerError};
use super::fault::Faults;
use super::store::ServerStore;
use super::traffic::{Arrival, BudgetKey, Traffic};
use super::{
    BulkShape, ServerConfig, account, body, builds, images, initiate, inject, update, upload,
};
use crate::base::file::AtPath;

/// The URL of a server that listens nowhere: a name that no resolver knows.
const IN_PROCESS: &str = "http://in-process";

/// What all requests and builds share.
pub(super) struct App {
    pub(super) clock: ServerClock,
    /// `None`: it listens nowhere.
    addr: Option<SocketAddr>,
    /// The digest of the one token that is accepted.
    token: Option<blake3::Hash>,
    quota: Mutex<Option<u32>>,
    pub(super) fail: Option<Regex>,
    pub(super) bulk: BulkShape,
    pub(super) build_time: Duration,
    pub(super) upload_ttl: Duration,
    pub(super) max_upload: u64,
    pub(super) uploads: PathBuf,
    /// Removes the uploads of a server without a state's folder.
    _temp: Option<tempfile::TempDir>,
    store: Mutex<ServerStore>,
    traffic: Mutex<Traffic>,
    pub(super) running: watch::Sender<usize>,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
    /// Reading archives takes a core each.
    pub(super) cores: Arc<Semaphore>,
}

impl App {
    pub(super) fn new(
        config: &ServerConfig,
        addr: Option<SocketAddr>,
    ) -> Result<Self, ServerError> {
        let faults = Faults::new(&config.faults, config.seed).map_err(ServerError::Faults)?;
        let (store, uploads, temp) = if let Some(dir) = &config.state {
            (ServerStore::open(dir)?, dir.join("uploads"), None)
        } else {
            let system = std::env::temp_dir();
            let temp = tempfile::Builder::new().prefix("imgplan-server-").tempdir();
            let temp = temp.at("create a folder in", &system)?;
            (ServerStore::in_memory()?, temp.path().to_owned(), Some(temp))
        };
        std::fs::create_dir_all(&uploads).at("create the folder", &uploads)?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            clock: ServerClock::start(),
            addr,
            token: config.token.as_ref().map(|key| blake3::hash(key.expose().as_bytes())),
            quota: Mutex::new(config.quota),
            fail: config.fail.clone(),
            bulk: config.bulk,
            build_time: config.build_time,
            upload_ttl: config.upload_ttl,
            max_upload: config.max_upload,
            uploads,
            _temp: temp,
            store: Mutex::new(store),
            traffic: Mutex::new(Traffic::new(&config.limits, faults)),
            running: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cores: Arc::new(Semaphore::new(cores)),
        })
    }

    /// The state. Never held across an await, so a plain lock will do.
    pub(super) fn store(&self) -> MutexGuard<'_, ServerStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log and the budgets.
    pub(super) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many images an owner may have.
    pub(super) fn quota(&self) -> Option<u32> {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_quota(&self, quota: Option<u32>) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// The server's URL as seen from this machine.
    pub(super) fn url(&self) -> String {
        let Some(mut addr) = self.addr else { return IN_PROCESS.to_owned() };
        match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        format!("http://{addr}")
    }

    /// The server's URL as whoever sent `headers` sees it: through a mapped port, say.
    pub(super) fn url_for(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let plain = |host: &&str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
            !host.is_empty() && host.chars().all(ok)
        };
        host.filter(plain).map_or_else(|| self.url(), |host| format!("http://{host}"))
    }

    /// Whose budgets a request draws on, or 401.
    fn authenticate(&self, headers: &HeaderMap) -> Result<BudgetKey, Refusal> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(Refusal::unauthorized)?;
        let digest = blake3::hash(token.as_bytes());
        // Digests compare in constant time.
        if self.token.is_some_and(|expected| expected != digest) {
            return Err(Refusal::unauthorized());
        }
        Ok(BudgetKey::Token(*digest.as_bytes()))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// One handler for all paths: [`Endpoint::of`] says why.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new().fallback(handle).with_state(app)
}

/// Answers a request, or cuts it off: [`inject::is_cut`] tells which.
pub(super) async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let endpoint = ServerEndpoint::of(request.method(), request.uri().path());
    let class = endpoint.as_ref().ok().and_then(ServerEndpoint::class);
    let method = request.method().as_str();
    let token = app.authenticate(request.headers());
    let path = request.uri().path();
    let (arrival, drawn) = app.traffic().arrived(class, token.as_ref().ok(), method, path);
    let answer = match endpoint {
        Ok(endpoint) => answer(&app, endpoint, token.and(drawn), arrival, request).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if let Some(fault) = arrival.fault {
        response = inject::afterwards(&app, fault, response).await;
    }
    if !inject::is_cut(&response) {
        app.traffic().answered(arrival.ticket, response.status().as_u16());
    }
    response
}

async fn answer(
    app: &Arc<App>,
    endpoint: ServerEndpoint,
    admitted: Result<(), Refusal>,
    arrival: Arrival,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, payload) = request.into_parts();
    if let ServerEndpoint::Upload { id } = endpoint {
        return store_upload(app, id, arrival, &parts, payload).await;
    }
    // The body is read even where the request is refused, or the client would see its connection
    // break instead of the answer.
    let payload = body::read(payload).await;
    admitted?;
    let payload = payload?;
    if let Some(response) = instead(app, arrival, &payload) {
        return Ok(response);
    }
    let Some(time) = inject::lateness(arrival.fault) else {
        return serve(app, endpoint, arrival, &parts, &payload);
    };
    Ok(inject::serve_later(app, arrival.fault, time, move |app| {
        // Whoever asked has its answer.
        let _ = serve(app, endpoint, arrival, &parts, &payload);
    }))
}

fn instead(app: &App, arrival: Arrival, payload: &[u8]) -> Option<Response> {
    inject::instead(arrival.fault?, app.clock.now(), payload)
}

async fn store_upload(
    app: &Arc<App>,
    id: String,
    arrival: Arrival,
    parts: &Parts,
    payload: Body,
) -> Result<Response, Refusal> {
    if let Some(response) = instead(app, arrival, &[]) {
        if !inject::is_cut(&response) {
            upload::drain(payload).await;
        }
        return Ok(response);
    }
    let received = upload::receive(app, &id, parts, payload).await?;
    let Some(time) = inject::lateness(arrival.fault) else {
        return upload::keep(app, &id, received);
    };
    Ok(inject::serve_later(app, arrival.fault, time, move |app| {
        // Whoever sent it has its answer.
        let _ = upload::keep(app, &id, received);
    }))
}

fn serve(
    app: &Arc<App>,
    endpoint: ServerEndpoint,
    arrival: Arrival,
    parts: &Parts,
    payload: &[u8],
) -> Result<Response, Refusal> {
    match endpoint {
        ServerEndpoint::Initiate => initiate::initiate(app, &parts.headers, payload, arrival),
        ServerEndpoint::Start { id } => builds::start(app, &id, payload),
        ServerEndpoint::Status { id } => builds::status(app, &id),
        ServerEndpoint::Builds => builds::list(app, &parts.uri),
        ServerEndpoint::Images => images::list(app, &parts.uri),
        ServerEndpoint::Delete { name, tag } => images::delete(app, &name, &tag, &parts.uri),
        ServerEndpoint::Update => update::update(app, payload),
        ServerEndpoint::BulkVisibility => update::bulk_visibility(app, payload),
        ServerEndpoint::Visibility { name, tag } => update::visibility(app, &name, &tag, payload),
        ServerEndpoint::Whoami => account::whoami(),
        ServerEndpoint::Teams => account::teams(app, &parts.uri),
        ServerEndpoint::Members { team } => account::members(&team),
        ServerEndpoint::Upload { .. } => Err(Refusal::internal("an upload was not received")),
    }
}
