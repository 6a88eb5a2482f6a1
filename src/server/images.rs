//! The endpoints of images: listing and deletion.

use std::sync::Arc;

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::app::App;
use super::body::{page, paging, query, reply};
use super::durable;
use super::error::Refusal;
use super::location::{Location, resolve, scope};
use super::model::{BuildStatus, UnixMillis};
use super::state::{ServerState, StateChange};
use super::unpublish;
use super::upload::delete_contexts;
use crate::api::wire::Page;
use crate::base::name::{BuildId, Owner};

/// `GET /images`: pages of logical images, each with all its rows.
pub(super) fn list(app: &App, uri: &Uri) -> Result<Response, Refusal> {
    let query = query(uri)?;
    let owner = owner(&query)?;
    if owner == Owner::Platform && !app.rules.admin {
        return Err(Refusal::forbidden("Only platform admins can list platform images"));
    }
    let paging = paging(&query)?;
    let search = query.get("search").map(|text| app.form.stripped(text));
    let store = app.store();
    let state = store.state();
    let groups = state.listing(&owner, search).into_iter();
    let page = page(groups, paging, |location| state.rows(location, &app.form));
    drop(store);
    let Page { data, total_count, offset, limit } = page;
    let rows = Page { data: data.into_iter().flatten().collect(), total_count, offset, limit };
    reply(StatusCode::OK, &rows)
}

/// Returns the owner that a query selects.
fn owner(query: &std::collections::HashMap<String, String>) -> Result<Owner, Refusal> {
    let platform = match query.get("ownerScope").map(String::as_str) {
        None => false,
        Some("platform") => true,
        Some(_) => return Err(Refusal::invalid("ownerScope", "must be `platform`")),
    };
    scope(query.get("teamId").map(String::as_str), platform)
}

/// `DELETE /images/{name}/{tag}`: deletes the image and its ended builds, and cancels active builds.
///
/// The registry removes the tag afterwards; see `unpublish`.
pub(super) async fn delete(
    app: &Arc<App>,
    name: &str,
    tag: &str,
    uri: &Uri,
) -> Result<Response, Refusal> {
    let location = resolve(app.form.stripped(name), tag, &owner(&query(uri)?)?)?;
    let builds = commit_deletion(app, &location)?;
    durable::wait(app).await?;
    for (id, status) in &builds {
        match status {
            // Its task deletes what it needs no more.
            BuildStatus::Pending | BuildStatus::Building => app.tokens.cancel(id),
            // Most were never uploaded.
            BuildStatus::Uploading => delete_contexts(app, [id]),
            BuildStatus::Completed | BuildStatus::Failed => app.logs.delete(id),
            BuildStatus::Cancelled => {}
        }
    }
    unpublish::spawn(app, location);
    let message = format!("Image {name}:{tag} deleted");
    reply(StatusCode::OK, &json!({ "success": true, "message": message }))
}

/// Deletes what is at a location. Returns the builds that were there, with their status before.
fn commit_deletion(app: &App, location: &Location) -> Result<Vec<(BuildId, BuildStatus)>, Refusal> {
    let mut store = app.store();
    let mut changes = deletion(store.state(), location, app.clock.now());
    if changes.is_empty() {
        return Err(Refusal::not_found(format!("Image {} not found", location.short())));
    }
    if location.owner == Owner::Platform && !app.rules.admin {
        return Err(Refusal::forbidden("Only platform admins can delete platform images"));
    }
    let builds = store.state().builds_at(location).map(|build| (build.id.clone(), build.status));
    let builds: Vec<(BuildId, BuildStatus)> = builds.collect();
    if app.registry.is_some() {
        changes.push(StateChange::Unpublish(location.clone()));
    }
    store.commit(changes)?;
    Ok(builds)
}

fn deletion(state: &ServerState, location: &Location, now: UnixMillis) -> Vec<StateChange> {
    let image = state.image(location).map(|image| StateChange::ForgetImage(image.location.clone()));
    let builds = state.builds_at(location).filter_map(|build| match build.status {
        BuildStatus::Cancelled => None,
        status if status.is_active() => Some(StateChange::Build(build.clone().cancelled(now))),
        _ => Some(StateChange::ForgetBuild { seq: build.seq }),
    });
    image.into_iter().chain(builds).collect()
}
