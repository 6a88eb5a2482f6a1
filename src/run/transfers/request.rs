//! Describes one requested transfer, and sorts a batch of them by its results. Sends nothing.

use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{Assigned, BatchKey, Batchable};
use crate::api::{AcceptedBuild, ApiError, ErrorKind};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Platform, Visibility};
use crate::plan::{RequestInDoubt, StepId};
use crate::run::job::CreateJob;
use crate::run::outcome::StepFailure;
use crate::state::{BuildStage, Record, Submission};

/// Maximum delay before a transfer is requested again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// One requested transfer.
pub(in crate::run) struct TransferRequest {
    pub(super) step: StepId,
    pub(super) unit: ImageRef,
    pub(super) platform: Platform,
    pub(super) source: String,
    pub(super) visibility: Option<Visibility>,
    pub(super) submission: Submission,
    /// True if the name or tag is not the one that the service derives from the source.
    pub(super) custom_name: bool,
    /// A request of an earlier run whose response was lost.
    pub(super) in_doubt: Option<RequestInDoubt>,
    /// Failed requests so far. Waiting for a rate limit does not count.
    pub(super) failures: u32,
    /// Maximum number of requests.
    pub(super) max_tries: u32,
    /// True if it is sent alone because a batch with it was refused or lost.
    pub(super) alone: bool,
    /// Receives the build once it is on record. `None` until the request is queued.
    pub(super) result: Option<oneshot::Sender<TransferOutcome>>,
}

/// The build of a transfer, or the failure of its step.
pub(super) type TransferOutcome = Result<AcceptedBuild, StepFailure>;

impl TransferRequest {
    pub(in crate::run) fn new(
        step: StepId,
        unit: &ImageRef,
        job: &CreateJob,
        source: String,
        custom_name: bool,
    ) -> Self {
        Self {
            step,
            unit: unit.clone(),
            platform: job.platform,
            source,
            visibility: job.visibility,
            submission: job.submission(),
            custom_name,
            in_doubt: job.create.in_doubt,
            failures: 0,
            max_tries: 1,
            alone: false,
            result: None,
        }
    }

    /// True if it may be requested again after one more failure.
    pub(super) fn may_retry(&self) -> bool {
        self.failures + 1 < self.max_tries
    }

    /// The same request after one more failure.
    pub(super) fn failed(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }

    /// Returns the delay before the next request: one second, doubled with each failure.
    pub(super) fn backoff(&self) -> Duration {
        Duration::from_secs(1 << self.failures.min(6)).min(MAX_BACKOFF)
    }

    /// Sends the outcome to the step.
    pub(super) fn finish(self, outcome: TransferOutcome) {
        if let Some(result) = self.result {
            // Fails only if the step is gone; the outcome is on record.
            let _ = result.send(outcome);
        }
    }

    /// Returns the record of a build that was accepted for it.
    pub(super) fn created(&self, accepted: &AcceptedBuild) -> Record {
        let (build, path) = (accepted.build.clone(), accepted.path.clone());
        let submission = self.submission.clone();
        // A transfer needs no upload and no start.
        let pending =
            submission.into_pending(build, path, accepted.visibility, BuildStage::Started);
        let (unit, platform) = (self.unit.clone(), self.platform);
        Record::Created { unit, kind: ImageKind::Mirror, platform, pending }
    }
}

impl Batchable for TransferRequest {
    fn batch_key(&self) -> Option<BatchKey> {
        let alone = self.custom_name || self.alone || self.in_doubt.is_some();
        (!alone).then_some(BatchKey { platform: self.platform, visibility: self.visibility })
    }

    fn source_len(&self) -> usize {
        self.source.len()
    }
}

/// The transfers of a batch, sorted by their results.
#[derive(Default)]
pub(super) struct BatchOutcome {
    pub(super) accepted: Vec<(TransferRequest, AcceptedBuild)>,
    pub(super) failed: Vec<(TransferRequest, StepFailure)>,
    /// Not accepted; to be requested again.
    pub(super) retry: Vec<TransferRequest>,
    /// The response has no result for them.
    pub(super) unreported: Vec<TransferRequest>,
    /// Builds of the response that are assigned to no transfer.
    pub(super) unassigned: Vec<BuildId>,
}

impl BatchOutcome {
    /// Sorts a batch by the results in its response.
    pub(super) fn new(batch: Vec<TransferRequest>, assigned: Assigned) -> Self {
        let mut outcome = Self { unassigned: assigned.unassigned, ..Self::default() };
        for (transfer, result) in batch.into_iter().zip(assigned.results) {
            match result {
                Some(Ok(accepted)) => outcome.accepted.push((transfer, accepted)),
                None => outcome.unreported.push(transfer),
                Some(Err(refused)) if refused.is_rate() => outcome.retry.push(transfer),
                Some(Err(refused))
                    if refused.retryable && !refused.is_quota() && transfer.may_retry() =>
                {
                    outcome.retry.push(transfer.failed());
                }
                Some(Err(refused)) => {
                    let kind = if refused.is_quota() {
                        ErrorKind::QuotaExceeded
                    } else {
                        ErrorKind::Rejected
                    };
                    let error = ApiError::new("transfer the image", kind, refused.message);
                    outcome.failed.push((transfer, StepFailure::of(&error)));
                }
            }
        }
        outcome
    }
}
