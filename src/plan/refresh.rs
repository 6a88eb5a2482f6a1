//! What the state takes in of the facts before it is planned with, and of builds that a plan has no
//! use for. Pure.

use std::collections::HashSet;

use super::facts::{Facts, PendingBuild, RecoveredBuild};
use super::{Action, Plan, Step};
use crate::base::name::{BuildId, ImageRef};
use crate::state::{BuildOutcome, BuildStage, Entry, Record, State};

/// What the survey refreshed that the state does not know: builds that were found, and builds that
/// are over.
pub(super) fn refreshed(state: &State, facts: &Facts) -> Vec<Record> {
    let mut records = Vec::new();
    for (unit, entry) in &state.entries {
        let mut pending = entry.pending.as_ref().map(|pending| pending.build.clone());
        match (&entry.submitted, facts.recovered.get(unit)) {
            (Some(submission), Some(Some(found))) => {
                let RecoveredBuild { build, path } = found.clone();
                pending = Some(build.clone());
                let found = submission.clone().into_pending(build, path, None, BuildStage::Started);
                let (kind, platform) = (entry.kind, entry.platform);
                records.push(Record::Created {
                    unit: unit.clone(),
                    kind,
                    platform,
                    pending: found,
                });
            }
            (Some(_), Some(None)) => records.push(Record::NotAccepted { unit: unit.clone() }),
            (Some(_) | None, _) => {}
        }
        let over = |build: &BuildId| facts.builds.get(build) == Some(&PendingBuild::Ended);
        if let Some(build) = pending.filter(over) {
            let (unit, outcome) = (unit.clone(), BuildOutcome::Failed);
            records.push(Record::Ended { unit, build, outcome, path: None, at: None });
        }
    }
    records
}

/// Builds that were never started, and that a plan has no use for: nobody will start them.
pub(super) fn superseded(plan: &Plan, state: &State, facts: &Facts) -> Vec<Record> {
    let adopted = |step: &Step| match &step.action {
        Action::Adopt { build, .. } => Some(build.clone()),
        _ => None,
    };
    let adopted: HashSet<BuildId> = plan.steps.iter().filter_map(adopted).collect();
    let ended = |(unit, entry): (&ImageRef, &Entry)| {
        let build = entry.pending.as_ref()?.build.clone();
        let unstarted = facts.builds.get(&build) == Some(&PendingBuild::NotStarted);
        let (unit, outcome) = (unit.clone(), BuildOutcome::Cancelled);
        (unstarted && !adopted.contains(&build)).then_some(Record::Ended {
            unit,
            build,
            outcome,
            path: None,
            at: None,
        })
    };
    state.entries.iter().filter_map(ended).collect()
}
