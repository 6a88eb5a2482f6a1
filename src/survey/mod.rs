//! Finds out what planning needs to know: the files of every context (`contexts`), those of them
//! that changed (`changes`), how the service says pending builds are (`builds`) and what became of
//! the images on record (`images`), and what public references stand for (`upstreams`). Reads much
//! and writes nothing but caches.

mod builds;
mod changes;
mod contexts;
mod images;
mod registries;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use miette::Diagnostic;

pub use self::registries::{RegistryLookup, note_unknown, resolve_references};
use crate::api::Client;
use crate::base::name::ImageRef;
use crate::context::{History, ScanError, StatCache};
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
    pub stat: StatCache,
    /// The files that contexts had.
    pub history: History,
}

/// How long the service is asked in all: a plan says what it could not find out, and an apply asks
/// again for what it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Attempts at a listing of images: a plan without it says so, and nobody should wait a minute for that.
const TRIES: u32 = 4;

/// Looks at everything that planning needs. Without a client the service is not asked.
pub async fn facts(
    workspace: &Workspace,
    state: &State,
    caches: Caches,
    client: Option<&Client>,
) -> Result<Facts, SurveyError> {
    let mut facts = contexts::scan(workspace, caches.stat).await?;
    facts.now = Some(jiff::Timestamp::now());
    facts.changes = changes::find(workspace, state, &caches.history, &facts.contexts).await;
    if let Some(client) = client {
        ask(state, client, &mut facts).await;
    }
    Ok(facts)
}

/// Adds what the plan should say could not be found out, once.
fn note(facts: &mut Facts, note: String) {
    if !facts.notes.contains(&note) {
        facts.notes.push(note);
    }
}

/// Asks the service what became of the images on record, and what is at the places of units that are
/// new or are to go elsewhere; or of some of them; but not for ever.
#[expect(clippy::implicit_hasher, reason = "it is what the facts keep")]
pub async fn refresh(
    workspace: &Workspace,
    state: &State,
    client: &Client,
    only: Option<HashSet<ImageRef>>,
    facts: &mut Facts,
) {
    let client = client.with_max_attempts(client.max_attempts().min(TRIES));
    let asking = images::images(workspace, state, &client, only, facts);
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    if asked.is_err() {
        let secs = PATIENCE.as_secs();
        let why = format!("cannot list images: no answer within {secs} s");
        note(facts, format!("{why}; all are taken to be as the lockfile says"));
    }
}

/// Asks the service, but not for ever.
async fn ask(state: &State, client: &Client, facts: &mut Facts) {
    let asked = tokio::time::timeout(PATIENCE, builds::ask(state, client, facts)).await;
    if asked.is_err() {
        let secs = PATIENCE.as_secs();
        note(facts, format!("cannot ask for pending builds: no answer within {secs} s"));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_busy_service_is_asked_for_a_minute_and_the_plan_goes_on() {
        let state = State::with_one_pending_build();
        let client = Client::fake(&FakeServer::script([Reply::new(429, "{}")]));
        let (began, mut facts) = (Instant::now(), Facts::default());
        ask(&state, &client, &mut facts).await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert_eq!(facts.notes, ["cannot ask for pending builds: no answer within 60 s"]);
    }
}
