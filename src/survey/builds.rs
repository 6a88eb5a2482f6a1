//! Asks the service how pending builds are.

use futures::stream::{self, StreamExt};

use crate::api::{Client, ErrorKind, Progress};
use crate::base::name::BuildId;
use crate::plan::Facts;
use crate::plan::facts::Known;
use crate::state::{Outcome, Record, State};

/// Asks how pending builds are, so that a plan does not adopt one that has failed. Where the
/// service cannot be asked, the plan says so and goes on with what the lockfile has.
pub(super) async fn ask(state: &State, client: &Client, facts: &mut Facts) {
    let pending = state.entries.values().filter_map(|entry| entry.pending.as_ref());
    let builds: Vec<(BuildId, bool)> =
        pending.map(|pending| (pending.build.clone(), pending.started)).collect();
    let mut answers = stream::iter(builds)
        .map(|(build, started)| async move {
            let answer = client.status(&build).await;
            (build, started, answer)
        })
        .buffer_unordered(16);
    while let Some((build, started, answer)) = answers.next().await {
        let known = match answer {
            // A death between the start and the record of it leaves a build that runs.
            Ok(view) if !started && view.waits_for_start() => Known::Dead,
            Ok(view) => match view.progress {
                Progress::Running(_) | Progress::Completed => Known::Alive,
                Progress::Failed(_) | Progress::Cancelled => Known::Dead,
            },
            Err(error) if error.kind == ErrorKind::NotFound => Known::Dead,
            Err(error) => {
                let note = format!("cannot ask for a pending build: {error}");
                if !facts.notes.contains(&note) {
                    facts.notes.push(note);
                }
                continue;
            }
        };
        facts.builds.insert(build, known);
    }
}

/// What the survey learned of builds that are over: kept, so that the next plan need not ask again.
pub fn ended(state: &State, facts: &Facts) -> Vec<Record> {
    let pending = state.entries.iter().filter_map(|(unit, entry)| {
        let build = &entry.pending.as_ref()?.build;
        (facts.builds.get(build) == Some(&Known::Dead)).then(|| Record::Ended {
            unit: unit.clone(),
            build: build.clone(),
            outcome: Outcome::Failed,
            path: None,
        })
    });
    pending.collect()
}
