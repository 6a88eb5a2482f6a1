//! Events of a run while it goes on, and its summary. Plain values: the runner creates them, the
//! reporters turn them into text or JSON.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use crate::base::image_path::ImagePath;
use crate::base::limit::{Class, Limit};
use crate::base::name::{BuildId, ImageRef};
use crate::http::Notice;
use crate::plan::PartialPlan;

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// Work on a target began.
    Started {
        /// The target.
        unit: ImageRef,
        /// The plan's verb for the step: `build`, `mirror`, `adopt`, `update`, `forget`, `delete`.
        action: &'static str,
    },
    /// A target entered another phase.
    Progress(ActiveTarget),
    /// The run is alive: sent every ten seconds.
    Heartbeat {
        /// The active targets with a build at the service, the longest running first. If only a
        /// few targets are active, all of them.
        units: Vec<ActiveTarget>,
        /// Number of active targets in each other phase.
        phases: Vec<(Phase, usize)>,
        /// Number of targets in [`Phase::Wait`], which `phases` leaves out.
        waiting: usize,
        /// Time until the rate limit admits the next request, if requests wait for it.
        limited_for: Option<Duration>,
        /// Number of finished targets, failed and skipped ones included.
        done: usize,
        /// Number of targets of the run.
        total: usize,
    },
    /// A target is done.
    Completed {
        /// The target.
        unit: ImageRef,
        /// The plan's verb for the step.
        action: &'static str,
        /// The build, if the step had one.
        build: Option<BuildId>,
        /// Full path of the image, if the service named it.
        path: Option<ImagePath>,
        /// Time since work on the target began.
        elapsed: Duration,
        /// Part of `elapsed` that the target waited: see [`Phase::is_wait`].
        waited: Duration,
    },
    /// A target failed.
    Failed {
        /// The failure.
        failure: TargetFailure,
        /// The plan's verb for the step.
        action: &'static str,
        /// Time since work on the target began.
        elapsed: Duration,
        /// Part of `elapsed` that the target waited: see [`Phase::is_wait`].
        waited: Duration,
    },
    /// A target was not started.
    Skipped {
        /// The target.
        unit: ImageRef,
        /// The cause.
        reason: SkipReason,
    },
    /// A request is retried or waits for a rate limit.
    Notice {
        /// The target that the request is for; `None` if it is for several.
        unit: Option<ImageRef>,
        /// The notice.
        notice: Notice,
    },
    /// From here on, no new work starts.
    Stopping {
        /// The cause.
        reason: StopReason,
        /// Number of targets that are still active.
        active: usize,
    },
}

impl RunEvent {
    /// Returns the event of a run that checks builds and transfers, and makes no image.
    #[must_use]
    pub fn of_check(self) -> Self {
        let check = |action| match action {
            "build" | "mirror" | "adopt" => "check",
            other => other,
        };
        match self {
            Self::Started { unit, action } => Self::Started { unit, action: check(action) },
            Self::Completed { unit, action, build, path, elapsed, waited } => {
                Self::Completed { unit, action: check(action), build, path, elapsed, waited }
            }
            other => other,
        }
    }
}

/// A target that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveTarget {
    /// The target.
    pub unit: ImageRef,
    /// The plan's verb for the step.
    pub action: &'static str,
    /// The current phase.
    pub phase: Phase,
    /// The build, once the service has accepted one.
    pub build: Option<BuildId>,
    /// Time since work on the target began.
    pub elapsed: Duration,
    /// Time since the target entered the phase.
    pub in_phase: Duration,
}

/// Phase of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The target waits for a request that the rate limit admits, or until contexts of other targets
    /// are packed and uploaded.
    Wait,
    /// The context is packed.
    Package,
    /// A request was sent that initiates or starts the build.
    Submit,
    /// The context is uploaded.
    Upload,
    /// The service has the build queued.
    Queued,
    /// The service builds or transfers the image.
    Building,
    /// The image is changed without a build.
    Update,
    /// The image is deleted.
    Delete,
}

impl Phase {
    /// True if nobody works on the target: it waits here, or in the queue of the service.
    pub fn is_wait(self) -> bool {
        matches!(self, Self::Wait | Self::Queued)
    }
}

