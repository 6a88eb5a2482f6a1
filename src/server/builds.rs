//! The endpoints of builds: start, status, listing.

use std::path::Path;
use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use super::app::App;
use super::body::{object, page, paging, query, reply, typed};
use super::config::ApiVersion;
use super::error::Refusal;
use super::location::{resolve, scope};
use super::model::{BuildStatus, StoredBuild, StoredOrigin};
use super::state::StateChange;
use super::{durable, upload, worker};
use crate::api::wire::{BuildLogResponse, StartBuildRequest};
use crate::base::file::AtPath;
use crate::base::work_dir::WorkName;

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
            id: build.id.to_string(),
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

/// `POST /images/build/{id}/start`. What the service does at a second start is not known: in the
/// version of August a second start changes nothing, and in that of November it is refused.
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
        status if app.rules.api == ApiVersion::November2026 => {
            return Err(Refusal::bad(format!("Build is {}", status.as_str())));
        }
        BuildStatus::Building | BuildStatus::Completed | BuildStatus::Failed => {
            return reply(StatusCode::OK, &build.to_wire(&app.form));
        }
    }
    if !request.context_uploaded || uploaded.is_none() {
        return Err(Refusal::bad("Build context has not been uploaded"));
    }
    let build =
        StoredBuild { status: BuildStatus::Building, started_at: Some(app.clock.now()), ..build };
    let (id, response) = (build.id.clone(), build.to_wire(&app.form));
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    worker::spawn(app, &id);
    reply(StatusCode::OK, &response)
}

/// `GET /images/build/{id}`.
pub(super) fn status(app: &App, id: &str) -> Result<Response, Refusal> {
    let response = app.store().state().build(id).map(|build| build.to_wire(&app.form));
    reply(StatusCode::OK, &response.ok_or_else(|| unknown(id))?)
}

/// `GET /images/build/{id}/logs?offset=N`, an extension of the API: a part of the build's log, from an
/// offset in bytes.
pub(super) async fn logs(app: &Arc<App>, id: &str, uri: &Uri) -> Result<Response, Refusal> {
    let query = query(uri)?;
    let offset = query.get("offset").map_or(Ok(0), |text| text.parse());
    let offset = offset
        .map_err(|_| Refusal::invalid("offset", "must be a whole number, and not negative"))?;
    // The status is read first: the log of a build that has ended is complete.
    let build = app.store().state().build(id).map(|build| (build.id.clone(), build.status));
    let (id, status) = build.ok_or_else(|| unknown(id))?;
    let reader = Arc::clone(app);
    let read = tokio::task::spawn_blocking(move || {
        let part = reader.logs.read(&id, offset);
        part.at("read", Path::new(&WorkName::build_log(&id)))
    });
    let part = read.await.map_err(|_| Refusal::internal("the log could not be read"))??;
    let has_ended = part.is_last && !status.is_active();
    let status = status.as_str().to_owned();
    let body = BuildLogResponse { text: part.text, next_offset: part.next, status, has_ended };
    reply(StatusCode::OK, &body)
}

/// `POST /images/build/{id}/cancel`, an extension of the API: cancels a build that has not ended.
pub(super) async fn cancel(app: &Arc<App>, id: &str) -> Result<Response, Refusal> {
    let (before, build) = commit_cancellation(app, id)?;
    app.tokens.cancel(&build.id);
    if before == BuildStatus::Uploading {
        durable::wait(app).await?;
        upload::delete_contexts(app, [&build.id]);
    }
    reply(StatusCode::OK, &build.to_wire(&app.form))
}

/// Cancels a build in the state. Returns its status before, and the build.
fn commit_cancellation(app: &App, id: &str) -> Result<(BuildStatus, StoredBuild), Refusal> {
    let mut store = app.store();
    let build = store.state().build(id).ok_or_else(|| unknown(id))?.clone();
    let status = build.status;
    if status == BuildStatus::Cancelled {
        return Ok((status, build));
    }
    if !status.is_active() {
        return Err(Refusal::conflict(format!("The build is {}", status.as_str())));
    }
    let build = build.cancelled(app.clock.now());
    store.commit(vec![StateChange::Build(build.clone())])?;
    Ok((status, build))
}

/// `GET /images/builds`: all builds of the account and of teams, the newest first.
pub(super) fn list(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let paging = paging(&query(uri)?)?;
    let store = app.store();
    let response = page(store.state().builds(), paging, |build| build.to_wire(&app.form));
    drop(store);
    reply(StatusCode::OK, &response)
}

/// `POST /images/{name}/{tag}/vm-build`, which builds a VM image of a container image. Nothing is built
/// here, so the response names the build that made the image.
pub(super) fn vm_build(
    app: &App,
    name: &str,
    tag: &str,
    payload: &[u8],
) -> Result<Response, Refusal> {
    let map = object(payload)?;
    let platform = map.get("ownerScope").is_some_and(|scope| scope == "platform");
    let owner = scope(map.get("teamId").and_then(Value::as_str), platform)?;
    let location = resolve(app.form.stripped(name), tag, &owner)?;
    let store = app.store();
    let image = store.state().image(&location);
    let image = image.ok_or_else(|| Refusal::not_found(format!("Image {name}:{tag} not found")))?;
    let message = format!("VM build of {name}:{tag} queued");
    reply(
        StatusCode::CREATED,
        &json!({ "success": true, "message": message, "buildId": image.build }),
    )
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!("Build {id} not found"))
}
