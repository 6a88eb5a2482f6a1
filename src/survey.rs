//! Finds out what planning needs to know: the files of every context, and how the service says
//! pending builds are. Reads much and writes nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use miette::Diagnostic;

use crate::api::{Client, ErrorKind, Progress};
use crate::base::name::BuildId;
use crate::base::size::bytes;
use crate::context::hygiene::{self, Findings, Limits};
use crate::context::{self, ScanError, Tree, advice};
use crate::manifest::Workspace;
use crate::manifest::workspace::{Origin, ServiceSettings};
use crate::plan::Facts;
use crate::plan::facts::{Context, Known};
use crate::state::{Outcome, Record, State};

/// Contexts that cannot be sent, all of them.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} cannot be sent; nothing was sent", match errors.len() { 1 => "a context".to_owned(), n => format!("{n} contexts") })]
pub struct SurveyError {
    /// One for each context.
    #[related]
    pub errors: Vec<ContextError>,
}

/// Why a context cannot be sent.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ContextError {
    /// It cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Unreadable(#[from] ScanError),
    /// The manifest forbids one of its size.
    #[error("the context {} has {size}, and `settings.context_max` allows {max}", root.display())]
    #[diagnostic(
        code(imgplan::context::large),
        help("add what the build does not need to {}, or raise `settings.context_max`", ignore.display())
    )]
    TooLarge {
        /// The context's folder.
        root: PathBuf,
        /// The size of it and of its largest parts, for people.
        size: String,
        /// The most that is allowed, for people.
        max: String,
        /// Where to say what is not to be sent.
        ignore: PathBuf,
    },
}

/// Looks at everything that planning needs. Without a client the service is not asked.
pub async fn facts(
    workspace: &Workspace,
    state: &State,
    client: Option<&Client>,
) -> Result<Facts, SurveyError> {
    let mut facts = contexts(workspace).await?;
    if let Some(client) = client {
        ask_for_builds(state, client, &mut facts).await;
    }
    Ok(facts)
}

/// Scans every context once, however many units share it, as many at a time as there are cores,
/// and looks for what should not be sent.
async fn contexts(workspace: &Workspace) -> Result<Facts, SurveyError> {
    // The Dockerfile belongs to the question: `<Dockerfile>.dockerignore` wins over the context's.
    let question = |origin: &Origin| match origin {
        Origin::Build(build) => Some((build.context.clone(), build.dockerfile_path.clone())),
        Origin::Mirror(_) => None,
    };
    let mut questions: Vec<(PathBuf, PathBuf)> =
        workspace.units.iter().filter_map(|unit| question(&unit.origin)).collect();
    questions.sort();
    questions.dedup();
    let limits = limits(&workspace.settings);
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let scans = stream::iter(questions).map(|(root, dockerfile)| async move {
        let key = (root.clone(), dockerfile.clone());
        let scan = tokio::task::spawn_blocking(move || look(&root, &dockerfile, limits));
        match scan.await {
            Ok(result) => (key, result),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    });
    let mut found = HashMap::new();
    let mut findings = Vec::new();
    let mut errors = Vec::new();
    let mut scans = scans.buffered(cores);
    while let Some((key, result)) = scans.next().await {
        match result {
            Ok((tree, more)) => {
                found.insert(key, Arc::new(tree));
                findings.push(more);
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
    let contexts = workspace.units.iter().map(|unit| context_of(&unit.origin)).collect();
    let warnings = advice::warnings(&findings, limits);
    Ok(Facts { contexts, warnings, ..Facts::default() })
}

/// How large a context may be, by what the manifest says.
fn limits(settings: &ServiceSettings) -> Limits {
    let default = Limits::default();
    Limits { warn: settings.context_warn.unwrap_or(default.warn), max: settings.context_max }
}

/// Scans a context and looks for what should not be sent.
fn look(root: &Path, dockerfile: &Path, limits: Limits) -> Result<(Tree, Findings), ContextError> {
    let tree = context::scan(root, Some(dockerfile))?;
    let found = hygiene::look(&tree, limits);
    match (&found.large, limits.max) {
        (Some(large), Some(max)) if large.size > max => Err(ContextError::TooLarge {
            root: found.root,
            size: advice::size(large),
            max: bytes(max),
            ignore: found.ignore,
        }),
        _ => Ok((tree, found)),
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
