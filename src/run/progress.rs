//! How far each step is, and what is told of all of them while a run goes on. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::kind::ImageKind;
use crate::base::name::{BuildId, ImageRef};
use crate::event::{ActiveTarget, Phase, RunEvent};
use crate::plan::{Action, Step};

/// Up to this many units at work are told of one by one.
const FEW: usize = 4;

/// A step and how far it is.
pub(super) struct Progress {
    pub(super) key: ImageRef,
    pub(super) verb: &'static str,
    pub(super) kind: Option<ImageKind>,
    pub(super) since: Duration,
    pub(super) phase: Phase,
    pub(super) build: Option<BuildId>,
    pub(super) state: Working,
}

/// Whether a step is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Working {
    /// Not yet, or no more.
    No,
    /// It waits for its turn to be asked for.
    Waiting,
    /// Yes.
    Yes,
}

impl Progress {
    /// A step that nobody works on yet.
    pub(super) fn of(step: &Step) -> Self {
        Self {
            key: step.key.clone(),
            verb: step.verb(),
            kind: match &step.action {
                Action::Create(make) => Some(make.kind),
                _ => None,
            },
            since: Duration::ZERO,
            phase: Phase::Submit,
            build: None,
            state: Working::No,
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

/// That a run goes on, and how: `done` of its steps are at their end.
pub(super) fn alive(steps: &[Progress], done: usize, now: Duration) -> RunEvent {
    let at_work = || steps.iter().filter(|step| step.state == Working::Yes);
    let mut phases: BTreeMap<Phase, usize> = BTreeMap::new();
    for step in at_work() {
        *phases.entry(step.phase).or_default() += 1;
    }
    let few = at_work().count() <= FEW;
    let shown = at_work().filter(|step| few || step.build.is_some());
    let mut units: Vec<ActiveTarget> = shown.map(|step| step.active_at(now)).collect();
    units.sort_by_key(|active| std::cmp::Reverse(active.elapsed));
    let waiting = steps.iter().filter(|step| step.state == Working::Waiting).count();
    let (phases, total) = (phases.into_iter().collect(), steps.len());
    RunEvent::Heartbeat { units, phases, waiting, done, total }
}
