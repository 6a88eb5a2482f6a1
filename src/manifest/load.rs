//! Reads a manifest and the Dockerfiles that it names, and finds everything that is wrong with
//! them before anything else happens.

use std::sync::Arc;

use miette::Diagnostic;

use super::expand::{Found, expand};
use super::header::{root_of, shown};
use super::invocation::Invocation;
use super::resolve::{self, Resolver};
use super::workspace::Workspace;
use crate::base::span::{Problem, SourceMap};
use crate::base::text::plural;

/// More problems than this are not worth reading.
const MOST_SHOWN: usize = 100;

/// Everything that is wrong with a manifest and the files that it names.
#[derive(Debug, thiserror::Error)]
#[error("{}", headline(problems.len(), *unshown, name))]
pub struct ManifestError {
    /// The problems, in the order of the files; the first of them, where there are very many.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub unshown: usize,
    /// The texts that they point into.
    pub sources: Arc<SourceMap>,
    /// The manifest's path, as it was given.
    pub name: String,
}

fn headline(shown: usize, unshown: usize, name: &str) -> String {
    match unshown {
        0 => format!("{} in {name}", plural(shown, "problem")),
        more => format!("{} problems in {name}, of which {more} are not shown", shown + more),
    }
}

impl Diagnostic for ManifestError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&*self.sources)
    }
}

impl Workspace {
    /// Reads the manifest that the command line names, with all that it includes, and makes it
    /// complete. `env` answers for the environment's variables.
    pub fn load(
        given: &Invocation,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Workspace, ManifestError> {
        let mut sources = SourceMap::default();
        match from_files(given, env, &mut sources) {
            Ok(mut workspace) => {
                workspace.sources = Arc::new(sources);
                Ok(workspace)
            }
            Err(mut problems) => {
                problems.sort_by_key(|problem| problem.labels.first().map(|label| label.0));
                let unshown = problems.len().saturating_sub(MOST_SHOWN);
                problems.truncate(MOST_SHOWN);
                let name = shown(given.first());
                Err(ManifestError { problems, unshown, sources: Arc::new(sources), name })
            }
        }
    }
}

fn from_files(
    given: &Invocation,
    env: &dyn Fn(&str) -> Option<String>,
    sources: &mut SourceMap,
) -> Result<Workspace, Vec<Problem>> {
    let (scopes, found) = expand(given, env, sources);
    let Found { problems, warnings, mut notes, skipped, incomplete } = found;
    let Some(first) = scopes.first() else { return Err(notes.tell_problems(problems)) };
    let resolver = Resolver {
        root: root_of(given.first()),
        manifest: &first.manifest,
        scopes: &scopes,
        damaged: false,
        incomplete,
        sources,
        problems,
        warnings,
        notes: &mut notes,
    };
    match resolve::resolve(resolver) {
        Ok(workspace) => {
            let warnings = notes.tell_warnings(workspace.warnings);
            Ok(Workspace { warnings, skipped, ..workspace })
        }
        Err(problems) => Err(notes.tell_problems(problems)),
    }
}
