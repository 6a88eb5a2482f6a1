//! Runs builds, each in a task: checks the build, waits for the build time, and stores the result.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::app::App;
use super::build_log::BuildLog;
use super::model::{BuildStatus, StoredBuild, StoredOrigin};
use super::state::{ServerState, StateChange};
use super::{builder, durable, upload};
use crate::base::name::BuildId;

/// Delay before a failed write of a result is repeated.
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Resumes the builds that were running when the server stopped.
pub(super) fn resume(app: &Arc<App>) {
    let running =
        |build: &&StoredBuild| matches!(build.status, BuildStatus::Pending | BuildStatus::Building);
    let store = app.store();
    let ids: Vec<BuildId> = store.state().builds().filter(running).map(|b| b.id.clone()).collect();
    sweep(app, |id| store.state().build(id).is_some_and(|build| build.status.is_active()));
    app.logs.sweep(|id| store.state().build(id).is_some());
    drop(store);
    // The oldest first.
    ids.iter().rev().for_each(|id| spawn(app, id));
}

/// Deletes contexts that no build needs, and uploads that a crash interrupted.
fn sweep(app: &App, needed: impl Fn(&str) -> bool) {
    for name in app.uploads.names() {
        let id = name.to_str().and_then(|name| name.strip_suffix(".tar.gz"));
        if !id.is_some_and(&needed) {
            // A file that remains only takes disk space.
            let _ = app.uploads.remove(&name);
        }
    }
}

/// Runs a build to its end, or until the server stops; then the next start resumes it.
pub(super) fn spawn(app: &Arc<App>, id: &BuildId) {
    let guard = RunningGuard::new(app);
    let (app, id) = (Arc::clone(app), id.clone());
    app.tasks.clone().spawn(async move {
        let _guard = guard;
        let stopping = app.stopping.clone();
        stopping.run_until_cancelled(run(&app, &id)).await;
    });
}

async fn run(app: &Arc<App>, id: &BuildId) {
    let token = app.tokens.begin(id, &app.stopping);
    let Some(build) = begin(app, id).await else { return };
    let log = app.logs.begin(id);
    let result = token.cancel.run_until_cancelled(make(app, &build, &log.log, &token.cancel)).await;
    if app.stopping.is_cancelled() {
        return;
    }
    if result.is_none() {
        log.log.line("cancelled");
    }
    let result = result.map(|result| log.end(result));
    // The log is complete before the build has ended.
    drop(log);
    if let Some(result) = result {
        commit(app, id, |store, build| store.finish(build, result.clone(), app.clock.now())).await;
    }
    if matches!(build.origin, StoredOrigin::Context { .. }) {
        // A build whose end is lost in a power failure is repeated, and needs its context again.
        durable::wait_patiently(app).await;
        upload::delete_contexts(app, [id]);
    }
}

/// Makes the image of a build, and returns its size if it is known.
async fn make(
    app: &App,
    build: &StoredBuild,
    log: &BuildLog,
    cancel: &CancellationToken,
) -> Result<Option<u64>, String> {
    let result = match (configured_failure(app, build), &build.origin) {
        (Some(message), _) => Err(message),
        (None, StoredOrigin::Transfer { .. }) => Ok(None),
        (None, StoredOrigin::Context { uploaded, .. }) => {
            builder::check(app, build, log, cancel).await.map(|()| *uploaded)
        }
    };
    tokio::time::sleep(app.build_time).await;
    result
}

/// Returns the failure of a build whose image matches the pattern of `--fail`.
fn configured_failure(app: &App, build: &StoredBuild) -> Option<String> {
    let image = build.location.short();
    let pattern = app.fail.as_ref().filter(|pattern| pattern.is_match(&image))?;
    Some(format!("this server is configured to fail images that match `{pattern}`"))
}

/// Returns the build once it is BUILDING. A transfer is PENDING at first.
async fn begin(app: &App, id: &BuildId) -> Option<StoredBuild> {
    commit(app, id, |_, build| match build.status {
        BuildStatus::Pending => {
            let started_at = Some(app.clock.now());
            vec![StateChange::Build(StoredBuild {
                status: BuildStatus::Building,
                started_at,
                ..build.clone()
            })]
        }
        _ => Vec::new(),
    })
    .await;
    let build = app.store().state().build(id.as_str()).cloned();
    build.filter(|build| build.status == BuildStatus::Building)
}

/// Changes a build that is still active. Repeats a failed write until it succeeds.
async fn commit(
    app: &App,
    id: &BuildId,
    changes: impl Fn(&ServerState, &StoredBuild) -> Vec<StateChange>,
) {
    loop {
        {
            let mut store = app.store();
            let Some(build) = store.state().build(id.as_str()).filter(|b| b.status.is_active())
            else {
                return;
            };
            let changes = changes(store.state(), build);
            if changes.is_empty() || store.commit(changes).is_ok() {
                return;
            }
        }
        tokio::time::sleep(WRITE_RETRY_DELAY).await;
    }
}

/// Counts a build, or a request that may start one, as running until dropped.
pub(super) struct RunningGuard(Arc<App>);

impl RunningGuard {
    pub(super) fn new(app: &Arc<App>) -> Self {
        app.running.send_modify(|running| *running += 1);
        Self(Arc::clone(app))
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}
