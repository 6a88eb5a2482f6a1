//! State updates that follow from the facts alone, and from a plan's pending builds. Pure.

use std::collections::HashSet;

use super::facts::{Facts, PendingBuild, RecoveredBuild};
use super::steps::{Action, Plan, Step};
use crate::base::name::{BuildId, ImageRef};
use crate::state::{BuildOutcome, BuildStage, Entry, Record, State};

/// Returns the recovered builds and the builds that ended.
pub(super) fn refreshed(state: &State, facts: &Facts) -> Vec<Record> {
    let mut records = Vec::new();
    for (unit, entry) in &state.entries {
        let mut pending = entry.pending.as_ref().map(|pending| pending.build.clone());
        match (&entry.submitted, facts.recovered.get(unit)) {
            (Some(submission), Some(Some(recovered))) => {
                let RecoveredBuild { build, path } = recovered.clone();
                pending = Some(build.clone());
                let stage = BuildStage::Started;
                // Only today's service shows no path, and makes it an image of the platform.
                let path = path.or_else(|| submission.inputs.platform_path());
                records.push(Record::Created {
                    unit: unit.clone(),
                    kind: entry.kind,
                    platform: entry.platform,
                    pending: submission.clone().into_pending(build, path, None, stage),
                });
            }
            (Some(_), Some(None)) => records.push(Record::NotAccepted { unit: unit.clone() }),
            (Some(_) | None, _) => {}
        }
        let has_ended = |build: &BuildId| facts.builds.get(build) == Some(&PendingBuild::Ended);
        if let Some(build) = pending.filter(has_ended) {
            let error = facts.build_errors.get(&build).cloned();
            records.push(ended(unit, build, BuildOutcome::Failed, error));
        }
    }
    records
}

/// Ends builds that were never started and that the plan does not adopt: nobody will start them.
pub(super) fn superseded(plan: &Plan, state: &State, facts: &Facts) -> Vec<Record> {
    let adopted = |step: &Step| match &step.action {
        Action::Adopt { build, .. } => Some(build.clone()),
        _ => None,
    };
    let adopted: HashSet<BuildId> = plan.steps.iter().filter_map(adopted).collect();
    let superseded = |(unit, entry): (&ImageRef, &Entry)| {
        let build = entry.pending.as_ref()?.build.clone();
        let not_started = facts.builds.get(&build) == Some(&PendingBuild::NotStarted);
        (not_started && !adopted.contains(&build))
            .then(|| ended(unit, build, BuildOutcome::Cancelled, None))
    };
    state.entries.iter().filter_map(superseded).collect()
}

fn ended(unit: &ImageRef, build: BuildId, outcome: BuildOutcome, error: Option<String>) -> Record {
    Record::Ended {
        unit: unit.clone(),
        build,
        outcome,
        error,
        path: None,
        image: None,
        at: None,
        seconds: None,
    }
}
