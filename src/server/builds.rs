//! The builds' endpoints: start, status, listing.

use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::app::App;
use super::body::{object, page, paging, query, reply, typed};
use super::error::Refusal;
use super::model::{BuildOrigin, BuildStatus, StoredBuild};
use super::state::StateChange;
use super::worker;
use crate::api::wire::StartBuildRequest;

/// A build as the server knows it, for tests to hold against what a client believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBuild {
    /// Which in the order of all builds and transfers, from 0; a deleted one leaves a gap.
    pub order: u64,
    /// Its ID.
    pub id: String,
    /// `name:tag`.
    pub image: String,
    /// `personal`, `team:<id>` or `platform`.
    pub owner: String,
    /// How it stands, as the API writes it.
    pub status: String,
    /// Whether it has begun to build: its start was accepted, or it is a transfer.
    pub started: bool,
    /// What is transferred, as it was asked for; a build has none.
    pub source: Option<String>,
}

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
                BuildOrigin::Transfer { source } => Some(source.clone()),
                BuildOrigin::Context { .. } => None,
            },
        }
    }
}

/// `POST /images/build/{id}/start`. A second start changes nothing and says how the build stands,
/// so that a client whose first answer was lost may ask again.
pub(super) fn start(app: &Arc<App>, id: &str, payload: &[u8]) -> Result<Response, Refusal> {
    let request: StartBuildRequest =
        typed(object(payload)?, &[("context_uploaded", "contextUploaded")])?;
    let mut store = app.store();
    let build = store.state().build(id).ok_or_else(|| unknown(id))?.clone();
    let BuildOrigin::Context { uploaded, .. } = &build.origin else {
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
    let answer = build.to_wire();
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    worker::spawn(app, id);
    reply(StatusCode::OK, &answer)
}

/// `GET /images/build/{id}`.
pub(super) fn status(app: &App, id: &str) -> Result<Response, Refusal> {
    let answer = app.store().state().build(id).map(StoredBuild::to_wire);
    reply(StatusCode::OK, &answer.ok_or_else(|| unknown(id))?)
}

/// `GET /images/builds`: all builds that the account started, for teams too, the newest first.
pub(super) fn list(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let paging = paging(&query(uri)?)?;
    let store = app.store();
    let answer = page(store.state().builds(), paging, StoredBuild::to_wire);
    drop(store);
    reply(StatusCode::OK, &answer)
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!("Build {id} not found"))
}
