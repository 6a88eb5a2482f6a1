//! Tracks how far each step is, and builds the heartbeat event. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef};
use crate::event::{ActiveTarget, Phase, RateWait, RunEvent};
use crate::plan::{Action, Step};

/// Up to this many active units, the heartbeat lists all of them.
const MAX_UNITS_LISTED: usize = 4;

/// The progress of a step.
pub(super) struct StepProgress {
    pub(super) key: ImageRef,
    pub(super) verb: &'static str,
    pub(super) kind: Option<ImageKind>,
    /// Time at which the step began, or began to wait for the transfer limit.
    pub(super) since: Duration,
    pub(super) phase: Phase,
    /// Time at which the step entered its phase.
    entered: Duration,
    /// Time in earlier phases that are a wait.
    waited: Duration,
    pub(super) build: Option<BuildId>,
    pub(super) activity: Activity,
    /// True once it was reported that the step has begun.
    pub(super) is_reported: bool,
}

/// The activity of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// The step has not begun, or has ended.
    Idle,
    /// The step waits for a rate limit.
    Waiting,
    /// The step is at work.
    Active,
}

impl StepProgress {
    /// The progress of a step that has not begun.
    pub(super) fn of(step: &Step) -> Self {
        Self {
            key: step.key.clone(),
            verb: step.verb(),
            kind: match &step.action {
                Action::Create(create) => Some(create.kind),
                _ => None,
            },
            since: Duration::ZERO,
            phase: Phase::Wait,
            entered: Duration::ZERO,
            waited: Duration::ZERO,
            build: None,
            activity: Activity::Idle,
            is_reported: false,
        }
    }

    /// Enters a phase at a time that may be a while ago, and adds the time of the phase before to the
    /// waited time if that was a wait.
    pub(super) fn enter(&mut self, phase: Phase, at: Duration) {
        if phase != self.phase {
            let at = at.max(self.entered());
            self.waited = self.waited(at);
            (self.phase, self.entered) = (phase, at);
        }
    }

    /// Returns the time at which the step entered its phase.
    fn entered(&self) -> Duration {
        self.entered.max(self.since)
    }

    /// Returns the time that the step has waited.
    pub(super) fn waited(&self, now: Duration) -> Duration {
        let current = now.saturating_sub(self.entered());
        self.waited + if self.phase.is_wait() { current } else { Duration::ZERO }
    }

    pub(super) fn active_at(&self, now: Duration) -> ActiveTarget {
        ActiveTarget {
            unit: self.key.clone(),
            action: self.verb,
            phase: self.phase,
            build: self.build.clone(),
            elapsed: now.saturating_sub(self.since),
            in_phase: now.saturating_sub(self.entered()),
        }
    }
}

/// Returns the heartbeat event of a run of which `done` steps have ended.
pub(super) fn heartbeat(
    steps: &[StepProgress],
    done: usize,
    rate_wait: Option<RateWait>,
    now: Duration,
) -> RunEvent {
    let active = || steps.iter().filter(|step| step.activity == Activity::Active);
    let mut phases: BTreeMap<Phase, usize> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.activity != Activity::Idle) {
        *phases.entry(step.phase).or_default() += 1;
    }
    let waiting = phases.remove(&Phase::Wait).unwrap_or_default();
    let limited_for = rate_wait.filter(|_| waiting > 0).and_then(|wait| wait.remaining(now));
    let list_all = active().count() <= MAX_UNITS_LISTED;
    let listed = active().filter(|step| list_all || step.build.is_some());
    let mut units: Vec<ActiveTarget> = listed.map(|step| step.active_at(now)).collect();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.elapsed));
    let (phases, total) = (phases.into_iter().collect(), steps.len());
    RunEvent::Heartbeat { units, phases, waiting, limited_for, done, total }
}
