//! What is told while a run goes on, and how it ended. Plain values: the runner makes them, the
//! reporters put them into words or JSON.

use std::time::Duration;

use serde::Serialize;

use crate::base::name::{BuildId, ImageRef};
use crate::http::Notice;
use crate::plan::PartialPlan;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// Work on a unit began.
    Started {
        /// The unit.
        unit: ImageRef,
        /// The plan's word for what is done.
        action: &'static str,
    },
    /// A unit came to another phase.
    Progress(ActiveTarget),
    /// The run lives: told every ten seconds.
    Heartbeat {
        /// The units of which the service has a build, the longest first; where there are only a
        /// few at work, all of these.
        units: Vec<ActiveTarget>,
        /// How many are at work in each phase.
        phases: Vec<(Phase, usize)>,
        /// How many wait for a turn of the service's limit of transfers.
        waiting: usize,
        /// Units that ended, well or not.
        done: usize,
        /// Units in all.
        total: usize,
    },
    /// A unit is done.
    Completed {
        /// The unit.
        unit: ImageRef,
        /// The plan's word for what was done.
        action: &'static str,
        /// The build, where there was one.
        build: Option<BuildId>,
        /// Where the image is, where that is known.
        path: Option<String>,
        /// Since work on the unit began.
        elapsed: Duration,
    },
    /// A unit could not be done.
    Failed {
        /// The failure.
        failure: TargetFailure,
        /// The plan's word for what was tried.
        action: &'static str,
        /// Since work on the unit began.
        elapsed: Duration,
    },
    /// A unit was not begun.
    Skipped {
        /// The unit.
        unit: ImageRef,
        /// Why.
        reason: SkipReason,
    },
    /// A request is retried or waits for a rate limit.
    Notice {
        /// The unit that the request is for; `None` if it is for several.
        unit: Option<ImageRef>,
        /// The notice.
        notice: Notice,
    },
    /// No new work is begun from here on.
    Stopping {
        /// Why.
        reason: StopReason,
        /// How many units are still being worked on.
        active: usize,
    },
}

/// A unit that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveTarget {
    /// The unit.
    pub unit: ImageRef,
    /// The plan's word for what is done.
    pub action: &'static str,
    /// The phase.
    pub phase: Phase,
    /// The build, once there is one.
    pub build: Option<BuildId>,
    /// Since work on the unit began.
    pub elapsed: Duration,
}

/// Where a unit is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its context is packed.
    Package,
    /// It waits for its turn at the service, or the service answers.
    Submit,
    /// Its context is sent.
    Upload,
    /// The service has it and has not begun.
    Queued,
    /// The service builds or transfers it.
    Building,
    /// It is changed without a build.
    Update,
    /// It is deleted.
    Delete,
}

/// Why a unit was not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum SkipReason {
    /// One that it needs failed.
    DependencyFailed {
        /// The one that failed by itself.
        failed: ImageRef,
    },
    /// The run was stopped by the user.
    Interrupted,
    /// The run was stopped by an error that all would meet, or by its timeout.
    Stopped,
}

/// Why no new work is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The user asked for it: Ctrl-C, or SIGTERM.
    Interrupted(Signal),
    /// An error that every other unit would meet as well.
    Error(String),
    /// The run was given this long.
    TimedOut(Duration),
}

/// How the user asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// A unit that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFailure {
    /// The unit.
    pub unit: ImageRef,
    /// In which phase.
    pub phase: Phase,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The build, where there is one.
    pub build: Option<BuildId>,
    /// Whether its build goes on and the next run waits for it.
    pub pending: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Units built.
    pub built: usize,
    /// Units mirrored.
    pub mirrored: usize,
    /// Units that were adopted and completed.
    pub adopted: usize,
    /// Units changed without a build.
    pub updated: usize,
    /// Units forgotten.
    pub forgotten: usize,
    /// Units whose image was deleted.
    pub deleted: usize,
    /// Units that could not be done, in the order in which they failed.
    pub failures: Vec<TargetFailure>,
    /// Units that were not begun, and why, in the plan's order.
    pub skipped: Vec<(ImageRef, SkipReason)>,
    /// Why the run began no new work, where it did not.
    pub stopped: Option<StopReason>,
    /// Requests that were sent again.
    pub retries: usize,
    /// What of the whole plan was to be done, where that was a part.
    pub partial: Option<PartialPlan>,
}

impl Summary {
    /// Units that were done.
    pub fn done(&self) -> usize {
        self.built + self.mirrored + self.adopted + self.updated + self.forgotten + self.deleted
    }

    /// Whether everything was done.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty() && self.skipped.is_empty()
    }
}
