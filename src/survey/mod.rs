//! Gathers the [`Facts`] that a plan is made from: the files of every context (`contexts`) and
//! their changes (`changes`), the state of pending builds (`builds`) and of the recorded images
//! (`images`) in the service, and the digests of external references (`registries`). Writes only
//! caches.

mod builds;
mod changes;
mod contexts;
mod copies;
mod error;
mod images;
pub(crate) mod reads;
mod registries;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use self::contexts::{ScanDepth, Scans};
pub(crate) use self::error::{ContextError, SurveyError};
pub(crate) use self::registries::{LookupProgress, Lookups, RegistryLookup, look_up};
use crate::api::{ApiError, Client, ErrorKind};
use crate::base::name::Owner;
use crate::base::span::Problem;
use crate::context::{History, StatCache};
use crate::manifest::Workspace;
use crate::manifest::workspace::UnitId;
use crate::plan::facts::Context;
use crate::plan::unpinned::{Unpinned, unpinned};
use crate::plan::{self, Facts, PlanOptions};
use crate::state::{Pin, State};

/// Results of earlier runs. They save time and let a plan name the changed files.
#[derive(Debug)]
pub struct Caches {
    /// Digests of files, by their metadata.
    pub stat: StatCache,
    /// File lists of the contexts that were built.
    pub history: History,
}

/// Everything that a survey reads, and how far it goes.
pub struct Query<'a> {
    /// The manifest.
    pub workspace: &'a Workspace,
    /// The recorded state.
    pub state: &'a State,
    /// Results of earlier runs.
    pub caches: Caches,
    /// The service and what to request from it; `None` to send it no request.
    pub service: Option<ServiceQuery<'a>>,
    /// Source of the digests of external references.
    pub pins: PinSource<'a>,
    /// Notes of the caller that the plan is to show.
    pub notes: Vec<String>,
    /// Flag or reason for which the service is not asked to list images.
    pub unasked: Option<&'static str>,
}

/// The service and what to request from it.
pub struct ServiceQuery<'a> {
    /// Client of the service.
    pub client: &'a Client,
    /// Owner of a new image for which the manifest names none.
    pub default_owner: &'a Owner,
    /// Recorded images to compare with the service.
    pub refresh: Refresh<'a>,
}

/// Recorded images to compare with the service. Pending builds are always queried.
pub enum Refresh<'a> {
    /// No images.
    None,
    /// Images that a plan with these options would change.
    Minimal(&'a PlanOptions),
    /// All images.
    Full,
}

/// Source of the digests of external references.
pub enum PinSource<'a> {
    /// The lockfile alone.
    Lockfile,
    /// A saved plan, whose pins win over those of the lockfile.
    Saved(BTreeMap<String, Pin>),
    /// Registries, whose answers win over the lockfile.
    Registries(RegistryLookup<'a>),
}

/// Maximum time for the queries of pending builds, and again for those of images. The rate limit of
/// listings allows a hundred thousand images in it.
const MAX_QUERY_TIME: Duration = Duration::from_secs(120);

/// Maximum attempts per query: about ten seconds, because a person may be waiting for the plan.
const MAX_QUERY_ATTEMPTS: u32 = 6;

impl<'a> Query<'a> {
    /// Returns a query of the contexts alone, without network access.
    pub fn offline(workspace: &'a Workspace, state: &'a State, caches: Caches) -> Self {
        let (service, pins, notes) = (None, PinSource::Lockfile, Vec::new());
        Self { workspace, state, caches, service, pins, notes, unasked: None }
    }
}

/// Returns the warnings of all contexts. Reads no files, except those that are named like keys.
///
/// # Errors
///
/// Fails if a context cannot be read or is larger than `settings.context_max`.
pub(crate) async fn context_warnings(workspace: &Workspace) -> Result<Vec<Problem>, SurveyError> {
    Ok(contexts::scan(workspace, &State::default(), ScanDepth::NamesOnly).await?.1)
}

/// Returns what the builds of these units read from their contexts. `None` for the other units.
///
/// # Errors
///
/// Fails if a context cannot be read.
pub(crate) fn contexts_of(
    workspace: &Workspace,
    state: &State,
    units: &HashSet<UnitId>,
    cache: StatCache,
) -> Result<Vec<Option<Context>>, SurveyError> {
    let scans = Scans::new(workspace, state, &|unit| units.contains(&unit));
    Ok(scans.run(workspace.units.len(), ScanDepth::Contents(cache))?.contexts)
}

