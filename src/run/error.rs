//! The error that ends a run.

use miette::Diagnostic;

use crate::event::Summary;
use crate::state::StateError;

/// An error that ended the whole run. Failures of single units are in the [`Summary`].
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum RunError {
    /// The journal or the shared state could not be written.
    #[error("cannot write the {}, so the run was aborted{}", place(source), accepted(builds))]
    #[diagnostic(help("{}", way_out(source)))]
    NotRecorded {
        /// Builds that the service accepted and that are not in the journal.
        builds: Vec<String>,
        /// The results until then.
        summary: Box<Summary>,
        /// The cause.
        #[source]
        source: StateError,
    },
}

fn place(source: &StateError) -> &'static str {
    if matches!(source, StateError::Replica { .. }) { "shared state" } else { "journal" }
}

fn way_out(source: &StateError) -> &str {
    match source {
        StateError::Replica { help, .. } => help,
        _ => "free disk space or make the folder .imgplan writable, then run `imgplan apply` again",
    }
}

fn accepted(builds: &[String]) -> String {
    match builds {
        [] => String::new(),
        builds => format!("; accepted builds that are not recorded: {}", builds.join(", ")),
    }
}
