//! The state that all requests and builds share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use regex::Regex;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build_log::BuildLogs;
use super::cancel::RunningTokens;
use super::clock::ServerClock;
use super::config::{BulkShape, ServerConfig};
use super::engine::Engine;
use super::engine::config::EngineKind;
use super::error::{Refusal, ServerError};
use super::fault::Faults;
use super::model::ArtifactForm;
use super::order::OrderRules;
use super::registry_images::RegistryImages;
use super::store::ServerStore;
use super::traffic::{RateLimitKey, Traffic};
use crate::base::file::AtPath;
use crate::base::name::BuildId;
use crate::base::work_dir::{FileMode, WorkDir, WorkName};

/// The URL of a server without a network address. No resolver knows the name.
const IN_PROCESS: &str = "http://in-process";

/// Maximum number of ended builds that have not been reported yet. The oldest are dropped.
const MAX_ENDED: usize = 1024;

/// A build that has ended.
#[derive(Debug, Clone)]
pub struct EndedBuild {
    /// Name and tag of the image.
    pub image: String,
    /// ID of the build.
    pub id: BuildId,
    /// Time from the start of the build.
    pub time: Duration,
    /// Reason of a failure; may have several lines.
    pub error: Option<String>,
}

/// The state that all requests and builds share.
pub(super) struct App {
    pub(super) clock: ServerClock,
    /// Address that the server listens on; `None` without a network.
    addr: Option<SocketAddr>,
    /// Digest of the only accepted token; `None` accepts any.
    token: Option<blake3::Hash>,
    quota: Mutex<Option<u32>>,
    pub(super) fail: Option<Regex>,
    pub(super) rules: OrderRules,
    pub(super) bulk: BulkShape,
    pub(super) form: ArtifactForm,
    pub(super) build_time: Duration,
    pub(super) upload_ttl: Duration,
    pub(super) max_upload: u64,
    pub(super) uploads: WorkDir,
    pub(super) logs: BuildLogs,
    /// The builds that can be cancelled.
    pub(super) tokens: RunningTokens,
    /// True if the state and the uploads survive a power failure.
    pub(super) syncs: bool,
    /// Deletes the uploads and logs of a server without a state folder when dropped.
    _temp: Option<tempfile::TempDir>,
    store: Mutex<ServerStore>,
    /// Held by the one that writes the log to disk.
    pub(super) syncing: Arc<tokio::sync::Mutex<()>>,
    /// The reason for which the state cannot be stored at present.
    pub(super) problem: watch::Sender<Option<String>>,
    /// Tells of each build that has ended.
    pub(super) ended: broadcast::Sender<EndedBuild>,
    traffic: Mutex<Traffic>,
    pub(super) running: watch::Sender<usize>,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
    /// The registry that holds the images; `None` if there are only their names.
    pub(super) registry: Option<RegistryImages>,
    pub(super) engine: Arc<dyn Engine>,
}

impl App {
    pub(super) fn new(
        config: &ServerConfig,
        addr: Option<SocketAddr>,
        store: ServerStore,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, ServerError> {
        let faults = Faults::new(&config.faults, config.seed).map_err(ServerError::Faults)?;
        let (folder, temp) = if let Some(folder) = store.folder() {
            (folder.clone(), None)
        } else {
            let system = std::env::temp_dir();
            let temp = tempfile::Builder::new().prefix("imgplan-server-").tempdir();
            let temp = temp.at("create a folder in", &system)?;
            (WorkDir::create_private(temp.path())?, Some(temp))
        };
        // If `auto` found no engine that pushes, nothing is copied either.
        let pushes = engine.capabilities().registry.is_some();
        let is_used = pushes || config.engine.kind != EngineKind::Auto;
        let registry = config.registry.as_ref().filter(|_| is_used);
        Ok(Self {
            clock: ServerClock::start(),
            addr,
            token: config.token.as_ref().map(|key| blake3::hash(key.expose().as_bytes())),
            quota: Mutex::new(config.quota),
            fail: config.fail.clone(),
            rules: OrderRules {
                api: config.api,
                docker_hub: config.docker_hub,
                admin: config.admin,
            },
            bulk: config.bulk.unwrap_or(config.api.bulk_shape()),
            form: ArtifactForm {
                artifact_type: config.api.artifact_type(),
                vm_paths: config.vm_paths,
                registry: engine.capabilities().registry.clone(),
            },
            build_time: config.build_time,
            upload_ttl: config.upload_ttl,
            max_upload: config.max_upload,
            uploads: folder.create_child(&WorkName::UPLOADS, FileMode::Private)?,
            logs: BuildLogs::open(&folder, config.origin)?,
            tokens: RunningTokens::default(),
            syncs: config.sync && temp.is_none(),
            _temp: temp,
            store: Mutex::new(store),
            syncing: Arc::default(),
            problem: watch::Sender::new(None),
            ended: broadcast::Sender::new(MAX_ENDED),
            traffic: Mutex::new(Traffic::new(&config.limits, faults, config.api)),
            running: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            registry: registry.map(RegistryImages::open).transpose()?,
            engine,
        })
    }

    /// Locks the store. The guard is never held across an await, so a blocking lock is enough.
    pub(super) fn store(&self) -> MutexGuard<'_, ServerStore> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the request log and the rate limits.
    pub(super) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the maximum number of images of an owner.
    pub(super) fn quota(&self) -> Option<u32> {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "test-support")]
    pub(super) fn set_quota(&self, quota: Option<u32>) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }

    /// Returns the server's URL as seen from this machine.
    pub(super) fn url(&self) -> String {
        url_of(self.addr)
    }

    /// Returns the server's URL as the client that sent `headers` sees it, such as a mapped port.
    pub(super) fn url_for(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let plain = |host: &&str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
            !host.is_empty() && host.chars().all(ok)
        };
        host.filter(plain).map_or_else(|| self.url(), |host| format!("http://{host}"))
    }

    /// Returns the rate limit key of a request's token, or 401.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<RateLimitKey, Refusal> {
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
        Ok(RateLimitKey::Token(*digest.as_bytes()))
    }
}

/// Returns the URL of a server that listens on an address, as seen from this machine.
pub(super) fn url_of(addr: Option<SocketAddr>) -> String {
    let Some(mut addr) = addr else { return IN_PROCESS.to_owned() };
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{addr}")
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("addr", &self.addr).finish_non_exhaustive()
    }
}
