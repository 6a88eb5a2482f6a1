//! Transfers: one source, or a list in each of the shapes of its response.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::app::App;
use super::body::reply;
use super::config::BulkShape;
use super::error::Refusal;
use super::location::Location;
use super::model::StoredBuild;
use super::order::Order;
use super::state::{ServerState, StateChange};
use super::traffic::Ticket;
use super::worker;
use crate::api::wire::BuildImageResponse;
use crate::base::name::{BuildId, Owner};

/// Handles one source, or a list whose response has no room for the failure of a single source.
pub(super) fn all_or_none(
    app: &Arc<App>,
    order: &Order,
    sources: &[String],
    ticket: Ticket,
) -> Result<Response, Refusal> {
    no_shared_destination(order, sources)?;
    let mut store = app.store();
    let transfers = sources.iter().zip(0..);
    let builds: Vec<StoredBuild> = transfers
        .map(|(source, ahead)| order.transfer(source, store.state(), ahead))
        .collect::<Result<_, _>>()?;
    let locations: Vec<&Location> = builds.iter().map(|build| &build.location).collect();
    check_quota(app, store.state(), &locations)?;
    if let Some(key) = order.rate_limit_key() {
        let images = u32::try_from(builds.len()).unwrap_or(u32::MAX);
        let max = app.traffic().max_images(&key);
        if images > max {
            let detail = format!("{images} images at once; at most {max} may be transferred");
            return Err(Refusal::bad(detail));
        }
        app.traffic().draw_images(key, images)?;
    }
    let first = builds.first().ok_or_else(|| Refusal::internal("a transfer without a source"))?;
    let mut answer = response(app, first, store.state());
    answer.build_ids = Some(builds.iter().map(|build| build.id.to_string()).collect());
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id.clone()).collect();
    let short: Vec<String> = builds.iter().map(|build| build.location.short()).collect();
    store.commit(builds.into_iter().map(StateChange::Build).collect())?;
    drop(store);
    app.traffic().initiated(ticket, short.join(","));
    for id in &ids {
        worker::spawn(app, id);
    }
    reply(StatusCode::CREATED, &answer)
}

/// Handles a list whose response has a result for each source.
pub(super) fn one_by_one(
    app: &Arc<App>,
    order: &Order,
    sources: &[String],
    shape: BulkShape,
    ticket: Ticket,
) -> Result<Response, Refusal> {
    no_shared_destination(order, sources)?;
    let (mut results, mut accepted) = (Vec::new(), Vec::new());
    for source in sources {
        let outcome = accept_one(app, order, source, &mut accepted);
        results.push(result(source, &outcome, shape));
    }
    let short: Vec<String> = accepted.iter().map(Location::short).collect();
    app.traffic().initiated(ticket, short.join(","));
    let mut answer = json!({ "results": results });
    if shape == BulkShape::Results {
        results.retain(|result| result["success"] == false);
        answer["failed"] = results.into();
    }
    reply(StatusCode::CREATED, &answer)
}

/// Accepts and starts the transfer of one source of a list. `accepted` are the locations of the transfers that
/// were accepted before it.
fn accept_one(
    app: &Arc<App>,
    order: &Order,
    source: &str,
    accepted: &mut Vec<Location>,
) -> Result<BuildImageResponse, Refusal> {
    let mut store = app.store();
    let build = order.transfer(source, store.state(), 0)?;
    if accepted.contains(&build.location) {
        let short = build.location.short();
        return Err(Refusal::bad(format!("Duplicate destination {short} in request")));
    }
    check_quota(app, store.state(), &[&build.location])?;
    if let Some(key) = order.rate_limit_key() {
        app.traffic().draw_images(key, 1)?;
    }
    let answer = response(app, &build, store.state());
    let (id, location) = (build.id.clone(), build.location.clone());
    store.commit(vec![StateChange::Build(build)])?;
    drop(store);
    worker::spawn(app, &id);
    accepted.push(location);
    Ok(answer)
}

/// Returns the result of one source in the response to a list.
fn result(source: &str, outcome: &Result<BuildImageResponse, Refusal>, shape: BulkShape) -> Value {
    let error = outcome.as_ref().err().map(Refusal::message);
    // Only a refusal with Retry-After passes: a quota or a bad reference does not.
    let retryable = outcome.as_ref().is_err_and(|refusal| refusal.retry_after.is_some());
    let build = outcome.as_ref().ok();
    if shape == BulkShape::Builds {
        return json!({
            "sourceImage": source, "build": build, "error": error, "retryable": retryable,
        });
    }
    json!({
        "sourceImage": source,
        "success": build.is_some(),
        "buildId": build.map(|build| &build.build_id),
        "fullImagePath": build.and_then(|build| build.full_image_path.as_ref()),
        "visibility": build.and_then(|build| build.visibility.as_ref()),
        "error": error,
        "retryable": retryable,
    })
}

fn no_shared_destination(order: &Order, sources: &[String]) -> Result<(), Refusal> {
    if sources.len() > 1 && (order.name.is_some() || order.tag.is_some()) {
        let detail = "image_name and image_tag can only be given for a single source";
        return Err(Refusal::bad(detail));
    }
    Ok(())
}

/// Checks that the owner of `locations` may have images at all of them.
pub(super) fn check_quota(
    app: &App,
    state: &ServerState,
    locations: &[&Location],
) -> Result<(), Refusal> {
    let (Some(quota), Some(first)) = (app.quota(), locations.first()) else { return Ok(()) };
    if first.owner == Owner::Platform {
        return Ok(());
    }
    let new: HashSet<_> = locations.iter().filter(|location| !state.is_taken(location)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let count = state.owned(&first.owner);
    if count + new.len() > quota as usize {
        return Err(Refusal::quota(quota_text(&first.owner, count, quota)));
    }
    Ok(())
}

/// Returns the service's text for an owner who has reached the quota.
pub(super) fn quota_text(owner: &Owner, count: usize, quota: u32) -> String {
    let kind = if *owner == Owner::Personal { "Personal" } else { "Team" };
    format!("Image limit exceeded. {kind} has {count} images. Maximum allowed is {quota}.")
}

/// Returns the response to the initiation of a build.
pub(super) fn response(app: &App, build: &StoredBuild, state: &ServerState) -> BuildImageResponse {
    let visibility = state.effective(&build.location, build.visibility);
    BuildImageResponse {
        build_id: build.id.to_string(),
        full_image_path: Some(app.form.full_path(&build.location)),
        build_ids: Some(vec![build.id.to_string()]),
        upload_url: None,
        expires_in: None,
        visibility: Some(visibility.as_str().to_owned()),
    }
}
