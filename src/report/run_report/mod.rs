//! Reports of a run, each a text for a file: a page for people ([`html()`]), [`markdown()`], and for programs
//! [`junit()`] and [`metadata()`]. Every value is escaped, and texts of builds have a limited length. Pure.

mod dependencies;
mod escape;
mod failures;
mod html;
mod junit;
mod markdown;
mod metadata;
mod requests;
#[cfg(test)]
mod tests;

pub(crate) use self::html::html;
pub(crate) use self::junit::junit;
pub(crate) use self::markdown::markdown;
pub(crate) use self::metadata::metadata;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::SummaryView;
use super::timeline::{PhaseSpan, Timeline};
use super::words::skip_reason;
use crate::base::limit::{Class, Limit};
use crate::base::name::{BuildId, ImageRef};
use crate::base::text::exact_duration;
use crate::event::{Signal, SkipReason, StopReason, TargetFailure};
use crate::manifest::Workspace;
use crate::plan::{Plan, Step};
use crate::state::{Built, State};

/// A run that has ended, with everything that its reports need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunView<'a> {
    /// The plan that was carried out.
    pub plan: &'a Plan,
    /// The manifest of the plan.
    pub workspace: &'a Workspace,
    /// The recorded state after the run.
    pub state: &'a State,
    /// The phases and the end of each target.
    pub timeline: &'a Timeline,
    /// The result.
    pub result: SummaryView<'a>,
    /// URL of the service, or `local`.
    pub service: &'a str,
    /// The rate limit of each class that has one.
    pub limits: &'a [(Class, Limit)],
    /// Begin of the run.
    pub began: Timestamp,
    /// True if builds were only checked.
    pub only_checks: bool,
    /// First line of the error because of which the command fails, whatever became of the targets.
    pub error: Option<&'a str>,
}

/// The end of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome<'a> {
    /// Its step is done.
    Done,
    /// Its step failed; or its build continues, which the failure says.
    Failed(&'a TargetFailure),
    /// Its step was not started, or had nothing in progress when the run was aborted.
    Skipped(&'a SkipReason),
}

/// A target of a run.
#[derive(Debug)]
struct TargetRow<'a> {
    step: &'a Step,
    /// The verb of the step.
    action: &'static str,
    /// The build, if the service accepted one.
    build: Option<&'a BuildId>,
    /// The phases in order; empty for a target that was not started.
    spans: Vec<PhaseSpan>,
    outcome: Outcome<'a>,
}

impl Outcome<'_> {
    /// Returns the outcome as JSON and the classes of the page write it.
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed(failure) if failure.pending => "pending",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl TargetRow<'_> {
    /// Returns the time from the first phase to the end.
    fn elapsed(&self) -> Duration {
        self.spans.iter().map(PhaseSpan::time).sum()
    }

    /// Returns the part of the time that the target waited.
    fn waited(&self) -> Duration {
        let waits = self.spans.iter().filter(|span| span.phase.is_wait());
        waits.map(PhaseSpan::time).sum()
    }
}

impl<'a> RunView<'a> {
    /// Returns the targets with a step, in the order of the plan.
    fn rows(&self) -> Vec<TargetRow<'a>> {
        let summary = self.result.summary;
        let seen: HashMap<&ImageRef, _> =
            self.timeline.targets().iter().map(|target| (&target.unit, target)).collect();
        let failures = summary.failures.iter().map(|it| (&it.unit, Outcome::Failed(it)));
        let skipped = summary.skipped.iter().map(|(unit, why)| (unit, Outcome::Skipped(why)));
        let outcomes: HashMap<&ImageRef, Outcome<'a>> = failures.chain(skipped).collect();
        let row = |step: &'a Step| {
            let target = seen.get(&step.key);
            let mut spans = target.map(|it| it.spans.clone()).unwrap_or_default();
            // The last phase of a target that the run left ends with the run.
            let left = target.is_some_and(|target| target.end.is_none());
            if let Some(last) = spans.last_mut().filter(|_| left) {
                last.to = self.result.elapsed.max(last.from);
            }
            let action = target.map(|it| it.action).filter(|action| !action.is_empty());
            TargetRow {
                step,
                action: action.unwrap_or_else(|| step.verb()),
                build: target.and_then(|target| target.build.as_ref()),
                spans,
                outcome: outcomes.get(&step.key).copied().unwrap_or(Outcome::Done),
            }
        };
        self.plan.steps.iter().map(row).collect()
    }

    /// Returns the targets without a step, with what is recorded of their builds. None if the plan did
    /// not cover the whole manifest.
    fn unchanged(&self) -> Vec<(&'a ImageRef, &'a Built)> {
        if self.plan.partial.is_some() {
            return Vec::new();
        }
        let planned: HashSet<&ImageRef> = self.plan.steps.iter().map(|step| &step.key).collect();
        let keys = self.workspace.units.iter().map(|unit| &unit.key);
        let keys = keys.filter(|key| !planned.contains(key));
        keys.filter_map(|key| Some((key, self.built(key)?))).collect()
    }

    /// Returns what is recorded of the build of a target.
    fn built(&self, key: &ImageRef) -> Option<&'a Built> {
        self.state.entries.get(key)?.built.as_ref()
    }

    /// Returns the error of the whole run, which is that of no target.
    fn run_error(&self) -> Option<String> {
        let stopped = match self.result.summary.stopped {
            Some(StopReason::Error(_) | StopReason::TimedOut(_)) => self.stopped(),
            Some(StopReason::Interrupted(_)) | None => None,
        };
        self.error.map(str::to_owned).or(stopped)
    }

    /// Returns the sentences on the end of the run.
    fn notes(&self) -> Vec<String> {
        let error = self.error.map(|error| format!("The command failed: {error}"));
        self.stopped().into_iter().chain(error).collect()
    }

    /// Returns the cause of a run that stopped before its end.
    fn stopped(&self) -> Option<String> {
        Some(match self.result.summary.stopped.as_ref()? {
            StopReason::Interrupted(Signal::Interrupt) => "Stopped by Ctrl-C".to_owned(),
            StopReason::Interrupted(Signal::Terminate) => "Stopped by SIGTERM".to_owned(),
            StopReason::Error(error) => format!("Stopped by an error: {error}"),
            StopReason::TimedOut(timeout) => {
                format!("Stopped at its timeout of {}", exact_duration(*timeout))
            }
        })
    }

    /// Returns the skipped targets by cause, in the order of the plan.
    fn skipped_by_cause(&self) -> Vec<(String, Vec<&'a ImageRef>)> {
        let mut groups: Vec<(&SkipReason, Vec<&ImageRef>)> = Vec::new();
        for (unit, reason) in &self.result.summary.skipped {
            match groups.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, units)) => units.push(unit),
                None => groups.push((reason, vec![unit])),
            }
        }
        groups.into_iter().map(|(reason, units)| (skip_reason(reason), units)).collect()
    }
}

/// Returns a time in seconds, exact to the millisecond.
fn seconds(time: Duration) -> f64 {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
}
