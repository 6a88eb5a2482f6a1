//! Removes the tags of deleted and moved images from the registry behind the server, and restores those of
//! builds that failed or were cancelled after their push.
//!
//! The state changes first, and notes in the same commit that the tag is to be removed
//! ([`StateChange::Unpublish`]). The note stays until the registry has removed it. So the removal survives
//! a crash and an unreachable registry: the next start, or the next attempt, completes it.

use std::sync::Arc;
use std::time::Duration;

use super::app::App;
use super::location::Location;
use super::registry_images::RegistryImages;
use super::state::StateChange;

/// Delay before a failed attempt is repeated. It doubles each time, up to the maximum.
const RETRY_DELAY: Duration = Duration::from_secs(30);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(3600);

/// Resumes the removals that the server has not completed.
pub(super) fn resume(app: &Arc<App>) {
    let pending: Vec<Location> = app.store().state().unpublished().cloned().collect();
    for location in pending {
        spawn(app, location);
    }
}

/// Removes the tag of a location in the background, if the state has noted that. Without a registry the
/// note waits for a start with one.
pub(super) fn spawn(app: &Arc<App>, location: Location) {
    if app.registry.is_none() {
        return;
    }
    let app = Arc::clone(app);
    app.tasks.clone().spawn(async move {
        let stopping = app.stopping.clone();
        stopping.run_until_cancelled(run(&app, &location)).await;
    });
}

/// Takes back what a failed or cancelled build may have pushed: the tag gets the image of the last build
/// that succeeded, or is removed if there is none.
pub(super) fn take_back(app: &Arc<App>, location: &Location) {
    // If the state cannot be written, the tag stays until the next build of the image.
    if app.store().commit(vec![StateChange::Unpublish(location.clone())]).is_ok() {
        spawn(app, location.clone());
    }
}

async fn run(app: &App, location: &Location) {
    let Some(registry) = &app.registry else { return };
    let mut delay = RETRY_DELAY;
    while !attempt(app, registry, location).await {
        tokio::time::sleep(delay).await;
        delay = delay.saturating_mul(2).min(MAX_RETRY_DELAY);
    }
}

/// Returns true if nothing is left to do.
async fn attempt(app: &App, registry: &RegistryImages, location: &Location) -> bool {
    let image = || app.store().state().image(location).map(|image| image.content.digest);
    let is_noted = || app.store().state().unpublished().any(|noted| noted == location);
    let done = || app.store().commit(vec![StateChange::Unpublished(location.clone())]).is_ok();
    // Most failed builds have pushed nothing. Without a lock, so that they do not make the other builds
    // of the repository wait.
    let wanted = image();
    if wanted != Some(None) {
        match registry.tagged(location).await {
            Ok(tagged) if tagged == wanted.flatten() => return done(),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    let _lock = registry.lock_repository(location).await;
    if !is_noted() {
        return true;
    }
    let is_shared = |digest| app.store().state().has_digest_beside(location, digest);
    let is_done = match image() {
        // There is an image, earlier or new: the tag is its own.
        Some(Some(digest)) => registry.retag(location, digest, location).await.is_ok(),
        Some(None) => true,
        // A registry that does not delete keeps the image. To ask it again would not help.
        None => registry.remove(location, is_shared).await.is_ok(),
    };
    is_done && done()
}
