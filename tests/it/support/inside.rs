//! The whole program inside the test: a project is planned and applied through the library, against
//! our server without a network, under a clock that jumps to the next thing that happens. A life of
//! the process can be ended at any request; what was on disk then is all that is left.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use imgplan::api::{Client, Endpoint, RateLimiter, Transport, TransportError};
use imgplan::base::limit::{Class, Limit};
use imgplan::base::name::Owner;
use imgplan::base::secret::ApiKey;
use imgplan::context::{History, StatCache};
use imgplan::event::{RunEvent, Summary};
use imgplan::manifest::{Invocation, Workspace};
use imgplan::plan::{self, Decision, Plan};
use imgplan::run::{self, Run, RunOptions};
use imgplan::server::{self, Server, ServerBuild, ServerConfig};
use imgplan::state::{State, StatePaths, Store};
use imgplan::survey::{self, Caches, Query, Refresh, ServiceQuery};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A project, and a service whose state outlives its process.
pub(crate) struct World {
    dir: TempDir,
    /// What each life's server is like.
    pub(crate) config: ServerConfig,
    /// The budgets that the program keeps.
    pub(crate) limits: Vec<(Class, Limit)>,
    /// How long a run may take.
    pub(crate) timeout: Option<Duration>,
}

/// A folder in memory, where there is one: hundreds of lives sync what nobody will pull the plug on.
fn memory() -> Option<TempDir> {
    tempfile::tempdir_in("/dev/shm").ok()
}

/// When a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Before this request leaves.
    Before(usize),
    /// Before this request leaves, in the middle of the writing that it was to lean on: only so
    /// many lines of it, and a half, are on disk.
    Writing(usize, usize),
    /// After this request took effect, before its answer came.
    After(usize),
}

/// What a life left.
pub(crate) struct Life {
    /// How the run ended; none where nothing was planned, or death came first.
    pub(crate) summary: Option<Summary>,
    /// Whether it lived to its end.
    pub(crate) survived: bool,
    /// Whether a line was torn, as [`Death::Writing`] has it.
    pub(crate) tore: bool,
    /// Whether there was nothing to do.
    pub(crate) idle: bool,
    /// Requests that left.
    pub(crate) requests: usize,
    /// What was told.
    pub(crate) events: Vec<RunEvent>,
    /// How long it took, by the clock that jumps.
    pub(crate) time: Duration,
    /// All builds that the service has accepted by now.
    pub(crate) builds: Vec<ServerBuild>,
    /// What the service counted of transfers: accepted and refused.
    pub(crate) images: (u64, u64),
}

impl World {
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

    /// What is on disk.
    pub(crate) fn state(&self) -> State {
        Store::read_any(&self.paths()).unwrap()
    }

    /// Whether there is a journal.
    pub(crate) fn has_journal(&self) -> bool {
        self.paths().work.join("journal.jsonl").exists()
    }

    /// Plans and applies, in a process of its own as it were.
    pub(crate) fn live(&self, death: Option<Death>) -> Life {
        self.live_with(death, |_| {})
    }

    /// The same, with something done to the server first.
    pub(crate) fn live_with(&self, death: Option<Death>, prepare: impl FnOnce(&Server)) -> Life {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        // What still runs when it is dropped dies with it.
        runtime.block_on(self.process(death, prepare))
    }

    async fn process(&self, death: Option<Death>, prepare: impl FnOnce(&Server)) -> Life {
        let began = tokio::time::Instant::now();
        let config =
            ServerConfig { state: Some(self.dir.path().join("service")), ..self.config.clone() };
        let server = Arc::new(server::start(config).await.unwrap());
        prepare(&server);
        let journal = self.paths().work.join("journal.jsonl");
        let wire = Arc::new(Wire {
            server: Arc::clone(&server),
            // What an earlier life wrote was leaned on.
            written: Mutex::new(std::fs::metadata(&journal).map_or(0, |meta| meta.len())),
            journal,
            death,
            requests: AtomicUsize::new(0),
            dead: CancellationToken::new(),
            tore: AtomicBool::new(false),
        });
        let endpoint =
            Endpoint { url: server.url(), key: ApiKey::new("key"), owner: Owner::Personal };
        let client =
            Client::with_transport(&endpoint, RateLimiter::new(&self.limits), wire.clone())
                .unwrap();
        let mut events = Vec::new();
        let ended = {
            let apply = self.apply(client, &mut events);
            // Death first: nothing is written after it.
            tokio::select! {
                biased;
                () = wire.dead.cancelled() => None,
                ended = apply => Some(ended),
            }
        };
        let of = server.counts_of(Class::Images);
        Life {
            survived: ended.is_some(),
            tore: wire.tore.load(Ordering::Relaxed),
            idle: matches!(ended, Some(None)),
            summary: ended.flatten(),
            requests: wire.requests.load(Ordering::Relaxed),
            events,
            time: began.elapsed(),
            builds: server.builds(),
            images: (of.accepted, of.refused),
        }
    }

