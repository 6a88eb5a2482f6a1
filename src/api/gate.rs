//! A gate that requests pass which change something.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::error::{ApiError, ErrorKind};

/// Waits until something may be changed, and fails with a reason once nothing may be changed any more.
pub(crate) type Guard = dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Passed right before each request that may change something.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Guard>);

impl Gate {
    /// Creates a gate from its guard.
    pub(crate) fn new(guard: Arc<Guard>) -> Self {
        Self(guard)
    }

    /// Waits until the gate is open.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::Stopped`] once the gate is closed for good.
    pub(super) async fn pass(gate: Option<&Self>, action: &'static str) -> Result<(), ApiError> {
        let Some(Self(guard)) = gate else { return Ok(()) };
        let passed = guard().await;
        passed.map_err(|reason| ApiError::new(action, ErrorKind::Stopped, reason))
    }
}
