//! Finds out what planning needs to know: the files of every context, and how the service says
//! pending builds are. Reads much and writes nothing.

use std::sync::Arc;

use futures::stream::{self, StreamExt};
use miette::Diagnostic;
use rayon::prelude::*;

use crate::api::{Client, ErrorKind, Progress};
use crate::base::name::BuildId;
use crate::context::{self, ScanError, Wanted};
use crate::manifest::Workspace;
use crate::manifest::workspace::Origin;
use crate::plan::Facts;
use crate::plan::facts::{Context, Known};
use crate::state::{Outcome, Record, State};

/// Contexts that cannot be read, all of them.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("cannot read {}", match errors.len() { 1 => "a context".to_owned(), n => format!("{n} contexts") })]
pub struct SurveyError {
    /// One for each context.
    #[related]
    pub errors: Vec<ScanError>,
}

/// Looks at everything that planning needs. Without a client the service is not asked.
pub async fn facts(
    workspace: &Workspace,
    state: &State,
    client: Option<&Client>,
) -> Result<Facts, SurveyError> {
    let contexts = contexts(workspace).await?;
    let mut facts = Facts { contexts, ..Facts::default() };
    if let Some(client) = client {
        ask_for_builds(state, client, &mut facts).await;
    }
    Ok(facts)
}

/// Scans every context once, however many units share it.
async fn contexts(workspace: &Workspace) -> Result<Vec<Option<Context>>, SurveyError> {
    let builds: Vec<(usize, Wanted, Vec<u8>)> = workspace
        .units
        .iter()
        .enumerate()
        .filter_map(|(unit, of)| {
            let Origin::Build(build) = &of.origin else { return None };
            let (root, dockerfile) = (build.context.clone(), Some(build.dockerfile_path.clone()));
            let inside = build.dockerfile_inside.clone().unwrap_or_default().into_bytes();
            Some((unit, Wanted { root, dockerfile }, inside))
        })
        .collect();
    let cache = context::cache_in(&workspace.root.join(".imgplan"));
    let scan = tokio::task::spawn_blocking(move || {
        let mut wanted: Vec<Wanted> = builds.iter().map(|(_, wanted, _)| wanted.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let trees = context::scan_all(&wanted, Some(&cache))?;
        let context = |(unit, of, inside): &(usize, Wanted, Vec<u8>)| {
            let tree = Arc::clone(&trees[wanted.binary_search(of).ok()?]);
            Some((*unit, Context { digest: tree.digest_without(inside), tree }))
        };
        Ok(builds.par_iter().filter_map(context).collect::<Vec<_>>())
    });
    let found = match scan.await {
        Ok(found) => found.map_err(|errors| SurveyError { errors })?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let mut contexts: Vec<Option<Context>> = workspace.units.iter().map(|_| None).collect();
    for (unit, context) in found {
        contexts[unit] = Some(context);
    }
    Ok(contexts)
}

/// Asks how pending builds are, so that a plan does not adopt one that has failed. Where the
/// service cannot be asked, the plan says so and goes on with what the lockfile has.
async fn ask_for_builds(state: &State, client: &Client, facts: &mut Facts) {
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
