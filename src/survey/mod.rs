//! Finds out what planning needs to know: the files of every context (`contexts`), those of them
//! that changed (`changes`), and how the service says pending builds are (`builds`). Reads much and
//! writes nothing but caches.

mod builds;
mod changes;
mod contexts;

use std::path::PathBuf;

use miette::Diagnostic;

pub use self::builds::{learned, superseded};
use crate::api::Client;
use crate::context::{Cache, History, ScanError};
use crate::manifest::Workspace;
use crate::plan::Facts;
use crate::state::State;

/// Contexts that cannot be sent, all of them.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{} cannot be sent; nothing was sent", match errors.len() { 1 => "a context".to_owned(), n => format!("{n} contexts") })]
pub struct SurveyError {
    /// One for each context.
    #[related]
    pub errors: Vec<ContextError>,
}

impl From<Vec<ScanError>> for SurveyError {
    fn from(errors: Vec<ScanError>) -> Self {
        Self { errors: errors.into_iter().map(ContextError::Unreadable).collect() }
    }
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
    #[diagnostic(help(
        "add what the build does not need to {}, or raise `settings.context_max`",
        ignore.display()
    ))]
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

/// What is known from before, and only saves time or says more.
#[derive(Debug)]
pub struct Caches {
    /// The digests of files.
    pub stat: Cache,
    /// The files that contexts had.
    pub history: History,
}

/// Looks at everything that planning needs. Without a client the service is not asked.
pub async fn facts(
    workspace: &Workspace,
    state: &State,
    caches: Caches,
    client: Option<&Client>,
) -> Result<Facts, SurveyError> {
    let mut facts = contexts::scan(workspace, caches.stat).await?;
    facts.changes = changes::find(workspace, state, &caches.history, &facts.contexts).await;
    if let Some(client) = client {
        builds::ask(state, client, &mut facts).await;
    }
    Ok(facts)
}
