//! Runs the whole program inside the test: plans and applies a project through the library, against the
//! local server without a network, with a paused clock. A process can crash at any request; only the
//! files on disk remain.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imgplan::test_support::api::{Client, Endpoint, RateLimiter, Transport, TransportError};
use imgplan::test_support::base::limit::{Class, Limit};
use imgplan::test_support::base::name::Owner;
use imgplan::test_support::base::owner::DefaultOwner;
use imgplan::test_support::base::secret::ApiKey;
use imgplan::test_support::context::{History, StatCache};
use imgplan::test_support::event::{RunEvent, StopReason, Summary};
use imgplan::test_support::manifest::{Invocation, Workspace};
use imgplan::test_support::plan::{self, Decision, Plan};
use imgplan::test_support::run::{self, Run, RunOptions};
use imgplan::test_support::server::{self, Server, ServerBuild, ServerConfig};
use imgplan::test_support::state::{State, StatePaths, Store};
use imgplan::test_support::survey::{self, Caches, Query, Refresh, ServiceQuery};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A project, and a service whose state survives its process.
pub(crate) struct Simulation {
    dir: TempDir,
    /// Settings of the server of each process.
    pub(crate) config: ServerConfig,
    /// Rate limits that the program respects.
    pub(crate) limits: Vec<(Class, Limit)>,
    /// Time limit of a run.
    pub(crate) timeout: Option<Duration>,
}

/// Returns a folder in memory, if there is one: hundreds of processes sync their files.
fn memory() -> Option<TempDir> {
    tempfile::tempdir_in("/dev/shm").ok()
}

/// The moment at which a process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// Before it sends this request.
    Before(usize),
    /// Before it sends this request, during the preceding write to the journal: only so many lines of
    /// it, and half of the next one, are on disk.
    DuringWrite(usize, usize),
    /// After this request took effect, and before its response arrives.
    After(usize),
}

/// The result of a process.
pub(crate) struct ProcessResult {
    /// Results of the run; `None` if nothing was planned or the process crashed.
    pub(crate) summary: Option<Summary>,
    /// True if the process ended by itself.
    pub(crate) completed: bool,
    /// True if [`CrashPoint::DuringWrite`] cut a line in half.
    pub(crate) torn: bool,
    /// True if there was nothing to do.
    pub(crate) idle: bool,
    /// Number of requests sent.
    pub(crate) requests: usize,
    /// Reported events.
    pub(crate) events: Vec<RunEvent>,
    /// Duration by the paused clock.
    pub(crate) time: Duration,
    /// All builds that the service has accepted so far.
    pub(crate) builds: Vec<ServerBuild>,
    /// The service's counts of transfers: accepted and refused.
    pub(crate) images: (u64, u64),
}

