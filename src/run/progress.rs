//! Tracks how far each step is, and builds the heartbeat event. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef};
use crate::event::{ActiveTarget, Phase, RunEvent};
use crate::plan::{Action, Step};

/// Up to this many active units, the heartbeat lists all of them.
const MAX_UNITS_LISTED: usize = 4;

/// The progress of a step.
pub(super) struct StepProgress {
    pub(super) key: ImageRef,
    pub(super) verb: &'static str,
    pub(super) kind: Option<ImageKind>,
    pub(super) since: Duration,
    pub(super) phase: Phase,
    pub(super) build: Option<BuildId>,
    pub(super) activity: Activity,
}

/// The activity of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    /// The step has not begun, or has ended.
    Idle,
    /// The step waits for the service's transfer limit.
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
            phase: Phase::Submit,
            build: None,
            activity: Activity::Idle,
        }
    }

    pub(super) fn active_at(&self, now: Duration) -> ActiveTarget {
        ActiveTarget {
            unit: self.key.clone(),
            action: self.verb,
            phase: self.phase,
            build: self.build.clone(),
            elapsed: now.saturating_sub(self.since),
        }
    }
}

/// Returns the heartbeat event of a run of which `done` steps have ended.
pub(super) fn heartbeat(steps: &[StepProgress], done: usize, now: Duration) -> RunEvent {
    let active = || steps.iter().filter(|step| step.activity == Activity::Active);
    let mut phases: BTreeMap<Phase, usize> = BTreeMap::new();
    for step in active() {
        *phases.entry(step.phase).or_default() += 1;
    }
    let list_all = active().count() <= MAX_UNITS_LISTED;
    let listed = active().filter(|step| list_all || step.build.is_some());
    let mut units: Vec<ActiveTarget> = listed.map(|step| step.active_at(now)).collect();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.elapsed));
    let waiting = steps.iter().filter(|step| step.activity == Activity::Waiting).count();
    let (phases, total) = (phases.into_iter().collect(), steps.len());
    RunEvent::Heartbeat { units, phases, waiting, done, total }
}
