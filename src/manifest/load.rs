//! Loads a manifest with all files that it includes and all Dockerfiles that it names, and reports
//! everything that is wrong with them at once.

use std::path::Path;
use std::sync::Arc;

use miette::Diagnostic;

use super::diagnostics::Diagnostics;
use super::expand::{Expanded, expand};
use super::header::display_name;
use super::invocation::Invocation;
use super::resolve::resolve;
use super::workspace::Workspace;
use crate::base::clean_path::clean;
use crate::base::span::{Problem, SourceMap};
use crate::base::text::plural;

/// Maximum number of problems that are shown.
const MAX_PROBLEMS_SHOWN: usize = 100;

/// Everything that is wrong with a manifest and the files that it names.
#[derive(Debug, thiserror::Error)]
#[error("{}", headline(problems.len(), *unshown, name))]
pub struct ManifestError {
    /// Problems in the order of the files; only the first ones if there are very many.
    pub problems: Vec<Problem>,
    /// Number of problems that are not in `problems`.
    pub unshown: usize,
    /// Source files that the spans point into.
    pub sources: Arc<SourceMap>,
    /// Path of the manifest, as given on the command line.
    pub name: String,
}

fn headline(shown: usize, unshown: usize, name: &str) -> String {
    let problems = plural(shown + unshown, "problem");
    match unshown {
        0 => format!("{problems} in {name}"),
        _ => format!("{problems} in {name}, {unshown} of them not shown"),
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
    /// Loads the manifest of a command line and resolves it. `env` returns the values of
    /// environment variables.
    ///
    /// # Errors
    ///
    /// Fails with all problems if a file cannot be read, or if anything in the files is wrong.
    pub fn load(
        invocation: &Invocation,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Workspace, ManifestError> {
        let mut sources = SourceMap::default();
        let mut diagnostics = Diagnostics::default();
        let reach = invocation.reach();
        let Expanded { scopes, skipped } =
            expand(invocation, env, &reach, &mut sources, &mut diagnostics);
        // Dockerfiles follow later.
        let files = sources.names().map(|name| clean(Path::new(name))).collect();
        let workspace = resolve(&scopes, &reach, &mut sources, &mut diagnostics);
        let (mut problems, warnings) = diagnostics.finish();
        let sources = Arc::new(sources);
        match workspace {
            Some(workspace) if problems.is_empty() => {
                Ok(Workspace { warnings, skipped, files, sources, ..workspace })
            }
            _ => {
                problems.sort_by_key(|problem| problem.labels.first().map(|label| label.0));
                let unshown = problems.len().saturating_sub(MAX_PROBLEMS_SHOWN);
                problems.truncate(MAX_PROBLEMS_SHOWN);
                let name = display_name(invocation.first());
                Err(ManifestError { problems, unshown, sources, name })
            }
        }
    }
}
