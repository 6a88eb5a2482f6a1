//! Queries the service for pending builds and for requests in doubt.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::api::poll::{PollState, poll_builds};
use crate::api::recover::{LostRequest, RecoveryResult, possible_images, recover_builds};
use crate::api::{ApiError, BuildProgress, Client, ErrorKind, RemoteBuild};
use crate::base::name::{BuildId, ImageRef};
use crate::plan::Facts;
use crate::plan::facts::{PendingBuild, RecoveredBuild};
use crate::state::{BuildStage, Pending, State, Submission};

/// Adds the state of pending builds to the facts, so that a plan adopts no build that has failed.
///
/// # Errors
///
/// Fails if the service refuses the API key or cannot be reached. Any other error is a note, and the
/// plan relies on the lockfile.
pub(super) async fn query(
    state: &State,
    client: &Client,
    facts: &mut Facts,
) -> Result<(), ApiError> {
    let pending: HashMap<&BuildId, &Pending> = state
        .entries
        .values()
        .filter_map(|entry| entry.pending.as_ref())
        .map(|pending| (&pending.build, pending))
        .collect();
    let builds: Vec<BuildId> = pending.keys().map(|&build| build.clone()).collect();
    facts.asked |= !builds.is_empty();
    let answers = poll_builds(client, &builds, &mut PollState::default()).await;
    for (build, answer) in answers {
        let pending = match answer {
            Ok(view) => {
                note_error(&build, &view, facts);
                classify(&view, pending.get(&build).map(|pending| pending.stage))
            }
            Err(error) if error.kind == ErrorKind::NotFound => PendingBuild::Ended,
            Err(error) if error.affects_all_requests() => return Err(error),
            Err(error) => {
                facts.add_note(format!("cannot query a pending build: {error}"));
                continue;
            }
        };
        facts.builds.insert(build, pending);
    }
    recover(state, client, facts).await
}

/// Looks for the builds of requests in doubt.
async fn recover(state: &State, client: &Client, facts: &mut Facts) -> Result<(), ApiError> {
    let in_doubt: Vec<(&ImageRef, &Submission)> = state
        .entries
        .iter()
        .filter_map(|(unit, entry)| Some((unit, entry.submitted.as_ref()?)))
        .collect();
    if in_doubt.is_empty() {
        return Ok(());
    }
    facts.asked = true;
    let recorded: HashSet<BuildId> =
        state.entries.values().flat_map(|entry| entry.builds().cloned()).collect();
    let requests: Vec<LostRequest> =
        in_doubt.iter().map(|(unit, submission)| lost_request(unit, submission)).collect();
    match recover_builds(client, &requests, &recorded).await {
        Ok(answers) => {
            for ((unit, _), answer) in in_doubt.into_iter().zip(answers) {
                let recovered = match answer {
                    RecoveryResult::NotAccepted => None,
                    RecoveryResult::Unknown => continue,
                    RecoveryResult::Accepted(view) => {
                        let Some(build) = view.build.clone() else { continue };
                        note_error(&build, &view, facts);
                        let pending = classify(&view, Some(BuildStage::Started));
                        facts.builds.insert(build.clone(), pending);
                        Some(RecoveredBuild { build, path: view.path })
                    }
                };
                facts.recovered.insert(unit.clone(), recovered);
            }
        }
        Err(error) if error.affects_all_requests() => return Err(error),
        Err(error) => facts.add_note(format!("cannot look up requests in doubt: {error}")),
    }
    Ok(())
}

fn lost_request(unit: &ImageRef, submission: &Submission) -> LostRequest {
    LostRequest {
        images: possible_images(unit, submission.inputs.source().as_ref()),
        owner: submission.owner.clone(),
        since: submission.at,
    }
}

/// Adds the error of a failed build to the facts.
fn note_error(build: &BuildId, view: &RemoteBuild, facts: &mut Facts) {
    if let BuildProgress::Failed(error) = &view.progress {
        facts.build_errors.insert(build.clone(), error.clone());
    }
}

/// Returns the state of a build that was recorded at this stage.
fn classify(view: &RemoteBuild, stage: Option<BuildStage>) -> PendingBuild {
    match view.progress {
        // If imgplan died between the start and its record, the build runs and does not wait.
        _ if stage == Some(BuildStage::Created) && view.waits_for_start() => PendingBuild::Ended,
        // A pending build may be queued after its start. Starting it again does no harm; waiting
        // for one that was never started would not end.
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
