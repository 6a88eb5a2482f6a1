//! Runs builds, each in a task: gives the build to the engine, waits for the build time, and stores the
//! result.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{App, EndedBuild};
use super::bases::ServerImages;
use super::build_log::{BuildLog, OpenBuildLog};
use super::engine::{BuildJob, EngineFailure};
use super::model::{BuildStatus, StoredBuild, StoredContent, StoredOrigin};
use super::registry_images::TagGuard;
use super::state::{ServerState, StateChange};
use super::{durable, mirror, unpublish, upload};
use crate::base::name::BuildId;
use crate::base::work_dir::WorkName;
use crate::registry::CopiedImage;

/// Delay before a failed write of a result is repeated.
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Resumes the builds that were running when the server stopped, and the removals.
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
    unpublish::resume(app);
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
        run(&app, &id).await;
    });
}

async fn run(app: &Arc<App>, id: &BuildId) {
    let token = app.tokens.begin(id, &app.stopping);
    let stopping = &app.stopping;
    let begun = async {
        let turn = mirror::wait_for_turn(app, id).await;
        let build = begin(app, id).await?;
        // Nothing is pushed for a build that a power failure could take back.
        durable::wait_patiently(app).await;
        Some((build, turn))
    };
    let Some(Some((build, _turn))) = stopping.run_until_cancelled(begun).await else { return };
    let (log, started) = (app.logs.begin(id), Instant::now());
    // Not dropped when the server stops: an engine ends its processes first.
    let made = make(app, &build, &log.log, &token.cancel).await;
    stopping.run_until_cancelled(end(app, (&build, started), made, log, &token.cancel)).await;
}

/// Stores the result of a build, unless it was cancelled.
async fn end(
    app: &Arc<App>,
    (build, started): (&StoredBuild, Instant),
    made: Result<FinishedImage, EngineFailure>,
    log: OpenBuildLog<'_>,
    cancel: &CancellationToken,
) {
    let waited = cancel.run_until_cancelled(tokio::time::sleep(app.build_time)).await;
    // The lock is held until the state has the image.
    let (result, _lock) = match made {
        _ if waited.is_none() => (None, None),
        Ok(FinishedImage::Built(content, lock)) => (Some(Ok(content)), lock),
        Ok(FinishedImage::Copied(copied)) => {
            let (result, lock) = mirror::publish(app, build, &copied).await;
            (Some(result), lock)
        }
        Err(EngineFailure::Failed(message)) => (Some(Err(message)), None),
        Err(EngineFailure::Cancelled) => (None, None),
    };
    let has_image = matches!(result, Some(Ok(_)));
    if result.is_none() {
        log.log.line("cancelled");
    }
    let result = result.map(|result| log.end(result));
    // The log is complete before the build has ended.
    drop(log);
    if let Some(result) = result {
        let now = || app.clock.now();
        commit(app, &build.id, |store, build| store.finish(build, result.clone(), now())).await;
        let (image, id) = (build.location.short(), build.id.clone());
        // An error means that nobody listens.
        let _ =
            app.ended.send(EndedBuild { image, id, time: started.elapsed(), error: result.err() });
    }
    if matches!(build.origin, StoredOrigin::Context { .. }) {
        // A build whose end is lost in a power failure is repeated, and needs its context again.
        durable::wait_patiently(app).await;
        let current = app.store().state().build(build.id.as_str()).map(|build| build.status);
        if current.is_some_and(BuildStatus::is_active) {
            // The server stops.
            return;
        }
        app.engine.forget(&build.id);
        upload::delete_contexts(app, [&build.id]);
        if !has_image && app.form.registry.is_some() {
            unpublish::take_back(app, &build.location);
        }
    }
}

/// An image that was made.
enum FinishedImage {
    /// Built, and pushed if the engine pushes, under the lock of its tag.
    Built(StoredContent, Option<TagGuard>),
    /// Copied to the registry, without its tag.
    Copied(CopiedImage),
}

/// Makes the image of a build.
async fn make(
    app: &Arc<App>,
    build: &StoredBuild,
    log: &Arc<BuildLog>,
    cancel: &CancellationToken,
) -> Result<FinishedImage, EngineFailure> {
    if let Some(message) = configured_failure(app, build) {
        return Err(EngineFailure::Failed(message));
    }
    let (dockerfile, uploaded) = match &build.origin {
        StoredOrigin::Context { dockerfile_path, uploaded } => (dockerfile_path.clone(), *uploaded),
        StoredOrigin::Transfer { source } => {
            let copied = cancel.run_until_cancelled(mirror::copy(app, build, source)).await;
            return Ok(match copied.ok_or(EngineFailure::Cancelled)?? {
                Some(copied) => FinishedImage::Copied(copied),
                None => FinishedImage::Built(StoredContent::default(), None),
            });
        }
    };
    let pushes = app.form.registry.is_some();
    let lock = match app.registry.as_ref().filter(|_| pushes) {
        Some(registry) => {
            let lock = cancel.run_until_cancelled(registry.lock_tag(&build.location)).await;
            Some(lock.ok_or(EngineFailure::Cancelled)?)
        }
        None => None,
    };
    let (uploads, name) = (app.uploads.clone(), WorkName::upload(&build.id));
    let job = BuildJob {
        id: build.id.clone(),
        archive: Box::new(move || uploads.open_file(&name)),
        dockerfile,
        platform: build.platform,
        destination: pushes.then(|| app.form.full_path(&build.location)),
        bases: Arc::new(ServerImages(Arc::clone(app))),
    };
    let log: Arc<BuildLog> = Arc::clone(log);
    let built = app.engine.build(job, log, cancel.clone()).await?;
    // Of a build that was only checked, the size is that of its archive.
    let size = built.size.or(uploaded);
    let content = StoredContent { size, digest: built.digest, children: Vec::new() };
    Ok(FinishedImage::Built(content, lock))
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