/// The wait for a rate limit that the last [`Notice::RateWait`] reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateWait {
    /// Class of the waiting requests: [`Class::Initiate`], [`Class::Start`] or [`Class::Images`].
    pub class: Class,
    /// The limit in force.
    pub limit: Limit,
    /// Time at which the next request is admitted, since the start of the run.
    pub until: Duration,
    /// Time at which the next notice is due. Notices come about once per window.
    expires: Duration,
}

impl RateWait {
    /// Returns the wait of a notice that came at `now`, if requests that create images wait.
    #[must_use]
    pub(crate) fn of(notice: &Notice, now: Duration) -> Option<Self> {
        match notice {
            Notice::RateWait {
                class: class @ (Class::Initiate | Class::Start | Class::Images),
                limit,
                wait,
            } => Some(Self {
                class: *class,
                limit: *limit,
                until: now + *wait,
                expires: now + limit.window.max(*wait),
            }),
            _ => None,
        }
    }

    /// Returns the time until the next request is admitted. `None` once the wait is over.
    #[must_use]
    pub(crate) fn remaining(self, now: Duration) -> Option<Duration> {
        (now < self.expires).then(|| self.until.saturating_sub(now))
    }
}

/// Cause of a target that was not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum SkipReason {
    /// A target that it depends on failed.
    DependencyFailed {
        /// The target that failed itself; between the two there may be others that were skipped.
        failed: ImageRef,
    },
    /// The user stopped the run.
    Interrupted,
    /// The run stopped because of an error that every target would meet, or at its timeout.
    Stopped,
}

/// Cause of a stop: no new work starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The user sent a signal.
    Interrupted(Signal),
    /// An error that every other target would meet as well.
    Error(String),
    /// The timeout of the run, which is this long.
    TimedOut(Duration),
}

/// Signal that stops a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// A target that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFailure {
    /// The target.
    pub unit: ImageRef,
    /// The phase in which it failed.
    pub phase: Phase,
    /// The error.
    pub message: String,
    /// Advice to fix it.
    pub help: Option<String>,
    /// The build, if the service accepted one.
    pub build: Option<BuildId>,
    /// True if the build continues at the service, so that the next run adopts it.
    pub pending: bool,
}

/// Result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of targets built.
    pub built: usize,
    /// Number of targets mirrored.
    pub mirrored: usize,
    /// Number of targets adopted whose build completed.
    pub adopted: usize,
    /// Number of targets that were checked instead of built or mirrored.
    pub checked: usize,
    /// Number of targets changed without a build.
    pub updated: usize,
    /// Number of targets forgotten.
    pub forgotten: usize,
    /// Number of targets whose image was deleted.
    pub deleted: usize,
    /// Targets that failed, in the order of their failures.
    pub failures: Vec<TargetFailure>,
    /// Targets that were not started, in the plan's order.
    pub skipped: Vec<(ImageRef, SkipReason)>,
    /// Cause of the stop, if the run stopped before the end of the plan.
    pub stopped: Option<StopReason>,
    /// Number of requests that were retried.
    pub retries: usize,
    /// Size of the selection, if the plan was partial.
    pub partial: Option<PartialPlan>,
}

impl Summary {
    /// Returns the result of a run that checked its builds and transfers, and made no image.
    #[must_use]
    pub fn of_check(self) -> Self {
        let checked = self.built + self.mirrored + self.adopted;
        Self { checked, built: 0, mirrored: 0, adopted: 0, ..self }
    }

    /// Returns the targets that failed and because of which others were skipped.
    pub(crate) fn causes(&self) -> HashSet<&ImageRef> {
        let reasons = self.skipped.iter().map(|(_, reason)| reason);
        let causes = reasons.filter_map(|reason| match reason {
            SkipReason::DependencyFailed { failed } => Some(failed),
            SkipReason::Interrupted | SkipReason::Stopped => None,
        });
        causes.collect()
    }

    /// Number of targets that are done.
    pub fn done(&self) -> usize {
        let made = self.built + self.mirrored + self.adopted + self.checked;
        made + self.updated + self.forgotten + self.deleted
    }

    /// True if every target is done.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.skipped.is_empty()
    }
}
