//! Describes one requested transfer, and sorts a batch of them by its results. Sends nothing.

use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{Assigned, BatchKey, Batchable};
use super::form::{FormChanges, ServiceTraits, TransferForm};
use crate::api::{AcceptedBuild, ApiError, ErrorKind, RefusedSource};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Owner};
use crate::base::source_ref::SourceRef;
use crate::plan::{RequestInDoubt, StepId};
use crate::run::job::CreateJob;
use crate::run::outcome::StepFailure;
use crate::state::{BuildStage, Record, Submission};

/// Maximum delay before a transfer is requested again.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// One requested transfer.
pub(in crate::run) struct TransferRequest {
    pub(super) step: StepId,
    pub(super) form: TransferForm,
    pub(super) source: String,
    pub(super) submission: Submission,
    /// Refusal of the form without the placement that `changes` adds.
    pub(super) first_refusal: Option<StepFailure>,
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
        source: &SourceRef,
    ) -> Self {
        let form = TransferForm {
            unit: unit.clone(),
            platform: job.platform,
            owner: job.owner.clone(),
            owner_is_set: job.create.owner.is_some(),
            visibility: job.visibility,
            registry: source.registry_kind(),
            images: source.destinations(),
            custom_name: !source.derives(unit, job.owner == Owner::Platform),
            changes: FormChanges::default(),
        };
        Self {
            step,
            form,
            source: source.to_string(),
            submission: job.submission(),
            first_refusal: None,
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

    /// Returns the delay before the next request: none after a refusal that another request avoids,
    /// else two seconds, doubled with each further failure.
    pub(super) fn backoff(&self) -> Duration {
        match self.failures {
            0 => Duration::ZERO,
            failures => Duration::from_secs(1 << failures.min(6)).min(MAX_BACKOFF),
        }
    }

    /// Changes the form of the request after a failure. Returns false if another form would not help.
    pub(super) fn in_another_form(
        &mut self,
        traits: &ServiceTraits,
        text: &str,
        failure: impl FnOnce() -> StepFailure,
    ) -> bool {
        let Some(changes) = traits.changed(&self.form, text) else { return false };
        if changes.moves(&self.form) {
            self.first_refusal.get_or_insert_with(failure);
        }
        self.alone |= changes.named;
        self.form.changes = changes;
        true
    }

    /// Returns the failure to report. If the service refuses a placement that the manifest does not
    /// set, that is the refusal of the first form, which says why the placement was requested. Other
    /// errors have nothing to do with the form.
    pub(super) fn refused(&mut self, error: &ApiError) -> StepFailure {
        use ErrorKind::{Forbidden, NotFound, Rejected};
        let is_refusal = matches!(error.kind, Rejected | Forbidden | NotFound);
        let first = self.first_refusal.take().filter(|_| is_refusal);
        first.unwrap_or_else(|| StepFailure::of(error))
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
        let (unit, platform) = (self.form.unit.clone(), self.form.platform);
        Record::Created { unit, kind: ImageKind::Mirror, platform, pending }
    }
}

impl Batchable for TransferRequest {
    fn batch_key(&self) -> Option<BatchKey> {
        let alone = self.form.custom_name || self.alone || self.in_doubt.is_some();
        let TransferForm { platform, visibility, registry, owner_is_set, changes, .. } = self.form;
        (!alone).then_some(BatchKey { platform, visibility, registry, owner_is_set, changes })
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
    pub(super) fn new(
        batch: Vec<TransferRequest>,
        assigned: Assigned,
        traits: &ServiceTraits,
    ) -> Self {
        let mut outcome = Self { unassigned: assigned.unassigned, ..Self::default() };
        // All transfers of a batch have one form, so a refusal of one is not about the form.
        let form_is_accepted = assigned.results.iter().any(|result| matches!(result, Some(Ok(_))));
        for (mut transfer, result) in batch.into_iter().zip(assigned.results) {
            transfer.first_refusal.take_if(|_| form_is_accepted);
            match result {
                Some(Ok(accepted)) => outcome.accepted.push((transfer, accepted)),
                None => outcome.unreported.push(transfer),
                Some(Err(refused)) => outcome.refused(transfer, refused, traits),
            }
        }
        outcome
    }

    fn refused(
        &mut self,
        mut transfer: TransferRequest,
        refused: RefusedSource,
        traits: &ServiceTraits,
    ) {
        if refused.is_rate() {
            return self.retry.push(transfer);
        }
        let kind = if refused.is_quota() { ErrorKind::QuotaExceeded } else { ErrorKind::Rejected };
        let error = ApiError::new("transfer the image", kind, refused.message);
        if kind == ErrorKind::Rejected {
            if transfer.in_another_form(traits, &error.message, || StepFailure::of(&error)) {
                return self.retry.push(transfer);
            }
            if refused.retryable && transfer.may_retry() {
                return self.retry.push(transfer.failed());
            }
        }
        let failure = transfer.refused(&error);
        self.failed.push((transfer, failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::name::{Platform, Visibility};
    use crate::base::source_ref::RegistryKind;
    use crate::state::Inputs;

    const NO_TEAM: &str = "Docker Hub source builds do not accept team_id";
    const PUBLIC: &str = "Docker Hub source builds must be public";

    fn error(kind: ErrorKind, text: &str) -> ApiError {
        ApiError::new("transfer the image", kind, text)
    }

    #[test]
    fn the_refusal_of_what_the_manifest_says_is_reported() {
        let refused = |text: &str| error(ErrorKind::Rejected, text);
        for (visibility, first, second, reported) in [
            // The service does not take what was added: the first text says why it was.
            (None, NO_TEAM, "Only platform admins can do that", NO_TEAM),
            (None, PUBLIC, "body.ownerScope: not permitted", PUBLIC),
            // The name that was added is the one that the service derives.
            (None, "body.image_name: field required", "Invalid image", "Invalid image"),
            // Only the ambient team was left out: the manifest says private.
            (Some(Visibility::Private), NO_TEAM, PUBLIC, PUBLIC),
        ] {
            let (traits, mut transfer) = (ServiceTraits::default(), transfer(visibility));
            let failure = || StepFailure::of(&refused(first));
            assert!(transfer.in_another_form(&traits, first, failure), "{first}");
            assert!(!transfer.in_another_form(&traits, second, failure), "{second}");
            let reported = StepFailure::of(&refused(reported));
            assert_eq!(transfer.refused(&refused(second)), reported);
        }
    }

    /// A transfer whose first form the service refused.
    fn in_second_form() -> TransferRequest {
        let mut transfer = transfer(None);
        let failure = || StepFailure::new(NO_TEAM);
        assert!(transfer.in_another_form(&ServiceTraits::default(), NO_TEAM, failure));
        transfer
    }

    #[test]
    fn an_error_that_is_no_refusal_of_the_form_is_reported_itself() {
        use ErrorKind::{Forbidden, QuotaExceeded, Stopped, Unauthorized};
        for (kind, is_first) in
            [(Forbidden, true), (QuotaExceeded, false), (Stopped, false), (Unauthorized, false)]
        {
            let error = error(kind, "no");
            let expected =
                if is_first { StepFailure::new(NO_TEAM) } else { StepFailure::of(&error) };
            assert_eq!(in_second_form().refused(&error), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_refusal_is_not_about_the_form_if_the_service_accepted_others_of_the_batch() {
        let refused = || {
            let message = "manifest unknown".to_owned();
            Some(Err(RefusedSource { message, retryable: false, source: None }))
        };
        let accepted = || {
            Some(Ok(AcceptedBuild {
                build: BuildId::new("b-1").unwrap(),
                path: None,
                upload: None,
                expires_in: None,
                visibility: None,
                source: None,
            }))
        };
        for (results, reported) in [
            (vec![refused(), accepted()], "cannot transfer the image: manifest unknown"),
            (vec![refused(), refused()], NO_TEAM),
        ] {
            let assigned = Assigned { results, unassigned: Vec::new() };
            let batch = vec![in_second_form(), in_second_form()];
            let outcome = BatchOutcome::new(batch, assigned, &ServiceTraits::default());
            let StepFailure::Failed(failure) = &outcome.failed[0].1 else { panic!("no failure") };
            assert_eq!(failure.message, reported);
        }
    }

    /// A mirror of `redis:7` for the team of the credentials.
    fn transfer(visibility: Option<Visibility>) -> TransferRequest {
        let (inputs, owner) = (Inputs::new(), Owner::Team("t".to_owned()));
        TransferRequest {
            step: StepId(0),
            form: TransferForm {
                unit: "redis:7".parse().unwrap(),
                platform: Platform::Amd64,
                owner: owner.clone(),
                owner_is_set: false,
                visibility,
                registry: RegistryKind::DockerHub,
                images: vec!["redis:7".parse().unwrap()],
                custom_name: false,
                changes: FormChanges::default(),
            },
            source: "redis:7".to_owned(),
            submission: Submission {
                at: jiff::Timestamp::UNIX_EPOCH,
                fingerprint: inputs.fingerprint(),
                inputs,
                owner,
                visibility,
            },
            first_refusal: None,
            in_doubt: None,
            failures: 0,
            max_tries: 1,
            alone: false,
            result: None,
        }
    }
}