    /// As `imgplan apply` does it; `None` where there is nothing to do.
    async fn apply(&self, client: Client, events: &mut Vec<RunEvent>) -> Option<Summary> {
        let workspace = self.workspace();
        let mut store = Store::open(self.paths(), "service").unwrap();
        let facts = self.facts(&workspace, store.state(), Some(&client)).await;
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
        let run = Run { plan: &plan, workspace: &workspace, facts: &facts, client, options };
        let (_keep, mut signals) = tokio::sync::mpsc::unbounded_channel();
        let mut tell = |event: &RunEvent| events.push(event.clone());
        let summary = run::execute(run, &mut store, &mut tell, &mut signals).await.unwrap();
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
    ) -> plan::Facts {
        let work = self.paths().work;
        let caches = Caches { stat: StatCache::read(&work), history: History::at(&work) };
        let service = client.map(|client| ServiceQuery {
            client,
            default_owner: &Owner::Personal,
            refresh: Refresh::Full,
        });
        let query = Query { service, ..Query::offline(workspace, state, caches) };
        survey::facts(query).await.unwrap()
    }

    /// What would be planned by what is on record.
    pub(crate) fn plan(&self) -> Plan {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (workspace, state) = (self.workspace(), self.state());
        let facts = runtime.block_on(self.facts(&workspace, &state, None));
        plan::decide(workspace, &facts, &state, &plan::PlanOptions::default()).plan
    }
}

/// A run that asks without end is a bug, and a clock that jumps would hide it.
const FAR_TOO_MANY: usize = 200_000;

/// Carries requests to the server in this process, until death.
struct Wire {
    server: Arc<Server>,
    journal: PathBuf,
    death: Option<Death>,
    requests: AtomicUsize,
    /// How long the journal was when the last request left.
    written: Mutex<u64>,
    dead: CancellationToken,
    tore: AtomicBool,
}

impl Transport for Wire {
    fn send(
        &self,
        request: reqwest::Request,
    ) -> BoxFuture<'_, Result<reqwest::Response, TransportError>> {
        self.carry(request).boxed()
    }
}

impl Wire {
    async fn carry(&self, request: reqwest::Request) -> Result<reqwest::Response, TransportError> {
        if self.dead.is_cancelled() {
            // A process that is dead sends nothing.
            return std::future::pending().await;
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        assert!(number < FAR_TOO_MANY, "it never ends: {} {}", request.method(), request.url());
        let length = std::fs::metadata(&self.journal).map_or(0, |meta| meta.len());
        let before = std::mem::replace(&mut *self.written.lock().unwrap(), length);
        match self.death {
            Some(Death::Before(at)) if at == number => self.die().await,
            Some(Death::Writing(at, lines)) if at == number => {
                self.tore.store(tear(&self.journal, before, lines), Ordering::Relaxed);
                self.die().await;
            }
            _ => {}
        }
        let request: axum::http::Request<reqwest::Body> = request.try_into().unwrap();
        let request = request.map(axum::body::Body::new);
        let answer = self.server.call(request).await;
        if self.death == Some(Death::After(number)) {
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

/// Leaves `lines` of what was written to the journal since it was `before` long, and half of the
/// next one. Says whether there was a next one.
fn tear(journal: &Path, before: u64, lines: usize) -> bool {
    let Ok(text) = std::fs::read_to_string(journal) else { return false };
    // A checkpoint may have begun it anew.
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
