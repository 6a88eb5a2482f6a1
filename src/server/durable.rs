//! Waits until commits are on disk, so that no response shows what a power failure could take back.
//!
//! One sync serves all who wait: the first one writes the log, and covers every commit so far; those
//! who come in the meantime wait for their turn, and the next sync covers all of them.

use std::sync::Arc;

use super::app::App;
use super::error::{STORE_RETRY_DELAY, StoreError};

/// Waits until every commit so far is on disk. Returns at once if it is, or if the state is not stored
/// on disk.
///
/// # Errors
/// Fails if the disk cannot be written to. The commits may be on disk later.
pub(super) async fn wait(app: &Arc<App>) -> Result<(), StoreError> {
    let Some(commits) = app.store().unsynced() else { return Ok(()) };
    let turn = Arc::clone(&app.syncing).lock_owned().await;
    if app.store().is_durable(commits) {
        return Ok(());
    }
    let app = Arc::clone(app);
    // The result is recorded there: the request that waits for it may be gone by then.
    let sync = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        sync(&app)
    });
    sync.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn sync(app: &App) -> Result<(), StoreError> {
    let Some(sync) = app.store().begin_sync()? else { return Ok(()) };
    // Without the lock, so that others commit meanwhile.
    let result = sync.run();
    app.store().end_sync(&sync, result)
}

/// Waits until every commit so far is on disk, however often the disk fails.
pub(super) async fn wait_patiently(app: &Arc<App>) {
    while wait(app).await.is_err() {
        tokio::time::sleep(STORE_RETRY_DELAY).await;
    }
}
