//! The running builds that can be cancelled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::base::name::BuildId;

/// A token for each running build.
#[derive(Debug, Default)]
pub(super) struct Cancellations(Mutex<HashMap<BuildId, CancellationToken>>);

impl Cancellations {
    /// Returns the token of a build that starts. It is also cancelled if `stopping` is.
    pub(super) fn enter(&self, id: &BuildId, stopping: &CancellationToken) -> CancellationToken {
        let token = stopping.child_token();
        self.tokens().insert(id.clone(), token.clone());
        token
    }

    /// Forgets a build that has ended.
    pub(super) fn leave(&self, id: &BuildId) {
        self.tokens().remove(id);
    }

    /// Cancels those of the builds that are running.
    pub(super) fn cancel<'i>(&self, ids: impl IntoIterator<Item = &'i BuildId>) {
        let tokens = self.tokens();
        for token in ids.into_iter().filter_map(|id| tokens.get(id)) {
            token.cancel();
        }
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<BuildId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
