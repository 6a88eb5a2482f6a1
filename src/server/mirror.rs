//! Transfers with a registry behind the server: real copies of images.

use super::app::App;
use super::model::{BuildStatus, StoredBuild, StoredContent, StoredOrigin};
use super::registry_images::TagGuard;
use crate::base::name::BuildId;
use crate::registry::CopiedImage;

/// Waits until a transfer may begin: until then it is PENDING. A build does not wait here.
pub(super) async fn wait_for_turn<'a>(
    app: &'a App,
    id: &BuildId,
) -> Option<tokio::sync::SemaphorePermit<'a>> {
    let is_transfer = {
        let store = app.store();
        let build = store.state().build(id.as_str());
        build.is_some_and(|build| matches!(build.origin, StoredOrigin::Transfer { .. }))
    };
    app.registry.as_ref().filter(|_| is_transfer)?.copy_slot().await
}

/// Copies the source of a transfer: all but the tag. `None` without a registry. After a crash, the next
/// start does it again; what the registry has by then is not sent again.
///
/// # Errors
///
/// Fails with a reason for the build.
pub(super) async fn copy(
    app: &App,
    build: &StoredBuild,
    source: &str,
) -> Result<Option<CopiedImage>, String> {
    let Some(registry) = &app.registry else { return Ok(None) };
    registry.copy(source, Some(build.platform), &build.location).await.map(Some)
}

/// Writes the tag of a copied image, unless the transfer was cancelled. Returns the lock of the tag,
/// which the caller holds until the state has the image.
pub(super) async fn publish(
    app: &App,
    build: &StoredBuild,
    copied: &CopiedImage,
) -> (Result<StoredContent, String>, Option<TagGuard>) {
    let Some(registry) = &app.registry else { return (Ok(StoredContent::default()), None) };
    let lock = registry.lock_tag(&build.location).await;
    let is_wanted = {
        let store = app.store();
        let current = store.state().build(build.id.as_str());
        current.is_some_and(|current| current.status == BuildStatus::Building)
    };
    let content =
        if is_wanted { registry.publish(copied).await } else { Ok(StoredContent::default()) };
    (content, Some(lock))
}
