//! Cancels running builds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::base::name::BuildId;

/// The tokens of the builds that are running.
#[derive(Default)]
pub(super) struct RunningTokens(Mutex<HashMap<BuildId, CancellationToken>>);

/// The token of a running build. It is forgotten when dropped.
pub(super) struct RunningToken<'a> {
    tokens: &'a RunningTokens,
    id: BuildId,
    /// Cancelled if the build is, or if the server stops.
    pub(super) cancel: CancellationToken,
}

impl RunningTokens {
    /// Returns the token of a build that begins to run. It is cancelled with `stopping`.
    pub(super) fn begin(&self, id: &BuildId, stopping: &CancellationToken) -> RunningToken<'_> {
        let cancel = stopping.child_token();
        self.lock().insert(id.clone(), cancel.clone());
        RunningToken { tokens: self, id: id.clone(), cancel }
    }

    /// Cancels a build, if it is running.
    pub(super) fn cancel(&self, id: &BuildId) {
        if let Some(token) = self.lock().get(id) {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BuildId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningToken<'_> {
    fn drop(&mut self) {
        self.tokens.lock().remove(&self.id);
    }
}
