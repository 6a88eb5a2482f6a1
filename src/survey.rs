//! Finds out what planning needs to know: the files of every context, those of them that changed,
//! and how the service says pending builds are. Reads much and writes nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use miette::Diagnostic;

use crate::api::{Client, ErrorKind, Progress};
use crate::base::digest::Digest;
use crate::base::name::BuildId;
use crate::context::{self, FileChange, FileList, History, ScanError};
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, UnitId};
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
    history: &History,
    client: Option<&Client>,
) -> Result<Facts, SurveyError> {
    let contexts = contexts(workspace).await?;
    let changes = changes(workspace, state, history, &contexts).await;
    let mut facts = Facts { contexts, changes, ..Facts::default() };
    if let Some(client) = client {
        ask_for_builds(state, client, &mut facts).await;
    }
    Ok(facts)
}

/// Scans every context once, however many units share it, as many at a time as there are cores.
async fn contexts(workspace: &Workspace) -> Result<Vec<Option<Context>>, SurveyError> {
    // The Dockerfile belongs to the question: `<Dockerfile>.dockerignore` wins over the context's.
    let question = |origin: &Origin| match origin {
        Origin::Build(build) => Some((build.context.clone(), build.dockerfile_path.clone())),
        Origin::Mirror(_) => None,
    };
    let mut questions: Vec<(PathBuf, PathBuf)> =
        workspace.units.iter().filter_map(|unit| question(&unit.origin)).collect();
    questions.sort();
    questions.dedup();
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let scans = stream::iter(questions).map(|(root, dockerfile)| async move {
        let key = (root.clone(), dockerfile.clone());
        let scan = tokio::task::spawn_blocking(move || context::scan(&root, Some(&dockerfile)));
        match scan.await {
            Ok(result) => (key, result),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    });
    let mut found = HashMap::new();
    let mut errors = Vec::new();
    let mut scans = scans.buffered(cores);
    while let Some((key, result)) = scans.next().await {
        match result {
            Ok(tree) => {
                found.insert(key, Arc::new(tree));
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(SurveyError { errors });
    }
    let context_of = |origin: &Origin| {
        let Origin::Build(build) = origin else { return None };
        let tree = Arc::clone(found.get(&question(origin)?)?);
        let inside = build.dockerfile_inside.as_deref().unwrap_or_default();
        let digest = tree.digest_without(inside.as_bytes());
        Some(Context { tree, digest })
    };
    Ok(workspace.units.iter().map(|unit| context_of(&unit.origin)).collect())
}

/// Compares each context that is not what its unit's last build was sent with the list of that,
/// where the list is here.
async fn changes(
    workspace: &Workspace,
    state: &State,
    history: &History,
    contexts: &[Option<Context>],
) -> HashMap<UnitId, Arc<[FileChange]>> {
    let question = |(index, context): (usize, &Option<Context>)| {
        let (id, context) = (UnitId(index), context.as_ref()?);
        let unit = workspace.unit(id);
        let built = state.entries.get(&unit.key)?.built.as_ref()?;
        let old = built.inputs.context().filter(|old| *old != context.digest)?;
        Some((id, old, context.clone(), unit.dockerfile_inside().as_bytes().to_vec()))
    };
    let questions: Vec<_> = contexts.iter().enumerate().filter_map(question).collect();
    if questions.is_empty() {
        return HashMap::new();
    }
    let history = history.clone();
    let compare = move || {
        // Units that were sent the same, and would be again, have the same changes.
        let mut known: HashMap<_, Option<Arc<[FileChange]>>> = HashMap::new();
        let answer = |(id, old, new, dockerfile): (UnitId, Digest, Context, Vec<u8>)| {
            let compared = known.entry((old, new.digest)).or_insert_with(|| {
                let new = FileList::of(&new.tree, &dockerfile);
                Some(context::changes(&history.load(old)?, &new).into())
            });
            Some((id, compared.clone()?))
        };
        questions.into_iter().filter_map(answer).collect()
    };
    match tokio::task::spawn_blocking(compare).await {
        Ok(changes) => changes,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
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
