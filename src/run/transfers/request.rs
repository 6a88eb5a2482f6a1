//! One transfer on its way through the line, and what became of it. Does nothing itself.

use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{Booked, Group, Queued};
use crate::api::{Accepted, ApiError, ErrorKind};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Platform, Visibility};
use crate::plan::{RequestInDoubt, StepId};
use crate::run::dispatch::StepFailure;
use crate::run::step::{MakeJob, api_failure};
use crate::state::{BuildStage, Record, Submission};

/// The longest wait before a transfer is asked for again.
const LONGEST: Duration = Duration::from_secs(60);

/// One transfer that is asked for.
pub(in crate::run) struct Ask {
    pub(in crate::run) step: StepId,
    pub(in crate::run) unit: ImageRef,
    pub(in crate::run) platform: Platform,
    pub(in crate::run) source: String,
    pub(in crate::run) visibility: Option<Visibility>,
    pub(in crate::run) submission: Submission,
    /// It does not land where its source says.
    pub(in crate::run) own_name: bool,
    /// A request of an earlier run of which there may be a build.
    pub(in crate::run) unanswered: Option<RequestInDoubt>,
    /// How often it was asked for in vain. To wait for a rate is not counted.
    pub(in crate::run) failures: u32,
    /// How often it is asked for at most.
    pub(in crate::run) most: u32,
    /// A request with others was refused: it may not be this one's fault.
    pub(in crate::run) alone: bool,
    pub(in crate::run) reply: Option<oneshot::Sender<Answer>>,
}

/// What whoever asked is told: the build, once it is on record.
pub(in crate::run) type Answer = Result<Accepted, StepFailure>;

impl Ask {
    pub(in crate::run) fn new(
        step: StepId,
        unit: &ImageRef,
        job: &MakeJob,
        source: String,
        own_name: bool,
    ) -> Self {
        Self {
            step,
            unit: unit.clone(),
            platform: job.platform,
            source,
            visibility: job.visibility,
            submission: job.submission(),
            own_name,
            unanswered: job.make.in_doubt,
            failures: 0,
            most: 1,
            alone: false,
            reply: None,
        }
    }

    /// Whether it may be asked for once more after another failure.
    pub(in crate::run) fn may_fail_again(&self) -> bool {
        self.failures + 1 < self.most
    }

    /// The same after another failure.
    pub(in crate::run) fn failed(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }

    /// How long it waits before it is asked for again: a second, and twice as long with each failure.
    pub(in crate::run) fn backoff(&self) -> Duration {
        Duration::from_secs(1 << self.failures.min(6)).min(LONGEST)
    }

    /// Tells whoever asked.
    pub(in crate::run) fn answer(self, answer: Answer) {
        if let Some(reply) = self.reply {
            // Whoever asked may have left; what happened is on record.
            let _ = reply.send(answer);
        }
    }

    /// The record of a build that was accepted for it.
    pub(in crate::run) fn created(&self, accepted: &Accepted) -> Record {
        let (build, path) = (accepted.build.clone(), accepted.path.clone());
        let submission = self.submission.clone();
        // A transfer has all that it needs.
        let pending =
            submission.into_pending(build, path, accepted.visibility, BuildStage::Started);
        let (unit, platform) = (self.unit.clone(), self.platform);
        Record::Created { unit, kind: ImageKind::Mirror, platform, pending }
    }
}

impl Queued for Ask {
    fn group(&self) -> Option<Group> {
        let alone = self.own_name || self.alone || self.unanswered.is_some();
        (!alone).then_some(Group { platform: self.platform, visibility: self.visibility })
    }

    fn length(&self) -> usize {
        self.source.len()
    }
}

/// What became of each of a request's transfers.
#[derive(Default)]
pub(in crate::run) struct Sorted {
    pub(in crate::run) accepted: Vec<(Ask, Accepted)>,
    pub(in crate::run) failed: Vec<(Ask, StepFailure)>,
    pub(in crate::run) again: Vec<Ask>,
    /// The answer does not speak of them.
    pub(in crate::run) unsaid: Vec<Ask>,
    /// Builds of the answer that are nobody's so far.
    pub(in crate::run) spare: Vec<BuildId>,
}

impl Sorted {
    /// What each part of an answer means for its transfer.
    pub(in crate::run) fn of(batch: Vec<Ask>, booked: Booked) -> Self {
        let mut sorted = Self { spare: booked.spare, ..Self::default() };
        for (ask, part) in batch.into_iter().zip(booked.parts) {
            match part {
                Some(Ok(accepted)) => sorted.accepted.push((ask, accepted)),
                None => sorted.unsaid.push(ask),
                Some(Err(refused)) if refused.is_rate() => sorted.again.push(ask),
                Some(Err(refused))
                    if refused.retryable && !refused.is_quota() && ask.may_fail_again() =>
                {
                    sorted.again.push(ask.failed());
                }
                Some(Err(refused)) => {
                    let kind =
                        if refused.is_quota() { ErrorKind::Quota } else { ErrorKind::Rejected };
                    let error = ApiError::new("transfer the image", kind, refused.message);
                    sorted.failed.push((ask, api_failure(&error, None)));
                }
            }
        }
        sorted
    }
}
