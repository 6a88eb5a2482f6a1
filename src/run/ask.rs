//! One transfer on its way through the line, and what became of it. Does nothing itself.

use std::time::Duration;

use tokio::sync::oneshot;

use super::booking::{Booked, Group, Queued};
use super::dispatch::StepFailure;
use super::step::{MakeJob, api_failure};
use crate::api::{Accepted, ApiError, ErrorKind};
use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef, Platform, Visibility};
use crate::plan::{StepId, Unanswered};
use crate::state::{BuildStage, Record, Submission};

/// The longest wait before a transfer is asked for again.
const LONGEST: Duration = Duration::from_secs(60);

/// One transfer that is asked for.
pub(super) struct Ask {
    pub(super) step: StepId,
    pub(super) unit: ImageRef,
    pub(super) platform: Platform,
    pub(super) source: String,
    pub(super) visibility: Option<Visibility>,
    pub(super) submission: Submission,
    /// It does not land where its source says.
    pub(super) own_name: bool,
    /// A request of an earlier run of which there may be a build.
    pub(super) unanswered: Option<Unanswered>,
    /// How often it was asked for in vain. To wait for a rate is not counted.
    pub(super) failures: u32,
    /// How often it is asked for at most.
    pub(super) most: u32,
    /// A request with others was refused: it may not be this one's fault.
    pub(super) alone: bool,
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

/// What whoever asked is told: the build, once it is on record.
pub(super) type Answer = Result<Accepted, StepFailure>;

impl Ask {
    pub(super) fn new(
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
            unanswered: job.make.unanswered,
            failures: 0,
            most: 1,
            alone: false,
            reply: None,
        }
    }

    /// Whether it may be asked for once more after another failure.
    pub(super) fn may_fail_again(&self) -> bool {
        self.failures + 1 < self.most
    }

    /// The same after another failure.
    pub(super) fn failed(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }

    /// How long it waits before it is asked for again: a second, and twice as long with each failure.
    pub(super) fn backoff(&self) -> Duration {
        Duration::from_secs(1 << self.failures.min(6)).min(LONGEST)
    }

    /// Tells whoever asked.
    pub(super) fn answer(self, answer: Answer) {
        if let Some(reply) = self.reply {
            // Whoever asked may have left; what happened is on record.
            let _ = reply.send(answer);
        }
    }

    /// The record of a build that was accepted for it.
    pub(super) fn created(&self, accepted: &Accepted) -> Record {
        let (build, path) = (accepted.build.clone(), accepted.path.clone());
        let submission = self.submission.clone();
        // A transfer has all that it needs.
        let pending = submission.accepted(build, path, accepted.visibility, BuildStage::Started);
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
pub(super) struct Sorted {
    pub(super) accepted: Vec<(Ask, Accepted)>,
    pub(super) failed: Vec<(Ask, StepFailure)>,
    pub(super) again: Vec<Ask>,
    /// The answer does not speak of them.
    pub(super) unsaid: Vec<Ask>,
    /// Builds of the answer that are nobody's so far.
    pub(super) spare: Vec<BuildId>,
}

impl Sorted {
    /// What each part of an answer means for its transfer.
    pub(super) fn of(batch: Vec<Ask>, booked: Booked) -> Self {
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