/// Gathers all facts that a plan needs. A registry that does not respond is no error: the facts have
/// a note of it, and the plan relies on the recorded pins.
///
/// # Errors
///
/// Fails if a context cannot be read or is larger than `settings.context_max`. With a refresh, fails
/// if the service refuses the API key or cannot be reached.
pub async fn facts(query: Query<'_>) -> Result<Facts, SurveyError> {
    let Query { workspace, state, caches, service, pins, notes, unasked } = query;
    let (contexts, warnings) =
        contexts::scan(workspace, state, ScanDepth::Contents(caches.stat)).await?;
    let changes = changes::find(workspace, state, &caches.history, &contexts).await;
    let now = Some(Timestamp::now());
    let mut facts = Facts { contexts, changes, unasked, now, warnings, notes, ..Facts::default() };
    if let Some(service) = service {
        query_service(workspace, state, service, &mut facts).await?;
    }
    match pins {
        PinSource::Lockfile => {}
        PinSource::Saved(pins) => facts.pins = pins,
        PinSource::Registries(lookup) => {
            let Lookups { pins, cached, errors } = look_up(lookup, state).await;
            facts.notes.extend(registries::notes(&errors));
            (facts.pins, facts.cached_lookups) = (pins, cached);
        }
    }
    // In a project with pins, an unpinned reference is likely an oversight.
    if !(state.pins.is_empty() && facts.pins.is_empty()) {
        let unpinned = unpinned(workspace, &facts, state);
        facts.warnings.extend(unpinned.iter().map(Unpinned::warning));
    }
    Ok(facts)
}

/// Adds what the service knows to the facts.
///
/// # Errors
///
/// Fails if the service refuses the API key, cannot be reached, or does not answer in time. Without
/// a refresh, such an error is a note.
async fn query_service(
    workspace: &Workspace,
    state: &State,
    service: ServiceQuery<'_>,
    facts: &mut Facts,
) -> Result<(), SurveyError> {
    let ServiceQuery { client, default_owner, refresh } = service;
    let client = &client.with_max_attempts(client.max_attempts().min(MAX_QUERY_ATTEMPTS));
    let builds = within_time("query the builds", builds::query(state, client, facts)).await;
    match (builds, &refresh) {
        (Err(error), Refresh::None) => facts.add_note(format!("pending builds: {error}")),
        (Err(error), _) => return Err(SurveyError::refresh("the pending builds", error)),
        (Ok(()), _) => {}
    }
    facts.default_owner = Some(default_owner.clone());
    facts.refreshed = match refresh {
        Refresh::None => return Ok(()),
        Refresh::Minimal(options) => Some(plan::changing(workspace, facts, state, options)),
        Refresh::Full => None,
    };
    let images = images::query(workspace, state, client, facts);
    match within_time("list the images", async { Ok(images.await) }).await {
        Ok(result) => result,
        Err(error) => Err(SurveyError::refresh("the lockfile", error)),
    }
}

/// Awaits a query.
///
/// # Errors
///
/// Fails as the query does, and after [`MAX_QUERY_TIME`].
async fn within_time<T>(
    action: &'static str,
    query: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let late = |_| {
        let message = format!("nothing within {} s", MAX_QUERY_TIME.as_secs());
        ApiError::new(action, ErrorKind::ResponseLost, message)
    };
    tokio::time::timeout(MAX_QUERY_TIME, query).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::http::fake::{FakeServer, Reply};

    #[tokio::test(start_paused = true)]
    async fn a_busy_service_is_queried_for_two_minutes_at_most() {
        let state = State::with_one_pending_build();
        let client = Client::fake(&FakeServer::script([Reply::new(429, "{}")]));
        let (began, mut facts) = (Instant::now(), Facts::default());
        let query = builds::query(&state, &client, &mut facts);
        let error = within_time("query the builds", query).await.unwrap_err();
        assert_eq!(began.elapsed(), MAX_QUERY_TIME);
        let expected = "no response to the request to query the builds: nothing within 120 s";
        assert_eq!(error.to_string(), expected);
    }
}