impl Simulation {
    pub(crate) fn new(manifest: &str) -> Self {
        let world = Self {
            dir: memory().unwrap_or_else(|| tempfile::tempdir().unwrap()),
            config: ServerConfig {
                listen: None,
                build_time: Duration::from_secs(60),
                ..ServerConfig::default()
            },
            limits: Vec::new(),
            timeout: None,
        };
        world.write("imgplan.yaml", manifest);
        world
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn paths(&self) -> StatePaths {
        StatePaths::beside(&self.root())
    }

    /// Returns the state on disk.
    pub(crate) fn state(&self) -> State {
        Store::read_any(&self.paths()).unwrap()
    }

    /// True if there is a journal.
    pub(crate) fn has_journal(&self) -> bool {
        self.paths().work.join("journal.jsonl").exists()
    }

    /// Plans and applies, as one process.
    pub(crate) fn run_process(&self, death: Option<CrashPoint>) -> ProcessResult {
        self.run_process_with(death, |_| {})
    }

    /// The same, after `prepare` has changed the server.
    pub(crate) fn run_process_with(
        &self,
        death: Option<CrashPoint>,
        prepare: impl FnOnce(&Server),
    ) -> ProcessResult {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        // Tasks that still run are dropped with the runtime.
        runtime.block_on(self.process(death, prepare))
    }

    async fn process(
        &self,
        death: Option<CrashPoint>,
        prepare: impl FnOnce(&Server),
    ) -> ProcessResult {
        let began = tokio::time::Instant::now();
        let state = Some(self.dir.path().join("service"));
        let config = ServerConfig { state, sync: false, ..self.config.clone() };
        let server = Arc::new(server::start(config).await.unwrap());
        prepare(&server);
        let journal = self.paths().work.join("journal.jsonl");
        let wire = Arc::new(InProcessTransport {
            server: Arc::clone(&server),
            // The journal of an earlier process is complete.
            written: Mutex::new(std::fs::metadata(&journal).map_or(0, |meta| meta.len())),
            journal,
            death,
            requests: AtomicUsize::new(0),
            dead: CancellationToken::new(),
            torn: AtomicBool::new(false),
        });
        let endpoint = Endpoint {
            url: server.url(),
            key: ApiKey::new("key"),
            key_from: None,
            owner: DefaultOwner::default(),
        };
        let client =
            Client::with_transport(&endpoint, RateLimiter::new(&self.limits), wire.clone())
                .unwrap();
        let mut events = Vec::new();
        let ended = {
            let apply = self.apply(client, &mut events);
            // Checked first: nothing is written after a crash.
            tokio::select! {
                biased;
                () = wire.dead.cancelled() => None,
                ended = apply => Some(ended),
            }
        };
        let of = server.counts_of(Class::Images);
        ProcessResult {
            completed: ended.is_some(),
            torn: wire.torn.load(Ordering::Relaxed),
            idle: matches!(ended, Some(None)),
            summary: ended.flatten(),
            requests: wire.requests.load(Ordering::Relaxed),
            events,
            time: began.elapsed(),
            builds: server.builds(),
            images: (of.accepted, of.refused),
        }
    }

    /// Applies like `imgplan apply`. Returns `None` if there is nothing to do.
    async fn apply(&self, client: Client, events: &mut Vec<RunEvent>) -> Option<Summary> {
        let workspace = self.workspace();
        let mut store = Store::open(self.paths(), "service").unwrap();
        // A refresh fails after a few faults in a row: the command then ends, and changes nothing.
        let facts = self.facts(&workspace, store.state(), Some(&client)).await;
        let facts = match facts {
            Ok(facts) => facts,
            Err(error) => {
                let stopped = Some(StopReason::Error(error));
                return Some(Summary { stopped, ..Summary::default() });
            }
        };
        let Decision { workspace, plan, refreshed, bookkeeping } =
            plan::decide(workspace, &facts, store.state(), &plan::PlanOptions::default());
        store.record(&refreshed).unwrap();
        store.record(&bookkeeping).unwrap();
        if plan.is_noop() {
            store.commit().unwrap();
            return None;
        }
        let options = RunOptions {
            builds: 64,
            transfers: 1000,
            owner: Owner::Personal,
            timeout: self.timeout,
        };
        let workspace = &workspace;
        let run = Run { plan: &plan, workspace, facts: &facts, client, options };
        let (_keep, mut signals) = tokio::sync::mpsc::unbounded_channel();
        let mut tell = |event: &RunEvent| events.push(event.clone());
        let summary = run::execute(run, (&mut store, None), &mut tell, &mut signals).await.unwrap();
        store.commit().unwrap();
        Some(summary)
    }

    fn workspace(&self) -> Workspace {
        Workspace::load(&Invocation::file(self.root().join("imgplan.yaml")), &|_| None).unwrap()
    }

    async fn facts(
        &self,
        workspace: &Workspace,
        state: &State,
        client: Option<&Client>,
    ) -> Result<plan::Facts, String> {
        let work = self.paths().work;
        let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
        let service = client.map(|client| ServiceQuery {
            client,
            default_owner: &Owner::Personal,
            refresh: Refresh::Full,
        });
        let query = Query { service, ..Query::offline(workspace, state, caches) };
        survey::facts(query).await.map_err(|error| error.to_string())
    }

    /// Returns the plan by the state on disk, without the service.
    pub(crate) fn plan(&self) -> Plan {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (workspace, state) = (self.workspace(), self.state());
        let facts = runtime.block_on(self.facts(&workspace, &state, None)).unwrap();
        plan::decide(workspace, &facts, &state, &plan::PlanOptions::default()).plan
    }
}

/// Limit that detects an endless loop of requests, which takes no time with a paused clock.
const MAX_REQUESTS: usize = 200_000;

/// Passes requests to the server in this process until the crash.
struct InProcessTransport {
    server: Arc<Server>,
    journal: PathBuf,
    death: Option<CrashPoint>,
    requests: AtomicUsize,
    /// Length of the journal when the last request was sent.
    written: Mutex<u64>,
    dead: CancellationToken,
    torn: AtomicBool,
}

impl Transport for InProcessTransport {
    fn send(
        &self,
        request: reqwest::Request,
    ) -> BoxFuture<'_, Result<reqwest::Response, TransportError>> {
        self.carry(request).boxed()
    }
}

impl InProcessTransport {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, TransportError> {
        if self.dead.is_cancelled() {
            // A crashed process sends nothing.
            return std::future::pending().await;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        assert!(number < MAX_REQUESTS, "endless requests: {} {}", request.method(), request.url());
        let length = std::fs::metadata(&self.journal).map_or(0, |meta| meta.len());
        let before = std::mem::replace(&mut *self.written.lock().unwrap(), length);
        match self.death {
            Some(CrashPoint::Before(at)) if at == number => self.die().await,
            Some(CrashPoint::DuringWrite(at, lines)) if at == number => {
                self.torn.store(tear(&self.journal, before, lines), Ordering::Relaxed);
                self.die().await;
            }
            _ => {}
        }
        let request: axum::http::Request<reqwest::Body> = request.try_into().unwrap();
        let request = request.map(axum::body::Body::new);
        let answer = self.server.call(request).await;
        if self.death == Some(CrashPoint::After(number)) {
            self.die().await;
        }
        match answer {
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                Ok(axum::http::Response::from_parts(head, body).into())
            }
            Err(cut) => Err(TransportError { sent: true, message: cut.to_string() }),
        }
    }

    async fn die(&self) {
        self.dead.cancel();
        std::future::pending::<()>().await;
    }
}

/// Truncates the journal after `lines` of the lines written since it had the length `before`, and half
/// of the next line. Returns false if there is no next line.
fn tear(journal: &Path, before: u64, lines: usize) -> bool {
    let Ok(text) = std::fs::read_to_string(journal) else { return false };
    // A checkpoint may have emptied the journal.
    let before = usize::try_from(before).unwrap();
    let before = if before > text.len() { 0 } else { before };
    let mut end = before;
    for line in text[before..].split_inclusive('\n').take(lines) {
        end += line.len();
    }
    let Some(next) = text[end..].find('\n') else { return false };
    std::fs::write(journal, &text[..end + next / 2]).unwrap();
    true
}
