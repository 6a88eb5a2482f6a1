//! The endpoints of builds: start, status, listing.

use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::app::App;
use super::body::{object, page, paging, query, reply, typed};
use super::error::Refusal;
use super::model::{BuildStatus, StoredBuild, StoredOrigin};
use super::state::StateChange;
use super::worker;
use crate::api::wire::StartBuildRequest;

/// A build as the server knows it, for tests to compare with a client's view.
#[cfg(feature = "test-support")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBuild {
    /// Position in the order of all builds and transfers, from 0. A deleted one leaves a gap.
    pub order: u64,
    /// Build ID.
    pub id: String,
    /// `name:tag`.
    pub image: String,
    /// `personal`, `team:<id>` or `platform`.
    pub owner: String,
    /// Status, as the API writes it.
    pub status: String,
    /// True if its start was accepted, or if it is a transfer.
    pub started: bool,
    /// Source of a transfer, as it was requested; `None` for a build.
    pub source: Option<String>,
}

#[cfg(feature = "test-support")]
impl From<&StoredBuild> for ServerBuild {
    fn from(build: &StoredBuild) -> Self {
        Self {
            order: build.seq,
            id: build.id.clone(),
            image: build.location.short(),
            owner: build.location.owner.to_string(),
            status: build.status.as_str().to_owned(),
            started: build.started_at.is_some(),
            source: match &build.origin {
                StoredOrigin::Transfer { source } => Some(source.clone()),
                StoredOrigin::Context { .. } => None,
            },
        }
    }
}

/// `POST /images/build/{id}/start`. A second start changes nothing and returns the status, so that a
/// client may repeat it after a lost response.
pub(super) fn start(app: &Arc<App>, id: &str, payload: &[u8]) -> Result<Response, Refusal> {
    let request: StartBuildRequest =
        typed(object(payload)?, &[("context_uploaded", "contextUploaded")])?;
    let mut store = app.store();
    let build = store.state().build(id).ok_or_else(|| unknown(id))?.clone();
    let StoredOrigin::Context { uploaded, .. } = &build.origin else {
        return Err(Refusal::bad("A transfer starts by itself"));
    };
    match build.status {
        BuildStatus::Cancelled => return Err(Refusal::conflict("The build was cancelled")),
        BuildStatus::Pending | BuildStatus::Uploading => {}
        BuildStatus::Building | BuildStatus::Completed | BuildStatus::Failed => {
            return reply(StatusCode::OK, &build.to_wire());
        }
    }
    if !request.context_uploaded || uploaded.is_none() {
        return Err(Refusal::bad("Build context has not been uploaded"));
    }
    let build =
        StoredBuild { status: BuildStatus::Building, started_at: Some(app.clock.now()), ..build };
    let response = build.to_wire();
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    worker::spawn(app, id);
    reply(StatusCode::OK, &response)
}

/// `GET /images/build/{id}`.
pub(super) fn status(app: &App, id: &str) -> Result<Response, Refusal> {
    let response = app.store().state().build(id).map(StoredBuild::to_wire);
    reply(StatusCode::OK, &response.ok_or_else(|| unknown(id))?)
}

/// `GET /images/builds`: all builds of the account and of teams, the newest first.
pub(super) fn list(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let paging = paging(&query(uri)?)?;
    let store = app.store();
    let response = page(store.state().builds(), paging, StoredBuild::to_wire);
    drop(store);
    reply(StatusCode::OK, &response)
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!("Build {id} not found"))
}
