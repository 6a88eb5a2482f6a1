//! Runs builds, each in a task: checks the build or copies the image, waits for the build time, and stores
//! the result.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::model::{BuildStatus, StoredBuild, StoredContent, StoredOrigin};
use super::state::{ServerState, StateChange};
use super::{builder, mirror, unpublish, upload};
use crate::base::name::BuildId;

/// Delay before a failed write of a result is repeated.
const WRITE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Resumes the builds that were running when the server stopped, and the removals.
pub(super) fn resume(app: &Arc<App>) {
    let running =
        |build: &&StoredBuild| matches!(build.status, BuildStatus::Pending | BuildStatus::Building);
    let store = app.store();
    let ids: Vec<BuildId> = store.state().builds().filter(running).map(|b| b.id.clone()).collect();
    sweep(app, |id| store.state().build(id).is_some_and(|build| build.status.is_active()));
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
        let stopping = app.stopping.clone();
        stopping.run_until_cancelled(run(&app, &id)).await;
    });
}

async fn run(app: &Arc<App>, id: &BuildId) {
    let _turn = mirror::wait_for_turn(app, id).await;
    let Some(build) = begin(app, id).await else { return };
    let mut copied = None;
    let mut result = match (configured_failure(app, &build), &build.origin) {
        (Some(message), _) => Err(message),
        (None, StoredOrigin::Transfer { source }) => {
            let copy = mirror::copy(app, &build, source).await;
            copy.map(|image| copied = image).map(|()| StoredContent::default())
        }
        (None, StoredOrigin::Context { uploaded, .. }) => {
            let checked = builder::check(app, &build).await;
            checked.map(|()| StoredContent { size: *uploaded, ..StoredContent::default() })
        }
    };
    tokio::time::sleep(app.build_time).await;
    // Held until the state has the image.
    let mut _lock = None;
    if let Some(copied) = &copied {
        (result, _lock) = mirror::publish(app, &build, copied).await;
    }
    commit(app, id, |store, build| store.finish(build, result.clone(), app.clock.now())).await;
    if matches!(build.origin, StoredOrigin::Context { .. }) {
        upload::delete_contexts(app, [id]);
    }
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
