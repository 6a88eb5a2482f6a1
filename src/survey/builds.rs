//! Asks the service how pending builds are, and whether it took requests that it never answered.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::note;
use crate::api::poll::{PollState, poll_builds};
use crate::api::recover::{LostRequest, RecoveryResult, recover_builds};
use crate::api::{BuildProgress, Client, ErrorKind, RemoteBuild};
use crate::base::name::{BuildId, ImageRef};
use crate::plan::Facts;
use crate::plan::facts::{PendingBuild, RecoveredBuild};
use crate::state::{BuildStage, Pending, State, Submission};

/// Asks how pending builds are, so that a plan does not adopt one that has failed. Where the
/// service cannot be asked, the plan says so and goes on with what the lockfile has.
pub(super) async fn ask(state: &State, client: &Client, facts: &mut Facts) {
    let pending: HashMap<&BuildId, &Pending> = state
        .entries
        .values()
        .filter_map(|entry| entry.pending.as_ref())
        .map(|pending| (&pending.build, pending))
        .collect();
    let builds: Vec<BuildId> = pending.keys().map(|&build| build.clone()).collect();
    let looks = poll_builds(client, &builds, &mut PollState::default()).await;
    for (build, answer) in looks {
        let known = match answer {
            Ok(view) => known(&view, pending.get(&build).map(|pending| pending.stage)),
            Err(error) if error.kind == ErrorKind::NotFound => PendingBuild::Ended,
            Err(error) => {
                note(facts, format!("cannot ask for a pending build: {error}"));
                continue;
            }
        };
        facts.builds.insert(build, known);
    }
    find(state, client, facts).await;
}

/// Looks for builds of what was asked for and never answered.
async fn find(state: &State, client: &Client, facts: &mut Facts) {
    let lost: Vec<(&ImageRef, &Submission)> = state
        .entries
        .iter()
        .filter_map(|(unit, entry)| Some((unit, entry.submitted.as_ref()?)))
        .collect();
    if lost.is_empty() {
        return;
    }
    let known: HashSet<BuildId> =
        state.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
    let wanted: Vec<LostRequest> =
        lost.iter().map(|(unit, submission)| wanted(unit, submission)).collect();
    match recover_builds(client, &wanted, &known).await {
        Ok(answers) => {
            for ((unit, _), answer) in lost.into_iter().zip(answers) {
                let found = match answer {
                    RecoveryResult::NotAccepted => None,
                    RecoveryResult::Unknown => continue,
                    RecoveryResult::Accepted(view) => {
                        let Some(build) = view.build.clone() else { continue };
                        let known = self::known(&view, Some(BuildStage::Started));
                        facts.builds.insert(build.clone(), known);
                        Some(RecoveredBuild { build, path: view.path })
                    }
                };
                facts.submissions.insert(unit.clone(), found);
            }
        }
        Err(error) => note(facts, format!("cannot look for what was asked for: {error}")),
    }
}

fn wanted(unit: &ImageRef, submission: &Submission) -> LostRequest {
    LostRequest {
        name: unit.name.to_string(),
        tag: unit.tag.to_string(),
        owner: submission.owner.clone(),
        since: submission.at,
    }
}

/// What an answer means for a build that was at this stage.
fn known(view: &RemoteBuild, stage: Option<BuildStage>) -> PendingBuild {
    match view.progress {
        // A death between the start and the record of it leaves a build that runs.
        _ if stage == Some(BuildStage::Created) && view.waits_for_start() => PendingBuild::Ended,
        // One that is pending may be in line after its start. To start it once more does no harm,
        // and to wait for it, where it was not, would never end.
        _ if stage == Some(BuildStage::Uploaded) && view.waits_for_start() => {
            PendingBuild::NotStarted
        }
        BuildProgress::Running(_) | BuildProgress::Completed => {
            let since = view.started.or(view.created);
            let age = since.map(|since| Timestamp::now().duration_since(since));
            // The service's clock may be ahead of ours.
            PendingBuild::Running {
                age: age.map(|age| Duration::try_from(age).unwrap_or_default()),
            }
        }
        BuildProgress::Failed(_) | BuildProgress::Cancelled => PendingBuild::Ended,
    }
}
